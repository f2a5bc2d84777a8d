//! What others must hear of a replica's decision: answers to those who wait, events for the log,
//! and which tasks have something to do. The decision leaves them here as data; the server carries
//! them out, and the simulator does.

use std::fmt;

use crate::wire::purchase::PurchaseReply;
use crate::wire::replication::{Epoch, Leadership, ReplicaId};

/// What others must hear of a decision.
#[derive(Clone, Debug)]
pub struct Effects<W> {
    /// Who is answered, and what.
    pub answers: Vec<(W, PurchaseReply)>,
    /// What the operator should know.
    pub events: Vec<Event>,
    /// There is something to do for the task that sells.
    pub work: bool,
    /// Rows were accepted or leadership changed: those who pass orders on look again.
    pub grown: bool,
}

/// What the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody leads.
    Learned(Leadership),
    /// This replica is to lead, once it has what it misses.
    Chosen(Epoch),
    /// This replica sells.
    Leads(Leadership),
    /// This replica laid down office of an epoch of which the catalog knows nothing.
    SteppedDown(Epoch, Leadership),
    /// A follower does not answer.
    FollowerLost(ReplicaId),
    /// A follower is too slow.
    FollowerSlow(ReplicaId),
    /// A follower holds other orders.
    FollowerDiverged(ReplicaId),
    /// The leader's own log ends at this length, before what it sold.
    Behind(u64),
    /// The leader's own log contradicts what it sold.
    Diverged,
}

impl<W> Default for Effects<W> {
    fn default() -> Self {
        Self { answers: Vec::new(), events: Vec::new(), work: false, grown: false }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNTIL: &str = "nobody waits for it until it is back";
        match self {
            Self::Learned(leadership) => write!(f, "heard that {leadership}"),
            Self::Chosen(epoch) => write!(f, "this replica is to lead, epoch {epoch}"),
            Self::Leads(leadership) => write!(f, "{leadership}: this replica sells from now on"),
            Self::SteppedDown(epoch, known) => write!(
                f,
                "this replica lays down office of epoch {epoch}: the catalog knows only that \
                 {known}"
            ),
            Self::FollowerLost(follower) => {
                write!(f, "replica {follower} does not follow; {UNTIL}")
            }
            Self::FollowerSlow(follower) => write!(f, "replica {follower} is slow; {UNTIL}"),
            Self::FollowerDiverged(follower) => {
                write!(f, "replica {follower}'s log is not a prefix of the journal")
            }
            Self::Behind(length) => {
                write!(f, "this replica has {length} orders and misses some; it will fetch them")
            }
            Self::Diverged => f.write_str(
                "this replica's log is no prefix of the journal; it will be fetched anew",
            ),
        }
    }
}
