//! Parses, runs, prints errors with their hints, and sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    thinkery::cli::main()
}
