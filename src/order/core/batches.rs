//! The leader's batches: where a batch is cut, and when an order is acknowledged.
//!
//! # The idea
//!
//! **Where a batch is cut.** Group commit (as in PostgreSQL): while one batch is at the catalog,
//! the purchases that arrive gather into the next. An idle store answers a purchase at once; a busy
//! one shares each fsync among many. A batch [gathers](super::gathering) a little longer if more
//! purchases are likely to come soon.
//!
//! ```text
//! purchases   a  b c d      e f
//! catalog     [a···] [b c d···] [e f···]       one batch at a time
//! disks              [a···] [b c d···] [e f]   written here and there while the next is decided
//! answers                  a          b c d
//! ```
//!
//! **When an order is acknowledged.** Once it is on the leader's disk and on that of every live
//! follower: [`Core::acknowledged_length`]. A refusal needs no disk but the catalog's and is
//! answered at once.
//!
//! A batch whose answer was lost goes back to the head of the queue and is sent again:
//!
//! ```text
//! leader                         catalog
//!   | batch [a b] ---------------->| decides: order 7, order 8
//!   |         (no answer)     x----|
//!   | batch [a b c] -------------->| a, b: decided before; c: order 9
//!   |<-- 7, 8, 9; rows 7, 8, 9 ----|
//! ```
//!
//! If the leader dropped it instead, orders 7 and 8 would be sold and never acknowledged.
//!
//! # What is left out
//!
//! What a retry under a key meets: see [`in_flight`](super::in_flight). Batches in parallel: the
//! catalog decides them one after the other anyway, and one at a time keeps the journal's rows in
//! the order in which this replica takes them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Core;
use super::effects::Event;
use super::gathering::Gathering;
use super::in_flight::{Busy, ClientKey};
use super::log::{NotTaken, Write};
use crate::wire::order::{Order, OrderNumber, Rows};
use crate::wire::purchase::{
    CommitReply, CommitRequest, Decision, MOST_IN_BATCH, Purchase, PurchaseReply, Verdict,
};
use crate::wire::replication::{Epoch, Leadership};
use crate::wire::trace::RequestOrigin;

/// How long a purchase rests before it is sent again, if its toy could not be sold because some
/// front-end may still show the old quantity: about the time of an invalidation.
pub const REST: Duration = Duration::from_millis(10);
/// How long to wait before a batch whose answer was lost is sent again: a catalog that restarts
/// must not be asked in a tight loop.
pub const DOUBT_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before a leader tries again to fetch what it misses; for the same reason.
pub const FETCH_PAUSE: Duration = Duration::from_millis(50);

/// What the task that sells does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SellStep {
    /// Nothing until there is work, or until this time, when a resting purchase may go, or a batch
    /// that gathers does.
    Rest(Option<Instant>),
    /// This replica is becoming leader: fetch what it misses, then try to lead.
    Activate,
    /// Fetch rows of the journal: an answer with them was lost, or could not carry or write all.
    Fetch,
    /// Send this batch to the catalog.
    Sell(Epoch, CommitRequest),
}

/// The outcome of sending a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The catalog answered.
    Answered(CommitReply),
    /// The catalog rejected the batch as invalid, and would reject it again.
    Rejected,
    /// There was no answer: whether the batch was decided is in doubt.
    InDoubt,
}

/// Where each purchase in flight is: in the queue, at the catalog, or granted and unacknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Batches {
    queue: VecDeque<Queued>,
    at_catalog: Vec<ClientKey>,
    unacknowledged: BTreeMap<OrderNumber, Vec<ClientKey>>,
    gathering: Gathering,
    /// Until when the task that sells rests to gather.
    rests_until: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Queued {
    client_key: ClientKey,
    /// The end of its rest. `None` for a purchase that may go at once.
    not_before: Option<Instant>,
}

impl<W> Core<W> {
    /// Handles a purchase that has arrived. The waiter is answered through the effects.
    ///
    /// # Errors
    ///
    /// If the store is too busy for one more.
    pub fn purchase(
        &mut self,
        purchase: Purchase,
        waiter: W,
        now: Instant,
        is_gone: impl Fn(&W) -> bool,
    ) -> Result<(), Busy> {
        if !self.has_acquired() {
            self.effects.answers.push((waiter, PurchaseReply::NotLeader(self.leadership)));
            return Ok(());
        }
        if let Some(client_key) = self.in_flight.admit(purchase, waiter, is_gone)? {
            self.batches.queue.push_back(Queued { client_key, not_before: None });
        }
        let end = self.gathers_until(now);
        self.effects.work |= end.is_none() || end != self.batches.rests_until;
        Ok(())
    }

