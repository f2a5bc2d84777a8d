//! Who may still show an old quantity: the front-ends' sessions, what they hold, and the locks on
//! toys that are about to change.
//!
//! # The idea
//!
//! A front-end caches under a lease (Gray and Cheriton, "Leases", SOSP 1989): the catalog may
//! change a toy once every front-end that holds it has either dropped it or run out of lease.
//! The order matters. A catalog that first publishes the new quantity and then invalidates lets two
//! readers see time run backwards:
//!
//! ```text
//! catalog            front-end 1           front-end 2 (holds 5)
//!   | publish 4           |                       |
//!   |<--- miss -----------|                       |
//!   |---- 4 ------------->|  reader sees 4        |
//!   |                     |                       |  the same reader sees 5: stale
//!   | invalidate -------------------------------->|
//! ```
//!
//! So a toy is *locked* first; its holders are told and acknowledge, or their leases end; then it
//! is *clear*, and may change; then it is unlocked. While it is locked, whoever asks gets the old
//! quantity and may not cache it.
//!
//! # Clocks
//!
//! A front-end counts its lease from when it sent the renewal; the catalog counts from when it
//! answered, and adds [`MARGIN`]. So the catalog's end is the later one, unless two clocks differ
//! in speed by more than the margin's share of a lease, 25 %.
//!
//! # After a restart
//!
//! What the sessions of the last run hold is forgotten, but they go on serving it. So the catalog
//! keeps the sessions' ids on disk, and after a restart changes nothing until each of them has
//! registered anew, which empties its cache, or a lease has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::wire::lease::{RenewalReply, SessionId, Version};
use crate::wire::toy::ToyName;

/// A lease is short enough that a purchase that has to wait for one hardly shows, and five renewals
/// long, so that a lost one does no harm.
pub const LEASE: Duration = Duration::from_millis(LEASE_MS);
/// The same in milliseconds, as the front-ends are told.
pub const LEASE_MS: u64 = 1_000;
/// How much longer the catalog counts than the front-end; see above.
pub const MARGIN: Duration = Duration::from_millis(250);
/// A session that has owed an acknowledgement for so long is not prolonged. Without this, a
/// front-end that can reach the catalog but cannot be reached would hold up purchases for ever.
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_millis(500);
/// A front-end that was in debt while it renewed can reach the catalog and not be reached. For so
/// long it may hold nothing: each toy that it held would be held up, again and again.
const QUARANTINE: Duration = Duration::from_secs(10);
/// A lock that no batch has asked for in so long is given up; its purchase was abandoned.
const LONGEST_LOCK: Duration = Duration::from_secs(5);

/// All sessions and locks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sessions {
    boot: u64,
    next_serial: u64,
    live: BTreeMap<SessionId, Session>,
    locks: BTreeMap<ToyName, Lock>,
    inherited: BTreeSet<SessionId>,
    inherited_end: Instant,
    /// Front-ends that may hold nothing, each until a time.
    quarantined: BTreeMap<u32, Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    frontend: u32,
    end: Instant,
    holds: BTreeSet<ToyName>,
    responsiveness: Responsiveness,
}

/// Whether purchases wait a moment for a session's acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Responsiveness {
    Prompt,
    /// It has kept a batch waiting; until it acknowledges something, none waits for it again.
    Slow,
}

/// A toy that is about to change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lock {
    version: Version,
    since: Instant,
    /// When a batch asked for it last.
    wanted: Instant,
    awaited: BTreeSet<SessionId>,
}

/// An invalidation to send, again and again until it is acknowledged or the session has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The session that holds the toys.
    pub session: SessionId,
    /// The front-end that has the session.
    pub frontend: u32,
    /// What it must drop.
    pub toys: Vec<(ToyName, Version)>,
}

impl Sessions {
    /// No sessions but those of earlier runs, which may live until a lease has passed from `now`.
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

    /// Begins a session for a front-end that holds nothing, and ends the one that it had before.
    /// The id must be on disk before the front-end hears of it.
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

