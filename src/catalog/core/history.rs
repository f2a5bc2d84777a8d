//! Whether this journal may sell: whether it is as long as any log of its store.
//!
//! # The idea
//!
//! A replica's log holds nothing that was not in the journal first. So a log that is longer than
//! the journal, or as long and different, proves that the journal went back in time: its database
//! was restored from a backup, emptied, or copied from elsewhere. If it sold, it would give away
//! numbers again that clients hold orders under:
//!
//! ```text
//! journal   0 1 2 3 4            orders 2 to 4 are acknowledged
//! replica 3 0 1 2 3 4
//!           restored from a backup
//! journal   0 1                  the next order would get number 2
//! replica 3 0 1 2 3 4            proof that number 2 was given away: sales stop
//! ```
//!
//! Two lines of defence are here (a third, the [plan](super::batch) of a batch, refuses a leader
//! whose log is longer). *Evidence* of a longer log stops sales at any time, until an operator
//! acts; the replica keeps its log. And a journal that *may have* gone back hears every configured
//! replica before it sells at all, since the one that is away may hold the proof. Whether it may
//! have is told by a marker outside the database, see [`marker`](crate::catalog::journal::marker).

use std::collections::BTreeSet;
use std::fmt;

use crate::wire::order::Position;
use crate::wire::replication::{ReplicaId, Unwritable};

/// Whether a journal may sell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// The replicas that must be heard before anything is sold.
    unheard: BTreeSet<ReplicaId>,
    /// The longest log that contradicts the journal.
    evidence: Option<Evidence>,
}

/// A log that contradicts the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Evidence {
    replica: ReplicaId,
    log: Position,
    /// Where the journal ended.
    journal: Position,
}

/// Why a journal may not sell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// A replica's log contradicts the journal.
    Contradicted {
        /// The replica.
        replica: ReplicaId,
        /// How many orders its log has.
        log: u64,
        /// How many orders the journal had.
        journal: u64,
    },
    /// Replicas must be heard first.
    Unheard(Vec<ReplicaId>),
    /// A replica is said to hold a log that contradicts the journal, and is asked.
    Suspected(ReplicaId),
    /// The database takes no writes.
    CannotWrite(Unwritable),
}

/// Whether a log was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It changed nothing.
    Known,
    /// It was the last replica to be heard: the journal may sell from now on.
    Complete,
    /// It contradicts the journal: sales stop.
    Contradiction,
    /// It is said to contradict the journal: sales pause until the replica itself was asked.
    Suspicion,
}

impl History {
    /// A journal that is as it was when the catalog last ran.
    #[must_use]
    pub fn continued() -> Self {
        Self { unheard: BTreeSet::new(), evidence: None }
    }

    /// A journal that may have gone back in time, among these replicas.
    #[must_use]
    pub fn in_doubt(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self { unheard: replicas.into_iter().collect(), evidence: None }
    }

    /// Notes where a replica's log ends, while the journal ends at `journal`.
    ///
    /// A log of the journal's own store is a prefix of it. Only a log that is longer, or as long
    /// with another chain, is seen to be none here; a shorter one is checked when rows meet it.
    pub fn hear(&mut self, replica: ReplicaId, log: Position, journal: Position) -> Hearing {
        if let Some(hearing) = self.contradicted_by(replica, log, journal) {
            return hearing;
        }
        if self.unheard.remove(&replica) && self.unheard.is_empty() && self.evidence.is_none() {
            return Hearing::Complete;
        }
        Hearing::Known
    }

    /// The same, of a replica that may hold more by now: its log counts as evidence, and it must
    /// still be heard.
    pub fn hear_of(&mut self, replica: ReplicaId, log: Position, journal: Position) -> Hearing {
        self.contradicted_by(replica, log, journal).unwrap_or(Hearing::Known)
    }

    /// Keeps a log that contradicts the journal as evidence. `None` if it does not.
    fn contradicted_by(
        &mut self,
        replica: ReplicaId,
        log: Position,
        journal: Position,
    ) -> Option<Hearing> {
        if !log.contradicts(journal) {
            return None;
        }
        let is_longest = self.evidence.is_none_or(|known| log.length > known.log.length);
        let is_news = self.evidence.is_none();
        if is_longest {
            self.evidence = Some(Evidence { replica, log, journal });
        }
        Some(if is_news { Hearing::Contradiction } else { Hearing::Known })
    }

