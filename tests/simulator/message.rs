//! The machines of a simulation, and what clients say to a front-end.

use std::fmt;

use serde::{Deserialize, Serialize};
use toystore::wire::calls::{Call, Method};
use toystore::wire::lease::Version;
use toystore::wire::order::{Order, OrderNumber};
use toystore::wire::purchase::{Decision, Purchase};
use toystore::wire::replication::ReplicaId;
use toystore::wire::toy::ToyName;

/// A machine with one process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Catalog,
    /// One of several catalogs.
    Candidate(u32),
    /// The database that several catalogs share.
    Database,
    Replica(u32),
    Frontend(u32),
    Client(u32),
    /// The world itself: messages on their way, disks, the schedule of faults.
    World,
}

/// A client asks for a toy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShowToy(pub(crate) ToyName);

/// A toy as a client sees it, and its version, by which the judge knows when it was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) quantity: u64,
    pub(crate) version: Version,
    pub(crate) is_hit: bool,
}

/// A client buys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlaceOrder(pub(crate) Purchase);

/// A client asks for an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShowOrder(pub(crate) OrderNumber);

/// An operator asks whether a role is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AskReadiness {}

impl Call for AskReadiness {
    /// Why it is not.
    type Answer = Option<String>;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/readyz";
}

impl Call for ShowToy {
    type Answer = Shown;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/products";
}

impl Call for PlaceOrder {
    type Answer = Decision;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/orders";
}

impl Call for ShowOrder {
    type Answer = Option<Order>;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/orders";
}

impl Node {
    pub(crate) fn replica(id: ReplicaId) -> Self {
        Self::Replica(id.0)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Catalog => "catalog".to_owned(),
            Self::Candidate(id) => format!("catalog {id}"),
            Self::Database => "database".to_owned(),
            Self::Replica(id) => format!("replica {id}"),
            Self::Frontend(number) => format!("front-end {number}"),
            Self::Client(number) => format!("client {number}"),
            Self::World => "world".to_owned(),
        };
        f.pad(&name)
    }
}
