//! The one place that reads a clock.
//!
//! Cores take the time as an argument, so that the model checker and the simulator can choose it;
//! the services around them ask here.

use std::time::{Duration, Instant, SystemTime};

/// Returns a duration in microseconds, as records have it.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time now, on a clock that never jumps and goes on while the process is stopped.
#[expect(clippy::disallowed_methods, reason = "this is the one place that they are meant for")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day, as the time since 1970: for records that are laid beside those of others. It
/// jumps when the clock is set, so nothing may be decided by it.
#[expect(clippy::disallowed_methods, reason = "only records have it, and they decide nothing")]
#[must_use]
pub fn time_of_day() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
