//! What a database tells Prometheus: how long commits take, how many jobs wait, how large it is.

use std::fs;
use std::path::{Path, PathBuf};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntGauge};

use super::with_suffix;
use crate::metrics::{SECONDS, count, gauge_of, histogram};

/// The metrics of one database. Clones count for the same one.
#[derive(Clone)]
pub struct DatabaseMetrics {
    path: PathBuf,
    commit_seconds: Histogram,
    waiting: IntGauge,
    bytes: IntGauge,
}

impl DatabaseMetrics {
    /// The metrics of the database at `path`, of whose writing thread jobs wait.
    pub(crate) fn new(path: &Path, waiting: IntGauge) -> Self {
        Self {
            path: path.to_owned(),
            commit_seconds: commit_seconds(),
            waiting,
            bytes: gauge_of("database_bytes", "Size of the database and its write-ahead log."),
        }
    }

    /// Measures a commit.
    pub(crate) fn time<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.commit_seconds.observe_closure_duration(commit)
    }

    fn all(&self) -> [&dyn Collector; 3] {
        [&self.commit_seconds, &self.waiting, &self.bytes]
    }
}

/// The time of commits to any database.
pub(crate) fn commit_seconds() -> Histogram {
    let help = "Time of a commit, with what makes it durable: the disk's sync, or standbys.";
    histogram("database_commit_seconds", help, SECONDS)
}

/// A gauge of the jobs that wait for a thread or, on PostgreSQL, for a connection.
pub(crate) fn waiting() -> IntGauge {
    gauge_of("database_jobs_waiting", "Jobs that wait for the database's thread or connection.")
}

impl Collector for DatabaseMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().iter().flat_map(|metric| metric.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sizes = ["", "-wal"].map(|suffix| fs::metadata(with_suffix(&self.path, suffix)));
        self.bytes.set(count(sizes.iter().flatten().map(fs::Metadata::len).sum::<u64>()));
        self.all().iter().flat_map(|metric| metric.collect()).collect()
    }
}
