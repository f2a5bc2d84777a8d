//! What one client does next: which toy it looks at, and whether it would buy it.
//!
//! # The idea
//!
//! Two runs that shall be compared (with the cache and without it, or at two probabilities) should
//! differ in nothing else. So each client has random numbers of its own, drawn from the seed and
//! the client's number, and spends the same ones on every visit: one on the toy and one on the
//! coin, whether or not the coin is looked at afterwards. What the store answered, how fast, and
//! what the other clients did then cannot shift the sequence. The coin is a number from 0 to 1 that
//! the probability is held against; whatever is bought at 20 % is bought at 40 %, too.

use std::str::FromStr;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A probability, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability(f64);

/// One client's plan of visits.
#[derive(Clone, Debug)]
pub struct Shopper {
    random: ChaCha8Rng,
    toys: usize,
    probability: Probability,
    visits_left: Option<u64>,
}

/// One iteration: a look at a toy and, maybe, a purchase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// The toy's place in the store's list.
    pub toy: usize,
    coin: f64,
    probability: Probability,
}

/// What the query of a visit showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// So many are in stock.
    Quantity(u64),
    /// No quantity: the query failed.
    Nothing,
}

/// What follows the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An order of the toy.
    Order,
    /// The next visit.
    MoveOn,
}

impl Probability {
    /// The probability as a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Shopper {
    /// The client with this number, in a store with so many toys. Without `visits` it goes on for
    /// as long as it is asked.
    ///
    /// # Panics
    ///
    /// If there are no toys.
    #[must_use]
    pub fn new(
        seed: u64,
        client: u32,
        toys: usize,
        probability: Probability,
        visits: Option<u64>,
    ) -> Self {
        assert!(toys > 0, "somebody who shops needs a toy to look at");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(client.into());
        Self { random, toys, probability, visits_left: visits }
    }

    /// The next visit. `None` when the client has made all of them.
    pub fn next_visit(&mut self) -> Option<Visit> {
        if let Some(left) = &mut self.visits_left {
            *left = left.checked_sub(1)?;
        }
        let toy = self.random.random_range(0..self.toys);
        let coin = self.random.random();
        Some(Visit { toy, coin, probability: self.probability })
    }
}

impl Visit {
    /// What to do after the query.
    #[must_use]
    pub fn after_query(&self, shown: Shown) -> Next {
        match shown {
            Shown::Quantity(quantity) if quantity > 0 && self.coin < self.probability.0 => {
                Next::Order
            }
            Shown::Quantity(_) | Shown::Nothing => Next::MoveOn,
        }
    }
}

impl FromStr for Probability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
        number.map(Self).ok_or_else(|| "a probability is a number from 0 to 1, as 0.2".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visits(seed: u64, client: u32, probability: &str) -> Vec<Visit> {
        let mut shopper = Shopper::new(seed, client, 16, probability.parse().unwrap(), Some(1_000));
        std::iter::from_fn(|| shopper.next_visit()).collect()
    }

    fn bought(visits: &[Visit]) -> Vec<bool> {
        visits.iter().map(|visit| visit.after_query(Shown::Quantity(1)) == Next::Order).collect()
    }

    #[test]
    fn the_same_seed_and_client_make_the_same_visits() {
        assert_eq!(visits(7, 2, "0.2"), visits(7, 2, "0.2"));
    }

    #[test]
    fn other_clients_and_other_seeds_make_other_visits() {
        assert_ne!(visits(7, 2, "0.2"), visits(7, 3, "0.2"));
        assert_ne!(visits(7, 2, "0.2"), visits(8, 2, "0.2"));
    }

    #[test]
    fn a_client_makes_as_many_visits_as_it_was_told() {
        assert_eq!(visits(7, 2, "0.2").len(), 1_000);
    }

    #[test]
    fn the_probability_changes_no_toy_and_takes_no_purchase_back() {
        let (few, many) = (visits(7, 2, "0.2"), visits(7, 2, "0.4"));
        assert!(few.iter().zip(&many).all(|(few, many)| few.toy == many.toy));
        assert!(bought(&few).iter().zip(bought(&many)).all(|(few, many)| !few || many));
        assert_ne!(bought(&few), bought(&many));
    }

    #[test]
    fn about_the_given_share_of_visits_buys() {
        let count =
            |probability| bought(&visits(7, 2, probability)).iter().filter(|buys| **buys).count();
        assert_eq!(count("0"), 0);
        assert!((150..250).contains(&count("0.2")), "{}", count("0.2"));
        assert_eq!(count("1"), 1_000);
    }

    #[test]
    fn every_toy_has_about_the_same_chance() {
        for seed in 0..20 {
            let looks = (1..=5).flat_map(|client| visits(seed, client, "0.2"));
            let mut counts = [0; 16];
            looks.for_each(|visit| counts[visit.toy] += 1);
            // 312.5 are expected of each, with a standard deviation of 17.
            assert!(counts.iter().all(|count| (230..400).contains(count)), "{seed}: {counts:?}");
        }
    }

    #[test]
    fn nothing_is_ordered_that_is_not_in_stock_or_was_not_shown() {
        for visit in visits(7, 2, "1") {
            assert_eq!(visit.after_query(Shown::Quantity(0)), Next::MoveOn);
            assert_eq!(visit.after_query(Shown::Nothing), Next::MoveOn);
        }
    }

    #[test]
    fn only_numbers_from_0_to_1_are_probabilities() {
        for text in ["-0.1", "1.01", "NaN", "inf", "20%", ""] {
            assert!(text.parse::<Probability>().is_err(), "{text} was a probability");
        }
    }
}
