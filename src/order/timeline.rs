//! When the leader's last batches were decided and written, from which each purchase learns where
//! its time went.
//!
//! The core knows nothing of it: an order's number says which batch it came with.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::errors::OrderError;
use super::service::Service;
use crate::wire::order::OrderNumber;
use crate::wire::purchase::{CommitReply, Decision, PurchaseReply, Verdict};
use crate::wire::timing::{ServerTiming, TimedPart};

/// Batches that are remembered. An order is acknowledged some batches after its own at most, or a
/// follower that holds it up leaves the live set; of a purchase that waits for longer, only the
/// whole time is known.
const MOST_BATCHES: usize = 64;

/// The last batches.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    batches: Mutex<VecDeque<TimedBatch>>,
}

#[derive(Debug)]
struct TimedBatch {
    /// The orders that it made.
    numbers: Range<u64>,
    /// What the catalog told, and how long its answer took.
    timing: ServerTiming,
    answered: Instant,
    written: Option<Instant>,
}

impl Timeline {
    /// Notes that the catalog answered a batch that it was sent at `asked`.
    pub(super) fn decided(
        &self,
        reply: &CommitReply,
        mut timing: ServerTiming,
        asked: Instant,
        now: Instant,
    ) {
        let CommitReply::Decided { verdicts, .. } = reply else { return };
        let granted = |verdict: &Verdict| match verdict {
            Verdict::Decided(Decision::Granted(number)) => Some(number.0),
            Verdict::Decided(_) | Verdict::Wait => None,
        };
        let numbers = || verdicts.iter().filter_map(granted);
        let (Some(first), Some(last)) = (numbers().min(), numbers().max()) else { return };
        timing.add(TimedPart::Catalog, now.saturating_duration_since(asked));
        let numbers = first..last + 1;
        let mut batches = self.lock();
        if batches.len() == MOST_BATCHES {
            batches.pop_front();
        }
        batches.push_back(TimedBatch { numbers, timing, answered: now, written: None });
    }

    /// Notes that this log is on disk up to `length` orders.
    pub(super) fn written(&self, length: u64, now: Instant) {
        for batch in self.lock().iter_mut() {
            if batch.numbers.end <= length {
                batch.written.get_or_insert(now);
            }
        }
    }

    /// Returns where the time of a purchase went that is answered with this order now.
    pub(super) fn of(&self, number: OrderNumber, now: Instant) -> ServerTiming {
        let batches = self.lock();
        let Some(batch) = batches.iter().rev().find(|batch| batch.numbers.contains(&number.0))
        else {
            return ServerTiming::default();
        };
        let mut timing = batch.timing;
        if let Some(written) = batch.written {
            timing.add(TimedPart::Fsync, written.saturating_duration_since(batch.answered));
            timing.add(TimedPart::Followers, now.saturating_duration_since(written));
        }
        timing
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<TimedBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Returns where the time of a purchase went that is answered like this now.
    pub(super) fn timing_of(&self, answer: &Result<PurchaseReply, OrderError>) -> ServerTiming {
        match answer {
            Ok(PurchaseReply::Decided(Decision::Granted(number))) => {
                self.timeline.of(*number, self.runtime.now())
            }
            Ok(PurchaseReply::Decided(_) | PurchaseReply::NotLeader(_)) | Err(_) => {
                ServerTiming::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::order::{Position, Rows};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn reply(numbers: &[u64]) -> CommitReply {
        let granted = |number: &u64| Verdict::Decided(Decision::Granted(OrderNumber(*number)));
        let verdicts = [Verdict::Decided(Decision::OutOfStock), Verdict::Wait];
        let verdicts = verdicts.into_iter().chain(numbers.iter().map(granted)).collect();
        CommitReply::Decided { verdicts, rows: Rows { after: Position::START, orders: Vec::new() } }
    }

    #[test]
    fn a_purchase_learns_how_long_the_catalog_the_disks_and_the_followers_took() {
        let (timeline, start) = (Timeline::default(), crate::clock::now());
        let mut told = ServerTiming::default();
        told.add(TimedPart::Fsync, ms(2));
        timeline.decided(&reply(&[7, 8]), told, start, start + ms(5));
        timeline.written(8, start + ms(6));
        timeline.written(9, start + ms(8));
        timeline.written(9, start + ms(20));
        let timing = timeline.of(OrderNumber(8), start + ms(12));
        assert_eq!(timing.to_string(), "catalog;dur=5.000, fsync;dur=5.000, followers;dur=4.000");
        assert!(timeline.of(OrderNumber(9), start).is_empty(), "it is of no batch");
    }

    #[test]
    fn the_batches_that_are_remembered_are_bounded() {
        let (timeline, now) = (Timeline::default(), crate::clock::now());
        for number in 0..1_000 {
            timeline.decided(&reply(&[number]), ServerTiming::default(), now, now);
        }
        timeline.decided(&reply(&[]), ServerTiming::default(), now, now);
        assert_eq!(timeline.lock().len(), MOST_BATCHES);
        assert!(timeline.of(OrderNumber(0), now).is_empty());
        assert!(!timeline.of(OrderNumber(999), now).is_empty());
    }
}
