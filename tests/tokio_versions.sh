#!/usr/bin/env bash
# `holdup dump` against versions of Tokio, optimisation and link-time optimisation, with and without tokio_unstable: every
# task of the known program has its path. Downloads those versions and builds each; not a part of .ci/run.
#
#   tests/tokio_versions.sh [VERSION…]
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(1.35.1 1.38.2 1.43.4 1.47.5 1.54.1)
target="${CARGO_TARGET_DIR:-$PWD/target}/tokio_versions"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -r tests/fixtures/awaiting "$work/"

failed=0
try() { # NAME RUSTFLAGS CARGO-ARGUMENTS…
    local name="$1" flags="$2" program
    shift 2
    RUSTFLAGS="$flags" CARGO_PROFILE_RELEASE_DEBUG=2 CARGO_PROFILE_DEV_DEBUG=2 cargo build --quiet --manifest-path "$work/awaiting/Cargo.toml" --target-dir "$target/$name" "$@"
    program="$(find "$target/$name" -maxdepth 2 -type f -name awaiting -perm -u+x | head -n 1)"
    if HOLDUP_AWAITING="$program" cargo test --quiet --features cli --test dump -- \
        every_task what_is_waited >"$work/log" 2>&1; then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n' "$name"
        grep -E 'panicked|left:|right:' -A1 "$work/log" | head -n 20
        failed=1
    fi
}

for version in "${versions[@]}"; do
    cargo update --quiet --manifest-path "$work/awaiting/Cargo.toml" --package tokio --precise "$version"
    try "$version-debug" ""
    try "$version-release" "" --release
done
# What the newest of them is built with, besides.
try "$version-unstable" "--cfg tokio_unstable" --release
HOLDUP_AWAITING_LTO=1 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 try "$version-lto" "" --release
CARGO_PROFILE_RELEASE_OPT_LEVEL=s try "$version-small" "" --release
exit "$failed"
