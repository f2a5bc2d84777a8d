//! The catalog's use cases: where its decisions meet the disk and the front-ends.
//!
//! All changes go through one task, [`Service::write`], one after the other: look the keys up,
//! plan, clear the toys that would change, plan again with those that are clear, make it durable,
//! publish, answer. Reads go straight to the cores and never wait for a disk.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::core::sessions::{Push, Sessions};
use super::core::stock::Stock;
use super::core::{Core, NewSession, WriteOutcome};
use super::journal::{Journal, Loaded};
use crate::clock;
use crate::health::Readiness;
use crate::process::Shutdown;
use crate::roles::Roles;
use crate::storage::StorageError;
use crate::wire::lease::{
    FillReply, FillRequest, Registered, Registration, RenewalReply, SessionId, Version,
};
use crate::wire::order::{OrderNumber, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest};
use crate::wire::replication::{
    Acquisition, AcquisitionReply, CatalogStatus, MOST_ROWS, OrderReply,
};
use crate::wire::toy::{Toy, ToyName};

/// Batches that may wait. One leader sends one at a time; the rest is room for those that timed out
/// at a leader and still stand here.
pub(super) const MOST_JOBS: usize = 64;
/// How often sessions that have run out are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// How often the disk's thread is asked whether it moves.
const PULSE_INTERVAL: Duration = Duration::from_millis(250);

/// The catalog, shared by all threads.
pub(super) struct Service {
    /// Decisions take microseconds, and none of them awaits anything.
    core: Mutex<Core>,
    pub(super) journal: Journal,
    jobs: mpsc::Sender<Job>,
    pub(super) acknowledged: Notify,
    shutdown: Shutdown,
}

/// What the writing task is asked to do.
pub(super) enum Job {
    Commit(CommitRequest, oneshot::Sender<Result<CommitReply, CatalogError>>),
    Acquire(Acquisition, oneshot::Sender<Result<AcquisitionReply, CatalogError>>),
}

/// Why the catalog could not do what it was asked.
#[derive(Debug)]
pub(super) enum CatalogError {
    Storage(StorageError),
    /// Too many batches wait.
    Busy,
    /// The catalog is ending.
    Ending,
    /// A leader's log is longer than the journal.
    LogBeyondJournal,
    /// The catalog's roles.toml has no such front-end.
    UnknownFrontend(u32),
}

impl Service {
    pub(super) fn new(
        journal: Journal,
        loaded: Loaded,
        roles: &Roles,
        shutdown: Shutdown,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let now = clock::now();
        let initial = roles.catalog.initial_stock;
        let stock = Stock::new(loaded.shelves, initial, loaded.journal, loaded.leadership);
        // Drawn rather than counted: a database that was rebuilt or brought back from a copy would
        // count the same again. (63 bits, as SQLite's integers are signed.)
        let boot = rand::random::<u64>() >> 1;
        let sessions = Sessions::new(boot, loaded.sessions, now);
        let (jobs, queue) = mpsc::channel(MOST_JOBS);
        let frontends = u32::try_from(roles.frontends.len()).unwrap_or(u32::MAX);
        let service = Self {
            core: Mutex::new(Core::new(stock, sessions, frontends, now)),
            journal,
            jobs,
            acknowledged: Notify::new(),
            shutdown,
        };
        (Arc::new(service), queue)
    }

    /// One toy; the asking front-end becomes its holder if it may.
    pub(super) fn toy(&self, request: &FillRequest) -> FillReply {
        self.decide(|core, now| core.fill(request, now))
    }

    /// All toys, in catalog order.
    pub(super) fn toys(&self) -> Vec<Toy> {
        self.decide(|core, _| core.toys())
    }

    pub(super) fn status(&self) -> CatalogStatus {
        self.decide(|core, _| core.status())
    }

    /// Begins a session. It is on disk before the front-end hears of it, so that a catalog that
    /// restarts knows whom to wait for.
    pub(super) async fn register(&self, request: Registration) -> Result<Registered, CatalogError> {
        let registering = self.decide(|core, now| core.register(request, now));
        let Some(NewSession { session, ended }) = registering else {
            return Err(CatalogError::UnknownFrontend(request.frontend));
        };
        self.store(self.journal.note_sessions(Some(session), ended)).await?;
        log::info!("front-end {} begins session {session}", request.frontend);
        Ok(self.decide(|core, _| core.registered(session)))
    }

    pub(super) fn renew(&self, session: SessionId) -> RenewalReply {
        self.decide(|core, now| core.renew(session, now))
    }

    /// Ends the session of a front-end that is ending, so that nobody waits for its lease.
    pub(super) async fn end(&self, session: SessionId) -> Result<(), CatalogError> {
        self.decide(|core, _| core.end(session));
        self.acknowledged.notify_one();
        self.store(self.journal.note_sessions(None, vec![session])).await
    }

