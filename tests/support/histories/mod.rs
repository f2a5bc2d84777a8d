//! The history of what clients saw, and whether it is linearizable.
//!
//! All times are of one clock, the test's. A purchase took effect between its request and its
//! answer. The catalog's database tells which order a purchase became, and the journal in which
//! sequence they took effect; what remains to be found is whether everything that clients saw has a
//! place in that sequence: see [`ledger`] and [`sweep`].
#![allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test program uses a part of this; a failure here is a test's failure"
)]

pub(crate) mod ledger;
mod restored;
pub(crate) mod sweep;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use self::ledger::{Ledger, Seen};
use self::restored::PastLife;
use self::sweep::{Observation, Span};
use crate::processes::{Cluster, Row, TOYS};

/// All that clients saw.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) purchases: Vec<Purchase>,
    pub(crate) observations: Vec<Observation<Seen>>,
    /// Answers that promise nothing, such as a 503, and answers that never came.
    pub(crate) errors: Vec<String>,
    /// Answers that a correct store never gives.
    pub(crate) violations: Vec<String>,
    /// The journal before the catalog's disk was lost, until it is checked.
    past_life: Option<PastLife>,
    /// Since when the catalog has the journal that it has now, if its disk was lost, and with how
    /// many orders it began.
    resumed: Option<(Instant, usize)>,
}

/// A purchase under a key of its own.
pub(crate) struct Purchase {
    pub(crate) key: String,
    pub(crate) toy: &'static str,
    pub(crate) quantity: u64,
    pub(crate) asked: Instant,
    /// `None` for one that is in doubt.
    pub(crate) answer: Option<(Answer, Instant)>,
}

/// The decision on a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(u64),
    Refused,
}

/// A row of the catalog's decisions.
struct Decision {
    name: String,
    quantity: u64,
    number: Option<u64>,
}

impl History {
    /// Records what a client saw; it asked at `began`.
    pub(crate) fn saw(&mut self, seen: Seen, began: Instant, ended: Instant) {
        self.observations.push(Observation { began, ended, seen });
    }

    /// Records the answer to a purchase. The first one counts, and all others must be the same;
    /// but a refusal may be forgotten with the catalog's disk.
    pub(crate) fn answered(&mut self, place: usize, answer: Answer, time: Instant) {
        let may_be_forgotten = self.may_be_forgotten(&self.purchases[place]);
        let purchase = &mut self.purchases[place];
        match purchase.answer {
            None => purchase.answer = Some((answer, time)),
            Some((first, _)) if first == answer => {}
            Some((Answer::Refused, _)) if may_be_forgotten => {
                purchase.answer = Some((answer, time));
            }
            Some((Answer::Granted(_), _)) if may_be_forgotten && answer == Answer::Refused => {}
            Some((first, _)) => {
                let key = &purchase.key;
                self.violations.push(format!("{key} was {first:?}, and later {answer:?}"));
            }
        }
    }

    /// The purchases that were granted, with their order numbers and when they were answered.
    fn granted(&self) -> impl Iterator<Item = (&Purchase, u64, Instant)> {
        self.purchases.iter().filter_map(|purchase| match purchase.answer? {
            (Answer::Granted(number), answered) => Some((purchase, number, answered)),
            (Answer::Refused, _) => None,
        })
    }

    /// How many orders were granted to purchases that were asked at or after `since`.
    pub(crate) fn granted_since(&self, since: Instant) -> usize {
        self.granted().filter(|(purchase, ..)| purchase.asked >= since).count()
    }

    /// The longest that a purchase waited for its answer.
    pub(crate) fn longest_wait(&self) -> Duration {
        let waits = self.purchases.iter().filter_map(|one| Some(one.answer?.1 - one.asked));
        waits.max().unwrap_or_default()
    }

