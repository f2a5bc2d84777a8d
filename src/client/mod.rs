//! client
use crate::roles::Roles;
use std::process::ExitCode;

/// The client's arguments.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the client.
pub async fn run(_arguments: Arguments, _roles: &Roles) -> ExitCode {
    ExitCode::FAILURE
}
