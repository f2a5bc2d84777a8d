//! What a front-end may answer by itself: toys under a lease, dropped when the catalog says so.
//!
//! # The idea
//!
//! A hit must never show an old quantity. Three rules make sure of it:
//!
//! 1. *Lease.* A hit counts only while the session's lease runs, looked at after the entry was
//!    read. The catalog changes nothing that a live session holds, so within the lease the entry
//!    is what the catalog would answer.
//! 2. *Session.* Whoever registers anew has an empty cache; an answer to a question that was asked
//!    under an earlier session is not stored.
//! 3. *Floor.* An invalidation can overtake the answer that it is meant for:
//!
//! ```text
//! front-end                 catalog
//!   | miss: Tux? ------------->| holder; quantity 5, version 1
//!   |            5, v1 (slow)  | purchase: lock, invalidate
//!   |<-- invalidate, v2 -------|
//!   | drop Tux; floor := 2     |
//!   | ack -------------------->| commit 4, v2; publish
//!   |<-- 5, v1 ----------------| the late answer: 1 is below the floor, not stored
//! ```
//!
//! Toys that are not in the catalog are known from the registration, so that asking for them again
//! and again neither reaches the catalog nor fills the cache.
//!
//! `V` is a cached answer: rendered bytes in the server, a quantity in the model checker.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use super::recency::Recency;
use crate::wire::lease::{Fill, SessionId, Version};
use crate::wire::toy::ToyName;

/// The cache and the session that it lives under.
#[derive(Clone, Debug)]
pub struct Cache<V> {
    session: Option<Session>,
    entries: Recency<Entry<V>>,
    floors: BTreeMap<ToyName, Version>,
    counts: Counts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    id: SessionId,
    lease_end: Instant,
    toys: BTreeSet<ToyName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry<V> {
    value: V,
    version: Version,
}

/// What the cache did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queries that the cache answered.
    pub hits: u64,
    /// Queries that went to the catalog.
    pub misses: u64,
    /// Toys that the catalog had dropped.
    pub invalidations: u64,
}

/// What the cache says to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<V> {
    /// The answer, if the time is still before the lease's end when it is looked at now.
    Hit(V, Instant),
    /// There is no such toy, under the same condition.
    Unknown(Instant),
    /// Ask the catalog, under this session if there is one.
    Miss(Option<SessionId>),
}

/// What is to become of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<V> {
    /// It is answered.
    Hit(V),
    /// There is no such toy.
    Unknown,
    /// The catalog is asked, under this session if there is one.
    Ask(Option<SessionId>),
}

impl<V> Lookup<V> {
    /// What the cache's word is worth at `now`, a time that was read after the entry was: what
    /// counts is that the lease still ran then. A process can be stopped between the two.
    #[must_use]
    pub fn confirmed(self, now: Instant) -> Answer<V> {
        match self {
            Self::Hit(value, lease_end) if now < lease_end => Answer::Hit(value),
            Self::Unknown(lease_end) if now < lease_end => Answer::Unknown,
            Self::Hit(..) | Self::Unknown(_) => Answer::Ask(None),
            Self::Miss(session) => Answer::Ask(session),
        }
    }
}

impl<V: Clone> Cache<V> {
    /// An empty cache for so many entries, without a session.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            session: None,
            entries: Recency::new(capacity),
            floors: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Looks a toy up; a hit makes it the most recently used. Without a lease nothing is a hit.
    pub fn look_up(&mut self, name: &str, now: Instant) -> Lookup<V> {
        let Some(session) = self.session.as_ref().filter(|session| now < session.lease_end) else {
            self.counts.misses += 1;
            return Lookup::Miss(None);
        };
        if let Some(entry) = self.entries.touch(name) {
            self.counts.hits += 1;
            return Lookup::Hit(entry.value.clone(), session.lease_end);
        }
        if !session.toys.contains(name) {
            return Lookup::Unknown(session.lease_end);
        }
        self.counts.misses += 1;
        Lookup::Miss(Some(session.id))
    }

