//! What one of several catalogs says of itself: whether it is ready, and what it counts.

use prometheus::{IntCounter, IntGauge};

use super::shared::Observed;
use super::sharing::SharingCatalog;
use crate::health::{DatabaseHealth, Readiness};
use crate::metrics::{Metrics, Scraped, count};
use crate::wire::term::Duty;

/// What a catalog that shares its database counts, besides what each catalog counts.
pub(super) struct SharingMetrics {
    /// Terms that this process began.
    pub(super) terms: IntCounter,
    term: IntGauge,
    active: IntGauge,
    orders: IntGauge,
    standbys: IntGauge,
    required: IntGauge,
}

impl SharingMetrics {
    /// Counters at 0. The database must have so many synchronous standbys.
    pub(super) fn new(role: &Metrics, required: u32) -> Self {
        let metrics = Self {
            terms: role.counter("terms_begun_total", "Terms that this process began to rule."),
            term: role.gauge("term", "The newest term that this process has seen."),
            active: role.gauge("active", "1 if this catalog rules, 0 if it stands by."),
            orders: role.gauge(
                "database_orders",
                "Orders in the database, as far as this catalog has seen them.",
            ),
            standbys: role.gauge(
                "database_standbys",
                "Synchronous standbys of the database, when it was last asked.",
            ),
            required: role.gauge(
                "database_standbys_required",
                "Synchronous standbys that the database must have, by roles.toml.",
            ),
        };
        metrics.required.set(required.into());
        metrics
    }
}

impl SharingCatalog {
    /// Nothing if it is ready; else what is missing.
    fn condition(&self) -> Result<(), String> {
        if let Ok(service) = self.ruling() {
            return service.readiness();
        }
        let (observed, problem) = Self::database(self);
        match (observed, problem) {
            (Some(_), None) => Ok(()),
            (_, Some(problem)) => Err(problem),
            (None, None) => Err("the database has not answered yet".into()),
        }
    }
}

impl Readiness for SharingCatalog {
    fn readiness(&self) -> Result<(), String> {
        self.condition().map_err(|problem| match self.last_observed() {
            Some(Observed { primary, standbys, .. }) => format!(
                "{problem} (the last primary was {primary}, with {standbys} synchronous standbys)"
            ),
            None => format!("{problem} (no primary was seen)"),
        })
    }

    fn database(&self) -> Option<DatabaseHealth> {
        let (observed, _) = Self::database(self);
        let report = self.report();
        Some(DatabaseHealth {
            engine: "postgresql".into(),
            duty: Some(report.duty),
            term: Some(report.term),
            primary: observed.as_ref().map(|observed| observed.primary.clone()),
            standbys: observed.as_ref().map(|observed| observed.standbys),
        })
    }
}

impl Scraped for SharingCatalog {
    fn scrape(&self) -> &Metrics {
        let (metrics, report) = (&self.metrics, self.report());
        match self.ruling() {
            Ok(service) => drop(service.scrape()),
            Err(_) => self.kept.metrics.stands_by(self.readiness().is_ok()),
        }
        metrics.term.set(count(report.term.0));
        metrics.active.set((report.duty == Duty::Active).into());
        let (observed, _) = Self::database(self);
        metrics.orders.set(count(self.orders_seen()));
        metrics.standbys.set(observed.map_or(0, |observed| observed.standbys.into()));
        &self.kept.metrics.role
    }
}
