#!/usr/bin/env bash
# Opens profiles that holdup wrote with their consumers, and fails if one of them rejects its file.
#
#   scripts/consumers.sh FILE…        for example after `cargo test --test profiles_files`: target/tmp/profiles/*
#
# The extension of a file selects its consumer:
#   .pb.gz            Go's pprof: -top, -tags, -traces, -comments
#   .folded .txt      inferno-flamegraph
#   .svg              headless Chromium, without a script error
#   .speedscope.json  speedscope's published schema, and speedscope itself in headless Chromium
#   .pftrace          Perfetto's published messages: no unknown field, slices in pairs, every reference is valid
#   .json.gz          the Firefox Profiler's processed format: tables of equal length, every reference is valid
#   .json             skipped: holdup's own format, which `cargo test` reads back
# Perfetto's trace processor and the Firefox Profiler themselves are not in the package registries.
#
# Installs missing programs: golang-go, chromium, nodejs and npm from Debian; into a folder perfetto, protobuf and
# jsonschema from PyPI, speedscope from npm, and inferno from crates.io. CONSUMERS_DIR names a folder to keep, with the
# screenshots; the default is a temporary one.
set -euo pipefail

[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if [ -n "${CONSUMERS_DIR:-}" ]; then
    folder=$CONSUMERS_DIR
    mkdir -p "$folder"
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
checked=0
skipped=0

fail() {
    printf 'FAILED %s\n' "$*" >&2
    exit 1
}

need() { # command, Debian package
    command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$2" >/dev/null; }
}

python_tools() {
    [ -x "$folder/python/bin/python" ] && return
    python3 -m venv "$folder/python" 2>/dev/null || {
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        python3 -m venv "$folder/python"
    }
    "$folder/python/bin/pip" install --quiet perfetto protobuf jsonschema
}

browser() { # page, options…
    need chromium chromium
    local page=$1 profile
    shift
    profile=$(mktemp -d)
    timeout 120 chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$profile" --window-size=1400,900 \
        --allow-file-access-from-files --virtual-time-budget=20000 --enable-logging=stderr "$@" "$page" \
        2>"$folder/browser.log" || fail "Chromium did not open $page"
    rm -rf "$profile"
    # The first word of messages from the page, not from the browser.
    ! grep -E 'CONSOLE.*(Uncaught|Error)' "$folder/browser.log" || fail "$page has a script error"
}

pprof() {
    need go golang-go
    local samples
    go tool pprof -top "$1" >"$folder/top" 2>"$folder/log" || fail "$1: $(cat "$folder/log")"
    go tool pprof -tags "$1" >"$folder/tags" 2>&1 || fail "$1: no tags"
    go tool pprof -comments "$1" >"$folder/comments" 2>&1 || fail "$1: no comments"
    go tool pprof -traces "$1" >"$folder/traces" 2>&1 || fail "$1: no traces"
    grep -q '^lost=' "$folder/comments" || fail "$1 does not carry its quality"
    samples=$(grep -c -- '-----------+---' "$folder/traces" || true)
    if [ "$samples" -gt 1 ]; then
        # Samples from another program's file or from folded stacks have none, and stalls of one kind belong to many threads.
        grep -qE '^kind=(pprof|folded|stalled)$' "$folder/comments" || grep -q ' thread: ' "$folder/tags" ||
            fail "$1 has no threads"
        ! grep -E '%  ::' "$folder/top" || fail "$1: pprof cut names"
    fi
    printf 'pprof: %s traces; ' "$samples"
    sed -n 's/^Showing nodes/showing nodes/p' "$folder/top"
}

folded() {
    [ -x "$folder/inferno/bin/inferno-flamegraph" ] || cargo install --quiet --debug --root "$folder/inferno" inferno
    if [ -s "$1" ]; then
        "$folder/inferno/bin/inferno-flamegraph" <"$1" >"$folder/inferno.svg" 2>"$folder/log" || fail "$1"
        ! grep -i ignored "$folder/log" || fail "$1 has lines that inferno ignores"
        grep -q '<title>all (' "$folder/inferno.svg" || fail "$1 drew nothing"
    fi
    printf 'inferno: %s lines\n' "$(wc -l <"$1")"
}

svg() {
    browser "file://$(realpath "$1")" --screenshot="$folder/$(basename "$1").png"
    printf 'chromium: drawn\n'
}

speedscope() {
    python_tools
    need npm npm
    local tool=$folder/speedscope/node_modules/speedscope/dist/release
    [ -d "$tool" ] || npm install --silent --prefix "$folder/speedscope" speedscope >/dev/null
    "$folder/python/bin/python" - "$1" "$tool/file-format-schema.json" <<'PYTHON' || fail "$1"
import json, sys, jsonschema
file, schema = (json.load(open(path)) for path in sys.argv[1:])
jsonschema.validate(file, schema)
PYTHON
    # Like speedscope's own command: a script beside the page passes the file.
    printf 'speedscope.loadFileFromBase64("profile.speedscope.json", "%s")' "$(base64 -w0 "$1")" >"$folder/load.js"
    local page="file://$(realpath "$tool")/index.html#localProfilePath=$(realpath "$folder")/load.js"
    browser "$page" --screenshot="$folder/$(basename "$1").png"
    browser "$page" --dump-dom >"$folder/speedscope.html"
    local name
    name=$("$folder/python/bin/python" -c 'import json,sys; p=json.load(open(sys.argv[1]))["profiles"]; print(p[0]["name"] if p else "")' "$1")
    if [ -n "$name" ]; then
        grep -qF "$name" "$folder/speedscope.html" || fail "speedscope does not show $name of $1"
    fi
    printf 'speedscope: valid, shows "%s"\n' "$name"
}

perfetto() {
    python_tools
    "$folder/python/bin/python" - "$1" <<'PYTHON' || fail "$1"
import sys
from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages
trace = messages.Trace()
trace.ParseFromString(open(sys.argv[1], "rb").read())

def known(message):
    assert not len(UnknownFieldSet(message)), f"a field that {message.DESCRIPTOR.name} does not have"
    for field, value in message.ListFields():
        if field.message_type:
            repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
            for part in value if repeated else [value]:
                known(part)
known(trace)
data = trace.packet[0].interned_data
ids = lambda entries: {entry.iid for entry in entries}
names, paths, maps = ids(data.function_names), ids(data.mapping_paths), ids(data.mappings)
sources, frames, stacks = ids(data.source_paths), ids(data.frames), ids(data.callstacks)
assert 0 not in names | paths | maps | sources | frames | stacks, "an iid of 0 means none"
assert all(frame.function_name_id in names and frame.mapping_id in maps for frame in data.frames)
assert all(not frame.HasField("source_path_iid") or frame.source_path_iid in sources for frame in data.frames)
assert all(set(stack.frame_ids) <= frames for stack in data.callstacks)
tracks, depth, samples, slices = set(), {}, 0, 0
last = {}
for packet in trace.packet:
    if packet.HasField("track_descriptor"):
        tracks.add(packet.track_descriptor.uuid)
    if packet.HasField("perf_sample"):
        assert packet.perf_sample.callstack_iid in stacks
        samples += 1
    if packet.HasField("track_event"):
        event = packet.track_event
        assert event.track_uuid in tracks and packet.timestamp >= last.get(event.track_uuid, 0)
        last[event.track_uuid] = packet.timestamp
        step = {event.TYPE_SLICE_BEGIN: 1, event.TYPE_SLICE_END: -1}[event.type]
        depth[event.track_uuid] = depth.get(event.track_uuid, 0) + step
        assert depth[event.track_uuid] >= 0
        slices += step > 0
assert not any(depth.values()), "a slice does not end"
print(f"perfetto: {samples} samples, {slices} slices, {len(tracks) - 1} threads")
PYTHON
}

firefox() {
    python_tools
    "$folder/python/bin/python" - "$1" <<'PYTHON' || fail "$1"
import gzip, json, sys
profile = json.load(gzip.open(sys.argv[1]))
meta = profile["meta"]
assert meta["processType"] == 0 and meta["preprocessedProfileVersion"] >= 44 and meta["interval"] > 0
assert meta["symbolicated"] is True
samples = 0
for thread in profile["threads"]:
    strings = len(thread["stringArray"])
    for name in ["samples", "markers", "stackTable", "frameTable", "funcTable", "resourceTable", "nativeSymbols"]:
        table = thread[name]
        for column in table.values():
            assert not isinstance(column, list) or len(column) == table["length"], f"{name} has unequal columns"
    stack, frame, func = thread["stackTable"], thread["frameTable"], thread["funcTable"]
    assert all(s is None or 0 <= s < stack["length"] for s in thread["samples"]["stack"])
    assert all(p is None or p < at for at, p in enumerate(stack["prefix"])), "a stack comes before its callers"
    assert all(0 <= f < frame["length"] for f in stack["frame"])
    assert all(0 <= f < func["length"] for f in frame["func"])
    assert all(0 <= n < strings for n in func["name"]) and all(0 <= n < strings for n in thread["markers"]["name"])
    assert all(c is None or c < len(meta["categories"]) for c in frame["category"])
    samples += thread["samples"]["length"]
print(f"firefox: {samples} samples, {len(profile['threads'])} threads, version {meta['preprocessedProfileVersion']}")
PYTHON
}

for file in "$@"; do
    [ -f "$file" ] || fail "$file is not there"
    case $file in
        *.pb.gz) check=pprof ;;
        *.folded | *.txt) check=folded ;;
        *.svg) check=svg ;;
        *.speedscope.json) check=speedscope ;;
        *.pftrace | *.perfetto-trace) check=perfetto ;;
        *.json.gz) check=firefox ;;
        *)
            printf '%-28s skipped\n' "$(basename "$file")"
            skipped=$((skipped + 1))
            continue
            ;;
    esac
    printf '%-28s ' "$(basename "$file")"
    $check "$file"
    checked=$((checked + 1))
done
printf '%s passed, 0 failed, %s skipped\n' "$checked" "$skipped"
