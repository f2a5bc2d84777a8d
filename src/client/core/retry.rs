//! Whether a request that failed is sent again, where, and when.
//!
//! # The idea
//!
//! An order carries a key that is its own, and the store decides a key once, so asking again can
//! only find out what happened; it cannot buy twice. A client therefore insists on an order and on
//! its final check: it tries the front-ends in turn and rests a little, longer each time, after
//! each round. A query is worth less than a measurement of what customers notice: it tries each
//! other front-end once (a lone one twice, in case only an old connection was broken), and an
//! answer 503 is taken for what it is.
//!
//! Everything ends: no request waits longer than [`REQUEST_LIMIT`], and nothing is tried any more
//! after [`DEADLINE`].

use std::time::Duration;

/// How long one request may take; a little more than the front-end's own deadline of 10 s, so that
/// its answer is heard.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(12);
/// How long a request is tried, all attempts together.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// The first rest. A new leader is found in about this time.
const SHORTEST_REST: Duration = Duration::from_millis(50);
/// The longest rest: the store's own `Retry-After`.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// An attempt with less time than this left would only hide the reason why the others failed.
const LEAST_LIMIT: Duration = Duration::from_millis(500);
/// Rounds over all front-ends; with the rests between them they fill [`DEADLINE`].
const MOST_ROUNDS: usize = 20;

/// How often one request is still sent.
#[derive(Clone, Debug)]
pub struct Patience {
    insists: Insistence,
    frontends: usize,
    attempts: usize,
    rest: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Insistence {
    /// Tries each front-end.
    Once,
    /// Tries until the deadline.
    UntilDeadline,
}

/// Why an attempt may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There was no answer.
    Unreachable,
    /// The answer was "try again later".
    Unavailable,
}

impl Patience {
    /// For a query, with so many front-ends to ask.
    #[must_use]
    pub fn with_a_query(frontends: usize) -> Self {
        Self::new(Insistence::Once, frontends)
    }

    /// For an order or its check, with so many front-ends to ask.
    #[must_use]
    pub fn with_an_order(frontends: usize) -> Self {
        Self::new(Insistence::UntilDeadline, frontends)
    }

    fn new(insists: Insistence, frontends: usize) -> Self {
        Self { insists, frontends, attempts: 0, rest: SHORTEST_REST }
    }

    /// How long the next attempt may take, when the request has gone on for `elapsed`.
    #[must_use]
    pub fn time_limit(&self, elapsed: Duration) -> Duration {
        DEADLINE.saturating_sub(elapsed).min(REQUEST_LIMIT)
    }

    /// After a failed attempt: how long to rest before the next one. `None` to give up.
    pub fn after(&mut self, trouble: Trouble, elapsed: Duration) -> Option<Duration> {
        self.attempts += 1;
        let rest = match (self.insists, trouble) {
            (Insistence::Once, Trouble::Unavailable) => None,
            (Insistence::Once, Trouble::Unreachable) => {
                (self.attempts < self.frontends.max(2)).then_some(Duration::ZERO)
            }
            (Insistence::UntilDeadline, _) => self.insist(),
        };
        rest.filter(|rest| elapsed + *rest + LEAST_LIMIT <= DEADLINE)
    }

    fn insist(&mut self) -> Option<Duration> {
        if self.attempts >= MOST_ROUNDS * self.frontends {
            return None;
        }
        if !self.attempts.is_multiple_of(self.frontends) {
            return Some(Duration::ZERO);
        }
        let rest = self.rest;
        self.rest = (rest * 2).min(LONGEST_REST);
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rests until it gives up, if attempts themselves take no time.
    fn rests(mut patience: Patience, trouble: Trouble) -> Vec<u128> {
        let mut elapsed = Duration::ZERO;
        std::iter::from_fn(|| {
            let rest = patience.after(trouble, elapsed)?;
            elapsed += rest;
            Some(rest.as_millis())
        })
        .collect()
    }

    #[test]
    fn an_order_is_tried_at_every_frontend_before_each_rest() {
        let rests = rests(Patience::with_an_order(2), Trouble::Unreachable);
        assert_eq!(rests[..6], [0, 50, 0, 100, 0, 200]);
    }

    #[test]
    fn an_order_is_tried_until_shortly_before_the_deadline() {
        for trouble in [Trouble::Unreachable, Trouble::Unavailable] {
            let total: u128 = rests(Patience::with_an_order(1), trouble).iter().sum();
            assert!((13_000..15_000).contains(&total), "{total} ms");
        }
    }

    #[test]
    fn a_query_tries_each_frontend_once_and_a_lone_one_twice() {
        assert_eq!(rests(Patience::with_a_query(3), Trouble::Unreachable), [0, 0]);
        assert_eq!(rests(Patience::with_a_query(1), Trouble::Unreachable), [0]);
    }

    #[test]
    fn a_query_takes_503_for_an_answer() {
        assert_eq!(rests(Patience::with_a_query(3), Trouble::Unavailable), [0; 0]);
    }

    #[test]
    fn no_attempt_goes_on_beyond_the_deadline() {
        let mut patience = Patience::with_an_order(1);
        assert_eq!(patience.time_limit(Duration::ZERO), REQUEST_LIMIT);
        assert_eq!(patience.time_limit(Duration::from_secs(10)), Duration::from_secs(5));
        assert_eq!(patience.after(Trouble::Unreachable, DEADLINE), None);
    }
}
