//! The figures of each type of request, for reports and time series.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::client::core::latency::{Bin, Summary, per_second};
use crate::client::core::stats::{RequestType, Stats, Unanswered};

/// Requests by type; an object in JSON: `{"query": {…}, "query_hit": {…}, …}`. `query` has all
/// queries, also those of `query_hit` and `query_miss`; `order` has the granted orders, and
/// `order_refused` those that were refused for lack of stock.
#[derive(Clone, Debug)]
pub struct Table(pub Vec<(RequestType, Row)>);

/// The requests of one type.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Requests that succeeded. The latencies are theirs.
    pub count: u64,
    /// Requests that ended in an error, after all attempts. (Of `query`, `order`, `order_query`.)
    pub errors: u64,
    /// Requests that were refused for lack of stock, which is no error. (Of `order`.)
    pub refusals: u64,
    /// Attempts after a request's first.
    pub retries: u64,
    /// `count` per second of shopping, or of checking.
    pub per_second: Option<f64>,
    /// The latencies.
    #[serde(flatten)]
    pub latency: Summary,
    /// Attempts by HTTP status. Of `query`, `order` and `order_query` all attempts; of the other
    /// types the answers that give a request this type.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer. (Of `query`, `order` and `order_query`.)
    pub unanswered: Unanswered,
    /// The latencies in bins of 10, 20, 50, 100, … microseconds.
    pub histogram: Vec<Bin>,
    /// The same to three digits, for `histograms.csv`.
    #[serde(skip)]
    pub all_bins: Vec<Bin>,
}

impl Table {
    /// The figures of counts that took the time `elapsed`, which may depend on the type.
    pub(crate) fn new(stats: &Stats, elapsed: impl Fn(RequestType) -> Duration) -> Self {
        let row = |request| {
            let counts = stats.of(request);
            let refusals = if request == RequestType::Order {
                stats.of(RequestType::OrderRefused).latency.count()
            } else {
                0
            };
            let row = Row {
                count: counts.latency.count(),
                errors: counts.errors,
                refusals,
                retries: counts.retries,
                per_second: per_second(counts.latency.count(), elapsed(request)),
                latency: counts.latency.summary(),
                statuses: counts.statuses.clone(),
                unanswered: counts.unanswered,
                histogram: counts.latency.bins(),
                all_bins: counts.latency.all_bins(),
            };
            (request, row)
        };
        Self(RequestType::ALL.map(row).to_vec())
    }

    /// The requests of one type.
    #[must_use]
    pub fn of(&self, request: RequestType) -> &Row {
        &self.0[request as usize].1
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(request, row)| (request.name(), row)))
    }
}
