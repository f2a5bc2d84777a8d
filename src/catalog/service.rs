//! The catalog's use cases: where its decisions meet the database and the front-ends.
//!
//! All changes are made by one task (see [`tasks`](super::tasks)), one after the other. Reads go
//! straight to the core and never wait for a disk.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::core::history::{History, Stopped};
use super::core::ruling::{NotRuling, Ruling};
use super::core::sessions::{Push, Sessions};
use super::core::stock::Stock;
use super::core::term::Lease;
use super::core::{Core, NewSession};
use super::errors::CatalogError;
use super::journal::Loaded;
use super::journal::marker::Past;
use super::metrics::CatalogMetrics;
use super::storage::Storage;
use crate::events::EventRecorder;
use crate::health::Readiness;
use crate::identity::Identity;
use crate::repeats::Repeats;
use crate::roles::{Role, Roles};
use crate::runtime::Runtime;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::wire::lease::{
    FillReply, FillRequest, Registered, Registration, RenewalReply, SessionId, Version,
};
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{Acquisition, AcquisitionReply, MOST_ROWS, OrderReply, ReplicaId};
use crate::wire::term::Term;
use crate::wire::timing::{TimedPart, TimingNote};
use crate::wire::toy::{Toy, ToyName};

/// Batches that may wait. One leader sends one at a time; the rest is room for those that timed out
/// at a leader and still wait here.
pub(super) const MOST_JOBS: usize = 64;

/// The catalog.
pub struct Service {
    /// Decisions take microseconds, and none of them awaits anything.
    core: Mutex<Core>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) runtime: Arc<dyn Runtime>,
    jobs: mpsc::Sender<Job>,
    /// A session acknowledged an invalidation, or ended.
    pub(super) acknowledged: Notify,
    /// A replica is said to hold orders that the journal lacks.
    pub(super) suspected: Notify,
    shutdown: Shutdown,
    /// The order replicas of `roles.toml`.
    pub(super) replicas: Vec<ReplicaId>,
    /// Writes that the database refused.
    refused_writes: Repeats,
    /// Who this catalog is.
    pub identity: Arc<Identity>,
    /// When toys that are sold out are restocked next.
    pub(super) restock_at: Mutex<Option<Instant>>,
    pub(super) metrics: Arc<CatalogMetrics>,
    /// The term that this catalog rules; 0 if it shares its database with no other.
    pub term: Term,
}

/// What a catalog's process keeps from one term to the next.
#[derive(Clone)]
pub struct Kept {
    /// The machine.
    pub runtime: Arc<dyn Runtime>,
    /// Who the process is.
    pub identity: Arc<Identity>,
    /// What it counts.
    pub metrics: Arc<CatalogMetrics>,
}

/// What the writing task is asked to do, and where its answer goes.
pub enum Job {
    /// To decide a batch. With the answer comes how long its commit took.
    Commit(CommitRequest, oneshot::Sender<Result<(CommitReply, Duration), CatalogError>>),
    /// To decide who leads.
    Acquire(Acquisition, oneshot::Sender<Result<AcquisitionReply, CatalogError>>),
}

