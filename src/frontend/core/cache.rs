//! The front-end's cache: toys under a lease, which the catalog invalidates before they change.
//!
//! # The idea
//!
//! A hit must never show a quantity older than one that any client has been told. Three rules:
//!
//! 1. *Lease.* A hit counts only if the session's lease still runs after the entry was read. The
//!    catalog changes no toy that a live session holds, so within the lease the entry is what the
//!    catalog would answer (see `catalog/core/sessions.rs`).
//! 2. *Session.* A new session begins with an empty cache. An answer to a question that was asked
//!    under an earlier session is not stored: the catalog no longer counts it as held.
//! 3. *Floor.* An invalidation can overtake the answer that it should invalidate. So it leaves a
//!    floor behind, the version that the toy is about to have, and older answers are not stored:
//!
//! ```text
//! front-end                 catalog
//!   | miss: Tux? ------------->| now a holder; quantity 5, version 1
//!   |            5, v1 (slow)  | purchase: lock Tux, invalidate
//!   |<-- invalidate, v2 -------|
//!   | drop Tux; floor := 2     |
//!   | ack -------------------->| commit 4, v2; publish
//!   |<-- 5, v1 ----------------| the late answer: v1 is below the floor, not stored
//! ```
//!
//! The capacity is bounded, and the least recently used entry (LRU) is evicted first.
//!
//! A session comes with the names of all toys in the catalog. So a query for an unknown name is
//! answered here: it neither reaches the catalog nor fills the cache.
//!
//! `V` is a cached answer: rendered bytes in the service, a version in the model checker.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use hashlink::LruCache;

use crate::wire::lease::{Fill, SessionId, Version};
use crate::wire::toy::ToyName;

/// The cache and the session whose lease covers it.
#[derive(Clone, Debug)]
pub struct Cache<V> {
    session: Option<CurrentSession>,
    /// From the least to the most recently used.
    entries: LruCache<ToyName, Entry<V>>,
    /// The version below which an answer is older than an invalidation that was acknowledged.
    floors: BTreeMap<ToyName, Version>,
    counts: CacheCounts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CurrentSession {
    id: SessionId,
    lease_end: Instant,
    toys: BTreeSet<ToyName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry<V> {
    value: V,
    version: Version,
}

/// What the cache has done since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Queries that were answered from the cache.
    pub hits: u64,
    /// Queries that went to the catalog.
    pub misses: u64,
    /// Toys that the catalog invalidated.
    pub invalidations: u64,
}

/// What the cache holds for a query, before the lease is checked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<V> {
    /// The answer, valid until the lease ends at this time.
    Hit(V, Instant),
    /// The catalog has no such toy, valid until the lease ends at this time.
    Unknown(Instant),
    /// The catalog must be asked, under this session if there is one.
    Miss(Option<SessionId>),
}

/// A lookup whose lease was checked after the entry was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmedLookup<V> {
    /// The answer.
    Hit(V),
    /// The catalog has no such toy.
    Unknown,
    /// The catalog must be asked, under this session if there is one.
    Ask(Option<SessionId>),
}

impl<V> Lookup<V> {
    /// Checks the lease at `now`, a time read after the entry. The process may have been paused
    /// between the lookup and this call, so a lease that ran at the lookup proves nothing.
    #[must_use]
    pub fn confirmed(self, now: Instant) -> ConfirmedLookup<V> {
        match self {
            Self::Hit(value, lease_end) if now < lease_end => ConfirmedLookup::Hit(value),
            Self::Unknown(lease_end) if now < lease_end => ConfirmedLookup::Unknown,
            Self::Hit(..) | Self::Unknown(_) => ConfirmedLookup::Ask(None),
            Self::Miss(session) => ConfirmedLookup::Ask(session),
        }
    }
}

