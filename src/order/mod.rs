//! order
pub mod queue;
pub mod replica;
/// Runs it.
pub async fn run(_listener: std::net::TcpListener, _roles: &crate::roles::Roles, _id: crate::wire::replication::ReplicaId, _stop: tokio_util::sync::CancellationToken) -> Result<(), crate::process::RoleError> { Ok(()) }
