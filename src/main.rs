//! The `master` program: argv to configuration to a running server (or a client verb) to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    bellwether::program::run(None)
}
