//! The steps of a change to the stock, in the only order in which they can be taken.
//!
//! # The idea
//!
//! Besides decisions, a batch of purchases needs the disk, twice unless all of its keys are new,
//! and the front-ends' acknowledgements. Each step is a type that can be had only from the step
//! before (*typestate*). So no caller, service or model, can commit a toy that a front-end still
//! shows, or answer a purchase that is not on disk:
//!
//! ```text
//! ReceivedBatch     look up its keys on disk
//!     │ lock the toys that would change
//! LockedBatch       invalidate them, wait a moment for acknowledgements
//!     │ decide, with the toys that are clear: as planned for the locks, if all of them are
//! PlannedBatch      write the change to disk, in one transaction
//!     │ publish, unlock
//! CommittedBatch    reply
//! ```
//!
//! If the sender turns out not to lead any more, at `lock` or at `plan`, the batch ends there and
//! nothing has changed.
//!
//! One task takes one change at a time through all of its steps. So a plan is made for the stock
//! that it is applied to. Why invalidations come before the write is told in
//! [`sessions`](super::sessions).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::batch::Plan;
use super::stock::{Change, RecordedDecision};
use super::{Core, WriteOutcome};
use crate::wire::lease::{SessionId, Version};
use crate::wire::order::{Order, Position, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest, IdempotencyKey, Verdict};
use crate::wire::replication::Leadership;
use crate::wire::toy::ToyName;

/// How long a change waits for acknowledgements. They take well under a millisecond; after this,
/// the rest of the batch goes on, and purchases of toys that are still held are told to wait.
pub const GRACE: Duration = Duration::from_millis(20);
/// How soon a restock that had to leave out a toy that is held is tried again.
pub const RESTOCK_RETRY: Duration = Duration::from_millis(50);

/// A batch that has arrived, and whose keys must be looked up.
#[derive(Clone, Debug)]
pub struct ReceivedBatch(CommitRequest);

/// Toys that are locked: the sessions that hold one must be told to drop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedToys {
    /// The toys, each with the version that it will have.
    pub toys: Vec<(ToyName, Version)>,
    /// The sessions that have yet to acknowledge one of them.
    pub unacknowledged: BTreeSet<SessionId>,
}

/// A batch whose toys are locked.
#[derive(Clone, Debug)]
pub struct LockedBatch {
    request: CommitRequest,
    recorded: HashMap<IdempotencyKey, RecordedDecision>,
    locked: LockedToys,
    /// What is decided if all of these toys become clear.
    wanted: Plan,
}

/// A batch that is decided, and must be written to disk.
#[derive(Clone, Debug)]
pub struct PlannedBatch {
    change: Change,
    verdicts: Vec<Verdict>,
    log: Position,
}

/// A batch that is on disk and published.
#[derive(Clone, Debug)]
pub struct CommittedBatch {
    verdicts: Vec<Verdict>,
    log: Position,
    rows: Rows,
}

/// The reply to a batch, or what is missing for it.
#[derive(Clone, Debug)]
pub enum BatchReply {
    /// The reply.
    Ready(CommitReply),
    /// The leader's log is behind, so the reply must contain older rows of the journal, too.
    NeedsRows {
        /// The number of the first row.
        from: u64,
        /// The verdicts to send with the rows.
        verdicts: Vec<Verdict>,
    },
}

/// A restock of the toys that are sold out, which are locked.
#[derive(Clone, Debug)]
pub struct Restock {
    locked: LockedToys,
}

impl ReceivedBatch {
    /// Begins with a batch as it arrived.
    #[must_use]
    pub fn new(request: CommitRequest) -> Self {
        Self(request)
    }

    /// Returns the keys whose recorded decisions must be looked up.
    #[must_use]
    pub fn keys(&self) -> Vec<IdempotencyKey> {
        self.0.purchases.iter().map(|purchase| purchase.key.clone()).collect()
    }

    /// Locks the toys that would change.
    ///
    /// # Errors
    ///
    /// The current leadership, if the batch's sender does not lead any more.
    pub fn lock(
        self,
        core: &mut Core,
        recorded: HashMap<IdempotencyKey, RecordedDecision>,
        now: Instant,
    ) -> Result<LockedBatch, Leadership> {
        let wanted = core.stock.plan_batch(&core.toy_index, &self.0, &recorded, |_| true)?;
        let locked = core.lock(wanted.change.touched(), now);
        Ok(LockedBatch { request: self.0, recorded, locked, wanted })
    }
}

impl LockedBatch {
    /// Returns the toys that must be invalidated, and where.
    #[must_use]
    pub fn locked_toys(&self) -> &LockedToys {
        &self.locked
    }

