#!/usr/bin/env bash
# The score card of every kind of release build. Each build compiles everything into a separate folder.
set -euo pipefail

usage() {
    cat <<'TEXT'
card.sh FOLDER [BUILD…] [-- OPTIONS]

Builds, runs and scores the corpus. FOLDER, outside the source tree, gets the builds, and for each card a file
NAME.txt and NAME.json. OPTIONS go to `corpus card`, such as `--place task --rounds 3`.

A BUILD is three words: debug information (none, lines, full), tokio_unstable (unstable, stable) and frame pointers
(fp, nofp), such as `lines-unstable-nofp`; or `all` for all twelve. The default is `lines-unstable-nofp` and every build
that differs from it in one word. Each is scored as the current user, and if that is root, as an ordinary user too.

The build `field` is that of a new user: `none-stable-nofp`, tasks given to `tokio::spawn`, in place `task`. Its cards are
those of an ordinary user on a quiet machine, beside two busy threads, and with a quota of half a CPU.

With a fourth word, as in `full-unstable-nofp-outside`, the `holdup` command watches from outside, by process id.
Without `full` there is no debug information for types, and stalls are inferred.
TEXT
}

if [ $# -eq 0 ] || [ "$1" = "--help" ]; then
    usage
    exit 2
fi
folder=$(realpath -m "$1")
shift
builds=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    builds+=("$1")
    shift
done
[ $# -eq 0 ] || shift
if [ ${#builds[@]} -eq 0 ]; then
    builds=(lines-unstable-nofp none-unstable-nofp full-unstable-nofp lines-stable-nofp lines-unstable-fp)
elif [ "${builds[0]}" = "all" ]; then
    builds=({lines,none,full}-{unstable,stable}-{nofp,fp})
fi
cd "$(dirname "$0")/../.."

# An ordinary user: `nobody`.
readonly ORDINARY=65534

score() {
    local name=$1
    shift
    echo "==> $name"
    "$program" card --title "$name" --out "$folder/$name.json" "$@" 2>"$folder/$name.log" | tee "$folder/$name.txt"
}

# The cards of a new user's build, which $program is.
score_field() {
    local options=(--uninstrumented --place task --user "$ORDINARY" "$@")
    score field-quiet "${options[@]}"
    score field-hogs "${options[@]}" --hogs 2
    score field-quota "${options[@]}" --quota 50
}

mkdir -p "$folder"
for build in "${builds[@]}"; do
    field=""
    if [ "$build" = field ]; then
        field=yes
        build=none-stable-nofp
    fi
    IFS=- read -r debug tokio pointers from <<<"$build"
    flags=""
    options=()
    parts=(-p corpus --bin corpus)
    target="$folder/$debug-$tokio-$pointers"
    case "$debug" in
    none) level=none ;;
    lines) level=line-tables-only ;;
    full) level=full ;;
    *) usage && exit 2 ;;
    esac
    case "$tokio" in
    unstable) flags+=" --cfg tokio_unstable" ;;
    stable) ;;
    *) usage && exit 2 ;;
    esac
    case "$pointers" in
    fp) flags+=" -C force-frame-pointers=yes" ;;
    nofp) ;;
    *) usage && exit 2 ;;
    esac
    case "$from" in
    outside)
        parts+=(-p holdup --features cli --bin holdup)
        options+=(--outside "$target/release/holdup")
        ;;
    "") ;;
    *) usage && exit 2 ;;
    esac
    echo "==> building $build"
    RUSTFLAGS="$flags" CARGO_PROFILE_RELEASE_DEBUG="$level" CARGO_TARGET_DIR="$target" \
        cargo build --locked --release "${parts[@]}"
    program="$target/release/corpus"
    if [ -n "$field" ]; then
        score_field "$@"
        continue
    fi
    score "$build" "${options[@]}" "$@"
    if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
        score "$build-ordinary-user" --user "$ORDINARY" "${options[@]}" "$@"
    fi
done
