//! What one client counts: latencies, errors, refusals and retries by type of request, and answers
//! by HTTP status.
//!
//! Nothing here grows with the number of requests, so a client can shop for days.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::client::core::latency::Latency;
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
    /// Answered attempts by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that got no answer.
    pub unanswered: Unanswered,
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

    /// Those that are told apart before they are sent. Each attempt is one of these; the other
    /// types are kinds of answers to them.
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
    /// All of them.
    #[must_use]
    pub fn sum(self) -> u64 {
        self.nobody_listens + self.silent + self.broken
    }

    fn add(&mut self, other: Self) {
        self.nobody_listens += other.nobody_listens;
        self.silent += other.silent;
        self.broken += other.broken;
    }
}

impl Tally {
    /// Counts an attempt that was answered with this status; or, of a type that is a kind of
    /// answers, such an answer.
    pub fn answered(&mut self, request: RequestType, status: u16) {
        *self.counts[request as usize].statuses.entry(status).or_default() += 1;
    }

    /// Counts an attempt that got no answer.
    pub fn unanswered(&mut self, request: RequestType, how: &Unreachable) {
        let unanswered = &mut self.counts[request as usize].unanswered;
        *match how {
            Unreachable::NobodyListens => &mut unanswered.nobody_listens,
            Unreachable::Silent => &mut unanswered.silent,
            Unreachable::Broken(_) => &mut unanswered.broken,
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
            ours.unanswered.add(theirs.unanswered);
            for (status, count) in &theirs.statuses {
                *ours.statuses.entry(*status).or_default() += count;
            }
        }
        for (complaint, count) in &other.complaints {
            self.complain(complaint.clone(), *count);
        }
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

    /// Answered attempts of all types by HTTP status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut sums = BTreeMap::new();
        for (status, count) in RequestType::SENT.iter().flat_map(|sent| &self.of(*sent).statuses) {
            *sums.entry(*status).or_default() += count;
        }
        sums
    }

    /// Attempts of all types without an answer.
    #[must_use]
    pub fn unanswered_attempts(&self) -> Unanswered {
        let mut sum = Unanswered::default();
        for sent in RequestType::SENT {
            sum.add(self.of(sent).unanswered);
        }
        sum
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
        tally.answered(RequestType::Order, 503);
        tally.retried(RequestType::Order);
        tally.answered(RequestType::Order, 200);
        tally.succeeded(RequestType::Order, Duration::from_millis(1));
        assert_eq!(tally.requests(), 1);
        assert_eq!(tally.statuses(), BTreeMap::from([(200, 1), (503, 1)]));
    }

    #[test]
    fn errors_never_enter_the_latencies() {
        let mut tally = Tally::default();
        tally.failed(RequestType::Query, "it answered 404: product not found");
        assert_eq!(tally.of(RequestType::Query).latency.count(), 0);
        assert_eq!((tally.requests(), tally.errors()), (1, 1));
    }

    #[test]
    fn an_attempt_is_counted_once_whatever_kind_of_answer_it_had() {
        let mut tally = Tally::default();
        tally.answered(RequestType::Query, 200);
        tally.answered(RequestType::QueryHit, 200);
        tally.unanswered(RequestType::Order, &Unreachable::Silent);
        let mut sum = tally.clone();
        sum.add(&tally);
        assert_eq!(sum.statuses(), BTreeMap::from([(200, 2)]));
        assert_eq!(sum.of(RequestType::QueryHit).statuses, BTreeMap::from([(200, 2)]));
        assert_eq!(sum.unanswered_attempts(), Unanswered { silent: 2, ..Unanswered::default() });
        assert_eq!(sum.unanswered_attempts().sum(), 2);
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
