//! What the catalog's database tells Prometheus besides what every database does: how many
//! decisions it keeps, which it never forgets, and how large they are.

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use rusqlite::Transaction;

use super::Journal;
use crate::catalog::core::stock::Change;
use crate::metrics::{count, gauge_of};
use crate::storage::{DatabaseMetrics, Worker, commit};
use crate::wire::purchase::{Decision, Purchase};

/// The bytes of a decision besides its key and the toy's name: quantity, number and SQLite's header
/// of a row, each as a few bytes of a variable length.
const FIXED_BYTES: usize = 16;

/// The metrics of the catalog's database. Clones count for the same one.
#[derive(Clone)]
pub struct JournalMetrics {
    database: DatabaseMetrics,
    decisions: IntGauge,
    bytes: IntGauge,
}

impl Journal {
    /// Returns what the database tells Prometheus.
    #[must_use]
    pub fn metrics(&self) -> JournalMetrics {
        self.metrics.clone()
    }
}

impl JournalMetrics {
    /// Counts the decisions in the database, as the first job of its writing thread: so a start
    /// does not wait for it, and no decision is counted twice.
    pub(super) fn begin(writer: &Worker) -> Self {
        let metrics = Self {
            database: writer.metrics(),
            decisions: gauge_of("decisions_kept", "Decisions that are kept under their keys."),
            bytes: gauge_of("decisions_kept_bytes", "Size of the decisions that are kept, about."),
        };
        let (decisions, bytes) = (metrics.decisions.clone(), metrics.bytes.clone());
        let counted = writer.run(move |connection| {
            let sql = "SELECT count(*), coalesce(sum(length(key) + length(name)), 0)
                       FROM decisions";
            let (number, size): (i64, i64) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            decisions.set(number);
            bytes.set(size + number * count(FIXED_BYTES));
            Ok(())
        });
        // A database that cannot count fails at its next job, too, which is awaited.
        drop(counted);
        metrics
    }

    /// Commits a change, and counts its decisions.
    pub(super) fn commit(
        &self,
        transaction: Transaction<'_>,
        change: &Change,
    ) -> rusqlite::Result<()> {
        self.database.time(|| commit(transaction))?;
        self.recorded(change);
        Ok(())
    }

    fn recorded(&self, change: &Change) {
        for (Purchase { key, name, .. }, decision) in &change.decisions {
            if let Decision::Granted(_) | Decision::OutOfStock = decision {
                self.decisions.inc();
                self.bytes.add(count(key.as_str().len() + name.as_str().len() + FIXED_BYTES));
            }
        }
    }
}

impl Collector for JournalMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.database.desc(), self.decisions.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        [self.database.collect(), self.decisions.collect(), self.bytes.collect()].concat()
    }
}
