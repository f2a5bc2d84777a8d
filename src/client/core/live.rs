//! What all clients have done so far, for the progress bar and the time series.

use std::cell::{Cell, RefCell};

use super::stats::Stats;

/// The counts of all clients. They share one thread, so cells need no lock.
#[derive(Debug, Default)]
pub(crate) struct LiveCounts {
    /// Iterations.
    pub(crate) iterations: Cell<u64>,
    /// Orders that were granted.
    pub(crate) orders: Cell<u64>,
    /// Orders that were refused for lack of stock.
    pub(crate) refusals: Cell<u64>,
    /// Requests that ended in an error.
    pub(crate) errors: Cell<u64>,
    /// Orders that were checked.
    pub(crate) checked: Cell<u64>,
    /// The counts of the current interval, if a time series is written.
    pub(crate) interval: Option<RefCell<Stats>>,
}

/// Adds one.
pub(crate) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
