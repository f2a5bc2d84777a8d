//! The leader's purchases on their way: gathered into batches, decided, acknowledged.
//!
//! # The idea
//!
//! Group commit without a timer (as in PostgreSQL with `commit_delay = 0`): while one batch is at
//! the catalog, whatever arrives gathers into the next. An idle store answers a purchase at once; a
//! busy one shares each fsync among all who wait.
//!
//! ```text
//! purchases   a  b c d      e f
//! catalog     [a···] [b c d···] [e f···]       one batch at a time
//! disks              [a···] [b c d···] [e f]   written here and there while the next is decided
//! answers                  a          b c d
//! ```
//!
//! A purchase that is on its way already is joined by its repetitions. Another one under the same
//! key goes its own way: which of the two the key belongs to, only the catalog can tell. A batch
//! whose answer was lost goes back to the head of the queue and is asked again: the catalog knows
//! its keys.
//!
//! `W` is who waits for an answer: a channel in the server, a number in the simulator.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::wire::order::OrderNumber;
use crate::wire::purchase::{Decision, IdempotencyKey, Purchase, Verdict};
use crate::wire::toy::ToyName;

/// Purchases that may be on their way at once; more are answered "try again later".
pub const MOST_PURCHASES: usize = 4_096;
/// Purchases in one batch. At some 20 µs each, the catalog is done with the largest batch in the
/// time of a few fsyncs.
pub const MOST_IN_BATCH: usize = 256;
/// Front-ends' attempts that may wait for one key.
const MOST_WAITERS: usize = 16;
/// How long a purchase of a toy that is not clear yet rests before it is asked again.
pub const REST: Duration = Duration::from_millis(10);

/// The purchases on their way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue<W> {
    in_flight: BTreeMap<ClientKey, InFlight<W>>,
    waiting: VecDeque<Waiting>,
    unacknowledged: BTreeMap<OrderNumber, Vec<ClientKey>>,
    at_catalog: Vec<ClientKey>,
}

/// What makes two purchases the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ClientKey {
    key: IdempotencyKey,
    name: ToyName,
    quantity: u64,
}

/// A purchase and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight<W> {
    purchase: Purchase,
    waiters: Vec<W>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    client_key: ClientKey,
    /// Not before this time; nothing for one that may go at once.
    not_before: Option<Instant>,
}

/// What became of a purchase that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<W> {
    /// It is on its way.
    Admitted,
    /// There are too many.
    Full(W),
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            at_catalog: Vec::new(),
        }
    }
}

impl<W> Queue<W> {
    /// Takes a purchase in. Waiters that `is_gone` no longer count.
    pub fn admit(
        &mut self,
        purchase: Purchase,
        waiter: W,
        is_gone: impl Fn(&W) -> bool,
    ) -> Admission<W> {
        let client_key = ClientKey::of(&purchase);
        if let Some(known) = self.in_flight.get_mut(&client_key) {
            known.waiters.retain(|waiter| !is_gone(waiter));
            if known.waiters.len() == MOST_WAITERS {
                return Admission::Full(waiter);
            }
            known.waiters.push(waiter);
            return Admission::Admitted;
        }
        if self.in_flight.len() == MOST_PURCHASES {
            return Admission::Full(waiter);
        }
        self.waiting.push_back(Waiting { client_key: client_key.clone(), not_before: None });
        self.in_flight.insert(client_key, InFlight { purchase, waiters: vec![waiter] });
        Admission::Admitted
    }

    /// The next batch, if none is at the catalog and something may go. Purchases that nobody waits
    /// for any more are dropped. If they were decided, in an answer that was lost, the catalog
    /// knows it; if not, nothing has happened; and whoever cares will ask again.
    pub fn next_batch(&mut self, now: Instant, is_gone: impl Fn(&W) -> bool) -> Vec<Purchase> {
        if !self.at_catalog.is_empty() {
            return Vec::new();
        }
        let mut resting = VecDeque::new();
        let mut batch = Vec::new();
        while batch.len() < MOST_IN_BATCH
            && let Some(waiting) = self.waiting.pop_front()
        {
            if waiting.not_before.is_some_and(|time| now < time) {
                resting.push_back(waiting);
                continue;
            }
            let Some(known) = self.in_flight.get(&waiting.client_key) else { continue };
            if known.waiters.iter().all(&is_gone) {
                self.in_flight.remove(&waiting.client_key);
                continue;
            }
            batch.push(known.purchase.clone());
            self.at_catalog.push(waiting.client_key);
        }
        // Those that rest came first; they keep their place.
        resting.append(&mut self.waiting);
        self.waiting = resting;
        batch
    }