impl<V: Clone> Cache<V> {
    /// Creates an empty cache for at most `capacity` entries, without a session.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            session: None,
            entries: LruCache::new(capacity),
            floors: BTreeMap::new(),
            counts: CacheCounts::default(),
        }
    }

    /// Looks up a toy. A hit becomes the most recently used entry, and allocates nothing but what
    /// cloning a `V` takes. Without a lease every lookup is a miss.
    pub fn look_up(&mut self, name: &str, now: Instant) -> Lookup<V> {
        let Some(session) = self.session.as_ref().filter(|session| now < session.lease_end) else {
            self.counts.misses += 1;
            return Lookup::Miss(None);
        };
        if let Some(entry) = self.entries.get(name) {
            self.counts.hits += 1;
            return Lookup::Hit(entry.value.clone(), session.lease_end);
        }
        if !session.toys.contains(name) {
            return Lookup::Unknown(session.lease_end);
        }
        self.counts.misses += 1;
        Lookup::Miss(Some(session.id))
    }

    /// Stores the catalog's answer to a question asked under `session`. Returns false if a rule
    /// forbids it.
    pub fn store(
        &mut self,
        session: SessionId,
        name: &ToyName,
        version: Version,
        value: V,
    ) -> bool {
        let is_current = self.session.as_ref().is_some_and(|current| current.id == session);
        let is_overtaken = self.floors.get(name).is_some_and(|floor| version < *floor);
        let is_older = self.entries.peek(name.as_str()).is_some_and(|e| version < e.version);
        if !is_current || is_overtaken || is_older {
            return false;
        }
        self.entries.insert(name.clone(), Entry { value, version });
        true
    }

    /// Stores the catalog's answer to a miss, if the catalog allows it and no rule forbids it.
    /// Returns whether it did.
    pub fn filled(&mut self, fill: &Fill, value: V) -> bool {
        fill.cacheable_under
            .is_some_and(|session| self.store(session, &fill.toy.name, fill.version, value))
    }

    /// Drops toys that are about to change, each with the version that it will have. An
    /// invalidation under an earlier session is ignored: its entries are gone already.
    pub fn invalidate(&mut self, session: SessionId, toys: &[(ToyName, Version)]) {
        if self.session.as_ref().is_none_or(|current| current.id != session) {
            return;
        }
        for (name, version) in toys {
            if !self.session.as_ref().is_some_and(|session| session.toys.contains(name)) {
                // The catalog has no such toy, and a floor for it would take memory for ever.
                continue;
            }
            self.entries.remove(name.as_str());
            let floor = self.floors.entry(name.clone()).or_default();
            *floor = (*floor).max(*version);
            self.counts.invalidations += 1;
        }
    }

    /// Ends the session and empties the cache; must be called before a registration is sent.
    /// Returns the session that ended.
    pub fn end_session(&mut self) -> Option<SessionId> {
        self.entries.clear();
        self.floors.clear();
        self.session.take().map(|session| session.id)
    }

    /// Begins a session, whose lease is counted from before the registration was sent.
    ///
    /// # Panics
    ///
    /// If the earlier session was not ended: its entries would be served under this one.
    pub fn begin_session(
        &mut self,
        id: SessionId,
        lease_end: Instant,
        toys: impl IntoIterator<Item = ToyName>,
    ) {
        assert!(self.session.is_none(), "a session begins with an empty cache");
        self.session = Some(CurrentSession { id, lease_end, toys: toys.into_iter().collect() });
    }

    /// Renews the session; its lease is counted from before the renewal was sent.
    pub fn renew_session(&mut self, id: SessionId, lease_end: Instant) {
        if let Some(session) = self.session.as_mut().filter(|session| session.id == id) {
            session.lease_end = session.lease_end.max(lease_end);
        }
    }

    /// Returns the current session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session.as_ref().map(|session| session.id)
    }

    /// Returns whether the lease runs, so that hits count.
    #[must_use]
    pub fn has_lease(&self, now: Instant) -> bool {
        self.session.as_ref().is_some_and(|session| now < session.lease_end)
    }

    /// Returns how long the lease still runs, if it does.
    #[must_use]
    pub fn lease_left(&self, now: Instant) -> Option<Duration> {
        let left = self.session.as_ref()?.lease_end.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Returns the cached toys, the most recently used first.
    #[must_use]
    pub fn names(&self) -> Vec<ToyName> {
        self.recent(usize::MAX)
    }

    /// Returns at most this many cached toys, the most recently used first.
    #[must_use]
    pub fn recent(&self, most: usize) -> Vec<ToyName> {
        self.entries.iter().rev().take(most).map(|(name, _)| name.clone()).collect()
    }

    /// Returns how many toys are cached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no toy is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what the cache has done.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.counts
    }
}

/// Two caches are equal if they will answer every query alike from now on, whatever they counted.
/// The model checker relies on it to recognise a state that it has seen.
impl<V: PartialEq> PartialEq for Cache<V> {
    fn eq(&self, other: &Self) -> bool {
        let ours = (&self.session, self.entries.capacity(), &self.floors);
        ours == (&other.session, other.entries.capacity(), &other.floors)
            && self.entries.iter().eq(other.entries.iter())
    }
}

impl<V: Eq> Eq for Cache<V> {}

impl<V: Hash> Hash for Cache<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.session, self.entries.capacity(), &self.floors).hash(state);
        state.write_usize(self.entries.len());
        self.entries.iter().for_each(|entry| entry.hash(state));
    }
}

#[cfg(test)]
mod tests {
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
    fn a_hit_counts_only_if_the_lease_still_runs_after_it_was_read() {
        let end = crate::clock::now();
        let before = end.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(Lookup::Hit(5, end).confirmed(before), ConfirmedLookup::Hit(5));
        assert_eq!(Lookup::Hit(5, end).confirmed(end), ConfirmedLookup::Ask(None));
        assert_eq!(Lookup::<u8>::Unknown(end).confirmed(before), ConfirmedLookup::Unknown);
        assert_eq!(Lookup::<u8>::Unknown(end).confirmed(end), ConfirmedLookup::Ask(None));
    }

