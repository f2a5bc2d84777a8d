//! The record of each successful order, and its comparison with what the store says at the end.
//!
//! A client believes nothing but its own record: the number that it was given and what it asked for
//! under it. At the end every order must be found under its number with the same content, and no
//! number may have been given out twice, to whichever clients.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::wire::order::{Order, OrderNumber};

/// The orders of one client.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    rows: Vec<Receipt>,
}

/// An order that the store has granted, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number that the store gave, and what was asked for.
    pub order: Order,
    /// What the final check found.
    pub finding: Finding,
}

/// What the final check found of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was not checked: the run was broken off.
    Unchecked,
    /// The store knows it as the client does.
    Match,
    /// The store knows another order by this number.
    Different,
    /// The store does not know it.
    Missing,
    /// The store did not answer the question.
    Unfetched,
    /// The number was given out twice.
    Repeated,
}

/// What the store says of an order at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This is it.
    Order(Order),
    /// There is no such order.
    Unknown,
    /// Nothing that can be used; why.
    Nothing(String),
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCheck {
    /// The client that made the order.
    pub client: u32,
    /// The order's number.
    pub number: OrderNumber,
    /// What is wrong.
    pub finding: Finding,
    /// The same in a sentence.
    pub problem: String,
}

impl Receipts {
    /// Keeps an order that the store has granted.
    pub fn keep(&mut self, order: Order) {
        self.rows.push(Receipt { order, finding: Finding::Unchecked });
    }

    /// The orders, in the sequence in which they were made.
    #[must_use]
    pub fn rows(&self) -> &[Receipt] {
        &self.rows
    }

    /// How many toys were bought.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.rows.iter().map(|row| row.order.quantity.get()).fold(0, u64::saturating_add)
    }

    /// Of how many orders the store has said something.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let open = [Finding::Unchecked, Finding::Unfetched];
        self.rows.iter().filter(|row| !open.contains(&row.finding)).count() as u64
    }

    /// How many orders are on the store's side what they are on this one.
    #[must_use]
    pub fn matching(&self) -> u64 {
        self.rows.iter().filter(|row| row.finding == Finding::Match).count() as u64
    }

    /// Compares the order in `row` with what the store says of it. The problem, if there is one.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn compare(&mut self, row: usize, told: Told) -> Option<String> {
        let receipt = &mut self.rows[row];
        let (finding, problem) = receipt.judge(told);
        receipt.finding = finding;
        problem
    }
}

impl Receipt {
    fn judge(&self, told: Told) -> (Finding, Option<String>) {
        match told {
            Told::Order(order) if order == self.order => (Finding::Match, None),
            Told::Order(order) => {
                let (ours, theirs) = (Goods(&self.order), Goods(&order));
                let number = order.number;
                let problem =
                    format!("{ours} was ordered, the store says order {number}: {theirs}");
                (Finding::Different, Some(problem))
            }
            Told::Unknown => {
                let problem =
                    format!("{} was ordered, the store knows nothing", Goods(&self.order));
                (Finding::Missing, Some(problem))
            }
            Told::Nothing(why) => {
                (Finding::Unfetched, Some(format!("could not be fetched: {why}")))
            }
        }
    }
}

/// Finds the numbers that were given out more than once, to one client or to several. `all` are the
/// clients' receipts, the first one's first.
pub fn find_repeats(all: &mut [Receipts]) -> Vec<FailedCheck> {
    let mut holders: HashMap<OrderNumber, u32> = HashMap::new();
    let mut repeats = Vec::new();
    for (client, receipts) in (1..).zip(all) {
        for receipt in &mut receipts.rows {
            let number = receipt.order.number;
            if let Some(first) = holders.insert(number, client) {
                receipt.finding = Finding::Repeated;
                let problem = format!("the number was given out before, to client {first}");
                repeats.push(FailedCheck { client, number, finding: Finding::Repeated, problem });
            }
        }
    }
    repeats
}

/// What an order buys, for a sentence.
struct Goods<'a>(&'a Order);

impl fmt::Display for Goods<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.0.quantity, self.0.name)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "unchecked",
            Self::Match => "match",
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Unfetched => "unfetched",
            Self::Repeated => "repeated",
        })
    }
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} of client {}: {}", self.number, self.client, self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::quantity::Quantity;

    fn order(number: u64, name: &str, quantity: u64) -> Order {
        let quantity = Quantity::new(quantity).unwrap();
        Order { number: OrderNumber(number), name: name.into(), quantity }
    }

    fn receipts(numbers: &[u64]) -> Receipts {
        let mut receipts = Receipts::default();
        for number in numbers {
            receipts.keep(order(*number, "Tux", 2));
        }
        receipts
    }

    fn checked(told: Told) -> (Finding, Option<String>) {
        let mut receipts = receipts(&[7]);
        let problem = receipts.compare(0, told);
        (receipts.rows()[0].finding, problem)
    }

    #[test]
    fn an_order_that_the_store_knows_as_the_client_does_matches() {
        assert_eq!(checked(Told::Order(order(7, "Tux", 2))), (Finding::Match, None));
    }

    #[test]
    fn another_number_name_or_quantity_is_a_failed_check() {
        for other in [order(8, "Tux", 2), order(7, "Uno", 2), order(7, "Tux", 1)] {
            let (finding, problem) = checked(Told::Order(other));
            assert_eq!(finding, Finding::Different);
            assert!(problem.unwrap().starts_with("2 × Tux was ordered, the store says "));
        }
    }

    #[test]
    fn an_order_that_is_missing_or_cannot_be_fetched_is_a_failed_check() {
        assert_eq!(checked(Told::Unknown).0, Finding::Missing);
        assert_eq!(checked(Told::Nothing("silence".into())).0, Finding::Unfetched);
    }

    #[test]
    fn a_number_given_to_two_clients_is_found_even_if_both_bought_the_same() {
        let mut all = [receipts(&[0, 1]), receipts(&[2, 1])];
        let repeats = find_repeats(&mut all);
        assert_eq!(repeats.len(), 1);
        assert_eq!((repeats[0].client, repeats[0].number), (2, OrderNumber(1)));
        assert!(repeats[0].problem.contains("client 1"));
        assert_eq!(all[1].rows()[1].finding, Finding::Repeated);
    }

    #[test]
    fn a_number_given_twice_to_one_client_is_found() {
        assert_eq!(find_repeats(&mut [receipts(&[3, 4, 3])]).len(), 1);
        assert_eq!(find_repeats(&mut [receipts(&[3, 4]), receipts(&[5])]), []);
    }

    #[test]
    fn units_are_the_sum_of_the_quantities() {
        assert_eq!(receipts(&[1, 2, 3]).units(), 6);
    }
}
