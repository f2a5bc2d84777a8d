//! When a toy may change: the front-ends' sessions, the toys that they hold, and the locks on toys
//! that are about to change.
//!
//! # The idea
//!
//! A front-end caches under a lease (Gray and Cheriton, "Leases", SOSP 1989): the catalog may
//! change a toy once every front-end that holds it has dropped it or its lease has expired. The
//! order matters. A catalog that publishes the new quantity first, and then invalidates, lets a
//! reader see an old quantity after a new one:
//!
//! ```text
//! catalog            front-end 1           front-end 2 (holds 5)
//!   | publish 4           |                       |
//!   |<--- miss -----------|                       |
//!   |---- 4 ------------->|  a reader sees 4      |
//!   |                     |                       |  the same reader sees 5: stale
//!   | invalidate -------------------------------->|
//! ```
//!
//! So a toy is *locked* first. Its holders, and only they, are told to drop it, and acknowledge, or
//! their leases expire. Then the toy is *clear*: it may change, and is unlocked. While a toy is
//! locked, a front-end that asks for it gets the old quantity and may not cache it.
//!
//! # Why before the commit, and not between commit and publishing?
//!
//! The assignment has the catalog send an invalidation after each purchase and restock. To send it
//! after the commit, but before the new quantity is shown to any reader, would be consistent, too,
//! as long as nothing fails. It is worse in two ways when something does:
//!
//! 1. *A crash.* A catalog that restarts shows what is on disk. If it crashes while holders still
//!    have the toy, its new process shows the new quantity beside a cached old one, unless it also
//!    held back all reads for a lease. In the order chosen here, no front-end holds the toy by the
//!    time of the commit, so what is on disk may be shown at once.
//!
//! ```text
//! catalog                   front-end 1           front-end 2 (holds 5)
//!   | commit 4                   |                       |
//!   | invalidate - - - - - - - - - - - - - - - - - - - ->| lost
//!   | crash, restart: 4          |                       |
//!   |<--- miss ------------------|                       |
//!   |---- 4 -------------------->| a reader sees 4       |
//!   |                            |                       | the same reader sees 5: stale
//! ```
//!
//! 2. *A holder that does not acknowledge.* Before the commit, nothing has happened yet: the
//!    purchase is told to wait, the rest of its batch goes on, and the leader sends it again. After
//!    the commit, it could neither be answered nor undone until the lease expired. Since the
//!    journal is one sequence, all later orders would wait behind it.
//!
//! The price is small: if the commit fails, toys were invalidated for nothing, and are cached again
//! at the next miss, under the version that they would have had. (A front-end that dropped a toy
//! stores nothing older, and an acknowledgement that comes late must not count for the next lock.)
//!
//! # Clocks
//!
//! A front-end counts its lease from when it sent the renewal; the catalog counts from when it
//! answered, and adds [`MARGIN`]. So a lease ends at the front-end first, unless the speeds of the
//! two clocks differ by more than the margin's share of a lease, 25 %.
//!
//! # After a restart
//!
//! The catalog no longer knows which toys the sessions of its last run hold, and their front-ends
//! go on serving these. So their ids are on disk, and after a restart no toy changes until each of
//! them has registered anew, which empties its cache, or a lease has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::wire::lease::{LONGEST_LEASE_MS, RenewalReply, SessionId, Version};
use crate::wire::toy::ToyName;

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_millis(LEASE_MS);
/// The same in milliseconds, as it is sent to the front-ends.
pub const LEASE_MS: u64 = LONGEST_LEASE_MS;
/// How much longer the catalog counts a lease than the front-end does: a quarter of it, far more
/// than two clocks differ in speed.
pub const MARGIN: Duration = Duration::from_millis(250);
/// A session that has left an invalidation unacknowledged for this long is not renewed. Else a
/// front-end that reaches the catalog but cannot be reached would delay purchases for ever. Half
/// a lease: a front-end that merely is slow acknowledges sooner.
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_millis(500);
/// How long a front-end that was refused a renewal may hold no toy. It may reach the catalog and
/// still be unreachable, and would delay a purchase of each toy that it held, again and again.
const QUARANTINE: Duration = Duration::from_secs(10);
/// A lock that no batch has asked for in this long is released: its purchase was abandoned. Leaders
/// retry far sooner.
const LONGEST_LOCK: Duration = Duration::from_secs(5);