    /// Decides the batch, changing only toys that are clear by now.
    ///
    /// # Errors
    ///
    /// The current leadership, if the batch's sender does not lead any more.
    pub fn plan(self, core: &Core, now: Instant) -> Result<PlannedBatch, Leadership> {
        let Self { request, recorded, locked, wanted } = self;
        core.stock.led_by(request.leader, request.epoch)?;
        let is_clear = |toy: &ToyName| core.sessions.is_clear(toy, now);
        let holds = locked.toys.iter().all(|(toy, _)| is_clear(toy))
            && core.stock.is_as_planned(&core.toy_index, &wanted.change);
        let Plan { verdicts, change } = if holds {
            wanted
        } else {
            core.stock.plan_batch(&core.toy_index, &request, &recorded, is_clear)?
        };
        Ok(PlannedBatch { change, verdicts, log: request.log })
    }
}

impl PlannedBatch {
    /// Returns the change to write to disk in one transaction, unless it is empty.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Publishes the batch. Returns `None` if it is not on disk, so that nothing may be answered.
    #[must_use]
    pub fn publish(self, core: &mut Core, outcome: WriteOutcome) -> Option<CommittedBatch> {
        core.publish(&self.change, outcome);
        let Change { after, orders, .. } = self.change;
        let rows = Rows { after, orders };
        let committed = CommittedBatch { verdicts: self.verdicts, log: self.log, rows };
        (outcome == WriteOutcome::Durable).then_some(committed)
    }
}

impl CommittedBatch {
    /// Returns the batch's new orders.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.rows.orders
    }

    /// Returns the reply, or what is missing for it.
    #[must_use]
    pub fn reply(self) -> BatchReply {
        let Self { verdicts, log, rows } = self;
        if log == rows.after {
            BatchReply::Ready(CommitReply::Decided { verdicts, rows })
        } else {
            BatchReply::NeedsRows { from: log.length, verdicts }
        }
    }
}

impl Restock {
    /// Locks the toys that are sold out. Returns `None` if there are none.
    pub fn lock(core: &mut Core, now: Instant) -> Option<Self> {
        let toys = core.stock.plan_restock(|_| true).touched();
        (!toys.is_empty()).then(|| Self { locked: core.lock(toys, now) })
    }

    /// Returns the toys that must be invalidated, and where.
    #[must_use]
    pub fn locked_toys(&self) -> &LockedToys {
        &self.locked
    }

