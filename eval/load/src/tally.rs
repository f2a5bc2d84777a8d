//! What a load has seen: how many orders, how long they took, and the longest time without one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Problem;

/// The longest latency that is told apart: longer than any client waits.
const LONGEST_US: u64 = 60_000_000;

/// Counts orders as they are answered.
pub(crate) struct Tally {
    latencies: Histogram<u64>,
    begin: Instant,
    last: Instant,
    longest_gap: Duration,
    /// Answers that were no order, by what they were.
    errors: BTreeMap<String, u64>,
    /// Attempts that a compare-and-swap refused, because another client was first.
    conflicts: u64,
}

impl Tally {
    /// Begins to count.
    pub(crate) fn begin() -> Result<Self, Problem> {
        let begin = Instant::now();
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
            begin,
            last: begin,
            longest_gap: Duration::ZERO,
            errors: BTreeMap::new(),
            conflicts: 0,
        })
    }

    /// Counts an order that was due at `due` and is answered now.
    pub(crate) fn answered(&mut self, due: Instant, conflicts: u64) {
        let now = Instant::now();
        let micros = u64::try_from((now - due).as_micros()).unwrap_or(LONGEST_US);
        self.latencies.saturating_record(micros);
        self.longest_gap = self.longest_gap.max(now - self.last);
        self.last = now;
        self.conflicts += conflicts;
    }

    /// Counts an order that was not made.
    pub(crate) fn failed(&mut self, problem: &Problem) {
        *self.errors.entry(problem.to_string()).or_default() += 1;
    }

    /// Ends the count: the time since the last answer was one without an order, too.
    pub(crate) fn end(&mut self) {
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now - self.last);
        self.last = now;
        for (error, count) in &self.errors {
            eprintln!("load: {count} times: {error}");
        }
    }
}

/// `orders,errors,conflicts,seconds,p50_ms,p99_ms,longest_ms,longest_gap_ms`.
impl fmt::Display for Tally {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a minute fit")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| self.latencies.value_at_quantile(share) as f64 / 1_000.0;
        write!(
            f,
            "{},{},{},{:.3},{:.3},{:.3},{:.3},{:.1}",
            self.latencies.len(),
            self.errors.values().sum::<u64>(),
            self.conflicts,
            (self.last - self.begin).as_secs_f64(),
            at(0.5),
            at(0.99),
            self.latencies.max() as f64 / 1_000.0,
            self.longest_gap.as_secs_f64() * 1_000.0,
        )
    }
}
