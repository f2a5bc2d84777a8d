//! The executable: arguments in, a role or a command run, an exit status out.

#[path = "../tests/simulator/executable.rs"]
mod simulator;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// An order makes some hundred allocations, which took a tenth of its processor time with glibc's
/// allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    toystore::cli::run(simulator::events_of)
}
