//! A replica's use cases: where its decisions meet the database, the catalog and other replicas.
//!
//! What others ask of a replica is here; what it does on its own time is in
//! [`tasks`](super::tasks). Both await, and leave the decisions to the [core](super::core).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::conditions::Conditions;
use super::core::Core;
use super::core::effects::Effects;
use super::core::followers::NotAppended;
use super::core::in_flight::Busy;
use super::core::leadership::Candidacy;
use super::core::log::{LogNumber, NotTaken, Write};
use super::errors::OrderError;
use super::metrics::OrderMetrics;
use super::remote::Remote;
use super::storage::Storage;
use super::timeline::Timeline;
use crate::events::Traces;
use crate::failpoint;
use crate::health::Readiness;
use crate::identity::Identity;
use crate::roles::Role;
use crate::runtime::Runtime;
use crate::server::log_level;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::wire::calls::Call as _;
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::{Purchase, PurchaseReply};
use crate::wire::replication::{
    AppendReply, AppendRequest, Fitness, Leadership, LogEnd, MOST_ROWS, Nomination,
    NominationReply, OrderReply, ReplicaId, ReplicaStatus,
};

/// Longer than any front-end's attempt: a purchase that cannot be decided does not hold its
/// connection for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(11);

/// Where a purchase's answer goes: to a handler on some thread.
pub type Waiter = oneshot::Sender<PurchaseReply>;

/// A replica.
pub struct Service {
    pub(super) id: ReplicaId,
    /// Who this replica is.
    pub identity: Arc<Identity>,
    /// That rows are accepted and that they are queued for the disk must happen in the same order,
    /// under this one lock. Nothing under it awaits.
    core: Mutex<Core<Waiter>>,
    pub(super) storage: Box<dyn Storage>,
    /// Held while the store's id is written.
    pub(super) adopting: tokio::sync::Mutex<()>,
    /// Held while the log is set aside.
    pub(super) setting_aside: tokio::sync::Mutex<()>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// There is something to do for the task that sells.
    pub(super) work: Notify,
    /// A leader accepted rows, or the leadership changed: the tasks that replicate look again.
    pub(super) grown: Notify,
    /// There is a hint of a newer leadership: the self-check asks the catalog at once.
    pub(super) hinted: Notify,
    pub(super) shutdown: Shutdown,
    pub(super) conditions: Conditions,
    pub(super) metrics: OrderMetrics,
    pub(super) timeline: Timeline,
}

/// Rows on their way to the disk.
pub(super) struct Writing<F> {
    log: LogNumber,
    traces: Traces,
    done: F,
}

