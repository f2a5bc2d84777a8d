//! The state of the store as this front-end sees it, for `/cluster` and for the page.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::core::feed::Feed;
use super::core::notices::Seen;
use super::service::Service;
use crate::roles::{Role, Roles};
use crate::wire::cluster::{
    CacheView, CatalogProcessState, CatalogProcessView, CatalogState, CatalogView, ClusterView,
    FrontendView, FrontendViewState, ReplicaView, ReplicaViewState,
};
use crate::wire::lease::Invalidation;
use crate::wire::replication::{ReplicaId, ReplicaState, ReplicaStatus};
use crate::wire::term::{CatalogId, Duty};

/// How long another front-end's answer counts: eight questions.
const SIGHTING_LASTS: Duration = Duration::from_secs(2);

/// What a front-end remembers for the pages that watch it.
pub(super) struct Watched {
    roles: Roles,
    /// What has changed, as far as pages were told.
    feed: Mutex<Feed>,
    /// A page follows the feed.
    pub(super) is_followed: AtomicBool,
    /// What the other front-ends last answered, and when; nothing if they did not.
    sightings: Mutex<Vec<(u32, Option<CacheView>, Instant)>>,
}

impl Watched {
    pub(super) fn new(roles: &Roles) -> Self {
        Self {
            roles: roles.clone(),
            feed: Mutex::default(),
            is_followed: AtomicBool::new(false),
            sightings: Mutex::default(),
        }
    }

    /// Reads the feed, or adds to it.
    pub(super) fn feed<T>(&self, work: impl FnOnce(&mut Feed) -> T) -> T {
        work(&mut self.feed.lock().expect("nothing panics under this lock"))
    }

    /// Notes which toys the catalog invalidates, if that is told to anyone.
    pub(super) fn invalidated(&self, call: &Invalidation) {
        if self.is_followed.load(Ordering::Relaxed) {
            self.feed(|feed| call.toys.iter().for_each(|(toy, _)| feed.invalidated(toy)));
        }
    }

    /// Notes what another front-end answered, or that it did not.
    pub(super) fn sighted(&self, number: u32, cache: Option<CacheView>, now: Instant) {
        let mut sightings = self.sightings.lock().expect("nothing panics under this lock");
        sightings.retain(|(other, ..)| *other != number);
        sightings.push((number, cache, now));
    }

    /// The states of the front-ends other than `own`.
    fn others(&self, own: u32, now: Instant) -> Vec<(String, FrontendViewState)> {
        let numbers = self.roles.frontends.iter().map(|frontend| frontend.id);
        let others = numbers.filter(|number| *number != own);
        others
            .map(|number| (Role::Frontend(number).to_string(), self.sighting(number, now).0))
            .collect()
    }

    fn sighting(&self, number: u32, now: Instant) -> (FrontendViewState, Option<CacheView>) {
        let sightings = self.sightings.lock().expect("nothing panics under this lock");
        let lately =
            sightings.iter().find(|(other, _, at)| *other == number && now < *at + SIGHTING_LASTS);
        match lately {
            None => (FrontendViewState::Unasked, None),
            Some((_, None, _)) => (FrontendViewState::Down, None),
            Some((_, Some(cache), at)) => {
                let passed = milliseconds(now.saturating_duration_since(*at));
                let lease_ms = cache.lease_ms.and_then(|left| left.checked_sub(passed));
                (FrontendViewState::Up, Some(CacheView { lease_ms, ..cache.clone() }))
            }
        }
    }
}

impl Service {
    /// Returns the state of everything, with at most `most_items` names of cached toys.
    pub(super) fn cluster_view(&self, most_items: usize) -> ClusterView {
        let now = self.runtime.now();
        let cache = self.cache_view(most_items);
        let (leadership, leader, replicas) = self.selected(|selection| {
            let views: Vec<_> = selection
                .statuses()
                .map(|(id, status)| self.replica_view(id, status, selection.leader()))
                .collect();
            (selection.leadership(), selection.leader(), views)
        });
        ClusterView {
            epoch: leadership.epoch,
            leader,
            catalog: self.catalog_view(now),
            replicas,
            frontends: self.frontend_views(now),
            lease_ms: cache.lease_ms,
            cache,
            frontend: Role::Frontend(self.number).to_string(),
            stopped: self.stopped(),
        }
    }

    /// Returns what the cache holds and has done, with at most `most_items` names.
    pub(super) fn cache_view(&self, most_items: usize) -> CacheView {
        let now = self.runtime.now();
        let (items, entries, counts, lease) = self.cached(|cache| {
            (cache.recent(most_items), cache.len(), cache.counts(), cache.lease_left(now))
        });
        CacheView {
            enabled: self.settings.enabled,
            capacity: self.settings.capacity,
            entries,
            items,
            hits: counts.hits,
            misses: counts.misses,
            invalidations: counts.invalidations,
            lease_ms: lease.map(milliseconds),
        }
    }

