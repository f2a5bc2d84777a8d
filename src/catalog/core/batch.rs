//! Deciding a batch: its purchases one after the other, each with the stock that is left by then.
//!
//! A purchase whose key was decided before gets the recorded decision again. One of a toy that is
//! not clear is told to wait, and decides nothing. Any other is granted or refused, and that is
//! recorded under its key:
//!
//! ```text
//! 2 Tux left:  a buys 2  → granted, order 0
//!              b buys 1  → out of stock; recorded, though no stock changes
//!              a again   → granted, order 0, as before
//! ```

use std::collections::{BTreeMap, HashMap};

use super::stock::{Change, RecordedDecision, Shelf, Stock, ToyIndex};
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::{CommitRequest, Decision, IdempotencyKey, Purchase, Verdict};
use crate::wire::replication::{Epoch, Leadership, ReplicaId};
use crate::wire::toy::ToyName;

/// A batch's verdicts, and the change that must be on disk before they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each purchase, in the order of the batch.
    pub verdicts: Vec<Verdict>,
    /// The change to write.
    pub change: Change,
}

impl Stock {
    /// Checks that `replica` leads, in `epoch`.
    ///
    /// # Errors
    ///
    /// The current leadership, if it does not.
    pub fn led_by(&self, replica: ReplicaId, epoch: Epoch) -> Result<(), Leadership> {
        let leadership = self.status().leadership;
        let leads = leadership.epoch == epoch && leadership.is_led_by(replica);
        if leads { Ok(()) } else { Err(leadership) }
    }

    /// Decides a batch. `recorded` has the earlier decisions on its keys; `is_clear` tells whether
    /// a toy may change now.
    ///
    /// # Errors
    ///
    /// The current leadership, if the batch's sender does not lead any more.
    pub fn plan_batch(
        &self,
        toy_index: &ToyIndex,
        request: &CommitRequest,
        recorded: &HashMap<IdempotencyKey, RecordedDecision>,
        is_clear: impl Fn(&ToyName) -> bool,
    ) -> Result<Plan, Leadership> {
        self.led_by(request.leader, request.epoch)?;
        let mut builder = ChangeBuilder::of(self);
        let verdicts = request
            .purchases
            .iter()
            .map(|purchase| builder.decide(toy_index, purchase, recorded, &is_clear))
            .collect();
        Ok(Plan { verdicts, change: builder.finish() })
    }
}

/// Builds a batch's change purchase by purchase, so that later ones see what earlier ones took.
struct ChangeBuilder<'a> {
    stock: &'a Stock,
    touched: BTreeMap<usize, Shelf>,
    end: Position,
    orders: Vec<Order>,
    decided: BTreeMap<IdempotencyKey, RecordedDecision>,
}

impl<'a> ChangeBuilder<'a> {
    fn of(stock: &'a Stock) -> Self {
        Self {
            stock,
            touched: BTreeMap::new(),
            end: stock.status().journal,
            orders: Vec::new(),
            decided: BTreeMap::new(),
        }
    }

    fn decide(
        &mut self,
        toy_index: &ToyIndex,
        purchase: &Purchase,
        recorded: &HashMap<IdempotencyKey, RecordedDecision>,
        is_clear: impl Fn(&ToyName) -> bool,
    ) -> Verdict {
        let known = self.decided.get(&purchase.key).or_else(|| recorded.get(&purchase.key));
        if let Some(known) = known {
            return Verdict::Decided(known.repeat_for(purchase));
        }
        if !self.stock.is_ours(purchase) {
            return Verdict::Decided(Decision::OtherCatalog);
        }
        let Some(&place) = toy_index.get(&purchase.name) else {
            return Verdict::Decided(Decision::UnknownToy);
        };
        let before = &self.stock.shelves()[place];
        let present = self.touched.get(&place).unwrap_or(before);
        let wanted = purchase.quantity.get();
        if present.toy.quantity < wanted {
            self.record(purchase, None);
            return Verdict::Decided(Decision::OutOfStock);
        }
        if !is_clear(&purchase.name) {
            return Verdict::Wait;
        }
        let mut after = present.clone();
        after.toy.quantity -= wanted;
        after.sold += wanted;
        // One version per change, however many of its purchases take of the toy.
        after.version = before.version.next();
        self.touched.insert(place, after);
        let number = OrderNumber(self.end.length);
        let order = Order {
            number,
            name: purchase.name.clone(),
            quantity: purchase.quantity,
            key: Some(purchase.key.clone()),
        };
        self.end = self.end.continued_by(&order);
        self.orders.push(order);
        self.record(purchase, Some(number));
        Verdict::Decided(Decision::Granted(number))
    }

    fn record(&mut self, purchase: &Purchase, number: Option<OrderNumber>) {
        let (name, quantity) = (purchase.name.clone(), purchase.quantity);
        self.decided.insert(purchase.key.clone(), RecordedDecision { name, quantity, number });
    }

    fn finish(self) -> Change {
        Change {
            shelves: self.touched.into_values().collect(),
            after: self.stock.status().journal,
            orders: self.orders,
            decisions: self.decided.into_iter().collect(),
        }
    }
}