    /// When the first purchase that rests may go, if all that wait rest.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.not_before).min()?
    }

    /// The catalog's verdicts on the batch, in its order. Returns who is answered at once; orders
    /// wait until they are [acknowledged](Queue::acknowledge).
    ///
    /// # Panics
    ///
    /// If there are not as many verdicts as purchases.
    pub fn decided(&mut self, verdicts: &[Verdict], now: Instant) -> Vec<(W, Decision)> {
        let batch = std::mem::take(&mut self.at_catalog);
        assert_eq!(batch.len(), verdicts.len(), "a batch has a verdict for each purchase");
        let mut answers = Vec::new();
        for (client_key, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Decided(Decision::Granted(number)) => {
                    self.unacknowledged.entry(*number).or_default().push(client_key);
                }
                Verdict::Decided(decision) => self.answer(&client_key, *decision, &mut answers),
                Verdict::Wait => {
                    self.waiting.push_back(Waiting { client_key, not_before: Some(now + REST) });
                }
            }
        }
        answers
    }

    /// The batch's answer was lost: it goes first again.
    pub fn in_doubt(&mut self) {
        for client_key in std::mem::take(&mut self.at_catalog).into_iter().rev() {
            self.waiting.push_front(Waiting { client_key, not_before: None });
        }
    }

    /// The catalog will not have the batch: whoever waits for it is let go without a decision.
    pub fn give_up(&mut self) {
        for client_key in std::mem::take(&mut self.at_catalog) {
            self.in_flight.remove(&client_key);
        }
    }

    /// Orders below `length` are as durable as they must be. Returns who is answered.
    pub fn acknowledge(&mut self, length: u64) -> Vec<(W, Decision)> {
        let later = self.unacknowledged.split_off(&OrderNumber(length));
        let mut answers = Vec::new();
        for (number, client_keys) in std::mem::replace(&mut self.unacknowledged, later) {
            for client_key in client_keys {
                self.answer(&client_key, Decision::Granted(number), &mut answers);
            }
        }
        answers
    }

    /// This replica leads no longer: everybody is to ask the next leader.
    pub fn clear(&mut self) -> Vec<W> {
        let everything = std::mem::take(self);
        everything.in_flight.into_values().flat_map(|known| known.waiters).collect()
    }

    /// The ids of the clients' requests whose orders have these numbers and are not acknowledged.
    #[must_use]
    pub fn request_ids(&self, numbers: Range<u64>) -> Vec<String> {
        let numbers = OrderNumber(numbers.start)..OrderNumber(numbers.end);
        let client_keys =
            self.unacknowledged.range(numbers).flat_map(|(_, client_keys)| client_keys);
        client_keys
            .filter_map(|client_key| self.in_flight.get(client_key)?.purchase.request_id.clone())
            .collect()
    }

    /// How many purchases are on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether no purchase is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn answer(
        &mut self,
        client_key: &ClientKey,
        decision: Decision,
        answers: &mut Vec<(W, Decision)>,
    ) {
        let waiters = self.in_flight.remove(client_key).map(|known| known.waiters);
        answers.extend(waiters.into_iter().flatten().map(|waiter| (waiter, decision)));
    }
}

