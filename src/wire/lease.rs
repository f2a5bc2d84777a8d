//! The messages that keep a front-end's cache coherent: sessions, fills and invalidations.
//!
//! ```text
//! front-end                            catalog
//!   | Registration -------------------->|
//!   |<------------- Registered, a lease |
//!   | FillRequest: Tux? --------------->| now a holder of Tux
//!   |<------------------ FillReply: Tux |
//!   |<-------------- Invalidation: Tux  | Tux is about to change
//!   | 200, dropped -------------------->| Tux changes
//!   | Renewal ------------------------->| every 200 ms
//!   |<---------------------RenewalReply |
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count;
use super::toy::{Toy, ToyName};
use super::trace::RequestOrigin;

/// The id of a front-end's session with the catalog. It is never used again: `boot` is drawn at
/// random at each start of the catalog, and `serial` counts the sessions since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// Which run of the catalog.
    #[serde(deserialize_with = "count::deserialize_random")]
    pub boot: u64,
    /// Which session of that run.
    #[serde(deserialize_with = "count::deserialize")]
    pub serial: u64,
}

/// The version of a toy's stock, which counts its changes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// A front-end asks for a session (`POST /internal/register`). Its cache is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The front-end's id, which gives its address in `roles.toml`.
    pub frontend: u32,
    /// The session that this process had before, which the catalog need not wait for any more.
    pub previous: Option<SessionId>,
}

/// The catalog's answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The session.
    pub session: SessionId,
    /// How long it lasts, counted from when the registration was sent.
    pub lease_ms: u64,
    /// The names of all toys, so that the front-end need not ask for unknown ones.
    pub toys: Vec<ToyName>,
}

/// A front-end renews its session (`POST /internal/renew`), or ends it since it shuts down
/// (`POST /internal/end`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The session.
    pub session: SessionId,
}

/// The catalog's answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalReply {
    /// The session is renewed.
    Renewed {
        /// How long it lasts, counted from when the renewal was sent.
        lease_ms: u64,
    },
    /// The session has expired: empty the cache and register anew.
    Expired,
}

/// A front-end asks for a toy (`POST /internal/toy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillRequest {
    /// The toy.
    pub name: ToyName,
    /// The session under which the front-end would cache the answer.
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

/// A toy, and whether the front-end may cache it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The toy as it is now.
    pub toy: Toy,
    /// Its version.
    pub version: Version,
    /// The session that now holds the toy. Without one, the front-end must not cache the answer.
    pub cacheable_under: Option<SessionId>,
}

/// The catalog tells a holder to drop toys (`POST /internal/invalidate`). Status 200 acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidation {
    /// The session that holds them.
    pub session: SessionId,
    /// The toys, each with the version that it will have.
    pub toys: Vec<(ToyName, Version)>,
    /// The clients' requests for which toys are dropped now; none for a restock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<RequestOrigin>,
}

/// The longest lease in milliseconds, which is the one that the catalog grants: short, so that a
/// purchase that must wait for one is hardly delayed, and five renewals long, so that a renewal may
/// be lost. A front-end counts no longer one, whatever it is told.
pub const LONGEST_LEASE_MS: u64 = 1_000;

impl SessionId {
    /// Stands for the sessions that a restored journal does not know. Their front-ends may go on
    /// serving their caches until a lease has passed.
    pub const FORGOTTEN: Self = Self { boot: 0, serial: 0 };
}

impl Invalidation {
    /// Returns what is dropped, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let each =
            self.toys.iter().map(|(toy, version)| format!("{toy} before {}", version.in_words()));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Version {
    /// Returns the version in words.
    #[must_use]
    pub fn in_words(self) -> String {
        format!("version {}", self.0)
    }

    /// Returns the version after this one.
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