    /// Returns until when the next batch gathers more purchases; `None` if it goes at once.
    fn gathers_until(&self, now: Instant) -> Option<Instant> {
        let Batches { queue, unacknowledged, gathering, .. } = &self.batches;
        let may_grow = !queue.is_empty() && queue.len() < MOST_IN_BATCH;
        let end = || gathering.end(self.in_flight.len(), unacknowledged.len(), now);
        may_grow.then(end).flatten()
    }

    /// Returns what the task that sells should do now. A batch that it gets is at the catalog until
    /// its [outcome](Core::batch_answered) is reported.
    pub fn next_step(&mut self, now: Instant, is_gone: impl Fn(&W) -> bool) -> SellStep {
        let Some(epoch) = self.leads() else {
            return if self.has_acquired() { SellStep::Activate } else { SellStep::Rest(None) };
        };
        if self.is_behind() {
            return SellStep::Fetch;
        }
        self.batches.rests_until = self.gathers_until(now);
        if let Some(end) = self.batches.rests_until {
            if self.batches.unacknowledged.is_empty() {
                self.batches.gathering.waits_for_clients(end);
            }
            return SellStep::Rest(Some(end));
        }
        let purchases = self.cut_batch(now, is_gone);
        if purchases.is_empty() {
            self.batches.gathering.nothing_goes();
            // The least is `None` if one of them need not rest.
            let rests = self.batches.queue.iter().map(|queued| queued.not_before);
            return SellStep::Rest(rests.min().flatten());
        }
        let is_full = purchases.len() == MOST_IN_BATCH;
        self.batches.gathering.batch_goes(is_full, self.in_flight.len(), now);
        let (leader, log) = (self.id, self.accepted());
        SellStep::Sell(epoch, CommitRequest { leader, epoch, log, purchases })
    }

    /// Cuts the next batch from the queue, if none is at the catalog. Resting purchases stay.
    fn cut_batch(&mut self, now: Instant, is_gone: impl Fn(&W) -> bool) -> Vec<Purchase> {
        let mut batch = Vec::new();
        if !self.batches.at_catalog.is_empty() {
            return batch;
        }
        let mut resting = VecDeque::new();
        while batch.len() < MOST_IN_BATCH
            && let Some(queued) = self.batches.queue.pop_front()
        {
            if queued.not_before.is_some_and(|time| now < time) {
                resting.push_back(queued);
            } else if let Some(purchase) = self.in_flight.get_or_drop(&queued.client_key, &is_gone)
            {
                batch.push(purchase.clone());
                self.batches.at_catalog.push(queued.client_key);
            }
        }
        // They came first, and keep their place.
        resting.append(&mut self.batches.queue);
        self.batches.queue = resting;
        batch
    }

    /// Handles the outcome of a batch that was sent in `epoch`, at `asked`. Returns what to write.
    /// The next batch may go while it is written here and at the followers.
    pub fn batch_answered(
        &mut self,
        epoch: Epoch,
        outcome: BatchOutcome,
        asked: Instant,
        now: Instant,
    ) -> Option<Write> {
        match outcome {
            BatchOutcome::Answered(CommitReply::Decided { verdicts, rows }) => {
                self.catalog_answered(asked);
                self.batch_decided(epoch, &verdicts, &rows, now)
            }
            BatchOutcome::Answered(CommitReply::Deposed(leadership)) => {
                self.catalog_answered(asked);
                self.recorded(leadership, Leadership { epoch, leader: Some(self.id) });
                None
            }
            BatchOutcome::Rejected => {
                for client_key in std::mem::take(&mut self.batches.at_catalog) {
                    // The waiters are dropped without an answer: there is no decision.
                    self.in_flight.remove(&client_key);
                }
                None
            }
            BatchOutcome::InDoubt => {
                for client_key in std::mem::take(&mut self.batches.at_catalog).into_iter().rev() {
                    self.batches.queue.push_front(Queued { client_key, not_before: None });
                }
                None
            }
        }
    }

