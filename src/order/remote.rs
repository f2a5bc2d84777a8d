//! The catalog and the other replicas, as a replica sees them.

use std::rc::Rc;
use std::time::Duration;

use crate::catalogs::Catalogs;
use crate::neighbours::Neighbours;
use crate::roles::{Role, Roles};
use crate::server;
use crate::transport::{CallError, Peer};
use crate::wire::calls::{GetJournal, GetOrder, GetRows, LogReport};
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogReport, OrderReply, ReplicaId,
};
use crate::wire::timing::{ServerTiming, TimingNote};
use crate::wire::trace::RequestOrigin;

/// One attempt at anything that takes a disk's sync or two. Attempts are repeated, by key.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(600);
/// A batch may have to wait at the catalog behind a restock's grace and another leader's batch.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// A question that is answered from memory.
const STATUS_TIMEOUT: Duration = Duration::from_millis(300);
/// A message full of rows, each side's disk included.
const ROWS_TIMEOUT: Duration = Duration::from_secs(2);

/// One thread's connections.
pub struct Remote(Neighbours);

impl Remote {
    /// Connections, made by `connect`, to the catalog and to all replicas but `id` itself.
    #[must_use]
    pub fn new(roles: &Roles, id: ReplicaId, connect: impl Fn(Role) -> Peer) -> Self {
        Self(Neighbours::new(roles, Some(id), connect))
    }

    /// The catalog, or several.
    pub(super) fn catalogs(&self) -> &Catalogs {
        &self.0.catalog
    }

    /// The other replicas.
    pub(super) fn others(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.replicas()
    }

    /// Tells the catalog where this replica's log ends, and asks for its status.
    pub(super) async fn report(
        &self,
        id: ReplicaId,
        log: Position,
    ) -> Result<CatalogReport, CallError> {
        let report = LogReport { own: Some((id, log)), relayed: Vec::new() };
        self.0.catalog.call(&report, STATUS_TIMEOUT).await
    }

    /// Sends a batch to the catalog. Returns its answer, and where its time went.
    pub(super) async fn commit(
        &self,
        request: &CommitRequest,
    ) -> Result<(CommitReply, ServerTiming), CallError> {
        let timing = TimingNote::default();
        let catalog = self.0.catalog.on_behalf_of(&Rc::default(), &timing);
        let reply = catalog.call(request, COMMIT_TIMEOUT).await?;
        match &reply {
            CommitReply::Decided { verdicts, .. } if verdicts.len() != request.purchases.len() => {
                Err(CallError::broken("invalid answer: there is not a verdict for each purchase"))
            }
            CommitReply::Decided { .. } | CommitReply::Deposed(_) => Ok((reply, timing.get())),
        }
    }

    pub(super) async fn acquire(
        &self,
        request: &Acquisition,
    ) -> Result<AcquisitionReply, CallError> {
        let reply = self.0.catalog.call(request, ATTEMPT_TIMEOUT).await?;
        match reply {
            AcquisitionReply::Won { leadership, .. } if !leadership.is_led_by(request.nominee) => {
                Err(CallError::broken("invalid answer: another replica has won"))
            }
            AcquisitionReply::Won { .. }
            | AcquisitionReply::Lost(_)
            | AcquisitionReply::Foreign { .. } => Ok(reply),
        }
    }

    pub(super) async fn order(&self, number: OrderNumber) -> Result<OrderReply, CallError> {
        self.0.catalog.call(&GetOrder { number: number.0 }, ATTEMPT_TIMEOUT).await
    }

    pub(super) async fn journal(&self, from: u64) -> Result<Rows, CallError> {
        self.0.catalog.call(&GetJournal { from }, ROWS_TIMEOUT).await
    }

    /// Asks another replica for its rows from number `from` on; none if its log ends before.
    pub(super) async fn rows(&self, replica: ReplicaId, from: u64) -> Result<Rows, CallError> {
        self.0.replica(replica).call(&GetRows { from }, ROWS_TIMEOUT).await
    }

    pub(super) async fn append(
        &self,
        follower: ReplicaId,
        request: &AppendRequest,
    ) -> Result<AppendReply, CallError> {
        self.0.replica(follower).call(request, ROWS_TIMEOUT).await
    }
}

impl server::OnBehalf for Remote {
    fn on_behalf_of(&self, origin: &Rc<RequestOrigin>) -> Self {
        Self(self.0.on_behalf_of(origin))
    }
}
