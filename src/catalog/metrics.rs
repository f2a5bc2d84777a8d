//! What the catalog counts.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::errors::CatalogError;
use super::service::{MOST_JOBS, Service};
use crate::health::Readiness as _;
use crate::metrics::{Metrics, PURCHASES, SECONDS, Scraped, count};
use crate::wire::calls;
use crate::wire::purchase::{CommitReply, Decision, Verdict};

/// The templates of the paths that the catalog answers besides calls.
pub(super) const ROUTES: &[&str] = &["/healthz", "/readyz", "/metrics"];

/// What the catalog counts.
pub struct CatalogMetrics {
    /// What every role counts.
    pub(super) role: Metrics,
    /// How long changes wait for front-ends to drop toys.
    pub(super) invalidation_seconds: Histogram,
    /// Waits that ended before all front-ends had dropped them.
    pub(super) slow_invalidations: IntCounter,
    /// Invalidations that were sent: acknowledged, unacknowledged.
    pub(super) invalidations: [IntCounter; 2],
    /// How long a change takes to be durable.
    pub(super) write_seconds: Histogram,
    /// Acquisitions of leadership: won, and not won.
    pub(super) acquisitions: [IntCounter; 2],
    /// Restocks that changed something.
    pub(super) restocks: IntCounter,
    batch_purchases: Histogram,
    verdicts: [IntCounter; 6],
    refused: [IntCounter; 6],
    orders: IntGauge,
    epoch: IntGauge,
    leader: IntGauge,
    sessions: IntGauge,
    locked_toys: IntGauge,
    waiting: IntGauge,
    sells: IntGauge,
    ready: IntGauge,
}

impl CatalogMetrics {
    /// Counters at 0.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "what is registered is no default")]
    pub fn new() -> Self {
        let role = Metrics::new("catalog", &[ROUTES, calls::PATHS].concat());
        Self {
            invalidation_seconds: role.histogram(
                "invalidation_wait_seconds",
                "Time that a change waited for front-ends to drop toys.",
                SECONDS,
            ),
            slow_invalidations: role.counter(
                "invalidation_waits_given_up_total",
                "Waits that ended before all front-ends had dropped the toys.",
            ),
            invalidations: role.counters(
                "invalidations_sent_total",
                "Invalidations that were sent to front-ends, by outcome.",
                "outcome",
                ["acknowledged", "unacknowledged"],
            ),
            write_seconds: role.histogram(
                "write_seconds",
                "Time until a change was durable, with its wait for the database's thread.",
                SECONDS,
            ),
            acquisitions: role.counters(
                "acquisitions_total",
                "Replicas that asked to lead, by outcome.",
                "outcome",
                ["won", "not_won"],
            ),
            restocks: role.counter("restocks_total", "Restocks that changed the stock."),
            batch_purchases: role.histogram(
                "batch_purchases",
                "Purchases in a batch that was decided.",
                PURCHASES,
            ),
            verdicts: role.counters(
                "verdicts_total",
                "Purchases that were decided, or told to wait, by verdict.",
                "verdict",
                ["granted", "out_of_stock", "unknown_toy", "key_reused", "other_catalog", "wait"],
            ),
            refused: role.counters(
                "batches_refused_total",
                "Batches that were not decided, by reason.",
                "reason",
                ["deposed", "database", "busy", "ending", "log_beyond_journal", "sales_stopped"],
            ),
            orders: role.gauge("orders", "Orders in the journal."),
            epoch: role.gauge("epoch", "The epoch."),
            leader: role.gauge("leader", "The replica that leads; 0 if none has yet."),
            sessions: role.gauge("sessions", "Front-ends that may cache toys."),
            locked_toys: role.gauge("locked_toys", "Toys that are about to change."),
            waiting: role.gauge("batches_waiting", "Batches that wait for the writing task."),
            sells: role.gauge("sells", "1 if the journal may sell and the disk takes writes."),
            ready: role.gauge("ready", "1 if the role is ready, as /readyz says."),
            role,
        }
    }

    /// Sets what a catalog that stands by has.
    pub(super) fn stands_by(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
        for gauge in [&self.waiting, &self.sessions, &self.locked_toys, &self.sells] {
            gauge.set(0);
        }
    }

    /// Counts a batch of so many purchases that is answered.
    pub(super) fn batch(&self, purchases: usize, answer: &Result<CommitReply, CatalogError>) {
        let reason = match answer {
            Ok(CommitReply::Decided { verdicts, .. }) => {
                self.batch_purchases.observe(f64::from(u32::try_from(purchases).unwrap_or(0)));
                for verdict in verdicts {
                    self.verdict(*verdict);
                }
                return;
            }
            Ok(CommitReply::Deposed(_)) => 0,
            Err(CatalogError::Storage(_)) => 1,
            Err(CatalogError::Busy) => 2,
            Err(
                CatalogError::Ending
                | CatalogError::NotRuling(_)
                | CatalogError::UnknownFrontend(_)
                | CatalogError::UnknownReplica(_),
            ) => 3,
            Err(CatalogError::LogBeyondJournal) => 4,
            Err(CatalogError::Stopped(_)) => 5,
        };
        self.refused[reason].inc();
    }

    fn verdict(&self, verdict: Verdict) {
        self.verdicts[match verdict {
            Verdict::Decided(Decision::Granted(_)) => 0,
            Verdict::Decided(Decision::OutOfStock) => 1,
            Verdict::Decided(Decision::UnknownToy) => 2,
            Verdict::Decided(Decision::KeyReused) => 3,
            Verdict::Decided(Decision::OtherCatalog) => 4,
            Verdict::Wait => 5,
        }]
        .inc();
    }
}

impl Scraped for Service {
    fn scrape(&self) -> &Metrics {
        let metrics = &self.metrics;
        metrics.ready.set(self.readiness().is_ok().into());
        metrics.waiting.set(count(MOST_JOBS - self.free_jobs()));
        self.decide(|core, now| {
            let status = core.status();
            metrics.orders.set(count(status.journal.length));
            metrics.epoch.set(count(status.leadership.epoch.0));
            metrics.leader.set(status.leadership.leader.map_or(0, |id| id.0.into()));
            metrics.sessions.set(count(core.sessions(now)));
            metrics.locked_toys.set(count(core.locked_toys()));
            metrics.sells.set(core.may_sell().is_ok().into());
        });
        &metrics.role
    }
}
