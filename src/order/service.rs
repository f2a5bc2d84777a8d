//! A replica's use cases: where its decisions meet the disk, the catalog and the other replicas.
//!
//! What any replica does is here; what only a leader does in its own time (selling, passing orders
//! on) is in [`leader`](super::leader), and fetching what was missed in
//! [`catch_up`](super::catch_up).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use super::queue::{Admission, Queue};
use super::remote::Remote;
use super::replica::{Acceptance, Replica};
use super::tail::Tail;
use crate::clock;
use crate::failpoint;
use crate::health::Readiness;
use crate::process::Lifeline;
use crate::storage::StorageError;
use crate::storage::order_log::OrderLog;
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::purchase::{Decision, Purchase, PurchaseReply};
use crate::wire::replication::{
    AppendReply, AppendRequest, Fitness, MOST_ROWS, OrderReply, ReplicaId, ReplicaStatus,
};

/// Longer than any front-end's attempt; a purchase that nobody can decide does not hold its
/// connection for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(11);

/// Who waits for a purchase: a handler on some thread.
pub(super) type Waiter = oneshot::Sender<PurchaseReply>;

/// A replica, shared by all threads.
pub(super) struct Service {
    pub(super) id: ReplicaId,
    /// The cores decide under one lock: that rows are accepted and that they are queued for the
    /// disk must happen in the same order. Nothing under it awaits.
    cores: Mutex<Cores>,
    pub(super) log: OrderLog,
    /// Something to do for the leader's selling task.
    pub(super) work: Notify,
    /// Rows were accepted, or leadership changed: the tasks that pass orders on look again.
    pub(super) grown: watch::Sender<()>,
    pub(super) lifeline: Lifeline,
}

pub(super) struct Cores {
    pub(super) replica: Replica,
    pub(super) queue: Queue<Waiter>,
    pub(super) tail: Tail,
    /// Counts how often the log was begun anew. What was on its way to an earlier one says nothing
    /// of this one.
    pub(super) log_number: u64,
}

/// Why a replica could not do what it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The disk is full, or the replica is ending.
    Storage(String),
    /// Too many purchases are on their way.
    Busy,
    /// The catalog, which alone could tell, cannot be asked.
    NoCatalog(String),
    /// The purchase was not decided in time; ask again with the same key.
    Undecided,
}

/// Rows that were offered and not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    Gap(u64),
    Diverged,
    Storage(Trouble),
}

impl Service {
    pub(super) fn new(id: ReplicaId, log: OrderLog, end: Position, lifeline: Lifeline) -> Self {
        Self {
            id,
            cores: Mutex::new(Cores {
                replica: Replica::new(id, end),
                queue: Queue::default(),
                tail: Tail::new(end),
                log_number: 0,
            }),
            log,
            work: Notify::new(),
            grown: watch::Sender::new(()),
            lifeline,
        }
    }

    /// A purchase, if this replica leads; answered when it is decided and durable.
    pub(super) async fn purchase(
        &self,
        purchase: Purchase,
        time_limit: Option<Duration>,
    ) -> Result<PurchaseReply, Trouble> {
        if let Some(id) = &purchase.request_id {
            log::debug!("request {id} buys {} {}", purchase.quantity, purchase.name);
        }
        let (waiter, answer) = oneshot::channel();
        let admission = self.decide(|cores, _| {
            if !cores.replica.is_chosen() {
                return Err(cores.replica.leadership());
            }
            Ok(cores.queue.admit(purchase, waiter, Waiter::is_closed))
        });
        match admission {
            Err(leadership) => return Ok(PurchaseReply::NotLeader(leadership)),
            Ok(Admission::KeyReused(_)) => return Ok(PurchaseReply::Decided(Decision::KeyReused)),
            Ok(Admission::Full(_)) => return Err(Trouble::Busy),
            Ok(Admission::Admitted) => self.work.notify_one(),
        }
        // A purchase that nobody waits for any more makes room for others.
        let time_limit = time_limit.map_or(LONGEST_WAIT, |limit| limit.min(LONGEST_WAIT));
        match actix_web::rt::time::timeout(time_limit, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(Trouble::Undecided),
        }
    }

    /// One order. A row never changes, so a replica that has it answers, whether or not it leads;
    /// one that lacks it asks the catalog, now: no earlier knowledge of the journal's end would do.
    pub(super) async fn order(
        &self,
        remote: &Remote,
        number: OrderNumber,
    ) -> Result<OrderReply, Trouble> {
        if number.0 < self.decide(|cores, _| cores.replica.durable().length)
            && let Some(order) = self.store(self.log.order(number)).await?
        {
            return Ok(OrderReply::Found(order));
        }
        remote.order(number).await.map_err(|error| Trouble::NoCatalog(error.to_string()))
    }

