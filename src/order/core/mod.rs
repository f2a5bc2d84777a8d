//! A replica's decisions: its log, its part in the leadership, the purchases in flight.
//!
//! # The idea
//!
//! A state machine without I/O (as etcd's raft is one). Each event (a message, an answer, a
//! finished write) is one call to [`Core`]. The call decides everything that follows from the event
//! at once and leaves what must be carried out in the [effects]: decisions are data. Nothing here
//! waits. What takes time is requested by one call and reported by a later one, and other calls may
//! come in between:
//!
//! ```text
//! leader's tasks              core                             disk
//!   | batch_answered(rows 7, 8) ->| accepts them                 |
//!   |<-- Write{log 1, 7, 8} ------|----------------------------->| (slow)
//!   |                             | the journal contradicts this |
//!   |                             | log: an empty log 2 begins   |
//!   | written(log 1, up to 9) --->| not about log 2: ignored     |
//! ```
//!
//! # Where to find what
//!
//! | question | file |
//! |---|---|
//! | which rows continue the log, and which are missing | [`log`] |
//! | who leads, and how a replica becomes leader and steps down | [`leadership`] |
//! | what a follower is sent, and which followers an acknowledgement waits for | [`followers`] |
//! | where a batch is cut, when an order is acknowledged | [`batches`] |
//! | how long a batch gathers purchases | [`gathering`] |
//! | what a retry under a key meets | [`in_flight`] |
//! | what the service carries out | [`effects`] |
//!
//! This file has the replica as a whole: what it is made of, its status, and whether it is fit to
//! lead.
//!
//! # What is left out
//!
//! The rows themselves, which storage keeps, and all I/O: the [service](super) performs it.

pub mod batches;
pub mod effects;
pub mod followers;
pub mod gathering;
pub mod in_flight;
pub mod leadership;
pub mod log;
mod log_cache;

use std::time::{Duration, Instant};

use self::batches::Batches;
use self::effects::Effects;
use self::in_flight::InFlight;
use self::leadership::Mode;
use self::log::Log;
use crate::wire::order::Position;
use crate::wire::replication::{
    CatalogStatus, Fitness, Leadership, LogEnd, ReplicaId, ReplicaState, ReplicaStatus, Unwritable,
};

/// A replica is fit to lead if its disk and the catalog answered requests that are at most this
/// old: five self-checks of a leader, and two of a follower in a store of three. So one slow answer
/// does not make a replica unfit. The self-checks of more followers are further apart, and count
/// for longer ([`Core::checks_itself_every`]).
pub const FRESHNESS: Duration = Duration::from_secs(1);
/// How much longer than two intervals what was answered counts.
const SLOW_ANSWER: Duration = Duration::from_millis(200);
/// Health checks that are no further apart show that a front-end may need another leader.
const OFTEN: Duration = Duration::from_millis(150);
/// Answers that are so old are asked for again then.
const OLD_MS: u64 = 150;

/// A replica. `W` is the type of what waits for an answer to a purchase: a channel in the service,
/// a number in tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core<W> {
    id: ReplicaId,
    /// The other replicas.
    others: Vec<ReplicaId>,
    log: Log,
    /// The newest leadership that this replica knows of.
    leadership: Leadership,
    /// This replica's part in it.
    mode: Mode,
    /// Whether it has not been nominated since it started.
    awaits_nomination: bool,
    in_flight: InFlight<W>,
    batches: Batches,
    /// When the disk was last asked something that it has answered.
    disk_answered: Option<Instant>,
    /// When the catalog was last asked something that it has answered.
    catalog_answered: Option<Instant>,
    /// For how long these answers count.
    freshness: Duration,
    /// When the last health check came.
    health_checked: Option<Instant>,
    /// Why the disk takes no writes, since it last refused one.
    unwritable: Option<Unwritable>,
    /// The start of the catalog that last had all of this log.
    vouched_by: Option<u64>,
    effects: Effects<W>,
}

/// What the catalog's status means to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalCheck {
    /// The journal has all that this replica has.
    Known,
    /// The journal is shorter than this log was when the catalog was asked. A log holds nothing
    /// that was not in the journal, so the catalog's database is not the one that this log came
    /// from, and this replica is not fit to lead under it.
    JournalBehind,
    /// The same start of the catalog had all of this log before. Its journal only grows, so the
    /// rows beyond it came from elsewhere: from a stranger or, if the catalog's database went back
    /// in time, from a leader that still has them. So setting them aside loses nothing.
    Forged,
}

