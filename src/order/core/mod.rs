//! A replica's decisions under one roof: its log, its office, the purchases on their way.
//!
//! # The idea
//!
//! Whatever happens to a replica (a message, an answer, a write that is done) is one call here. The
//! call decides all that follows from it at once, and leaves what others must hear of it in the
//! [effects](effects): decisions are data, which the server around them carries out, and the
//! simulator, too. Nothing here waits for anything. What takes time is asked for by one call and
//! reported by a later one, and in between anything may have happened:
//!
//! ```text
//! leader's tasks           core                        disk
//!   | batch answered ------->| accept rows 7, 8         |
//!   |<-- Write{log 1, 7, 8} -|------------------------->| (slow)
//!   |                        | journal: this log is foreign; begun anew: log 2, empty
//!   | written(log 1, to 9) ->| says nothing of log 2: not counted
//! ```
//!
//! [`leadership`] has the calls about leadership, [`batching`] those of a
//! leader that sells and passes orders on.
//!
//! `W` is who waits for a purchase: a channel in the server, a number in the simulator.

pub mod batching;
pub mod effects;
pub mod followers;
pub mod leadership;
pub mod log_cache;
pub mod queue;
pub mod replica;

use std::time::Instant;

use self::effects::{Effects, Event};
use self::log_cache::LogCache;
use self::queue::{Admission, Queue};
use self::replica::{Acceptance, Replica};
use crate::wire::order::{Order, OrderNumber, Position, Rows};
use crate::wire::purchase::{Decision, Purchase, PurchaseReply};
use crate::wire::replication::{
    AppendReply, AppendRequest, CatalogStatus, MOST_ROWS, ReplicaId, ReplicaStatus,
};

/// A replica, but for the rows that storage keeps.
#[derive(Clone, Debug)]
pub struct Core<W> {
    pub(super) others: Vec<ReplicaId>,
    pub(super) replica: Replica,
    pub(super) queue: Queue<W>,
    log_cache: LogCache,
    log: LogNumber,
    /// How long the log was when the catalog last said how it stands.
    length_then: u64,
    pub(super) effects: Effects<W>,
}

/// Counts how often the log was begun anew. What was on its way to an earlier one says nothing of
/// this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogNumber(u64);

/// Rows for the disk. They must be queued there before anything else is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// For this log.
    pub log: LogNumber,
    /// Behind this position.
    pub after: Position,
    /// The rows; with none, the answer says that all before is on disk.
    pub orders: Vec<Order>,
}

/// Rows that were offered and not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// They begin beyond the log's end, which is here.
    Gap(u64),
    /// They contradict the log.
    Diverged,
    /// The disk did not take them.
    NotWritten,
}

/// What came of asking somebody for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is more: ask from the log's end now.
    More,
    /// That was all.
    Everything,
    /// Somebody else's rows came between: ask again in a moment.
    Overtaken,
    /// The source holds other orders than this replica.
    Foreign,
    /// What it answered could not be kept.
    Failed,
}

/// What the catalog's status means to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalCheck {
    /// All is well.
    Known,
    /// The journal is shorter than this log was when the catalog was asked, and a log holds nothing
    /// that was not in the journal. Under such a catalog this replica is not fit to lead.
    Diverged,
}

impl<W> Core<W> {
    /// A replica whose log on disk ends at `durable`, among others.
    #[must_use]
    pub fn new(id: ReplicaId, others: Vec<ReplicaId>, durable: Position) -> Self {
        Self {
            others,
            replica: Replica::new(id, durable),
            queue: Queue::default(),
            log_cache: LogCache::new(durable),
            log: LogNumber(0),
            length_then: 0,
            effects: Effects::default(),
        }
    }

    /// What is to be carried out since the last call.
    pub fn take_effects(&mut self) -> Effects<W> {
        std::mem::take(&mut self.effects)
    }

