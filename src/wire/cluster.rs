//! The body of `GET /cluster`: the state of the cluster as one front-end sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::OrderNumber;
use super::replication::{Epoch, ReplicaId};
use super::term::{CatalogId, Term};
use super::toy::ToyName;

/// The data of `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The newest epoch that the front-end knows of.
    pub epoch: Epoch,
    /// The replica that it sends purchases to.
    pub leader: Option<ReplicaId>,
    /// The catalog.
    pub catalog: CatalogView,
    /// The order replicas, the highest id first.
    pub replicas: Vec<ReplicaView>,
    /// The front-end's own cache.
    pub cache: CacheView,
    /// All front-ends, this one included.
    #[serde(default)]
    pub frontends: Vec<FrontendView>,
    /// Which front-end says this, such as `frontend-2`.
    #[serde(default)]
    pub frontend: String,
    /// How long the front-end may still answer from its cache, unless the catalog renews the lease.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// Why the store cannot sell, if that lasts until an operator acts.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// The catalog, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogView {
    /// Its address; of several, that of the one that rules, or ruled last.
    pub address: String,
    /// Of several catalogs that share a database, the one that rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<CatalogId>,
    /// Its term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// All of several catalogs, by ascending id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<CatalogProcessView>,
    /// Whether it answers.
    pub state: CatalogState,
    /// The number of the journal's last order.
    pub last_order: Option<OrderNumber>,
    /// When toys that are sold out are restocked next, if the catalog answers.
    #[serde(default)]
    pub next_restock_ms: Option<u64>,
    /// How often they are.
    #[serde(default)]
    pub restock_interval_ms: u64,
    /// The quantity of each toy at first and after a restock.
    #[serde(default)]
    pub initial_stock: u64,
}

/// One of several catalogs, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogProcessView {
    /// Its id.
    pub id: CatalogId,
    /// Its address.
    pub address: String,
    /// What it does.
    pub state: CatalogProcessState,
}

/// What one of several catalogs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatalogProcessState {
    /// It rules.
    Active,
    /// It stands by.
    Standby,
    /// It does not answer.
    Down,
}

/// Whether the catalog answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatalogState {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// An order replica, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// Its id.
    pub id: ReplicaId,
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: ReplicaViewState,
    /// The number of the last order on its disk.
    pub last_order: Option<OrderNumber>,
}

/// The state of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaViewState {
    /// It leads.
    Leader,
    /// It has what the leader has, or nearly.
    Follower,
    /// It is fetching the orders that it missed.
    Syncing,
    /// It does not answer.
    Down,
}

/// A front-end's cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheView {
    /// Whether it is enabled in `roles.toml`.
    pub enabled: bool,
    /// How many toys it may hold.
    pub capacity: usize,
    /// How many it holds.
    pub entries: usize,
    /// The toys that it holds, the most recently used first.
    pub items: Vec<ToyName>,
    /// Queries that were answered from it since the front-end started.
    pub hits: u64,
    /// Queries that went to the catalog.
    pub misses: u64,
    /// Toys that the catalog invalidated.
    pub invalidations: u64,
    /// How long the front-end may still answer from it, unless the catalog renews the lease.
    #[serde(default)]
    pub lease_ms: Option<u64>,
}

/// A front-end, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrontendView {
    /// Its name, such as `frontend-2`.
    pub role: String,
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: FrontendViewState,
    /// Another front-end's cache, if that is known.
    pub cache: Option<CacheView>,
}

/// The state of a front-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrontendViewState {
    /// It is the one that says so.
    Own,
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// It was not asked lately: front-ends ask one another only while a page shows it.
    Unasked,
}

/// Something that changed in the store, as the page tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEvent {
    /// Its place among the events that the front-end heard of, from 0 on.
    pub number: u64,
    /// When it happened: milliseconds since 1970. How long ago that was is what the role's own
    /// clock says; the time of day is the front-end's.
    pub at_ms: u64,
    /// The role that recorded it.
    pub role: String,
    /// Which of the role's changes it is: the same, whichever front-end tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its name among the events that are recorded.
    pub name: String,
    /// What it is about.
    pub kind: FeedKind,
    /// What happened, in a sentence without a full stop.
    pub text: String,
    /// How many of the role's earlier changes are not told, if it says that.
    #[serde(default, skip_serializing_if = "is_none")]
    pub dropped: u64,
}

/// What a page is told of the feed besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedNote {
    /// Whether the front-end records events, without which there are none to tell.
    pub records: bool,
    /// From which number on the page is told.
    pub from: u64,
    /// How many events from there on the front-end does not keep any more.
    pub dropped: u64,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedKind {
    /// Who leads.
    Leader,
    /// A replica.
    Replica,
    /// The catalog.
    Catalog,
    /// A front-end's cache.
    Cache,
    /// A front-end.
    Frontend,
    /// Whether the store can sell.
    Store,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(dropped: &u64) -> bool {
    *dropped == 0
}