    /// Goes on without replicas that are lost for good. Returns whether any of them was missing.
    pub fn forgo(&mut self, replicas: &[ReplicaId]) -> bool {
        let before = self.unheard.len();
        self.unheard.retain(|replica| !replicas.contains(replica));
        self.unheard.len() < before
    }

    /// Whether the journal may sell.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn may_sell(&self) -> Result<(), Stopped> {
        if let Some(Evidence { replica, log, journal }) = self.evidence {
            let (log, journal) = (log.length, journal.length);
            return Err(Stopped::Contradicted { replica, log, journal });
        }
        if self.unheard.is_empty() {
            return Ok(());
        }
        Err(Stopped::Unheard(self.unheard.iter().copied().collect()))
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradicted { replica, log, journal } => write!(
                f,
                "sales are stopped: order-{replica} holds {log} orders and the catalog's journal \
                 {journal}, so the catalog's database is older than its replicas, or belongs to \
                 another store; see docs/operations.md, or `toystore rebuild --help`"
            ),
            Self::Suspected(replica) => write!(
                f,
                "sales pause: order-{replica} is said to hold orders that the catalog's journal \
                 lacks, and is asked; retry in a moment"
            ),
            Self::CannotWrite(why) => write!(f, "the catalog cannot write: {why}"),
            Self::Unheard(replicas) => {
                let names: Vec<_> = replicas.iter().map(|id| format!("order-{id}")).collect();
                write!(
                    f,
                    "sales wait for {}: the catalog's database is new, restored or copied, and a \
                     replica may hold orders that it lacks; start them, or start the catalog with \
                     `--without` and the replica that is lost for good",
                    names.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::{Order, OrderNumber};
    use crate::wire::quantity::Quantity;

    fn position(length: u64, name: &str) -> Position {
        (0..length).fold(Position::START, |end, number| {
            let (number, name) = (OrderNumber(number), name.into());
            end.continued_by(&Order { number, name, quantity: Quantity::ONE, key: None })
        })
    }

    #[test]
    fn a_longer_log_stops_sales_for_good() {
        let mut history = History::continued();
        assert_eq!(history.may_sell(), Ok(()));
        let (short, long) = (position(2, "Tux"), position(5, "Tux"));
        assert_eq!(history.hear(ReplicaId(3), long, short), Hearing::Contradiction);
        assert_eq!(history.hear(ReplicaId(3), long, short), Hearing::Known);
        assert_eq!(history.hear(ReplicaId(1), short, short), Hearing::Known);
        let stopped = Stopped::Contradicted { replica: ReplicaId(3), log: 5, journal: 2 };
        assert_eq!(history.may_sell(), Err(stopped));
    }

    #[test]
    fn a_replica_that_was_only_heard_of_must_still_be_heard() {
        let journal = position(2, "Tux");
        let mut history = History::in_doubt([ReplicaId(1)]);
        assert_eq!(history.hear_of(ReplicaId(1), journal, journal), Hearing::Known);
        assert!(history.may_sell().is_err());
        assert_eq!(history.hear(ReplicaId(1), journal, journal), Hearing::Complete);
        let late = history.hear_of(ReplicaId(1), position(3, "Tux"), journal);
        assert_eq!(late, Hearing::Contradiction);
    }

    #[test]
    fn an_equally_long_log_of_other_orders_stops_sales() {
        let mut history = History::continued();
        let heard = history.hear(ReplicaId(2), position(2, "Uno"), position(2, "Tux"));
        assert_eq!(heard, Hearing::Contradiction);
    }

    #[test]
    fn a_journal_in_doubt_hears_every_replica_first() {
        let journal = position(2, "Tux");
        let mut history = History::in_doubt([1, 2, 3].map(ReplicaId));
        assert_eq!(history.hear(ReplicaId(1), journal, journal), Hearing::Known);
        assert_eq!(history.hear(ReplicaId(1), journal, journal), Hearing::Known);
        let missing = Stopped::Unheard(vec![ReplicaId(2), ReplicaId(3)]);
        assert_eq!(history.may_sell(), Err(missing));
        assert!(history.forgo(&[ReplicaId(2)]) && !history.forgo(&[ReplicaId(2)]));
        assert_eq!(history.hear(ReplicaId(3), position(1, "Tux"), journal), Hearing::Complete);
        assert_eq!(history.may_sell(), Ok(()));
    }
}
