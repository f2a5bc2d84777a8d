//! The catalog's decisions: the stock and the front-ends' sessions, decided together.
//!
//! Some decisions concern both and must not be torn apart. Whether a front-end becomes a holder of
//! a toy, and which quantity it is told, is one decision; publishing a change and unlocking its
//! toys is another. Each is one method of [`Core`]. The service calls it under one lock, and the
//! simulator between two events, so nothing can happen in between.
//!
//! [`term`] decides which of several catalogs rules, and [`ruling`] is what only that one may do.
//! [`suspicions`] and [`history`] decide whether the journal may sell at all. [`stock`] decides
//! purchases, restocks and leaders; [`batch`] is the part for many purchases at once; [`sessions`]
//! decides when a toy may change; [`steps`] takes a change through all of this.

pub mod batch;
pub mod history;
pub mod ruling;
pub mod sessions;
pub mod steps;
pub mod stock;
pub mod suspicions;
pub mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::history::{History, Stopped};
use self::sessions::{Push, Sessions};
use self::steps::LockedToys;
use self::stock::{Change, Shelf, Stock, ToyIndex};
use self::term::Lease;
use crate::wire::lease::{SessionId, Version};
use crate::wire::order::Rows;
use crate::wire::replication::{CatalogStatus, Leadership, ReplicaId, Unwritable};
use crate::wire::toy::ToyName;

/// The catalog is not ready while no write to its database has completed for this long.
const LONGEST_STALL: Duration = Duration::from_secs(1);

/// All of the catalog but its database.
#[derive(Clone, Debug)]
pub struct Core {
    pub(super) stock: Stock,
    pub(super) sessions: Sessions,
    pub(super) toy_index: ToyIndex,
    history: History,
    /// Replicas whose logs are said to contradict the journal, and since when.
    suspicions: BTreeMap<ReplicaId, Instant>,
    /// The front-ends in `roles.toml`. Invalidations can reach no others.
    frontends: BTreeSet<u32>,
    write_completed: Instant,
    /// Why the database takes no writes, since it last refused one.
    unwritable: Option<Unwritable>,
    /// For how long it may answer from memory.
    lease: Lease,
}

/// A session that has begun. The front-end may be told once it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The session to write to disk.
    pub session: SessionId,
    /// The sessions to delete from disk with it.
    pub ended: Vec<SessionId>,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The change is on disk.
    Durable,
    /// Nothing has changed, most likely because the disk is full.
    Unchanged,
    /// Whether the change is on disk will be known after a restart; the catalog shuts down.
    Unknown,
}

impl Core {
    /// Creates a catalog from what is on disk, for these front-ends.
    #[must_use]
    pub fn new(
        stock: Stock,
        sessions: Sessions,
        history: History,
        frontends: impl IntoIterator<Item = u32>,
        now: Instant,
    ) -> Self {
        let (toy_index, frontends) = (stock.toy_index(), frontends.into_iter().collect());
        let (write_completed, unwritable) = (now, None);
        let (suspicions, lease) = (BTreeMap::new(), Lease::Alone);
        Self {
            stock,
            sessions,
            toy_index,
            history,
            suspicions,
            frontends,
            write_completed,
            unwritable,
            lease,
        }
    }

    /// The same catalog, which shares its database with others and has claimed a term of this
    /// lease.
    #[must_use]
    pub fn within(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    /// Returns for how long it may answer from memory.
    pub fn lease(&mut self) -> &mut Lease {
        &mut self.lease
    }

    /// Goes on without replicas that are lost for good. Returns whether any of them was missing.
    pub fn forgo(&mut self, replicas: &[ReplicaId]) -> bool {
        self.history.forgo(replicas)
    }

    /// Whether the journal may sell and the database takes writes.
    ///
    /// # Errors
    ///
    /// Why nothing is sold.
    pub fn may_sell(&self) -> Result<(), Stopped> {
        self.may_sell_but_for_suspicions()?;
        self.has_no_suspicion()
    }

    /// Like [`may_sell`](Core::may_sell), but ignores suspicions, which end within seconds by
    /// themselves.
    ///
    /// # Errors
    ///
    /// Why nothing is sold until something is done about it.
    pub fn may_sell_but_for_suspicions(&self) -> Result<(), Stopped> {
        self.history.may_sell()?;
        self.unwritable.map_or(Ok(()), |why| Err(Stopped::CannotWrite(why)))
    }

    /// Whether the journal has every order that was acknowledged.
    ///
    /// # Errors
    ///
    /// Why it may lack some.
    pub fn has_every_order(&self) -> Result<(), Stopped> {
        self.history.may_sell()?;
        self.has_no_suspicion()
    }

    /// Notes that the database refused a write. Nothing is sold until it takes one again.
    pub fn write_refused(&mut self, why: Unwritable) {
        self.unwritable = Some(why);
    }

    /// Notes that the database has taken a write which began at `asked`.
    pub fn write_taken(&mut self, asked: Instant) {
        self.unwritable = None;
        self.write_completed(asked);
    }

    /// Returns whether the database takes writes, as far as is known.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.unwritable.is_none()
    }

