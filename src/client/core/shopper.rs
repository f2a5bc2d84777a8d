//! What one client does next: which toy it queries, and whether it would buy it.
//!
//! # The idea
//!
//! Two runs that are to be compared (with the cache and without it, or at two probabilities) should
//! differ in nothing else. So each client has its own random numbers, drawn from the seed and the
//! client's number, and spends two on every iteration: one on the toy and one on the coin, even if
//! the coin is never looked at. Neither the store's answers, nor its speed, nor the other clients
//! can shift the sequence. The coin is a number from 0 to 1 that is compared with the probability,
//! so all that is bought at 20 % is bought at 40 %, too.

use std::str::FromStr;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A probability, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probability(f64);

/// One client's sequence of iterations.
#[derive(Clone, Debug)]
pub(crate) struct Shopper {
    random: ChaCha8Rng,
    toys: usize,
    probability: Probability,
    iterations_left: Option<u64>,
}

/// One iteration: a query of a toy and, maybe, a purchase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Iteration {
    /// The toy's place in the store's list.
    pub(crate) toy: usize,
    coin: f64,
    probability: Probability,
}

/// What an iteration's query showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// This many are in stock.
    Quantity(u64),
    /// Nothing: the query failed.
    Nothing,
}

/// What follows the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// An order of the toy.
    Order,
    /// The next iteration.
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
    /// The client with this number, in a store that sells `toys` toys. Without `iterations`, it
    /// never ends.
    pub(crate) fn new(
        seed: u64,
        client: u32,
        toys: usize,
        probability: Probability,
        iterations: Option<u64>,
    ) -> Self {
        assert!(toys > 0, "there is at least one toy to query");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(client.into());
        Self { random, toys, probability, iterations_left: iterations }
    }

    /// The next iteration; `None` after the last.
    pub(crate) fn next_iteration(&mut self) -> Option<Iteration> {
        if let Some(left) = &mut self.iterations_left {
            *left = left.checked_sub(1)?;
        }
        let toy = self.random.random_range(0..self.toys);
        let coin = self.random.random();
        Some(Iteration { toy, coin, probability: self.probability })
    }
}

impl Iteration {
    /// What to do after the query.
    pub(crate) fn after_query(&self, shown: Shown) -> NextStep {
        match shown {
            Shown::Quantity(quantity) if quantity > 0 && self.coin < self.probability.0 => {
                NextStep::Order
            }
            Shown::Quantity(_) | Shown::Nothing => NextStep::MoveOn,
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

    fn iterations(seed: u64, client: u32, probability: &str) -> Vec<Iteration> {
        let mut shopper = Shopper::new(seed, client, 16, probability.parse().unwrap(), Some(1_000));
        std::iter::from_fn(|| shopper.next_iteration()).collect()
    }

    fn bought(iterations: &[Iteration]) -> Vec<bool> {
        iterations
            .iter()
            .map(|iteration| iteration.after_query(Shown::Quantity(1)) == NextStep::Order)
            .collect()
    }

    #[test]
    fn the_same_seed_and_client_make_the_same_iterations() {
        assert_eq!(iterations(7, 2, "0.2"), iterations(7, 2, "0.2"));
    }

    #[test]
    fn other_clients_and_other_seeds_make_other_iterations() {
        assert_ne!(iterations(7, 2, "0.2"), iterations(7, 3, "0.2"));
        assert_ne!(iterations(7, 2, "0.2"), iterations(8, 2, "0.2"));
    }

    #[test]
    fn a_client_makes_as_many_iterations_as_it_was_told() {
        assert_eq!(iterations(7, 2, "0.2").len(), 1_000);
    }

    #[test]
    fn the_probability_changes_no_toy_and_takes_no_purchase_back() {
        let (few, many) = (iterations(7, 2, "0.2"), iterations(7, 2, "0.4"));
        assert!(few.iter().zip(&many).all(|(few, many)| few.toy == many.toy));
        assert!(bought(&few).iter().zip(bought(&many)).all(|(few, many)| !few || many));
        assert_ne!(bought(&few), bought(&many));
    }

    #[test]
    fn about_the_given_share_of_iterations_buys() {
        let count = |probability| {
            bought(&iterations(7, 2, probability)).iter().filter(|buys| **buys).count()
        };
        assert_eq!(count("0"), 0);
        assert!((150..250).contains(&count("0.2")), "{}", count("0.2"));
        assert_eq!(count("1"), 1_000);
    }

    #[test]
    fn every_toy_has_about_the_same_chance() {
        for seed in 0..20 {
            let looks = (1..=5).flat_map(|client| iterations(seed, client, "0.2"));
            let mut counts = [0; 16];
            looks.for_each(|iteration| counts[iteration.toy] += 1);
            // 312.5 are expected of each, with a standard deviation of 17.
            assert!(counts.iter().all(|count| (230..400).contains(count)), "{seed}: {counts:?}");
        }
    }

    #[test]
    fn nothing_is_ordered_that_is_not_in_stock_or_was_not_shown() {
        for iteration in iterations(7, 2, "1") {
            assert_eq!(iteration.after_query(Shown::Quantity(0)), NextStep::MoveOn);
            assert_eq!(iteration.after_query(Shown::Nothing), NextStep::MoveOn);
        }
    }

    #[test]
    fn only_numbers_from_0_to_1_are_probabilities() {
        for text in ["-0.1", "1.01", "NaN", "inf", "20%", ""] {
            assert!(text.parse::<Probability>().is_err(), "{text} was a probability");
        }
    }
}
