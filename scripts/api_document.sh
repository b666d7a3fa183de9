#!/usr/bin/env bash
# The news API does what its OpenAPI document says: schemathesis (from PyPI) makes requests of that document, valid and
# invalid ones, and compares every answer with it.
#
#   scripts/api_document.sh [options of `schemathesis run`, such as --max-examples 500]
#
# Needs python3 with venv, curl, and access to PyPI once: schemathesis is installed into target/schemathesis.
# HOLDUP_NEWS_PIPELINE names the program to test; without it, it is built. Ends with 0 when nothing differs. Left out is
# /stream, which does not end.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
target=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target/schemathesis-$version

if [ ! -x "$tools/bin/schemathesis" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet "schemathesis==$version"
fi

program=${HOLDUP_NEWS_PIPELINE:-}
if [ -z "$program" ]; then
    cargo build -p news_pipeline
    program=$target/debug/news_pipeline
fi

work=$(mktemp -d)
: >"$work/said" # Read below, maybe before the program has begun.
"$program" --api 127.0.0.1:0 --diagnostics 127.0.0.1:0 --readers 0 --for 10m >"$work/said" 2>"$work/log" &
service=$!
trap 'kill "$service" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in $(seq 300); do
    url=$(sed -n 's|^news *\(http://[^/]*\)/.*|\1|p' "$work/said")
    if [ -n "$url" ] && curl --silent --fail --output /dev/null "$url/readyz"; then
        break
    fi
    kill -0 "$service" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done

# In the folder of its own, because schemathesis keeps its examples where it runs.
(cd "$work" && "$tools/bin/schemathesis" run "$url/openapi.json" --exclude-path /stream --checks all --no-color "$@")
