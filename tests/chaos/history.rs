//! What clients saw, and whether a good store could have shown it to them.
//!
//! All times are of one clock, the test's. A purchase that was answered at one time had happened by
//! then; one that was asked at one time had not happened before. So for a toy that is bought and
//! never restocked, a reading that began at `b` and ended at `e` lies between
//!
//! ```text
//! stock − pieces asked for before e  ≤  quantity  ≤  stock − pieces answered before b
//! ```
//!
//! and no reading shows more than one that ended before it began. Together with order numbers that
//! grow with time that is what linearizability comes to here, in one sweep over the sorted times.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::cluster::PLENTY;
use crate::processes::{Cluster, Row, TOYS};

/// All that clients saw.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) purchases: Vec<Purchase>,
    pub(crate) readings: Vec<Reading>,
    /// Orders that a client was told do not exist: the number, and when it asked.
    pub(crate) absences: Vec<(u64, Instant)>,
    /// Answers that promise nothing, such as a 503, and answers that never came.
    pub(crate) troubles: Vec<String>,
    /// Answers that no good store gives.
    pub(crate) violations: Vec<String>,
}

/// A purchase under a key of its own.
pub(crate) struct Purchase {
    pub(crate) key: String,
    pub(crate) toy: &'static str,
    pub(crate) quantity: u64,
    pub(crate) asked: Instant,
    /// Nothing for one that is in doubt.
    pub(crate) answer: Option<(Answer, Instant)>,
}

/// The decision on a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(u64),
    Refused,
}

/// A toy's quantity, as a client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) toy: &'static str,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) quantity: u64,
}

/// A row of the catalog's decisions.
struct Decision {
    name: String,
    quantity: u64,
    number: Option<u64>,
}

impl History {
    /// The orders that were granted, with when they were asked for and answered.
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

    /// Compares what clients saw with what the databases hold.
    pub(crate) async fn check(&self, cluster: &Cluster) {
        assert!(self.violations.is_empty(), "clients saw {:#?}", self.violations);
        let journal = cluster.check_databases(PLENTY).await;
        self.check_decisions(cluster, &journal);
        check_sums(cluster, &journal);
        self.check_numbers();
        self.check_absences();
        for toy in TOYS {
            self.check_readings(toy);
        }
    }

    /// Every key has one effect at most, every order one key, and every answer was the decision.
    fn check_decisions(&self, cluster: &Cluster, journal: &[Row]) {
        let decisions = decisions(cluster);
        let mut numbers = HashSet::new();
        for (key, decision) in &decisions {
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
            let decided = decided.unwrap_or_else(|| panic!("{} is forgotten", purchase.key));
            let decision = decided.number.map_or(Answer::Refused, Answer::Granted);
            assert_eq!(decision, answer, "{} was answered as decided", purchase.key);
        }
    }

    /// Whoever asked after an order was answered has a higher number.
    fn check_numbers(&self) {
        let mut asked: Vec<_> = self.granted().map(|(p, number, _)| (p.asked, number)).collect();
        let mut answered: Vec<_> = self.granted().map(|(_, number, time)| (time, number)).collect();
        asked.sort_unstable();
        answered.sort_unstable();
        let mut answered = answered.into_iter().peekable();
        let mut highest = None;
        for (time, number) in asked {
            while let Some((_, before)) = answered.next_if(|(answered, _)| *answered < time) {
                highest = highest.max(Some(before));
            }
            assert!(Some(number) > highest, "order {number} was asked for after {highest:?} ended");
        }
    }

    /// Nobody was told that an order does not exist who asked after it was answered.
    fn check_absences(&self) {
        let answered: HashMap<u64, Instant> =
            self.granted().map(|(_, number, answered)| (number, answered)).collect();
        for (number, asked) in &self.absences {
            let existed = answered.get(number).is_some_and(|answered| answered < asked);
            assert!(!existed, "order {number} was not found though it had been granted");
        }
    }

