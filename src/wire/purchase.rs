//! The messages of a purchase, which is sent under an idempotency key and decided once.
//!
//! A *purchase* is a request; an *order* is what a granted purchase becomes. The catalog decides
//! each key once, and answers each retry with the first decision. So a caller that got no answer
//! just sends the purchase again, under the same key.
//!
//! ```text
//! client ─PurchaseBody─► front-end ─Purchase─► leader ─CommitRequest, a batch─► catalog
//!        ◄──Receipt─────           ◄PurchaseReply─    ◄──CommitReply───────────
//! ```

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::bounds;
use super::order::{OrderNumber, Position, Rows};
use super::quantity::{self, Quantity};
use super::replication::{Epoch, Leadership, ReplicaId};
use super::toy::ToyName;
use super::trace::{RequestOrigin, write_digits};

/// What the keys begin with that clients chose.
const CLIENT: &str = "client:";
/// What the keys begin with that front-ends drew.
const RANDOM: &str = "random:";

/// The key that identifies a purchase for ever: the client's `Idempotency-Key`, or one that a
/// front-end [drew](IdempotencyKey::drawn).
///
/// The two kinds have different prefixes (`client:…`, `random:…`). The reply to a purchase says its
/// key in both cases, so that a client that sent none can retry with the key that was drawn for it.
/// It cannot guess one that was drawn for another client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Arc<str>);

/// The most purchases in a batch. At some 10 µs each, the catalog is done with the largest batch in
/// the time of a few fsyncs.
pub const MOST_IN_BATCH: usize = 256;

/// The body of `POST /orders`: `{"name":"Tux","quantity":1}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurchaseBody {
    /// The toy.
    pub name: ToyName,
    /// How many of it.
    #[serde(deserialize_with = "quantity::deserialize_any_length")]
    pub quantity: Quantity,
}

/// A purchase on its way to the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Purchase {
    /// The key, which is the same in every retry.
    pub key: IdempotencyKey,
    /// The toy.
    #[serde(deserialize_with = "bounds::name")]
    pub name: ToyName,
    /// How many of it.
    pub quantity: Quantity,
    /// The client's request.
    #[serde(default, skip_serializing_if = "RequestOrigin::is_unknown")]
    pub origin: RequestOrigin,
    /// The catalog's start that the front-end's session belongs to. A catalog that is another one,
    /// because it was moved and the old one still runs, must not sell what that front-end shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u64>,
}

/// The catalog's decision on a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The toy is sold, under this order number. Recorded under the key.
    Granted(OrderNumber),
    /// There was not enough stock. Recorded under the key.
    OutOfStock,
    /// There is no such toy. Not recorded: the toy may be added to `roles.toml` later.
    UnknownToy,
    /// The key belongs to another purchase.
    KeyReused,
    /// The purchase was made under another start of the catalog than the one that was asked to
    /// decide it. Not recorded: to be retried under the start that the front-end knows then.
    OtherCatalog,
}

/// The catalog's answer to one purchase of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The purchase is decided.
    Decided(Decision),
    /// Nothing is decided: a front-end may still have the toy cached. Retry in a moment.
    Wait,
}

/// A leader sends a batch of purchases to the catalog (`POST /internal/commit`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The replica that sends it.
    pub leader: ReplicaId,
    /// The epoch in which it leads, as the fencing token.
    pub epoch: Epoch,
    /// Where its log ends, including rows that it is still writing. The answer's rows start here.
    pub log: Position,
    /// The purchases.
    #[serde(deserialize_with = "bounds::list::<{ MOST_IN_BATCH as u64 }, _, _>")]
    pub purchases: Vec<Purchase>,
}

/// The catalog's answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitReply {
    /// The batch is decided.
    Decided {
        /// A verdict for each purchase, in the order of the request.
        verdicts: Vec<Verdict>,
        /// The journal's rows from the leader's position on, at most
        /// [`MOST_ROWS`](super::replication::MOST_ROWS).
        rows: Rows,
    },
    /// The sender does not lead any more. Nothing was decided.
    Deposed(Leadership),
}

/// The leader's answer to a front-end (`POST /internal/purchase`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseReply {
    /// The purchase is decided and, if granted, on disk here and on every live follower.
    Decided(Decision),
    /// This replica does not lead. Who does, as far as it knows.
    NotLeader(Leadership),
}

impl IdempotencyKey {
    /// The most characters that a client's key may have.
    pub const LONGEST: usize = 255;
    /// The most characters of a key as it is stored: a client's, and what tells that it is one.
    pub const LONGEST_STORED: usize = CLIENT.len() + Self::LONGEST;