/// What a replica knew when it asked the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The newest leadership.
    pub leadership: Leadership,
    /// The end of its log, with the rows that are still being written.
    pub log: Position,
}

impl<W> Core<W> {
    /// A replica that has just started, whose log on disk ends at `durable`. `others` are the other
    /// replicas.
    #[must_use]
    pub fn new(id: ReplicaId, others: Vec<ReplicaId>, durable: Position) -> Self {
        Self {
            id,
            others,
            log: Log::new(durable),
            leadership: Leadership::default(),
            mode: Mode::Following,
            awaits_nomination: true,
            in_flight: InFlight::default(),
            batches: Batches::default(),
            disk_answered: None,
            catalog_answered: None,
            freshness: FRESHNESS,
            health_checked: None,
            unwritable: None,
            vouched_by: None,
            effects: Effects::default(),
        }
    }

    /// Returns what this replica knows now, to be compared with the answer to a question.
    #[must_use]
    pub fn known(&self) -> Known {
        Known { leadership: self.leadership, log: self.accepted() }
    }

    /// Returns the other replicas.
    #[must_use]
    pub fn others(&self) -> &[ReplicaId] {
        &self.others
    }

    /// Takes what is to be carried out since the last call.
    pub fn take_effects(&mut self) -> Effects<W> {
        std::mem::take(&mut self.effects)
    }

    /// Notes a health check. A follower that may have to lead is checked often, and then checks
    /// itself often, too.
    pub fn health_checked(&mut self, now: Instant) {
        let last = self.health_checked.replace(now);
        let is_often = last.is_some_and(|last| now < last + OFTEN);
        let is_old = self.heard_ms(now).is_none_or(|age| age >= OLD_MS);
        self.effects.ask_catalog |= is_often && is_old && !self.has_acquired();
    }

    /// Returns what this replica says of itself.
    #[must_use]
    pub fn status(&self, now: Instant) -> ReplicaStatus {
        let state = match self.mode {
            Mode::Activating | Mode::Leading(_) => ReplicaState::Leader,
            Mode::Following if self.must_catch_up() || self.is_behind() => ReplicaState::Syncing,
            Mode::Following => ReplicaState::Follower,
        };
        ReplicaStatus {
            id: self.id,
            state,
            fitness: self.fitness(now),
            heard_ms: self.heard_ms(now),
            leadership: self.leadership,
            awaits_nomination: self.awaits_nomination,
            log: self.durable(),
        }
    }

    /// Returns whether this replica could lead.
    #[must_use]
    pub fn fitness(&self, now: Instant) -> Fitness {
        if let Some(why) = self.unwritable {
            return Fitness::CannotWrite(why);
        }
        let is_fresh =
            |asked: Option<Instant>| asked.is_some_and(|asked| now < asked + self.freshness);
        let writes = self.log.takes_writes() && is_fresh(self.disk_answered);
        if writes && is_fresh(self.catalog_answered) { Fitness::Ready } else { Fitness::Unfit }
    }

    /// Returns how many milliseconds old what counts for its fitness is.
    fn heard_ms(&self, now: Instant) -> Option<u64> {
        let heard = self.disk_answered?.min(self.catalog_answered?);
        let age = now.saturating_duration_since(heard).as_millis();
        self.log.takes_writes().then(|| u64::try_from(age).unwrap_or(u64::MAX))
    }

    /// Notes that the disk has answered what it was asked at `asked`, and has room. Returns whether
    /// it takes writes, as far as is known: rows that it refused must be written first.
    pub fn disk_answered(&mut self, asked: Instant) -> bool {
        self.disk_answered = self.disk_answered.max(Some(asked));
        if self.log.takes_writes() {
            self.unwritable = None;
        }
        self.unwritable.is_none()
    }

    /// Notes that a trial write, begun at `asked`, succeeded. The rows that the disk refused may
    /// never come again, if the journal went back in time meanwhile.
    pub fn write_taken(&mut self, asked: Instant) -> bool {
        self.log.write_taken();
        self.disk_answered(asked)
    }

    /// Notes that the disk refused a write.
    pub fn disk_refused(&mut self, why: Unwritable) {
        self.unwritable = Some(why);
    }

