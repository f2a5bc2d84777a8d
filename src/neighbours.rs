//! The catalog and the order replicas, as a front-end or another replica reaches them.

use crate::roles::Roles;
use crate::transport::Peer;
use crate::wire::replication::ReplicaId;

/// One thread's connections to them.
pub struct Neighbours {
    /// The catalog.
    pub catalog: Peer,
    replicas: Vec<(ReplicaId, Peer)>,
}

impl Neighbours {
    /// Connections to the catalog and to the replicas but for `own`, if it is a replica's.
    #[must_use]
    pub fn new(roles: &Roles, own: Option<ReplicaId>) -> Self {
        let secret = roles.secret.as_ref();
        let others = roles.orders.iter().filter(|order| Some(order.id) != own);
        Self {
            catalog: Peer::new(&roles.catalog.address, secret),
            replicas: others.map(|order| (order.id, Peer::new(&order.address, secret))).collect(),
        }
    }

    /// The same connections, for the client's request with this `X-Request-Id`.
    #[must_use]
    pub fn on_behalf_of(&self, request_id: &str) -> Self {
        let replicas = self.replicas.iter();
        Self {
            catalog: self.catalog.on_behalf_of(request_id),
            replicas: replicas.map(|(id, peer)| (*id, peer.on_behalf_of(request_id))).collect(),
        }
    }

    /// The replicas' ids.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.replicas.iter().map(|(id, _)| *id)
    }

    /// One replica.
    ///
    /// # Panics
    ///
    /// If `roles.toml` has no such replica, or it is this one itself.
    #[must_use]
    pub fn replica(&self, id: ReplicaId) -> &Peer {
        let found = self.replicas.iter().find(|(replica, _)| *replica == id);
        &found.expect("only the replicas of roles.toml are asked").1
    }
}
