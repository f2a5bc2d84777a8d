//! The state of the whole cluster, as `GET /cluster` shows it.

use serde::{Deserialize, Serialize};

use super::order::OrderNumber;
use super::replication::{Epoch, ReplicaId};
use super::toy::ToyName;

/// The data of `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The newest epoch that the front-end knows of.
    pub epoch: Epoch,
    /// The replica that it takes for the leader.
    pub leader: Option<ReplicaId>,
    /// The catalog.
    pub catalog: CatalogView,
    /// The order replicas, the highest id first.
    pub replicas: Vec<ReplicaView>,
    /// The front-end's own cache.
    pub cache: CacheView,
}

/// The catalog, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogView {
    /// Where it listens.
    pub address: String,
    /// Whether it answers.
    pub state: CatalogState,
    /// The journal's last order.
    pub last_order: Option<OrderNumber>,
}

/// Whether the catalog answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogState {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// An order replica, as a front-end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Its id.
    pub id: ReplicaId,
    /// Where it listens.
    pub address: String,
    /// What it does.
    pub state: ReplicaViewState,
    /// The last order on its disk.
    pub last_order: Option<OrderNumber>,
}

/// What a replica does, or that it does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaViewState {
    /// It leads.
    Leader,
    /// It is in step with the leader.
    Follower,
    /// It is fetching what it missed.
    Syncing,
    /// It does not answer.
    Down,
}

/// A front-end's cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheView {
    /// Whether it is used at all.
    pub enabled: bool,
    /// How many toys it may hold.
    pub capacity: usize,
    /// How many it holds.
    pub entries: usize,
    /// Which, the most recently used first.
    pub items: Vec<ToyName>,
    /// Queries that it answered since the front-end started.
    pub hits: u64,
    /// Queries that went to the catalog.
    pub misses: u64,
    /// Toys that the catalog had dropped.
    pub invalidations: u64,
}
