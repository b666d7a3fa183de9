#!/usr/bin/env bash
# Installs Tansu, the Kafka broker that examples/news_pipeline/tests/delivery.rs starts: a process that is not ours, with SQLite storage.
# Needs the Rust toolchain and a C compiler. Goes where `cargo install` puts programs; does nothing when it is there.
set -euo pipefail

version=0.6.0

if command -v tansu >/dev/null && tansu --version 2>/dev/null | grep -qF "$version"; then
    echo "tansu $version is installed: $(command -v tansu)"
    exit 0
fi

# Without optimisation it is built in a third of the time, and fast enough for the test. No debug information, and no
# flags of this repository: cargo reads .cargo/config.toml of the folder that it runs in.
cd "${TMPDIR:-/tmp}"
unset CARGO_TARGET_DIR
RUSTFLAGS="" CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
    cargo install tansu --version "$version" --locked --features libsql --debug --force "$@"