impl Service {
    /// A replica among `others` whose log on disk ends at `end`.
    #[must_use]
    pub fn new(
        id: ReplicaId,
        others: Vec<ReplicaId>,
        (storage, end): (Box<dyn Storage>, Position),
        shutdown: Shutdown,
        runtime: Arc<dyn Runtime>,
        identity: Arc<Identity>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            identity,
            core: Mutex::new(Core::new(id, others, end)),
            storage,
            adopting: tokio::sync::Mutex::default(),
            setting_aside: tokio::sync::Mutex::default(),
            runtime,
            work: Notify::new(),
            grown: Notify::new(),
            hinted: Notify::new(),
            shutdown,
            conditions: Conditions::of_a_log(end.length),
            metrics: OrderMetrics::new(),
            timeline: Timeline::default(),
        })
    }

    /// A purchase, if this replica leads; answered when it is decided and durable.
    pub(super) async fn purchase(
        &self,
        purchase: Purchase,
        time_limit: Option<Duration>,
    ) -> Result<PurchaseReply, OrderError> {
        if !purchase.origin.is_unknown() {
            let Purchase { origin, quantity, name, .. } = &purchase;
            log::log!(log_level(origin), "{origin} buys {quantity} {}", name.quoted());
        }
        let (waiter, answer) = oneshot::channel();
        self.decide(|core, now| core.purchase(purchase, waiter, now, Waiter::is_closed))
            .map_err(|Busy| OrderError::Busy)?;
        // A purchase whose front-end gave up makes room for others.
        let time_limit = time_limit.map_or(LONGEST_WAIT, |limit| limit.min(LONGEST_WAIT));
        match self.runtime.timeout(time_limit, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(OrderError::Undecided),
        }
    }

    /// One order: from this disk, or from the catalog.
    pub(super) async fn order(
        &self,
        remote: &Remote,
        number: OrderNumber,
    ) -> Result<OrderReply, OrderError> {
        if self.decide(|core, _| core.has_order(number))
            && let Some(order) = self.store(self.storage.order(number)).await?
        {
            return Ok(OrderReply::Found(order));
        }
        remote.order(number).await.map_err(|error| OrderError::NoCatalog(error.to_string()))
    }

    /// A front-end wants this replica to lead.
    pub(super) async fn nominate(
        &self,
        remote: &Remote,
        nomination: Nomination,
    ) -> NominationReply {
        let (candidacy, before) =
            self.decide(|core, _| (core.nominated(nomination), core.leadership()));
        let request = match candidacy {
            Candidacy::Answer(reply) => return reply,
            Candidacy::Acquire(request) => request,
        };
        let reply = match remote.acquire(&request).await {
            Ok(reply) => self.decide(|core, _| core.acquisition_answered(&request, before, reply)),
            Err(error) => {
                NominationReply::Unable(format!("the call to the catalog failed: {error}"))
            }
        };
        let (unable, now) = (&self.conditions.unable_to_lead, self.runtime.now());
        if let NominationReply::Unable(problem) = &reply {
            if unable.happened(problem, now) {
                log::error!("this replica cannot lead: {problem}");
            }
        } else if let Some(lasted) = unable.over(now) {
            log::info!("this replica can lead again, after {lasted}");
        }
        reply
    }

    /// A front-end says who leads.
    pub(super) fn hinted(&self, leadership: Leadership) {
        self.decide(|core, _| core.hinted(leadership));
    }

    /// The leader passes orders on.
    pub(super) async fn append(&self, request: AppendRequest) -> Result<AppendReply, OrderError> {
        for origin in &request.origins {
            log::log!(log_level(origin), "{origin}: its order comes from the leader");
        }
        match self.decide(|core, _| core.append(&request)) {
            Ok(()) => {}
            Err(NotAppended::Stale(leadership)) => return Ok(AppendReply::Stale(leadership)),
            Err(NotAppended::Leads) => return Err(OrderError::Leads(self.id)),
        }
        let taken = self.take(&request.rows, &Traces::of(request.traces())).await;
        if taken.is_ok() && !request.rows.orders.is_empty() {
            failpoint::pass(failpoint::FOLLOWER_SYNCED);
        }
        let (had_to_catch_up, reply) =
            self.decide(|core, _| (core.must_catch_up(), core.appended(taken)));
        if let (true, Some(AppendReply::Synced { length })) = (had_to_catch_up, &reply) {
            self.say_caught_up(*length);
        }
        reply.ok_or_else(|| OrderError::Storage("the orders could not be written".into()))
    }

    /// Rows for a peer that missed them; none if this log ends before `from`.
    pub(super) async fn rows(&self, from: u64) -> Result<Rows, OrderError> {
        let rows = self.store(self.storage.rows(from, MOST_ROWS)).await?;
        Ok(rows.unwrap_or_else(|| self.decide(|core, _| core.no_rows())))
    }

    /// Rows for a follower, from memory if they are there.
    pub(super) async fn rows_for_follower(&self, from: u64) -> Result<Rows, OrderError> {
        match self.decide(|core, _| core.cached_rows(from)) {
            Some(rows) => Ok(rows),
            None => self.rows(from).await,
        }
    }

    pub(super) fn log_end(&self) -> LogEnd {
        self.decide(|core, _| core.log_end())
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        self.decide(|core, now| {
            core.health_checked(now);
            core.status(now)
        })
    }

    /// Takes rows from any source; ends when they are on disk.
    pub(super) async fn take(&self, rows: &Rows, traces: &Traces) -> Result<(), NotTaken> {
        let writing =
            self.decide(|core, _| core.take(rows).map(|write| self.queue_for_disk(write, traces)))?;
        self.finish(writing).await
    }

    /// To be called in the decision that accepted the rows.
    pub(super) fn queue_for_disk(
        &self,
        write: Write,
        traces: &Traces,
    ) -> Writing<impl Future<Output = Result<Position, StorageError>> + use<>> {
        let traces = traces.clone();
        Writing { log: write.log, traces, done: self.storage.append(write.after, write.orders) }
    }

    pub(super) async fn finish(
        &self,
        writing: Writing<impl Future<Output = Result<Position, StorageError>>>,
    ) -> Result<(), NotTaken> {
        let began = self.runtime.now();
        let Ok(end) = self.store(writing.done).await else {
            self.decide(|core, _| core.not_written(writing.log));
            return Err(NotTaken::NotWritten);
        };
        let plural = if end.length == 1 { "" } else { "s" };
        let text = || format!("{} order{plural} on disk", end.length);
        self.identity.recorder().did("sync", &writing.traces, Some(began), text);
        if self.decide(|core, _| core.leads()).is_some() {
            failpoint::pass(failpoint::LEADER_APPENDED);
        }
        self.timeline.written(end.length, self.runtime.now());
        self.decide(|core, now| core.written(writing.log, end, now));
        Ok(())
    }

    /// Leaves the database in one file, which can be copied and compared.
    pub(super) async fn close(&self) {
        if let Err(error) = self.store(self.storage.checkpoint()).await {
            log::warn!(
                "the last checkpoint failed, so the -wal file stays; nothing is lost: {error}"
            );
        }
    }

    /// Awaits the database. If it broke, what is on disk is unknown, and the replica ends: its next
    /// start reads what is true.
    pub(super) async fn store<T>(
        &self,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, OrderError> {
        work.await.map_err(|error| {
            let message = error.to_string();
            if !error.is_refusal() {
                self.shutdown.fail(error);
                return OrderError::Storage(message);
            }
            // The write before it has said why.
            if let StorageError::Discontinued(_) = error {
                log::debug!("{message}");
                return OrderError::Storage(message);
            }
            if self.conditions.refused_writes.happened(&message, self.runtime.now()) {
                log::error!("{message}");
            }
            if let Some(why) = error.unwritable() {
                self.decide(|core, _| core.disk_refused(why));
            }
            OrderError::Storage(message)
        })
    }

    /// Notes that the database has answered what it was asked at `asked`, and has room. If it has
    /// refused a write, one is tried.
    pub(super) async fn disk_answered(&self, asked: Instant) {
        let mut takes_writes = self.decide(|core, _| core.disk_answered(asked));
        if !takes_writes && self.store(self.storage.try_write()).await.is_ok() {
            takes_writes = self.decide(|core, _| core.write_taken(asked));
        }
        if takes_writes
            && let Some(lasted) = self.conditions.refused_writes.over(self.runtime.now())
        {
            log::info!("the database takes writes again, after {lasted}");
        }
    }

    /// Makes a decision, and carries out what follows from it.
    ///
    /// # Panics
    ///
    /// If an earlier decision panicked: an invariant is broken, and the replica is ending.
    pub fn decide<T>(&self, decision: impl FnOnce(&mut Core<Waiter>, Instant) -> T) -> T {
        let (outcome, effects) = {
            let mut core =
                self.core.lock().expect("a decision that panicked has ended the replica");
            let outcome = decision(&mut core, self.runtime.now());
            (outcome, core.take_effects())
        };
        self.carry_out(effects);
        outcome
    }

    fn carry_out(&self, effects: Effects<Waiter>) {
        for event in &effects.events {
            self.metrics.happened(event);
            self.say(event);
        }
        for (waiter, reply) in effects.answers {
            // A front-end that gave up will retry with the same key.
            let _gave_up = waiter.send(reply);
        }
        if effects.work {
            self.work.notify_one();
        }
        if effects.grown {
            self.grown.notify_waiters();
        }
        if effects.ask_catalog {
            self.hinted.notify_one();
        }
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        match self.decide(|core, now| core.fitness(now)) {
            Fitness::Ready => Ok(()),
            Fitness::CannotWrite(why) => {
                Err(format!("{} cannot write: {why}", Role::Order(self.id)))
            }
            Fitness::Unfit => Err(match self.identity.strangers_as_catalogs() {
                Some(strangers) => strangers,
                None => "no write to the database has completed for a second or two, or the \
                         catalog is unreachable"
                    .into(),
            }),
        }
    }
}
