//! frontend
/// Runs it.
pub async fn run(_listener: std::net::TcpListener, _roles: &crate::roles::Roles, _number: u32, _stop: tokio_util::sync::CancellationToken) -> Result<(), crate::process::RoleError> { Ok(()) }