    fn check_readings(&self, toy: &str) {
        let of_toy = |purchase: &&Purchase| purchase.toy == toy;
        let refused = |p: &Purchase| matches!(p.answer, Some((Answer::Refused, _)));
        let asked = self.purchases.iter().filter(of_toy).filter(|p| !refused(p));
        let asked = Sold::new(asked.map(|p| (p.asked, p.quantity)));
        let answered = self.granted().filter(|(purchase, ..)| of_toy(purchase));
        let answered = Sold::new(answered.map(|(p, _, answered)| (answered, p.quantity)));
        let mut readings: Vec<Reading> =
            self.readings.iter().filter(|reading| reading.toy == toy).copied().collect();
        for reading in &readings {
            let most = PLENTY - answered.before(reading.began);
            let least = PLENTY.saturating_sub(asked.before(reading.ended));
            assert!(
                (least..=most).contains(&reading.quantity),
                "{reading:?} is not within {least}..={most}: {} too many",
                i128::from(reading.quantity) - i128::from(most)
            );
        }
        let mut ended = readings.clone();
        ended.sort_by_key(|reading| reading.ended);
        readings.sort_by_key(|reading| reading.began);
        let mut ended = ended.into_iter().peekable();
        let mut least = PLENTY;
        for reading in readings {
            while let Some(earlier) = ended.next_if(|earlier| earlier.ended < reading.began) {
                least = least.min(earlier.quantity);
            }
            assert!(reading.quantity <= least, "{reading:?} came after one of {least}");
        }
    }
}

/// How many pieces had been sold by when.
struct Sold(Vec<(Instant, u64)>);

impl Sold {
    fn new(sales: impl Iterator<Item = (Instant, u64)>) -> Self {
        let mut sales: Vec<_> = sales.collect();
        sales.sort_unstable();
        let mut total = 0;
        for (_, pieces) in &mut sales {
            total += *pieces;
            *pieces = total;
        }
        Self(sales)
    }

    fn before(&self, time: Instant) -> u64 {
        let place = self.0.partition_point(|(sold, _)| *sold < time);
        place.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// What was stocked less what was sold is left.
fn check_sums(cluster: &Cluster, journal: &[Row]) {
    for toy in TOYS {
        let sold: u64 = journal.iter().filter(|row| row.1 == toy).map(|row| row.2).sum();
        let sql = "SELECT quantity FROM products WHERE name = ?1";
        let left = cluster.open("catalog").query_one(sql, [toy], |row| row.get::<_, u64>(0));
        assert_eq!(left.unwrap(), PLENTY - sold, "of {toy}, {sold} were sold");
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

mod tests {
    //! The checker itself: each planted wrong is found.

    use super::*;

    fn at(ms: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(crate::processes::now) + Duration::from_millis(ms)
    }

    fn bought(number: u64, asked: u64, answered: u64) -> Purchase {
        Purchase {
            key: number.to_string(),
            toy: "Tux",
            quantity: 1,
            asked: at(asked),
            answer: Some((Answer::Granted(number), at(answered))),
        }
    }

    fn seen(quantity: u64, began: u64, ended: u64) -> Reading {
        Reading { toy: "Tux", began: at(began), ended: at(ended), quantity }
    }

    fn history(readings: Vec<Reading>) -> History {
        let purchases = vec![bought(0, 10, 20), bought(1, 30, 40)];
        History { purchases, readings, ..History::default() }
    }

    #[test]
    fn readings_that_a_good_store_shows_pass() {
        let readings = vec![
            seen(PLENTY, 0, 5),
            seen(PLENTY, 11, 19),
            seen(PLENTY - 1, 12, 18),
            seen(PLENTY - 1, 25, 29),
            seen(PLENTY - 2, 31, 32),
        ];
        history(readings).check_readings("Tux");
    }

    #[test]
    #[should_panic(expected = "is not within")]
    fn a_stale_reading_is_found() {
        history(vec![seen(PLENTY, 21, 22)]).check_readings("Tux");
    }

    #[test]
    #[should_panic(expected = "is not within")]
    fn a_reading_of_what_nobody_asked_for_yet_is_found() {
        history(vec![seen(PLENTY - 1, 5, 9)]).check_readings("Tux");
    }

    #[test]
    #[should_panic(expected = "came after one of")]
    fn readings_that_run_backwards_are_found() {
        history(vec![seen(PLENTY - 1, 11, 13), seen(PLENTY, 14, 19)]).check_readings("Tux");
    }

    #[test]
    #[should_panic(expected = "was asked for after")]
    fn numbers_that_run_backwards_are_found() {
        let purchases = vec![bought(1, 10, 20), bought(0, 30, 40)];
        History { purchases, ..History::default() }.check_numbers();
    }

    #[test]
    #[should_panic(expected = "was not found though")]
    fn an_order_that_was_denied_is_found() {
        let absences = vec![(0, at(21))];
        History { absences, ..history(Vec::new()) }.check_absences();
    }
}
