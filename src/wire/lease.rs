//! Between the front-ends and the catalog: sessions, fills and invalidations of the cache.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count;
use super::toy::{Toy, ToyName};

/// A front-end's session with the catalog. No two are ever the same: `boot` is drawn at random at
/// each start of the catalog, and `serial` counts the sessions since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// The catalog's start.
    #[serde(deserialize_with = "count::deserialize_drawn")]
    pub boot: u64,
    /// The session's place among that start's.
    #[serde(deserialize_with = "count::deserialize")]
    pub serial: u64,
}

/// A toy's version: counts the changes of its stock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// A front-end registers, its cache empty at that moment (`POST /internal/register`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The front-end's id, by which the catalog finds its address in `roles.toml`.
    pub frontend: u32,
    /// The session that this process had before, which it has dropped.
    pub previous: Option<SessionId>,
}

/// The catalog's answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The session.
    pub session: SessionId,
    /// How long it lasts from when the registration was sent, in milliseconds.
    pub lease_ms: u64,
    /// All the toys there are, so that unknown ones need not be asked for.
    pub toys: Vec<ToyName>,
}

/// A front-end prolongs its session (`POST /internal/renew`), or ends it because it is ending
/// itself (`POST /internal/end`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The session.
    pub session: SessionId,
}

/// The catalog's answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalReply {
    /// Prolonged, from when the renewal was sent.
    Renewed {
        /// For so many milliseconds.
        lease_ms: u64,
    },
    /// The session has run out: empty the cache and register anew.
    Expired,
}

/// A front-end asks for a toy (`POST /internal/toy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillRequest {
    /// The toy.
    pub name: ToyName,
    /// The session under which the answer would be cached.
    pub session: Option<SessionId>,
}

/// The catalog's answer to a front-end that asks for a toy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillReply {
    /// The toy.
    Found(Fill),
    /// There is no such toy.
    Unknown,
}

/// A toy, and whether it may be cached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The toy as it is now.
    pub toy: Toy,
    /// Its version.
    pub version: Version,
    /// The session whose holder of this toy the front-end now is; without one it must not cache.
    pub cacheable_under: Option<SessionId>,
}

/// The catalog tells a holder to drop toys (`POST /internal/invalidate`). Any 200 acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidation {
    /// The session that holds them.
    pub session: SessionId,
    /// The toys, each with the version that it is about to have.
    pub toys: Vec<(ToyName, Version)>,
}

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.boot, self.serial)
    }
}
