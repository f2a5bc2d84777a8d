//! What a replica counts.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec};

use super::core::batches::BatchOutcome;
use super::core::effects::Event;
use super::errors::OrderError;
use super::service::Service;
use crate::health::Readiness as _;
use crate::metrics::{Metrics, PURCHASES, SECONDS, Scraped, count};
use crate::wire::calls;
use crate::wire::order::Rows;
use crate::wire::purchase::{CommitRequest, Decision, PurchaseReply};
use crate::wire::replication::AppendRequest;

/// The templates of the paths that a replica answers besides calls.
pub(super) const ROUTES: &[&str] = &["/healthz", "/readyz", "/metrics"];

/// What a replica counts.
pub(super) struct OrderMetrics {
    /// What every role counts.
    pub(super) role: Metrics,
    /// How long the catalog takes to answer a batch.
    pub(super) catalog_seconds: Histogram,
    follower_seconds: Histogram,
    batch_purchases: Histogram,
    batches: [IntCounter; 3],
    purchases: [IntCounter; 9],
    caught_up_rows: IntCounter,
    leaderships: IntCounter,
    orders: IntGauge,
    missing: IntGauge,
    in_flight: IntGauge,
    queued: IntGauge,
    epoch: IntGauge,
    leads: IntGauge,
    ready: IntGauge,
    follower_lag: IntGaugeVec,
    follower_live: IntGaugeVec,
}

impl OrderMetrics {
    pub(super) fn new() -> Self {
        let role = Metrics::new("order", &[ROUTES, calls::PATHS].concat());
        Self {
            catalog_seconds: role.histogram(
                "catalog_answer_seconds",
                "Time until the catalog answered a batch.",
                SECONDS,
            ),
            follower_seconds: role.histogram(
                "follower_acknowledgement_seconds",
                "Time until a follower acknowledged orders.",
                SECONDS,
            ),
            batch_purchases: role.histogram(
                "batch_purchases",
                "Purchases in a batch that went to the catalog.",
                PURCHASES,
            ),
            batches: role.counters(
                "batches_total",
                "Batches that went to the catalog, by outcome.",
                "outcome",
                ["answered", "refused", "in_doubt"],
            ),
            purchases: role.counters(
                "purchases_total",
                "Purchases that front-ends asked for, by outcome.",
                "outcome",
                [
                    "granted",
                    "out_of_stock",
                    "unknown_toy",
                    "key_reused",
                    "other_catalog",
                    "not_leader",
                    "busy",
                    "undecided",
                    "unavailable",
                ],
            ),
            caught_up_rows: role.counter(
                "caught_up_orders_total",
                "Orders that were fetched from other replicas or the journal.",
            ),
            leaderships: role.counter("leaderships_total", "Times that this replica led."),
            orders: role.gauge("orders", "Orders on this replica's disk."),
            missing: role.gauge("missing_orders", "Orders that it has heard of and lacks."),
            in_flight: role.gauge("purchases_in_flight", "Purchases that are not answered yet."),
            queued: role.gauge("purchases_queued", "Purchases that wait for a batch."),
            epoch: role.gauge("epoch", "The newest epoch that is known."),
            leads: role.gauge("leads", "1 if this replica leads."),
            ready: role.gauge("ready", "1 if the role is ready, as /readyz says."),
            follower_lag: role.gauges(
                "follower_lag_orders",
                "Orders that a follower lacks, as the leader knows.",
                &["follower"],
            ),
            follower_live: role.gauges(
                "follower_live",
                "1 if acknowledgements wait for the follower.",
                &["follower"],
            ),
            role,
        }
    }

    /// Counts a batch that goes to the catalog.
    pub(super) fn sends(&self, batch: &CommitRequest) {
        self.batch_purchases.observe(f64::from(u32::try_from(batch.purchases.len()).unwrap_or(0)));
    }

    /// Counts a batch that the catalog answered or not.
    pub(super) fn batch(&self, outcome: &BatchOutcome) {
        self.batches[match outcome {
            BatchOutcome::Answered(_) => 0,
            BatchOutcome::Rejected => 1,
            BatchOutcome::InDoubt => 2,
        }]
        .inc();
    }

    /// Notes how long a follower took to answer. An answer to a heartbeat tells nothing of disks.
    pub(super) fn acknowledged(&self, request: &AppendRequest, took: Duration) {
        if !request.rows.orders.is_empty() {
            self.follower_seconds.observe(took.as_secs_f64());
        }
    }

    /// Counts a purchase that is answered.
    pub(super) fn purchase(&self, answer: &Result<PurchaseReply, OrderError>) {
        self.purchases[match answer {
            Ok(PurchaseReply::Decided(Decision::Granted(_))) => 0,
            Ok(PurchaseReply::Decided(Decision::OutOfStock)) => 1,
            Ok(PurchaseReply::Decided(Decision::UnknownToy)) => 2,
            Ok(PurchaseReply::Decided(Decision::KeyReused)) => 3,
            Ok(PurchaseReply::Decided(Decision::OtherCatalog)) => 4,
            Ok(PurchaseReply::NotLeader(_)) => 5,
            Err(OrderError::Busy) => 6,
            Err(OrderError::Undecided) => 7,
            Err(
                OrderError::Storage(_)
                | OrderError::NoCatalog(_)
                | OrderError::NoStore
                | OrderError::Leads(_),
            ) => 8,
        }]
        .inc();
    }

    /// Counts rows that were fetched.
    pub(super) fn caught_up(&self, rows: &Rows) {
        self.caught_up_rows.inc_by(rows.orders.len() as u64);
    }

    /// Counts an event.
    pub(super) fn happened(&self, event: &Event) {
        if let Event::Leads(_) = event {
            self.leaderships.inc();
        }
    }
}

impl Scraped for Service {
    fn scrape(&self) -> &Metrics {
        let metrics = &self.metrics;
        metrics.ready.set(self.readiness().is_ok().into());
        self.decide(|core, _| {
            metrics.orders.set(count(core.durable().length));
            metrics.missing.set(count(core.missing()));
            let (in_flight, queued) = core.queue_lengths();
            metrics.in_flight.set(count(in_flight));
            metrics.queued.set(count(queued));
            metrics.epoch.set(count(core.leadership().epoch.0));
            metrics.leads.set(core.leads().is_some().into());
            // Only a leader knows of followers.
            metrics.follower_lag.reset();
            metrics.follower_live.reset();
            let live: Vec<_> = core.live_followers().collect();
            for follower in core.others() {
                let Some(cursor) = core.cursor_of(*follower) else { continue };
                let label = follower.to_string();
                let lag = metrics.follower_lag.with_label_values(&[&label]);
                lag.set(count(core.accepted().length.saturating_sub(cursor)));
                let is_live = metrics.follower_live.with_label_values(&[&label]);
                is_live.set(live.contains(follower).into());
            }
        });
        &metrics.role
    }
}
