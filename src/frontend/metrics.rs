//! What a front-end counts.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::answers::FrontendError;
use super::service::{MOST_IN_FLIGHT, Service};
use crate::health::Readiness as _;
use crate::metrics::{Metrics, Scraped, catch_up, count};
use crate::server::Ration;
use crate::wire::calls;
use crate::wire::purchase::Decision;
use crate::wire::replication::NominationReply;

/// The templates of the paths that a front-end answers besides calls.
pub(super) const ROUTES: &[&str] = &[
    // First the one that is asked most.
    "/products/{name}",
    "/products",
    "/orders",
    "/orders/{number}",
    "/cluster",
    "/events",
    "/trace",
    "/trace/{request_id}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/",
    "/page/{file}",
];

/// What a front-end counts.
pub(super) struct FrontendMetrics {
    /// What every role counts.
    pub(super) role: Metrics,
    /// For showing them.
    pub(super) ration: Ration,
    /// Purchases that were sent to another leader than before.
    pub(super) retries: IntCounter,
    purchases: [IntCounter; 5],
    unavailable: [IntCounter; 6],
    nominations: [IntCounter; 4],
    /// Newer epochs.
    pub(super) selections: IntCounter,
    hits: IntCounter,
    misses: IntCounter,
    invalidations: IntCounter,
    entries: IntGauge,
    capacity: IntGauge,
    in_flight: IntGauge,
    epoch: IntGauge,
    leader: IntGauge,
    catalog_up: IntGauge,
    ready: IntGauge,
    replica_up: IntGaugeVec,
    replica_orders: IntGaugeVec,
}

impl FrontendMetrics {
    pub(super) fn new() -> Self {
        let role = Metrics::new("frontend", &[ROUTES, calls::PATHS].concat());
        Self {
            ration: Ration::default(),
            retries: role.counter(
                "purchase_retries_total",
                "Attempts at another leader than the one before.",
            ),
            purchases: role.counters(
                "purchases_total",
                "Purchases that were answered, by outcome.",
                "outcome",
                ["granted", "out_of_stock", "unknown_toy", "key_reused", "unavailable"],
            ),
            unavailable: role.counters(
                "unavailable_total",
                "Purchases and queries that were answered 503, by reason.",
                "reason",
                [
                    "overloaded",
                    "no_catalog",
                    "no_leader",
                    "sales_stopped",
                    "other_catalog",
                    "undecided",
                ],
            ),
            nominations: role.counters(
                "nominations_total",
                "Nominations of a leader, by outcome.",
                "outcome",
                ["won", "lost", "unable", "unanswered"],
            ),
            selections: role
                .counter("leader_selections_total", "Newer epochs that this front-end heard of."),
            hits: role.counter("cache_hits_total", "Queries that the cache answered."),
            misses: role.counter("cache_misses_total", "Queries that the cache did not answer."),
            invalidations: role.counter(
                "cache_invalidations_total",
                "Toys that the catalog told this front-end to drop.",
            ),
            entries: role.gauge("cache_entries", "Toys in the cache."),
            capacity: role.gauge("cache_capacity", "Toys that the cache may hold."),
            in_flight: role.gauge(
                "requests_in_flight",
                "Purchases and order queries that are under way at the leader.",
            ),
            epoch: role.gauge("epoch", "The newest epoch that is known."),
            leader: role.gauge("leader", "The replica that purchases go to; 0 if there is none."),
            catalog_up: role.gauge("catalog_up", "1 if the catalog answers."),
            ready: role.gauge("ready", "1 if the role is ready, as /readyz says."),
            replica_up: role.gauges("replica_up", "1 if the replica answers.", &["replica"]),
            replica_orders: role.gauges(
                "replica_orders",
                "Orders on the replica's disk, as it says.",
                &["replica"],
            ),
            role,
        }
    }

    /// Counts a nomination.
    pub(super) fn nominated(&self, reply: Option<&NominationReply>) {
        self.nominations[match reply {
            Some(NominationReply::Won(_)) => 0,
            Some(NominationReply::Lost(_)) => 1,
            Some(NominationReply::Unable(_)) => 2,
            None => 3,
        }]
        .inc();
    }

    /// Counts an answer 503.
    pub(super) fn failed(&self, error: &FrontendError) {
        self.unavailable[match error {
            FrontendError::Overloaded => 0,
            FrontendError::NoCatalog(_) => 1,
            FrontendError::NoLeader(_) => 2,
            FrontendError::Stopped(_) => 3,
            FrontendError::OtherCatalog => 4,
            FrontendError::Undecided(_) => 5,
        }]
        .inc();
    }
}

impl Service {
    /// Counts a purchase that is answered.
    pub(super) fn count_purchase(&self, decision: &Result<Decision, FrontendError>) {
        self.metrics.purchases[match decision {
            Ok(Decision::Granted(_)) => 0,
            Ok(Decision::OutOfStock) => 1,
            Ok(Decision::UnknownToy) => 2,
            Ok(Decision::KeyReused) => 3,
            Ok(Decision::OtherCatalog) | Err(_) => 4,
        }]
        .inc();
        self.count_failure(decision);
    }

    /// Counts a request that is answered 503.
    pub(super) fn count_failure<T>(&self, answer: &Result<T, FrontendError>) {
        if let Err(error) = answer {
            self.metrics.failed(error);
        }
    }
}

impl Scraped for Service {
    fn scrape(&self) -> &Metrics {
        let metrics = &self.metrics;
        let (entries, counts) = self.cached(|cache| (cache.len(), cache.counts()));
        metrics.entries.set(count(entries));
        metrics.capacity.set(count(self.settings.capacity));
        catch_up(&metrics.hits, counts.hits);
        catch_up(&metrics.misses, counts.misses);
        catch_up(&metrics.invalidations, counts.invalidations);
        metrics.in_flight.set(count(MOST_IN_FLIGHT - self.in_flight.available_permits()));
        let (leadership, leader, statuses) = self.selected(|selection| {
            let statuses: Vec<_> = selection.statuses().collect();
            (selection.leadership(), selection.leader(), statuses)
        });
        metrics.epoch.set(count(leadership.epoch.0));
        metrics.leader.set(leader.map_or(0, |id| id.0.into()));
        metrics.catalog_up.set(self.catalog_answers().into());
        metrics.ready.set(self.readiness().is_ok().into());
        for (id, status) in statuses {
            let id = id.to_string();
            metrics.replica_up.with_label_values(&[&id]).set(status.is_some().into());
            if let Some(status) = status {
                let orders = metrics.replica_orders.with_label_values(&[&id]);
                orders.set(count(status.log.length));
            }
        }
        &metrics.role
    }
}
