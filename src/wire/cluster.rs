//! The body of `GET /cluster`: the state of the cluster as one front-end sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::OrderNumber;
use super::replication::{Epoch, ReplicaId};
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
}

/// The catalog, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogView {
    /// Its address.
    pub address: String,
    /// Whether it answers.
    pub state: CatalogState,
    /// The number of the journal's last order.
    pub last_order: Option<OrderNumber>,
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
}
