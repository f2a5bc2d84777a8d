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