    /// Creates the key that a client sent: its own, or one that was drawn for it and that it has
    /// from a reply. `None` unless it is 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn from_client(text: &[u8]) -> Option<Self> {
        let fits = (1..=Self::LONGEST).contains(&text.len());
        let text = std::str::from_utf8(text).ok()?;
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        Some(if is_drawn(text) {
            Self(text.into())
        } else {
            Self(format!("{CLIENT}{text}").into())
        })
    }

    /// Draws a key for a purchase whose client sent none: the time, in milliseconds since 1970, and
    /// the lowest 80 of some random `bits`, which cannot be guessed.
    ///
    /// The catalog keeps keys in their order. Keys that begin with the time stand side by side on a
    /// few pages of the database, and those that were random throughout changed one page each.
    /// Nothing is decided by the time; a clock that jumps costs pages.
    #[must_use]
    pub fn drawn(time_ms: u128, bits: u128) -> Self {
        const RANDOM_BITS: u32 = 80;
        let low = bits & ((1 << RANDOM_BITS) - 1);
        Self::from_random(time_ms << RANDOM_BITS | low)
    }

    /// Creates the key with these 128 bits.
    ///
    /// # Panics
    ///
    /// Never: digits are text.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let mut text = *b"random:00000000000000000000000000000000";
        write_digits(&mut text[RANDOM.len()..], bits);
        Self(std::str::from_utf8(&text).expect("digits are text").into())
    }

    /// Returns the key as a client sends it.
    #[must_use]
    pub fn as_sent(&self) -> &str {
        self.0.strip_prefix(CLIENT).unwrap_or(&self.0)
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a front-end drew the key: `random:` and 32 lower-case hexadecimal digits.
fn is_drawn(key: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    key.strip_prefix(RANDOM).is_some_and(|bits| bits.len() == 32 && bits.bytes().all(is_digit))
}

impl From<String> for IdempotencyKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounds::text(deserializer, |key| {
            if bounds::is_visible(key, Self::LONGEST_STORED) {
                return Ok(Self(key.into()));
            }
            Err(format!("a key has 1 to {} visible ASCII characters", Self::LONGEST_STORED))
        })
    }
}

impl Serialize for IdempotencyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_send_again_the_key_that_was_drawn_for_it() {
        let drawn = IdempotencyKey::from_random(7);
        let again = IdempotencyKey::from_client(drawn.as_sent().as_bytes());
        assert_eq!(again, Some(drawn));
        for own in ["mine", "random:7", "client:x", "random:0000000000000000000000000000000G"] {
            let key = IdempotencyKey::from_client(own.as_bytes()).unwrap();
            assert_eq!((key.as_str(), key.as_sent()), (&*format!("client:{own}"), own));
        }
    }

    #[test]
    fn keys_that_are_drawn_one_after_the_other_are_in_this_order() {
        let first = IdempotencyKey::drawn(1_700_000_000_000, u128::MAX);
        let second = IdempotencyKey::drawn(1_700_000_000_001, 0);
        assert!(first < second, "{first} {second}");
        assert_eq!(first.as_str(), "random:018bcfe56800ffffffffffffffffffff");
        let same_time = IdempotencyKey::drawn(1_700_000_000_000, u128::MAX - 1);
        assert_ne!(first, same_time);
        assert_eq!(IdempotencyKey::from_client(first.as_sent().as_bytes()), Some(first));
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        assert!(IdempotencyKey::from_client(&[b'x'; 255]).is_some());
        for text in [&b""[..], &[b'x'; 256], b"a b", b"a\tb", "ü".as_bytes(), b"\xff", b"\x7f"] {
            assert!(IdempotencyKey::from_client(text).is_none(), "{text:?} was read as a key");
        }
    }

    #[test]
    fn a_quantity_may_have_any_number_of_digits_and_must_be_whole() {
        let read = |quantity: &str| {
            serde_json::from_str::<PurchaseBody>(&format!(r#"{{"name":"","quantity":{quantity}}}"#))
        };
        for digits in ["9223372036854775808", "18446744073709551616", &"9".repeat(400)] {
            let quantity = read(digits).unwrap().quantity.get();
            assert!((1 << 62..=Quantity::MAX).contains(&quantity), "{digits}");
        }
        assert_eq!(read("7").unwrap().quantity.get(), 7);
        for text in ["0", "-1", "-0", "1.0", "1e0", "1e99", "\"1\"", "null", "{}", "[1]"] {
            assert!(read(text).is_err(), "{text} was read as a quantity");
        }
    }
}
