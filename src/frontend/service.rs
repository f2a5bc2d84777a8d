//! The front-end's use cases: where its decisions meet the other roles.
//!
//! What clients ask for is here; what the front-end does on its own time (its session with the
//! catalog, the selection of the leader) is in [`tasks`](super::tasks).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::core::cache::{Answer, Cache, Lookup};
use super::core::retry::{DEADLINE, Next, QUERY_DEADLINE, Retry};
use super::core::selection::{Attempt, Selection};
use super::misses::Misses;
use super::remote::Remote;
use crate::health::Readiness;
use crate::roles::{CacheSettings, Roles};
use crate::runtime::Runtime;
use crate::transport::{CallError, Unreachable};
use crate::wire::lease::{FillReply, FillRequest, SessionId, Version};
use crate::wire::order::{Order, OrderNumber};
use crate::wire::purchase::{Decision, Purchase, PurchaseReply};
use crate::wire::replication::{CatalogStatus, Leadership, OrderReply, ReplicaId};
use crate::wire::reply::Data;
use crate::wire::toy::{Toy, ToyName};

/// Purchases and order queries under way at once. Each costs the leader some memory and a
/// connection; beyond this, clients are told at once to come back.
const MOST_IN_FLIGHT: usize = 1_024;

/// A front-end, shared by all threads.
pub struct Service {
    /// Counted from 1.
    pub(super) number: u32,
    pub(super) settings: CacheSettings,
    pub(super) runtime: Arc<dyn Runtime>,
    /// A hit copies a pointer under this lock, which is cheaper than sharing the map between
    /// readers would be.
    cache: Mutex<Cache<Rendered>>,
    misses: Misses<Result<ToyAnswer, FrontendError>>,
    selection: Mutex<Selection>,
    /// The leader may be another one now: attempts in flight look again.
    leader_changed: Notify,
    /// Something was learned that the selection should act on.
    pub(super) selecting: Notify,
    in_flight: Semaphore,
    catalog: Mutex<Option<(CatalogStatus, Instant)>>,
}

/// A toy's answer.
#[derive(Clone, Debug)]
pub enum ToyAnswer {
    /// The toy.
    Found(Rendered, Source),
    /// There is no such toy.
    Unknown,
}

/// A toy as clients get it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The JSON body.
    pub body: Bytes,
    /// The toy's version.
    pub version: Version,
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this front-end's cache.
    Cache,
    /// From the catalog.
    Catalog,
}

/// Why a client gets a 503.
#[derive(Clone, Debug)]
pub enum FrontendError {
    /// Too many purchases and order queries are in flight.
    Overloaded,
    /// The catalog did not answer.
    NoCatalog(String),
    /// No replica leads.
    NoLeader,
    /// The outcome of a purchase is unknown.
    Undecided(String),
}

