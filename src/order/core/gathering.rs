//! How long a batch waits for more purchases before it goes to a catalog that is free.
//!
//! # The idea
//!
//! A batch costs the same messages, wake-ups and syncs however many purchases it has. Clients that
//! were answered together often buy again together. If a batch went whenever the catalog is free, a
//! purchase that came a moment before the others would go alone, be answered alone and come back
//! alone: small groups would stay small.
//!
//! ```text
//! five clients, each batch as soon as the catalog is free:
//! catalog  [a··][b c·][d e·][a··][b c·][d e·]
//! disks         [a···][b c··][d e··][a···][b c··]
//!
//! the same clients, a third of the batches:
//! catalog  [a b c d e·]            [a b c d e·]
//! disks                [a b c d e·]            [a b c d e·]
//! ```
//!
//! So a batch waits until as many purchases are in flight as when the larger of the last two went,
//! but in two cases only, in which more are likely to come soon:
//!
//! 1. *Orders are on their way to the disks.* Their clients are answered next. If these do not buy
//!    again, the batch goes at the latest when the last of them is answered. A batch that is
//!    smaller than these orders waits for them for a moment although no purchase is missing: of two
//!    groups that take turns, all are in flight whenever a batch goes, and a small one would never
//!    join a larger one. (Two of the same size keep the catalog and the disks busy in turn.)
//! 2. *Clients were answered just now.* They may come back at once. If they do not, the wait was in
//!    vain, and has delayed those who came: then ever more batches go before the next such wait. So
//!    one hardly ever happens for clients that take their time, or come independently.
//!
//! A client that is alone waits for none. (PostgreSQL's `commit_siblings` asks, too, whether others
//! are at work, and its `commit_delay` then waits for a fixed time.)

use std::time::{Duration, Instant};

/// How long a batch waits at most after the last was decided, or after clients were answered: long
/// beside a sync, short beside what a client notices. It matters if a disk or a follower is slow.
pub(super) const LONGEST_GATHERING: Duration = Duration::from_millis(10);
/// How long one that misses none waits at most after the last was decided, for more orders than its
/// own: as long as disks take that are fast. With slow ones, batches do better to overlap.
const JOINING: Duration = Duration::from_millis(2);
/// How long a batch waits for clients that were answered, apart from [`RETURN_OF_EACH`]. A clock
/// that counts whole milliseconds may make it a millisecond longer, if they do not come.
const RETURN: Duration = Duration::from_micros(500);
/// How much longer for each that was in flight, as they are answered one after the other.
const RETURN_OF_EACH: Duration = Duration::from_micros(30);
/// The most batches that go without waiting for clients to come back, after waits in vain.
const MOST_SKIPPED: u32 = 256;

/// What a batch waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gathering {
    /// How many purchases were in flight when each of the last two batches went.
    in_flight: [u32; 2],
    /// When the catalog decided the last batch.
    decided_at: Option<Instant>,
    /// When clients were answered last.
    answered_at: Option<Instant>,
    /// Until when the next batch waits for clients to come back, or has waited.
    waits_until: Option<Instant>,
    /// How many batches go before one waits for clients to come back.
    left_to_skip: u32,
    /// How many went so before the last that did.
    backoff: u32,
}

impl Gathering {
    /// Notes that the catalog has decided a batch.
    pub(super) fn batch_decided(&mut self, now: Instant) {
        self.decided_at = Some(now);
    }

    /// Notes that clients are answered.
    pub(super) fn clients_answered(&mut self, now: Instant) {
        self.answered_at = Some(now);
    }

    /// Returns until when a batch should wait for more purchases than those that are in flight, of
    /// which some are orders on their way to the disks; `None` if it should not.
    pub(super) fn end(
        &self,
        in_flight: usize,
        on_their_way: usize,
        now: Instant,
    ) -> Option<Instant> {
        // No other batch is at the catalog when one goes: what is not on its way waits for it.
        let waiting = in_flight.saturating_sub(on_their_way);
        let end = if on_their_way > 0 && self.misses_some(in_flight) {
            self.decided_at.map(|at| at + LONGEST_GATHERING)
        } else if waiting < on_their_way {
            self.decided_at.map(|at| at + JOINING)
        } else if self.left_to_skip == 0 && self.misses_some(in_flight) {
            let within = (RETURN + RETURN_OF_EACH * self.usual()).min(LONGEST_GATHERING);
            self.answered_at.map(|at| at + within)
        } else {
            None
        };
        end.filter(|end| now < *end)
    }

    /// Notes that a batch waits for clients to come back.
    pub(super) fn waits_for_clients(&mut self, end: Instant) {
        self.waits_until = Some(end);
    }

    /// Notes that a batch goes, with all the purchases that it can have or while so many are in
    /// flight.
    pub(super) fn batch_goes(&mut self, is_full: bool, in_flight: usize, now: Instant) {
        if let Some(end) = self.waits_until.take() {
            // The last may have come after the end and before the timer, which is coarse.
            let is_in_time = now < end && (is_full || !self.misses_some(in_flight));
            // Independent purchases may end a wait in time by chance, so a failure counts more.
            self.backoff = if is_in_time {
                self.backoff / 2
            } else {
                (self.backoff * 4 + 4).min(MOST_SKIPPED)
            };
            self.left_to_skip = self.backoff;
        } else {
            self.left_to_skip = self.left_to_skip.saturating_sub(1);
        }
        self.in_flight = [self.in_flight[1], u32::try_from(in_flight).unwrap_or(u32::MAX)];
    }

    /// Notes that there is no purchase left for the batch that has waited.
    pub(super) fn nothing_goes(&mut self) {
        self.waits_until = None;
    }

