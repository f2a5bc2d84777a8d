//! The catalog and the replicas, as a front-end sees them.

use std::rc::Rc;
use std::time::Duration;

use actix_web::web::Bytes;

use super::answers::{FrontendError, ToyAnswer};
use super::single_flight::SingleFlight;
use crate::catalogs::Catalogs;
use crate::events::Traces;
use crate::neighbours::Neighbours;
use crate::roles::{Role, Roles};
use crate::server;
use crate::transport::{CallError, Peer};
use crate::wire::calls::{Buy, EndSession, GetOrder, GetStatus, GetToys, LogReport};
use crate::wire::lease::{
    FillReply, FillRequest, Registered, Registration, Renewal, RenewalReply, SessionId,
};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::{Purchase, PurchaseReply};
use crate::wire::recording::{ChangesQuery, EventsQuery, RoleChanges, RoleEvents};
use crate::wire::replication::{
    CatalogReport, Leadership, Nomination, NominationReply, OrderReply, ReplicaId, ReplicaStatus,
};
use crate::wire::timing::ServerTiming;
use crate::wire::toy::{Toy, ToyName};
use crate::wire::trace::RequestOrigin;

/// A nomination takes the nominee's call to the catalog and a sync of its disk.
const NOMINATION_TIMEOUT: Duration = Duration::from_secs(1);
/// A lost message about who leads is sent again after the next health check.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(250);
/// How long one question to the catalog may take, a sync of its disk included.
const CATALOG_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the catalog may take to list all toys: 100,000 of them take about a tenth of it.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a role may take to render what it has recorded: all of it takes some milliseconds.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to tell what has changed since the last time, which is little. A page is
/// told what the others answered when the slowest has.
const CHANGES_TIMEOUT: Duration = Duration::from_millis(250);

/// The most bytes that a list has for a toy besides its name.
const LISTED: usize = 100;

/// Calls for one toy that a thread has under way at most: so many that a few clients need not wait,
/// and so few that many of them share.
const MOST_CALLS_FOR_A_TOY: usize = 4;
/// Calls for the list of all toys, which may take a tenth of a second of both roles.
const MOST_CALLS_FOR_LISTS: usize = 1;

/// The calls to the catalog whose answers a thread's clients share. Where its time went is told to
/// the client that made the call.
pub(super) struct SharedCalls {
    /// For a toy.
    pub(super) misses: SingleFlight<ToyName, Result<ToyAnswer, FrontendError>>,
    /// For the list of all toys, as clients get it.
    pub(super) lists: SingleFlight<(), Result<Bytes, FrontendError>>,
}

/// One thread's connections.
pub struct Remote {
    neighbours: Neighbours,
    /// All front-ends, this one included, which is not asked.
    frontends: Rc<[(u32, Peer)]>,
    shared: Rc<SharedCalls>,
    /// The most bytes of a list of all toys.
    largest_list: usize,
}

impl Remote {
    /// Connections, made by `connect`, to the catalog and to all replicas.
    #[must_use]
    pub fn new(roles: &Roles, connect: impl Fn(Role) -> Peer) -> Self {
        // In JSON, quotation marks and backslashes take two bytes.
        let listed = roles.catalog.toys.iter().map(|toy| 2 * toy.name.as_str().len() + LISTED);
        let frontends = roles.frontends.iter().map(|frontend| frontend.id);
        Self {
            frontends: frontends.map(|id| (id, connect(Role::Frontend(id)))).collect(),
            neighbours: Neighbours::new(roles, None, connect),
            shared: Rc::default(),
            largest_list: listed.sum(),
        }
    }

    /// The catalog, or several.
    pub(super) fn catalogs(&self) -> &Catalogs {
        &self.neighbours.catalog
    }

    /// The calls that this thread has under way for its clients together.
    pub(super) fn shared(&self) -> &SharedCalls {
        &self.shared
    }

    /// The traces of the request that calls are made for.
    pub(super) fn traces(&self) -> Traces {
        Traces::of_origin(self.neighbours.catalog.origin())
    }

    pub(super) async fn toy(&self, request: &FillRequest) -> Result<FillReply, CallError> {
        self.neighbours.catalog.call(request, CATALOG_TIMEOUT).await
    }