/// All sessions and locks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sessions {
    /// Drawn at random at each start of the catalog.
    boot: u64,
    next_serial: u64,
    live: BTreeMap<SessionId, Session>,
    locks: BTreeMap<ToyName, Lock>,
    /// The sessions of earlier runs, whose front-ends may still serve from their caches …
    inherited: BTreeSet<SessionId>,
    /// … until this time at most.
    inherited_end: Instant,
    /// Front-ends that may hold no toy, each until a time.
    quarantined: BTreeMap<u32, Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    frontend: u32,
    end: Instant,
    holds: BTreeSet<ToyName>,
    responsiveness: Responsiveness,
}

/// Whether a batch waits for a session's acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Responsiveness {
    Prompt,
    /// A batch has waited for it in vain; no other waits until it has acknowledged something.
    Slow,
}

/// A lock on a toy that is about to change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lock {
    /// The version that the toy will have.
    version: Version,
    since: Instant,
    /// When a batch last asked for it.
    wanted: Instant,
    /// The sessions that have yet to acknowledge.
    awaited: BTreeSet<SessionId>,
}

/// An invalidation to push to a front-end until it is acknowledged or the session has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The session that holds the toys.
    pub session: SessionId,
    /// The session's front-end.
    pub frontend: u32,
    /// The toys to drop, each with the version that it will have.
    pub toys: Vec<(ToyName, Version)>,
}

impl Sessions {
    /// Creates the sessions of a new run: none but those of earlier runs, which may be served until
    /// a lease has passed from `now`.
    #[must_use]
    pub fn new(boot: u64, inherited: impl IntoIterator<Item = SessionId>, now: Instant) -> Self {
        Self {
            boot,
            next_serial: 0,
            live: BTreeMap::new(),
            locks: BTreeMap::new(),
            inherited: inherited.into_iter().collect(),
            inherited_end: now + LEASE + MARGIN,
            quarantined: BTreeMap::new(),
        }
    }

    /// Begins a session for a front-end whose cache is empty, and ends the one that it had before.
    /// The id must be on disk before the front-end is told.
    pub fn register(
        &mut self,
        frontend: u32,
        previous: Option<SessionId>,
        now: Instant,
    ) -> SessionId {
        if let Some(previous) = previous {
            self.end(previous);
        }
        let id = SessionId { boot: self.boot, serial: self.next_serial };
        self.next_serial += 1;
        let session = Session {
            frontend,
            end: now + LEASE + MARGIN,
            holds: BTreeSet::new(),
            responsiveness: Responsiveness::Prompt,
        };
        self.live.insert(id, session);
        id
    }

    /// Returns whether a front-end may say that a session is over: it is its own, or of an earlier
    /// run, whose sessions cannot be told apart.
    #[must_use]
    pub fn may_end(&self, frontend: u32, id: SessionId) -> bool {
        let is_own = self.live.get(&id).is_none_or(|session| session.frontend == frontend);
        is_own && id != SessionId::FORGOTTEN
    }

    /// Renews a session, unless it has expired or has left an invalidation unacknowledged for too
    /// long.
    pub fn renew(&mut self, id: SessionId, now: Instant) -> RenewalReply {
        let mut unacknowledged = self.locks.values().filter(|lock| lock.awaited.contains(&id));
        let is_late = unacknowledged.any(|lock| now >= lock.since + LONGEST_UNACKNOWLEDGED);
        if is_late && let Some(session) = self.live.get(&id) {
            self.quarantined.insert(session.frontend, now + QUARANTINE);
        }
        match self.live.get_mut(&id) {
            Some(session) if now < session.end && !is_late => {
                session.end = now + LEASE + MARGIN;
                RenewalReply::Renewed { lease_ms: LEASE_MS }
            }
            Some(_) | None => RenewalReply::Expired,
        }
    }

    /// Makes the session a holder of the toy, if it may be one: the session is live, its front-end
    /// is not in quarantine, and the toy is not about to change.
    pub fn hold(&mut self, id: SessionId, toy: &ToyName, now: Instant) -> Option<SessionId> {
        let session = self.live.get_mut(&id).filter(|session| now < session.end)?;
        let is_quarantined = self.quarantined.get(&session.frontend).is_some_and(|end| now < *end);
        if is_quarantined || self.locks.contains_key(toy) {
            return None;
        }
        session.holds.insert(toy.clone());
        Some(id)
    }

