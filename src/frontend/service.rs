//! The front-end's use cases: where its decisions meet the other roles.
//!
//! What clients ask for is here; what the front-end does on its own time (its session with the
//! catalog, the selection of the leader) is in [`tasks`](super::tasks).

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::web::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::answers::{FrontendError, Rendered, Source, ToyAnswer};
use super::core::cache::{Cache, ConfirmedLookup, Lookup};
use super::core::retried::Retried;
use super::core::retry::{QUERY_DEADLINE, Retry, RetryDecision};
use super::core::selection::Selection;
use super::leader::{NotAnswered, Question};
use super::metrics::FrontendMetrics;
use super::readiness::SalesStop;
use super::remote::Remote;
use super::reports::CatalogReports;
use super::view::Watched;
use crate::events::Traces;
use crate::identity::Identity;
use crate::roles::{CacheSettings, Role, Roles};
use crate::runtime::Runtime;
use crate::server::Ration;
use crate::transport::CallError;
use crate::wire::calls::{Call as _, Refusal};
use crate::wire::lease::{FillReply, FillRequest, Invalidation, SessionId};
use crate::wire::order::{Order, OrderNumber};
use crate::wire::purchase::{Decision, Purchase, PurchaseReply};
use crate::wire::replication::OrderReply;
use crate::wire::reply::Data;
use crate::wire::toy::ToyName;

/// Purchases and order queries under way at once. Each costs the leader some memory and a
/// connection; beyond this, clients are told at once to come back.
pub(super) const MOST_IN_FLIGHT: usize = 1_024;

/// A front-end, shared by all threads.
pub struct Service {
    /// Who this front-end is.
    pub identity: Arc<Identity>,
    /// Its id.
    pub(super) number: u32,
    pub(super) settings: CacheSettings,
    pub(super) runtime: Arc<dyn Runtime>,
    /// A hit copies a pointer under this lock, which is cheaper than sharing the map between
    /// readers would be.
    cache: Mutex<Cache<Rendered>>,
    selection: Mutex<Selection>,
    /// The leader may be another one now, or sales may have stopped: attempts in flight look again.
    pub(super) leader_changed: Notify,
    /// The leader may work no more: followers are checked as often as any replica.
    pub(super) unsettled: Notify,
    /// Something was learned that the selection should act on.
    pub(super) selecting: Notify,
    pub(super) in_flight: Semaphore,
    /// For what pages and people ask about the store.
    pub(super) views: Ration,
    /// Held while events are collected from all roles.
    pub(super) collecting: Arc<Semaphore>,
    pub(super) catalog: CatalogReports,
    /// Why the store cannot sell, if it cannot.
    pub(super) stop: SalesStop,
    /// The start of the catalog under which the replicas would not sell.
    pub(super) refused_boot: Mutex<Option<u64>>,
    pub(super) retried: Mutex<Retried>,
    /// What the pages that watch the store are told.
    pub(super) watched: Watched,
    pub(super) metrics: FrontendMetrics,
}

