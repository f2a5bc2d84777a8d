//! The executable: arguments in, a role or a command run, an exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    toystore::cli::run()
}
