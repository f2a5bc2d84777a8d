//! A batch's change in the making: its purchases are decided one after the other.

use std::collections::{BTreeMap, HashMap};

use super::stock::{Change, Directory, Recorded, Shelf, Stock};
use crate::wire::order::{Order, OrderNumber, Position};
use crate::wire::purchase::{Decision, IdempotencyKey, Purchase, Verdict};
use crate::wire::toy::ToyName;

/// A change in the making: later purchases of a batch see what earlier ones took.
pub(super) struct Draft<'a> {
    stock: &'a Stock,
    touched: BTreeMap<usize, Shelf>,
    end: Position,
    orders: Vec<Order>,
    decided: HashMap<IdempotencyKey, Recorded>,
    decisions: Vec<(Purchase, Decision)>,
}

impl<'a> Draft<'a> {
    pub(super) fn of(stock: &'a Stock) -> Self {
        Self {
            stock,
            touched: BTreeMap::new(),
            end: stock.standing().journal,
            orders: Vec::new(),
            decided: HashMap::new(),
            decisions: Vec::new(),
        }
    }

    pub(super) fn decide(
        &mut self,
        directory: &Directory,
        purchase: &Purchase,
        recorded: &HashMap<IdempotencyKey, Recorded>,
        is_clear: impl Fn(&ToyName) -> bool,
    ) -> Verdict {
        let known = self.decided.get(&purchase.key).or_else(|| recorded.get(&purchase.key));
        if let Some(known) = known {
            return Verdict::Decided(known.answer(purchase));
        }
        let Some(&place) = directory.get(&purchase.name) else {
            return Verdict::Decided(Decision::UnknownToy);
        };
        let before = &self.stock.shelves()[place];
        let present = self.touched.get(&place).unwrap_or(before);
        let wanted = purchase.quantity.get();
        if present.toy.quantity < wanted {
            return Verdict::Decided(self.record(purchase, Decision::OutOfStock));
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
        let order = Order { number, name: purchase.name.clone(), quantity: purchase.quantity };
        self.end = self.end.continued_by(&order);
        self.orders.push(order);
        Verdict::Decided(self.record(purchase, Decision::Granted(number)))
    }

    fn record(&mut self, purchase: &Purchase, decision: Decision) -> Decision {
        let number = match decision {
            Decision::Granted(number) => Some(number),
            Decision::OutOfStock | Decision::UnknownToy | Decision::KeyReused => None,
        };
        let recorded =
            Recorded { name: purchase.name.clone(), quantity: purchase.quantity, number };
        self.decided.insert(purchase.key.clone(), recorded);
        self.decisions.push((purchase.clone(), decision));
        decision
    }

    pub(super) fn into_change(self) -> Change {
        Change {
            shelves: self.touched.into_values().collect(),
            after: self.stock.standing().journal,
            orders: self.orders,
            decisions: self.decisions,
        }
    }
}

impl Recorded {
    /// The first answer again, to the same purchase only.
    fn answer(&self, purchase: &Purchase) -> Decision {
        if self.name != purchase.name || self.quantity != purchase.quantity {
            return Decision::KeyReused;
        }
        self.number.map_or(Decision::OutOfStock, Decision::Granted)
    }
}