    /// The replica itself.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// A purchase has arrived. The waiter is answered through the effects.
    ///
    /// # Errors
    ///
    /// If the store is too busy for one more.
    pub fn purchase(
        &mut self,
        purchase: Purchase,
        waiter: W,
        is_gone: impl Fn(&W) -> bool,
    ) -> Result<(), Busy> {
        if !self.replica.is_chosen() {
            let reply = PurchaseReply::NotLeader(self.replica.leadership());
            self.effects.answers.push((waiter, reply));
            return Ok(());
        }
        match self.queue.admit(purchase, waiter, is_gone) {
            Admission::Admitted => self.effects.work = true,
            Admission::Full(_waiter) => return Err(Busy),
        }
        Ok(())
    }

    /// Whether this replica has an order on its disk. A row never changes, so whoever has it may
    /// answer, whether or not it leads; one that lacks it asks the catalog, now: no earlier
    /// knowledge of the journal's end would do.
    #[must_use]
    pub fn has_order(&self, number: OrderNumber) -> bool {
        number.0 < self.replica.durable().length
    }

    /// The leader passes orders on: they are to be [taken](Core::take).
    ///
    /// # Errors
    ///
    /// The answer, if the sender leads no longer.
    pub fn append(&mut self, request: &AppendRequest) -> Result<(), AppendReply> {
        self.learn(request.leadership);
        self.replica.heard_of(request.leader_length);
        let known = self.replica.leadership();
        if known.epoch > request.leadership.epoch {
            return Err(AppendReply::Stale(known));
        }
        Ok(())
    }

    /// The answer to the leader, once its rows are on disk or were not taken. `None` if the disk
    /// refused them.
    pub fn appended(&mut self, taken: Result<(), NotTaken>) -> Option<AppendReply> {
        match taken {
            Ok(()) => {
                self.replica.caught_up();
                Some(self.replica.append_reply())
            }
            Err(NotTaken::Gap(length)) => Some(AppendReply::Gap { length }),
            Err(NotTaken::Diverged) => {
                // The journal is to say which of the two logs is right.
                self.replica.doubt_log();
                Some(AppendReply::Diverged)
            }
            Err(NotTaken::NotWritten) => None,
        }
    }

    /// Takes rows from whoever offers them.
    ///
    /// # Errors
    ///
    /// If they do not continue the log.
    pub fn take(&mut self, rows: &Rows) -> Result<Write, NotTaken> {
        match self.replica.accept(rows) {
            Acceptance::Write(after, orders) => {
                self.log_cache.extend(after, &orders);
                self.effects.grown = true;
                Ok(Write { log: self.log, after, orders })
            }
            Acceptance::Gap(length) => Err(NotTaken::Gap(length)),
            Acceptance::Diverged => Err(NotTaken::Diverged),
        }
    }

    /// The log is on disk up to `end`.
    pub fn written(&mut self, log: LogNumber, end: Position) {
        if self.log == log {
            self.replica.written(end);
        }
        self.release();
    }

    /// Rows for the disk did not get there.
    pub fn not_written(&mut self, log: LogNumber) {
        if self.log == log {
            self.replica.not_written();
        }
        self.effects.work = true;
    }

    /// Rows for a follower or a peer, if they are still in memory.
    #[must_use]
    pub fn rows_at_hand(&self, from: u64) -> Option<Rows> {
        self.log_cache.rows(from, MOST_ROWS)
    }

    /// What a peer gets that asks for rows beyond this log's end.
    #[must_use]
    pub fn no_rows(&self) -> Rows {
        Rows::none(self.replica.durable())
    }

    /// Whether this replica has to ask others for rows: because it has just started and does not
    /// know what it missed, or because it has heard of orders that it lacks. A chosen leader
    /// fetches what it misses before it sells, as part of that.
    #[must_use]
    pub fn should_fetch(&self) -> bool {
        !self.replica.is_chosen() && (self.replica.is_new() || self.replica.is_behind())
    }

    /// From which number on to ask.
    #[must_use]
    pub fn lacks_from(&self) -> u64 {
        self.replica.accepted().length
    }

