#!/usr/bin/env bash
# Makes the pictures in flamegraphs/: builds the command and the reference service, and records the service without and with
# faults. Takes four minutes and a build. Needs the Rust toolchain, gcc, g++ and make.
#
#   scripts/flamegraphs.sh            every picture
#   scripts/flamegraphs.sh hunt       the pictures of one part: cpu, lock, flood, heap, hunt
#   FLAMEGRAPH_SECONDS=3 …            shorter recordings, for a trial
#   FLAMEGRAPH_RECORDINGS=DIR …       keeps the recordings, for other formats
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FLAMEGRAPH_SECONDS:-8}
address=127.0.0.1:${FLAMEGRAPH_PORT:-6160}
load=(--readers 20 --reader-interval 20ms)
pictures=$PWD/flamegraphs

cargo build --release --features cli --bin holdup --example slow_service
cargo build --release -p news_pipeline
target=${CARGO_TARGET_DIR:-target}
target=$(realpath "$target")
holdup=$target/release/holdup
service=$target/release/news_pipeline
slow_service=$target/release/examples/slow_service

running=
recordings=${FLAMEGRAPH_RECORDINGS:-}
if [ -z "$recordings" ]; then
    recordings=$(mktemp -d)
    temporary=$recordings
fi
mkdir -p "$recordings"
recordings=$(realpath "$recordings")
trap '[ -z "$running" ] || kill "$running"; rm -rf "${temporary:-}"' EXIT

start() { # options of the service…
    "$service" --api 127.0.0.1:0 --diagnostics "$address" "$@" >"$recordings/service.log" 2>&1 &
    running=$!
    wait_for_endpoint
    sleep 5 # Until its caches are full.
}

wait_for_endpoint() {
    for _ in $(seq 100); do
        "$holdup" workers "http://$address" >/dev/null 2>&1 && break
        sleep 0.2
    done
}

stop() {
    kill -INT "$running"
    wait "$running" || true
    running=
}

record_heap() { # mode, recording
    in_recordings record "http://$address" --mode "$1" --duration "$seconds" --output "$2.json"
}

record() { # mode, rate, recording
    in_recordings record "http://$address" --mode "$1" --rate "$2" --duration "$seconds" --output "$3.json"
}

picture() { # recording, picture, options…
    local from=$1 to=$2
    shift 2
    in_recordings convert "$from.json" "$to.svg" "$@" | sed -n 's/^Wrote/wrote/p'
    mv "$recordings/$to.svg" "$pictures"
}

# Without folders in the captions.
in_recordings() { # arguments of holdup…
    (cd "$recordings" && "$holdup" "$@")
}

cpu() {
    start "${load[@]}"
    record cpu 499 cpu-healthy
    stop

    start "${load[@]}" --fault cpu
    record cpu 499 cpu-fault
    stop

    start "${load[@]}"
    record cpu 499 cpu-fixed
    stop

    picture cpu-healthy cpu-healthy
    picture cpu-healthy cpu-healthy-whole --all-frames
    picture cpu-fault cpu-fault
    picture cpu-fixed cpu-fixed
    in_recordings diff cpu-fault.json cpu-fixed.json --widths before -o cpu-diff.svg
    mv "$recordings/cpu-diff.svg" "$pictures"
}

lock() {
    start "${load[@]}" --fault lock
    record stalled 99 stalled-lock
    record wall 99 wall-lock
    "$holdup" tasks "http://$address" --duration 5 --by spawn >"$pictures/tasks-lock.txt"
    stop

    picture stalled-lock stalled-lock
    picture wall-lock wall-lock --group state
}

# More articles than the service can process, as in benches/service/pipeline.rs.
flood() {
    start --readers 4 --reader-interval 20ms --odd-feed flood,flood --feed-interval 1ms
    record cpu 499 cpu-flood
    stop

    picture cpu-flood cpu-flood
}

# Few readers: with many, the leak would reach its limit before the recording begins.
heap() {
    export HOLDUP_HEAP=64KiB
    start --fault cache-leak
    record_heap leaks heap-leak
    stop

    start "${load[@]}" --fault allocs
    record_heap allocs heap-allocs
    stop
    unset HOLDUP_HEAP

    picture heap-leak heap-leak
    picture heap-allocs heap-allocs
}

hunt() {
    hunted before
    hunted after --fixed
    picture hunt-stalled-before hunt-stalled-before
    picture hunt-wall-before hunt-wall-before --group state
    picture hunt-wall-after hunt-wall-after --group state
    for when in before after; do
        printf '%s\n' "$when"
        sed -n -e 's|^all ||p' -e '/ stalls$/p' "$recordings/hunt-$when.txt"
    done >"$pictures/hunt-latency.txt"
}

hunted() { # before or after the fix, options of the program…
    local when=$1
    shift
    "$slow_service" --diagnostics "$address" --for "$((2 * seconds + 10))s" "$@" >"$recordings/hunt-$when.txt" 2>&1 &
    running=$!
    wait_for_endpoint
    if [ "$when" = before ]; then # After it there are no stalls to draw.
        record stalled 99 "hunt-stalled-$when"
    fi
    record wall 499 "hunt-wall-$when"
    wait "$running"
    running=
}

if [ $# -eq 0 ]; then
    set -- cpu lock flood heap hunt
fi
for part in "$@"; do
    case $part in
        cpu | lock | flood | heap | hunt) "$part" ;;
        *) echo "there is no part $part; the parts are cpu, lock, flood, heap and hunt" >&2 && exit 2 ;;
    esac
done
