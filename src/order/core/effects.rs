//! What the service must carry out after a call to the core: answers, log lines, tasks to wake.
//!
//! # The idea
//!
//! A call to the core decides and leaves the consequences here, as data. The caller carries them
//! out afterwards: the service with channels and a log, the model by changing its world's state. So
//! a decision cannot be interrupted by its consequences:
//!
//! ```text
//! service                            core
//!   | written(log 1, to 9) ---------->| orders 7 and 8 may be acknowledged
//!   |<------------ Effects -----------| answers: two waiters, "decided"
//!   | unlocks the core                |
//!   | sends the answers               |   a waiter that is gone blocks nothing
//! ```
//!
//! # What is left out
//!
//! Writes to the disk and messages to other roles: those are return values, since each must be
//! handled in a certain order by the task that caused it.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::wire::purchase::PurchaseReply;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// What must be carried out after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<W> {
    /// Answers to purchases, each with what waits for it.
    pub answers: Vec<(W, PurchaseReply)>,
    /// What the operator should know.
    pub events: Vec<Event>,
    /// The task that sells looks again: it has something to do, or to wait for.
    pub work: bool,
    /// A leader accepted rows, or the leadership changed: the tasks that replicate look again.
    pub grown: bool,
    /// There is a hint of a newer leadership: the catalog is to be asked.
    pub ask_catalog: bool,
}

/// What the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a newer leadership.
    Learned(Leadership),
    /// This replica has acquired leadership and leads once it has what it misses.
    Acquired(Epoch),
    /// This replica leads and sells.
    Leads(Leadership),
    /// This replica stepped down from an epoch that the catalog does not know as its own.
    SteppedDown(Epoch, Leadership),
    /// A live follower did not answer.
    FollowerLost(ReplicaId),
    /// A live follower did not acknowledge a message in time.
    FollowerSlow(ReplicaId),
    /// A follower has what the leader has, or nearly: orders wait for it.
    FollowerLive(ReplicaId),
    /// A follower holds other orders.
    FollowerDiverged(ReplicaId),
    /// The leader's own log ends at this length, before the orders that it sold.
    Behind(u64),
    /// The leader's own log contradicts the journal.
    Diverged,
}

impl<W> Default for Effects<W> {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            events: Vec::new(),
            work: false,
            grown: false,
            ask_catalog: false,
        }
    }
}

/// The model hashes cores between calls, when their effects have been taken.
impl<W> Hash for Effects<W> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let flags = (self.work, self.grown, self.ask_catalog);
        (self.answers.len(), self.events.len(), flags).hash(state);
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNTIL: &str = "orders are acknowledged without it until it has caught up";
        match self {
            Self::Learned(leadership) => write!(f, "heard that {leadership}"),
            Self::Acquired(epoch) => write!(f, "this replica becomes the leader, epoch {epoch}"),
            Self::Leads(leadership) => write!(f, "{leadership}: this replica sells from now on"),
            Self::SteppedDown(epoch, known) => {
                write!(f, "stepping down from epoch {epoch}: the catalog knows only that {known}")
            }
            Self::FollowerLost(follower) => {
                write!(f, "replica {follower} does not answer; {UNTIL}")
            }
            Self::FollowerSlow(follower) => write!(f, "replica {follower} is slow; {UNTIL}"),
            Self::FollowerLive(follower) => {
                write!(f, "replica {follower} is up to date: orders wait for it from now on")
            }
            Self::FollowerDiverged(follower) => {
                write!(f, "the log of replica {follower} is no prefix of the journal")
            }
            Self::Behind(length) => {
                write!(f, "this replica has {length} orders and lacks newer ones; fetching them")
            }
            Self::Diverged => f.write_str(
                "the log of this replica is no prefix of the journal; fetching the journal anew",
            ),
        }
    }
}
