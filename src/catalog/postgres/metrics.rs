//! What a database on PostgreSQL tells Prometheus: how long commits take, how many calls wait for
//! its connections and, while this catalog rules, how many decisions it keeps.
//!
//! Decisions are counted once in a term that lasts, on a connection of its own, so that the term
//! does not wait for it; then each commit adds its own. The one that is under way when the count
//! begins may be counted twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntGauge};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::primary::DIAL_LIMIT;
use crate::catalog::journal::DecisionMetrics;
use crate::storage::{StorageError, commit_seconds, waiting};

/// Ten million decisions take some seconds; it has a processor of the server to itself at most.
const OWN_LIMITS: &str = "SET statement_timeout = '60s'; SET max_parallel_workers_per_gather = 0";

/// How long a term lasts before the decisions are counted. The count reads them all: not while
/// purchases wait for a catalog that has just begun, and not in each of the short terms that follow
/// one another while no front-end is there.
const COUNT_AFTER: Duration = Duration::from_secs(5);

const COUNT: &str = "
    SELECT count(*), coalesce(sum(octet_length(key) + octet_length(name)), 0)::bigint
    FROM decisions";

/// The metrics of one database. Clones count for the same one.
#[derive(Clone)]
pub struct PostgresMetrics {
    /// The time of commits, with the standbys.
    pub(super) commit_seconds: Histogram,
    /// Calls that wait for a connection.
    pub(super) waiting: IntGauge,
    /// Names and help, which a collector has to know in advance.
    names: DecisionMetrics,
    kept: Arc<Mutex<Weak<KeptDecisions>>>,
}

/// The decisions of the database, as a term counts them.
pub(super) struct KeptDecisions {
    metrics: DecisionMetrics,
    /// Those that were there before the term are counted, too.
    is_complete: AtomicBool,
}

impl PostgresMetrics {
    pub(super) fn new() -> Self {
        Self {
            commit_seconds: commit_seconds(),
            waiting: waiting(),
            names: DecisionMetrics::new(),
            kept: Arc::default(),
        }
    }

    /// Begins to count for a term. What is counted is shown until it is dropped.
    pub(super) fn begin_term(&self) -> Arc<KeptDecisions> {
        let metrics = DecisionMetrics::new();
        let kept = Arc::new(KeptDecisions { metrics, is_complete: AtomicBool::new(false) });
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&kept);
        kept
    }
}

impl KeptDecisions {
    /// Counts what a commit has recorded.
    pub(super) fn recorded(&self, decisions: (i64, i64)) {
        self.metrics.recorded(decisions);
    }

    /// Counts what is in the database.
    pub(super) async fn count(&self, shared: &Shared) -> Result<(), StorageError> {
        sleep(COUNT_AFTER).await;
        let primary = shared.sighted().primary.clone();
        let primary = primary.ok_or_else(|| StorageError::Lost("no primary was seen".into()))?;
        let session = timeout(DIAL_LIMIT, shared.servers.dial_primary(&primary)).await;
        let session = session.unwrap_or_else(|_late| {
            Err(StorageError::Lost(format!("{}: it does not answer", primary.server)))
        })?;
        session.run(OWN_LIMITS).await?;
        session.prepare(COUNT).await?;
        // What was committed before is found.
        self.metrics.clear();
        let row = session.query_one(COUNT, &[]).await?;
        self.metrics.found(row.get(0), row.get(1));
        self.is_complete.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Collector for PostgresMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.commit_seconds.desc(), self.waiting.desc(), self.names.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let kept = kept.filter(|kept| kept.is_complete.load(Ordering::Relaxed));
        let decisions = kept.map(|kept| kept.metrics.collect()).unwrap_or_default();
        [self.commit_seconds.collect(), self.waiting.collect(), decisions].concat()
    }
}
