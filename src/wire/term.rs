//! Terms: which of several catalogs rules.
//!
//! Catalogs that share a database rule one after the other, each in a term of its own. A term has
//! one catalog, and a catalog of an earlier term can commit nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::count;

/// A number that grows each time that another catalog rules. (An [`Epoch`] is the same for the
/// replicas' leader.)
///
/// [`Epoch`]: super::replication::Epoch
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64, example = 1)]
pub struct Term(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// The id of one of several catalogs, as in `roles.toml`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u32, example = 1)]
pub struct CatalogId(pub u32);

/// What a catalog that does not rule knows of the one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WhoRules {
    /// The newest term that it has seen.
    pub term: Term,
    /// The catalog that has claimed it and not left it, if that is another one.
    pub holder: Option<CatalogId>,
}

/// What one of several catalogs answers to the question who rules (`POST /internal/term`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermReport {
    /// The catalog that answers.
    pub id: CatalogId,
    /// Whether it rules.
    pub duty: Duty,
    /// The newest term that it has seen: its own, if it rules.
    pub term: Term,
}

/// What one of several catalogs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// It rules: it answers and sells.
    Active,
    /// It waits until the one that rules is gone.
    Standby,
}

impl Term {
    /// Returns the term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WhoRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            Some(holder) => {
                write!(f, "this catalog stands by: catalog-{holder} rules, term {}", self.term)
            }
            None => write!(f, "this catalog stands by: none rules since term {}", self.term),
        }
    }
}
