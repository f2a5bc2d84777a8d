//! What clients may see when the catalog's disk is lost, and its database is rebuilt or restored.
//!
//! Nothing that was acknowledged is forgotten: each order keeps its number and its key. But the
//! journal that is left may be another one than clients saw, in three ways, which
//! `docs/operations.md` has:
//!
//! - *Orders that no replica had yet* are lost, so that their numbers are given to others. Their
//!   buyers were not answered; but queries may have shown them.
//! - *Refusals* are in no log: such a purchase may be granted when it is sent again.
//! - *Restocks* are in no log either, so that a toy that was sold out is sold out again.
//!
//! So what clients saw is checked in two parts, against the journal that was lost and against the
//! one that is there now. In between, until the catalog has all orders again and the leases that
//! were given meanwhile are over, queries may show an older stock, and only what is said of orders
//! is checked:
//!
//! ```text
//! one life              | lost        rolled forward      a lease later | the next life
//! all is linearizable   | orders: none is lost or changed; no 404       | all is linearizable
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Seen};
use super::sweep::Observation;
use super::{Answer, Decision, History, Purchase, decisions};
use crate::processes::{Cluster, Row};

/// A lease, and what a front-end that has the shorter clock may add to it.
const LEASE: Duration = Duration::from_millis(1_250);

/// A journal that was lost.
pub(super) struct PastLife {
    ended: Instant,
    journal: Vec<Row>,
    decisions: HashMap<String, Decision>,
}

impl History {
    /// Notes that the catalog has ended and that its disk is about to be lost.
    pub(crate) fn loses_journal(&mut self, cluster: &Cluster, ended: Instant) {
        assert!(self.past_life.is_none(), "one life is checked before the next one ends");
        let (journal, decisions) = (cluster.journal(), decisions(cluster));
        self.past_life = Some(PastLife { ended, journal, decisions });
    }

    /// Notes that the catalog is about to start with a journal that was restored or rebuilt, and
    /// has so many orders.
    pub(crate) fn resumes_journal(&mut self, time: Instant, length: usize) {
        self.resumed = Some((time + LEASE, length));
    }

    /// Whether the catalog has started with such a journal and leases from before it may still run.
    pub(crate) fn is_resuming(&self, now: Instant) -> bool {
        self.past_life.is_some() && self.resumed.is_none_or(|(time, _)| now < time)
    }

    /// Whether the catalog may have forgotten that it refused a purchase.
    pub(crate) fn may_be_forgotten(&self, purchase: &Purchase) -> bool {
        self.resumed.is_some_and(|(time, _)| purchase.asked < time)
    }

    /// Checks what clients saw before the catalog's disk was lost, and until it had all orders
    /// again; and drops it, since the journal of that time does not come back. To be called when
    /// the present life [was checked](History::check).
    pub(crate) fn check_past_life(&mut self, cluster: &Cluster) {
        let Some(past) = self.past_life.take() else { return };
        let (resumed, _) = self.resumed.expect("a catalog that lost its disk has started again");
        let (spans, journal) = (self.spans(&past.decisions, past.journal.len()), cluster.journal());
        let initial_stock = cluster.initial_stock;
        let ledger = Ledger { initial_stock, rows: &past.journal, spans: &spans };
        let observations = self.observations.iter().cloned().chain(self.refusals());
        let observations: Vec<_> = observations.filter(|one| one.ended < past.ended).collect();
        if let Err(why) = ledger.check(&observations) {
            panic!("what clients saw before the catalog's disk was lost fits no order: {why}");
        }
        for one in &self.observations {
            if one.ended >= past.ended && one.began < resumed {
                self.check_in_between(one, &past, &journal);
            }
        }
        self.observations.retain(|one| one.began >= resumed);
    }

    /// Checks what an answer said of orders.
    fn check_in_between(&self, one: &Observation<Seen>, past: &PastLife, journal: &[Row]) {
        match &one.seen {
            Seen::Order(row) => {
                let place = usize::try_from(row.0).expect("few orders");
                let is_known = journal.get(place) == Some(row)
                    || (one.began < past.ended && past.journal.get(place) == Some(row));
                assert!(is_known, "order {row:?} was shown and is not in the journal");
            }
            Seen::Absence(number) => {
                let was_answered = self.purchases.iter().any(|purchase| {
                    purchase.answer.is_some_and(|(answer, time)| {
                        answer == Answer::Granted(*number) && time < one.began
                    })
                });
                assert!(!was_answered, "order {number} was acknowledged, and then was not found");
            }
            Seen::Quantity(..) | Seen::Shelves(_) | Seen::Refusal(..) => {}
        }
    }
}
