//! The catalog's decisions under one roof: the stock and the sessions, which must not be torn
//! apart.
//!
//! Whether a front-end becomes a toy's holder and what quantity it is told is one decision; so is
//! that a change is published and its toys are unlocked. Here they are single calls. The server
//! around it makes each under one lock, the simulator between two events; neither can come between.
//! How a change comes about, step by step, is in [`steps`].

pub mod batch;
pub mod sessions;
pub mod steps;
pub mod stock;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::sessions::{LEASE_MS, Push, Sessions};
use self::stock::{Change, Directory, Shelf, Stock};
use crate::wire::lease::{
    Fill, FillReply, FillRequest, Registered, Registration, RenewalReply, SessionId, Version,
};
use crate::wire::order::{OrderNumber, Position, Rows};
use crate::wire::replication::{Acquisition, AcquisitionReply, CatalogStatus, Leadership};
use crate::wire::toy::{Toy, ToyName};

/// A disk that has not moved for so long makes the catalog unready.
const LONGEST_STALL: Duration = Duration::from_secs(1);

/// The catalog, but for what storage keeps.
#[derive(Clone, Debug)]
pub struct Core {
    pub(super) stock: Stock,
    pub(super) sessions: Sessions,
    pub(super) directory: Directory,
    /// How many front-ends roles.toml has. Others cannot be told to drop anything.
    frontends: u32,
    disk_moved: Instant,
}

/// A session that has begun. The front-end may hear of it once it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registering {
    /// To be put on disk.
    pub session: SessionId,
    /// To be taken off the disk with it.
    pub ended: Vec<SessionId>,
}

/// What became of a change that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on disk.
    Durable,
    /// Nothing has changed; the disk is full, most likely.
    Unchanged,
    /// Nobody knows before the next start, and the catalog is ending.
    Unknown,
}

impl Core {
    /// A catalog that begins with what was stored, in a world with so many front-ends.
    #[must_use]
    pub fn new(stock: Stock, sessions: Sessions, frontends: u32, now: Instant) -> Self {
        let directory = stock.directory();
        Self { stock, sessions, directory, frontends, disk_moved: now }
    }

    /// The disk has done what it was asked at `asked`.
    pub fn disk_moved(&mut self, asked: Instant) {
        self.disk_moved = asked;
    }

    /// Whether the disk has moved lately. Without that the catalog can sell nothing.
    #[must_use]
    pub fn is_ready(&self, now: Instant) -> bool {
        now < self.disk_moved + LONGEST_STALL
    }

