//! When a client's visits are due, and when the run ends.
//!
//! # The idea
//!
//! In a *closed loop* a client begins a visit when the one before it has ended, so a store that
//! hangs also stops being asked, and the requests that would have waited are missing from the
//! latencies: coordinated omission. In an *open loop* visits are due at times that were fixed
//! before. A client that is behind does its visits one right after the other, and each is charged
//! for how late it began:
//!
//! ```text
//! due        0    1    2    3    4
//! query      |----------- hangs -----------|--|--|--|
//! charged    <----------------------------->
//!                 <--------------------------->
//!                      <------------------------->        …
//! ```
//!
//! A client that had to wait for its visit is not late by its timer's own roughness, a millisecond
//! or two; that is not the store's doing, and would be most of a cached answer's latency. All that
//! is beyond it counts.

use std::str::FromStr;
use std::time::Duration;

/// The longest run.
const LONGEST_RUN_S: f64 = 7.0 * 24.0 * 3_600.0;
/// The highest rate; far more than one client process can make.
const HIGHEST_RATE: f64 = 1_000_000.0;

/// A timer counts whole milliseconds, and the process has to be woken: a visit that waited for its
/// time is not late by less than this.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// When visits begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each when the one before it has ended.
    Closed,
    /// At fixed times, so many a second.
    Open(Rate),
}

/// Visits per second, of all clients together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(f64);

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so many visits of each client.
    Visits(u64),
    /// After this time.
    Time(RunTime),
}

/// How long a run lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTime(Duration);

impl Pace {
    /// When a client's visit is due, counted from the start of the run: the clients take turns.
    /// (Clients and visits are counted from 0 here.) `None` in a closed loop.
    #[must_use]
    pub fn due(self, client: u32, clients: u32, visit: u64) -> Option<Duration> {
        let Self::Open(rate) = self else { return None };
        #[expect(
            clippy::cast_precision_loss,
            reason = "visits are far fewer than the 2^53 that a double counts exactly"
        )]
        let turns = (visit * u64::from(clients) + u64::from(client)) as f64;
        // A visit after the end of time is never reached; it only has to stay a duration.
        Some(Duration::try_from_secs_f64(turns / rate.0).unwrap_or(Duration::MAX))
    }
}

/// How late a visit is that waited until it was due, and then began at `now`. (Both are counted
/// from the start of the run.)
#[must_use]
pub fn lateness(due: Duration, now: Duration) -> Duration {
    let late = now.saturating_sub(due);
    if late <= TIMER_SLACK { Duration::ZERO } else { late }
}

impl End {
    /// How many visits a run at this pace should make. What of it was not made, because the store
    /// was too slow, is missing from the latencies. If the run was ended early (the time is counted
    /// from its start), it is what was due by then. `None` in a closed loop.
    #[must_use]
    pub fn visits_due(
        self,
        pace: Pace,
        clients: u32,
        ended_early: Option<Duration>,
    ) -> Option<u64> {
        let Pace::Open(rate) = pace else { return None };
        let planned = match self {
            Self::Visits(visits) => visits.saturating_mul(clients.into()),
            Self::Time(time) => rate.visits_within(time.0),
        };
        // One that was just about to begin is not missing.
        let ended_early = ended_early.map(|time| time.saturating_sub(TIMER_SLACK));
        Some(ended_early.map_or(planned, |time| rate.visits_within(time).min(planned)))
    }
}

impl Rate {
    /// The rate as a number.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// How many visits are due before a time, counted from the start.
    fn visits_within(self, time: Duration) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates and times are above 0 and have bounds that keep this in u64"
        )]
        let due = (self.0 * time.as_secs_f64()).ceil() as u64;
        due
    }
}

impl RunTime {
    /// The time as a duration.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= HIGHEST_RATE);
        number.map(Self).ok_or_else(|| {
            format!("a rate is a number of iterations per second, above 0, at most {HIGHEST_RATE}")
        })
    }
}

impl FromStr for RunTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_s = match &text[digits.len()..] {
            "" | "s" => Some(1.0),
            "ms" => Some(0.001),
            "m" | "min" => Some(60.0),
            "h" => Some(3_600.0),
            _ => None,
        };
        let seconds = digits.parse::<f64>().ok().zip(unit_s).map(|(number, unit)| number * unit);
        seconds
            .filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST_RUN_S)
            .map(|seconds| Self(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| "a duration is a number of seconds, or like 500ms, 30s, 2m, 1h".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_open_loop_the_clients_take_turns() {
        let pace = Pace::Open("10".parse().unwrap());
        let due = |client, visit| pace.due(client, 2, visit).unwrap().as_millis();
        assert_eq!([due(0, 0), due(1, 0), due(0, 1), due(1, 1)], [0, 100, 200, 300]);
    }

    #[test]
    fn visits_due_are_those_that_begin_before_the_end() {
        let (pace, end) = (Pace::Open("10".parse().unwrap()), End::Time("0.25".parse().unwrap()));
        // At 0, 100 and 200 ms.
        assert_eq!(end.visits_due(pace, 2, None), Some(3));
        assert_eq!(End::Visits(7).visits_due(pace, 2, None), Some(14));
        assert_eq!(end.visits_due(Pace::Closed, 2, None), None);
    }

    #[test]
    fn of_a_run_that_was_ended_early_only_what_was_due_by_then_counts() {
        let (pace, end) = (Pace::Open("10".parse().unwrap()), End::Time("1h".parse().unwrap()));
        let due = |end: End, after_ms| {
            end.visits_due(pace, 2, Some(Duration::from_millis(after_ms))).unwrap()
        };
        // At 0, 100 and 200 ms; the one of 200 ms may not have begun yet at 201 ms.
        assert_eq!([due(end, 150), due(end, 201), due(end, 250)], [2, 2, 3]);
        assert_eq!(due(End::Visits(1), 5_000), 2);
    }

    #[test]
    fn a_visit_that_waited_is_late_only_beyond_what_timers_are_rough_by() {
        let late = |now_ms| lateness(Duration::from_millis(100), Duration::from_millis(now_ms));
        assert_eq!([late(99), late(100), late(102)], [Duration::ZERO; 3]);
        assert_eq!(late(103), Duration::from_millis(3));
    }

    #[test]
    fn in_a_closed_loop_nothing_is_due() {
        assert_eq!(Pace::Closed.due(0, 2, 7), None);
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, millis) in [("30", 30_000), ("1.5s", 1_500), ("2m", 120_000), ("250ms", 250)] {
            assert_eq!(text.parse::<RunTime>().unwrap().get().as_millis(), millis);
        }
        for text in ["", "s", "0", "-1", "3 days", "NaN", "inf", "1e9", "5x"] {
            assert!(text.parse::<RunTime>().is_err(), "{text} was a duration");
        }
    }

    #[test]
    fn a_rate_is_above_0() {
        for text in ["0", "-5", "NaN", "inf", "many"] {
            assert!(text.parse::<Rate>().is_err(), "{text} was a rate");
        }
    }
}
