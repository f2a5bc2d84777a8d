//! The steps of a change, in the only order in which they can be taken.
//!
//! # The idea
//!
//! What a batch of purchases needs besides decisions: the disk, twice, and the front-ends'
//! acknowledgements. Each step is a type, and what comes next can be had only from the one before,
//! so that no server (and no simulator) can commit what was not cleared, or answer what was not
//! committed:
//!
//! ```text
//! Asked ──keys looked up──► Locked ──holders told──► Planned ──stored──► Sold ──► the answer
//!   │                         │                         │
//!   └────── the leader has been deposed ────────────────┘ (nothing has happened)
//!           (the first two only)
//! ```
//!
//! There is one writer, which takes one change at a time through all of its steps.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::stock::{Change, Recorded};
use super::{Core, Stored};
use crate::wire::lease::{SessionId, Version};
use crate::wire::order::{Order, Position, Rows};
use crate::wire::purchase::{CommitReply, CommitRequest, IdempotencyKey, Verdict};
use crate::wire::replication::Leadership;
use crate::wire::toy::ToyName;

/// How long a change waits for front-ends to acknowledge. They take well under a millisecond; after
/// this, the purchases of what they hold wait on their own, and the rest of the batch goes on.
pub const GRACE: Duration = Duration::from_millis(20);
/// How soon a restock that had to wait for a front-end is tried again.
pub const RESTOCK_RETRY: Duration = Duration::from_millis(50);

/// A batch that has arrived: its keys are to be looked up.
#[derive(Clone, Debug)]
pub struct Asked(CommitRequest);

/// Toys that are locked: their holders are to be told, and waited for for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// The toys, each with the version that it will have.
    pub toys: Vec<(ToyName, Version)>,
    /// Who holds one of them.
    pub unacknowledged: BTreeSet<SessionId>,
}

/// A batch whose toys are locked.
#[derive(Clone, Debug)]
pub struct Locked {
    request: CommitRequest,
    recorded: HashMap<IdempotencyKey, Recorded>,
    clearing: Clearing,
}

/// A batch that is decided, and to be stored.
#[derive(Clone, Debug)]
pub struct Planned {
    change: Change,
    verdicts: Vec<Verdict>,
    log: Position,
}

/// A batch that is stored and published.
#[derive(Clone, Debug)]
pub struct Sold {
    verdicts: Vec<Verdict>,
    log: Position,
    rows: Rows,
}

/// What it takes to answer a batch.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The answer.
    Ready(CommitReply),
    /// The leader's log is behind: the journal's rows from this number on go with the verdicts.
    WithRows(u64, Vec<Verdict>),
}

/// A restock of what is sold out, whose toys are locked.
#[derive(Clone, Debug)]
pub struct Restock {
    clearing: Clearing,
}

impl Asked {
    /// A batch has arrived.
    #[must_use]
    pub fn new(request: CommitRequest) -> Self {
        Self(request)
    }

    /// What to look up: the decisions on these keys.
    #[must_use]
    pub fn keys(&self) -> Vec<IdempotencyKey> {
        self.0.purchases.iter().map(|purchase| purchase.key.clone()).collect()
    }

    /// Locks the toys that would change.
    ///
    /// # Errors
    ///
    /// The leadership, if the batch's sender leads no longer.
    pub fn lock(
        self,
        core: &mut Core,
        recorded: HashMap<IdempotencyKey, Recorded>,
        now: Instant,
    ) -> Result<Locked, Leadership> {
        let client_key = core.stock.plan_batch(&core.directory, &self.0, &recorded, |_| true)?;
        let toys = client_key.change.touched();
        let unacknowledged = core.lock(&toys, now);
        Ok(Locked { request: self.0, recorded, clearing: Clearing { toys, unacknowledged } })
    }
}

impl Locked {
    /// Who must be told, of which toys.
    #[must_use]
    pub fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// Decides the batch, with those of its toys that are clear by now.
    ///
    /// # Errors
    ///
    /// The leadership, if the batch's sender leads no longer.
    pub fn plan(self, core: &Core, now: Instant) -> Result<Planned, Leadership> {
        let is_clear = |toy: &ToyName| core.sessions.is_clear(toy, now);
        let plan =
            core.stock.plan_batch(&core.directory, &self.request, &self.recorded, is_clear)?;
        Ok(Planned { change: plan.change, verdicts: plan.verdicts, log: self.request.log })
    }
}

