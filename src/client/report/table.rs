//! The figures of each type of request, as reports and the time series write them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::client::core::latency::{Bin, Summary, per_second};
use crate::client::core::stats::{RequestType, Tally, Unanswered};

/// Requests by type; an object in JSON: `{"query": {…}, "query_hit": {…}, …}`. `query` is all
/// queries, `query_hit` and `query_miss` those of them with such an `X-Cache`; `order` are the
/// granted ones, `order_refused` those refused for lack of stock, with latencies of their own.
#[derive(Clone, Debug)]
pub struct Table(pub Vec<(RequestType, Row)>);

/// The requests of one type.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Those that were answered as hoped. The latencies are theirs.
    pub count: u64,
    /// Those that ended in an error, after all attempts. (Of queries and orders as a whole.)
    pub errors: u64,
    /// Those that were refused for lack of stock, which is no error. (Of orders.)
    pub refusals: u64,
    /// Attempts after a request's first one.
    pub retries: u64,
    /// `count` per second of shopping, or of checking.
    pub per_second: Option<f64>,
    /// The latencies.
    #[serde(flatten)]
    pub latency: Summary,
    /// Attempts by HTTP status. Of `query`, `order` and `order_query` all attempts, whatever they
    /// came to; of the other types the answers that make a request one of them.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer. (Of `query`, `order` and `order_query`.)
    pub unanswered: Unanswered,
    /// How many of `count` took how long.
    pub histogram: Vec<Bin>,
    /// The same to three digits, for `histograms.csv`.
    #[serde(skip)]
    pub all_bins: Vec<Bin>,
}

impl Table {
    /// The figures of what was counted in the time that `elapsed` tells for each type.
    #[must_use]
    pub fn new(tally: &Tally, elapsed: impl Fn(RequestType) -> Duration) -> Self {
        let row = |request| {
            let counts = tally.of(request);
            let refusals = if request == RequestType::Order {
                tally.of(RequestType::OrderRefused).latency.count()
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
        serializer.collect_map(self.0.iter().map(|(request, row)| (request, row)))
    }
}
