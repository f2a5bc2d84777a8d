//! Between the front-ends, the order replicas and the catalog: who leads, and rows on their way.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count;
use super::order::{Order, Position, Rows};

/// The most rows that one message carries: about 60 KiB of JSON, a few milliseconds of work, so
/// that a replica that catches up does not hold up anybody's health check.
pub const MOST_ROWS: u64 = 1_000;

/// A replica's id, as in `roles.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(pub u32);

/// Counts the changes of leader; each epoch has one leader, and a lower one may decide nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// An epoch and who leads in it; epoch 0 has no leader.
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
    /// The newest epoch that the front-end knows of, the one that it wants to end.
    pub seen: Epoch,
}

/// What came of a nomination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NominationReply {
    /// The replica leads.
    Won(Leadership),
    /// The catalog knows a newer epoch than the front-end did: adopt it.
    Lost(Leadership),
    /// The replica could not acquire leadership; why.
    Unable(String),
}

/// A nominee acquires leadership at the catalog (`POST /internal/acquire`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acquisition {
    /// Who wants to lead.
    pub nominee: ReplicaId,
    /// The epoch to end. The acquisition loses if the catalog knows a newer one.
    pub seen: Epoch,
    /// Where the nominee's log ends. It must be a prefix of the journal.
    pub log: Position,
}

/// What came of an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcquisitionReply {
    /// The nominee leads, durably, and must hold the journal up to `journal` before it serves.
    Won {
        /// The new epoch.
        leadership: Leadership,
        /// The journal's end.
        journal: Position,
    },
    /// The epoch to end is not the present one. Either somebody else was faster, or the nominee won
    /// before and did not hear of it.
    Lost(CatalogStatus),
    /// The nominee's log is no prefix of the journal: one of the two databases is not of this
    /// cluster, or was damaged.
    Foreign {
        /// The journal's end.
        journal: Position,
    },
}

/// Who leads and how long the journal is: the catalog's status (`GET
/// /internal/catalog-status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogStatus {
    /// Who leads.
    pub leadership: Leadership,
    /// The journal's end.
    pub journal: Position,
}

/// The leader passes orders on (`POST /internal/append`); without rows, a sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendRequest {
    /// In whose name.
    pub leadership: Leadership,
    /// The rows that follow what the leader thinks the follower has.
    pub rows: Rows,
    /// The length of the leader's log, by which the follower knows how far behind it is.
    #[serde(deserialize_with = "count::deserialize")]
    pub leader_length: u64,
    /// The `X-Request-Id`s of the purchases whose orders these are, as far as they had one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
}

/// A follower's answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendReply {
    /// Everything up to this length is on the follower's disk.
    Synced {
        /// The length of the follower's log.
        #[serde(deserialize_with = "count::deserialize")]
        length: u64,
    },
    /// The rows did not continue the follower's log, which ends here.
    Gap {
        /// The length of the follower's log.
        #[serde(deserialize_with = "count::deserialize")]
        length: u64,
    },
    /// The sender leads no longer.
    Stale(Leadership),
    /// The follower's log is not a prefix of the leader's.
    Diverged,
}

/// What a replica does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It leads.
    Leader,
    /// It holds what the leader holds, or nearly.
    Follower,
    /// It is fetching what it missed.
    Syncing,
}

/// Whether a replica could lead now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Its disk moves and it reaches the catalog.
    Ready,
    /// It lives, but could not serve.
    Unfit,
}

/// What a replica says of itself (`GET /internal/status`): the selection's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its id.
    pub id: ReplicaId,
    /// What it does.
    pub state: ReplicaState,
    /// Whether it could lead.
    pub fitness: Fitness,
    /// The newest leadership that it knows of.
    pub leadership: Leadership,
    /// The end of its log on disk.
    pub log: Position,
}

/// A replica's or the catalog's answer to a question for one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderReply {
    /// Here it is.
    Found(Order),
    /// There is no such order: the journal was asked, and it ends before this number.
    Unknown,
}

impl Leadership {
    /// Whether `replica` leads in this epoch.
    #[must_use]
    pub fn is_led_by(&self, replica: ReplicaId) -> bool {
        self.leader == Some(replica)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
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
            None => write!(f, "nobody leads, epoch {}", self.epoch),
        }
    }
}
