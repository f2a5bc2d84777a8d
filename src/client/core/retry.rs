//! Whether a failed request is sent again, and after which backoff.
//!
//! # The idea
//!
//! An order carries an idempotency key, and the store decides a key once, so a retry can only find
//! out what happened; it cannot buy twice. Orders and final checks are therefore retried until the
//! deadline: at each front-end in turn, with a growing backoff after each round.
//!
//! A query measures what customers notice, so it is retried only if there was no answer, once at
//! each other front-end (once at a lone one, in case only an old connection was broken).
//!
//! Every request ends: no attempt takes longer than [`ATTEMPT_LIMIT`], and no attempt begins after
//! [`DEADLINE`].

use std::time::Duration;

/// How long one attempt may take: a little more than the front-end's own deadline of 10 s, so that
/// its answer arrives.
pub(crate) const ATTEMPT_LIMIT: Duration = Duration::from_secs(12);
/// How long a request is tried, all attempts together.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
/// The first backoff. A new leader is found in about this time.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest backoff: the store's own `Retry-After`.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// An attempt with less time than this left would only hide the reason why the others failed.
const LEAST_LIMIT: Duration = Duration::from_millis(500);
/// Rounds over all front-ends; with the backoffs between them they fill [`DEADLINE`].
const MOST_ROUNDS: usize = 20;

/// The attempts of one request.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    policy: Policy,
    frontends: usize,
    failed: usize,
    backoff: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    EachFrontendOnce,
    UntilDeadline,
}

/// Why an attempt may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptFailure {
    /// There was no answer.
    NoAnswer,
    /// The answer was "try again later".
    Unavailable,
}

impl Attempts {
    /// For a query, with `frontends` front-ends to try.
    pub(crate) fn of_query(frontends: usize) -> Self {
        Self::new(Policy::EachFrontendOnce, frontends)
    }

    /// For an order or its check, with `frontends` front-ends to try.
    pub(crate) fn of_order(frontends: usize) -> Self {
        Self::new(Policy::UntilDeadline, frontends)
    }

    fn new(policy: Policy, frontends: usize) -> Self {
        Self { policy, frontends, failed: 0, backoff: SHORTEST_BACKOFF }
    }

    /// The backoff before the next attempt, after a failed one. `None` to give up.
    pub(crate) fn after(&mut self, failure: AttemptFailure, elapsed: Duration) -> Option<Duration> {
        self.failed += 1;
        let backoff = match (self.policy, failure) {
            (Policy::EachFrontendOnce, AttemptFailure::Unavailable) => None,
            (Policy::EachFrontendOnce, AttemptFailure::NoAnswer) => {
                (self.failed < self.frontends.max(2)).then_some(Duration::ZERO)
            }
            (Policy::UntilDeadline, _) => self.next_backoff(),
        };
        backoff.filter(|backoff| elapsed + *backoff + LEAST_LIMIT <= DEADLINE)
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        if self.failed >= MOST_ROUNDS * self.frontends {
            return None;
        }
        if !self.failed.is_multiple_of(self.frontends) {
            return Some(Duration::ZERO);
        }
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(LONGEST_BACKOFF);
        Some(backoff)
    }
}

/// How long the next attempt may take, `elapsed` after the first one began.
pub(crate) fn time_limit(elapsed: Duration) -> Duration {
    DEADLINE.saturating_sub(elapsed).min(ATTEMPT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The backoffs until it gives up, if attempts themselves take no time.
    fn backoffs(mut attempts: Attempts, failure: AttemptFailure) -> Vec<u128> {
        let mut elapsed = Duration::ZERO;
        std::iter::from_fn(|| {
            let backoff = attempts.after(failure, elapsed)?;
            elapsed += backoff;
            Some(backoff.as_millis())
        })
        .collect()
    }

    #[test]
    fn an_order_is_tried_at_every_frontend_before_each_backoff() {
        let backoffs = backoffs(Attempts::of_order(2), AttemptFailure::NoAnswer);
        assert_eq!(backoffs[..6], [0, 50, 0, 100, 0, 200]);
    }

    #[test]
    fn an_order_is_tried_until_shortly_before_the_deadline() {
        for failure in [AttemptFailure::NoAnswer, AttemptFailure::Unavailable] {
            let total: u128 = backoffs(Attempts::of_order(1), failure).iter().sum();
            assert!((13_000..15_000).contains(&total), "{total} ms");
        }
    }

    #[test]
    fn a_query_tries_each_frontend_once_and_a_lone_one_twice() {
        assert_eq!(backoffs(Attempts::of_query(3), AttemptFailure::NoAnswer), [0, 0]);
        assert_eq!(backoffs(Attempts::of_query(1), AttemptFailure::NoAnswer), [0]);
    }

    #[test]
    fn a_query_that_is_answered_503_is_not_retried() {
        assert_eq!(backoffs(Attempts::of_query(3), AttemptFailure::Unavailable), [0; 0]);
    }

    #[test]
    fn no_attempt_goes_on_after_the_deadline() {
        let mut attempts = Attempts::of_order(1);
        assert_eq!(time_limit(Duration::ZERO), ATTEMPT_LIMIT);
        assert_eq!(time_limit(Duration::from_secs(10)), Duration::from_secs(5));
        assert_eq!(attempts.after(AttemptFailure::NoAnswer, DEADLINE), None);
    }
}
