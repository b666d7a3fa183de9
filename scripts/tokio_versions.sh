#!/usr/bin/env bash
# Tests `holdup dump` and `holdup stalls` with versions of Tokio, optimization levels and link-time optimization, with and
# without tokio_unstable. Every task of one known program must have its await path, and every stall of another must be
# reported, also without debug information for types. Downloads and builds each version. Not part of .ci/run.
#
#   scripts/tokio_versions.sh [VERSION…]
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(1.35.1 1.38.2 1.43.4 1.47.5 1.54.1)
target="${CARGO_TARGET_DIR:-$PWD/target}/tokio_versions"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -r tests/fixtures/awaiting tests/fixtures/stalling "$work/"

build() { # PROGRAM NAME RUSTFLAGS DEBUG CARGO-ARGUMENTS…: prints where it is
    local program="$1" folder="$target/$2" flags="$3" debug="$4"
    shift 4
    RUSTFLAGS="$flags" CARGO_PROFILE_RELEASE_DEBUG="$debug" CARGO_PROFILE_DEV_DEBUG="$debug" \
        cargo build --quiet --manifest-path "$work/$program/Cargo.toml" --target-dir "$folder" "$@" >&2
    find "$folder" -maxdepth 2 -type f -name "$program" -perm -u+x | head -n 1
}

failed=0
check() { # VERB NAME ARGUMENTS-OF-CARGO-TEST…
    local verb="$1" name="$2"
    shift 2
    if cargo test --quiet --features cli "$@" >"$work/log" 2>&1; then
        printf 'ok      %-6s  %s\n' "$verb" "$name"
    else
        printf 'FAILED  %-6s  %s\n' "$verb" "$name"
        grep -E 'panicked|left:|right:' -A1 "$work/log" | head -n 20
        failed=1
    fi
}

try() { # NAME RUSTFLAGS CARGO-ARGUMENTS…
    local name="$1" flags="$2" awaiting stalling bare
    shift 2
    awaiting="$(build awaiting "$name" "$flags" 2 "$@")"
    HOLDUP_AWAITING="$awaiting" check dump "$name" --test attach_dump -- every_task what_is_waited
    stalling="$(build stalling "$name" "$flags" 2 "$@")"
    bare="$(build stalling "$name-bare" "$flags" 0 "$@")"
    HOLDUP_STALLING="$stalling" HOLDUP_STALLING_BARE="$bare" check stalls "$name" --test attach_stalls -- \
        a_task_of_a_local_set sleeping_and_computing stalls_are_inferred sleeps_in_the_block_on healthy_parked
}

for version in "${versions[@]}"; do
    for program in awaiting stalling; do
        cargo update --quiet --manifest-path "$work/$program/Cargo.toml" --package tokio --precise "$version"
    done
    try "$version-debug" ""
    try "$version-release" "" --release
done
# Other builds with the newest version.
try "$version-unstable" "--cfg tokio_unstable" --release
HOLDUP_LTO=1 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 try "$version-lto" "" --release
CARGO_PROFILE_RELEASE_OPT_LEVEL=s try "$version-small" "" --release
exit "$failed"