    /// Stores what the catalog answered to a question asked under `session`. False if it may not
    /// be stored.
    pub fn store(
        &mut self,
        session: SessionId,
        name: &ToyName,
        version: Version,
        value: V,
    ) -> bool {
        let is_current = self.session.as_ref().is_some_and(|current| current.id == session);
        let is_overtaken = self.floors.get(name).is_some_and(|floor| version < *floor);
        let is_older = self.entries.get(name.as_str()).is_some_and(|e| version < e.version);
        if !is_current || is_overtaken || is_older {
            return false;
        }
        self.entries.insert(name.clone(), Entry { value, version });
        true
    }

    /// Takes what the catalog answered to a miss, if it may be cached. True if it is.
    pub fn filled(&mut self, fill: &Fill, value: V) -> bool {
        fill.cacheable_under
            .is_some_and(|session| self.store(session, &fill.toy.name, fill.version, value))
    }

    /// Drops toys that are about to change, each with the version that it will have. An
    /// invalidation of an earlier session has nothing left to drop.
    pub fn invalidate(&mut self, session: SessionId, toys: &[(ToyName, Version)]) {
        if self.session.as_ref().is_none_or(|current| current.id != session) {
            return;
        }
        for (name, version) in toys {
            self.entries.remove(name.as_str());
            let floor = self.floors.entry(name.clone()).or_default();
            *floor = (*floor).max(*version);
            self.counts.invalidations += 1;
        }
    }

    /// Ends the session and empties the cache; to be done before a registration is sent. Returns
    /// the session that ended.
    pub fn end_session(&mut self) -> Option<SessionId> {
        self.entries.clear();
        self.floors.clear();
        self.session.take().map(|session| session.id)
    }

    /// Begins a session, whose lease was counted from before the registration was sent.
    ///
    /// # Panics
    ///
    /// If the earlier session was not ended: its entries would live on under this one.
    pub fn begin_session(
        &mut self,
        id: SessionId,
        lease_end: Instant,
        toys: impl IntoIterator<Item = ToyName>,
    ) {
        assert!(self.session.is_none(), "a session begins with an empty cache");
        self.session = Some(Session { id, lease_end, toys: toys.into_iter().collect() });
    }

    /// Prolongs the session; its lease was counted from before the renewal was sent.
    pub fn prolong_session(&mut self, id: SessionId, lease_end: Instant) {
        if let Some(session) = self.session.as_mut().filter(|session| session.id == id) {
            session.lease_end = session.lease_end.max(lease_end);
        }
    }

    /// The present session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session.as_ref().map(|session| session.id)
    }

    /// Whether hits count now.
    #[must_use]
    pub fn has_lease(&self, now: Instant) -> bool {
        self.session.as_ref().is_some_and(|session| now < session.lease_end)
    }

    /// The cached toys, the most recently used first.
    #[must_use]
    pub fn names(&self) -> Vec<ToyName> {
        self.entries.names()
    }

    /// What the cache did.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Two caches are the same if they will answer the same from now on, whatever they have counted.
impl<V: PartialEq> PartialEq for Cache<V> {
    fn eq(&self, other: &Self) -> bool {
        let ours = (&self.session, &self.entries, &self.floors);
        ours == (&other.session, &other.entries, &other.floors)
    }
}

impl<V: Eq> Eq for Cache<V> {}

