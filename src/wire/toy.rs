//! Toys as `GET /products` shows them: names, prices, quantities.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

use super::bounds;

/// A toy's name, as it is in `roles.toml`. It is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 1_000, example = "Tux")]
pub struct ToyName(Arc<str>);

/// A name in a log line: escaped, in quotes, and cut after `LONGEST_QUOTE` characters.
#[derive(Clone, Copy, Debug)]
pub struct QuotedName<'a>(&'a str);

/// A price in cents. In JSON it is a decimal number: `15.99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Price {
    cents: u64,
}

/// A toy as clients see it: `{"name":"Tux","price":15.99,"quantity":100}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Toy {
    /// Its name.
    pub name: ToyName,
    /// Its price.
    #[schema(value_type = f64, exclusive_minimum = 0, maximum = 1_000_000, example = 15.99)]
    pub price: Price,
    /// How many are in stock.
    pub quantity: u64,
}

/// Characters of a name in a log line: enough to know the toy by. A client can send any name.
const LONGEST_QUOTE: usize = 64;

/// The highest price of a toy. Its cents are far within what a JSON number represents exactly.
const HIGHEST_PRICE: f64 = 1_000_000.0;

impl ToyName {
    /// The most bytes of a toy's name: percent-encoded, it still fits in a request line.
    pub const LONGEST: usize = 1_000;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as log lines have it.
    #[must_use]
    pub fn quoted(&self) -> QuotedName<'_> {
        QuotedName(&self.0)
    }
}

impl Price {
    /// Creates a price from cents.
    #[must_use]
    pub fn from_cents(cents: u64) -> Self {
        Self { cents }
    }

    /// Creates a price from a decimal amount. `None` unless it is above 0, at most 1,000,000 and in
    /// whole cents.
    #[must_use]
    pub fn from_decimal(amount: f64) -> Option<Self> {
        if !(amount > 0.0 && amount <= HIGHEST_PRICE) {
            return None;
        }
        let cents = (amount * 100.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the check above keeps the value within u64"
        )]
        let price = Self { cents: cents as u64 };
        // A text with two decimals and this quotient both give the double nearest to the price.
        #[expect(clippy::float_cmp, reason = "an amount is in whole cents exactly, or it is not")]
        let whole = price.as_decimal() == amount;
        whole.then_some(price)
    }

    /// Returns the price in cents.
    #[must_use]
    pub fn cents(self) -> u64 {
        self.cents
    }

    /// Returns the price as a decimal amount, the way JSON and the database have it.
    #[must_use]
    pub fn as_decimal(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a price is at most a hundred million cents, which a double holds exactly"
        )]
        let cents = self.cents as f64;
        cents / 100.0
    }
}

impl From<String> for ToyName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for ToyName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for ToyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for QuotedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((cut, _)) = self.0.char_indices().nth(LONGEST_QUOTE) else {
            return write!(f, "{:?}", self.0);
        };
        write!(f, "{:?}…", &self.0[..cut])
    }
}

impl<'de> Deserialize<'de> for ToyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounds::text(deserializer, |name| Ok::<_, Infallible>(name.into()))
    }
}

impl Serialize for ToyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_decimal())
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_decimal(f64::deserialize(deserializer)?).ok_or_else(|| {
            de::Error::custom(
                "a price must be above 0, at most 1000000, and have at most two decimals",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_takes_one_short_line() {
        let quoted = |name: &str| ToyName::from(name).quoted().to_string();
        assert_eq!(quoted("Tux"), r#""Tux""#);
        assert_eq!(quoted("a\nb\u{1b}[31m"), r#""a\nb\u{1b}[31m""#);
        assert_eq!(quoted(&"ä".repeat(1_000)), format!("\"{}\"…", "ä".repeat(LONGEST_QUOTE)));
    }

    #[test]
    fn a_price_is_written_as_it_was_read() {
        for text in ["15.99", "0.01", "1000000.0", "20.0", "19.95"] {
            let price: Price = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&price).unwrap(), text);
        }
    }

    #[test]
    fn a_price_that_is_not_in_whole_cents_up_to_a_million_is_refused() {
        for text in ["0", "-1", "0.001", "1e-9", "1e99", "1000000.01", "\"1\"", "0.0100000001"] {
            assert!(serde_json::from_str::<Price>(text).is_err(), "{text} was read as a price");
        }
    }
}
