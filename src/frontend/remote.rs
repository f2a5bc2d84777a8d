//! The catalog and the replicas, as a front-end sees them.

use std::time::Duration;

use crate::neighbours::Neighbours;
use crate::roles::Roles;
use crate::server;
use crate::transport::CallError;
use crate::wire::lease::{
    FillReply, FillRequest, Registered, Registration, Renewal, RenewalReply, SessionId,
};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::{Purchase, PurchaseReply};
use crate::wire::replication::{
    CatalogStatus, Leadership, Nomination, NominationReply, OrderReply, ReplicaId, ReplicaStatus,
};
use crate::wire::toy::Toy;

/// How long a health check may take.
const CHECK: Duration = Duration::from_millis(250);
/// A nomination takes the nominee's call to the catalog and a sync of its disk.
const NOMINATION: Duration = Duration::from_secs(1);
/// A event is sent again with the next health check if it was lost.
const NOTICE: Duration = Duration::from_millis(250);
/// How long one question to the catalog may take, a sync of its disk included.
const QUESTION: Duration = Duration::from_millis(500);

/// One thread's connections.
pub(super) struct Remote(Neighbours);

impl Remote {
    pub(super) fn new(roles: &Roles) -> Self {
        Self(Neighbours::new(roles, None))
    }

    pub(super) async fn toy(&self, request: &FillRequest) -> Result<FillReply, CallError> {
        self.0.catalog.post("/internal/toy", request, QUESTION).await
    }

    pub(super) async fn toys(&self) -> Result<Vec<Toy>, CallError> {
        self.0.catalog.get("/internal/toys", QUESTION).await
    }

    pub(super) async fn status(&self) -> Result<CatalogStatus, CallError> {
        self.0.catalog.get("/internal/catalog-status", QUESTION).await
    }

    pub(super) async fn register(&self, request: Registration) -> Result<Registered, CallError> {
        self.0.catalog.post("/internal/register", &request, QUESTION).await
    }

    pub(super) async fn renew(&self, session: SessionId) -> Result<RenewalReply, CallError> {
        self.0.catalog.post("/internal/renew", &Renewal { session }, QUESTION).await
    }

    pub(super) async fn end(&self, session: SessionId) -> Result<(), CallError> {
        self.0.catalog.post("/internal/end", &Renewal { session }, QUESTION).await
    }

    pub(super) async fn check(&self, replica: ReplicaId) -> Result<ReplicaStatus, CallError> {
        self.0.replica(replica).get("/internal/status", CHECK).await
    }

    pub(super) async fn nominate(
        &self,
        replica: ReplicaId,
        nomination: Nomination,
    ) -> Result<NominationReply, CallError> {
        self.0.replica(replica).post("/internal/nominate", &nomination, NOMINATION).await
    }

    pub(super) async fn notify(
        &self,
        replica: ReplicaId,
        leadership: Leadership,
    ) -> Result<(), CallError> {
        self.0.replica(replica).post("/internal/leader", &leadership, NOTICE).await
    }

    pub(super) async fn purchase(
        &self,
        leader: ReplicaId,
        purchase: &Purchase,
        time_limit: Duration,
    ) -> Result<PurchaseReply, CallError> {
        // So long the leader holds the purchase for this attempt, and no longer.
        let path = format!("/internal/purchase?within_ms={}", time_limit.as_millis());
        self.0.replica(leader).post(&path, purchase, time_limit).await
    }

    pub(super) async fn order(
        &self,
        leader: ReplicaId,
        number: OrderNumber,
        time_limit: Duration,
    ) -> Result<OrderReply, CallError> {
        self.0.replica(leader).get(&format!("/internal/order/{number}"), time_limit).await
    }
}

impl server::Remote for Remote {
    fn on_behalf_of(&self, request_id: &str) -> Self {
        Self(self.0.on_behalf_of(request_id))
    }
}
