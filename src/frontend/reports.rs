//! What the catalog last reported to a front-end, and whether it is still there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::service::Service;
use crate::transport::{CallError, Unreachable};
use crate::wire::replication::{CatalogReport, Leadership};

/// How long the catalog's last report counts: ten questions.
const REPORT_LASTS: Duration = Duration::from_secs(2);
/// For how long after an answer the catalog counts as there. One that is there answers every 725 ms
/// at the latest: up to 225 ms until it is asked, and up to 500 ms until it answers.
const THERE_FOR: Duration = Duration::from_millis(800);

/// The catalog's last report, if there was one.
#[derive(Debug, Default)]
pub(super) struct CatalogReports {
    last: Mutex<Option<DatedReport>>,
    /// Its address refuses connections: no process listens there.
    is_gone: AtomicBool,
}

/// A report, and when it was asked for and came.
#[derive(Debug)]
struct DatedReport {
    report: CatalogReport,
    asked: Instant,
    answered: Instant,
}

impl CatalogReports {
    fn last<T>(&self, read: impl FnOnce(&mut Option<DatedReport>) -> T) -> T {
        read(&mut self.last.lock().expect("nothing panics under this lock"))
    }
}

impl Service {
    /// Takes the catalog's report, which was asked for when `before` was known. That of another
    /// store than this front-end's counts for nothing.
    pub(super) fn heard_from_catalog(
        &self,
        report: CatalogReport,
        asked: Instant,
        before: Leadership,
    ) {
        if report.store.is_none_or(|store| self.identity.adopt(store)) {
            self.select(|selection| selection.recorded(report.status.leadership, before));
            let heard = DatedReport { report, asked, answered: self.runtime.now() };
            self.catalog.last(|last| *last = Some(heard));
            self.catalog.is_gone.store(false, Ordering::Relaxed);
            self.derive_stop();
        }
    }

    /// Notes that the catalog gave no report.
    pub(super) fn no_report(&self, error: &CallError) {
        let is_gone = matches!(error, CallError::Unreachable(Unreachable::ConnectionRefused));
        self.catalog.is_gone.store(is_gone, Ordering::Relaxed);
        // The last report may be too old by now.
        self.derive_stop();
    }

    /// The catalog's report, if it answered lately.
    pub(super) fn catalog(&self) -> Option<CatalogReport> {
        self.catalog_heard().map(|(report, _)| report)
    }

    /// The catalog's report, if it answered lately, and when it was asked for.
    pub(super) fn catalog_heard(&self) -> Option<(CatalogReport, Instant)> {
        let now = self.runtime.now();
        self.catalog.last(|last| {
            let lately = last.as_ref().filter(|heard| now < heard.asked + REPORT_LASTS)?;
            Some((lately.report.clone(), lately.asked))
        })
    }

    /// Whether the catalog is there: it has just answered, and has not been found gone since.
    pub(super) fn catalog_answers(&self) -> bool {
        let now = self.runtime.now();
        !self.catalog.is_gone.load(Ordering::Relaxed)
            && self
                .catalog
                .last(|last| last.as_ref().is_some_and(|heard| now < heard.answered + THERE_FOR))
    }
}
