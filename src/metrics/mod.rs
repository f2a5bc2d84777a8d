//! What a role counts and measures, as Prometheus reads it at `/metrics`.
//!
//! There is no registry of a whole process: each role makes its own [`Metrics`], so that a
//! simulator can run many stores in one process. A service gets its handles once, when it begins,
//! and counts by an atomic addition; nothing is looked up by name while requests are served. What
//! a core knows anyway (its cache's hits, its leadership, its queues) is not counted a second
//! time: it is read at a scrape.
//!
//! Labels have few values, which are known in advance: routes, reasons, the replicas of
//! `roles.toml`. No metric holds a toy's name, a key or an id.

mod process;
mod requests;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use self::process::ProcessMetrics;
pub use self::requests::{Requests, RequestsOfThread};

/// The bounds of durations that a disk or another role takes part in, in seconds.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// The bounds of the number of purchases in a batch, of which there are at most 256.
pub const PURCHASES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The content type of Prometheus' text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of one role.
pub struct Metrics {
    registry: Registry,
    /// The requests that its server answers.
    pub requests: Requests,
    /// The connections that are open to its server.
    pub connections: IntGauge,
}

/// A role whose metrics can be read.
pub trait Scraped: Send + Sync {
    /// Returns its metrics, in which everything is as it is now.
    fn scrape(&self) -> &Metrics;
}

impl Metrics {
    /// The metrics that every role has. `kind` is the role's kind, such as `catalog`, and `routes`
    /// are the templates of its paths, such as `/orders/{number}`.
    #[must_use]
    pub fn new(kind: &str, routes: &[&'static str]) -> Self {
        let registry = Registry::new();
        let requests = Requests::new(routes);
        let connections = gauge_of("http_connections", "Connections that are open to this server.");
        let metrics = Self { registry, requests, connections };
        metrics.register(metrics.requests.clone());
        metrics.register(metrics.connections.clone());
        metrics.register(ProcessMetrics::new());
        let build = metrics.gauges("build_info", "The version that runs.", &["role", "version"]);
        build.with_label_values(&[kind, env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// Adds a counter.
    #[must_use]
    pub(crate) fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::with_opts(options(name, help));
        let counter = counter.expect("the names in this crate are valid");
        self.register(counter.clone());
        counter
    }

    /// Adds a counter for each value of a label.
    #[must_use]
    pub(crate) fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> [IntCounter; N] {
        let counters = IntCounterVec::new(options(name, help), &[label]);
        let counters = counters.expect("the names in this crate are valid");
        self.register(counters.clone());
        values.map(|value| counters.with_label_values(&[value]))
    }

    /// Adds a gauge.
    #[must_use]
    pub(crate) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = gauge_of(name, help);
        self.register(gauge.clone());
        gauge
    }

    /// Adds gauges that labels tell apart.
    #[must_use]
    pub(crate) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(options(name, help), labels);
        let gauges = gauges.expect("the names in this crate are valid");
        self.register(gauges.clone());
        gauges
    }

    /// Adds a histogram whose buckets have these upper bounds.
    #[must_use]
    pub(crate) fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let histogram = histogram(name, help, bounds);
        self.register(histogram.clone());
        histogram
    }

    /// Adds what is counted elsewhere.
    pub(crate) fn register(&self, metric: impl Collector + 'static) {
        self.registry.register(Box::new(metric)).expect("a metric has a name of its own");
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Panics
    ///
    /// If a metric cannot be written as text, which all can.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("metrics can be written as text")
    }
}

/// A histogram that no role has registered yet.
#[must_use]
pub(crate) fn histogram(name: &str, help: &str, bounds: &[f64]) -> Histogram {
    let options = HistogramOpts::from(options(name, help)).buckets(bounds.to_vec());
    Histogram::with_opts(options).expect("the names in this crate are valid")
}

/// A gauge that no role has registered yet.
#[must_use]
pub(crate) fn gauge_of(name: &str, help: &str) -> IntGauge {
    IntGauge::with_opts(options(name, help)).expect("the names in this crate are valid")
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("toystore")
}

/// Returns a number that a core counted, for a gauge.
#[must_use]
pub(crate) fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Sets a counter to what a core has counted since the process started.
pub(crate) fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_in_one_process_count_for_themselves() {
        let (one, other) = (Metrics::new("catalog", &[]), Metrics::new("catalog", &[]));
        let (ours, theirs) = (one.counter("x_total", "X."), other.counter("x_total", "X."));
        ours.inc();
        assert_eq!((ours.get(), theirs.get()), (1, 0));
        assert!(one.to_text().contains("\ntoystore_x_total 1\n"), "{}", one.to_text());
        assert!(other.to_text().contains("\ntoystore_x_total 0\n"));
    }

    #[test]
    fn a_counter_follows_what_a_core_counted_and_never_falls() {
        let counter = Metrics::new("order", &[]).counter("y_total", "Y.");
        catch_up(&counter, 7);
        catch_up(&counter, 9);
        catch_up(&counter, 3);
        assert_eq!(counter.get(), 9);
    }
}
