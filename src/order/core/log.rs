//! The replica's log: where it ends, which rows continue it, which are missing.
//!
//! # The idea
//!
//! A log is a durable prefix of the catalog's journal, so of two logs one is a prefix of the other
//! (Raft's log matching, without its conflicts: there is nothing to truncate). Rows may come from
//! the leader, from a peer or from the journal, in any order and more than once. One rule serves
//! them all, [`Core::take`]: append what continues the log, skip what repeats it, refuse what would
//! leave a gap or contradicts it. A replica that was down follows the same stream as the others,
//! only from further back.
//!
//! ```text
//! journal     0 1 2 3 4 5 6 7 8 9
//! replica 3   0 1 2 3 4 5 6 7 8      leader
//! replica 2   0 1 2 3 4 5 6 7        live follower; row 8 is on its way
//! replica 1   0 1 2 3                was down; rows 4 … are being fetched
//! ```
//!
//! Rows are *accepted* before they are *durable*, so that the next batch need not wait for the
//! disk. The service queues a [`Write`] for the disk in the same step in which the rows are
//! accepted; and if the write fails, all that was accepted after it is taken back, too:
//!
//! ```text
//! core                       disk
//!   | accept 7 ------------->| full: refused
//!   | accept 8 ------------->| does not continue 6: refused
//!   |<--------- not_written -|
//!   | accepted = durable = up to 6; 7 and 8 are fetched again
//! ```
//!
//! If the log went on from 8 instead, row 7 would be missing from the disk for good.
//!
//! A log that contradicts the journal is set aside by the service and [begun
//! anew](Core::begin_anew).
//!
//! # What is left out
//!
//! The rows on disk, which storage keeps. A comparison of every repeated row: rows that end within
//! the log are skipped unchecked, and a contradiction is found when later rows reach the log's end.

use std::time::Instant;

use super::Core;
use super::log_cache::LogCache;
use crate::wire::order::{Order, OrderNumber, Position, Rows};
use crate::wire::replication::MOST_ROWS;

/// A replica's log, except for the rows on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    number: LogNumber,
    /// The end of what is on disk.
    durable: Position,
    /// The end of what is on disk or being written.
    accepted: Position,
    /// The newest rows that were accepted.
    cache: LogCache,
    /// The length of the longest log that this replica has heard of.
    known_length: u64,
    /// How long this log was when the catalog last reported its journal's length.
    length_at_report: u64,
    catch_up: CatchUp,
    last_write: LastWrite,
}

/// Counts how often the log was begun anew. The outcome of a write to an earlier log says nothing
/// about the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogNumber(u64);

/// Whether the replica has asked the others for what it missed while it was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CatchUp {
    Pending,
    Done,
}

/// The outcome of the last attempt to write rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LastWrite {
    Succeeded,
    /// Most likely, the disk is full.
    Failed,
}

/// Rows for the disk. They must be queued there before the next call to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The log that they belong to.
    pub log: LogNumber,
    /// The position that they continue.
    pub after: Position,
    /// The rows. If there are none, the write only reports when all before it is on disk.
    pub orders: Vec<Order>,
}

/// Why rows were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// They begin beyond the log's end, which is here.
    Gap(u64),
    /// They contradict the log.
    Diverged,
    /// The disk did not take them.
    NotWritten,
}

/// The outcome of a request for missing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The source may have more: ask from the log's end again.
    More,
    /// The source has no more.
    Everything,
    /// Rows from another source were taken meanwhile: ask again in a moment.
    Overtaken,
    /// The source holds other orders than this replica.
    Diverged,
    /// There was no answer, or its rows could not be written.
    Failed,
}

impl Log {
    /// A log on disk that ends at `durable`.
    pub(super) fn new(durable: Position) -> Self {
        Self {
            number: LogNumber(0),
            durable,
            accepted: durable,
            cache: LogCache::new(durable),
            known_length: durable.length,
            length_at_report: 0,
            catch_up: CatchUp::Pending,
            last_write: LastWrite::Succeeded,
        }
    }

    /// Returns whether the disk took the last rows that it was given.
    pub(super) fn takes_writes(&self) -> bool {
        self.last_write == LastWrite::Succeeded
    }

    /// Notes that the disk takes writes, whatever it did with the last rows.
    pub(super) fn write_taken(&mut self) {
        self.last_write = LastWrite::Succeeded;
    }
}

