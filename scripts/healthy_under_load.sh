#!/usr/bin/env bash
# Checks that the healthy service under full load has no stall. The reference service in a release build ingests thousands
# of new articles, the `load` command requests its news at full speed, and holdup watches. If threads outnumber the CPUs,
# some of them wait for whole time slices. So the load runs only on idle CPU time, like a load from another machine. The
# threads of the embedded broker and its client run on the first CPU, and the workers on all others.
#
#   scripts/healthy_under_load.sh [SECONDS]        the default is 300
#
# Prints the results of the load, the counters of the service, and holdup's stalls. Exits with 0 without a stall and with 1
# with one. Exits with 3 if the machine did not run threads for longer than the threshold and there were no other stalls: on
# a busy machine, this is neither a success nor an error of the service.
# Needs the Rust toolchain, curl and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-300}
target=${CARGO_TARGET_DIR:-$PWD/target}
program=${HOLDUP_NEWS_PIPELINE:-}
if [ -z "$program" ]; then
    cargo build --release -p news_pipeline
    program=$target/release/news_pipeline
fi

work=$(mktemp -d)
: >"$work/output" # It is read below, possibly before the program has started.
workers=$(($(nproc) > 1 ? $(nproc) - 1 : 1))
"$program" --workers "$workers" --api 127.0.0.1:0 --diagnostics 127.0.0.1:0 --readers 4 --reader-interval 20ms \
    --odd-feed flood --feed-interval 1ms --for "$((seconds + 120))s" >"$work/output" 2>"$work/log" &
service=$!
trap 'kill "$service" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in $(seq 300); do
    news=$(sed -n 's|^news *\(http://[^/]*\)/.*|\1|p' "$work/output")
    if [ -n "$news" ] && curl --silent --fail --output /dev/null "$news/readyz"; then
        break
    fi
    kill -0 "$service" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
if [ "$(nproc)" -gt 1 ]; then
    for thread in /proc/"$service"/task/*; do
        read -r name <"$thread/comm" || continue
        case "$name" in
        tokio-rt-worker) cpus=1-$(($(nproc) - 1)) ;;
        *) cpus=0 ;;
        esac
        taskset --cpu-list --pid "$cpus" "${thread##*/}" >/dev/null || true # It may be gone.
    done
fi
diagnostics=$(sed -n 's|^diagnostics *\(http://[^/]*\)/.*|\1|p' "$work/output")

chrt --idle 0 "$program" load api --url "$news/latest-news" --connections 16 --duration "${seconds}s"

echo "the service: $(curl --silent --fail "$news/healthz")"
curl --silent --fail "$diagnostics/debug/holdup/stalls" >"$work/stalls.json"
curl --silent --fail "$diagnostics/debug/holdup/self-check" >"$work/check.json"
kill "$service"
wait "$service"

python3 - "$work/stalls.json" "$seconds" <<'PYTHON'
import json, sys

answer = json.load(open(sys.argv[1]))
stalls = answer["stalls"]
counters = answer["counters"]
code, machine = counters["stalls"], counters["not_scheduled"]
print(f"holdup reported {code} stalls and {machine} polls without a CPU, of {len(stalls)} kinds, in {sys.argv[2]} s")
for stall in stalls:
    culprit = stall.get("culprit") or {}
    where = culprit.get("function", "(nobody)") + (f", calling {culprit['call']}" if culprit.get("call") else "")
    task = stall["task"]["name"] or stall["task"]["spawned_at"] if stall.get("task") else "(none)"
    print(f"  {stall['count']} x {stall['cause']['class']} in {where}, task {task}, the last for {stall['duration_ms']} ms")
sys.exit(1 if code else 3 if machine else 0)
PYTHON