    /// What an answer to such a question means, once its rows were taken or not.
    #[must_use]
    pub fn fetched(rows: &Rows, taken: Result<(), NotTaken>) -> Fetched {
        match taken {
            // They may be as many as were asked for, with more behind them.
            Ok(()) if rows.orders.len() as u64 == MOST_ROWS => Fetched::More,
            Ok(()) => Fetched::Everything,
            Err(NotTaken::Gap(_)) => Fetched::Overtaken,
            Err(NotTaken::Diverged) => Fetched::Foreign,
            Err(NotTaken::NotWritten) => Fetched::Failed,
        }
    }

    /// The journal was asked to its end.
    pub fn has_all_of_the_journal(&mut self) {
        self.replica.has_everything();
    }

    /// The peers and the journal were asked for what this replica missed. True if it was new.
    pub fn caught_up(&mut self) -> bool {
        let was_new = self.replica.is_new() && !self.replica.is_chosen();
        if was_new {
            self.replica.caught_up();
        }
        was_new
    }

    /// The catalog said how it stands when it was asked at `asked`, at which time this log was
    /// `length_before` long.
    pub fn heard_from_catalog(
        &mut self,
        status: CatalogStatus,
        asked: Instant,
        length_before: u64,
    ) -> JournalCheck {
        self.learn(status.leadership);
        self.contradicted(status.leadership);
        if status.journal.length < length_before {
            return JournalCheck::Diverged;
        }
        self.replica.catalog_answered(asked);
        let length = self.replica.accepted().length;
        // Orders of this moment are on their way; only one who stands still is behind.
        if length == self.length_then {
            self.replica.heard_of(status.journal.length);
        }
        self.length_then = length;
        // A leader that has nothing to sell must be woken to fetch.
        self.effects.work |= self.replica.is_chosen() && self.replica.is_behind();
        JournalCheck::Known
    }

    /// The disk has done what it was asked at `asked`.
    pub fn disk_moved(&mut self, asked: Instant) {
        self.replica.disk_moved(asked);
    }

    /// The journal says that this log is not of its cluster, or is damaged; it has been set aside,
    /// and an empty one begun.
    pub fn begin_anew(&mut self) {
        let leadership = self.replica.leadership();
        self.replica = Replica::new(self.replica.id(), Position::START);
        self.log_cache = LogCache::new(Position::START);
        self.log = LogNumber(self.log.0 + 1);
        self.redirect_waiters(leadership);
    }

    /// What this replica says of itself.
    #[must_use]
    pub fn status(&self, now: Instant) -> ReplicaStatus {
        ReplicaStatus {
            id: self.replica.id(),
            state: self.replica.state(),
            fitness: self.replica.fitness(now),
            leadership: self.replica.leadership(),
            log: self.replica.durable(),
        }
    }

    /// Answers all whose orders are as durable as they must be.
    pub(super) fn release(&mut self) {
        let Some(length) = self.replica.acknowledged_length() else { return };
        let answers = self.queue.acknowledge(length);
        self.answer(answers);
    }

    pub(super) fn answer(&mut self, answers: Vec<(W, Decision)>) {
        let decided = |(waiter, decision)| (waiter, PurchaseReply::Decided(decision));
        self.effects.answers.extend(answers.into_iter().map(decided));
    }

    pub(super) fn note(&mut self, event: Event) {
        self.effects.events.push(event);
    }
}

/// Too many purchases are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

#[cfg(test)]
mod tests {
    use super::batching::{BatchOutcome, Task};
    use super::effects::Event;
    use super::leadership::Candidacy;
    use super::*;
    use crate::wire::purchase::{CommitReply, IdempotencyKey, Verdict};
    use crate::wire::quantity::Quantity;
    use crate::wire::replication::{
        AcquisitionReply, Epoch, Leadership, Nomination, NominationReply,
    };

    const ME: ReplicaId = ReplicaId(3);
    const OTHER: ReplicaId = ReplicaId(2);
    const GRANTED: Decision = Decision::Granted(OrderNumber(0));