impl<W> Core<W> {
    /// Returns the end of the log on disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.log.durable
    }

    /// Returns the end of the log, including the rows that are being written.
    #[must_use]
    pub fn accepted(&self) -> Position {
        self.log.accepted
    }

    /// Returns whether an order is on this replica's disk. Orders never change, so any replica that
    /// has one may answer with it. One that lacks it must ask the catalog, and anew each time: the
    /// journal's end may have moved since it was last heard of.
    #[must_use]
    pub fn has_order(&self, number: OrderNumber) -> bool {
        number.0 < self.log.durable.length
    }

    /// Takes rows from any source. Returns what to write.
    ///
    /// # Errors
    ///
    /// If the rows do not continue the log.
    pub fn take(&mut self, rows: &Rows) -> Result<Write, NotTaken> {
        let end = self.log.accepted;
        if !rows.are_numbered() {
            return Err(NotTaken::Diverged);
        }
        if rows.after.length > end.length {
            return Err(NotTaken::Gap(end.length));
        }
        let known = usize::try_from(end.length - rows.after.length)
            .map_or(rows.orders.len(), |known| known.min(rows.orders.len()));
        let (repeated, new) = rows.orders.split_at(known);
        let meeting = repeated.iter().fold(rows.after, Position::continued_by);
        // For rows that end within the log there is no position in memory to compare with.
        if meeting.length == end.length && meeting.chain != end.chain {
            return Err(NotTaken::Diverged);
        }
        self.heard_of(rows.end_length());
        self.queue_forgotten(new);
        self.log.accepted = self.log.cache.extend(end, new);
        self.effects.grown |= self.leads().is_some();
        Ok(Write { log: self.log.number, after: end, orders: new.to_vec() })
    }

    /// Notes that the log is on disk up to `end`.
    pub fn written(&mut self, log: LogNumber, end: Position, now: Instant) {
        if self.log.number == log && end.length > self.log.durable.length {
            self.log.durable = end;
            self.log.last_write = LastWrite::Succeeded;
        }
        self.acknowledge(now);
    }

    /// Notes that rows which were accepted did not get to the disk. They must be fetched again, and
    /// until some are written this replica is not fit to lead.
    pub fn not_written(&mut self, log: LogNumber) {
        if self.log.number == log {
            // A failed write without rows does not count: with nothing more to write, no later
            // write would show that the disk works again.
            if self.log.accepted.length > self.log.durable.length {
                self.log.last_write = LastWrite::Failed;
            }
            self.log.accepted = self.log.durable;
        }
        self.effects.work = true;
    }

    /// Begins the log anew and empty: the journal contradicts the old one, which the service has
    /// set aside. What this replica knew is forgotten with it.
    pub fn begin_anew(&mut self) {
        self.redirect_waiters();
        let anew = Self::new(self.id, std::mem::take(&mut self.others), Position::START);
        let number = LogNumber(self.log.number.0 + 1);
        let effects = self.take_effects();
        *self = Self { log: Log { number, ..anew.log }, effects, ..anew };
    }

    /// Returns which log this is: another one after it was begun anew.
    #[must_use]
    pub fn log_number(&self) -> LogNumber {
        self.log.number
    }

    /// Returns rows for a follower, if they are still in memory.
    #[must_use]
    pub fn cached_rows(&self, from: u64) -> Option<Rows> {
        self.log.cache.rows(from, MOST_ROWS)
    }

    /// Returns the answer to a peer that asks for rows beyond this log's end.
    #[must_use]
    pub fn no_rows(&self) -> Rows {
        Rows::none(self.log.durable)
    }

    /// Returns whether this replica has to ask the others for rows: because it has just started and
    /// does not know what it missed, or because it has heard of orders that it lacks. A chosen
    /// leader fetches as part of [becoming leader](super::leadership) instead.
    #[must_use]
    pub fn should_fetch(&self) -> bool {
        !self.has_acquired() && (self.must_catch_up() || self.is_behind())
    }

    /// Interprets the answer to a request for missing rows; `taken` tells whether they were taken
    /// and written.
    #[must_use]
    pub fn fetched(rows: &Rows, taken: Result<(), NotTaken>) -> Fetched {
        match taken {
            // As many as one message carries: there may be more behind them.
            Ok(()) if rows.orders.len() as u64 == MOST_ROWS => Fetched::More,
            Ok(()) => Fetched::Everything,
            Err(NotTaken::Gap(_)) => Fetched::Overtaken,
            Err(NotTaken::Diverged) => Fetched::Diverged,
            Err(NotTaken::NotWritten) => Fetched::Failed,
        }
    }

    /// Notes that the journal had no more orders than this log. If this replica has heard of more,
    /// they were either written since, and it will hear of them again, or the journal has lost
    /// them. Purchases that wait for their rows are sent again.
    pub fn journal_read_to_end(&mut self) {
        self.log.known_length = self.log.accepted.length;
        self.queue_beyond(self.log.known_length);
    }

    /// Notes that the peers and the journal were asked for what this replica missed. Returns
    /// whether it had to catch up until now.
    pub fn caught_up(&mut self) -> bool {
        let had_to = self.must_catch_up() && !self.has_acquired();
        if had_to {
            self.note_caught_up();
        }
        had_to
    }

    /// Notes that this replica has what it missed while it was down.
    pub(super) fn note_caught_up(&mut self) {
        self.log.catch_up = CatchUp::Done;
    }

    /// Notes that another replica holds other orders: the journal must be asked again which of the
    /// two logs is right.
    pub(super) fn doubt_log(&mut self) {
        self.log.catch_up = CatchUp::Pending;
    }

    /// Returns how many orders this replica has heard of and does not have on its disk.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.log.known_length.saturating_sub(self.durable().length)
    }

    /// Notes that a peer or the journal has at least so many orders.
    pub(super) fn heard_of(&mut self, length: u64) {
        self.log.known_length = self.log.known_length.max(length);
    }

    /// Notes the journal's length as the catalog reports it. While this log grows, it lacks the
    /// newest orders only because they are on their way; it counts as behind only if it has not
    /// grown since the last report.
    pub(super) fn journal_reported(&mut self, journal_length: u64) {
        let length = self.log.accepted.length;
        if length == self.log.length_at_report {
            self.heard_of(journal_length);
        }
        self.log.length_at_report = length;
    }

    /// Returns whether this replica has heard of orders that it has not accepted.
    pub(super) fn is_behind(&self) -> bool {
        self.log.accepted.length < self.log.known_length
    }

    /// Returns whether this replica has yet to ask the others for what it missed: since it started,
    /// or since another replica was found to hold other orders.
    #[must_use]
    pub fn must_catch_up(&self) -> bool {
        self.log.catch_up == CatchUp::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    #[test]
    fn rows_that_continue_are_written_and_rows_that_repeat_are_skipped() {
        let mut core = started(2);
        let write = core.take(&stretch(1, 4)).unwrap();
        assert_eq!((write.after, write.orders), (end_of(&journal(2)), stretch(2, 4).orders));
        assert_eq!(core.accepted(), end_of(&journal(4)));
        assert_eq!(core.durable(), end_of(&journal(2)));
        let again = core.take(&stretch(0, 3)).unwrap();
        assert_eq!((again.after, again.orders), (end_of(&journal(4)), Vec::new()));
    }

    #[test]
    fn rows_beyond_the_end_are_not_written() {
        assert_eq!(started(2).take(&stretch(3, 5)), Err(NotTaken::Gap(2)));
    }

    #[test]
    fn rows_of_another_history_are_not_written() {
        let foreign = [order(0, "Tux"), order(1, "Uno"), order(2, "Tux")];
        let rows = Rows { after: Position::START, orders: foreign.to_vec() };
        assert_eq!(started(2).take(&rows), Err(NotTaken::Diverged));
        let rows = Rows { after: end_of(&foreign[..2]), orders: foreign[2..].to_vec() };
        assert_eq!(started(2).take(&rows), Err(NotTaken::Diverged));
        let rows = Rows { after: Position::START, orders: vec![order(7, "Tux")] };
        assert_eq!(started(0).take(&rows), Err(NotTaken::Diverged));
    }

    #[test]
    fn rows_of_another_history_are_not_heard_of() {
        let mut core = started(2);
        let rows = Rows { after: Position::START, orders: vec![order(7, "Tux")] };
        assert_eq!(core.take(&rows), Err(NotTaken::Diverged));
        assert!(!core.is_behind());
        core.heard_of(9);
        assert!(core.is_behind());
        core.journal_read_to_end();
        assert!(!core.is_behind(), "the journal has no more");
    }

    #[test]
    fn rows_that_were_not_written_are_taken_back_and_fetched_again() {
        let mut core = started(2);
        let write = core.take(&stretch(2, 3)).unwrap();
        core.take(&stretch(3, 4)).unwrap();
        core.not_written(write.log);
        assert_eq!(core.accepted(), end_of(&journal(2)));
        assert_eq!(core.take(&stretch(4, 5)), Err(NotTaken::Gap(2)));
        assert!(core.should_fetch());
        assert_eq!(core.take(&stretch(2, 4)).unwrap().orders, stretch(2, 4).orders);
    }

    #[test]
    fn a_write_to_an_earlier_log_says_nothing_about_the_present_one() {
        let mut core = started(0);
        let write = core.take(&stretch(0, 1)).unwrap();
        core.begin_anew();
        core.written(write.log, end_of(&journal(1)), crate::clock::now());
        assert_eq!(core.durable(), Position::START);
        let again = core.take(&stretch(0, 1)).unwrap();
        core.not_written(write.log);
        core.written(again.log, end_of(&journal(1)), crate::clock::now());
        assert_eq!(core.durable(), end_of(&journal(1)));
    }
}
