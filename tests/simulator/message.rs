//! Who there is, and what they say to each other: the wire's own types.

use std::fmt;
use std::time::Duration;

use toystore::wire::lease::{
    FillReply, FillRequest, Invalidation, Registered, Registration, RenewalReply, SessionId,
    Version,
};
use toystore::wire::order::{Order, OrderNumber, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, Purchase, PurchaseReply};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogStatus, Leadership,
    Nomination, NominationReply, OrderReply, ReplicaId, ReplicaStatus,
};
use toystore::wire::toy::ToyName;

/// A machine with one process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Catalog,
    Replica(u32),
    Frontend(u32),
    Shopper(u32),
    /// What is nobody's: messages on their way, disks, the schedule of faults.
    Fate,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    // To the catalog.
    Toy(FillRequest),
    CatalogStatus,
    Register(Registration),
    Renew(SessionId),
    Commit(CommitRequest),
    Acquire(Acquisition),
    Journal(u64),
    JournalOrder(OrderNumber),
    // To a replica.
    Status,
    Nominate(Nomination),
    Leader(Leadership),
    Purchase(Purchase, Duration),
    Order(OrderNumber),
    Append(AppendRequest),
    Rows(u64),
    // To a front-end.
    Invalidate(Invalidation),
    Show(ToyName),
    Buy(Purchase),
    Find(OrderNumber),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Toy(FillReply),
    CatalogStatus(CatalogStatus),
    Registered(Registered),
    Renewed(RenewalReply),
    Committed(CommitReply),
    Acquired(AcquisitionReply),
    Rows(Rows),
    Order(OrderReply),
    Status(ReplicaStatus),
    Nominated(NominationReply),
    Purchased(PurchaseReply),
    Appended(AppendReply),
    Shown(Shown),
    Bought(Decision),
    Found(Option<Order>),
    Done,
    /// 503: try again.
    Unavailable,
}

/// A toy as a client sees it, and the version, by which the judge knows when it was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) quantity: u64,
    pub(crate) version: Version,
    pub(crate) is_hit: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens there.
    NobodyListens,
    /// None came in time, or the connection broke.
    NoAnswer,
    /// The other side could not do it.
    Unavailable,
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
            Self::Replica(id) => format!("replica {id}"),
            Self::Frontend(number) => format!("front-end {number}"),
            Self::Shopper(number) => format!("shopper {number}"),
            Self::Fate => "fate".to_owned(),
        };
        f.pad(&name)
    }
}
