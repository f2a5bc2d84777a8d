//! The executable: arguments in, a role or a command run, an exit status out.

#[path = "../tests/simulator/executable.rs"]
mod simulator;

use std::process::ExitCode;

fn main() -> ExitCode {
    toystore::cli::run(simulator::events_of)
}
