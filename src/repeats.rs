//! A condition that lasts is said once when it begins, and once when it ends, with how often it
//! showed.
//!
//! A replica that is away, a wrong secret or a full disk makes the same call fail ten times a
//! second. [`Repeats`] tells the one failure that is worth a line from those that are only counted:
//!
//! ```text
//! call       ok  fails  fails  fails  ok
//! happened       say    count  count
//! over       -                        say: "after 3 failures in 0.2 s"
//! ```
//!
//! A condition that goes on for another reason is said again, once for each reason.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reasons that are told apart while one condition lasts. Further ones are only counted: a peer may
/// put something new in every answer.
const MOST_REASONS: usize = 8;

/// A condition that may last.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Option<Since>>);

/// A condition that lasts.
#[derive(Debug)]
struct Since {
    begun: Instant,
    times: u64,
    reasons: Vec<String>,
}

/// A condition that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasted {
    times: u64,
    duration: Duration,
}

impl Repeats {
    /// Notes that the condition shows, for this reason. Returns whether that is to be said.
    #[must_use]
    pub fn happened(&self, reason: &str, now: Instant) -> bool {
        let mut lock = self.lock();
        let since = lock.get_or_insert_with(|| Since { begun: now, times: 0, reasons: Vec::new() });
        since.times += 1;
        let is_news = since.reasons.len() < MOST_REASONS
            && !since.reasons.iter().any(|known| known == reason);
        if is_news {
            since.reasons.push(reason.to_owned());
        }
        is_news
    }

    /// Notes that the condition does not show any more. Returns how long it lasted, which is to be
    /// said, if it did.
    #[must_use]
    pub fn over(&self, now: Instant) -> Option<Lasted> {
        let Since { begun, times, .. } = self.lock().take()?;
        Some(Lasted { times, duration: now.saturating_duration_since(begun) })
    }

    /// Returns whether the condition lasts.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            1 => f.write_str("1 failure"),
            times => write!(f, "{times} failures in {:.1} s", self.duration.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_when_it_begins_and_when_it_ends() {
        let start = crate::clock::now();
        let refusals = Repeats::default();
        assert_eq!(refusals.over(start), None);
        let said = (0..100_u64)
            .filter(|turn| refusals.happened("403", start + Duration::from_millis(100 * turn)));
        assert_eq!(said.collect::<Vec<_>>(), [0]);
        assert!(refusals.lasts());
        let lasted = refusals.over(start + Duration::from_secs(10)).unwrap();
        assert_eq!(lasted.to_string(), "100 failures in 10.0 s");
        assert!(!refusals.lasts());
        assert!(refusals.happened("403", start), "it begins again");
        assert_eq!(refusals.over(start).unwrap().to_string(), "1 failure");
    }

    #[test]
    fn reasons_that_take_turns_are_said_once_each_and_not_without_end() {
        let now = crate::clock::now();
        let failures = Repeats::default();
        let alternating = (0..20).filter(|turn| failures.happened(["a", "b"][turn % 2], now));
        assert_eq!(alternating.count(), 2);
        let ever_new = (0..1_000).filter(|turn| failures.happened(&turn.to_string(), now));
        assert_eq!(ever_new.count(), MOST_REASONS - 2);
    }
}
