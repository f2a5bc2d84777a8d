//! The front-ends, as the catalog sees them.

use std::time::Duration;

use crate::roles::{Role, Roles};
use crate::transport::{CallError, Peer};
use crate::wire::lease::Invalidation;

/// How long one invalidation may take. A front-end that is slow but alive answers within it; one
/// that is stopped delays no purchase longer than its lease anyway.
const INVALIDATION_TIMEOUT: Duration = Duration::from_millis(500);

/// One thread's connections.
pub struct Remote {
    frontends: Vec<(u32, Peer)>,
}

impl Remote {
    /// Connections, made by `connect`, to all front-ends of `roles`.
    #[must_use]
    pub fn new(roles: &Roles, connect: impl Fn(Role) -> Peer) -> Self {
        let frontends = roles.frontends.iter().map(|frontend| frontend.id);
        Self {
            frontends: frontends.map(|number| (number, connect(Role::Frontend(number)))).collect(),
        }
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
