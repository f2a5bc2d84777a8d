//! The front-ends and the replicas, as the catalog sees them.

use std::time::Duration;

use crate::roles::{Role, Roles};
use crate::transport::{CallError, Peer};
use crate::wire::calls::GetStatus;
use crate::wire::lease::Invalidation;
use crate::wire::replication::ReplicaId;

/// How long one invalidation may take. A front-end that is slow but alive answers within it; one
/// that is stopped delays no purchase longer than its lease anyway.
const INVALIDATION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the replicas have to say how long their logs are.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// One thread's connections.
pub struct Remote {
    frontends: Vec<(u32, Peer)>,
    replicas: Vec<Peer>,
}

impl Remote {
    /// Connections, made by `connect`, to all front-ends and replicas of `roles`.
    #[must_use]
    pub fn new(roles: &Roles, connect: impl Fn(Role) -> Peer) -> Self {
        let frontends = (1..).zip(&roles.frontends).map(|(number, _)| number);
        let replicas = roles.orders.iter().map(|order| Role::Order(order.id));
        Self {
            frontends: frontends.map(|number| (number, connect(Role::Frontend(number)))).collect(),
            replicas: replicas.map(&connect).collect(),
        }
    }

    /// Asks all replicas how long their logs are. Returns the longest among those that answer.
    pub(super) async fn longest_log(&self) -> Option<(ReplicaId, u64)> {
        let questions = self.replicas.iter().map(async |replica| {
            let status = replica.call(&GetStatus {}, STATUS_TIMEOUT).await.ok()?;
            Some((status.id, status.log.length))
        });
        let answers = futures_util::future::join_all(questions).await;
        answers.into_iter().flatten().max_by_key(|(_, length)| *length)
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
