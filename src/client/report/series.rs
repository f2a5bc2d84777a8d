//! The time series of a run: the figures of each interval. They are written when the interval ends,
//! so if the client is killed, only the last interval is lost.
//!
//! ```text
//! shopping |--- 1 s ---|--- 1 s ---|-0.4-|   a row per type of request at each mark
//! checking                               |--- 1 s ---|-0.2-|
//! ```
//!
//! A request counts in the interval in which it ends. While the store hangs, intervals are empty;
//! the latencies are in the interval in which it answers again.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at};

use super::csv::{Phase, SERIES_HEADER, series_rows};
use super::files::CannotWrite;
use super::table::Table;
use crate::client::core::live::LiveCounts;
use crate::client::core::stats::Stats;
use crate::clock;

/// The file of a time series.
#[derive(Debug)]
pub(crate) struct Series {
    path: PathBuf,
    file: File,
    every: Duration,
    /// The first error. The run goes on without its time series.
    failure: Option<io::Error>,
}

/// Records a run, if there is a series to record it in.
pub(crate) struct Recorder<'a> {
    series: Option<&'a mut Series>,
    live: Rc<LiveCounts>,
    /// When the run began.
    pub(crate) began: Instant,
    /// When the run began, as the time since 1970.
    pub(crate) began_unix: Duration,
    /// When the last interval ended.
    last: Instant,
}

impl Series {
    /// Makes the file, with a header. It gets rows at intervals of `every`.
    pub(crate) fn create(path: PathBuf, every: Duration) -> Result<Self, CannotWrite> {
        let created = File::create(&path).and_then(|mut file| {
            file.write_all(SERIES_HEADER.as_bytes())?;
            Ok(file)
        });
        match created {
            Ok(file) => Ok(Self { path, file, every, failure: None }),
            Err(error) => Err((path, error)),
        }
    }

    /// Ends the series. Returns the first error.
    pub(crate) fn finish(self) -> Result<(), CannotWrite> {
        self.failure.map_or(Ok(()), |failure| Err((self.path, failure)))
    }

    fn write(&mut self, rows: &str) {
        if self.failure.is_none() {
            self.failure = self.file.write_all(rows.as_bytes()).err();
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time series: {}, every {:?}", self.path.display(), self.every)
    }
}

impl<'a> Recorder<'a> {
    /// Records a run that begins now and is counted in `live`.
    pub(crate) fn new(series: Option<&'a mut Series>, live: Rc<LiveCounts>) -> Self {
        let began = clock::now();
        Self { series, live, began, began_unix: clock::time_of_day(), last: began }
    }

    /// Records the clients' counts during `work`.
    pub(crate) async fn during<T>(&mut self, phase: Phase, work: impl Future<Output = T>) -> T {
        let Some(every) = self.series.as_ref().map(|series| series.every) else {
            return work.await;
        };
        let mut work = pin!(work);
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        // If the process was not run for a while, the interval is longer.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.end_interval(phase);
                    return done;
                }
                _ = ticks.tick() => self.end_interval(phase),
            }
        }
    }

    fn end_interval(&mut self, phase: Phase) {
        let (Some(series), Some(stats)) = (&mut self.series, &self.live.interval) else { return };
        let now = clock::now();
        let (elapsed, length) = (now - self.began, now - self.last);
        let stats: Stats = mem::take(&mut stats.borrow_mut());
        let table = Table::new(&stats, |_| length);
        let times = [self.began_unix + elapsed, elapsed, length];
        series.write(&series_rows(times.map(|time| time.as_secs_f64()), phase, &table));
        self.last = now;
    }
}
