//! When a front-end retries a call, and when it gives up.
//!
//! A purchase whose outcome is unknown is sent again under the same key, to the replica that leads
//! by then. The client notices only if the deadline passes. A retry is safe at any time, since the
//! catalog decides each key once, so the only question is when: after a pause that doubles with
//! each attempt (exponential backoff), up to a limit.

use std::time::{Duration, Instant};

/// How long a client waits for a purchase or an order at most. A leader that hangs is
/// replaced within a second, and a catalog that restarts sells within 1.25 s: this spans several.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a client waits for a toy at most. A person who looks at a page gives up sooner than for
/// an order; another catalog rules within 1.5 s, and must answer then.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(3);
/// How long one attempt may take. A change of leader ends it sooner.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The pause after the first attempt that failed; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// … up to this, the interval of the health checks that find another leader.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    deadline: Instant,
    pause: Duration,
}

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this pause.
    Again(Duration),
    /// The deadline would pass first.
    GiveUp,
}

impl Retry {
    /// Starts counting: attempts may be made for `time_limit` from `now` on.
    #[must_use]
    pub fn new(now: Instant, time_limit: Duration) -> Self {
        Self { deadline: now + time_limit, pause: FIRST_PAUSE }
    }

    /// Returns when to give up.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns how long the next attempt may take.
    #[must_use]
    pub fn time_limit(&self, now: Instant) -> Duration {
        ATTEMPT.min(self.deadline.saturating_duration_since(now))
    }

    /// Decides what to do after an attempt that failed.
    pub fn failed(&mut self, now: Instant) -> RetryDecision {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        if now + pause >= self.deadline {
            RetryDecision::GiveUp
        } else {
            RetryDecision::Again(pause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_deadline() {
        let mut now = crate::clock::now();
        let mut retry = Retry::new(now, Duration::from_secs(1));
        let mut pauses = Vec::new();
        while let RetryDecision::Again(pause) = retry.failed(now) {
            now += pause;
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses[..6], [10, 20, 40, 80, 100, 100]);
        assert!(now < retry.deadline() && now + LONGEST_PAUSE >= retry.deadline());
    }

    #[test]
    fn the_last_attempt_ends_with_the_deadline() {
        let now = crate::clock::now();
        let retry = Retry::new(now, DEADLINE);
        assert_eq!(retry.time_limit(now), ATTEMPT);
        let late = retry.deadline().checked_sub(Duration::from_millis(5)).unwrap();
        assert_eq!(retry.time_limit(late), Duration::from_millis(5));
        assert_eq!(retry.time_limit(retry.deadline() + ATTEMPT), Duration::ZERO);
    }
}