    /// Locks toys that are about to change, each with the version that it will have.
    pub fn lock(&mut self, toys: &[(ToyName, Version)], now: Instant) {
        for (toy, version) in toys {
            let holders = self.live.iter().filter(|(_, session)| session.holds.contains(toy));
            let awaited = holders.map(|(id, _)| *id).collect();
            let new = Lock { version: *version, since: now, wanted: now, awaited };
            self.locks.entry(toy.clone()).or_insert(new).wanted = now;
        }
    }

    /// Returns the live sessions that have yet to acknowledge one of `toys`.
    #[must_use]
    pub fn unacknowledged(&self, toys: &[(ToyName, Version)], now: Instant) -> BTreeSet<SessionId> {
        let locks = toys.iter().filter_map(|(toy, _)| self.locks.get(toy));
        let awaited = locks.flat_map(|lock| &lock.awaited).copied();
        awaited.filter(|id| self.is_live(*id, now)).collect()
    }

    /// Returns all that a session has yet to acknowledge, in one invalidation.
    #[must_use]
    pub fn push_for(&self, id: SessionId, now: Instant) -> Option<Push> {
        let locks = self.locks.iter().filter(|(_, lock)| lock.awaited.contains(&id));
        let toys: Vec<_> = locks.map(|(toy, lock)| (toy.clone(), lock.version)).collect();
        let session = self.live.get(&id).filter(|session| now < session.end)?;
        (!toys.is_empty()).then_some(Push { session: id, frontend: session.frontend, toys })
    }

    /// Returns whether a short wait may clear one of `toys`: a session that has yet to acknowledge
    /// it is not known to be slow.
    #[must_use]
    pub fn is_worth_waiting(&self, toys: &[(ToyName, Version)], now: Instant) -> bool {
        self.unacknowledged(toys, now)
            .iter()
            .any(|id| self.live[id].responsiveness == Responsiveness::Prompt)
    }

    /// Notes that the sessions that have yet to acknowledge one of `toys` are slow.
    pub fn mark_slow(&mut self, toys: &[(ToyName, Version)], now: Instant) {
        for id in self.unacknowledged(toys, now) {
            if let Some(session) = self.live.get_mut(&id) {
                session.responsiveness = Responsiveness::Slow;
            }
        }
    }

    /// Notes that a session has dropped toys.
    pub fn acknowledged(&mut self, id: SessionId, toys: &[(ToyName, Version)]) {
        for (toy, version) in toys {
            // An acknowledgement of an earlier lock says nothing about a later one.
            let lock = self.locks.get_mut(toy).filter(|lock| lock.version == *version);
            if lock.is_some_and(|lock| lock.awaited.remove(&id))
                && let Some(session) = self.live.get_mut(&id)
            {
                session.holds.remove(toy);
                session.responsiveness = Responsiveness::Prompt;
            }
        }
    }

    /// Returns whether a toy is clear and may change: it is locked, and no live session holds it.
    #[must_use]
    pub fn is_clear(&self, toy: &ToyName, now: Instant) -> bool {
        let unheld = |lock: &Lock| !lock.awaited.iter().any(|session| self.is_live(*session, now));
        self.may_change(now) && self.locks.get(toy).is_some_and(unheld)
    }

    /// Unlocks toys whose change is published or abandoned.
    pub fn unlock(&mut self, toys: &[(ToyName, Version)]) {
        for (toy, _) in toys {
            self.locks.remove(toy);
        }
    }

    /// Returns whether all sessions of earlier runs have ended.
    #[must_use]
    pub fn may_change(&self, now: Instant) -> bool {
        self.inherited.is_empty() || now >= self.inherited_end
    }

    /// Releases the locks that no batch asks for any more. Only the task that commits may call
    /// this, between two commits: a toy whose change is being written must stay locked, however
    /// long the disk takes. Returns their toys, each with the version that it would have had.
    pub fn give_up_locks(&mut self, now: Instant) -> Vec<(ToyName, Version)> {
        let is_unwanted = |lock: &Lock| now >= lock.wanted + LONGEST_LOCK;
        let unwanted = self.locks.iter().filter(|(_, lock)| is_unwanted(lock));
        let released: Vec<_> = unwanted.map(|(toy, lock)| (toy.clone(), lock.version)).collect();
        self.unlock(&released);
        released
    }

