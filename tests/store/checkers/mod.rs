//! Tests of the checkers in [`histories`](crate::histories): histories that are wrong in one way
//! each.

mod ledger;
mod sweep;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::processes::now;

/// A time of a made-up history.
fn at(ms: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(now) + Duration::from_millis(ms)
}