    /// The leader passes orders on.
    pub(super) async fn append(&self, request: AppendRequest) -> Result<AppendReply, Trouble> {
        self.learn(request.leadership);
        let known = self.decide(|cores, _| {
            cores.replica.heard_of(request.leader_length);
            cores.replica.leadership()
        });
        if known.epoch > request.leadership.epoch {
            return Ok(AppendReply::Stale(known));
        }
        for id in &request.request_ids {
            log::debug!("request {id}: its order comes from the leader");
        }
        match self.take(&request.rows).await {
            Ok(()) => {
                self.decide(|cores, _| cores.replica.caught_up());
                if !request.rows.orders.is_empty() {
                    failpoint::pass(failpoint::FOLLOWER_SYNCED);
                }
                Ok(self.decide(|cores, _| cores.replica.append_reply()))
            }
            Err(NotTaken::Gap(length)) => Ok(AppendReply::Gap { length }),
            Err(NotTaken::Diverged) => {
                // The journal is to say which of the two logs is right.
                self.decide(|cores, _| cores.replica.doubt_log());
                Ok(AppendReply::Diverged)
            }
            Err(NotTaken::Storage(trouble)) => Err(trouble),
        }
    }

    /// Rows for a peer that missed them; none if this log ends before `from`.
    pub(super) async fn rows(&self, from: u64) -> Result<Rows, Trouble> {
        let rows = self.store(self.log.rows(from, MOST_ROWS)).await?;
        Ok(rows.unwrap_or_else(|| self.decide(|cores, _| Rows::none(cores.replica.durable()))))
    }

    /// Rows for a follower, from memory if they are there.
    pub(super) async fn rows_for_follower(&self, from: u64) -> Result<Rows, Trouble> {
        match self.decide(|cores, _| cores.tail.rows(from, MOST_ROWS)) {
            Some(rows) => Ok(rows),
            None => self.rows(from).await,
        }
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        self.decide(|cores, now| ReplicaStatus {
            id: self.id,
            state: cores.replica.state(),
            fitness: cores.replica.fitness(now),
            leadership: cores.replica.leadership(),
            log: cores.replica.durable(),
        })
    }

    /// Takes rows from whoever offers them; ends when they are on disk.
    pub(super) async fn take(&self, rows: &Rows) -> Result<(), NotTaken> {
        let (log_number, writing) = self.decide(|cores, _| match cores.replica.accept(rows) {
            Acceptance::Write(after, orders) => {
                cores.tail.extend(after, &orders);
                Ok((cores.log_number, self.log.append(after, orders)))
            }
            Acceptance::Gap(length) => Err(NotTaken::Gap(length)),
            Acceptance::Diverged => Err(NotTaken::Diverged),
        })?;
        self.grown.send_replace(());
        match self.store(writing).await {
            Ok(end) => {
                if self.decide(|cores, _| cores.replica.leads()).is_some() {
                    failpoint::pass(failpoint::LEADER_APPENDED);
                }
                self.decide(|cores, _| {
                    if cores.log_number == log_number {
                        cores.replica.written(end);
                    }
                });
                self.release();
                Ok(())
            }
            Err(trouble) => {
                self.decide(|cores, _| {
                    if cores.log_number == log_number {
                        cores.replica.not_written();
                    }
                });
                self.work.notify_one();
                Err(NotTaken::Storage(trouble))
            }
        }
    }

    /// Answers all whose orders are as durable as they must be.
    pub(super) fn release(&self) {
        let answers = self.decide(|cores, _| {
            let length = cores.replica.acknowledged_length()?;
            Some(cores.queue.acknowledge(length))
        });
        answer(answers.unwrap_or_default());
    }

    /// Leaves the database in one file, for whoever copies or compares it.
    pub(super) async fn close(&self) {
        if let Err(trouble) = self.store(self.log.checkpoint()).await {
            log::warn!("the database keeps its write-ahead log: {trouble}");
        }
    }

    /// Awaits the database. If it broke, what is on disk is unknown, and the replica ends: its next
    /// start reads what is true.
    pub(super) async fn store<T>(
        &self,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, Trouble> {
        work.await.map_err(|error| {
            let message = error.to_string();
            match error {
                StorageError::Full(_) => log::error!("{message}"),
                StorageError::Busy(_) => log::warn!("{message}"),
                StorageError::Broken(..) | StorageError::Corrupt(..) => self.lifeline.fail(error),
            }
            Trouble::Storage(message)
        })
    }

    pub(super) fn decide<T>(&self, decision: impl FnOnce(&mut Cores, Instant) -> T) -> T {
        let mut cores = self.cores.lock().expect("a decision that panicked has ended the replica");
        decision(&mut cores, clock::now())
    }
}

/// Answers whoever still waits.
pub(super) fn answer(answers: Vec<(Waiter, Decision)>) {
    for (waiter, decision) in answers {
        let _unheard = waiter.send(PurchaseReply::Decided(decision));
    }
}

impl Readiness for Service {
    fn readiness(&self) -> Result<(), String> {
        match self.decide(|cores, now| cores.replica.fitness(now)) {
            Fitness::Ready => Ok(()),
            Fitness::Unfit => Err("the disk does not move or the catalog is out of reach".into()),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Storage(problem) => f.write_str(problem),
            Self::Busy => f.write_str("too many purchases are on their way; try again in a moment"),
            Self::NoCatalog(problem) => write!(f, "the catalog cannot be asked: {problem}"),
            Self::Undecided => f.write_str("not decided yet; ask again with the same key"),
        }
    }
}
