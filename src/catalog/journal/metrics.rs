//! What the catalog's database tells Prometheus besides what every database does: how many
//! decisions it keeps, which it never forgets, and how large they are.

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use rusqlite::{Connection, Transaction};

use super::Journal;
use crate::catalog::core::stock::Change;
use crate::metrics::{count, gauge_of};
use crate::storage::{DatabaseMetrics, Worker, commit};

/// The bytes of a decision besides its key and the toy's name: quantity, number and SQLite's header
/// of a row, each as a few bytes of a variable length.
const FIXED_BYTES: usize = 16;

/// The metrics of the catalog's database. Clones count for the same one.
#[derive(Clone)]
pub struct JournalMetrics {
    database: DatabaseMetrics,
    decisions: DecisionMetrics,
}

/// How many decisions a database keeps, and how large they are. Clones count for the same ones.
#[derive(Clone)]
pub(crate) struct DecisionMetrics {
    number: IntGauge,
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
    pub(super) fn of(writer: &Worker) -> Self {
        Self { database: writer.metrics(), decisions: DecisionMetrics::new() }
    }

    /// Returns what counts the decisions in a database. A start does not wait for it; what is
    /// recorded meanwhile counts for itself.
    pub(super) fn counting(&self) -> impl FnOnce(&Connection) -> rusqlite::Result<()> + use<> {
        let decisions = self.decisions.clone();
        move |connection| {
            let sql = "SELECT count(*), coalesce(sum(length(key) + length(name)), 0)
                       FROM decisions";
            let (number, size) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            decisions.found(number, size);
            Ok(())
        }
    }

    /// Commits a change, and counts its decisions.
    pub(super) fn commit(
        &self,
        transaction: Transaction<'_>,
        change: &Change,
    ) -> rusqlite::Result<()> {
        self.database.time(|| commit(transaction))?;
        self.decisions.recorded(DecisionMetrics::of(change));
        Ok(())
    }
}

impl DecisionMetrics {
    pub(crate) fn new() -> Self {
        Self {
            number: gauge_of("decisions_kept", "Decisions that are kept under their keys."),
            bytes: gauge_of("decisions_kept_bytes", "Size of the decisions that are kept, about."),
        }
    }

    /// Forgets what was counted.
    pub(crate) fn clear(&self) {
        self.number.set(0);
        self.bytes.set(0);
    }

    /// Counts what is in the database: so many decisions, with keys and names of so many bytes.
    pub(crate) fn found(&self, number: i64, text: i64) {
        self.recorded((number, text + number * count(FIXED_BYTES)));
    }

    /// Counts decisions that were recorded: how many, and their size.
    pub(crate) fn recorded(&self, (number, bytes): (i64, i64)) {
        self.number.add(number);
        self.bytes.add(bytes);
    }

    /// Returns how many decisions a change records, and their size.
    pub(crate) fn of(change: &Change) -> (i64, i64) {
        change.decisions.iter().fold((0, 0), |(number, bytes), (key, decision)| {
            let size = key.as_str().len() + decision.name.as_str().len() + FIXED_BYTES;
            (number + 1, bytes + count(size))
        })
    }
}

impl Collector for DecisionMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.number.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        [self.number.collect(), self.bytes.collect()].concat()
    }
}

impl Collector for JournalMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.database.desc(), self.decisions.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        [self.database.collect(), self.decisions.collect()].concat()
    }
}
