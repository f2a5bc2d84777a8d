//! Orders, positions in a log of orders, and the chain hash that compares two logs.
//!
//! The catalog's journal and the replicas' logs are copies of one sequence of orders. Each order
//! has a hash over itself and the hash before it, as the blocks of a Merkle–Damgård construction
//! do. So two logs with the same hash at one number have the same orders up to there:
//!
//! ```text
//! order     0         1         2
//! chain  h(∅,0) ─► h(·,1) ─► h(·,2)      a position: length 3, and this hash
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::bounds;
use super::count;
use super::purchase::IdempotencyKey;
use super::quantity::Quantity;
use super::replication::MOST_ROWS;
use super::toy::ToyName;

/// An order's number. Orders are numbered 0, 1, 2 … without a gap or a repeat.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64, minimum = 0, example = 10)]
pub struct OrderNumber(#[serde(deserialize_with = "count::deserialize")] pub u64);

/// What a granted purchase became. It never changes. Clients see it without its key:
/// `{"number":10,"name":"Tux","quantity":1}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// Its number.
    pub number: OrderNumber,
    /// The toy.
    #[serde(deserialize_with = "bounds::name")]
    pub name: ToyName,
    /// How many of it.
    pub quantity: Quantity,
    /// The key of the purchase. Replicas keep it with the order, so that a journal that is rebuilt
    /// from a replica answers a retry as before. Orders from before replicas kept keys have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub key: Option<IdempotencyKey>,
}

/// A hash over an order and all orders before it. In JSON it has 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain([u8; 16]);

/// The length of a log, and the chain hash at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// How many orders the log has, which is the number of the next order.
    #[serde(deserialize_with = "count::deserialize")]
    pub length: u64,
    /// The hash over all its orders.
    pub chain: Chain,
}

/// Orders in sequence, with the position before them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rows {
    /// The position before the first order.
    pub after: Position,
    /// The orders, numbered from `after.length` on.
    #[serde(deserialize_with = "bounds::list::<MOST_ROWS, _, _>")]
    pub orders: Vec<Order>,
}

/// What separates a name from a key in a hash: a byte that is in no UTF-8 text, so that no name
/// without a key has the hash of a name with one.
const KEY_FOLLOWS: u8 = 0xff;

impl Order {
    /// Returns the order as clients see it: a key is its buyer's alone.
    #[must_use]
    pub fn without_key(self) -> Self {
        Self { key: None, ..self }
    }
}

impl Chain {
    /// The hash of an empty log.
    pub const EMPTY: Self = Self([0; 16]);

    /// Returns the hash after `order`, if this is the hash before it.
    ///
    /// It is SHA-256 over the previous hash, the number, the quantity, the name and, if there is
    /// one, the key, cut to 128 bits: enough to detect a foreign or damaged file, and no defence
    /// against a forged one.
    #[must_use]
    pub fn continued_by(self, order: &Order) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(order.number.0.to_be_bytes());
        hasher.update(order.quantity.get().to_be_bytes());
        hasher.update(order.name.as_str());
        if let Some(key) = &order.key {
            hasher.update([KEY_FOLLOWS]);
            hasher.update(key.as_str());
        }
        let mut chain = [0; 16];
        chain.copy_from_slice(&hasher.finalize()[..16]);
        Self(chain)
    }

    /// Returns the hash as bytes, the way it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the hash as it is stored. `None` unless there are 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Position {
    /// The start of every log.
    pub const START: Self = Self { length: 0, chain: Chain::EMPTY };

    /// Returns whether a log that ends here contradicts a journal that ends at `journal`: it is
    /// longer, or as long and with other orders. Of a shorter one that cannot be told.
    #[must_use]
    pub fn contradicts(self, journal: Self) -> bool {
        self.length > journal.length || (self.length == journal.length && self != journal)
    }

    /// Returns the position after `order`, which must be the next one.
    ///
    /// # Panics
    ///
    /// If `order` does not have the next number: a gap or a repeat must never be written or sent.
    #[must_use]
    pub fn continued_by(self, order: &Order) -> Self {
        assert_eq!(order.number.0, self.length, "orders continue a log without a gap or a repeat");
        Self { length: self.length + 1, chain: self.chain.continued_by(order) }
    }

    /// Returns the number of the last order, if there is one.
    #[must_use]
    pub fn last(self) -> Option<OrderNumber> {
        self.length.checked_sub(1).map(OrderNumber)
    }
}

