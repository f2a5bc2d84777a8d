//! What is said of the replicas' logs, until the replicas themselves have said it.
//!
//! # The idea
//!
//! A log that contradicts the journal stops all sales until an operator acts (see
//! [`history`](super::history)). So that must not rest on a message that anyone could send. Such a
//! message is a *suspicion*: sales pause, and the catalog asks the replica at the address that
//! `roles.toml` gives:
//!
//! ```text
//! stranger                  catalog (2 orders)                replica 3
//!   | order-3 has 9 orders -->| sales pause                     |
//!   |                         |--- where does your log end? ---->|
//!   |                         |<-- 2 orders ---------------------| sales go on
//! ```
//!
//! A suspicion about a replica that does not answer is dropped after [`SUSPICION_LASTS`]. If it was
//! true, it comes again: a replica reports once a second or more often, and so does each front-end
//! that reaches it.
//!
//! # Rows that were never sold
//!
//! A stranger may also give a replica rows, which it takes for its leader's. Its log then is longer
//! than the journal, and no evidence of anything. The two cases can be told apart, since the
//! journal of one start of the catalog only grows: once this start has *vouched* for a log, it had
//! all of its rows. If the log is longer later, the additional rows are from elsewhere, and the
//! replica sets its log aside. (Rows that the replica asked for end the vouching: an answer of an
//! earlier start of the catalog may be late.)

use std::time::{Duration, Instant};

use super::Core;
use super::history::{Hearing, Stopped};
use crate::wire::order::Position;
use crate::wire::replication::{LogEnd, ReplicaId};

/// How long a suspicion about a replica that does not answer pauses the sales: two reports at
/// least, and less than clients wait.
pub const SUSPICION_LASTS: Duration = Duration::from_secs(2);

impl Core {
    /// Notes where a replica's log ends, as it is said.
    ///
    /// A call to the catalog's last run takes no longer than a lease. Until then its answer may be
    /// on its way to a replica, which would hold more afterwards than it says now.
    pub fn hear(&mut self, replica: ReplicaId, log: Position, now: Instant) -> Hearing {
        if log.contradicts(self.stock.status().journal) {
            return self.suspected(replica, now);
        }
        self.hear_itself(replica, log, now)
    }

    /// Notes where a replica's log ended some time ago: it may hold more by now.
    pub fn hear_of(&mut self, replica: ReplicaId, log: Position, now: Instant) -> Hearing {
        if log.contradicts(self.stock.status().journal) {
            self.suspected(replica, now)
        } else {
            Hearing::Known
        }
    }

    /// Notes a replica's own answer to the question where its log ends.
    pub fn answered(&mut self, replica: ReplicaId, answer: LogEnd, now: Instant) -> Hearing {
        self.suspicions.remove(&replica);
        let is_vouched_for = answer.vouched_by == Some(self.boot());
        if is_vouched_for && answer.end.contradicts(self.stock.status().journal) {
            return Hearing::Known;
        }
        self.hear_itself(replica, answer.end, now)
    }

    /// Returns the replicas to ask where their logs end. Suspicions that are too old are dropped.
    pub fn suspicions(&mut self, now: Instant) -> Vec<ReplicaId> {
        self.suspicions.retain(|_, since| now < *since + SUSPICION_LASTS);
        self.suspicions.keys().copied().collect()
    }

    /// Whether no suspicion pauses the sales.
    pub(super) fn has_no_suspicion(&self) -> Result<(), Stopped> {
        let replica = self.suspicions.keys().next();
        replica.map_or(Ok(()), |replica| Err(Stopped::Suspected(*replica)))
    }

    fn hear_itself(&mut self, replica: ReplicaId, log: Position, now: Instant) -> Hearing {
        let journal = self.stock.status().journal;
        if self.sessions.may_change(now) {
            self.history.hear(replica, log, journal)
        } else {
            self.history.hear_of(replica, log, journal)
        }
    }

    fn suspected(&mut self, replica: ReplicaId, now: Instant) -> Hearing {
        if self.history.may_sell().is_err() {
            // Nothing is sold anyway, and a replica that must be heard is asked, too.
            self.suspicions.insert(replica, now);
            return Hearing::Suspicion;
        }
        let is_news = self.suspicions.insert(replica, now).is_none();
        if is_news { Hearing::Suspicion } else { Hearing::Known }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::super::sessions::Sessions;
    use super::super::stock::tests::stock;
    use super::*;

    const BOOT: u64 = 7;
    const THREE: ReplicaId = ReplicaId(3);
    const LONGER: Position = Position { length: 9, ..Position::START };

    fn core() -> (Core, Instant) {
        let now = crate::clock::now();
        let sessions = Sessions::new(BOOT, [], now);
        (Core::new(stock(1), sessions, History::continued(), [1], now), now)
    }

    fn answer(end: Position, vouched_by: Option<u64>) -> LogEnd {
        LogEnd { end, vouched_by }
    }

    #[test]
    fn a_suspicion_pauses_the_sales_until_the_replica_has_answered() {
        let (mut core, now) = core();
        assert_eq!(core.hear_of(THREE, LONGER, now), Hearing::Suspicion);
        assert_eq!(core.may_sell(), Err(Stopped::Suspected(THREE)));
        assert_eq!(core.suspicions(now), [THREE]);
        assert_eq!(core.answered(THREE, answer(Position::START, None), now), Hearing::Known);
        assert_eq!(core.may_sell(), Ok(()));
        core.hear(THREE, LONGER, now);
        assert_eq!(core.answered(THREE, answer(LONGER, None), now), Hearing::Contradiction);
        assert!(matches!(core.may_sell(), Err(Stopped::Contradicted { .. })));
    }

    #[test]
    fn a_suspicion_about_a_replica_that_does_not_answer_is_dropped() {
        let (mut core, now) = core();
        core.hear(THREE, LONGER, now);
        let just_before = (now + SUSPICION_LASTS).checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(core.suspicions(just_before), [THREE]);
        assert_eq!(core.suspicions(now + SUSPICION_LASTS), []);
        assert_eq!(core.may_sell(), Ok(()));
    }

    #[test]
    fn rows_that_a_replica_took_since_this_start_vouched_for_its_log_are_no_evidence() {
        let (mut core, now) = core();
        core.hear(THREE, LONGER, now);
        assert_eq!(core.answered(THREE, answer(LONGER, Some(BOOT)), now), Hearing::Known);
        assert_eq!(core.may_sell(), Ok(()));
        core.hear(THREE, LONGER, now);
        let earlier = answer(LONGER, Some(BOOT + 1));
        assert_eq!(core.answered(THREE, earlier, now), Hearing::Contradiction);
    }
}
