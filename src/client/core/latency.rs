//! How long requests took: one histogram for each type of request.
//!
//! A histogram of high dynamic range keeps three digits of every latency in a few kilobytes, so a
//! run of an hour needs no more memory than one of a second. The extremes and the mean are exact.
//! Only requests that succeeded are recorded; an error has no latency.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The digits that a histogram keeps: errors below 0.1 %.
const DIGITS: u8 = 3;

/// The latencies of one type of request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    /// In microseconds. Allocated at the first sample: most clients never see some types.
    histogram: Option<Histogram<u32>>,
    sum: Duration,
    min: Duration,
    max: Duration,
}

/// The figures that are reported, in milliseconds; all null without a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The shortest.
    pub min_ms: Option<f64>,
    /// The arithmetic mean.
    pub mean_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// 90 % took at most this long.
    pub p90_ms: Option<f64>,
    /// 95 % took at most this long.
    pub p95_ms: Option<f64>,
    /// 99 % took at most this long.
    pub p99_ms: Option<f64>,
    /// 99.9 % took at most this long.
    pub p999_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

/// Latencies of about the same length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The longest, in milliseconds. The bin before ends where this one begins.
    pub up_to_ms: f64,
    /// How many there are.
    pub count: u64,
}

impl Summary {
    /// The columns of tables.
    #[must_use]
    pub fn columns(&self) -> [Option<f64>; 7] {
        let Self { min_ms, mean_ms, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = *self;
        [min_ms, mean_ms, p50_ms, p90_ms, p99_ms, p999_ms, max_ms]
    }
}

impl Latency {
    /// Records one latency.
    pub(crate) fn record(&mut self, took: Duration) {
        self.min = if self.count() == 0 { took } else { self.min.min(took) };
        self.max = self.max.max(took);
        self.sum += took;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let recorded = self.histogram.get_or_insert_with(new_histogram).record(micros);
        recorded.expect("a histogram that grows has room for any latency");
    }

    /// Adds what another client recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        let Some(theirs) = &other.histogram else { return };
        self.min = if self.count() == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        let added = self.histogram.get_or_insert_with(new_histogram).add(theirs);
        added.expect("a histogram that grows has room for any other");
    }

    /// How many latencies were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The figures to report.
    pub(crate) fn summary(&self) -> Summary {
        let Some(histogram) = &self.histogram else { return Summary::default() };
        // A bucket's upper end may lie beyond the longest latency.
        let quantile = |quantile| {
            let upper_end = Duration::from_micros(histogram.value_at_quantile(quantile));
            Some(in_ms(upper_end.clamp(self.min, self.max)))
        };
        Summary {
            min_ms: Some(in_ms(self.min)),
            mean_ms: Some(in_ms(self.sum) / as_float(self.count())),
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: Some(in_ms(self.max)),
        }
    }

    /// How many latencies were at most 10, 20, 50, 100, … microseconds, from the first bin that is
    /// not empty to the last.
    pub(crate) fn bins(&self) -> Vec<Bin> {
        let mut cells = self.recorded_us().peekable();
        let mut bins = Vec::new();
        for edge_us in edges_us() {
            if cells.peek().is_none() {
                break;
            }
            let mut count = 0;
            while let Some((_, more)) = cells.next_if(|(us, _)| *us <= edge_us) {
                count += more;
            }
            if count > 0 || !bins.is_empty() {
                bins.push(Bin { up_to_ms: in_ms(Duration::from_micros(edge_us)), count });
            }
        }
        bins
    }

    /// A bin for each latency that occurred, to three digits.
    pub(crate) fn all_bins(&self) -> Vec<Bin> {
        let bin = |(lowest_us, count)| Bin {
            up_to_ms: in_ms(Duration::from_micros(self.highest_equivalent_us(lowest_us))),
            count,
        };
        self.recorded_us().map(bin).collect()
    }

