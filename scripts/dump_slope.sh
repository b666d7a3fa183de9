#!/usr/bin/env bash
# Measures how the cost of `holdup dump` grows with the number of tasks: programs of 1,000 to 1,000,000 tasks that all wait in
# one way, and one in which every tenth task waits for one mutex and the others for timers.
#
#   scripts/dump_slope.sh [COUNT…]        the default is 1000 10000 100000 1000000
#
# Prints the CPU time of holdup in user mode, its time by the clock and its peak of memory: the second of two dumps, because
# the first one reads debug information. Needs the Rust toolchain, GNU time and 4 GB of memory for a million tasks.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=("${@:-}")
if [ -z "${counts[0]}" ]; then
    counts=(1000 10000 100000 1000000)
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
holdup=${HOLDUP_COMMAND:-}
if [ -z "$holdup" ]; then
    cargo build --release --features cli -p holdup
    holdup=$target/release/holdup
fi
(cd tests/fixtures/many_tasks && CARGO_TARGET_DIR=$target/tmp/many-tasks cargo build --release --locked)
program=$target/tmp/many-tasks/release/many_tasks

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%-8s %9s %9s %9s %9s  %s\n' tasks number user clock memory 'first line of the dump'
for kind in timers mutex queue channel set; do
    for count in "${counts[@]}"; do
        coproc many { "$program" "$kind" "$count"; }
        pid=$many_PID
        read -r _ready <&"${many[0]}"
        for _ in 1 2; do
            /usr/bin/time -f '%U %e %M' -o "$work/time" "$holdup" dump --pid "$pid" >"$work/dump"
        done
        read -r user clock memory <"$work/time"
        printf '%-8s %9s %7s s %7s s %6s MB  %s\n' "$kind" "$count" "$user" "$clock" "$((memory / 1024))" \
            "$(head -1 "$work/dump")"
        kill "$pid"
        wait "$pid" 2>/dev/null || true
    done
done