impl Planned {
    /// What to store, in one transaction; nothing if it is empty.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Publishes the batch. `None` if it was not stored, so that there is nothing to answer.
    #[must_use]
    pub fn publish(self, core: &mut Core, stored: Stored) -> Option<Sold> {
        core.publish(&self.change, stored);
        let Change { after, orders, .. } = self.change;
        let rows = Rows { after, orders };
        (stored == Stored::Durable).then_some(Sold { verdicts: self.verdicts, log: self.log, rows })
    }
}

impl Sold {
    /// The orders that were made.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.rows.orders
    }

    /// The answer, or what it lacks.
    #[must_use]
    pub fn answer(self) -> Answer {
        if self.log == self.rows.after {
            Answer::Ready(CommitReply::Decided { verdicts: self.verdicts, rows: self.rows })
        } else {
            Answer::WithRows(self.log.length, self.verdicts)
        }
    }
}

impl Restock {
    /// Locks what is sold out. `None` if nothing is.
    pub fn lock(core: &mut Core, now: Instant) -> Option<Self> {
        let toys = core.stock.plan_restock(|_| true).touched();
        if toys.is_empty() {
            return None;
        }
        let unacknowledged = core.lock(&toys, now);
        Some(Self { clearing: Clearing { toys, unacknowledged } })
    }