impl RecordedDecision {
    /// Returns the decision again, if `purchase` is the one that it was taken on.
    fn repeat_for(&self, purchase: &Purchase) -> Decision {
        if self.name != purchase.name || self.quantity != purchase.quantity {
            return Decision::KeyReused;
        }
        self.number.map_or(Decision::OutOfStock, Decision::Granted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stock::tests::stock;
    use super::*;
    use crate::wire::lease::Version;
    use crate::wire::quantity::Quantity;
    use crate::wire::trace::RequestOrigin;

    fn purchase(key: &str, name: &str, quantity: u64) -> Purchase {
        Purchase {
            key: IdempotencyKey::from(key.to_owned()),
            name: name.into(),
            quantity: Quantity::new(quantity).unwrap(),
            origin: RequestOrigin::default(),
            boot: None,
        }
    }

    fn batch(purchases: Vec<Purchase>) -> CommitRequest {
        CommitRequest { leader: ReplicaId(3), epoch: Epoch(7), log: Position::START, purchases }
    }

    fn plan(
        stock: &Stock,
        purchases: Vec<Purchase>,
        recorded: &HashMap<IdempotencyKey, RecordedDecision>,
    ) -> Plan {
        stock.plan_batch(&stock.toy_index(), &batch(purchases), recorded, |_toy| true).unwrap()
    }

    fn sell(stock: &mut Stock, purchases: Vec<Purchase>) -> Vec<Verdict> {
        let plan = plan(stock, purchases, &HashMap::new());
        stock.apply(&stock.toy_index(), &plan.change);
        plan.verdicts
    }

    const GRANTED_0: Verdict = Verdict::Decided(Decision::Granted(OrderNumber(0)));
    const GRANTED_1: Verdict = Verdict::Decided(Decision::Granted(OrderNumber(1)));
    const OUT_OF_STOCK: Verdict = Verdict::Decided(Decision::OutOfStock);

    #[test]
    fn a_batch_sells_no_more_than_is_in_stock() {
        let mut stock = stock(3);
        let verdicts = sell(
            &mut stock,
            vec![purchase("a", "Tux", 2), purchase("b", "Tux", 2), purchase("c", "Tux", 1)],
        );
        assert_eq!(verdicts, [GRANTED_0, OUT_OF_STOCK, GRANTED_1]);
        assert_eq!(stock.shelves()[0].toy.quantity, 0);
        assert_eq!(stock.shelves()[1].toy.quantity, 3);
        assert_eq!(stock.status().journal.length, 2);
    }

    #[test]
    fn a_key_that_comes_twice_in_a_batch_is_decided_once() {
        let mut stock = stock(3);
        let verdicts = sell(&mut stock, vec![purchase("a", "Tux", 1), purchase("a", "Tux", 1)]);
        assert_eq!(verdicts, [GRANTED_0, GRANTED_0]);
        assert_eq!(stock.shelves()[0].sold, 1);
    }

    #[test]
    fn a_known_key_gets_its_first_decision_whatever_the_stock_is_now() {
        let stock = stock(3);
        let known = |quantity, number| RecordedDecision {
            name: "Tux".into(),
            quantity: Quantity::new(quantity).unwrap(),
            number,
        };
        let recorded = HashMap::from([
            ("sold".to_owned().into(), known(1, Some(OrderNumber(0)))),
            ("refused".to_owned().into(), known(1, None)),
        ]);
        let plan = plan(
            &stock,
            vec![
                purchase("sold", "Tux", 1),
                purchase("refused", "Tux", 1),
                purchase("sold", "Tux", 2),
                purchase("refused", "Uno", 1),
            ],
            &recorded,
        );
        let reused = Verdict::Decided(Decision::KeyReused);
        assert_eq!(plan.verdicts, [GRANTED_0, OUT_OF_STOCK, reused, reused]);
        assert!(plan.change.is_empty());
    }

    #[test]
    fn a_refusal_is_recorded_and_touches_no_stock() {
        let stock = stock(3);
        let plan = plan(&stock, vec![purchase("a", "Tux", 4)], &HashMap::new());
        assert_eq!(plan.verdicts, [OUT_OF_STOCK]);
        let refused = RecordedDecision {
            name: "Tux".into(),
            quantity: Quantity::new(4).unwrap(),
            number: None,
        };
        assert_eq!(plan.change.decisions, [("a".to_owned().into(), refused)]);
        assert!(plan.change.touched().is_empty());
    }

    #[test]
    fn an_unknown_toy_is_not_recorded() {
        let plan = plan(&stock(3), vec![purchase("a", "Tex", 1)], &HashMap::new());
        assert_eq!(plan.verdicts, [Verdict::Decided(Decision::UnknownToy)]);
        assert!(plan.change.is_empty());
    }

    #[test]
    fn a_toy_that_is_not_clear_does_not_delay_the_others() {
        let stock = stock(3);
        let purchases = vec![purchase("a", "Tux", 1), purchase("b", "Uno", 1)];
        let plan = stock
            .plan_batch(&stock.toy_index(), &batch(purchases), &HashMap::new(), |toy| {
                toy.as_str() != "Tux"
            })
            .unwrap();
        assert_eq!(plan.verdicts, [Verdict::Wait, GRANTED_0]);
        assert_eq!(plan.change.touched(), [("Uno".into(), Version(1))]);
    }

    #[test]
    fn a_deposed_leader_sells_nothing() {
        let mut stock = stock(3);
        let next = Leadership { epoch: Epoch(8), leader: Some(ReplicaId(2)) };
        stock.adopt_leadership(next);
        let toy_index = stock.toy_index();
        let mut request = batch(vec![purchase("a", "Tux", 1)]);
        let refused = stock.plan_batch(&toy_index, &request, &HashMap::new(), |_| true);
        assert_eq!(refused, Err(next));
        // Nor does a replica that knows the epoch and does not lead in it.
        request.epoch = Epoch(8);
        let refused = stock.plan_batch(&toy_index, &request, &HashMap::new(), |_| true);
        assert_eq!(refused, Err(next));
    }
}