    /// Handles the catalog's verdicts, in the order of the batch. Refusals are answered at once;
    /// orders wait until they are [acknowledged](Core::acknowledge).
    fn batch_decided(
        &mut self,
        epoch: Epoch,
        verdicts: &[Verdict],
        rows: &Rows,
        now: Instant,
    ) -> Option<Write> {
        if self.leads() != Some(epoch) {
            // This replica has stepped down meanwhile and answered all waiters "not leader".
            return None;
        }
        self.batches.gathering.batch_decided(now);
        let batch = std::mem::take(&mut self.batches.at_catalog);
        assert_eq!(batch.len(), verdicts.len(), "a batch has a verdict for each purchase");
        for (client_key, verdict) in batch.into_iter().zip(verdicts) {
            match *verdict {
                Verdict::Decided(Decision::Granted(number)) => {
                    self.heard_of(number.0 + 1);
                    self.batches.unacknowledged.entry(number).or_default().push(client_key);
                }
                Verdict::Decided(refusal) => {
                    self.answer(&client_key, refusal);
                    self.batches.gathering.clients_answered(now);
                }
                Verdict::Wait => {
                    let not_before = Some(now + REST);
                    self.batches.queue.push_back(Queued { client_key, not_before });
                }
            }
        }
        if !rows.orders.is_empty() {
            self.note_rows_asked_for();
        }
        // If the rows are not taken, this replica is behind the journal, and fetches them.
        match self.take(rows) {
            Ok(write) => return Some(write),
            Err(NotTaken::Gap(length)) => self.effects.events.push(Event::Behind(length)),
            Err(NotTaken::Diverged) => self.effects.events.push(Event::Diverged),
            Err(NotTaken::NotWritten) => {}
        }
        None
    }

    /// Returns the length up to which orders may be acknowledged: they are on this disk and on that
    /// of every live follower. `None` unless this replica leads.
    #[must_use]
    pub fn acknowledged_length(&self) -> Option<u64> {
        self.leads()?;
        let durable = self.durable().length;
        Some(self.least_live_length().map_or(durable, |live| live.min(durable)))
    }

