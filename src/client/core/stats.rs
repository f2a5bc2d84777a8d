//! What one client counts: latencies, errors, refusals and retries by type of request, and answers
//! by HTTP status. Its size does not grow with the number of requests, so a client can run for
//! days.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::latency::Latency;
use crate::wire::timing::{ServerTiming, TimedPart};

/// The reasons of errors that are counted one by one; further ones only count as errors.
const MOST_REASONS: usize = 20;

/// The types of requests that reports distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestType {
    /// `GET /products/<name>`.
    Query,
    /// A query that the cache answered (`X-Cache: hit`).
    QueryHit,
    /// A query that the cache did not answer (`X-Cache: miss`).
    QueryMiss,
    /// `POST /orders` that was granted.
    Order,
    /// `POST /orders` that was refused for lack of stock. Its latencies are separate, because a
    /// refusal is less work for the store and would make orders look faster than they are.
    OrderRefused,
    /// `GET /orders/<number>`, in the final check.
    OrderQuery,
}

/// The counts of one type of request.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestCounts {
    /// The latencies of the requests that succeeded.
    pub(crate) latency: Latency,
    /// Requests that ended in an error, after all attempts.
    pub(crate) errors: u64,
    /// Attempts after the first one of a request.
    pub(crate) retries: u64,
    /// Answered attempts by HTTP status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer.
    pub(crate) unanswered: Unanswered,
}

/// Attempts that got no answer, by what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The connection was refused.
    #[serde(rename = "nobody_listens")]
    pub refused: u64,
    /// No answer arrived in time.
    #[serde(rename = "silent")]
    pub timed_out: u64,
    /// The connection broke, could not be made for another reason, or carried no valid answer.
    pub broken: u64,
}

/// Why an attempt got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection was refused: no process listens at the address.
    Refused,
    /// No answer arrived in time.
    TimedOut,
    /// Another failure, in a few words.
    Broken(String),
}

/// The counts of one client, or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    counts: [RequestCounts; RequestType::ALL.len()],
    /// Where the time of granted orders went, as the store told.
    timings: [Latency; TimedPart::ALL.len()],
    /// The reasons of errors, and how often each occurred.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Iterations.
    pub(crate) iterations: u64,
    /// Orders that ended in an error and may have been made nevertheless.
    pub(crate) orders_in_doubt: u64,
}

impl RequestType {
    /// All types, in the order of the reports.
    pub const ALL: [Self; 6] = [
        Self::Query,
        Self::QueryHit,
        Self::QueryMiss,
        Self::Order,
        Self::OrderRefused,
        Self::OrderQuery,
    ];

    /// The types that an attempt can have. The other types are answers to these.
    pub const SENT: [Self; 3] = [Self::Query, Self::Order, Self::OrderQuery];

    /// The name in JSON and CSV.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::QueryHit => "query_hit",
            Self::QueryMiss => "query_miss",
            Self::Order => "order",
            Self::OrderRefused => "order_refused",
            Self::OrderQuery => "order_query",
        }
    }
}

impl Unanswered {
    /// The sum.
    #[must_use]
    pub fn sum(self) -> u64 {
        self.refused + self.timed_out + self.broken
    }
}

impl RequestCounts {
    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.errors += other.errors;
        self.retries += other.retries;
        self.unanswered.refused += other.unanswered.refused;
        self.unanswered.timed_out += other.unanswered.timed_out;
        self.unanswered.broken += other.unanswered.broken;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

impl Stats {
    /// Counts an answer with this status.
    pub(crate) fn answered(&mut self, request: RequestType, status: u16) {
        *self.counts[request as usize].statuses.entry(status).or_default() += 1;
    }

    /// Counts an attempt that got no answer.
    pub(crate) fn unanswered(&mut self, request: RequestType, reason: &NoAnswer) {
        let unanswered = &mut self.counts[request as usize].unanswered;
        *match reason {
            NoAnswer::Refused => &mut unanswered.refused,
            NoAnswer::TimedOut => &mut unanswered.timed_out,
            NoAnswer::Broken(_) => &mut unanswered.broken,
        } += 1;
    }

    /// Counts an attempt after a request's first.
    pub(crate) fn retried(&mut self, request: RequestType) {
        self.counts[request as usize].retries += 1;
    }

    /// Records the latency of a request that succeeded.
    pub(crate) fn succeeded(&mut self, request: RequestType, took: Duration) {
        self.counts[request as usize].latency.record(took);
    }