    fn misses_some(&self, in_flight: usize) -> bool {
        u32::try_from(in_flight).is_ok_and(|in_flight| in_flight < self.usual())
    }

    /// The most purchases that were in flight when one of the last two batches went.
    fn usual(&self) -> u32 {
        self.in_flight[0].max(self.in_flight[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many purchases were in flight when a batch went, and all are answered.
    fn after(in_flight: usize, now: Instant) -> Gathering {
        let mut gathering = Gathering::default();
        gathering.batch_goes(false, in_flight, now);
        gathering.batch_decided(now);
        gathering.clients_answered(now);
        gathering
    }

    /// One purchase is there: does its batch wait for others to come back?
    fn waits(gathering: &mut Gathering, now: Instant) -> bool {
        let end = gathering.end(1, 0, now);
        if let Some(end) = end {
            gathering.waits_for_clients(end);
        }
        end.is_some()
    }

    /// Batches of a purchase that comes back alone, each after the one before was answered, and
    /// which of them wait.
    fn alone(gathering: &mut Gathering, batches: usize, now: Instant) -> Vec<usize> {
        let mut waited = Vec::new();
        for batch in 0..batches {
            gathering.clients_answered(now);
            // However the one before it went, more were in flight when one of two did.
            gathering.in_flight = [5, 5];
            if waits(gathering, now) {
                waited.push(batch);
            }
            gathering.batch_goes(false, 1, now);
        }
        waited
    }

    #[test]
    fn a_client_that_is_alone_waits_for_none() {
        let now = crate::clock::now();
        let mut gathering = Gathering::default();
        for _ in 0..3 {
            assert_eq!(gathering.end(1, 0, now), None);
            gathering.batch_goes(false, 1, now);
            gathering.batch_decided(now);
            gathering.clients_answered(now);
        }
    }

    #[test]
    fn a_batch_waits_while_orders_are_on_their_way_to_the_disks() {
        let now = crate::clock::now();
        let gathering = after(5, now);
        assert_eq!(gathering.end(4, 1, now), Some(now + LONGEST_GATHERING));
        assert_eq!(gathering.end(4, 1, now + LONGEST_GATHERING), None);
        assert_eq!(gathering.end(5, 1, now), None);
    }

    #[test]
    fn a_batch_waits_for_more_orders_than_its_own_although_all_are_in_flight() {
        let now = crate::clock::now();
        let gathering = after(5, now);
        assert_eq!(gathering.end(5, 3, now), Some(now + JOINING), "two wait for three");
        assert_eq!(gathering.end(5, 3, now + JOINING), None, "but not for slow disks");
        assert_eq!(gathering.end(5, 2, now), None, "three do not wait for two");
        assert_eq!(gathering.end(6, 3, now), None, "groups of the same size may take turns");
    }

    #[test]
    fn a_batch_waits_a_moment_for_clients_that_were_answered() {
        let now = crate::clock::now();
        let mut gathering = after(5, now);
        let end = now + Duration::from_micros(650);
        assert_eq!(gathering.end(4, 0, now), Some(end));
        assert_eq!(gathering.end(4, 0, end), None);
        assert_eq!(gathering.end(5, 0, now), None);
        gathering.batch_goes(false, 4, now);
        assert_eq!(gathering.end(4, 0, now), Some(end), "there were five before");
        gathering.batch_goes(false, 4, now);
        assert_eq!(gathering.end(4, 0, now), None);
    }

    #[test]
    fn clients_that_come_back_are_waited_for_each_time() {
        let now = crate::clock::now();
        let mut gathering = after(5, now);
        for _ in 0..100 {
            assert!(waits(&mut gathering, now));
            gathering.batch_goes(false, 5, now);
        }
    }

    #[test]
    fn clients_that_do_not_come_back_are_waited_for_ever_more_rarely() {
        let now = crate::clock::now();
        let waited = alone(&mut Gathering::default(), 1_000, now);
        assert_eq!(waited, [0, 5, 26, 111, 368, 625, 882]);
    }

    #[test]
    fn clients_that_come_back_again_are_soon_waited_for_each_time() {
        let now = crate::clock::now();
        let mut gathering = Gathering::default();
        alone(&mut gathering, 200, now);
        let mut waited = Vec::new();
        for batch in 0..500 {
            gathering.clients_answered(now);
            if waits(&mut gathering, now) {
                waited.push(batch);
            }
            gathering.batch_goes(false, 5, now);
        }
        // As many go without as are left of 256, then 128, 64 …
        assert_eq!(waited[..9], [168, 297, 362, 395, 412, 421, 426, 429, 431]);
        assert_eq!(waited[9..].len(), 500 - 432);
    }

    #[test]
    fn a_crowd_that_stays_away_is_not_waited_for_longer_than_a_disk() {
        let now = crate::clock::now();
        assert_eq!(after(4_096, now).end(1, 0, now), Some(now + LONGEST_GATHERING));
    }

    #[test]
    fn clients_that_came_back_late_were_waited_for_in_vain() {
        let now = crate::clock::now();
        let mut gathering = after(5, now);
        assert!(waits(&mut gathering, now));
        let late = gathering.end(1, 0, now).unwrap();
        gathering.batch_goes(false, 5, late);
        gathering.clients_answered(late);
        assert!(!waits(&mut gathering, late));
    }

    #[test]
    fn a_wait_that_fills_a_batch_was_not_in_vain() {
        let now = crate::clock::now();
        let mut gathering = after(1_000, now);
        assert!(waits(&mut gathering, now));
        gathering.batch_goes(true, 300, now);
        assert!(waits(&mut gathering, now));
    }
}
