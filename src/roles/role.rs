//! A role, and its name.

use std::fmt;
use std::str::FromStr;

use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;

/// One process of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The catalog, on SQLite.
    Catalog,
    /// One of several catalogs that share a PostgreSQL database.
    CatalogProcess(CatalogId),
    /// An order replica.
    Order(ReplicaId),
    /// A front-end, numbered from 1 on.
    Frontend(u32),
}

impl Role {
    /// Returns whether this is a catalog.
    #[must_use]
    pub fn is_catalog(self) -> bool {
        matches!(self, Self::Catalog | Self::CatalogProcess(_))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("catalog"),
            Self::CatalogProcess(id) => write!(f, "catalog-{id}"),
            Self::Order(id) => write!(f, "order-{id}"),
            Self::Frontend(1) => f.write_str("frontend"),
            Self::Frontend(number) => write!(f, "frontend-{number}"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let numbered = |prefix| name.strip_prefix(prefix).and_then(|number| number.parse().ok());
        let role = match name {
            "catalog" => Some(Self::Catalog),
            "frontend" => Some(Self::Frontend(1)),
            _ => numbered("catalog-")
                .map(|id| Self::CatalogProcess(CatalogId(id)))
                .or_else(|| numbered("order-").map(|id| Self::Order(ReplicaId(id))))
                .or_else(|| numbered("frontend-").map(Self::Frontend)),
        };
        role.ok_or_else(|| format!("no role is called {name}; try catalog, order-1 or frontend"))
    }
}
