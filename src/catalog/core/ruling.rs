//! What a catalog may do only while it rules: all that rests on its memory alone.
//!
//! A [`Ruling`] is the only way to these decisions, and [`Core::ruling`] gives it only within the
//! [lease](super::term). It is asked for under the lock under which the decision is made, so a
//! process that was stopped in between has read its clock before, when it still ruled.
//!
//! A commit needs none. Its write is fenced by the term, and what it has written never changes.

use std::time::Instant;

use super::sessions::LEASE_MS;
use super::stock::Shelf;
use super::{Core, NewSession};
use crate::wire::lease::{
    Fill, FillReply, FillRequest, Registered, Registration, RenewalReply, SessionId,
};
use crate::wire::order::{OrderNumber, Position};
use crate::wire::replication::{
    Acquisition, AcquisitionReply, CatalogStatus, Epoch, Leadership, ReplicaId,
};
use crate::wire::toy::Toy;

/// A catalog that rules at present.
#[derive(Debug)]
pub struct Ruling<'a>(&'a mut Core);

/// The catalog does not rule: its term has ended, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRuling;

impl Core {
    /// Decides as the catalog that rules.
    ///
    /// # Errors
    ///
    /// If it does not rule at `now`.
    pub fn ruling(&mut self, now: Instant) -> Result<Ruling<'_>, NotRuling> {
        if self.lease.rules(now) { Ok(Ruling(self)) } else { Err(NotRuling) }
    }
}

impl Ruling<'_> {
    /// Returns the catalog, for other decisions at the same time.
    pub fn core(&mut self) -> &mut Core {
        self.0
    }

    /// Returns who leads, and where the journal ends.
    #[must_use]
    pub fn status(&self) -> CatalogStatus {
        self.0.status()
    }

    /// Returns all toys, in catalog order.
    #[must_use]
    pub fn toys(&self) -> Vec<Toy> {
        self.0.stock.shelves().iter().map(|shelf| shelf.toy.clone()).collect()
    }

    /// Returns one toy. The front-end that asks becomes a holder of it, if it may.
    pub fn fill(&mut self, request: &FillRequest, now: Instant) -> FillReply {
        let Some(&place) = self.0.toy_index.get(&request.name) else { return FillReply::Unknown };
        let hold = |id| self.0.sessions.hold(id, &request.name, now);
        let cacheable_under = request.session.and_then(hold);
        let Shelf { toy, version, .. } = self.0.stock.shelves()[place].clone();
        FillReply::Found(Fill { toy, version, cacheable_under })
    }

    /// Begins a session. Returns `None` if `roles.toml` has no such front-end.
    pub fn register(&mut self, request: Registration, now: Instant) -> Option<NewSession> {
        if !self.0.frontends.contains(&request.frontend) {
            return None;
        }
        let may_end = |id: &SessionId| self.0.sessions.may_end(request.frontend, *id);
        let previous = request.previous.filter(may_end);
        let session = self.0.sessions.register(request.frontend, previous, now);
        Some(NewSession { session, ended: previous.into_iter().collect() })
    }

    /// Returns the answer to a registration whose session is on disk.
    #[must_use]
    pub fn registered(&self, session: SessionId) -> Registered {
        let toys = self.0.stock.shelves().iter().map(|shelf| shelf.toy.name.clone()).collect();
        Registered { session, lease_ms: LEASE_MS, toys }
    }

    /// Renews a session, if it may be renewed.
    pub fn renew(&mut self, session: SessionId, now: Instant) -> RenewalReply {
        self.0.sessions.renew(session, now)
    }

    /// Returns whether an order with this number is published.
    #[must_use]
    pub fn has_order(&self, number: OrderNumber) -> bool {
        number.0 < self.0.status().journal.length
    }

    /// Checks that `replica` leads, in `epoch`.
    ///
    /// # Errors
    ///
    /// The current leadership, if it does not.
    pub fn led_by(&self, replica: ReplicaId, epoch: Epoch) -> Result<(), Leadership> {
        self.0.stock.led_by(replica, epoch)
    }

    /// Decides whether the nominee becomes leader. The answer is valid once the leadership is on
    /// disk and [adopted](Core::adopt_leadership).
    ///
    /// `prefix` is the journal's position at the length of the nominee's log, if the journal is
    /// that long.
    #[must_use]
    pub fn acquire(&self, request: &Acquisition, prefix: Option<Position>) -> AcquisitionReply {
        self.0.stock.plan_acquisition(request, prefix)
    }
}
