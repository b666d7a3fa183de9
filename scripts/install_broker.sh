#!/usr/bin/env bash
# Installs Tansu, an external Kafka broker with SQLite storage, for examples/news_pipeline/tests/delivery.rs.
# Needs the Rust toolchain and a C compiler. Installs with `cargo install`; does nothing if it is installed.
set -euo pipefail

version=0.6.0

if command -v tansu >/dev/null && tansu --version 2>/dev/null | grep -qF "$version"; then
    echo "tansu $version is installed: $(command -v tansu)"
    exit 0
fi

# An unoptimized build takes a third of the time and is fast enough for the test. It has no debug information and no flags
# of this repository, because cargo reads .cargo/config.toml of the working directory.
cd "${TMPDIR:-/tmp}"
unset CARGO_TARGET_DIR
RUSTFLAGS="" CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
    cargo install tansu --version "$version" --locked --features libsql --debug --force "$@"
