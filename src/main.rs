//! The `holdup` command. Everything it does is in the library's `cli` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdup::cli::main()
}