    /// Notes how often this replica checks itself from now on. What was answered counts for two
    /// intervals at least: the loss of one answer does not make a replica unfit, however seldom it
    /// asks.
    pub fn checks_itself_every(&mut self, interval: Duration) {
        self.freshness = FRESHNESS.max(2 * interval + SLOW_ANSWER);
    }

    /// Notes that the catalog has answered what it was asked at `asked`.
    fn catalog_answered(&mut self, asked: Instant) {
        self.catalog_answered = self.catalog_answered.max(Some(asked));
    }

    /// Returns where this log ends, and which start of the catalog last had all of it.
    #[must_use]
    pub fn log_end(&self) -> LogEnd {
        LogEnd { end: self.accepted(), vouched_by: self.vouched_by }
    }

    /// Notes that rows come which this replica has asked for. They may be from before the catalog's
    /// database went back in time, so that the catalog must vouch for this log anew: another
    /// replica may still have such rows, and an answer of the catalog itself may be late.
    ///
    /// ```text
    /// leader                           catalog
    ///   | batch [a] ------------------->| commits row 7
    ///   |                          -----| is restored to 7 rows: another start
    ///   | how long is the journal? -+-->|
    ///   |<- 7 rows: it vouches -----+---|
    ///   |<- row 7, late ------------     no other has this row: it must not look forged
    /// ```
    pub fn note_rows_asked_for(&mut self) {
        self.vouched_by = None;
    }

    /// Notes the status of the catalog's start `boot`. It was requested at `asked`, when this
    /// replica knew `before`.
    pub fn heard_from_catalog(
        &mut self,
        (status, boot): (CatalogStatus, Option<u64>),
        asked: Instant,
        before: Known,
    ) -> JournalCheck {
        self.recorded(status.leadership, before.leadership);
        if status.journal.length < before.log.length {
            let is_vouched_for = boot.is_some() && boot == self.vouched_by;
            return if is_vouched_for { JournalCheck::Forged } else { JournalCheck::JournalBehind };
        }
        // Rows that came since the catalog was asked need not be in its journal.
        if status.journal.length >= self.accepted().length {
            self.vouched_by = boot;
        }
        self.catalog_answered(asked);
        self.journal_reported(status.journal.length);
        // A leader without purchases must be woken to fetch.
        self.effects.work |= self.has_acquired() && self.is_behind();
        JournalCheck::Known
    }
}

#[cfg(test)]
mod tests {
    use super::batches::{BatchOutcome, SellStep};
    use super::*;
    use crate::wire::order::{Order, OrderNumber, Rows};
    use crate::wire::purchase::{CommitReply, Decision, IdempotencyKey, Purchase, Verdict};
    use crate::wire::quantity::Quantity;
    use crate::wire::replication::{Acquisition, AcquisitionReply, Epoch, NominationReply};
    use crate::wire::trace::RequestOrigin;

    pub(super) const ME: ReplicaId = ReplicaId(3);
    pub(super) const OTHER: ReplicaId = ReplicaId(2);

    pub(super) fn leading(epoch: u64, leader: ReplicaId) -> Leadership {
        Leadership { epoch: Epoch(epoch), leader: Some(leader) }
    }

    pub(super) fn order(number: u64, name: &str) -> Order {
        Order { number: OrderNumber(number), name: name.into(), quantity: Quantity::ONE, key: None }
    }

    pub(super) fn end_of(orders: &[Order]) -> Position {
        orders.iter().fold(Position::START, Position::continued_by)
    }

    pub(super) fn journal(length: u64) -> Vec<Order> {
        (0..length).map(|number| order(number, "Tux")).collect()
    }

    /// The journal's rows from one number to another.
    pub(super) fn stretch(from: u64, to: u64) -> Rows {
        let all = journal(to);
        let from = usize::try_from(from).unwrap();
        Rows { after: end_of(&all[..from]), orders: all[from..].to_vec() }
    }

    pub(super) fn purchase(key: &str, quantity: u64) -> Purchase {
        Purchase {
            key: IdempotencyKey::from(key.to_owned()),
            name: "Tux".into(),
            quantity: Quantity::new(quantity).unwrap(),
            origin: RequestOrigin::default(),
            boot: None,
        }
    }

    /// A replica that has just started, with a log of this length.
    pub(super) fn started(length: u64) -> Core<u32> {
        Core::new(ME, vec![OTHER], end_of(&journal(length)))
    }

