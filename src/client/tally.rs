//! What one client counts: latencies, errors, refusals and retries by type of request, and answers
//! by HTTP status.
//!
//! Nothing here grows with the number of requests, so a client can shop for days.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::latency::Latency;
use crate::transport::Unreachable;

/// The kinds of complaints that are told apart; later ones only count as errors.
const MOST_COMPLAINTS: usize = 20;

/// The types of requests that are told apart in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestType {
    /// `GET /products/<name>`: all of them.
    Query,
    /// Those of them that a cache answered (`X-Cache: hit`).
    QueryHit,
    /// Those of them that a cache passed on (`X-Cache: miss`).
    QueryMiss,
    /// `POST /orders` that was granted.
    Order,
    /// `POST /orders` that was refused for lack of stock. It has latencies of its own, because a
    /// refusal is less work for the store and would make orders look faster than they are.
    OrderRefused,
    /// `GET /orders/<number>`, in the final check.
    OrderQuery,
}

/// The counts of one type of request.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Of the requests that were answered as hoped.
    pub latency: Latency,
    /// Requests that ended in an error, after all attempts.
    pub errors: u64,
    /// Attempts after the first one of a request.
    pub retries: u64,
}

/// Attempts that got no answer, by what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// Nobody listened at the address.
    pub nobody_listens: u64,
    /// No answer came in time.
    pub silent: u64,
    /// The connection broke, or could not be made for another reason.
    pub broken: u64,
}

/// The counts of one client, or of all.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: [Counts; RequestType::ALL.len()],
    statuses: BTreeMap<u16, u64>,
    unanswered: Unanswered,
    complaints: BTreeMap<String, u64>,
    visits: u64,
    orders_in_doubt: u64,
}

impl RequestType {
    /// All of them, in the order of the reports.
    pub const ALL: [Self; 6] = [
        Self::Query,
        Self::QueryHit,
        Self::QueryMiss,
        Self::Order,
        Self::OrderRefused,
        Self::OrderQuery,
    ];

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

impl Tally {
    /// Counts an attempt that was answered with this status.
    pub fn answered(&mut self, status: u16) {
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Counts an attempt that got no answer.
    pub fn unanswered(&mut self, how: &Unreachable) {
        *match how {
            Unreachable::NobodyListens => &mut self.unanswered.nobody_listens,
            Unreachable::Silent => &mut self.unanswered.silent,
            Unreachable::Broken(_) => &mut self.unanswered.broken,
        } += 1;
    }

    /// Counts an attempt beyond a request's first.
    pub fn retried(&mut self, request: RequestType) {
        self.counts[request as usize].retries += 1;
    }

    /// Records a request that went well and took so long.
    pub fn succeeded(&mut self, request: RequestType, took: Duration) {
        self.counts[request as usize].latency.record(took);
    }

    /// Counts a request that ended in an error, and the reason.
    pub fn failed(&mut self, request: RequestType, reason: &str) {
        self.counts[request as usize].errors += 1;
        self.complain(format!("{}: {reason}", request.name()), 1);
    }

    /// Counts a visit.
    pub fn visited(&mut self) {
        self.visits += 1;
    }

    /// Counts an order that ended in an error and may have been made all the same.
    pub fn doubted(&mut self) {
        self.orders_in_doubt += 1;
    }

    /// Adds what another client counted.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            ours.latency.add(&theirs.latency);
            ours.errors += theirs.errors;
            ours.retries += theirs.retries;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (complaint, count) in &other.complaints {
            self.complain(complaint.clone(), *count);
        }
        self.unanswered.nobody_listens += other.unanswered.nobody_listens;
        self.unanswered.silent += other.unanswered.silent;
        self.unanswered.broken += other.unanswered.broken;
        self.visits += other.visits;
        self.orders_in_doubt += other.orders_in_doubt;
    }

    /// The counts of one type of request.
    #[must_use]
    pub fn of(&self, request: RequestType) -> &Counts {
        &self.counts[request as usize]
    }

    /// How many requests were made, however they ended; a request that was retried is one.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let ends = |request| self.of(request).latency.count() + self.of(request).errors;
        // Hits and misses are queries, which are counted already.
        [RequestType::Query, RequestType::Order, RequestType::OrderRefused, RequestType::OrderQuery]
            .into_iter()
            .map(ends)
            .sum()
    }

    /// How many requests ended in an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.counts.iter().map(|counts| counts.errors).sum()
    }

    /// How many visits were made.
    #[must_use]
    pub fn visits(&self) -> u64 {
        self.visits
    }

    /// How many orders ended in an error that leaves open whether they were made.
    #[must_use]
    pub fn orders_in_doubt(&self) -> u64 {
        self.orders_in_doubt
    }

    /// Answered attempts by HTTP status.
    #[must_use]
    pub fn statuses(&self) -> &BTreeMap<u16, u64> {
        &self.statuses
    }

    /// Attempts without an answer.
    #[must_use]
    pub fn unanswered_attempts(&self) -> Unanswered {
        self.unanswered
    }

    /// The reasons of errors, and how often each came up.
    #[must_use]
    pub fn complaints(&self) -> &BTreeMap<String, u64> {
        &self.complaints
    }

    fn complain(&mut self, complaint: String, count: u64) {
        if let Some(known) = self.complaints.get_mut(&complaint) {
            *known += count;
        } else if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.insert(complaint, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_however_often_it_was_tried() {
        let mut tally = Tally::default();
        tally.answered(503);
        tally.retried(RequestType::Order);
        tally.answered(200);
        tally.succeeded(RequestType::Order, Duration::from_millis(1));
        assert_eq!(tally.requests(), 1);
        assert_eq!(tally.statuses(), &BTreeMap::from([(200, 1), (503, 1)]));
    }

    #[test]
    fn errors_never_enter_the_latencies() {
        let mut tally = Tally::default();
        tally.failed(RequestType::Query, "it answered 404: product not found");
        assert_eq!(tally.of(RequestType::Query).latency.count(), 0);
        assert_eq!((tally.requests(), tally.errors()), (1, 1));
    }

    #[test]
    fn the_reasons_of_errors_do_not_pile_up() {
        let mut tally = Tally::default();
        for number in 0..1_000 {
            tally.failed(RequestType::Query, &format!("reason {number}"));
        }
        assert_eq!(tally.complaints().len(), MOST_COMPLAINTS);
        assert_eq!(tally.errors(), 1_000);
    }

    #[test]
    fn a_type_has_the_same_name_in_csv_and_in_json() {
        for (index, request) in RequestType::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(request).unwrap(), request.name());
            assert_eq!(request as usize, index);
        }
    }
}
