#!/usr/bin/env bash
# Tests the news API and holdup's endpoint against their OpenAPI documents: schemathesis (from PyPI) generates valid and
# invalid requests, and checks every response.
#
#   scripts/api_document.sh [options of `schemathesis run`, such as --max-examples 500]
#
# Needs python3 with venv, curl, and access to PyPI once: schemathesis is installed into target/schemathesis.
# HOLDUP_NEWS_PIPELINE names the program to test; without it, cargo builds it. Exits with 0 without a difference. It skips
# /stream and /debug/holdup/live, which do not end.
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
: >"$work/output" # It is read below, possibly before the program has started.
"$program" --api 127.0.0.1:0 --diagnostics 127.0.0.1:0 --readers 0 --for 10m >"$work/output" 2>"$work/log" &
service=$!
trap 'kill "$service" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in $(seq 300); do
    url=$(sed -n 's|^news *\(http://[^/]*\)/.*|\1|p' "$work/output")
    if [ -n "$url" ] && curl --silent --fail --output /dev/null "$url/readyz"; then
        break
    fi
    kill -0 "$service" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done

check() { # URL PATH-TO-SKIP OPTION…
    local url=$1 skipped=$2
    shift 2
    "$tools/bin/schemathesis" run "$url/openapi.json" --exclude-path "$skipped" --checks all --no-color "$@"
}

# In a temporary folder, because schemathesis writes its examples to the working directory.
cd "$work"
check "$url" /stream "$@"

# A profile takes the time that the request names. Random text is mostly no regular expression.
cat >schemathesis.toml <<END
[parameters]
"query.seconds" = 0.05
"query.include" = "main|poll"
"query.exclude" = "absent"
END
diagnostics=$(sed -n 's|^diagnostics *\(http://[^/]*\)/.*|\1|p' "$work/output")
check "$diagnostics" /debug/holdup/live "$@"