    /// Compares what clients saw with what the databases hold, when no request is in flight any
    /// more. Returns the journal's length.
    pub(crate) async fn check(&self, cluster: &Cluster) -> usize {
        assert!(self.violations.is_empty(), "clients saw {:#?}", self.violations);
        let journal = cluster.check_databases(cluster.initial_stock).await;
        let decisions = decisions(cluster);
        self.check_decisions(&decisions, &journal);
        let mut spans = self.spans(&decisions, journal.len());
        let resumed = self.resumed.map(|(time, _)| time);
        if let Some((time, length)) = self.resumed {
            // What the journal began with is seen from then on.
            for span in &mut spans[..length.min(journal.len())] {
                span.ended = Some(span.ended.map_or(time, |ended| ended.min(time)));
            }
        }
        let initial_stock = cluster.initial_stock;
        let ledger = Ledger { initial_stock, rows: &journal, spans: &spans };
        check_sums(cluster, &ledger);
        let observations = self.observations.iter().cloned().chain(self.refusals());
        let of_this_life = |one: &Observation<Seen>| resumed.is_none_or(|time| one.began >= time);
        let observations: Vec<_> = observations.filter(of_this_life).collect();
        if let Err(why) = ledger.check(&observations) {
            panic!("what clients saw fits no order of what happened: {why}");
        }
        journal.len()
    }

    /// What refusals say of the stock.
    fn refusals(&self) -> impl Iterator<Item = Observation<Seen>> {
        self.purchases.iter().filter_map(|purchase| match purchase.answer? {
            (Answer::Refused, ended) => {
                let seen = Seen::Refusal(purchase.toy, purchase.quantity);
                Some(Observation { began: purchase.asked, ended, seen })
            }
            (Answer::Granted(_), _) => None,
        })
    }

    /// When each order of the journal was asked for and answered.
    fn spans(&self, decisions: &HashMap<String, Decision>, length: usize) -> Vec<Span> {
        let mut spans = vec![Span::default(); length];
        for purchase in &self.purchases {
            let decision = decisions.get(&format!("client:{}", purchase.key));
            let Some(number) = decision.and_then(|decision| decision.number) else { continue };
            spans[usize::try_from(number).expect("few orders")] = Span {
                began: Some(purchase.asked),
                ended: purchase.answer.map(|(_, answered)| answered),
            };
        }
        spans
    }

    /// Every key has one effect at most, every order one key, and every answer was the decision.
    fn check_decisions(&self, decisions: &HashMap<String, Decision>, journal: &[Row]) {
        let mut numbers = HashSet::new();
        for (key, decision) in decisions {
            let Some(number) = decision.number else { continue };
            assert!(numbers.insert(number), "order {number} was granted to two keys");
            let row = (number, decision.name.clone(), decision.quantity);
            let place = usize::try_from(number).expect("few orders");
            assert_eq!(journal.get(place), Some(&row), "{key} is in the journal as decided");
        }
        assert_eq!(numbers.len(), journal.len(), "every order was granted to a key");
        for purchase in &self.purchases {
            let decided = decisions.get(&format!("client:{}", purchase.key));
            let bought = (purchase.toy, purchase.quantity);
            if let Some(decided) = decided {
                assert_eq!((decided.name.as_str(), decided.quantity), bought, "{}", purchase.key);
            }
            let Some((answer, _)) = purchase.answer else { continue };
            if answer == Answer::Refused && self.may_be_forgotten(purchase) {
                continue;
            }
            let decided =
                decided.unwrap_or_else(|| panic!("there is no decision under {}", purchase.key));
            let decision = decided.number.map_or(Answer::Refused, Answer::Granted);
            assert_eq!(decision, answer, "{} was answered as decided", purchase.key);
        }
    }
}

/// What was stocked minus what was sold is left.
fn check_sums(cluster: &Cluster, ledger: &Ledger<'_>) {
    for toy in TOYS {
        let may_be_left = ledger.left(toy).expect("no more is sold than there was");
        let sql = "SELECT quantity FROM products WHERE name = ?1";
        let left = cluster.open("catalog").query_one(sql, [toy], |row| row.get::<_, u64>(0));
        let left = left.unwrap();
        assert!(may_be_left.contains(&left), "of {toy}, {left} are left and not {may_be_left:?}");
    }
}

fn decisions(cluster: &Cluster) -> HashMap<String, Decision> {
    let connection = cluster.open("catalog");
    let mut statement =
        connection.prepare("SELECT key, name, quantity, number FROM decisions").unwrap();
    let decisions = statement.query_map([], |row| {
        let decision = Decision { name: row.get(1)?, quantity: row.get(2)?, number: row.get(3)? };
        Ok((row.get(0)?, decision))
    });
    decisions.unwrap().collect::<Result<_, _>>().unwrap()
}