    /// Records where the time of a granted order went.
    pub(crate) fn timed(&mut self, timing: ServerTiming) {
        for (part, took) in timing.parts() {
            self.timings[part as usize].record(took);
        }
    }

    /// Where the time of granted orders went, as far as the store told.
    pub(crate) fn timings(&self) -> impl Iterator<Item = (TimedPart, &Latency)> {
        TimedPart::ALL.into_iter().zip(&self.timings).filter(|(_, latency)| latency.count() > 0)
    }

    /// Counts a request that ended in an error, and the reason.
    pub(crate) fn failed(&mut self, request: RequestType, reason: &str) {
        self.counts[request as usize].errors += 1;
        self.add_reason(format!("{}: {reason}", request.name()), 1);
    }

    /// Adds what another client counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            ours.add(theirs);
        }
        for (ours, theirs) in self.timings.iter_mut().zip(&other.timings) {
            ours.add(theirs);
        }
        for (reason, count) in &other.reasons {
            self.add_reason(reason.clone(), *count);
        }
        self.iterations += other.iterations;
        self.orders_in_doubt += other.orders_in_doubt;
    }

    fn add_reason(&mut self, reason: String, count: u64) {
        if let Some(known) = self.reasons.get_mut(&reason) {
            *known += count;
        } else if self.reasons.len() < MOST_REASONS {
            self.reasons.insert(reason, count);
        }
    }

    /// The counts of one type of request.
    pub(crate) fn of(&self, request: RequestType) -> &RequestCounts {
        &self.counts[request as usize]
    }

    /// The counts of all attempts. Its latencies lack those of refused orders.
    pub(crate) fn of_all(&self) -> RequestCounts {
        let mut sum = RequestCounts::default();
        for sent in RequestType::SENT {
            sum.add(self.of(sent));
        }
        sum
    }

    /// How many requests were made. A request that was retried counts once.
    pub(crate) fn requests(&self) -> u64 {
        let all = self.of_all();
        all.latency.count() + all.errors + self.of(RequestType::OrderRefused).latency.count()
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the connection was refused"),
            Self::TimedOut => f.write_str("no answer arrived in time"),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_retried_is_counted_once() {
        let mut stats = Stats::default();
        stats.answered(RequestType::Order, 503);
        stats.retried(RequestType::Order);
        stats.answered(RequestType::Order, 200);
        stats.succeeded(RequestType::Order, Duration::from_millis(1));
        assert_eq!(stats.requests(), 1);
        assert_eq!(stats.of_all().statuses, BTreeMap::from([(200, 1), (503, 1)]));
    }

    #[test]
    fn errors_never_enter_the_latencies() {
        let mut stats = Stats::default();
        stats.failed(RequestType::Query, "it answered 404: product not found");
        assert_eq!(stats.of(RequestType::Query).latency.count(), 0);
        assert_eq!((stats.requests(), stats.of_all().errors), (1, 1));
    }

    #[test]
    fn an_attempt_is_counted_once_also_if_its_answer_has_a_type_of_its_own() {
        let mut stats = Stats::default();
        stats.answered(RequestType::Query, 200);
        stats.answered(RequestType::QueryHit, 200);
        stats.unanswered(RequestType::Order, &NoAnswer::TimedOut);
        let mut sum = stats.clone();
        sum.add(&stats);
        assert_eq!(sum.of_all().statuses, BTreeMap::from([(200, 2)]));
        assert_eq!(sum.of(RequestType::QueryHit).statuses, BTreeMap::from([(200, 2)]));
        let unanswered = sum.of_all().unanswered;
        assert_eq!(unanswered, Unanswered { timed_out: 2, ..Unanswered::default() });
        assert_eq!(unanswered.sum(), 2);
    }

    #[test]
    fn the_number_of_reasons_is_bounded() {
        let mut stats = Stats::default();
        for number in 0..1_000 {
            stats.failed(RequestType::Query, &format!("reason {number}"));
        }
        assert_eq!(stats.reasons.len(), MOST_REASONS);
        assert_eq!(stats.of_all().errors, 1_000);
    }

    #[test]
    fn all_has_every_type_at_its_place() {
        for (index, request) in RequestType::ALL.into_iter().enumerate() {
            assert_eq!(request as usize, index);
        }
    }
}
