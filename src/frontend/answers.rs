//! What a front-end answers its clients, before it is HTTP.

use std::fmt;

use actix_web::web::Bytes;

use crate::wire::lease::Version;

/// A toy's answer.
#[derive(Clone, Debug)]
pub enum ToyAnswer {
    /// The toy.
    Found(Rendered, Source),
    /// There is no such toy.
    Unknown,
}

/// A toy as clients get it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The JSON body.
    pub body: Bytes,
    /// The toy's version.
    pub version: Version,
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this front-end's cache.
    Cache,
    /// From the catalog.
    Catalog,
}

/// Why a client gets a 503.
#[derive(Clone, Debug)]
pub enum FrontendError {
    /// Too many purchases and order queries are in flight.
    Overloaded,
    /// The catalog did not answer.
    NoCatalog(String),
    /// No replica leads; and why, as far as that is known.
    NoLeader(String),
    /// The catalog cannot sell, and says why.
    Stopped(String),
    /// The replicas use another start of the catalog than this front-end.
    OtherCatalog,
    /// The outcome of a purchase is unknown.
    Undecided(String),
}

impl fmt::Display for FrontendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded => f.write_str("too many requests are in flight; retry in a moment"),
            Self::NoCatalog(problem) => write!(f, "the catalog is unreachable: {problem}"),
            Self::Stopped(why) => f.write_str(why),
            Self::OtherCatalog => f.write_str(
                "the order replicas use another catalog than this front-end, or the catalog has \
                 just restarted; retry, and if it lasts, give all roles the same roles.toml and \
                 end the catalog that it does not name",
            ),
            Self::NoLeader(problem) => write!(f, "{problem}; retry in a moment"),
            Self::Undecided(problem) => {
                write!(f, "no answer in time ({problem}); retry with this reply's Idempotency-Key")
            }
        }
    }
}
