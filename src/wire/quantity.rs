//! How many of a toy are bought.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

/// How many of a toy are bought: a whole number from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(NonZeroU64);

impl Quantity {
    /// One piece.
    pub const ONE: Self = Self(NonZeroU64::MIN);
    /// The largest quantity that is told apart: what an SQLite integer holds. Larger ones are taken
    /// for this one, which no stock suffices for either.
    pub const MAX: u64 = i64::MAX as u64;

    /// A quantity of `count`, at most [`Quantity::MAX`]. `None` for 0.
    #[must_use]
    pub fn new(count: u64) -> Option<Self> {
        NonZeroU64::new(count.min(Self::MAX)).map(Self)
    }

    /// The number of pieces.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl de::Visitor<'_> for Whole {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 1 on")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Quantity, E> {
                Quantity::new(count)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }
        }

        deserializer.deserialize_u64(Whole)
    }
}

/// Reads a client's quantity, which may have more digits than any integer here: it is a whole
/// number all the same, and no stock suffices for it.
pub(super) fn deserialize_any_length<'de, D>(deserializer: D) -> Result<Quantity, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Box::<RawValue>::deserialize(deserializer)?;
    let text = text.get();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // JSON knows no leading zeros, so what does not fit is larger than what does.
        let quantity = Quantity::new(text.parse().unwrap_or(Quantity::MAX));
        return quantity.ok_or_else(|| de::Error::custom(NOT_WHOLE));
    }
    Err(de::Error::custom(NOT_WHOLE))
}

const NOT_WHOLE: &str = "a quantity is a whole number from 1 on";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_from_one_on_are_quantities() {
        for text in ["0", "-1", "1.5", "1e99", "\"1\"", "null", "true", "[1]", "1.0"] {
            assert!(serde_json::from_str::<Quantity>(text).is_err(), "{text} was a quantity");
        }
        for (text, count) in [("1", 1), ("5000000000", 5_000_000_000)] {
            assert_eq!(serde_json::from_str::<Quantity>(text).unwrap().get(), count);
        }
    }

    #[test]
    fn a_quantity_beyond_the_database_is_the_largest_one() {
        let quantity: Quantity = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(quantity.get(), Quantity::MAX);
    }
}