impl Service {
    /// Front-end `number`, which is `identity`.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        number: u32,
        roles: &Roles,
        runtime: Arc<dyn Runtime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            number,
            settings: roles.cache,
            runtime,
            cache: Mutex::new(Cache::new(roles.cache.capacity)),
            selection: Mutex::new(Selection::new(roles.orders.iter().map(|order| order.id))),
            leader_changed: Notify::new(),
            unsettled: Notify::new(),
            selecting: Notify::new(),
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            views: Ration::default(),
            collecting: Arc::new(Semaphore::new(1)),
            catalog: CatalogReports::default(),
            stop: SalesStop::default(),
            refused_boot: Mutex::new(None),
            retried: Mutex::default(),
            watched: Watched::new(roles),
            metrics: FrontendMetrics::new(),
        })
    }

    /// One toy, from the cache if it can be: then `remote` is not touched. `began` is a time since
    /// which the client waits, and `asks` is called before the catalog is asked.
    ///
    /// # Errors
    ///
    /// If there was no answer in time.
    pub async fn toy<R>(
        &self,
        remote: &R,
        name: &str,
        began: Instant,
        asks: impl FnOnce(),
    ) -> Result<ToyAnswer, FrontendError>
    where
        R: Deref<Target = Remote>,
    {
        if name.len() > ToyName::LONGEST {
            return Ok(ToyAnswer::Unknown);
        }
        if !self.settings.enabled {
            asks();
            return self.ask_for_toy(remote, name, None).await;
        }
        let lookup = self.cached(|cache| cache.look_up(name, began));
        let was_known = !matches!(lookup, Lookup::Miss(_));
        match lookup.confirmed(self.runtime.now()) {
            ConfirmedLookup::Hit(toy) => Ok(ToyAnswer::Found(toy, Source::Cache)),
            ConfirmedLookup::Unknown => Ok(ToyAnswer::Unknown),
            ConfirmedLookup::Ask(session) => {
                if was_known {
                    log::debug!("the lease ended while the cache was read; the catalog is asked");
                }
                asks();
                let recorder = self.identity.recorder();
                recorder.local("cache.miss", &remote.traces(), || name.to_owned());
                self.ask_for_toy(remote, name, session).await
            }
        }
    }

    /// All toys in catalog order, as a client's JSON body. The list may have megabytes, so the
    /// clients that wait for one share it.
    pub(super) async fn toys(&self, remote: &Remote) -> Result<Bytes, FrontendError> {
        let list = Box::pin(async {
            let toys = self.ask_catalog(|| remote.toys()).await?;
            Ok(Data { data: toys }.to_body())
        });
        self.shared(remote.shared().lists.run((), list)).await
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
        // No toy has a longer name, and no role takes one. The key may have been used for another
        // purchase all the same, so it is looked up: with a name that no toy has, either.
        let has_a_name_of_no_toy = purchase.name.as_str().len() > ToyName::LONGEST;
        if let Some(why) = self.stopped() {
            return Err(FrontendError::Stopped(why));
        }
        let mut asked = None;
        self.ask_leader(Question::Purchase, async |leader, time_limit| {
            if let Some(before) = asked.replace(leader) {
                let recorder = self.identity.recorder();
                recorder.local("retry", &remote.traces(), || format!("at {}", Role::Order(leader)));
                if before != leader {
                    self.retried_at(leader);
                }
            }
            // What this front-end shows is what the catalog of its session has; only there may it
            // sell.
            let boot = self.boot();
            let mut sent = Purchase { boot, ..purchase.clone() };
            if has_a_name_of_no_toy {
                sent.name = ToyName::from("");
            }
            match remote.purchase(leader, sent, time_limit).await? {
                PurchaseReply::Decided(Decision::OtherCatalog) => {
                    self.set_refused_boot(boot);
                    Ok(Err(NotAnswered::Because(FrontendError::OtherCatalog)))
                }
                PurchaseReply::Decided(decision) => {
                    self.set_refused_boot(None);
                    Ok(Ok(decision))
                }
                PurchaseReply::NotLeader(leadership) => Ok(Err(NotAnswered::NotLeader(leadership))),
            }
        })
        .await
    }

    fn set_refused_boot(&self, boot: Option<u64>) {
        *self.refused_boot.lock().expect("nothing panics under this lock") = boot;
    }

    /// The start of the catalog that this front-end's session belongs to or, without a session,
    /// that last answered.
    pub(super) fn boot(&self) -> Option<u64> {
        let session = self.cached(|cache| cache.session());
        session.map(|session| session.boot).or_else(|| self.catalog()?.boot)
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
        self.ask_leader(Question::Order, async |leader, time_limit| {
            match remote.order(leader, number, time_limit).await? {
                OrderReply::Found(order) => Ok(Ok(Some(order))),
                OrderReply::Unknown => Ok(Ok(None)),
            }
        })
        .await
    }

    /// Drops toys that are about to change.
    ///
    /// # Errors
    ///
    /// If this process does not hold the session: its answer would be no acknowledgement.
    pub(super) fn invalidate(&self, call: &Invalidation) -> Result<(), Refusal> {
        let session = call.session;
        for origin in &call.origins {
            log::debug!("{origin}: a toy that it buys may be among those that are dropped");
        }
        let own = self.cached(|cache| {
            cache.invalidate(session, &call.toys);
            cache.session()
        });
        if own == Some(session) {
            let traces = Traces::of(call.traces());
            self.identity.recorder().local("cache.invalidate", &traces, || call.in_words());
            self.watched.invalidated(call);
            return Ok(());
        }
        let own = own.map_or_else(|| "none".to_owned(), |own| own.to_string());
        Err(Refusal::Misdirected(format!(
            "this is {} with session {own}, and the call is meant for session {session}",
            self.identity.addressee(self.identity.role())
        )))
    }

    pub(super) fn cached<T>(&self, work: impl FnOnce(&mut Cache<Rendered>) -> T) -> T {
        work(&mut self.cache.lock().expect("nothing panics under this lock"))
    }

    /// Reads the selection.
    pub(super) fn selected<T>(&self, read: impl FnOnce(&Selection) -> T) -> T {
        read(&self.selection.lock().expect("nothing panics under this lock"))
    }

    /// Has the selection take note of something. What waits for another leader hears of it.
    pub(super) fn select<T>(&self, work: impl FnOnce(&mut Selection) -> T) -> T {
        let view = |selection: &Selection| {
            (selection.leadership(), selection.leader(), selection.unwritable())
        };
        let (outcome, before, after, was_seen) = {
            let mut selection = self.selection.lock().expect("nothing panics under this lock");
            let (before, was_seen) = (view(&selection), selection.is_leader_seen());
            let was_settled = selection.is_settled();
            let outcome = work(&mut selection);
            if was_settled && !selection.is_settled() {
                self.unsettled.notify_waiters();
            }
            (outcome, before, view(&selection), was_seen)
        };
        if before != after {
            if before.0 != after.0 {
                self.metrics.selections.inc();
            }
            self.say_change(before, after, was_seen);
            if before.2 != after.2 {
                self.derive_stop();
            }
            self.leader_changed.notify_waiters();
            self.selecting.notify_one();
        }
        outcome
    }

    /// Asks the catalog for a toy, together with the thread's clients that wait for it by then.
    async fn ask_for_toy(
        &self,
        remote: &Remote,
        name: &str,
        session: Option<SessionId>,
    ) -> Result<ToyAnswer, FrontendError> {
        let request = FillRequest { name: name.into(), session };
        let misses = &remote.shared().misses;
        // In a box: the future of a handler is moved before it begins, also that of a hit.
        let fill = Box::pin(self.fill(remote, request.clone()));
        self.shared(misses.run(request.name, fill)).await
    }

    /// Waits for an answer that clients share.
    async fn shared<T>(
        &self,
        answer: impl Future<Output = Option<Result<T, FrontendError>>>,
    ) -> Result<T, FrontendError> {
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
                let toy =
                    Rendered { body: Data { data: &fill.toy }.to_body(), version: fill.version };
                let is_cached = self.cached(|cache| cache.filled(&fill, toy.clone()));
                let stored = if is_cached { "cache.fill" } else { "cache.not_filled" };
                let recorder = self.identity.recorder();
                recorder.local(stored, &remote.traces(), || {
                    format!("{} {}, {}", fill.toy.quantity, fill.toy.name, fill.version.in_words())
                });
                if !is_cached && fill.cacheable_under.is_some() {
                    log::debug!(
                        "an invalidation overtook the answer for {}",
                        fill.toy.name.quoted()
                    );
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
                RetryDecision::Again(pause) => self.runtime.sleep(pause).await,
                RetryDecision::GiveUp => return Err(FrontendError::NoCatalog(error.to_string())),
            }
        }
    }
}