    /// Returns how many front-ends may cache toys.
    #[must_use]
    pub fn sessions(&self, now: Instant) -> usize {
        self.sessions.count(now)
    }

    /// Returns how many toys are locked.
    #[must_use]
    pub fn locked_toys(&self) -> usize {
        self.sessions.locked_toys()
    }

    /// Returns the catalog's start, which sessions belong to.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.sessions.boot()
    }

    /// Notes that a write which began at `asked` has completed.
    pub fn write_completed(&mut self, asked: Instant) {
        self.write_completed = asked;
    }

    /// Returns whether writes complete. Without them the catalog can sell nothing.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        now < self.write_completed + LONGEST_STALL
    }

    /// Returns who leads, and where the journal ends, as far as this catalog knows. (Others are
    /// told by a [`Ruling`](ruling::Ruling).)
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        self.stock.status()
    }

    /// Returns the stock of all toys, in catalog order.
    #[must_use]
    pub fn shelves(&self) -> &[Shelf] {
        self.stock.shelves()
    }

    /// Ends the session of a front-end that has emptied its cache. Returns false if no front-end
    /// can have it.
    pub fn end(&mut self, session: SessionId) -> bool {
        let can_be = session != SessionId::FORGOTTEN;
        if can_be {
            self.sessions.end(session);
        }
        can_be
    }

    /// Returns the invalidations that a session has yet to acknowledge.
    #[must_use]
    pub fn push_for(&self, session: SessionId, now: Instant) -> Option<Push> {
        self.sessions.push_for(session, now)
    }

    /// Notes that a session has dropped toys.
    pub fn acknowledged(&mut self, session: SessionId, toys: &[(ToyName, Version)]) {
        self.sessions.acknowledged(session, toys);
    }

    /// Removes the sessions that have expired, and returns them, to be deleted from disk.
    pub fn sweep(&mut self, now: Instant) -> Vec<SessionId> {
        self.sessions.sweep(now)
    }

    /// Releases the locks that no batch asks for any more. Must be called between changes only.
    pub fn give_up_locks(&mut self, now: Instant) {
        let released = self.sessions.give_up_locks(now);
        self.stock.use_up(&self.toy_index, &released);
    }

    /// Locks toys that are about to change.
    pub(super) fn lock(&mut self, toys: Vec<(ToyName, Version)>, now: Instant) -> LockedToys {
        self.sessions.lock(&toys, now);
        let unacknowledged = self.sessions.unacknowledged(&toys, now);
        LockedToys { toys, unacknowledged }
    }

    /// Returns whether a short wait may clear one of `toys`.
    #[must_use]
    pub fn is_worth_waiting(&self, toys: &[(ToyName, Version)], now: Instant) -> bool {
        self.sessions.is_worth_waiting(toys, now)
    }

    /// Notes that the holders of `toys` did not acknowledge within [`steps::GRACE`].
    pub fn mark_slow(&mut self, toys: &[(ToyName, Version)], now: Instant) {
        self.sessions.mark_slow(toys, now);
    }

    /// Publishes a change that is on disk, and unlocks its toys. A change that is not on disk is
    /// abandoned.
    ///
    /// If the outcome of the write is unknown, the toys stay locked: the old quantity may be out
    /// of date, so no front-end may cache it before the catalog has shut down.
    pub fn publish(&mut self, change: &Change, outcome: WriteOutcome) {
        match outcome {
            WriteOutcome::Durable => self.stock.apply(&self.toy_index, change),
            WriteOutcome::Unchanged => self.stock.use_up(&self.toy_index, &change.touched()),
            WriteOutcome::Unknown => return,
        }
        self.sessions.unlock(&change.touched());
    }

    /// Removes from `rows`, which were read from the journal, those that are on disk but not
    /// published: they are not visible yet.
    #[must_use]
    pub fn published(&self, mut rows: Rows) -> Rows {
        let published = self.status().journal.length.saturating_sub(rows.after.length);
        rows.orders.truncate(usize::try_from(published).unwrap_or(usize::MAX));
        rows
    }

    /// Publishes a leadership that is on disk.
    pub fn adopt_leadership(&mut self, leadership: Leadership) {
        self.stock.adopt_leadership(leadership);
    }
}