impl<V: Hash> Hash for Cache<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.session, &self.entries, &self.floors).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FIRST: SessionId = SessionId { boot: 1, serial: 0 };
    const SECOND: SessionId = SessionId { boot: 1, serial: 1 };

    fn tux() -> ToyName {
        "Tux".into()
    }

    fn in_time(lease_end: Instant) -> Instant {
        lease_end.checked_sub(Duration::from_millis(1)).unwrap()
    }

    fn cache() -> (Cache<u64>, Instant) {
        let mut cache = Cache::new(10);
        let end = crate::clock::now() + Duration::from_secs(1);
        cache.begin_session(FIRST, end, [tux(), "Uno".into()]);
        (cache, end)
    }

    #[test]
    fn a_hit_counts_only_if_the_lease_still_runs_once_it_was_read() {
        let end = crate::clock::now();
        let before = end.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(Lookup::Hit(5, end).confirmed(before), Answer::Hit(5));
        assert_eq!(Lookup::Hit(5, end).confirmed(end), Answer::Ask(None));
        assert_eq!(Lookup::<u8>::Unknown(end).confirmed(before), Answer::Unknown);
        assert_eq!(Lookup::<u8>::Unknown(end).confirmed(end), Answer::Ask(None));
    }

    #[test]
    fn a_toy_is_a_miss_then_a_hit_then_a_miss_again_when_it_changes() {
        let (mut cache, end) = cache();
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(FIRST)));
        assert!(cache.store(FIRST, &tux(), Version(1), 5));
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Hit(5, end));
        cache.invalidate(FIRST, &[(tux(), Version(2))]);
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(FIRST)));
        assert_eq!(cache.counts(), Counts { hits: 1, misses: 2, invalidations: 1 });
    }

    #[test]
    fn an_answer_overtaken_by_an_invalidation_is_not_stored() {
        let (mut cache, _end) = cache();
        cache.invalidate(FIRST, &[(tux(), Version(2))]);
        assert!(!cache.store(FIRST, &tux(), Version(1), 5));
        assert!(cache.store(FIRST, &tux(), Version(2), 4));
    }

    #[test]
    fn an_older_answer_does_not_replace_a_newer_one() {
        let (mut cache, end) = cache();
        assert!(cache.store(FIRST, &tux(), Version(2), 4));
        assert!(!cache.store(FIRST, &tux(), Version(1), 5));
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Hit(4, end));
    }

    #[test]
    fn an_answer_of_an_earlier_session_is_not_stored() {
        let (mut cache, end) = cache();
        assert_eq!(cache.end_session(), Some(FIRST));
        assert!(!cache.store(FIRST, &tux(), Version(1), 5));
        cache.begin_session(SECOND, end, [tux()]);
        assert!(!cache.store(FIRST, &tux(), Version(1), 5));
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(SECOND)));
    }

    #[test]
    fn a_session_begins_with_an_empty_cache_and_no_floors() {
        let (mut cache, end) = cache();
        cache.store(FIRST, &tux(), Version(1), 5);
        cache.invalidate(FIRST, &[("Uno".into(), Version(9))]);
        cache.end_session();
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(None));
        cache.begin_session(SECOND, end, [tux(), "Uno".into()]);
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(SECOND)));
        assert!(
            cache.store(SECOND, &"Uno".into(), Version(1), 7),
            "the floor went with its session"
        );
    }

    #[test]
    fn an_invalidation_of_an_earlier_session_changes_nothing() {
        let (mut cache, end) = cache();
        cache.end_session();
        cache.begin_session(SECOND, end, [tux()]);
        cache.store(SECOND, &tux(), Version(1), 5);
        cache.invalidate(FIRST, &[(tux(), Version(2))]);
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Hit(5, end));
    }

    #[test]
    fn hits_count_within_the_lease_only() {
        let (mut cache, end) = cache();
        cache.store(FIRST, &tux(), Version(1), 5);
        assert_eq!(cache.look_up("Tux", end), Lookup::Miss(None));
        assert!(cache.has_lease(end.checked_sub(Duration::from_nanos(1)).unwrap()));
        assert!(!cache.has_lease(end));
        let later = end + Duration::from_secs(1);
        cache.prolong_session(SECOND, later);
        assert!(!cache.has_lease(end), "another session's lease is not this one's");
        cache.prolong_session(FIRST, later);
        assert!(cache.has_lease(end));
    }

    #[test]
    fn a_toy_that_is_not_in_the_catalog_is_known_not_to_be() {
        let (mut cache, end) = cache();
        assert_eq!(cache.look_up("Tex", in_time(end)), Lookup::Unknown(end));
        assert_eq!(cache.counts(), Counts::default());
    }
}
