//! The messages of leadership and replication: who leads, and how orders reach the followers.
//!
//! ```text
//! front-end          replica 2           catalog            replica 1
//!   | Nomination ------->|                  |                   |
//!   |                    | Acquisition ---->| epoch 8: 2        |
//!   |                    |<--- Won, journal |                   |
//!   |<-------------- Won |                  |                   |
//!   | Leadership ---------------------------------------------->|
//!   |                    | AppendRequest: rows, or a heartbeat >|
//!   |                    |<------------------------ AppendReply |
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bounds;
use super::count;
use super::identity::StoreId;
use super::order::{Order, Position, Rows};
use super::trace::RequestOrigin;

/// The most rows in one message: about 110 KiB of JSON and a few milliseconds of work, so that
/// catching up does not delay health checks.
pub const MOST_ROWS: u64 = 1_000;

/// The most clients' requests that a message names: each row has one, and a retry or two more.
const MOST_ORIGINS: u64 = 16 * MOST_ROWS;

/// A replica's id, as in `roles.toml`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u32, example = 3)]
pub struct ReplicaId(pub u32);

/// A number that grows with each change of leader (a *term* in Raft). Each epoch has one leader,
/// and the leader of an earlier epoch can sell nothing.
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
pub struct Epoch(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// An epoch and its leader. Epoch 0 has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leadership {
    /// The epoch.
    pub epoch: Epoch,
    /// Its leader.
    pub leader: Option<ReplicaId>,
}

/// A front-end asks a replica to become leader (`POST /internal/nominate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nomination {
    /// The epoch to end: the newest that the front-end knows of.
    pub seen: Epoch,
}

/// The nominee's answer to a front-end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NominationReply {
    /// The nominee leads.
    Won(Leadership),
    /// There is a newer epoch already: adopt it.
    Lost(Leadership),
    /// The nominee could not ask the catalog, or may not lead; why.
    Unable(String),
}

/// A nominee asks the catalog to become leader (`POST /internal/acquire`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acquisition {
    /// The replica that asks.
    pub nominee: ReplicaId,
    /// The epoch to end. The acquisition loses if there is a newer one.
    pub seen: Epoch,
    /// Where the nominee's log ends. The log must be a prefix of the journal.
    pub log: Position,
}

/// The catalog's answer to a nominee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcquisitionReply {
    /// The nominee leads; that is on disk. It must have all orders up to `journal` before it sells.
    Won {
        /// The new epoch.
        leadership: Leadership,
        /// The journal's end.
        journal: Position,
    },
    /// There is a newer epoch. Another nominee was faster, or this one won before and did not
    /// receive the answer.
    Lost(CatalogStatus),
    /// The nominee's log is not a prefix of the journal: one of the two databases is from another
    /// store, or was replaced or damaged.
    Foreign {
        /// The journal's end.
        journal: Position,
    },
}

/// The catalog's status (`GET /internal/catalog-status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogStatus {
    /// Who leads.
    pub leadership: Leadership,
    /// The journal's end.
    pub journal: Position,
}

/// Where a replica's log ends (`GET /internal/log`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogEnd {
    /// The end, with the rows that are still being written.
    pub end: Position,
    /// The start of the catalog that last had all of the log's orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched_by: Option<u64>,
}

/// What the catalog answers to a [report](super::calls::LogReport): its status, and which catalog
/// it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogReport {
    /// Its status.
    #[serde(flatten)]
    pub status: CatalogStatus,
    /// The store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// The catalog's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u64>,
    /// Why the catalog cannot sell, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// In how many milliseconds toys that are sold out are restocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restock_ms: Option<u64>,
}

/// The leader replicates orders to a follower (`POST /internal/append`). Without rows it is a
/// heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendRequest {
    /// The sender's leadership.
    pub leadership: Leadership,
    /// The rows after those that the leader thinks the follower has.
    pub rows: Rows,
    /// The length of the leader's log, from which the follower knows how far it is behind.
    #[serde(deserialize_with = "count::deserialize")]
    pub leader_length: u64,
    /// The clients' requests behind these orders.
    #[serde(
        default,
        deserialize_with = "bounds::list::<MOST_ORIGINS, _, _>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub origins: Vec<RequestOrigin>,
}

/// A follower's answer to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendReply {
    /// All orders up to this length are on the follower's disk.
    Synced {
        /// The length of the follower's log.
        #[serde(deserialize_with = "count::deserialize")]
        length: u64,
    },
    /// The rows do not continue the follower's log, which ends here.
    Gap {
        /// The length of the follower's log.
        #[serde(deserialize_with = "count::deserialize")]
        length: u64,
    },
    /// The sender does not lead any more.
    Stale(Leadership),
    /// The follower's log is not a prefix of the leader's.
    Diverged,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It leads.
    Leader,
    /// It has the orders that the leader has, or nearly.
    Follower,
    /// It is fetching the orders that it missed.
    Syncing,
}

/// Whether a replica could lead now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Writes to its disk complete, and it reaches the catalog.
    Ready,
    /// It answers, but could not sell.
    Unfit,
    /// It answers, but its disk takes no writes.
    CannotWrite(Unwritable),
}

/// Why a disk takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwritable {
    /// It is full.
    Full,
    /// Its file system is read-only.
    ReadOnly,
}

/// A replica's answer to a health check (`GET /internal/status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its id.
    pub id: ReplicaId,
    /// What it does.
    pub state: ReplicaState,
    /// Whether it could lead.
    pub fitness: Fitness,
    /// How many milliseconds ago it asked what its disk and the catalog have answered: of the two,
    /// the one that has been silent for longer. None if one has never answered, or if the log takes
    /// no writes whatever they answer.
    #[serde(default)]
    pub heard_ms: Option<u64>,
    /// The newest leadership that it knows of.
    pub leadership: Leadership,
    /// Whether no front-end has nominated it since its process began. Until then it leads in no
    /// epoch, though an earlier process may have led in the newest.
    pub awaits_nomination: bool,
    /// The end of its log on disk.
    pub log: Position,
}

/// A replica's or the catalog's answer to an order query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderReply {
    /// The order.
    Found(Order),
    /// There is no such order: the journal ends before this number.
    Unknown,
}

impl Leadership {
    /// Returns whether `replica` leads in this epoch.
    #[must_use]
    pub fn is_led_by(&self, replica: ReplicaId) -> bool {
        self.leader == Some(replica)
    }
}

impl Epoch {
    /// Returns the epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Completes "order-3 cannot write: ".
impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "its disk is full; free some space",
            Self::ReadOnly => "its file system is read-only; mount it for writing again",
        })
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "replica {leader} leads, epoch {}", self.epoch),
            None => write!(f, "no replica leads, epoch {}", self.epoch),
        }
    }
}