    /// Who leads, and where the journal ends.
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        self.stock.status()
    }

    /// All shelves, in catalog order.
    #[must_use]
    pub fn shelves(&self) -> &[Shelf] {
        self.stock.shelves()
    }

    /// All toys, in catalog order.
    #[must_use]
    pub fn toys(&self) -> Vec<Toy> {
        self.stock.shelves().iter().map(|shelf| shelf.toy.clone()).collect()
    }

    /// One toy; the asking front-end becomes its holder if it may.
    pub fn fill(&mut self, request: &FillRequest, now: Instant) -> FillReply {
        let Some(&place) = self.directory.get(&request.name) else { return FillReply::Unknown };
        let hold = |id| self.sessions.hold(id, &request.name, now);
        let cacheable_under = request.session.and_then(hold);
        let Shelf { toy, version, .. } = self.stock.shelves()[place].clone();
        FillReply::Found(Fill { toy, version, cacheable_under })
    }

    /// Begins a session. `None` if there is no such front-end.
    pub fn register(&mut self, request: Registration, now: Instant) -> Option<Registering> {
        if !(1..=self.frontends).contains(&request.frontend) {
            return None;
        }
        let session = self.sessions.register(request.frontend, request.previous, now);
        Some(Registering { session, ended: request.previous.into_iter().collect() })
    }

    /// What a front-end is told whose session is on disk.
    #[must_use]
    pub fn registered(&self, session: SessionId) -> Registered {
        let toys = self.stock.shelves().iter().map(|shelf| shelf.toy.name.clone()).collect();
        Registered { session, lease_ms: LEASE_MS, toys }
    }

    /// Prolongs a session, if it may be.
    pub fn renew(&mut self, session: SessionId, now: Instant) -> RenewalReply {
        self.sessions.renew(session, now)
    }

    /// Ends the session of a front-end that has emptied its cache.
    pub fn end(&mut self, session: SessionId) {
        self.sessions.end(session);
    }

    /// What a session has yet to acknowledge.
    #[must_use]
    pub fn push_for(&self, session: SessionId, now: Instant) -> Option<Push> {
        self.sessions.push_for(session, now)
    }

    /// Notes that a session has dropped toys.
    pub fn acknowledged(&mut self, session: SessionId, toys: &[(ToyName, Version)]) {
        self.sessions.acknowledged(session, toys);
    }

    /// Forgets the sessions that have run out, whose ids may leave the disk.
    pub fn sweep(&mut self, now: Instant) -> Vec<SessionId> {
        self.sessions.sweep(now)
    }

    /// Gives up the locks that no batch asks for any more. To be called between changes only.
    pub fn give_up_locks(&mut self, now: Instant) {
        self.sessions.give_up_locks(now);
    }

    /// Locks toys that are about to change. Returns who must be told, and waited for.
    pub(super) fn lock(
        &mut self,
        toys: &[(ToyName, Version)],
        now: Instant,
    ) -> BTreeSet<SessionId> {
        self.sessions.lock(toys, now);
        self.sessions.unacknowledged(toys, now)
    }

    /// Whether a moment's patience may clear one of `toys`.
    #[must_use]
    pub fn is_worth_waiting(&self, toys: &[(ToyName, Version)], now: Instant) -> bool {
        self.sessions.is_worth_waiting(toys, now)
    }

    /// Notes that the holders of `toys` have kept somebody waiting for as long as anybody should.
    pub fn mark_slow(&mut self, toys: &[(ToyName, Version)], now: Instant) {
        self.sessions.mark_slow(toys, now);
    }

    /// Publishes a change that is on disk, and unlocks its toys. One that is not is given up.
    ///
    /// If nobody knows whether it is on disk, the toys stay locked: until the catalog has ended
    /// nobody may cache what might be old by then.
    pub fn publish(&mut self, change: &Change, stored: Stored) {
        match stored {
            Stored::Durable => self.stock.apply(&self.directory, change),
            Stored::Unchanged => {}
            Stored::Unknown => return,
        }
        self.sessions.unlock(&change.touched());
    }

    /// Rows that were read from the journal, without those that are on disk and not published yet:
    /// they are nobody's business.
    #[must_use]
    pub fn published(&self, mut rows: Rows) -> Rows {
        let published = self.status().journal.length.saturating_sub(rows.after.length);
        rows.orders.truncate(usize::try_from(published).unwrap_or(usize::MAX));
        rows
    }

    /// Whether an order with this number is published.
    #[must_use]
    pub fn has_order(&self, number: OrderNumber) -> bool {
        number.0 < self.status().journal.length
    }

    /// Whether nobody has ever led. Before the first leader of a journal begins, the replicas are
    /// asked how much they hold: orders of an earlier journal would get their numbers anew.
    #[must_use]
    pub fn is_unled(&self) -> bool {
        self.status().leadership == Leadership::default()
    }

    /// Decides who leads next. The answer holds once its leadership is on disk and
    /// [adopted](Core::adopt_leadership).
    ///
    /// `prefix` is the journal's position at the length of the nominee's log, if it reaches so far;
    /// `longest` the length of the longest log of any replica, if it was asked for.
    #[must_use]
    pub fn acquire(
        &self,
        request: &Acquisition,
        prefix: Option<Position>,
        longest: Option<u64>,
    ) -> AcquisitionReply {
        let journal = self.status().journal;
        if self.is_unled() && longest.is_some_and(|length| length > journal.length) {
            return AcquisitionReply::Foreign { journal };
        }
        self.stock.plan_acquisition(request, prefix)
    }

    /// Publishes a leadership that is on disk.
    pub fn adopt_leadership(&mut self, leadership: Leadership) {
        self.stock.adopt_leadership(leadership);
    }
}
