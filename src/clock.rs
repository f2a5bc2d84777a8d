//! The one place that reads a clock.
//!
//! Cores take the time as an argument, so that the model checker and the simulator can choose it;
//! the shells around them ask here.

use std::time::Instant;

/// The time now, on a clock that never jumps and goes on while the process is stopped.
#[expect(clippy::disallowed_methods, reason = "this is the one place that they are meant for")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