    /// Answers the purchases whose orders may be acknowledged.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        let Some(length) = self.acknowledged_length() else { return };
        let later = self.batches.unacknowledged.split_off(&OrderNumber(length));
        let mut are_answered = false;
        for (number, keys) in std::mem::replace(&mut self.batches.unacknowledged, later) {
            for client_key in keys {
                self.answer(&client_key, Decision::Granted(number));
                are_answered = true;
            }
        }
        if are_answered {
            self.batches.gathering.clients_answered(now);
            // The next batch may have waited for this.
            self.effects.work |= !self.batches.queue.is_empty();
        }
    }

    /// Queues again the purchases that wait for numbers which `orders` give to other keys.
    ///
    /// A decision whose rows this disk refused waits for them. If the catalog's database is
    /// restored from before it, the number goes to another purchase, and must not answer this one:
    ///
    /// ```text
    /// catalog    a: number 7     restored        b: number 7
    /// leader        disk full, a waits               row 7 is b's: a is sent again
    /// ```
    pub(super) fn queue_forgotten(&mut self, orders: &[Order]) {
        for Order { number, key, .. } in orders {
            let (Some(owner), Some(keys)) = (key, self.batches.unacknowledged.get_mut(number))
            else {
                continue;
            };
            let forgotten = keys.extract_if(.., |client_key| client_key.key() != owner);
            let queued = forgotten.map(|client_key| Queued { client_key, not_before: None });
            self.batches.queue.extend(queued);
            self.effects.work = true;
        }
        self.batches.unacknowledged.retain(|_, keys| !keys.is_empty());
    }

    /// Queues again the purchases that wait for orders which the journal of this length does not
    /// have: they went with a journal that was restored from before them.
    pub(super) fn queue_beyond(&mut self, length: u64) {
        for (_, keys) in self.batches.unacknowledged.split_off(&OrderNumber(length)) {
            let queued = keys.into_iter().map(|client_key| Queued { client_key, not_before: None });
            self.batches.queue.extend(queued);
            self.effects.work = true;
        }
    }

    /// Returns how many purchases are in flight, and how many of these wait for a batch.
    #[must_use]
    pub fn queue_lengths(&self) -> (usize, usize) {
        (self.in_flight.len(), self.batches.queue.len())
    }

    fn answer(&mut self, client_key: &ClientKey, decision: Decision) {
        let waiters = self.in_flight.remove(client_key);
        let answers = waiters.into_iter().map(|one| (one, PurchaseReply::Decided(decision)));
        self.effects.answers.extend(answers);
    }

    /// Answers all purchases with the newest leadership, so that they are retried at its leader.
    pub(super) fn redirect_waiters(&mut self) {
        self.batches = Batches::default();
        let reply = PurchaseReply::NotLeader(self.leadership);
        let waiters = self.in_flight.clear();
        self.effects.answers.extend(waiters.into_iter().map(|one| (one, reply.clone())));
    }

    /// Returns the clients' requests of the unacknowledged purchases whose orders `rows` carry.
    pub(super) fn origins(&self, rows: &Rows) -> Vec<RequestOrigin> {
        let numbers = OrderNumber(rows.after.length)..OrderNumber(rows.end_length());
        let keys = self.batches.unacknowledged.range(numbers).flat_map(|(_, keys)| keys);
        keys.filter_map(|key| self.in_flight.origin(key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::gathering::LONGEST_GATHERING;
    use super::super::in_flight::MOST_PURCHASES;
    use super::super::tests::*;
    use super::*;
    use crate::wire::order::Position;

    const GRANTED: Decision = Decision::Granted(OrderNumber(0));

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the core lends its waiters")]
    fn present(_waiter: &u32) -> bool {
        false
    }

    fn buy(core: &mut Core<u32>, key: &str, waiter: u32, now: Instant) {
        core.purchase(purchase(key, 1), waiter, now, present).unwrap();
    }

    /// The keys of the next batch; none if there is no batch to send.
    fn next_batch(core: &mut Core<u32>, now: Instant) -> Vec<String> {
        next_batch_unless(core, now, present)
    }

    fn next_batch_unless(
        core: &mut Core<u32>,
        now: Instant,
        is_gone: impl Fn(&u32) -> bool,
    ) -> Vec<String> {
        match core.next_step(now, is_gone) {
            SellStep::Sell(_, request) => {
                request.purchases.iter().map(|one| one.key.as_str().to_owned()).collect()
            }
            SellStep::Rest(_) => Vec::new(),
            task @ (SellStep::Activate | SellStep::Fetch) => unreachable!("it leads: {task:?}"),
        }
    }

    /// The catalog's verdicts on the batch, with the rows of the orders that it granted.
    fn decided(core: &mut Core<u32>, verdicts: &[Verdict], now: Instant) -> Option<Write> {
        let granted = |one: &&Verdict| matches!(one, Verdict::Decided(Decision::Granted(_)));
        let length = core.accepted().length;
        let rows = stretch(length, length + verdicts.iter().filter(granted).count() as u64);
        let reply = CommitReply::Decided { verdicts: verdicts.to_vec(), rows };
        core.batch_answered(Epoch(1), BatchOutcome::Answered(reply), now, now)
    }

    fn grant(core: &mut Core<u32>, number: u64, now: Instant) -> Write {
        let verdict = Verdict::Decided(Decision::Granted(OrderNumber(number)));
        decided(core, &[verdict], now).expect("rows that continue the log")
    }

    fn lose_answer(core: &mut Core<u32>, now: Instant) {
        assert_eq!(core.batch_answered(Epoch(1), BatchOutcome::InDoubt, now, now), None);
    }

    fn answers(core: &mut Core<u32>) -> Vec<(u32, PurchaseReply)> {
        core.take_effects().answers
    }

    #[test]
    fn a_number_that_a_restored_journal_gave_to_another_key_answers_no_purchase() {
        let (mut core, now) = (leader(0), crate::clock::now());
        let owned_by = |key: &str| {
            let row = Order { key: Some(key.to_owned().into()), ..order(0, "Tux") };
            Rows { after: Position::START, orders: vec![row] }
        };
        buy(&mut core, "a", 1, now);
        assert_eq!(next_batch(&mut core, now), ["a"]);
        let verdicts = vec![Verdict::Decided(GRANTED)];
        let reply = CommitReply::Decided { verdicts, rows: owned_by("a") };
        let write = core.batch_answered(Epoch(1), BatchOutcome::Answered(reply), now, now);
        core.not_written(write.expect("a row").log);
        let write = core.take(&owned_by("b")).unwrap();
        // No client waits for what is on its way to the disk, so this batch need not either.
        assert_eq!(next_batch(&mut core, now), ["a"]);
        core.written(write.log, core.accepted(), now);
        assert!(core.take_effects().answers.is_empty(), "its number is another purchase's");
    }

    #[test]
    fn purchases_that_arrive_while_a_batch_is_at_the_catalog_go_with_the_next() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        assert_eq!(next_batch(&mut core, now), ["a"]);
        buy(&mut core, "b", 2, now);
        buy(&mut core, "c", 3, now);
        assert!(next_batch(&mut core, now).is_empty());
        grant(&mut core, 0, now);
        assert_eq!(next_batch(&mut core, now), ["b", "c"]);
    }

    /// The batch of these purchases is granted from order `number` on, and not yet on disk.
    fn grant_many(core: &mut Core<u32>, number: u64, orders: u64, now: Instant) -> Write {
        let numbers = (number..number + orders).map(OrderNumber);
        let verdicts: Vec<_> = numbers.map(|it| Verdict::Decided(Decision::Granted(it))).collect();
        decided(core, &verdicts, now).expect("rows that continue the log")
    }

    /// A purchase is at the catalog, three more come, and it is granted: four were in flight when
    /// the batch of the three went, which is at the catalog now.
    fn leader_of_four_clients(now: Instant) -> (Core<u32>, Write) {
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        assert_eq!(next_batch(&mut core, now), ["a"]);
        for key in ["b", "c", "d"] {
            buy(&mut core, key, 1, now);
        }
        let write = grant(&mut core, 0, now);
        assert_eq!(next_batch(&mut core, now), ["b", "c", "d"], "no batch had more in flight");
        (core, write)
    }

    /// Their batch is decided: one order is on its way to the disks, and no other purchase waits.
    fn leader_with_one_of_four(now: Instant) -> (Core<u32>, Write) {
        let (mut core, write) = leader_of_four_clients(now);
        core.written(write.log, end_of(&journal(1)), now);
        let [granted, refused] =
            [Decision::Granted(OrderNumber(1)), Decision::OutOfStock].map(Verdict::Decided);
        let write = decided(&mut core, &[granted, refused, refused], now).expect("a row");
        core.take_effects();
        (core, write)
    }

    #[test]
    fn a_batch_gathers_as_many_as_before_while_orders_are_on_their_way_to_the_disks() {
        let now = crate::clock::now();
        let (mut core, _) = leader_with_one_of_four(now);
        let waits = SellStep::Rest(Some(now + LONGEST_GATHERING));
        buy(&mut core, "e", 1, now);
        assert!(core.take_effects().work, "the task has to know until when");
        assert_eq!(core.next_step(now, present), waits);
        buy(&mut core, "f", 1, now);
        assert!(!core.take_effects().work, "three are in flight, of four");
        assert_eq!(core.next_step(now, present), waits);
        buy(&mut core, "g", 1, now);
        assert!(core.take_effects().work);
        assert_eq!(next_batch(&mut core, now), ["e", "f", "g"]);
    }

    #[test]
    fn a_batch_gathers_as_many_as_are_on_their_way_to_the_disks() {
        let now = crate::clock::now();
        let (mut core, write) = leader_of_four_clients(now);
        core.written(write.log, end_of(&journal(1)), now);
        grant_many(&mut core, 1, 3, now);
        for key in ["e", "f"] {
            buy(&mut core, key, 1, now);
            assert_eq!(next_batch(&mut core, now), [""; 0], "fewer than the three before");
        }
        buy(&mut core, "g", 1, now);
        assert_eq!(next_batch(&mut core, now), ["e", "f", "g"]);
    }

    #[test]
    fn a_slow_disk_does_not_hold_up_the_next_batch_for_long() {
        let now = crate::clock::now();
        let (mut core, _) = leader_with_one_of_four(now);
        buy(&mut core, "e", 1, now);
        assert_eq!(next_batch(&mut core, now), [""; 0]);
        assert_eq!(next_batch(&mut core, now + LONGEST_GATHERING), ["e"]);
    }

    #[test]
    fn a_batch_waits_a_moment_for_the_clients_that_were_answered() {
        let now = crate::clock::now();
        let (mut core, write) = leader_with_one_of_four(now);
        buy(&mut core, "e", 1, now);
        core.take_effects();
        core.written(write.log, end_of(&journal(2)), now);
        assert!(core.take_effects().work, "it waits for something else now");
        let SellStep::Rest(Some(end)) = core.next_step(now, present) else {
            unreachable!("four clients may come back")
        };
        assert!(end < now + LONGEST_GATHERING);
        assert_eq!(next_batch(&mut core, end), ["e"]);
        let write = grant_many(&mut core, 2, 1, end);
        core.written(write.log, end_of(&journal(3)), end);
        buy(&mut core, "f", 1, end);
        assert_eq!(next_batch(&mut core, end), ["f"], "they did not come back the last time");
    }

    #[test]
    fn a_batch_that_is_full_gathers_no_more() {
        let now = crate::clock::now();
        let mut core = leader(0);
        let most = u32::try_from(MOST_IN_BATCH).unwrap();
        for key in 0..3 * most {
            buy(&mut core, &key.to_string(), key, now);
        }
        assert_eq!(next_batch(&mut core, now).len(), MOST_IN_BATCH);
        grant_many(&mut core, 0, u64::from(most), now);
        assert_eq!(next_batch(&mut core, now).len(), MOST_IN_BATCH);
        // What is refused is in flight no more.
        let refused = vec![Verdict::Decided(Decision::OutOfStock); MOST_IN_BATCH];
        decided(&mut core, &refused, now);
        assert_eq!(next_batch(&mut core, now).len(), MOST_IN_BATCH);
    }

    #[test]
    fn an_order_is_answered_once_it_is_on_disk() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        let write = grant(&mut core, 0, now);
        assert_eq!((write.after, &write.orders), (Position::START, &journal(1)));
        assert!(answers(&mut core).is_empty(), "it is on its way to the disk");
        core.written(write.log, end_of(&journal(1)), now);
        assert_eq!(answers(&mut core), [(1, PurchaseReply::Decided(GRANTED))]);
    }

    #[test]
    fn retries_join_the_purchase_in_flight_and_all_get_its_answer() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        buy(&mut core, "a", 2, now);
        let write = grant(&mut core, 0, now);
        assert!(answers(&mut core).is_empty(), "not durable yet");
        buy(&mut core, "a", 3, now);
        core.written(write.log, Position::START, now);
        assert!(answers(&mut core).is_empty(), "nothing more is on disk");
        core.written(write.log, end_of(&journal(1)), now);
        let granted = PurchaseReply::Decided(GRANTED);
        let all = [(1, granted.clone()), (2, granted.clone()), (3, granted)];
        assert_eq!(answers(&mut core), all);
        assert_eq!(core.in_flight.len(), 0);
    }

    #[test]
    fn another_purchase_under_a_key_in_flight_goes_to_the_catalog_too() {
        // Whose key it is, the catalog knows: the second's may have been decided long ago.
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        core.purchase(purchase("a", 2), 2, now, present).unwrap();
        let reused = Decision::KeyReused;
        decided(&mut core, &[Verdict::Decided(reused)], now);
        assert_eq!(answers(&mut core), [(1, PurchaseReply::Decided(reused))]);
        assert_eq!(next_batch(&mut core, now), ["a"]);
        let write = grant(&mut core, 0, now);
        core.written(write.log, end_of(&journal(1)), now);
        assert_eq!(answers(&mut core), [(2, PurchaseReply::Decided(GRANTED))]);
    }

    #[test]
    fn a_batch_in_doubt_goes_first_and_in_its_order() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        buy(&mut core, "b", 2, now);
        next_batch(&mut core, now);
        buy(&mut core, "c", 3, now);
        lose_answer(&mut core, now);
        assert_eq!(next_batch(&mut core, now), ["a", "b", "c"]);
    }

    #[test]
    fn a_purchase_that_must_wait_rests_and_does_not_hold_up_others() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        decided(&mut core, &[Verdict::Wait], now);
        assert!(answers(&mut core).is_empty());
        assert_eq!(core.next_step(now, present), SellStep::Rest(Some(now + REST)));
        buy(&mut core, "b", 2, now);
        assert_eq!(next_batch(&mut core, now), ["b"]);
        grant(&mut core, 0, now);
        assert_eq!(next_batch(&mut core, now + REST), ["a"]);
    }

    #[test]
    fn a_queue_with_a_purchase_that_need_not_rest_sets_no_timer() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        buy(&mut core, "b", 2, now);
        next_batch(&mut core, now);
        decided(&mut core, &[Verdict::Wait, Verdict::Wait], now);
        buy(&mut core, "c", 3, now);
        assert_eq!(next_batch(&mut core, now), ["c"]);
        assert_eq!(core.next_step(now, present), SellStep::Rest(Some(now + REST)));
        buy(&mut core, "d", 4, now);
        assert_eq!(core.next_step(now, present), SellStep::Rest(None));
    }

    #[test]
    fn a_purchase_whose_waiters_are_gone_is_not_made() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        buy(&mut core, "b", 2, now);
        assert_eq!(next_batch_unless(&mut core, now, |waiter| *waiter == 1), ["b"]);
        assert_eq!(core.in_flight.len(), 1);
    }

    #[test]
    fn a_batch_that_the_catalog_rejects_does_not_hold_up_the_next() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        buy(&mut core, "b", 2, now);
        core.batch_answered(Epoch(1), BatchOutcome::Rejected, now, now);
        assert_eq!(next_batch(&mut core, now), ["b"]);
        assert_eq!(core.in_flight.len(), 1);
    }

    #[test]
    fn a_purchase_whose_order_the_journal_has_lost_is_sent_again_without_another_order() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        // The disk refuses the row, and the catalog is restored from before it.
        core.batch_decided(Epoch(1), &[Verdict::Decided(GRANTED)], &stretch(0, 0), now);
        assert_eq!(core.next_step(now, present), SellStep::Fetch);
        core.journal_read_to_end();
        assert_eq!(next_batch(&mut core, now), ["a"]);
        assert_eq!(core.in_flight.len(), 1);
    }

    #[test]
    fn a_busy_leader_turns_new_purchases_away_and_lets_retries_join() {
        let now = crate::clock::now();
        let mut core = leader(0);
        for key in 0..MOST_PURCHASES {
            buy(&mut core, &key.to_string(), 1, now);
        }
        assert_eq!(core.purchase(purchase("new", 1), 2, now, present), Err(Busy));
        buy(&mut core, "7", 2, now);
    }

    #[test]
    fn a_leader_that_steps_down_redirects_all_waiters() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        buy(&mut core, "b", 2, now);
        core.recorded(leading(2, OTHER), core.leadership());
        let redirected = PurchaseReply::NotLeader(leading(2, OTHER));
        assert_eq!(answers(&mut core), [(1, redirected.clone()), (2, redirected)]);
        assert_eq!(core.in_flight.len(), 0);
    }

    #[test]
    fn an_order_of_an_epoch_that_is_over_is_answered_by_the_next_leader() {
        let now = crate::clock::now();
        let mut core = leader(0);
        buy(&mut core, "a", 1, now);
        next_batch(&mut core, now);
        core.take_effects();
        core.recorded(leading(2, OTHER), core.leadership());
        let effects = core.take_effects();
        assert_eq!(effects.answers, [(1, PurchaseReply::NotLeader(leading(2, OTHER)))]);
        assert_eq!(effects.events, [Event::Learned(leading(2, OTHER))]);
        assert_eq!(decided(&mut core, &[Verdict::Decided(GRANTED)], now), None);
        assert!(answers(&mut core).is_empty());
    }

    #[test]
    fn a_purchase_at_a_replica_that_does_not_lead_is_sent_to_the_leader() {
        let now = crate::clock::now();
        let mut core = started(0);
        core.recorded(leading(4, OTHER), core.leadership());
        buy(&mut core, "a", 1, now);
        assert_eq!(answers(&mut core), [(1, PurchaseReply::NotLeader(leading(4, OTHER)))]);
    }
}