impl Service {
    /// A catalog that shares its database with no other, and begins with what that held. Returns it
    /// with the jobs for its [writing task](super::tasks).
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        loaded: Loaded,
        roles: &Roles,
        shutdown: Shutdown,
        runtime: Arc<dyn Runtime>,
        recorder: EventRecorder,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let identity = Identity::recording(Role::Catalog, Some(loaded.store), recorder);
        let kept = Kept { runtime, identity, metrics: Arc::new(CatalogMetrics::new()) };
        let rule = (Term::default(), Lease::Alone);
        Self::begin(storage, loaded, roles, shutdown, kept, rule)
    }

    /// A catalog that rules a term.
    #[must_use]
    pub fn begin(
        storage: Arc<dyn Storage>,
        loaded: Loaded,
        roles: &Roles,
        shutdown: Shutdown,
        Kept { runtime, identity, metrics }: Kept,
        (term, lease): (Term, Lease),
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let now = runtime.now();
        let initial = roles.catalog.initial_stock;
        // Drawn rather than counted: a database that was rebuilt or restored from a copy would
        // count the same numbers again. (63 bits, as SQLite's integers are signed.)
        let boot = runtime.random() >> 1;
        let stock = Stock::new(loaded.shelves, initial, loaded.journal, loaded.leadership);
        let history = match loaded.past {
            Past::Continued => History::continued(),
            Past::InDoubt => History::in_doubt(roles.orders.iter().map(|order| order.id)),
        };
        let mut earlier = loaded.sessions;
        // A journal that went back in time does not know the sessions that have begun since.
        if loaded.past == Past::InDoubt && loaded.journal != Position::START {
            earlier.push(SessionId::FORGOTTEN);
        }
        let sessions = Sessions::new(boot, earlier, now);
        let (jobs, queue) = mpsc::channel(MOST_JOBS);
        let frontends = roles.frontends.iter().map(|frontend| frontend.id);
        let core = Core::new(stock.at_boot(boot), sessions, history, frontends, now).within(lease);
        let service = Self {
            core: Mutex::new(core),
            storage,
            runtime,
            jobs,
            acknowledged: Notify::new(),
            suspected: Notify::new(),
            shutdown,
            replicas: roles.orders.iter().map(|order| order.id).collect(),
            refused_writes: Repeats::default(),
            identity,
            restock_at: Mutex::new(None),
            metrics,
            term,
        };
        (Arc::new(service), queue)
    }

    /// Returns one toy; the asking front-end becomes its holder if it may.
    pub(super) fn toy(&self, request: &FillRequest) -> Result<FillReply, CatalogError> {
        self.rule(|ruling, now| ruling.fill(request, now))
    }

    /// Returns all toys, in catalog order.
    pub(super) fn toys(&self) -> Result<Vec<Toy>, CatalogError> {
        self.rule(|ruling, _| ruling.toys())
    }

    /// Begins a session. It is on disk before the front-end learns of it, so that a catalog that
    /// restarts knows which sessions to wait for.
    pub(super) async fn register(&self, request: Registration) -> Result<Registered, CatalogError> {
        let registering = self.rule(|ruling, now| ruling.register(request, now))?;
        let Some(NewSession { session, ended }) = registering else {
            return Err(CatalogError::UnknownFrontend(request.frontend));
        };
        self.store(self.storage.note_sessions(Some(session), ended)).await?;
        log::info!("front-end {} begins session {session}", request.frontend);
        self.rule(|ruling, _| ruling.registered(session))
    }

    /// Prolongs a session, if it may be.
    pub(super) fn renew(&self, session: SessionId) -> Result<RenewalReply, CatalogError> {
        self.rule(|ruling, now| ruling.renew(session, now))
    }

    /// Ends the session of a front-end that shuts down, so that no purchase waits for its lease.
    pub(super) async fn end(&self, session: SessionId) -> Result<(), CatalogError> {
        if !self.decide(|core, _| core.end(session)) {
            return Ok(());
        }
        self.acknowledged.notify_one();
        self.store(self.storage.note_sessions(None, vec![session])).await
    }

    /// Decides a batch.
    pub(super) async fn commit(
        &self,
        request: CommitRequest,
        timing: &TimingNote,
    ) -> Result<CommitReply, CatalogError> {
        self.check(request.leader)?;
        let purchases = request.purchases.len();
        let answer = self.ask(|answer| Job::Commit(request, answer)).await;
        let answer = answer.map(|(reply, fsync)| {
            timing.add(TimedPart::Fsync, fsync);
            reply
        });
        self.metrics.batch(purchases, &answer);
        answer
    }

    /// Decides who leads.
    pub(super) async fn acquire(
        &self,
        request: Acquisition,
    ) -> Result<AcquisitionReply, CatalogError> {
        self.check(request.nominee)?;
        self.ask(|answer| Job::Acquire(request, answer)).await
    }

    /// Checks that `roles.toml` has such a replica.
    pub(super) fn check(&self, replica: ReplicaId) -> Result<(), CatalogError> {
        if self.replicas.contains(&replica) {
            return Ok(());
        }
        Err(CatalogError::UnknownReplica(replica))
    }

    /// Returns the journal's rows from number `from` on, at most [`MOST_ROWS`].
    pub(super) async fn rows(&self, from: u64) -> Result<Rows, CatalogError> {
        let rows = self.store(self.storage.rows(from, MOST_ROWS)).await?;
        let rows = rows.ok_or(CatalogError::LogBeyondJournal)?;
        Ok(self.decide(|core, _| core.published(rows)))
    }

    /// Returns one order, or that the journal ends before it.
    pub(super) async fn order(&self, number: OrderNumber) -> Result<OrderReply, CatalogError> {
        if !self.rule(|ruling, _| ruling.has_order(number))? {
            // A journal that may not sell may lack orders that were acknowledged.
            self.decide(|core, _| core.has_every_order()).map_err(CatalogError::Stopped)?;
            return Ok(OrderReply::Unknown);
        }
        let rows = self.store(self.storage.rows(number.0, 1)).await?;
        let order = rows.and_then(|rows| rows.orders.into_iter().next());
        Ok(order.map_or(OrderReply::Unknown, OrderReply::Found))
    }

    /// Returns what a session has yet to acknowledge.
    pub(super) fn push_for(&self, session: SessionId) -> Option<Push> {
        self.decide(|core, now| core.push_for(session, now))
    }

    /// Notes that a session has dropped toys.
    pub(super) fn acknowledged(&self, session: SessionId, toys: &[(ToyName, Version)]) {
        self.decide(|core, _| core.acknowledged(session, toys));
        self.acknowledged.notify_one();
    }

    /// Leaves the database in one file, which can be copied and compared.
    pub(super) async fn close(&self) {
        if let Err(error) = self.store(self.storage.checkpoint()).await {
            log::warn!(
                "the last checkpoint failed, so the -wal file stays; nothing is lost: {error}"
            );
        }
    }

    /// Returns how many more batches could wait.
    pub(super) fn free_jobs(&self) -> usize {
        self.jobs.capacity()
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, CatalogError>>) -> Job,
    ) -> Result<T, CatalogError> {
        let (answer, outcome) = oneshot::channel();
        self.jobs.try_send(job(answer)).map_err(|_full| CatalogError::Busy)?;
        outcome.await.unwrap_or(Err(CatalogError::Ending))
    }

    /// Awaits the database. If it broke, the outcome of the last transaction is unknown, and the
    /// catalog ends: its next start reads what is on disk.
    pub(super) async fn store<T>(
        &self,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, CatalogError> {
        work.await.map_err(|error| {
            if !error.is_refusal() {
                self.shutdown.fail(error);
                return CatalogError::Ending;
            }
            if self.refused_writes.happened(&error.to_string(), self.runtime.now()) {
                log::error!("{error}");
            }
            if let Some(why) = error.unwritable() {
                self.decide(|core, _| core.write_refused(why));
            }
            CatalogError::Storage(error)
        })
    }

    /// Says that the database takes writes again, if it refused any.
    pub(super) fn say_writes_are_taken(&self) {
        if let Some(lasted) = self.refused_writes.over(self.runtime.now()) {
            log::info!("the database takes writes again, after {lasted}");
        }
    }

    /// Makes a decision that only the catalog that rules may make.
    pub(super) fn rule<T>(
        &self,
        decision: impl FnOnce(&mut Ruling<'_>, Instant) -> T,
    ) -> Result<T, CatalogError> {
        let ruled = |core: &mut Core, now| Ok(decision(&mut core.ruling(now)?, now));
        self.decide(ruled).map_err(|NotRuling| CatalogError::NotRuling(self.term))
    }

    /// Ends the term: nothing is answered from memory any more. (A decision that panicked has ended
    /// it before.)
    pub(super) fn step_down(&self) {
        if let Ok(mut core) = self.core.lock() {
            core.lease().end();
        }
    }

    /// Returns how many orders the journal has, as far as this catalog knows.
    pub(super) fn journal_length(&self) -> u64 {
        self.core.lock().map_or(0, |core| core.status().journal.length)
    }

    /// Makes a decision, at a time that is read under the lock.
    ///
    /// # Panics
    ///
    /// If an earlier decision panicked: an invariant is broken, and the catalog is ending.
    pub fn decide<T>(&self, decision: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let mut core = self.core.lock().expect("a decision that panicked has ended the catalog");
        decision(&mut core, self.runtime.now())
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        match self.decide(|core, _| core.may_sell()) {
            Err(stopped @ (Stopped::Contradicted { .. } | Stopped::CannotWrite(_))) => {
                return Err(stopped.to_string());
            }
            // Until its replicas are there, a store cannot sell anyway; a pause is short.
            Err(Stopped::Unheard(_) | Stopped::Suspected(_)) | Ok(()) => {}
        }
        if self.decide(|core, now| core.is_ready(now)) {
            return Ok(());
        }
        Err("no write to the database has completed for 1 s".into())
    }
}