    /// Prolongs a session that has not run out and owes nothing for long.
    pub fn renew(&mut self, id: SessionId, now: Instant) -> RenewalReply {
        let mut owed = self.locks.values().filter(|lock| lock.awaited.contains(&id));
        let is_late = owed.any(|lock| now >= lock.since + LONGEST_UNACKNOWLEDGED);
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

    /// Counts the session among the toy's holders, if it may hold it: the session lives, and the
    /// toy is not about to change.
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

    /// The sessions that have yet to acknowledge one of `toys`.
    #[must_use]
    pub fn unacknowledged(&self, toys: &[(ToyName, Version)], now: Instant) -> BTreeSet<SessionId> {
        let locks = toys.iter().filter_map(|(toy, _)| self.locks.get(toy));
        let awaited = locks.flat_map(|lock| &lock.awaited).copied();
        awaited.filter(|id| self.is_live(*id, now)).collect()
    }

    /// All that a session has yet to acknowledge, in one invalidation.
    #[must_use]
    pub fn push_for(&self, id: SessionId, now: Instant) -> Option<Push> {
        let owed = self.locks.iter().filter(|(_, lock)| lock.awaited.contains(&id));
        let toys: Vec<_> = owed.map(|(toy, lock)| (toy.clone(), lock.version)).collect();
        let session = self.live.get(&id).filter(|session| now < session.end)?;
        (!toys.is_empty()).then_some(Push { session: id, frontend: session.frontend, toys })
    }

    /// Whether a moment's patience may clear one of `toys`: some debtor is not known to be late.
    #[must_use]
    pub fn is_worth_waiting(&self, toys: &[(ToyName, Version)], now: Instant) -> bool {
        self.unacknowledged(toys, now)
            .iter()
            .any(|id| self.live[id].responsiveness == Responsiveness::Prompt)
    }

    /// Notes that the unacknowledged of `toys` have kept somebody waiting for as long as anybody should.
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
            // An acknowledgement of an earlier lock says nothing of a later one.
            let lock = self.locks.get_mut(toy).filter(|lock| lock.version == *version);
            if lock.is_some_and(|lock| lock.awaited.remove(&id))
                && let Some(session) = self.live.get_mut(&id)
            {
                session.holds.remove(toy);
                session.responsiveness = Responsiveness::Prompt;
            }
        }
    }

    /// Whether a toy may change: it is locked, and no live session holds it any more.
    #[must_use]
    pub fn is_clear(&self, toy: &ToyName, now: Instant) -> bool {
        let unheld = |lock: &Lock| !lock.awaited.iter().any(|session| self.is_live(*session, now));
        self.may_change(now) && self.locks.get(toy).is_some_and(unheld)
    }

    /// Unlocks toys whose change is published, or given up.
    pub fn unlock(&mut self, toys: &[(ToyName, Version)]) {
        for (toy, _) in toys {
            self.locks.remove(toy);
        }
    }

    /// Whether all sessions of earlier runs have ended.
    #[must_use]
    pub fn may_change(&self, now: Instant) -> bool {
        self.inherited.is_empty() || now >= self.inherited_end
    }

    /// Gives up the locks that no batch asks for any more. Only whoever commits may call this, and
    /// between commits: a toy whose change is on its way to the disk must stay locked, however long
    /// the disk takes.
    pub fn give_up_locks(&mut self, now: Instant) {
        self.locks.retain(|_, lock| now < lock.wanted + LONGEST_LOCK);
    }

    /// Forgets the sessions that have run out, whose ids may leave the disk.
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

    /// How many sessions live.
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
    fn a_held_toy_is_clear_once_its_holder_has_run_out() {
        let (mut sessions, _, now) = one_holder();
        sessions.lock(&toys(), now);
        assert!(!sessions.is_clear(&tux(), before(now + LEASE + MARGIN)));
        assert!(sessions.is_clear(&tux(), now + LEASE + MARGIN));
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
    fn a_session_that_has_run_out_neither_renews_nor_holds() {
        let (mut sessions, id, now) = one_holder();
        let end = now + LEASE + MARGIN;
        assert_eq!(sessions.renew(id, end), RenewalReply::Expired);
        assert_eq!(sessions.hold(id, &tux(), end), None);
        assert_eq!(sessions.sweep(end), [id]);
        assert_eq!(sessions.count(end), 0);
    }

    #[test]
    fn a_renewal_prolongs_a_session() {
        let (mut sessions, id, now) = one_holder();
        let later = now + LEASE;
        assert_eq!(sessions.renew(id, later), RenewalReply::Renewed { lease_ms: 1_000 });
        assert_eq!(sessions.hold(id, &tux(), later + LEASE), Some(id));
    }

    #[test]
    fn a_session_that_owes_for_long_is_not_prolonged() {
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
    fn a_late_session_keeps_only_one_batch_waiting() {
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
    fn a_lock_that_nobody_uses_is_given_up() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        let later = now + LONGEST_LOCK;
        sessions.acknowledged(id, &toys());
        sessions.lock(&toys(), now + MS);
        sessions.give_up_locks(later);
        assert!(sessions.is_clear(&tux(), later), "a batch asked for it since");
        sessions.give_up_locks(later + MS);
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
    fn a_front_end_that_cannot_be_reached_holds_nothing_for_a_while() {
        let (mut sessions, id, now) = one_holder();
        sessions.lock(&toys(), now);
        let found_out = now + LONGEST_UNACKNOWLEDGED;
        sessions.renew(id, found_out);
        let next = sessions.register(1, Some(id), found_out);
        let uno = ToyName::from("Uno");
        assert_eq!(sessions.hold(next, &uno, found_out), None);
        let other = sessions.register(2, None, found_out);
        assert_eq!(sessions.hold(other, &uno, found_out), Some(other));
        let next = sessions.register(1, Some(next), found_out + QUARANTINE);
        assert_eq!(sessions.hold(next, &uno, found_out + QUARANTINE), Some(next));
    }
}
