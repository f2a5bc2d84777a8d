//! What a replica decides: which rows continue its log, whose word counts, and when an order is
//! safe enough to acknowledge.
//!
//! # The idea
//!
//! A replica's log is a durable prefix of the catalog's journal, so no two logs can disagree: one
//! is a prefix of the other. Rows may come from the leader, from a peer or from the journal, in any
//! order and more than once; the rule for all of them is [`Replica::accept`]: take what continues
//! the log, skip what repeats it, refuse what would leave a gap. A replica that was away follows
//! the same stream as one that was not, only from further back.
//!
//! ```text
//! journal     0 1 2 3 4 5 6 7 8 9        what is sold
//! replica 3   0 1 2 3 4 5 6 7 8          leads; 8 is acknowledged once 3 and 2 have it on disk
//! replica 2   0 1 2 3 4 5 6 7 8          live
//! replica 1   0 1 2 3                    was away: not live, nobody waits for it; rows 4 … come
//! ```
//!
//! An order is acknowledged when it is on the leader's disk and on that of every *live* follower;
//! [`followers`](super::followers) tells which those are.

use std::time::{Duration, Instant};

use super::followers::Followers;
use crate::wire::order::{Order, Position, Rows};
use crate::wire::replication::{AppendReply, Epoch, Fitness, Leadership, ReplicaId, ReplicaState};

/// A replica is fit to lead if it wrote to its disk and reached the catalog within this time.
pub const FRESHNESS: Duration = Duration::from_secs(1);

/// A replica, but for the rows themselves, which storage keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    id: ReplicaId,
    /// The end of what is on disk.
    durable: Position,
    /// The end of what is on disk or on its way there.
    accepted: Position,
    leadership: Leadership,
    duty: Duty,
    /// The length of the longest log that this replica has heard of.
    known_length: u64,
    catching_up: CatchUp,
    disk: Disk,
    disk_moved: Option<Instant>,
    catalog_reached: Option<Instant>,
}

/// What the replica does in its present epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Duty {
    Follow,
    /// It has acquired leadership and fetches what it misses, up to this length, before it sells.
    Activate(u64),
    Lead(Followers),
}

/// What became of the last rows that were to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Disk {
    Writes,
    /// It took none; it is full, most likely.
    Refuses,
}

/// Whether the replica has asked the others for what it missed while it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CatchUp {
    Asking,
    Done,
}

/// What becomes of rows that were offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Write these behind this position; both are empty talk if all was there already.
    Write(Position, Vec<Order>),
    /// They begin beyond the log's end, which is here.
    Gap(u64),
    /// They contradict the log.
    Diverged,
}

impl Replica {
    /// A replica whose log on disk ends at `durable`.
    #[must_use]
    pub fn new(id: ReplicaId, durable: Position) -> Self {
        Self {
            id,
            durable,
            accepted: durable,
            leadership: Leadership::default(),
            duty: Duty::Follow,
            known_length: durable.length,
            catching_up: CatchUp::Asking,
            disk: Disk::Writes,
            disk_moved: None,
            catalog_reached: None,
        }
    }

    /// Which replica this is.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// The end of the log on disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The end of the log, what is being written included.
    #[must_use]
    pub fn accepted(&self) -> Position {
        self.accepted
    }

    /// The newest leadership that this replica knows of.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// The epoch in which this replica leads and sells, if it does.
    #[must_use]
    pub fn leads(&self) -> Option<Epoch> {
        matches!(self.duty, Duty::Lead(_)).then_some(self.leadership.epoch)
    }