impl Rows {
    /// Returns no rows, at a position.
    #[must_use]
    pub fn none(after: Position) -> Self {
        Self { after, orders: Vec::new() }
    }

    /// Returns the length of a log that ends with these rows.
    #[must_use]
    pub fn end_length(&self) -> u64 {
        self.after.length + self.orders.len() as u64
    }

    /// Returns whether the orders are numbered from `after` on; else the message is invalid.
    #[must_use]
    pub fn are_numbered(&self) -> bool {
        self.orders.iter().zip(self.after.length..).all(|(order, number)| order.number.0 == number)
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Chain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The standard library's parser would take fewer digits, and a sign.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let chain = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        chain.map(|chain| Self(chain.to_be_bytes())).ok_or("a chain hash has 32 hexadecimal digits")
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn order(number: u64, name: &str) -> Order {
        Order { number: OrderNumber(number), name: name.into(), quantity: Quantity::ONE, key: None }
    }

    #[test]
    fn an_order_without_a_key_has_the_hash_that_it_had_before_orders_had_keys() {
        let chain = Chain::EMPTY.continued_by(&order(0, "Tux"));
        assert_eq!(chain.to_string(), "8982cfec203e933a9045ded6471fc3f5");
    }

    #[test]
    fn the_hash_covers_the_key_and_tells_it_from_the_name() {
        let with = |name: &str, key: Option<&str>| {
            let key = key.map(|key| key.to_owned().into());
            Chain::EMPTY.continued_by(&Order { key, ..order(0, name) })
        };
        let hashes = [("Tux", None), ("Tux", Some("a")), ("Tux", Some("b")), ("Tuxa", None)]
            .map(|(name, key)| with(name, key).to_string());
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 4, "{hashes:?}");
    }

    #[test]
    fn clients_see_an_order_without_its_key() {
        let order = Order { key: Some("client:a".to_owned().into()), ..order(10, "Tux") };
        let json = serde_json::to_string(&order.without_key()).unwrap();
        assert_eq!(json, r#"{"number":10,"name":"Tux","quantity":1}"#);
    }

    #[test]
    fn logs_that_differ_anywhere_have_different_hashes_at_the_end() {
        let ends = [["Tux", "Uno"], ["Uno", "Tux"], ["Tux", "Tux"]].map(|names| {
            names.iter().zip(0..).fold(Position::START, |position, (name, number)| {
                position.continued_by(&order(number, name))
            })
        });
        assert_ne!(ends[0], ends[1]);
        assert_ne!(ends[0], ends[2]);
        assert_ne!(ends[1], ends[2]);
    }

    #[test]
    fn a_chain_hash_is_read_from_json_and_the_database_as_it_was_written() {
        let chain = Chain::EMPTY.continued_by(&order(0, "Tux"));
        let json = serde_json::to_string(&chain).unwrap();
        assert_eq!(serde_json::from_str::<Chain>(&json).unwrap(), chain);
        assert_eq!(Chain::from_bytes(chain.as_bytes()), Some(chain));
        assert_eq!(Chain::from_bytes(b"short"), None);
        for text in ["", "7", "+0000000000000000000000000000007", &"0".repeat(33), &"g".repeat(32)]
        {
            assert!(text.parse::<Chain>().is_err(), "{text} was read as a chain hash");
        }
    }
}
