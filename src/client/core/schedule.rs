//! When a client's iterations are due, and when the run ends.
//!
//! # The idea
//!
//! In a *closed loop* a client's next iteration begins when the last one has ended. While the store
//! hangs, no requests are sent, and those that would have waited are missing from the latencies:
//! coordinated omission. In an *open loop* iterations are due at times that are fixed beforehand. A
//! client that is behind makes its iterations one right after the other, and the latency of each
//! counts from when it was due:
//!
//! ```text
//! due        0    1    2    3    4
//! query      |----------- hangs -----------|--|--|--|
//! latency    <----------------------------->
//!                 <--------------------------->
//!                      <------------------------->        …
//! ```
//!
//! A client that waited for its turn wakes up to two milliseconds late, because timers are that
//! coarse. The store did not cause that delay, which would be most of a cached answer's latency, so
//! only what exceeds it counts.

use std::str::FromStr;
use std::time::Duration;

/// The longest run.
const LONGEST_RUN_S: f64 = 7.0 * 24.0 * 3_600.0;
/// The highest rate; far more than one client process can make.
const HIGHEST_RATE: f64 = 1_000_000.0;

/// A timer counts whole milliseconds, and the process has to be woken: an iteration that waited
/// until it was due is late only if it begins later than this.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// When iterations begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Each when the last one has ended.
    ClosedLoop,
    /// At fixed times, this many per second.
    OpenLoop(Rate),
}

/// Iterations per second, of all clients together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(f64);

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After this many iterations of each client.
    Iterations(u64),
    /// After this time.
    Time(RunTime),
}

/// How long a run lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTime(Duration);

impl Schedule {
    /// When a client's iteration is due, counted from the start of the run: the clients take turns.
    /// Clients and iterations are counted from 0. `None` in a closed loop.
    #[must_use]
    pub fn due(self, client: u32, clients: u32, iteration: u64) -> Option<Duration> {
        let Self::OpenLoop(rate) = self else { return None };
        #[expect(
            clippy::cast_precision_loss,
            reason = "iterations are far fewer than the 2^53 that a double counts exactly"
        )]
        let turns = (iteration * u64::from(clients) + u64::from(client)) as f64;
        // An overflow is further away than any run is long.
        Some(Duration::try_from_secs_f64(turns / rate.0).unwrap_or(Duration::MAX))
    }
}

/// How late an iteration is that waited until it was `due` and then began at `now`, both counted
/// from the start of the run.
#[must_use]
pub fn lateness(due: Duration, now: Duration) -> Duration {
    let late = now.saturating_sub(due);
    if late <= TIMER_SLACK { Duration::ZERO } else { late }
}

impl End {
    /// How many iterations were due by the end of the run, or by the time at which it was
    /// interrupted (counted from its start). `None` in a closed loop.
    #[must_use]
    pub fn iterations_due(
        self,
        schedule: Schedule,
        clients: u32,
        interrupted: Option<Duration>,
    ) -> Option<u64> {
        let Schedule::OpenLoop(rate) = schedule else { return None };
        let planned = match self {
            Self::Iterations(iterations) => iterations.saturating_mul(clients.into()),
            Self::Time(time) => rate.iterations_within(time.0),
        };
        // One that was just about to begin is not missing.
        let interrupted = interrupted.map(|time| time.saturating_sub(TIMER_SLACK));
        Some(interrupted.map_or(planned, |time| rate.iterations_within(time).min(planned)))
    }
}

impl Rate {
    /// The rate as a number.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// How many iterations are due before `time`, counted from the start.
    fn iterations_within(self, time: Duration) -> u64 {
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
        let schedule = Schedule::OpenLoop("10".parse().unwrap());
        let due = |client, iteration| schedule.due(client, 2, iteration).unwrap().as_millis();
        assert_eq!([due(0, 0), due(1, 0), due(0, 1), due(1, 1)], [0, 100, 200, 300]);
    }

    #[test]
    fn iterations_due_are_those_that_begin_before_the_end() {
        let (schedule, end) =
            (Schedule::OpenLoop("10".parse().unwrap()), End::Time("0.25".parse().unwrap()));
        // At 0, 100 and 200 ms.
        assert_eq!(end.iterations_due(schedule, 2, None), Some(3));
        assert_eq!(End::Iterations(7).iterations_due(schedule, 2, None), Some(14));
        assert_eq!(end.iterations_due(Schedule::ClosedLoop, 2, None), None);
    }

    #[test]
    fn in_an_interrupted_run_only_what_was_due_by_then_counts() {
        let (schedule, end) =
            (Schedule::OpenLoop("10".parse().unwrap()), End::Time("1h".parse().unwrap()));
        let due = |end: End, after_ms| {
            end.iterations_due(schedule, 2, Some(Duration::from_millis(after_ms))).unwrap()
        };
        // At 0, 100 and 200 ms; the one of 200 ms may not have begun yet at 201 ms.
        assert_eq!([due(end, 150), due(end, 201), due(end, 250)], [2, 2, 3]);
        assert_eq!(due(End::Iterations(1), 5_000), 2);
    }

    #[test]
    fn an_iteration_that_waited_is_late_only_beyond_the_coarseness_of_timers() {
        let late = |now_ms| lateness(Duration::from_millis(100), Duration::from_millis(now_ms));
        assert_eq!([late(99), late(100), late(102)], [Duration::ZERO; 3]);
        assert_eq!(late(103), Duration::from_millis(3));
    }

    #[test]
    fn in_a_closed_loop_nothing_is_due() {
        assert_eq!(Schedule::ClosedLoop.due(0, 2, 7), None);
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