    /// The histogram's cells that are not empty, shortest first: the shortest latency of each, in
    /// microseconds, and its count.
    fn recorded_us(&self) -> impl Iterator<Item = (u64, u64)> {
        self.histogram.iter().flat_map(|histogram| {
            histogram.iter_recorded().map(|cell| {
                let lowest_us = histogram.lowest_equivalent(cell.value_iterated_to());
                (lowest_us, u64::from(cell.count_at_value()))
            })
        })
    }

    fn highest_equivalent_us(&self, micros: u64) -> u64 {
        self.histogram.as_ref().map_or(micros, |histogram| histogram.highest_equivalent(micros))
    }
}

/// 10, 20, 50, 100, 200, 500, … microseconds, up to longer than any run.
fn edges_us() -> impl Iterator<Item = u64> {
    (1..=12).flat_map(|decade| [1, 2, 5].map(|step| step * 10_u64.pow(decade)))
}

/// The rate per second. `None` if the count or the time is zero.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> Option<f64> {
    (count > 0 && !elapsed.is_zero()).then(|| as_float(count) / elapsed.as_secs_f64())
}

/// A part's share of a whole, from 0 to 1. `None` if the whole is zero.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| as_float(part) / as_float(whole))
}

fn new_histogram() -> Histogram<u32> {
    Histogram::new(DIGITS).expect("three digits are within the allowed zero to five")
}

fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A count as a number that can be divided.
fn as_float(count: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of requests are far below the 2^53 that a double counts exactly"
    )]
    let float = count as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for micros in micros {
            latency.record(Duration::from_micros(micros));
        }
        latency
    }

    fn close(value: Option<f64>, expected: f64) {
        let value = value.expect("there are samples");
        assert!((value - expected).abs() <= expected * 0.001, "{value} is not about {expected}");
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let summary = latency((1..=10_000).map(|n| n * 10)).summary();
        close(summary.min_ms, 0.01);
        close(summary.mean_ms, 50.005);
        close(summary.p50_ms, 50.0);
        close(summary.p90_ms, 90.0);
        close(summary.p95_ms, 95.0);
        close(summary.p99_ms, 99.0);
        close(summary.p999_ms, 99.9);
        close(summary.max_ms, 100.0);
    }

    #[test]
    fn without_samples_nothing_is_reported() {
        assert_eq!(Latency::default().summary(), Summary::default());
        assert_eq!(per_second(0, Duration::ZERO), None);
        assert_eq!(share(0, 0), None);
    }

    #[test]
    fn no_quantile_lies_beyond_the_extremes() {
        let summary = latency([123_457]).summary();
        assert_eq!(summary.p50_ms, summary.max_ms);
        assert_eq!(summary.min_ms, summary.max_ms);
    }

    #[test]
    fn bins_reach_from_the_shortest_latency_to_the_longest() {
        let bins = |micros: &[u64]| {
            let bins = latency(micros.iter().copied()).bins().into_iter();
            bins.map(|bin| (bin.up_to_ms, bin.count)).collect::<Vec<_>>()
        };
        assert_eq!(bins(&[]), []);
        assert_eq!(bins(&[0]), [(0.01, 1)]);
        assert_eq!(bins(&[100, 101, 200]), [(0.1, 1), (0.2, 2)]);
        let expected = [(0.1, 2), (0.2, 0), (0.5, 0), (1.0, 0), (2.0, 1)];
        assert_eq!(bins(&[70, 1_500, 90]), expected);
        assert_eq!(bins(&[10_000_000_000]).len(), 1);
    }

    #[test]
    fn all_bins_have_every_sample_to_three_digits() {
        let bins = latency([50, 70_123, 50]).all_bins();
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [2, 1]);
        assert!((bins[0].up_to_ms - 0.05).abs() < 1e-9);
        close(Some(bins[1].up_to_ms), 70.123);
    }

    #[test]
    fn several_clients_latencies_are_those_of_one_that_did_it_all() {
        let mut sum = latency(1..=500);
        sum.add(&latency(501..=1_000));
        sum.add(&Latency::default());
        let mut from_nothing = Latency::default();
        from_nothing.add(&sum);
        for merged in [sum, from_nothing] {
            assert_eq!(merged.summary(), latency(1..=1_000).summary());
            assert_eq!(merged.count(), 1_000);
        }
    }
}
