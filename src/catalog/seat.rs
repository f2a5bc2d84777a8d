//! Who answers a call to this process: the one catalog of its store or, if several share a
//! database, the term that this one rules, if it does.

use std::sync::Arc;

use super::service::Service;
use super::sharing::SharingCatalog;
use crate::health::{DatabaseHealth, Readiness};
use crate::identity::Identity;
use crate::metrics::Scraped;
use crate::wire::calls::Refusal;

/// Who answers.
#[derive(Clone)]
pub enum Seat {
    /// The store has one catalog.
    Alone(Arc<Service>),
    /// Several share a database; this process is one of them.
    Shared(Arc<SharingCatalog>),
}

impl Seat {
    /// Returns the catalog that answers.
    ///
    /// # Errors
    ///
    /// If another process rules.
    pub(super) fn service(&self) -> Result<Arc<Service>, Refusal> {
        match self {
            Self::Alone(service) => Ok(Arc::clone(service)),
            Self::Shared(catalog) => catalog.ruling().map_err(Refusal::NotRuling),
        }
    }

    /// Returns who the process is.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        match self {
            Self::Alone(service) => &service.identity,
            Self::Shared(catalog) => catalog.identity(),
        }
    }

    pub(super) fn scraped(&self) -> Arc<dyn Scraped> {
        match self {
            Self::Alone(service) => Arc::clone(service) as _,
            Self::Shared(catalog) => Arc::clone(catalog) as _,
        }
    }
}

impl Readiness for Seat {
    fn readiness(&self) -> Result<(), String> {
        match self {
            Self::Alone(service) => service.readiness(),
            Self::Shared(catalog) => catalog.readiness(),
        }
    }

    fn database(&self) -> Option<DatabaseHealth> {
        match self {
            Self::Alone(_) => Some(DatabaseHealth::sqlite()),
            Self::Shared(catalog) => Readiness::database(&**catalog),
        }
    }
}