    pub(super) async fn toys(&self) -> Result<Vec<Toy>, CallError> {
        self.neighbours.catalog.call_up_to(&GetToys {}, LIST_TIMEOUT, self.largest_list).await
    }

    /// Tells the catalog how long the replicas' logs are, and asks for its status.
    pub(super) async fn report(&self, report: &LogReport) -> Result<CatalogReport, CallError> {
        self.neighbours.catalog.call(report, CATALOG_TIMEOUT).await
    }

    pub(super) async fn register(&self, request: Registration) -> Result<Registered, CallError> {
        self.neighbours.catalog.call_up_to(&request, LIST_TIMEOUT, self.largest_list).await
    }

    pub(super) async fn renew(&self, session: SessionId) -> Result<RenewalReply, CallError> {
        self.neighbours.catalog.call(&Renewal { session }, CATALOG_TIMEOUT).await
    }

    pub(super) async fn end(&self, session: SessionId) -> Result<(), CallError> {
        self.neighbours.catalog.call(&EndSession { session }, CATALOG_TIMEOUT).await
    }

    /// The ids of all replicas.
    pub(super) fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.neighbours.replicas()
    }

    pub(super) async fn check(
        &self,
        replica: ReplicaId,
        limit: Duration,
    ) -> Result<ReplicaStatus, CallError> {
        self.neighbours.replica(replica).call(&GetStatus {}, limit).await
    }

    pub(super) async fn nominate(
        &self,
        replica: ReplicaId,
        nomination: Nomination,
    ) -> Result<NominationReply, CallError> {
        self.neighbours.replica(replica).call(&nomination, NOMINATION_TIMEOUT).await
    }

    pub(super) async fn notify(
        &self,
        replica: ReplicaId,
        leadership: Leadership,
    ) -> Result<(), CallError> {
        self.neighbours.replica(replica).call(&leadership, NOTIFY_TIMEOUT).await
    }

    pub(super) async fn purchase(
        &self,
        leader: ReplicaId,
        purchase: Purchase,
        time_limit: Duration,
    ) -> Result<PurchaseReply, CallError> {
        let within_ms = u64::try_from(time_limit.as_millis()).ok();
        let call = Buy { purchase, within_ms };
        self.neighbours.replica(leader).call(&call, time_limit).await
    }

    /// Asks a role for what it has recorded. `None` if it does not answer.
    pub(super) async fn events(&self, role: Role, query: &EventsQuery) -> Option<RoleEvents> {
        self.peer(role)?.call(query, EVENTS_TIMEOUT).await.ok()
    }

    /// Asks a role what has changed. `None` if it does not answer.
    pub(super) async fn changes(&self, role: Role, query: &ChangesQuery) -> Option<RoleChanges> {
        self.peer(role)?.call(query, CHANGES_TIMEOUT).await.ok()
    }

    fn peer(&self, role: Role) -> Option<&Peer> {
        Some(match role {
            Role::Catalog | Role::CatalogProcess(_) => self.neighbours.catalog.process(role)?,
            Role::Order(id) => self.neighbours.replica(id),
            Role::Frontend(number) => &self.frontends.iter().find(|(id, _)| *id == number)?.1,
        })
    }

    pub(super) async fn order(
        &self,
        leader: ReplicaId,
        number: OrderNumber,
        time_limit: Duration,
    ) -> Result<OrderReply, CallError> {
        self.neighbours.replica(leader).call(&GetOrder { number: number.0 }, time_limit).await
    }

    /// Returns where the time of the calls went that were made on behalf of a request.
    pub(super) fn timing(&self) -> ServerTiming {
        self.neighbours.timing()
    }
}

impl Default for SharedCalls {
    fn default() -> Self {
        Self {
            misses: SingleFlight::new(MOST_CALLS_FOR_A_TOY),
            lists: SingleFlight::new(MOST_CALLS_FOR_LISTS),
        }
    }
}

impl server::OnBehalf for Remote {
    fn on_behalf_of(&self, origin: &Rc<RequestOrigin>) -> Self {
        Self {
            neighbours: self.neighbours.on_behalf_of(origin),
            frontends: Rc::clone(&self.frontends),
            shared: Rc::clone(&self.shared),
            largest_list: self.largest_list,
        }
    }
}
