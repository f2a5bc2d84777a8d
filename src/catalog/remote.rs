//! The front-ends and the replicas, as the catalog sees them.

use std::time::Duration;

use crate::roles::{Role, Roles};
use crate::transport::{CallError, Peer};
use crate::wire::calls::GetLog;
use crate::wire::lease::Invalidation;
use crate::wire::replication::{LogEnd, ReplicaId};

/// How long one invalidation may take. A front-end that is slow but alive answers within it; one
/// that is stopped delays no purchase longer than its lease anyway.
const INVALIDATION_TIMEOUT: Duration = Duration::from_millis(500);

/// A question that is answered from memory.
const LOG_TIMEOUT: Duration = Duration::from_millis(300);

/// One thread's connections.
pub struct Remote {
    frontends: Vec<(u32, Peer)>,
    replicas: Vec<(ReplicaId, Peer)>,
}

impl Remote {
    /// Connections, made by `connect`, to all front-ends and replicas of `roles`.
    #[must_use]
    pub fn new(roles: &Roles, connect: impl Fn(Role) -> Peer) -> Self {
        let frontends = roles.frontends.iter().map(|frontend| frontend.id);
        let replicas = roles.orders.iter().map(|order| order.id);
        Self {
            frontends: frontends.map(|number| (number, connect(Role::Frontend(number)))).collect(),
            replicas: replicas.map(|id| (id, connect(Role::Order(id)))).collect(),
        }
    }

    /// Asks a replica of `roles.toml` where its log ends.
    pub(super) async fn log_of(&self, replica: ReplicaId) -> Result<LogEnd, CallError> {
        let found = self.replicas.iter().find(|(id, _)| *id == replica);
        let (_, peer) = found.expect("no other replica's log is noted");
        peer.call(&GetLog {}, LOG_TIMEOUT).await
    }

    /// Tells a front-end to drop toys. `None` if there is no such front-end.
    pub(super) async fn invalidate(
        &self,
        frontend: u32,
        invalidation: &Invalidation,
    ) -> Option<Result<(), CallError>> {
        let (_, peer) = self.frontends.iter().find(|(number, _)| *number == frontend)?;
        Some(peer.call(invalidation, INVALIDATION_TIMEOUT).await)
    }
}
