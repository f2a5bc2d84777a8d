//! The catalog and the other replicas, as a replica sees them.

use std::time::Duration;

use crate::roles::Roles;
use crate::server;
use crate::transport::{CallError, Peer};
use crate::wire::order::{OrderNumber, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, OrderReply, ReplicaId, Standing,
};

/// One attempt at anything that takes a disk's sync or two. Attempts are repeated, by key.
const ATTEMPT: Duration = Duration::from_millis(600);
/// A batch may have to wait at the catalog behind a restock's grace and another leader's batch.
const COMMIT: Duration = Duration::from_secs(1);
/// A health check, or a question that is answered from memory.
const QUESTION: Duration = Duration::from_millis(300);
/// A message full of rows, each side's disk included.
const ROWS: Duration = Duration::from_secs(2);

/// One thread's connections.
pub(super) struct Remote {
    catalog: Peer,
    replicas: Vec<(ReplicaId, Peer)>,
}

impl Remote {
    /// Connections to all but the replica `id` itself.
    pub(super) fn new(roles: &Roles, id: ReplicaId) -> Self {
        let secret = roles.secret.as_ref();
        let others = roles.orders.iter().filter(|order| order.id != id);
        Self {
            catalog: Peer::new(&roles.catalog.address, secret),
            replicas: others.map(|order| (order.id, Peer::new(&order.address, secret))).collect(),
        }
    }

    /// The other replicas.
    pub(super) fn others(&self) -> impl Iterator<Item = ReplicaId> {
        self.replicas.iter().map(|(id, _)| *id)
    }

    pub(super) async fn standing(&self) -> Result<Standing, CallError> {
        self.catalog.get("/internal/standing", QUESTION).await
    }

    pub(super) async fn commit(&self, request: &CommitRequest) -> Result<CommitReply, CallError> {
        self.catalog.post("/internal/commit", request, COMMIT).await
    }

    pub(super) async fn acquire(
        &self,
        request: &Acquisition,
    ) -> Result<AcquisitionReply, CallError> {
        self.catalog.post("/internal/acquire", request, ATTEMPT).await
    }

    pub(super) async fn order(&self, number: OrderNumber) -> Result<OrderReply, CallError> {
        self.catalog.get(&format!("/internal/order/{number}"), ATTEMPT).await
    }

    pub(super) async fn journal(&self, from: u64) -> Result<Rows, CallError> {
        self.catalog.get(&format!("/internal/journal/{from}"), ROWS).await
    }

    /// What another replica has from number `from` on; nothing if its log ends before.
    pub(super) async fn rows(&self, replica: ReplicaId, from: u64) -> Result<Rows, CallError> {
        self.replica(replica).get(&format!("/internal/rows/{from}"), ROWS).await
    }

    pub(super) async fn append(
        &self,
        follower: ReplicaId,
        request: &AppendRequest,
    ) -> Result<AppendReply, CallError> {
        self.replica(follower).post("/internal/append", request, ROWS).await
    }

    fn replica(&self, id: ReplicaId) -> &Peer {
        let found = self.replicas.iter().find(|(replica, _)| *replica == id);
        &found.expect("only the replicas of roles.toml are asked").1
    }
}

impl server::Remote for Remote {
    fn on_behalf_of(&self, request_id: &str) -> Self {
        let replicas = self.replicas.iter();
        Self {
            catalog: self.catalog.on_behalf_of(request_id),
            replicas: replicas.map(|(id, peer)| (*id, peer.on_behalf_of(request_id))).collect(),
        }
    }
}
