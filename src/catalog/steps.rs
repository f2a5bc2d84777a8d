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

use super::core::{Core, Stored};
use super::stock::{Change, Recorded};
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
    pub debtors: BTreeSet<SessionId>,
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
        let wish = core.stock.plan_batch(&core.directory, &self.0, &recorded, |_| true)?;
        let toys = wish.change.touched();
        let debtors = core.lock(&toys, now);
        Ok(Locked { request: self.0, recorded, clearing: Clearing { toys, debtors } })
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
        let debtors = core.lock(&toys, now);
        Some(Self { clearing: Clearing { toys, debtors } })
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