    /// The catalog records the leadership, while its journal has this length.
    pub(super) fn acquire(core: &mut Core<u32>, leadership: Leadership, length: u64) {
        let request = Acquisition { nominee: ME, seen: Epoch(0), log: core.durable() };
        let won = AcquisitionReply::Won { leadership, journal: end_of(&journal(length)) };
        let answer = core.acquisition_answered(&request, core.leadership(), won);
        assert_eq!(answer, NominationReply::Won(leadership));
    }

    /// The leader of epoch 1, with a log as long as the journal.
    pub(super) fn leader(length: u64) -> Core<u32> {
        let mut core = started(length);
        acquire(&mut core, leading(1, ME), length);
        assert!(core.try_to_lead());
        core.take_effects();
        core
    }

    /// The core takes the rows, and they get to the disk.
    pub(super) fn take_and_write(core: &mut Core<u32>, rows: &Rows) {
        let write = core.take(rows).unwrap();
        core.written(write.log, core.accepted(), crate::clock::now());
    }

    fn state(core: &Core<u32>) -> ReplicaState {
        core.status(crate::clock::now()).state
    }

    #[test]
    fn a_replica_is_fit_to_lead_while_its_disk_and_the_catalog_answer() {
        let now = crate::clock::now();
        let mut core = started(0);
        core.disk_answered(now);
        assert_eq!(core.fitness(now), Fitness::Unfit);
        let status = CatalogStatus { leadership: leading(1, OTHER), journal: Position::START };
        let heard = core.heard_from_catalog((status, None), now, core.known());
        assert_eq!(heard, JournalCheck::Known);
        assert_eq!(core.fitness(now), Fitness::Ready);
        assert_eq!(core.fitness(now + FRESHNESS), Fitness::Unfit);
        core.checks_itself_every(Duration::from_secs(1));
        assert_eq!(core.fitness(now + Duration::from_millis(2_199)), Fitness::Ready);
        assert_eq!(core.fitness(now + Duration::from_millis(2_200)), Fitness::Unfit);
        let nothing = core.take(&stretch(0, 0)).unwrap();
        core.not_written(nothing.log);
        assert_eq!(core.fitness(now), Fitness::Ready, "there was nothing to write");
        let write = core.take(&stretch(0, 1)).unwrap();
        core.not_written(write.log);
        core.not_written(write.log);
        assert_eq!(core.fitness(now), Fitness::Unfit);
        core.written(write.log, core.durable(), crate::clock::now());
        assert_eq!(core.fitness(now), Fitness::Unfit, "nothing was written");
        assert_eq!(core.status(now).heard_ms, None);
        core.written(write.log, end_of(&journal(1)), crate::clock::now());
        assert_eq!(core.fitness(now), Fitness::Ready);
        let later = now + Duration::from_millis(300);
        core.disk_answered(later);
        assert_eq!(core.status(later).heard_ms, Some(300), "the catalog is silent for longer");
    }

    #[test]
    fn a_follower_that_is_checked_often_checks_itself() {
        let now = crate::clock::now();
        let mut core = started(1);
        let asks = |core: &mut Core<u32>, after| {
            core.health_checked(now + Duration::from_millis(after));
            core.take_effects().ask_catalog
        };
        assert!(!asks(&mut core, 0));
        assert!(!asks(&mut core, 200), "as at rest");
        assert!(asks(&mut core, 300), "it has heard nothing");
        core.disk_answered(now);
        core.catalog_answered(now);
        assert!(!asks(&mut core, 100), "it was answered just now");
        assert!(asks(&mut core, 160));
        let mut leader = started(1);
        acquire(&mut leader, leading(1, ME), 1);
        assert!(leader.take_effects().ask_catalog, "its checks are more frequent from now on");
        assert!(!asks(&mut leader, 200) && !asks(&mut leader, 300), "a leader does so anyway");
    }

    #[test]
    fn a_replica_whose_disk_is_full_says_so_until_it_has_written_what_was_refused() {
        let now = crate::clock::now();
        let full = Fitness::CannotWrite(Unwritable::Full);
        let mut core = started(0);
        core.disk_refused(Unwritable::Full);
        assert_eq!(core.fitness(now), full);
        assert!(core.disk_answered(now), "nothing had to be written");
        assert_eq!(core.fitness(now), Fitness::Unfit, "the catalog has not answered yet");
        let write = core.take(&stretch(0, 1)).unwrap();
        core.disk_refused(Unwritable::Full);
        core.not_written(write.log);
        assert!(!core.disk_answered(now));
        assert_eq!(core.fitness(now), full);
        take_and_write(&mut core, &stretch(0, 1));
        assert!(core.disk_answered(now));
    }