impl ClientKey {
    fn of(purchase: &Purchase) -> Self {
        Self {
            key: purchase.key.clone(),
            name: purchase.name.clone(),
            quantity: purchase.quantity.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::quantity::Quantity;

    const GRANTED: Verdict = Verdict::Decided(Decision::Granted(OrderNumber(0)));

    fn purchase(key: &str, quantity: u64) -> Purchase {
        Purchase {
            key: IdempotencyKey::from(key.to_owned()),
            name: "Tux".into(),
            quantity: Quantity::new(quantity).unwrap(),
            request_id: None,
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the queue lends its waiters")]
    fn present(_waiter: &u32) -> bool {
        false
    }

    fn admit(queue: &mut Queue<u32>, key: &str, waiter: u32) {
        assert_eq!(queue.admit(purchase(key, 1), waiter, present), Admission::Admitted);
    }

    fn keys(batch: &[Purchase]) -> Vec<&str> {
        batch.iter().map(|purchase| purchase.key.as_str()).collect()
    }

    #[test]
    fn what_arrives_while_a_batch_is_at_the_catalog_goes_with_the_next() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        assert_eq!(keys(&queue.next_batch(now, present)), ["a"]);
        admit(&mut queue, "b", 2);
        admit(&mut queue, "c", 3);
        assert!(queue.next_batch(now, present).is_empty());
        queue.decided(&[GRANTED], now);
        assert_eq!(keys(&queue.next_batch(now, present)), ["b", "c"]);
    }

    #[test]
    fn a_key_that_is_on_its_way_is_joined_and_answered_once_for_all() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        queue.next_batch(now, present);
        admit(&mut queue, "a", 2);
        assert!(queue.decided(&[GRANTED], now).is_empty(), "not durable yet");
        admit(&mut queue, "a", 3);
        assert!(queue.acknowledge(0).is_empty());
        let granted = Decision::Granted(OrderNumber(0));
        assert_eq!(queue.acknowledge(1), [(1, granted), (2, granted), (3, granted)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn another_purchase_under_a_key_that_is_on_its_way_goes_its_own_way() {
        // Whose key it is, the catalog knows: the newcomer's may have been decided long ago.
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        queue.next_batch(now, present);
        assert_eq!(queue.admit(purchase("a", 2), 2, present), Admission::Admitted);
        let reused = Decision::KeyReused;
        assert_eq!(queue.decided(&[Verdict::Decided(reused)], now), [(1, reused)]);
        assert_eq!(keys(&queue.next_batch(now, present)), ["a"]);
        queue.decided(&[GRANTED], now);
        assert_eq!(queue.acknowledge(1), [(2, Decision::Granted(OrderNumber(0)))]);
    }

    #[test]
    fn a_batch_in_doubt_goes_first_and_in_its_order() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        admit(&mut queue, "b", 2);
        queue.next_batch(now, present);
        admit(&mut queue, "c", 3);
        queue.in_doubt();
        assert_eq!(keys(&queue.next_batch(now, present)), ["a", "b", "c"]);
    }

    #[test]
    fn a_purchase_that_must_wait_rests_and_holds_up_nobody() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        queue.next_batch(now, present);
        assert!(queue.decided(&[Verdict::Wait], now).is_empty());
        assert!(queue.next_batch(now, present).is_empty());
        assert_eq!(queue.rests_until(), Some(now + REST));
        admit(&mut queue, "b", 2);
        assert_eq!(queue.rests_until(), None);
        assert_eq!(keys(&queue.next_batch(now, present)), ["b"]);
        queue.decided(&[GRANTED], now);
        assert_eq!(keys(&queue.next_batch(now + REST, present)), ["a"]);
    }

    #[test]
    fn a_purchase_that_nobody_waits_for_is_not_made() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        admit(&mut queue, "b", 2);
        assert_eq!(keys(&queue.next_batch(now, |waiter| *waiter == 1)), ["b"]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_batch_that_the_catalog_will_not_have_does_not_hold_up_the_next() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        queue.next_batch(now, present);
        admit(&mut queue, "b", 2);
        queue.give_up();
        assert_eq!(keys(&queue.next_batch(now, present)), ["b"]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_turns_newcomers_away_and_lets_joiners_in() {
        let mut queue = Queue::default();
        for key in 0..MOST_PURCHASES {
            admit(&mut queue, &key.to_string(), 1);
        }
        assert_eq!(queue.admit(purchase("new", 1), 2, present), Admission::Full(2));
        admit(&mut queue, "7", 2);
    }

    #[test]
    fn a_deposed_leader_sends_everybody_away() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        admit(&mut queue, "a", 1);
        queue.next_batch(now, present);
        admit(&mut queue, "b", 2);
        let mut waiters = queue.clear();
        waiters.sort_unstable();
        assert_eq!(waiters, [1, 2]);
        assert!(queue.is_empty());
    }
}