    /// Removes the sessions that have expired, and returns them, to be deleted from disk.
    pub fn sweep(&mut self, now: Instant) -> Vec<SessionId> {
        let mut ended: Vec<SessionId> =
            self.live.iter().filter(|(_, session)| now >= session.end).map(|(id, _)| *id).collect();
        for id in &ended {
            self.end(*id);
        }
        if self.may_change(now) {
            ended.extend(std::mem::take(&mut self.inherited));
        }
        self.quarantined.retain(|_, end| now < *end);
        ended
    }

    /// Returns the catalog's start, which all new sessions belong to.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Returns the number of toys that are about to change.
    #[must_use]
    pub fn locked_toys(&self) -> usize {
        self.locks.len()
    }

    /// Returns the number of live sessions.
    #[must_use]
    pub fn count(&self, now: Instant) -> usize {
        self.live.keys().filter(|id| self.is_live(**id, now)).count()
    }

    fn is_live(&self, id: SessionId, now: Instant) -> bool {
        self.live.get(&id).is_some_and(|session| now < session.end)
    }

    /// Ends a session whose front-end has emptied its cache.
    pub fn end(&mut self, id: SessionId) {
        self.inherited.remove(&id);
        self.live.remove(&id);
        for lock in self.locks.values_mut() {
            lock.awaited.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn toys() -> [(ToyName, Version); 1] {
        [("Tux".into(), Version(1))]
    }

    fn tux() -> ToyName {
        "Tux".into()
    }

    fn before(time: Instant) -> Instant {
        time.checked_sub(MS).unwrap()
    }

    fn one_holder() -> (Sessions, SessionId, Instant) {
        let now = crate::clock::now();
        let mut sessions = Sessions::new(1, [], now);
        let id = sessions.register(1, None, now);
        assert_eq!(sessions.hold(id, &tux(), now), Some(id));
        (sessions, id, now)
    }

    #[test]
    fn a_toy_that_is_not_locked_is_not_clear() {
        let now = crate::clock::now();
        let mut sessions = Sessions::new(1, [], now);
        assert!(!sessions.is_clear(&tux(), now));
        sessions.lock(&toys(), now);
        assert!(sessions.is_clear(&tux(), now));
        sessions.unlock(&toys());
        assert!(!sessions.is_clear(&tux(), now));
    }

    #[test]
    fn a_held_toy_is_clear_once_its_holder_has_acknowledged() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        assert!(!sessions.is_clear(&tux(), now));
        assert_eq!(sessions.unacknowledged(&toys(), now), BTreeSet::from([id]));
        let push = Push { session: id, frontend: 1, toys: toys().to_vec() };
        assert_eq!(sessions.push_for(id, now), Some(push));
        sessions.acknowledged(id, &toys());
        assert!(sessions.is_clear(&tux(), now));
        assert_eq!(sessions.push_for(id, now), None);
    }

    #[test]
    fn a_held_toy_is_clear_once_its_holders_lease_has_expired() {
        let (mut sessions, _, now) = one_holder();
        sessions.lock(&toys(), now);
        assert!(!sessions.is_clear(&tux(), before(now + LEASE + MARGIN)));
        assert!(sessions.is_clear(&tux(), now + LEASE + MARGIN));
    }

    #[test]
    fn a_front_end_ends_only_what_it_can_have() {
        let (sessions, id, _) = one_holder();
        assert!(sessions.may_end(1, id) && !sessions.may_end(2, id));
        assert!(!sessions.may_end(1, SessionId::FORGOTTEN), "that waits for all that are unknown");
    }

    #[test]
    fn a_toy_that_is_about_to_change_is_not_cached() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        sessions.acknowledged(id, &toys());
        assert_eq!(sessions.hold(id, &tux(), now), None);
        sessions.unlock(&toys());
        assert_eq!(sessions.hold(id, &tux(), now), Some(id));
    }