    /// Whether this replica has acquired leadership, be it that it still fetches what it misses.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.leadership.is_led_by(self.id) && !matches!(self.duty, Duty::Follow)
    }

    /// What the replica does, for those who watch.
    #[must_use]
    pub fn state(&self) -> ReplicaState {
        match self.duty {
            Duty::Activate(_) | Duty::Lead(_) => ReplicaState::Leader,
            Duty::Follow if !self.is_new() && !self.is_behind() => ReplicaState::Follower,
            Duty::Follow => ReplicaState::Syncing,
        }
    }

    /// Whether the replica could lead.
    #[must_use]
    pub fn fitness(&self, now: Instant) -> Fitness {
        let fresh = |seen: Option<Instant>| seen.is_some_and(|seen| now < seen + FRESHNESS);
        let writes = self.disk == Disk::Writes && fresh(self.disk_moved);
        if writes && fresh(self.catalog_reached) { Fitness::Ready } else { Fitness::Unfit }
    }

    /// Notes that the disk has done what it was asked at `asked`.
    pub fn disk_moved(&mut self, asked: Instant) {
        self.disk_moved = self.disk_moved.max(Some(asked));
    }

    /// Notes that the catalog has answered what it was asked at `asked`.
    pub fn catalog_answered(&mut self, asked: Instant) {
        self.catalog_reached = self.catalog_reached.max(Some(asked));
    }

    /// Notes that there are peers or a journal with at least so many orders.
    pub fn heard_of(&mut self, length: u64) {
        self.known_length = self.known_length.max(length);
    }

    /// Notes that the others were asked for what this replica missed, and had no more.
    pub fn caught_up(&mut self) {
        self.catching_up = CatchUp::Done;
    }

    /// Takes note of a leadership; a newer one deposes this replica. True if it was news.
    pub fn learn(&mut self, leadership: Leadership) -> bool {
        if leadership.epoch <= self.leadership.epoch {
            return false;
        }
        self.leadership = leadership;
        self.duty = Duty::Follow;
        true
    }

    /// Takes office: the catalog has recorded this replica's leadership. It sells once its log is
    /// `journal_length` long. False if the news is old.
    ///
    /// The catalog's answer to the nominee may be overtaken by others' word of it, so an epoch that
    /// is known already is taken up all the same, unless that has been done.
    ///
    /// # Panics
    ///
    /// If the leadership is another replica's.
    pub fn acquired(&mut self, leadership: Leadership, journal_length: u64) -> bool {
        let current = leadership.epoch == self.leadership.epoch && !self.is_chosen();
        if leadership.epoch < self.leadership.epoch || (!current && !self.learn(leadership)) {
            return false;
        }
        assert!(leadership.is_led_by(self.id), "an acquisition is answered to its nominee");
        // Others may have named another: a rebuilt catalog gives epochs away again. It knows.
        self.leadership = leadership;
        self.duty = Duty::Activate(journal_length);
        self.heard_of(journal_length);
        true
    }

    /// Lays down office: the catalog does not know this replica's leadership. (It knows an older
    /// one, if its database was rebuilt or brought back from a copy.) True if it had any.
    pub fn step_down(&mut self) -> bool {
        std::mem::replace(&mut self.duty, Duty::Follow) != Duty::Follow
    }

    /// Begins to sell if the log holds all that the acquisition named. True if it leads now.
    pub fn try_to_lead(&mut self, followers: impl IntoIterator<Item = ReplicaId>) -> bool {
        let Duty::Activate(needed) = self.duty else { return false };
        if self.durable.length < needed {
            return false;
        }
        let others = followers.into_iter().filter(|other| *other != self.id);
        self.duty = Duty::Lead(Followers::new(others));
        true
    }

    /// Offered rows: what to write. They count as accepted from now on, so they must be queued for
    /// the disk before anything else is offered.
    pub fn accept(&mut self, rows: &Rows) -> Acceptance {
        if !rows.are_numbered() {
            return Acceptance::Diverged;
        }
        if rows.after.length > self.accepted.length {
            return Acceptance::Gap(self.accepted.length);
        }
        let known = usize::try_from(self.accepted.length - rows.after.length)
            .map_or(rows.orders.len(), |known| known.min(rows.orders.len()));
        let (repeated, new) = rows.orders.split_at(known);
        let meeting = repeated.iter().fold(rows.after, Position::continued_by);
        // Rows that end within the log meet it at a position that is not at hand here; their chain
        // is compared when they go on.
        if meeting.length == self.accepted.length && meeting.chain != self.accepted.chain {
            return Acceptance::Diverged;
        }
        self.heard_of(rows.end_length());
        let after = self.accepted;
        self.accepted = new.iter().fold(after, Position::continued_by);
        Acceptance::Write(after, new.to_vec())
    }

    /// Notes that the journal had no more than this log holds. Whatever this replica has heard of
    /// beyond it was either written since, and will be heard of again, or was never true.
    pub fn has_everything(&mut self) {
        self.known_length = self.accepted.length;
    }

    /// Notes that the log is on disk up to `end`.
    pub fn written(&mut self, end: Position) {
        if end.length > self.durable.length {
            self.durable = end;
            self.disk = Disk::Writes;
        }
    }

    /// Notes that rows which were accepted did not get to the disk. They must be fetched again, and
    /// until some are written this replica is not fit to lead.
    pub fn not_written(&mut self) {
        // Where there was nothing to write, nothing will be written that could tell of the disk.
        if self.accepted.length > self.durable.length {
            self.disk = Disk::Refuses;
        }
        self.accepted = self.durable;
    }

    /// Somebody holds other orders than this replica: it is to ask the journal again.
    pub fn doubt_log(&mut self) {
        self.catching_up = CatchUp::Asking;
    }

    /// Whether this replica has heard of orders that it has not accepted.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.accepted.length < self.known_length
    }

    /// Whether this replica has yet to ask the others for what it missed while it was away.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.catching_up == CatchUp::Asking
    }

    /// Answers an append whose rows are on disk.
    #[must_use]
    pub fn append_reply(&self) -> AppendReply {
        AppendReply::Synced { length: self.durable.length }
    }

    /// From which length on a follower is to be sent rows; `None` unless this replica leads.
    #[must_use]
    pub fn cursor_of(&self, follower: ReplicaId) -> Option<u64> {
        // A follower that has said nothing yet is asked by a message without rows.
        Some(self.followers()?.length_of(follower)?.unwrap_or(self.accepted.length))
    }

    /// Whether a follower should be sent a message: there are rows that it lacks, as far as known.
    #[must_use]
    pub fn has_rows_for(&self, follower: ReplicaId) -> bool {
        self.cursor_of(follower).is_some_and(|cursor| cursor < self.accepted.length)
    }

    /// Notes a follower's acknowledgement, or its word that its log ends there.
    pub fn follower_has(&mut self, follower: ReplicaId, length: u64, now: Instant) {
        let durable = self.durable.length;
        if let Some(followers) = self.followers_mut() {
            followers.has(follower, length, durable, now);
        }
    }

    /// Notes a follower's word that its log ends at this length, before what it was sent.
    pub fn follower_lacks(&mut self, follower: ReplicaId, length: u64) {
        if let Some(followers) = self.followers_mut() {
            followers.lacks(follower, length);
        }
    }

    /// Notes that a follower is sent a message, for which it owes an acknowledgement from now on.
    pub fn follower_owes(&mut self, follower: ReplicaId, now: Instant) {
        if let Some(followers) = self.followers_mut() {
            followers.owes(follower, now);
        }
    }

    /// Notes that a follower did not answer. True if acknowledgements waited for it until now.
    pub fn follower_lost(&mut self, follower: ReplicaId) -> bool {
        self.followers_mut().is_some_and(|followers| followers.lost(follower))
    }

    /// Takes followers out of the live set that have owed an acknowledgement for too long.
    pub fn drop_slow_followers(&mut self, now: Instant) -> Vec<ReplicaId> {
        self.followers_mut().map(|followers| followers.drop_slow(now)).unwrap_or_default()
    }

    /// Orders below this number may be acknowledged: they are on this disk and on that of every
    /// live follower. `None` unless this replica leads.
    #[must_use]
    pub fn acknowledged_length(&self) -> Option<u64> {
        let live = self.followers()?.least_length();
        Some(live.map_or(self.durable.length, |live| live.min(self.durable.length)))
    }

    /// The followers that acknowledgements wait for.
    pub fn live_followers(&self) -> impl Iterator<Item = ReplicaId> {
        self.followers().into_iter().flat_map(Followers::live)
    }

    fn followers(&self) -> Option<&Followers> {
        match &self.duty {
            Duty::Lead(followers) => Some(followers),
            Duty::Follow | Duty::Activate(_) => None,
        }
    }

    fn followers_mut(&mut self) -> Option<&mut Followers> {
        match &mut self.duty {
            Duty::Lead(followers) => Some(followers),
            Duty::Follow | Duty::Activate(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::followers::ACKNOWLEDGEMENT_TIMEOUT;
    use super::*;
    use crate::wire::order::OrderNumber;
    use crate::wire::quantity::Quantity;

    const ME: ReplicaId = ReplicaId(3);
    const OTHER: ReplicaId = ReplicaId(2);

    fn order(number: u64, name: &str) -> Order {
        Order { number: OrderNumber(number), name: name.into(), quantity: Quantity::ONE }
    }

    fn end_of(orders: &[Order]) -> Position {
        orders.iter().fold(Position::START, Position::continued_by)
    }

    fn journal(length: u64) -> Vec<Order> {
        (0..length).map(|number| order(number, "Tux")).collect()
    }

    fn stretch(from: u64, to: u64) -> Rows {
        let all = journal(to);
        let from = usize::try_from(from).unwrap();
        Rows { after: end_of(&all[..from]), orders: all[from..].to_vec() }
    }

    fn replica(length: u64) -> Replica {
        Replica::new(ME, end_of(&journal(length)))
    }

    fn leading(epoch: u64, leader: ReplicaId) -> Leadership {
        Leadership { epoch: Epoch(epoch), leader: Some(leader) }
    }

    fn leader(length: u64) -> Replica {
        let mut replica = replica(length);
        assert!(replica.acquired(leading(1, ME), length));
        assert!(replica.try_to_lead([OTHER, ME]));
        replica
    }

    #[test]
    fn rows_that_continue_are_written_and_rows_that_repeat_are_skipped() {
        let mut replica = replica(2);
        let written = replica.accept(&stretch(1, 4));
        assert_eq!(written, Acceptance::Write(end_of(&journal(2)), stretch(2, 4).orders));
        assert_eq!(replica.accepted(), end_of(&journal(4)));
        assert_eq!(replica.durable(), end_of(&journal(2)));
        let again = replica.accept(&stretch(0, 3));
        assert_eq!(again, Acceptance::Write(end_of(&journal(4)), Vec::new()));
    }

    #[test]
    fn rows_beyond_the_end_are_not_written() {
        assert_eq!(replica(2).accept(&stretch(3, 5)), Acceptance::Gap(2));
    }

    #[test]
    fn rows_of_another_history_are_not_written() {
        let foreign = [order(0, "Tux"), order(1, "Uno"), order(2, "Tux")];
        let rows = Rows { after: Position::START, orders: foreign.to_vec() };
        assert_eq!(replica(2).accept(&rows), Acceptance::Diverged);
        let rows = Rows { after: end_of(&foreign[..2]), orders: foreign[2..].to_vec() };
        assert_eq!(replica(2).accept(&rows), Acceptance::Diverged);
        let rows = Rows { after: Position::START, orders: vec![order(7, "Tux")] };
        assert_eq!(replica(0).accept(&rows), Acceptance::Diverged);
    }

    #[test]
    fn rows_of_another_history_are_not_heard_of() {
        let mut replica = replica(2);
        let rows = Rows { after: Position::START, orders: vec![order(7, "Tux")] };
        replica.accept(&rows);
        assert!(!replica.is_behind());
        replica.heard_of(9);
        assert!(replica.is_behind());
        replica.has_everything();
        assert!(!replica.is_behind(), "the journal has no more");
    }

    #[test]
    fn a_nominee_does_not_lead_before_it_has_what_it_missed() {
        let mut replica = replica(2);
        assert!(replica.acquired(leading(1, ME), 4));
        assert!(!replica.try_to_lead([OTHER]));
        replica.accept(&stretch(2, 4));
        assert!(!replica.try_to_lead([OTHER]), "accepted is not on disk yet");
        replica.written(end_of(&journal(4)));
        assert!(replica.try_to_lead([OTHER]));
        assert_eq!(replica.leads(), Some(Epoch(1)));
    }

    #[test]
    fn a_newer_epoch_deposes_and_an_older_one_is_ignored() {
        let mut replica = leader(0);
        assert!(!replica.learn(leading(1, OTHER)));
        assert!(replica.learn(leading(2, OTHER)));
        assert_eq!(replica.leads(), None);
        assert!(!replica.acquired(leading(1, ME), 0), "the office of epoch 1 has ended");
    }

    #[test]
    fn a_nominee_that_heard_of_its_own_victory_first_still_takes_office() {
        let mut replica = replica(0);
        assert!(replica.learn(leading(1, ME)));
        assert!(!replica.is_chosen());
        assert!(replica.acquired(leading(1, ME), 0));
        assert!(replica.is_chosen());
    }

    #[test]
    fn of_an_epoch_that_was_given_away_twice_the_catalog_knows_the_leader() {
        let mut replica = replica(0);
        assert!(replica.learn(leading(1, OTHER)));
        assert!(replica.acquired(leading(1, ME), 0));
        assert!(replica.try_to_lead([OTHER]));
        assert_eq!(replica.leadership(), leading(1, ME));
    }

    #[test]
    fn nobody_waits_for_a_follower_that_never_answered() {
        let mut replica = leader(0);
        replica.accept(&stretch(0, 3));
        assert_eq!(replica.acknowledged_length(), Some(0));
        replica.written(end_of(&journal(3)));
        assert_eq!(replica.acknowledged_length(), Some(3));
    }

    #[test]
    fn acknowledgements_wait_for_a_live_follower_but_not_beyond_its_patience() {
        let now = crate::clock::now();
        let mut replica = leader(0);
        answer(&mut replica, 0, now);
        replica.accept(&stretch(0, 3));
        replica.written(end_of(&journal(3)));
        replica.follower_owes(OTHER, now);
        assert_eq!(replica.acknowledged_length(), Some(0));
        replica.follower_has(OTHER, 2, now);
        assert_eq!(replica.acknowledged_length(), Some(2));
        assert!(replica.drop_slow_followers(now).is_empty());
        assert_eq!(replica.drop_slow_followers(now + ACKNOWLEDGEMENT_TIMEOUT), [OTHER]);
        assert_eq!(replica.acknowledged_length(), Some(3));
    }

    /// The follower is sent a message and answers it at once.
    fn answer(replica: &mut Replica, length: u64, now: Instant) {
        replica.follower_owes(OTHER, now);
        replica.follower_has(OTHER, length, now);
    }

    #[test]
    fn a_follower_that_was_too_slow_comes_back_only_by_being_quick() {
        let now = crate::clock::now();
        let mut replica = leader(3);
        answer(&mut replica, 3, now);
        replica.follower_owes(OTHER, now);
        assert_eq!(replica.drop_slow_followers(now + ACKNOWLEDGEMENT_TIMEOUT), [OTHER]);
        replica.follower_has(OTHER, 3, now + ACKNOWLEDGEMENT_TIMEOUT);
        assert!(!replica.follower_lost(OTHER), "its answer was late");
        answer(&mut replica, 3, now + ACKNOWLEDGEMENT_TIMEOUT);
        assert!(replica.follower_lost(OTHER), "it was waited for again");
    }

    #[test]
    fn a_follower_that_wrote_nothing_is_not_waited_for() {
        let now = crate::clock::now();
        let mut replica = leader(3);
        answer(&mut replica, 3, now);
        replica.follower_lacks(OTHER, 2);
        assert_eq!(replica.acknowledged_length(), Some(3));
        assert_eq!(replica.cursor_of(OTHER), Some(2));
    }

    #[test]
    fn a_follower_that_caught_up_is_waited_for_again() {
        let now = crate::clock::now();
        let mut replica = leader(3);
        answer(&mut replica, 3, now);
        assert!(replica.follower_lost(OTHER));
        assert!(!replica.follower_lost(OTHER));
        replica.accept(&stretch(3, 4));
        replica.written(end_of(&journal(4)));
        assert_eq!(replica.acknowledged_length(), Some(4));
        answer(&mut replica, 4, now);
        replica.accept(&stretch(4, 5));
        replica.written(end_of(&journal(5)));
        assert_eq!(replica.acknowledged_length(), Some(4));
        assert!(replica.has_rows_for(OTHER));
    }

    #[test]
    fn a_replica_is_fit_to_lead_while_its_disk_and_the_catalog_answer() {
        let now = crate::clock::now();
        let mut replica = replica(0);
        replica.disk_moved(now);
        assert_eq!(replica.fitness(now), Fitness::Unfit);
        replica.catalog_answered(now);
        assert_eq!(replica.fitness(now), Fitness::Ready);
        assert_eq!(replica.fitness(now + FRESHNESS), Fitness::Unfit);
        replica.not_written();
        assert_eq!(replica.fitness(now), Fitness::Ready, "there was nothing to write");
        replica.accept(&stretch(0, 1));
        replica.not_written();
        replica.not_written();
        assert_eq!(replica.fitness(now), Fitness::Unfit);
        replica.written(replica.durable());
        assert_eq!(replica.fitness(now), Fitness::Unfit, "nothing was written");
        replica.written(end_of(&journal(1)));
        assert_eq!(replica.fitness(now), Fitness::Ready);
    }

    #[test]
    fn a_replica_is_syncing_until_it_has_asked_and_has_all_that_it_heard_of() {
        let mut replica = replica(2);
        assert_eq!(replica.state(), ReplicaState::Syncing);
        replica.caught_up();
        assert_eq!(replica.state(), ReplicaState::Follower);
        replica.heard_of(4);
        assert_eq!(replica.state(), ReplicaState::Syncing);
        replica.accept(&stretch(2, 4));
        assert_eq!(replica.state(), ReplicaState::Follower);
    }
}
