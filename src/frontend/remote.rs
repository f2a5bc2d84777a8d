//! The catalog and the replicas, as a front-end sees them.

use std::time::Duration;

use crate::roles::Roles;
use crate::server;
use crate::transport::{CallError, Peer};
use crate::wire::lease::{
    FillReply, FillRequest, Registered, Registration, Renewal, RenewalReply, SessionId,
};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::{Purchase, PurchaseReply};
use crate::wire::replication::{
    Leadership, Nomination, NominationReply, OrderReply, ReplicaId, ReplicaStatus, Standing,
};
use crate::wire::toy::Toy;

/// How long a health check may take.
const CHECK: Duration = Duration::from_millis(250);
/// A nomination takes the nominee's call to the catalog and a sync of its disk.
const NOMINATION: Duration = Duration::from_secs(1);
/// A notice is sent again with the next health check if it was lost.
const NOTICE: Duration = Duration::from_millis(250);
/// How long one question to the catalog may take, a sync of its disk included.
const QUESTION: Duration = Duration::from_millis(500);

/// One thread's connections.
pub(super) struct Remote {
    catalog: Peer,
    replicas: Vec<(ReplicaId, Peer)>,
}

impl Remote {
    pub(super) fn new(roles: &Roles) -> Self {
        let secret = roles.secret.as_ref();
        let replicas = roles.orders.iter();
        Self {
            catalog: Peer::new(&roles.catalog.address, secret),
            replicas: replicas.map(|order| (order.id, Peer::new(&order.address, secret))).collect(),
        }
    }

    pub(super) async fn toy(&self, request: &FillRequest) -> Result<FillReply, CallError> {
        self.catalog.post("/internal/toy", request, QUESTION).await
    }

    pub(super) async fn toys(&self) -> Result<Vec<Toy>, CallError> {
        self.catalog.get("/internal/toys", QUESTION).await
    }

    pub(super) async fn standing(&self) -> Result<Standing, CallError> {
        self.catalog.get("/internal/standing", QUESTION).await
    }

    pub(super) async fn register(&self, request: Registration) -> Result<Registered, CallError> {
        self.catalog.post("/internal/register", &request, QUESTION).await
    }

    pub(super) async fn renew(&self, session: SessionId) -> Result<RenewalReply, CallError> {
        self.catalog.post("/internal/renew", &Renewal { session }, QUESTION).await
    }

    pub(super) async fn check(&self, replica: ReplicaId) -> Result<ReplicaStatus, CallError> {
        self.replica(replica).get("/internal/status", CHECK).await
    }

    pub(super) async fn nominate(
        &self,
        replica: ReplicaId,
        nomination: Nomination,
    ) -> Result<NominationReply, CallError> {
        self.replica(replica).post("/internal/nominate", &nomination, NOMINATION).await
    }

    pub(super) async fn notify(
        &self,
        replica: ReplicaId,
        leadership: Leadership,
    ) -> Result<(), CallError> {
        self.replica(replica).post("/internal/leader", &leadership, NOTICE).await
    }

    pub(super) async fn purchase(
        &self,
        leader: ReplicaId,
        purchase: &Purchase,
        time_limit: Duration,
    ) -> Result<PurchaseReply, CallError> {
        self.replica(leader).post("/internal/purchase", purchase, time_limit).await
    }

    pub(super) async fn order(
        &self,
        leader: ReplicaId,
        number: OrderNumber,
        time_limit: Duration,
    ) -> Result<OrderReply, CallError> {
        self.replica(leader).get(&format!("/internal/order/{number}"), time_limit).await
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