    /// Who must be told, of which toys.
    #[must_use]
    pub fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// Restocks what is clear by now; to be stored and [published](Core::publish). With it, how
    /// soon to come again for the rest, if there is any.
    #[must_use]
    pub fn plan(self, core: &Core, now: Instant) -> (Change, Option<Duration>) {
        let change = core.stock.plan_restock(|toy| core.sessions.is_clear(toy, now));
        let complete = change.shelves.len() == self.clearing.toys.len();
        (change, (!complete).then_some(RESTOCK_RETRY))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::{LEASE, MARGIN, Sessions};
    use super::super::stock::tests::stock;
    use super::*;
    use crate::wire::lease::{FillReply, FillRequest, Registration};
    use crate::wire::order::OrderNumber;
    use crate::wire::purchase::{Decision, Purchase};
    use crate::wire::quantity::Quantity;
    use crate::wire::replication::{Epoch, ReplicaId};

    const LED: Leadership = Leadership { epoch: Epoch(7), leader: Some(ReplicaId(3)) };
    const GRANTED: Verdict = Verdict::Decided(Decision::Granted(OrderNumber(0)));

    /// A catalog with one Tux, and a session that holds it.
    fn held() -> (Core, SessionId, Instant) {
        let now = crate::clock::now();
        let mut core = Core::new(stock(1), Sessions::new(1, [], now), 1, now);
        let session =
            core.register(Registration { frontend: 1, previous: None }, now).unwrap().session;
        assert_eq!(holder(&mut core, session, now), Some(session));
        (core, session, now)
    }

    fn holder(core: &mut Core, session: SessionId, now: Instant) -> Option<SessionId> {
        match core.fill(&FillRequest { name: "Tux".into(), session: Some(session) }, now) {
            FillReply::Found(fill) => fill.cacheable_under,
            FillReply::Unknown => None,
        }
    }

    fn batch(epoch: u64) -> Asked {
        let purchase = Purchase {
            key: IdempotencyKey::from("a".to_owned()),
            name: "Tux".into(),
            quantity: Quantity::ONE,
            request_id: None,
        };
        Asked::new(CommitRequest {
            leader: ReplicaId(3),
            epoch: Epoch(epoch),
            log: Position::START,
            purchases: vec![purchase],
        })
    }

    fn lock(core: &mut Core, now: Instant) -> Locked {
        batch(7).lock(core, HashMap::new(), now).unwrap()
    }

    fn sell(core: &mut Core, now: Instant) {
        let planned = lock(core, now).plan(core, now).unwrap();
        assert!(planned.publish(core, Stored::Durable).is_some());
    }

    #[test]
    fn a_toy_that_is_held_changes_once_its_holder_has_dropped_it() {
        let (mut core, session, now) = held();
        let locked = lock(&mut core, now);
        assert_eq!(locked.clearing().unacknowledged, BTreeSet::from([session]));
        let planned = locked.plan(&core, now).unwrap();
        assert!(planned.change().is_empty(), "it is not clear");
        let sold = planned.publish(&mut core, Stored::Durable).unwrap();
        let Answer::Ready(CommitReply::Decided { verdicts, .. }) = sold.answer() else {
            unreachable!("the log is where the journal is")
        };
        assert_eq!(verdicts, [Verdict::Wait]);

        let locked = lock(&mut core, now);
        core.acknowledged(session, &locked.clearing().toys);
        let planned = locked.plan(&core, now).unwrap();
        assert_eq!(holder(&mut core, session, now), None, "it is about to change");
        let sold = planned.publish(&mut core, Stored::Durable).unwrap();
        assert_eq!(sold.orders().len(), 1);
        assert_eq!(core.toys()[0].quantity, 0);
        assert_eq!(holder(&mut core, session, now), Some(session));
    }

    #[test]
    fn a_change_that_was_not_stored_has_not_happened() {
        let (mut core, session, now) = held();
        let later = now + LEASE + MARGIN;
        let planned = lock(&mut core, later).plan(&core, later).unwrap();
        assert!(planned.publish(&mut core, Stored::Unchanged).is_none());
        assert_eq!(core.toys()[0].quantity, 1);
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.register(session, later).unwrap().session;
        assert_eq!(holder(&mut core, session, later), Some(session));
    }

    #[test]
    fn a_toy_whose_change_is_in_doubt_stays_locked() {
        let (mut core, session, now) = held();
        let later = now + LEASE + MARGIN;
        let planned = lock(&mut core, later).plan(&core, later).unwrap();
        assert!(planned.publish(&mut core, Stored::Unknown).is_none());
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.register(session, later).unwrap().session;
        assert_eq!(holder(&mut core, session, later), None);
    }

    #[test]
    fn a_deposed_leaders_batch_locks_nothing() {
        let (mut core, session, now) = held();
        assert_eq!(batch(6).lock(&mut core, HashMap::new(), now).err(), Some(LED));
        assert_eq!(holder(&mut core, session, now), Some(session));
    }

    #[test]
    fn a_leader_that_is_behind_gets_the_journals_rows() {
        let (mut core, _, now) = held();
        let later = now + LEASE + MARGIN;
        sell(&mut core, later);
        let known =
            Recorded { name: "Tux".into(), quantity: Quantity::ONE, number: Some(OrderNumber(0)) };
        let recorded = HashMap::from([(IdempotencyKey::from("a".to_owned()), known)]);
        let again = batch(7).lock(&mut core, recorded, later).unwrap().plan(&core, later).unwrap();
        let sold = again.publish(&mut core, Stored::Durable).unwrap();
        match sold.answer() {
            Answer::WithRows(from, verdicts) => assert_eq!((from, verdicts), (0, vec![GRANTED])),
            Answer::Ready(_) => unreachable!("the log is behind the journal"),
        }
    }

    #[test]
    fn a_restock_of_a_toy_that_is_held_comes_again() {
        let (mut core, session, now) = held();
        assert!(Restock::lock(&mut core, now).is_none(), "nothing is sold out");
        let later = now + LEASE + MARGIN;
        sell(&mut core, later);
        let session = Registration { frontend: 1, previous: Some(session) };
        let session = core.register(session, later).unwrap().session;
        holder(&mut core, session, later);
        let (change, again) = Restock::lock(&mut core, later).unwrap().plan(&core, later);
        assert!(change.is_empty());
        assert_eq!(again, Some(RESTOCK_RETRY));
        let restock = Restock::lock(&mut core, later).unwrap();
        core.acknowledged(session, &restock.clearing().toys);
        let (change, again) = restock.plan(&core, later);
        core.publish(&change, Stored::Durable);
        assert_eq!((core.toys()[0].quantity, again), (100, None));
    }
}