    #[test]
    fn an_acknowledgement_that_comes_late_does_not_clear_the_next_change() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        sessions.acknowledged(id, &toys());
        sessions.unlock(&toys());
        sessions.hold(id, &tux(), now);
        sessions.lock(&[(tux(), Version(2))], now);
        sessions.acknowledged(id, &toys());
        assert!(!sessions.is_clear(&tux(), now));
    }

    #[test]
    fn a_session_that_has_expired_neither_renews_nor_holds() {
        let (mut sessions, id, now) = one_holder();
        let end = now + LEASE + MARGIN;
        assert_eq!(sessions.renew(id, end), RenewalReply::Expired);
        assert_eq!(sessions.hold(id, &tux(), end), None);
        assert_eq!(sessions.sweep(end), [id]);
        assert_eq!(sessions.count(end), 0);
    }

    #[test]
    fn a_renewal_extends_a_session() {
        let (mut sessions, id, now) = one_holder();
        let later = now + LEASE;
        assert_eq!(sessions.renew(id, later), RenewalReply::Renewed { lease_ms: 1_000 });
        assert_eq!(sessions.hold(id, &tux(), later + LEASE), Some(id));
    }

    #[test]
    fn a_session_that_does_not_acknowledge_is_not_renewed() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        let renewed = RenewalReply::Renewed { lease_ms: 1_000 };
        assert_eq!(sessions.renew(id, before(now + LONGEST_UNACKNOWLEDGED)), renewed);
        assert_eq!(sessions.renew(id, now + LONGEST_UNACKNOWLEDGED), RenewalReply::Expired);
        let end = before(now + LONGEST_UNACKNOWLEDGED) + LEASE + MARGIN;
        assert!(!sessions.is_clear(&tux(), before(end)));
        assert!(sessions.is_clear(&tux(), end));
    }

    #[test]
    fn a_slow_session_keeps_only_one_batch_waiting() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        assert!(sessions.is_worth_waiting(&toys(), now));
        sessions.mark_slow(&toys(), now);
        assert!(!sessions.is_worth_waiting(&toys(), now));
        sessions.acknowledged(id, &toys());
        sessions.unlock(&toys());
        sessions.hold(id, &tux(), now);
        sessions.lock(&toys(), now);
        assert!(sessions.is_worth_waiting(&toys(), now), "it has acknowledged since");
    }

    #[test]
    fn after_a_restart_nothing_changes_until_every_earlier_session_has_ended() {
        let now = crate::clock::now();
        let earlier = [0, 1].map(|serial| SessionId { boot: 1, serial });
        let mut sessions = Sessions::new(2, earlier, now);
        sessions.lock(&toys(), now);
        assert!(!sessions.is_clear(&tux(), now));
        sessions.register(1, Some(earlier[0]), now);
        assert!(!sessions.is_clear(&tux(), now), "the other front-end may still serve its cache");
        assert!(sessions.is_clear(&tux(), now + LEASE + MARGIN));
        sessions.register(2, Some(earlier[1]), now);
        assert!(sessions.is_clear(&tux(), now));
    }

    #[test]
    fn a_lock_that_no_batch_asks_for_is_released() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        let later = now + LONGEST_LOCK;
        sessions.acknowledged(id, &toys());
        sessions.lock(&toys(), now + MS);
        assert_eq!(sessions.give_up_locks(later), []);
        assert!(sessions.is_clear(&tux(), later), "a batch asked for it since");
        assert_eq!(sessions.give_up_locks(later + MS), toys());
        assert!(!sessions.is_clear(&tux(), later));
    }

    #[test]
    fn a_lock_outlives_a_commit_that_takes_long() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        sessions.acknowledged(id, &toys());
        sessions.sweep(now + LONGEST_LOCK * 2);
        let next = sessions.register(1, None, now + LONGEST_LOCK * 2);
        assert_eq!(sessions.hold(next, &tux(), now + LONGEST_LOCK * 2), None);
    }

    #[test]
    fn a_front_end_that_cannot_be_reached_is_quarantined() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        let refused = now + LONGEST_UNACKNOWLEDGED;
        sessions.renew(id, refused);
        let next = sessions.register(1, Some(id), refused);
        let uno = ToyName::from("Uno");
        assert_eq!(sessions.hold(next, &uno, refused), None);
        let other = sessions.register(2, None, refused);
        assert_eq!(sessions.hold(other, &uno, refused), Some(other));
        let next = sessions.register(1, Some(next), refused + QUARANTINE);
        assert_eq!(sessions.hold(next, &uno, refused + QUARANTINE), Some(next));
    }
}