    #[test]
    fn rows_that_were_refused_need_not_come_again() {
        let now = crate::clock::now();
        let mut core = started(0);
        let write = core.take(&stretch(0, 1)).unwrap();
        core.disk_refused(Unwritable::Full);
        core.not_written(write.log);
        assert!(!core.disk_answered(now));
        assert!(core.write_taken(now) && core.disk_answered(now));
    }

    #[test]
    fn under_a_catalog_that_lost_orders_a_replica_does_not_become_fit() {
        let now = crate::clock::now();
        let mut core = started(2);
        core.disk_answered(now);
        let journal = end_of(&journal(1));
        let status = CatalogStatus { leadership: leading(1, OTHER), journal };
        let heard = core.heard_from_catalog((status, None), now, core.known());
        assert_eq!(heard, JournalCheck::JournalBehind);
        assert_eq!(core.fitness(now), Fitness::Unfit);
        assert_eq!(core.leadership(), leading(1, OTHER));
    }

    #[test]
    fn rows_beyond_a_log_that_the_catalog_has_vouched_for_were_never_sold() {
        let now = crate::clock::now();
        let mut core = started(1);
        let status = CatalogStatus { leadership: leading(1, OTHER), journal: end_of(&journal(1)) };
        assert_eq!(
            core.heard_from_catalog((status, Some(7)), now, core.known()),
            JournalCheck::Known
        );
        take_and_write(&mut core, &stretch(1, 2));
        for (boot, check) in [(7, JournalCheck::Forged), (8, JournalCheck::JournalBehind)] {
            let heard = core.heard_from_catalog((status, Some(boot)), now, core.known());
            assert_eq!(heard, check);
        }
        core.begin_anew();
        assert_eq!(core.log_end(), LogEnd { end: Position::START, vouched_by: None });
    }

    #[test]
    fn a_late_answer_of_an_earlier_start_of_the_catalog_is_not_taken_for_forged() {
        let now = crate::clock::now();
        let restored = |core: &Core<u32>| CatalogStatus {
            leadership: core.leadership(),
            journal: end_of(&journal(1)),
        };
        // The answer comes between the question how long the journal is and its answer.
        let mut core = leader(1);
        let (before, status) = (core.known(), restored(&core));
        batch_of_a_restored_catalog(&mut core, now);
        let heard = core.heard_from_catalog((status, Some(8)), now, before);
        assert_eq!(heard, JournalCheck::Known);
        let heard = core.heard_from_catalog((status, Some(8)), now, core.known());
        assert_eq!(heard, JournalCheck::JournalBehind);
        // It comes after that answer.
        let mut core = leader(1);
        core.heard_from_catalog((restored(&core), Some(8)), now, core.known());
        batch_of_a_restored_catalog(&mut core, now);
        let heard = core.heard_from_catalog((status, Some(8)), now, core.known());
        assert_eq!(heard, JournalCheck::JournalBehind);
    }

    /// A batch is sent, and the row that it gets was committed before the catalog was restored.
    fn batch_of_a_restored_catalog(core: &mut Core<u32>, now: Instant) {
        core.purchase(purchase("a", 1), 1, now, |_| false).unwrap();
        let SellStep::Sell(epoch, _) = core.next_step(now, |_| false) else {
            unreachable!("it leads, and a purchase waits")
        };
        let verdicts = vec![Verdict::Decided(Decision::Granted(OrderNumber(1)))];
        let reply = CommitReply::Decided { verdicts, rows: stretch(1, 2) };
        let write = core.batch_answered(epoch, BatchOutcome::Answered(reply), now, now);
        assert!(write.is_some());
    }

    #[test]
    fn a_replica_is_syncing_until_it_has_asked_and_has_all_that_it_heard_of() {
        let mut core = started(2);
        assert_eq!(state(&core), ReplicaState::Syncing);
        assert!(core.caught_up());
        assert_eq!(state(&core), ReplicaState::Follower);
        core.heard_of(4);
        assert_eq!(state(&core), ReplicaState::Syncing);
        core.take(&stretch(2, 4)).unwrap();
        assert_eq!(state(&core), ReplicaState::Follower);
    }
}
