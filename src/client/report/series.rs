//! The time series of a run: what happened in each interval, on disk as soon as the interval is
//! over, so that whatever ends the client loses no more than the last one.
//!
//! ```text
//! shopping |--- 1 s ---|--- 1 s ---|-0.4-|   a row per type of request at each mark
//! checking                               |--- 1 s ---|-0.2-|
//! ```
//!
//! A request counts in the interval in which it ends; while a store hangs, the intervals are empty,
//! and its latencies are in the one in which it comes back.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at};

use crate::client::core::stats::Tally;
use crate::client::report::csv::{Interval, Phase, SERIES_HEADER, series_rows};
use crate::client::report::progress::Watch;
use crate::client::report::table::Table;
use crate::clock;

/// A file that gets a time series.
#[derive(Debug)]
pub struct Series {
    path: PathBuf,
    file: File,
    every: Duration,
    /// Why nothing more is written. A run is worth more than its time series, and goes on.
    failure: Option<io::Error>,
}

/// A run that is being recorded, or not.
pub struct Recorder<'a> {
    series: Option<&'a mut Series>,
    watch: Rc<Watch>,
    began: Instant,
    began_unix: Duration,
    /// When the last interval ended.
    last: Instant,
}

impl Series {
    /// Makes the file, with the columns' names, for a row every so often.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn create(path: &Path, every: Duration) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(SERIES_HEADER.as_bytes())?;
        Ok(Self { path: path.to_owned(), file, every, failure: None })
    }

    /// Ends the series.
    ///
    /// # Errors
    ///
    /// If some of it could not be written.
    pub fn finish(self) -> Result<(), (PathBuf, io::Error)> {
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
    /// Records a run that begins now, and that `watch` counts.
    pub fn new(series: Option<&'a mut Series>, watch: Rc<Watch>) -> Self {
        let began = clock::now();
        Self { series, watch, began, began_unix: clock::time_of_day(), last: began }
    }

    /// When the run began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When the run began, as the time since 1970.
    #[must_use]
    pub fn began_unix(&self) -> Duration {
        self.began_unix
    }

    /// Records what the clients do while `work` goes on.
    pub async fn during<T>(&mut self, phase: Phase, work: impl Future<Output = T>) -> T {
        let Some(every) = self.series.as_ref().map(|series| series.every) else {
            return work.await;
        };
        let mut work = pin!(work);
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        // After a moment in which nothing ran at all, one long interval says so.
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
        let (Some(series), Some(tally)) = (&mut self.series, &self.watch.interval) else { return };
        let now = clock::now();
        let (elapsed, length) = (now - self.began, now - self.last);
        let tally: Tally = mem::take(&mut tally.borrow_mut());
        let table = Table::new(&tally, |_| length);
        let interval = Interval {
            unix_s: (self.began_unix + elapsed).as_secs_f64(),
            time_s: elapsed.as_secs_f64(),
            interval_s: length.as_secs_f64(),
            phase,
        };
        series.write(&series_rows(interval, &table));
        self.last = now;
    }
}