    /// Plans the restock of the toys that are clear by now, to be written and
    /// [published](Core::publish). Also returns how soon to restock the others, if there are any.
    #[must_use]
    pub fn plan(self, core: &Core, now: Instant) -> (Change, Option<Duration>) {
        let change = core.stock.plan_restock(|toy| core.sessions.is_clear(toy, now));
        let complete = change.shelves.len() == self.locked.toys.len();
        (change, (!complete).then_some(RESTOCK_RETRY))
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::super::sessions::{LEASE, MARGIN, Sessions};
    use super::super::stock::tests::stock;
    use super::*;
    use crate::wire::lease::{Fill, FillReply, FillRequest, Registration};
    use crate::wire::order::OrderNumber;
    use crate::wire::purchase::{Decision, Purchase};
    use crate::wire::quantity::Quantity;
    use crate::wire::replication::{Epoch, ReplicaId};
    use crate::wire::trace::RequestOrigin;

    const LED: Leadership = Leadership { epoch: Epoch(7), leader: Some(ReplicaId(3)) };
    const GRANTED: Verdict = Verdict::Decided(Decision::Granted(OrderNumber(0)));

    /// A catalog with one Tux, and a session that holds it.
    fn held() -> (Core, SessionId, Instant) {
        let now = crate::clock::now();
        let mut core =
            Core::new(stock(1), Sessions::new(1, [], now), History::continued(), [1], now);
        let session = core
            .ruling(now)
            .unwrap()
            .register(Registration { frontend: 1, previous: None }, now)
            .unwrap()
            .session;
        assert_eq!(holder(&mut core, session, now), Some(session));
        (core, session, now)
    }

    fn holder(core: &mut Core, session: SessionId, now: Instant) -> Option<SessionId> {
        fill(core, session, now).cacheable_under
    }

    fn fill(core: &mut Core, session: SessionId, now: Instant) -> Fill {
        let request = FillRequest { name: "Tux".into(), session: Some(session) };
        match core.ruling(now).unwrap().fill(&request, now) {
            FillReply::Found(fill) => fill,
            FillReply::Unknown => unreachable!("it is in the catalog"),
        }
    }

    fn purchase(key: &str, name: &str) -> Purchase {
        Purchase {
            key: IdempotencyKey::from(key.to_owned()),
            name: name.into(),
            quantity: Quantity::ONE,
            origin: RequestOrigin::default(),
            boot: None,
        }
    }

    fn batch_of(purchases: Vec<Purchase>, epoch: u64) -> ReceivedBatch {
        let (leader, epoch, log) = (ReplicaId(3), Epoch(epoch), Position::START);
        ReceivedBatch::new(CommitRequest { leader, epoch, log, purchases })
    }

    fn batch(epoch: u64) -> ReceivedBatch {
        batch_of(vec![purchase("a", "Tux")], epoch)
    }

    fn lock(core: &mut Core, now: Instant) -> LockedBatch {
        batch(7).lock(core, HashMap::new(), now).unwrap()
    }

    fn sell(core: &mut Core, now: Instant) {
        let planned = lock(core, now).plan(core, now).unwrap();
        assert!(planned.publish(core, WriteOutcome::Durable).is_some());
    }

    #[test]
    fn a_toy_that_is_held_changes_only_after_its_holder_has_dropped_it() {
        let (mut core, session, now) = held();
        let locked = lock(&mut core, now);
        assert_eq!(locked.locked_toys().unacknowledged, BTreeSet::from([session]));
        let planned = locked.plan(&core, now).unwrap();
        assert!(planned.change().is_empty(), "the toy is still held");
        let committed = planned.publish(&mut core, WriteOutcome::Durable).unwrap();
        let BatchReply::Ready(CommitReply::Decided { verdicts, .. }) = committed.reply() else {
            unreachable!("the log is not behind the journal")
        };
        assert_eq!(verdicts, [Verdict::Wait]);

        let locked = lock(&mut core, now);
        core.acknowledged(session, &locked.locked_toys().toys);
        let planned = locked.plan(&core, now).unwrap();
        assert_eq!(holder(&mut core, session, now), None, "the toy is about to change");
        let committed = planned.publish(&mut core, WriteOutcome::Durable).unwrap();
        assert_eq!(committed.orders().len(), 1);
        assert_eq!(core.ruling(now).unwrap().toys()[0].quantity, 0);
        assert_eq!(holder(&mut core, session, now), Some(session));
    }

    #[test]
    fn of_a_toy_that_is_held_and_one_that_is_clear_the_clear_one_is_sold() {
        let (mut core, session, now) = held();
        let both = batch_of(vec![purchase("a", "Tux"), purchase("b", "Uno")], 7);
        let locked = both.lock(&mut core, HashMap::new(), now).unwrap();
        assert_eq!(locked.locked_toys().toys.len(), 2);
        assert_eq!(locked.locked_toys().unacknowledged, BTreeSet::from([session]));
        let planned = locked.plan(&core, now).unwrap();
        assert_eq!(planned.verdicts, [Verdict::Wait, GRANTED]);
        let sold: Vec<_> = planned.change().touched().into_iter().map(|(toy, _)| toy).collect();
        assert_eq!(sold, [ToyName::from("Uno")]);
    }

    #[test]
    fn a_plan_for_a_stock_that_has_changed_is_made_anew() {
        let (mut core, _, now) = held();
        let later = now + LEASE + MARGIN;
        let locked = lock(&mut core, later);
        let toys = locked.locked_toys().toys.clone();
        let other = batch_of(vec![purchase("b", "Tux")], 7);
        let other = other.lock(&mut core, HashMap::new(), later).unwrap();
        other.plan(&core, later).unwrap().publish(&mut core, WriteOutcome::Durable).unwrap();
        core.lock(toys, later);
        let planned = locked.plan(&core, later).unwrap();
        assert_eq!(planned.verdicts, [Verdict::Decided(Decision::OutOfStock)]);
    }

    #[test]
    fn a_change_that_was_not_written_has_not_happened() {
        let (mut core, session, now) = held();
        let later = now + LEASE + MARGIN;
        let planned = lock(&mut core, later).plan(&core, later).unwrap();
        assert!(planned.publish(&mut core, WriteOutcome::Unchanged).is_none());
        assert_eq!(core.ruling(later).unwrap().toys()[0].quantity, 1);
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.ruling(later).unwrap().register(session, later).unwrap().session;
        assert_eq!(holder(&mut core, session, later), Some(session));
    }

    /// What a front-end that dropped a toy is told by the catalog of it: the version that it waits
    /// for, and an answer that it may cache under that version.
    fn assert_is_cached_again(core: &mut Core, session: SessionId, version: Version, now: Instant) {
        let told = fill(core, session, now);
        assert_eq!((told.cacheable_under, told.toy.quantity), (Some(session), 1));
        assert!(told.version >= version, "the front-end stores nothing below {version:?}");
        let next = lock(core, now).locked_toys().toys[0].1;
        assert!(next > told.version, "a late acknowledgement must not count for the next lock");
    }

    #[test]
    fn a_toy_whose_change_was_refused_can_be_cached_again_and_then_sold() {
        let (mut core, session, now) = held();
        let locked = lock(&mut core, now);
        let toys = locked.locked_toys().toys.clone();
        core.acknowledged(session, &toys);
        let planned = locked.plan(&core, now).unwrap();
        assert!(planned.publish(&mut core, WriteOutcome::Unchanged).is_none());
        assert_is_cached_again(&mut core, session, toys[0].1, now);
        let locked = lock(&mut core, now);
        core.acknowledged(session, &locked.locked_toys().toys);
        let planned = locked.plan(&core, now).unwrap();
        let [shelf] = planned.change().shelves.as_slice() else { panic!("one toy changes") };
        assert_eq!(shelf.version, toys[0].1.next(), "so that is on disk from now on");
        assert!(planned.publish(&mut core, WriteOutcome::Durable).is_some());
        assert_eq!(core.ruling(now).unwrap().toys()[0].quantity, 0);
    }

    #[test]
    fn a_toy_whose_lock_was_given_up_can_be_cached_again() {
        let (mut core, session, now) = held();
        let toys = lock(&mut core, now).locked_toys().toys.clone();
        core.acknowledged(session, &toys);
        let later = now + LEASE;
        assert_eq!(holder(&mut core, session, later), None, "it is locked");
        core.ruling(later).unwrap().renew(session, later);
        core.give_up_locks(now + Duration::from_secs(60));
        assert_is_cached_again(&mut core, session, toys[0].1, later);
    }

    #[test]
    fn a_toy_stays_locked_if_the_outcome_of_its_write_is_unknown() {
        let (mut core, session, now) = held();
        let later = now + LEASE + MARGIN;
        let planned = lock(&mut core, later).plan(&core, later).unwrap();
        assert!(planned.publish(&mut core, WriteOutcome::Unknown).is_none());
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.ruling(later).unwrap().register(session, later).unwrap().session;
        assert_eq!(holder(&mut core, session, later), None);
    }

    #[test]
    fn a_deposed_leaders_batch_locks_nothing() {
        let (mut core, session, now) = held();
        assert_eq!(batch(6).lock(&mut core, HashMap::new(), now).err(), Some(LED));
        assert_eq!(holder(&mut core, session, now), Some(session));
    }

    #[test]
    fn a_leader_whose_log_is_behind_gets_the_journals_rows() {
        let (mut core, _, now) = held();
        let later = now + LEASE + MARGIN;
        sell(&mut core, later);
        let known = RecordedDecision {
            name: "Tux".into(),
            quantity: Quantity::ONE,
            number: Some(OrderNumber(0)),
        };
        let recorded = HashMap::from([(IdempotencyKey::from("a".to_owned()), known)]);
        let again = batch(7).lock(&mut core, recorded, later).unwrap().plan(&core, later).unwrap();
        let committed = again.publish(&mut core, WriteOutcome::Durable).unwrap();
        match committed.reply() {
            BatchReply::NeedsRows { from, verdicts } => {
                assert_eq!((from, verdicts), (0, vec![GRANTED]));
            }
            BatchReply::Ready(_) => unreachable!("the log is behind the journal"),
        }
    }

    #[test]
    fn a_restock_of_a_toy_that_is_held_is_tried_again() {
        let (mut core, session, now) = held();
        assert!(Restock::lock(&mut core, now).is_none(), "nothing is sold out");
        let later = now + LEASE + MARGIN;
        sell(&mut core, later);
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.ruling(later).unwrap().register(session, later).unwrap().session;
        holder(&mut core, session, later);
        let (change, again) = Restock::lock(&mut core, later).unwrap().plan(&core, later);
        assert!(change.is_empty());
        assert_eq!(again, Some(RESTOCK_RETRY));
        let restock = Restock::lock(&mut core, later).unwrap();
        core.acknowledged(session, &restock.locked_toys().toys);
        let (change, again) = restock.plan(&core, later);
        core.publish(&change, WriteOutcome::Durable);
        assert_eq!((core.ruling(later).unwrap().toys()[0].quantity, again), (100, None));
    }
}
