//! How often a front-end asks again before it gives up.
//!
//! A purchase in doubt is asked again under the same key, whoever leads by then; the client sees
//! nothing of it unless the deadline passes. Asking again is safe at any time, so the only question
//! is when.

use std::time::{Duration, Instant};

/// How long a client waits for a purchase or an order at most.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a client waits for a toy at most; a page of toys that hangs helps nobody.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(2);
/// How long one attempt may take. A change of leader ends it sooner.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The pause after the first attempt that failed; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// One request's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    deadline: Instant,
    pause: Duration,
}

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask again after this pause.
    Again(Duration),
    /// The deadline would pass.
    GiveUp,
}

impl Retry {
    /// Attempts from `now` on, for so long.
    #[must_use]
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { deadline: now + patience, pause: FIRST_PAUSE }
    }

    /// When to give up.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the next attempt may take.
    #[must_use]
    pub fn time_limit(&self, now: Instant) -> Duration {
        ATTEMPT.min(self.deadline.saturating_duration_since(now))
    }

    /// What to do after an attempt that failed.
    pub fn failed(&mut self, now: Instant) -> Next {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        if now + pause >= self.deadline { Next::GiveUp } else { Next::Again(pause) }
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
        while let Next::Again(pause) = retry.failed(now) {
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
