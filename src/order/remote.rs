//! The catalog and the other replicas, as a replica sees them.

use std::time::Duration;

use crate::neighbours::Neighbours;
use crate::roles::Roles;
use crate::server;
use crate::transport::{CallError, Unreachable};
use crate::wire::order::{OrderNumber, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogStatus, OrderReply, ReplicaId,
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
pub(super) struct Remote(Neighbours);

impl Remote {
    /// Connections to all but the replica `id` itself.
    pub(super) fn new(roles: &Roles, id: ReplicaId) -> Self {
        Self(Neighbours::new(roles, Some(id)))
    }

    /// The other replicas.
    pub(super) fn others(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.replicas()
    }

    pub(super) async fn status(&self) -> Result<CatalogStatus, CallError> {
        self.0.catalog.get("/internal/catalog-status", QUESTION).await
    }

    pub(super) async fn commit(&self, request: &CommitRequest) -> Result<CommitReply, CallError> {
        let reply = self.0.catalog.post("/internal/commit", request, COMMIT).await?;
        match &reply {
            CommitReply::Decided { verdicts, .. } if verdicts.len() != request.purchases.len() => {
                Err(nonsense("there is not a verdict for each purchase"))
            }
            CommitReply::Decided { .. } | CommitReply::Deposed(_) => Ok(reply),
        }
    }

    pub(super) async fn acquire(
        &self,
        request: &Acquisition,
    ) -> Result<AcquisitionReply, CallError> {
        let reply = self.0.catalog.post("/internal/acquire", request, ATTEMPT).await?;
        match reply {
            AcquisitionReply::Won { leadership, .. } if !leadership.is_led_by(request.nominee) => {
                Err(nonsense("another replica has won"))
            }
            AcquisitionReply::Won { .. }
            | AcquisitionReply::Lost(_)
            | AcquisitionReply::Foreign { .. } => Ok(reply),
        }
    }

    pub(super) async fn order(&self, number: OrderNumber) -> Result<OrderReply, CallError> {
        self.0.catalog.get(&format!("/internal/order/{number}"), ATTEMPT).await
    }

    pub(super) async fn journal(&self, from: u64) -> Result<Rows, CallError> {
        self.0.catalog.get(&format!("/internal/journal/{from}"), ROWS).await
    }

    /// What another replica has from number `from` on; nothing if its log ends before.
    pub(super) async fn rows(&self, replica: ReplicaId, from: u64) -> Result<Rows, CallError> {
        self.0.replica(replica).get(&format!("/internal/rows/{from}"), ROWS).await
    }

    pub(super) async fn append(
        &self,
        follower: ReplicaId,
        request: &AppendRequest,
    ) -> Result<AppendReply, CallError> {
        self.0.replica(follower).post("/internal/append", request, ROWS).await
    }
}

/// An answer that is well-formed and cannot be one to what was asked.
fn nonsense(problem: &str) -> CallError {
    CallError::Unreachable(Unreachable::Broken(format!("the answer makes no sense: {problem}")))
}

impl server::Remote for Remote {
    fn on_behalf_of(&self, request_id: &str) -> Self {
        Self(self.0.on_behalf_of(request_id))
    }
}