    /// Returns what this front-end sees of the others.
    pub(super) fn seen(&self) -> Seen {
        let now = self.runtime.now();
        let (leadership, leader, replicas) = self.selected(|selection| {
            let leader = selection.leader();
            let states = selection.statuses();
            let replicas = states.map(|(id, status)| (id, state_of(id, status, leader)));
            (selection.leadership(), leader, replicas.collect())
        });
        let lease = self.cached(|cache| cache.session().filter(|_| cache.has_lease(now)));
        Seen {
            epoch: leadership.epoch,
            leader,
            replicas,
            catalog_answers: self.catalog_answers(),
            ruler: self.identity.rulers().ruler(),
            lease,
            frontends: self.watched.others(self.number, now),
            stopped: self.stopped(),
        }
    }

    fn catalog_view(&self, now: Instant) -> CatalogView {
        let roles = &self.watched.roles.catalog;
        let heard = self.catalog_heard();
        let restock = heard.as_ref().and_then(|(report, asked)| {
            let passed = now.saturating_duration_since(*asked);
            Some(report.next_restock_ms?.saturating_sub(milliseconds(passed)))
        });
        let ruler = self.identity.rulers().ruler();
        let processes = self.catalog_processes(ruler.map(|(_, id)| id));
        let active = processes.iter().find(|it| it.state == CatalogProcessState::Active);
        let last = processes.iter().find(|it| Some(it.id) == ruler.map(|(_, id)| id));
        CatalogView {
            address: last
                .map_or_else(|| roles.first_address().to_string(), |it| it.address.clone()),
            active: active.map(|it| it.id),
            term: active.and(ruler).map(|(term, _)| term),
            state: if self.catalog_answers() { CatalogState::Up } else { CatalogState::Down },
            last_order: heard.and_then(|(report, _)| report.status.journal.last()),
            next_restock_ms: restock,
            restock_interval_ms: milliseconds(roles.restock_interval),
            initial_stock: roles.initial_stock,
            processes,
        }
    }

    /// Several catalogs, of which `ruler` rules or ruled last.
    fn catalog_processes(&self, ruler: Option<CatalogId>) -> Vec<CatalogProcessView> {
        let roles = &self.watched.roles;
        let view = |role| {
            let Role::CatalogProcess(id) = role else { return None };
            let state = match self.identity.rulers().duty(id) {
                // One that ruled earlier says so until it hears of its end.
                Some(Duty::Active) if Some(id) == ruler => CatalogProcessState::Active,
                Some(Duty::Active | Duty::Standby) => CatalogProcessState::Standby,
                None => CatalogProcessState::Down,
            };
            let address = roles.address_of(role)?.to_string();
            Some(CatalogProcessView { id, address, state })
        };
        roles.catalog.roles().into_iter().filter_map(view).collect()
    }

    fn frontend_views(&self, now: Instant) -> Vec<FrontendView> {
        let view = |number: u32, address: String| {
            let (state, cache) = if number == self.number {
                (FrontendViewState::Own, None)
            } else {
                self.watched.sighting(number, now)
            };
            FrontendView { role: Role::Frontend(number).to_string(), address, state, cache }
        };
        let frontends = self.watched.roles.frontends.iter();
        frontends.map(|frontend| view(frontend.id, frontend.address.to_string())).collect()
    }

    fn replica_view(
        &self,
        id: ReplicaId,
        status: Option<ReplicaStatus>,
        leader: Option<ReplicaId>,
    ) -> ReplicaView {
        let address = self.watched.roles.address_of(Role::Order(id));
        ReplicaView {
            id,
            address: address.map(ToString::to_string).unwrap_or_default(),
            state: state_of(id, status, leader),
            last_order: status.and_then(|status| status.log.last()),
        }
    }
}

fn state_of(
    id: ReplicaId,
    status: Option<ReplicaStatus>,
    leader: Option<ReplicaId>,
) -> ReplicaViewState {
    match status.map(|status| status.state) {
        None => ReplicaViewState::Down,
        Some(_) if leader == Some(id) => ReplicaViewState::Leader,
        Some(ReplicaState::Follower) => ReplicaViewState::Follower,
        // A leader that is not this front-end's has been deposed and does not know it yet.
        Some(ReplicaState::Syncing | ReplicaState::Leader) => ReplicaViewState::Syncing,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