    pub(super) async fn commit(&self, request: CommitRequest) -> Result<CommitReply, CatalogError> {
        self.ask(|answer| Job::Commit(request, answer)).await
    }

    pub(super) async fn acquire(
        &self,
        request: Acquisition,
    ) -> Result<AcquisitionReply, CatalogError> {
        self.ask(|answer| Job::Acquire(request, answer)).await
    }

    /// The journal's rows from number `from` on, at most [`MOST_ROWS`].
    pub(super) async fn rows(&self, from: u64) -> Result<Rows, CatalogError> {
        let rows = self.store(self.journal.rows(from, MOST_ROWS)).await?;
        let rows = rows.ok_or(CatalogError::LogBeyondJournal)?;
        Ok(self.decide(|core, _| core.published(rows)))
    }

    /// One order, or the word that the journal ends before it.
    pub(super) async fn order(&self, number: OrderNumber) -> Result<OrderReply, CatalogError> {
        if !self.decide(|core, _| core.has_order(number)) {
            return Ok(OrderReply::Unknown);
        }
        let rows = self.store(self.journal.rows(number.0, 1)).await?;
        let order = rows.and_then(|rows| rows.orders.into_iter().next());
        Ok(order.map_or(OrderReply::Unknown, OrderReply::Found))
    }

    /// What a session has yet to acknowledge.
    pub(super) fn push_for(&self, session: SessionId) -> Option<Push> {
        self.decide(|core, now| core.push_for(session, now))
    }

    pub(super) fn acknowledged(&self, session: SessionId, toys: &[(ToyName, Version)]) {
        self.decide(|core, _| core.acknowledged(session, toys));
        self.acknowledged.notify_one();
    }

    /// Forgets what has run out, for ever.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            actix_web::rt::time::sleep(SWEEP_INTERVAL).await;
            let ended = self.decide(Core::sweep);
            if ended.is_empty() {
                continue;
            }
            for session in &ended {
                log::info!("session {session} has ended");
            }
            if let Err(error) = self.store(self.journal.note_sessions(None, ended)).await {
                log::warn!("ended sessions stay on disk until the next start: {error}");
            }
        }
    }

    /// Watches whether the disk's thread moves, for ever.
    pub(super) async fn watch_disk(self: Arc<Self>) {
        loop {
            let asked = clock::now();
            if self.store(self.journal.pulse()).await.is_ok() {
                self.decide(|core, _| core.disk_moved(asked));
            }
            actix_web::rt::time::sleep(PULSE_INTERVAL).await;
        }
    }

    /// Leaves the database in one file, for whoever copies or compares it.
    pub(super) async fn close(&self) {
        if let Err(error) = self.store(self.journal.checkpoint()).await {
            log::warn!("the database keeps its write-ahead log: {error}");
        }
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, CatalogError>>) -> Job,
    ) -> Result<T, CatalogError> {
        let (answer, outcome) = oneshot::channel();
        self.jobs.try_send(job(answer)).map_err(|_full| CatalogError::Busy)?;
        outcome.await.unwrap_or(Err(CatalogError::Ending))
    }

    /// Awaits the database. If it broke, whether the last transaction is in it is unknown, and the
    /// catalog ends: its next start reads what is true.
    pub(super) async fn store<T>(
        &self,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, CatalogError> {
        work.await.map_err(|error| match error {
            StorageError::Full(_) | StorageError::Busy(_) => {
                log::error!("{error}");
                CatalogError::Storage(error)
            }
            StorageError::Broken(..) | StorageError::Corrupt(..) => {
                self.shutdown.fail(error);
                CatalogError::Ending
            }
        })
    }

    pub(super) fn decide<T>(&self, decision: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let mut core = self.core.lock().expect("a decision that panicked has ended the catalog");
        decision(&mut core, clock::now())
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        if self.decide(|core, now| core.is_ready(now)) {
            Ok(())
        } else {
            Err("the disk does not move".into())
        }
    }
}

impl CatalogError {
    /// What this says of a transaction that was to be stored.
    pub(super) fn stored(&self) -> WriteOutcome {
        match self {
            Self::Ending => WriteOutcome::Unknown,
            Self::Storage(_) | Self::Busy | Self::LogBeyondJournal | Self::UnknownFrontend(_) => {
                WriteOutcome::Unchanged
            }
        }
    }
}

impl std::fmt::Display for CatalogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Busy => f.write_str("too many batches wait; try again in a moment"),
            Self::Ending => f.write_str("the catalog is ending; ask again when it is back"),
            Self::UnknownFrontend(number) => write!(
                f,
                "the catalog's roles.toml has no front-end {number}; give all roles the same file"
            ),
            Self::LogBeyondJournal => f.write_str(
                "the log reaches beyond the journal: one of the two databases is not of this \
                 cluster",
            ),
        }
    }
}