    fn leading(epoch: u64, leader: ReplicaId) -> Leadership {
        Leadership { epoch: Epoch(epoch), leader: Some(leader) }
    }

    fn purchase(key: &str) -> Purchase {
        Purchase {
            key: IdempotencyKey::from(key.to_owned()),
            name: "Tux".into(),
            quantity: Quantity::ONE,
            request_id: None,
        }
    }

    fn rows() -> Rows {
        let order = Order { number: OrderNumber(0), name: "Tux".into(), quantity: Quantity::ONE };
        Rows { after: Position::START, orders: vec![order] }
    }

    fn buy(core: &mut Core<u32>, key: &str, waiter: u32) {
        core.purchase(purchase(key), waiter, |_| false).unwrap();
    }

    /// A replica alone that leads epoch 1, and has sent a purchase to the catalog.
    fn at_the_catalog() -> (Core<u32>, Epoch, Instant) {
        let now = crate::clock::now();
        let mut core = Core::new(ME, Vec::new(), Position::START);
        let Candidacy::Acquire(request) = core.nominated(Nomination { seen: Epoch(0) }) else {
            unreachable!("it does not lead yet")
        };
        let won = AcquisitionReply::Won { leadership: leading(1, ME), journal: Position::START };
        let reply = core.acquisition_answered(&request, won);
        assert_eq!(reply, NominationReply::Won(leading(1, ME)));
        assert!(core.try_to_lead());
        buy(&mut core, "a", 1);
        let Task::Sell(epoch, _) = core.next_task(now, |_| false) else {
            unreachable!("there is something to sell")
        };
        core.take_effects();
        (core, epoch, now)
    }

    fn sold() -> BatchOutcome {
        let verdicts = vec![Verdict::Decided(GRANTED)];
        BatchOutcome::Answered(CommitReply::Decided { verdicts, rows: rows() })
    }

    #[test]
    fn an_order_is_answered_once_it_is_on_disk() {
        let (mut core, epoch, now) = at_the_catalog();
        let write = core.batch_answered(epoch, sold(), now, now).unwrap();
        assert!(core.take_effects().answers.is_empty(), "it is on its way to the disk");
        let end = write.orders.iter().fold(write.after, Position::continued_by);
        core.written(write.log, end);
        assert_eq!(core.take_effects().answers, [(1, PurchaseReply::Decided(GRANTED))]);
    }

    #[test]
    fn what_was_sold_in_an_epoch_that_is_over_is_answered_by_the_next_leader() {
        let (mut core, epoch, now) = at_the_catalog();
        core.learn(leading(2, OTHER));
        let effects = core.take_effects();
        assert_eq!(effects.answers, [(1, PurchaseReply::NotLeader(leading(2, OTHER)))]);
        assert_eq!(effects.events, [Event::Learned(leading(2, OTHER))]);
        assert_eq!(core.batch_answered(epoch, sold(), now, now), None);
        assert!(core.take_effects().answers.is_empty());
    }

    #[test]
    fn what_was_on_its_way_to_an_earlier_log_says_nothing_of_this_one() {
        let mut core = Core::<u32>::new(ME, vec![OTHER], Position::START);
        let write = core.take(&rows()).unwrap();
        core.begin_anew();
        let end = write.orders.iter().fold(write.after, Position::continued_by);
        core.written(write.log, end);
        assert_eq!(core.replica().durable(), Position::START);
        let again = core.take(&rows()).unwrap();
        core.not_written(write.log);
        core.written(again.log, end);
        assert_eq!(core.replica().durable(), end);
    }

    #[test]
    fn a_purchase_at_a_replica_that_does_not_lead_is_sent_to_the_leader() {
        let mut core = Core::new(ME, vec![OTHER], Position::START);
        core.learn(leading(4, OTHER));
        buy(&mut core, "a", 1);
        let answers = core.take_effects().answers;
        assert_eq!(answers, [(1, PurchaseReply::NotLeader(leading(4, OTHER)))]);
    }
}