impl Service {
    /// Front-end `number`, counted from 1.
    #[must_use]
    pub fn new(number: u32, roles: &Roles, runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self {
            number,
            settings: roles.cache,
            runtime,
            cache: Mutex::new(Cache::new(roles.cache.capacity)),
            misses: Misses::default(),
            selection: Mutex::new(Selection::new(roles.orders.iter().map(|order| order.id))),
            leader_changed: Notify::new(),
            selecting: Notify::new(),
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            catalog: Mutex::new(None),
        })
    }

    /// One toy, from the cache if it can be.
    ///
    /// # Errors
    ///
    /// If there was no answer in time.
    pub async fn toy(&self, remote: &Remote, name: &str) -> Result<ToyAnswer, FrontendError> {
        if name.len() > ToyName::LONGEST {
            return Ok(ToyAnswer::Unknown);
        }
        if !self.settings.enabled {
            return self.ask_for_toy(remote, name, None).await;
        }
        let lookup = self.cached(|cache| cache.look_up(name, self.runtime.now()));
        let was_known = !matches!(lookup, Lookup::Miss(_));
        match lookup.confirmed(self.runtime.now()) {
            Answer::Hit(toy) => Ok(ToyAnswer::Found(toy, Source::Cache)),
            Answer::Unknown => Ok(ToyAnswer::Unknown),
            Answer::Ask(session) => {
                if was_known {
                    log::debug!("the lease ended while the cache was read; the catalog is asked");
                }
                self.ask_for_toy(remote, name, session).await
            }
        }
    }

    /// All toys, in catalog order.
    pub(super) async fn toys(&self, remote: &Remote) -> Result<Vec<Toy>, FrontendError> {
        self.ask_catalog(|| remote.toys()).await
    }

    /// A purchase, decided once whatever happens on the way.
    ///
    /// # Errors
    ///
    /// If there was no answer in time.
    pub async fn purchase(
        &self,
        remote: &Remote,
        purchase: &Purchase,
    ) -> Result<Decision, FrontendError> {
        if purchase.name.as_str().len() > ToyName::LONGEST {
            return Ok(Decision::UnknownToy);
        }
        self.ask_leader(async |leader, time_limit| {
            match remote.purchase(leader, purchase, time_limit).await? {
                PurchaseReply::Decided(decision) => Ok(Ok(decision)),
                PurchaseReply::NotLeader(leadership) => Ok(Err(leadership)),
            }
        })
        .await
    }

    /// One order. `None` if there is no such order.
    ///
    /// # Errors
    ///
    /// If there was no answer in time.
    pub async fn order(
        &self,
        remote: &Remote,
        number: OrderNumber,
    ) -> Result<Option<Order>, FrontendError> {
        self.ask_leader(async |leader, time_limit| {
            match remote.order(leader, number, time_limit).await? {
                OrderReply::Found(order) => Ok(Ok(Some(order))),
                OrderReply::Unknown => Ok(Ok(None)),
            }
        })
        .await
    }

    /// Drops toys that are about to change.
    pub(super) fn invalidate(&self, session: SessionId, toys: &[(ToyName, Version)]) {
        self.cached(|cache| cache.invalidate(session, toys));
    }

    pub(super) fn heard_from_catalog(&self, status: CatalogStatus, asked: Instant) {
        *self.catalog.lock().expect("nothing panics under this lock") = Some((status, asked));
    }

    /// The catalog's status, if it answered lately.
    pub(super) fn catalog(&self) -> Option<CatalogStatus> {
        let heard = *self.catalog.lock().expect("nothing panics under this lock");
        heard
            .filter(|(_, asked)| self.runtime.now() < *asked + QUERY_DEADLINE)
            .map(|(status, _)| status)
    }

    pub(super) fn cached<T>(&self, work: impl FnOnce(&mut Cache<Rendered>) -> T) -> T {
        work(&mut self.cache.lock().expect("nothing panics under this lock"))
    }

    /// Reads the selection, or has it take note of something. Whoever waits for another leader
    /// hears of it.
    pub(super) fn select<T>(&self, work: impl FnOnce(&mut Selection) -> T) -> T {
        let (outcome, before, after) = {
            let mut selection = self.selection.lock().expect("nothing panics under this lock");
            let before = (selection.leadership(), selection.leader());
            let outcome = work(&mut selection);
            (outcome, before, (selection.leadership(), selection.leader()))
        };
        if before != after {
            match after {
                (leadership, Some(_)) => log::info!("{leadership}"),
                (_, None) => log::warn!("{} is gone", describe(before.1)),
            }
            self.leader_changed.notify_waiters();
            self.selecting.notify_one();
        }
        outcome
    }

    /// Asks the catalog for a toy, together with all who wait for the same by then.
    async fn ask_for_toy(
        &self,
        remote: &Remote,
        name: &str,
        session: Option<SessionId>,
    ) -> Result<ToyAnswer, FrontendError> {
        let request = FillRequest { name: name.into(), session };
        let answer = self.misses.ask(request.name.clone(), self.fill(remote, request));
        match self.runtime.timeout(QUERY_DEADLINE, answer).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(FrontendError::NoCatalog("the front-end is ending".into())),
            Err(_elapsed) => Err(FrontendError::NoCatalog("it did not answer in time".into())),
        }
    }

    async fn fill(
        &self,
        remote: &Remote,
        request: FillRequest,
    ) -> Result<ToyAnswer, FrontendError> {
        match self.ask_catalog(|| remote.toy(&request)).await? {
            FillReply::Unknown => Ok(ToyAnswer::Unknown),
            FillReply::Found(fill) => {
                let body = serde_json::to_vec(&Data { data: &fill.toy });
                let body = Bytes::from(body.expect("a toy can be written as JSON"));
                let toy = Rendered { body, version: fill.version };
                let is_cached = self.cached(|cache| cache.filled(&fill, toy.clone()));
                if !is_cached && fill.cacheable_under.is_some() {
                    log::debug!("an invalidation overtook the answer for {}", fill.toy.name);
                }
                Ok(ToyAnswer::Found(toy, Source::Catalog))
            }
        }
    }

    async fn ask_catalog<T, F>(&self, ask: impl Fn() -> F) -> Result<T, FrontendError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut retry = Retry::new(self.runtime.now(), QUERY_DEADLINE);
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match retry.failed(self.runtime.now()) {
                Next::Again(pause) => self.runtime.sleep(pause).await,
                Next::GiveUp => return Err(FrontendError::NoCatalog(error.to_string())),
            }
        }
    }

    /// Asks the leader until there is an answer. An attempt ends when another replica leads.
    async fn ask_leader<T>(
        &self,
        ask: impl AsyncFn(ReplicaId, Duration) -> Result<Result<T, Leadership>, CallError>,
    ) -> Result<T, FrontendError> {
        let Ok(_place) = self.in_flight.try_acquire() else {
            return Err(FrontendError::Overloaded);
        };
        let mut retry = Retry::new(self.runtime.now(), DEADLINE);
        let mut error = FrontendError::NoLeader;
        loop {
            // A change from here on ends the pause below.
            let changed = self.leader_changed.notified();
            if let Some(leader) = self.select(|selection| selection.leader()) {
                let attempt = ask(leader, retry.time_limit(self.runtime.now()));
                tokio::select! {
                    biased;
                    answer = attempt => match self.judge(leader, answer) {
                        Ok(answer) => return Ok(answer),
                        Err(problem) => error = problem,
                    },
                    () = self.another_than(leader) => {
                        log::debug!("an attempt at replica {leader} ends: another replica leads");
                        continue;
                    }
                }
            }
            let Next::Again(pause) = retry.failed(self.runtime.now()) else { return Err(error) };
            let _either = self.runtime.timeout(pause, changed).await;
        }
    }

    /// What an attempt's outcome tells of the replica, and the answer if there is one.
    fn judge<T>(
        &self,
        replica: ReplicaId,
        outcome: Result<Result<T, Leadership>, CallError>,
    ) -> Result<T, FrontendError> {
        let (attempt, answer) = match outcome {
            Ok(Ok(answer)) => (Attempt::Answered, Ok(answer)),
            Ok(Err(leadership)) => (Attempt::NotLeader(leadership), Err(FrontendError::NoLeader)),
            Err(error) => {
                log::debug!("replica {replica} gave no answer: {error}");
                let attempt = match error {
                    CallError::Unreachable(Unreachable::NobodyListens) => Attempt::Gone,
                    CallError::Unreachable(_) | CallError::Refused { .. } => Attempt::Unanswered,
                };
                (attempt, Err(FrontendError::Undecided(error.to_string())))
            }
        };
        self.select(|selection| selection.attempted(replica, attempt));
        answer
    }

    /// Ends when another replica than `leader` leads.
    async fn another_than(&self, leader: ReplicaId) {
        loop {
            let changed = self.leader_changed.notified();
            if !self.select(|selection| selection.leadership().is_led_by(leader)) {
                return;
            }
            changed.await;
        }
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        if self.catalog().is_none() {
            return Err("the catalog is unreachable".into());
        }
        if self.settings.enabled && !self.cached(|cache| cache.has_lease(self.runtime.now())) {
            return Err("there is no session with the catalog yet".into());
        }
        match self.select(|selection| selection.leader()) {
            Some(_) => Ok(()),
            None => Err("no order replica leads".into()),
        }
    }
}

fn describe(leader: Option<ReplicaId>) -> String {
    leader.map_or_else(|| "the leader".to_owned(), |id| format!("leader {id}"))
}

impl std::fmt::Display for FrontendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overloaded => f.write_str("too many requests are in flight; retry in a moment"),
            Self::NoCatalog(problem) => write!(f, "the catalog is unreachable: {problem}"),
            Self::NoLeader => f.write_str("no order replica leads; retry in a moment"),
            Self::Undecided(problem) => {
                write!(f, "no answer in time ({problem}); retry with the same Idempotency-Key")
            }
        }
    }
}