    #[test]
    fn a_toy_is_a_miss_then_a_hit_then_a_miss_again_when_it_changes() {
        let (mut cache, end) = cache();
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(FIRST)));
        assert!(cache.store(FIRST, &tux(), Version(1), 5));
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Hit(5, end));
        cache.invalidate(FIRST, &[(tux(), Version(2))]);
        assert_eq!(cache.look_up("Tux", in_time(end)), Lookup::Miss(Some(FIRST)));
        assert_eq!(cache.counts(), CacheCounts { hits: 1, misses: 2, invalidations: 1 });
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
            "the floor ended with its session"
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
        cache.renew_session(SECOND, later);
        assert!(!cache.has_lease(end), "another session's lease is not this one's");
        cache.renew_session(FIRST, later);
        assert!(cache.has_lease(end));
    }

    #[test]
    fn a_toy_that_is_not_in_the_catalog_is_unknown_without_asking() {
        let (mut cache, end) = cache();
        assert_eq!(cache.look_up("Tex", in_time(end)), Lookup::Unknown(end));
        assert_eq!(cache.counts(), CacheCounts::default());
    }

    /// A cache for `capacity` toys, filled with a toy for each letter of `names`.
    fn filled(capacity: usize, names: &str) -> (Cache<u64>, Instant) {
        let mut cache = Cache::new(capacity);
        let end = crate::clock::now() + Duration::from_secs(1);
        cache.begin_session(FIRST, end, toys("abcde"));
        for name in toys(names) {
            cache.store(FIRST, &name, Version(1), 5);
        }
        (cache, end)
    }

    fn toys(letters: &str) -> Vec<ToyName> {
        letters.chars().map(|letter| ToyName::from(letter.to_string())).collect()
    }

    fn names(cache: &Cache<u64>) -> String {
        cache.names().iter().map(ToyName::as_str).collect()
    }

    #[test]
    fn the_least_recently_used_toy_is_evicted_first() {
        let (mut cache, end) = filled(3, "abc");
        assert_eq!(names(&cache), "cba");
        cache.look_up("a", in_time(end));
        cache.store(FIRST, &"d".into(), Version(1), 5);
        assert_eq!(names(&cache), "dac");
        assert_eq!(cache.look_up("b", in_time(end)), Lookup::Miss(Some(FIRST)));
    }

    #[test]
    fn any_toy_can_be_looked_up_and_invalidated_in_any_place() {
        for (used, order) in [("a", "acb"), ("b", "bca"), ("c", "cba")] {
            let (mut cache, end) = filled(3, "abc");
            cache.look_up(used, in_time(end));
            assert_eq!(names(&cache), order, "look up {used}");
        }
        for (removed, order) in [("a", "cb"), ("b", "ca"), ("c", "ba")] {
            let (mut cache, _end) = filled(3, "abc");
            cache.invalidate(FIRST, &[(removed.into(), Version(2))]);
            assert_eq!(names(&cache), order, "invalidate {removed}");
            cache.store(FIRST, &"d".into(), Version(1), 5);
            assert_eq!(names(&cache), format!("d{order}"));
        }
    }

    #[test]
    fn a_toy_that_is_stored_again_is_replaced() {
        let (mut cache, end) = filled(2, "ab");
        cache.store(FIRST, &"a".into(), Version(1), 7);
        assert_eq!(names(&cache), "ab");
        assert_eq!(cache.look_up("a", in_time(end)), Lookup::Hit(7, end));
    }

    #[test]
    fn a_cache_without_capacity_keeps_nothing() {
        let (mut cache, end) = filled(0, "ab");
        assert_eq!(names(&cache), "");
        assert_eq!(cache.look_up("a", in_time(end)), Lookup::Miss(Some(FIRST)));
    }

    #[test]
    fn the_last_toy_leaves_an_empty_cache() {
        let (mut cache, _end) = filled(1, "abc");
        assert_eq!(names(&cache), "c");
        cache.invalidate(FIRST, &[("c".into(), Version(2))]);
        assert_eq!(names(&cache), "");
        cache.store(FIRST, &"d".into(), Version(1), 5);
        assert_eq!(names(&cache), "d");
    }

    #[test]
    fn caches_are_equal_if_they_will_answer_alike_whatever_they_counted() {
        let hash = |cache: &Cache<u64>| {
            let mut hasher = std::hash::DefaultHasher::new();
            cache.hash(&mut hasher);
            hasher.finish()
        };
        let (cache, end) = filled(2, "ab");
        let mut other = cache.clone();
        // An eviction, a second store and counts: another way to the same content.
        other.store(FIRST, &"c".into(), Version(1), 5);
        for name in toys("cab") {
            other.look_up(name.as_str(), in_time(end));
            other.store(FIRST, &name, Version(1), 5);
        }
        assert_eq!((names(&other), names(&cache)), ("ba".into(), "ba".into()));
        assert_eq!(cache, other);
        assert_eq!(hash(&cache), hash(&other));
        // Used in another order, it will evict another toy.
        other.look_up("a", in_time(end));
        assert_ne!(cache, other);
        // With another capacity, too.
        let (mut larger, _end) = filled(3, "ab");
        larger.session.clone_from(&cache.session);
        assert_ne!(cache, larger);
    }
}
