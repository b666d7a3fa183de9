//! The `holdup` command. Its code is in the library's module `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdup::cli::main()
}
