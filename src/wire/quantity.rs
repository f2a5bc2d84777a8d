//! The quantity of a purchase.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// How many of a toy are bought: a whole number, 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ToSchema)]
#[schema(value_type = u64, minimum = 1, example = 1)]
pub struct Quantity(NonZeroU64);

impl Quantity {
    /// One.
    pub const ONE: Self = Self(NonZeroU64::MIN);
    /// The largest quantity: what an SQLite integer holds. A larger number is read as this one,
    /// since neither is ever in stock.
    pub const MAX: u64 = i64::MAX as u64;

    /// Creates a quantity of `count`, or of [`Quantity::MAX`] if it is larger. `None` for 0.
    #[must_use]
    pub fn new(count: u64) -> Option<Self> {
        NonZeroU64::new(count.min(Self::MAX)).map(Self)
    }

    /// Returns the quantity as a number.
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
                f.write_str("a whole number, 1 or more")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Quantity, E> {
                Quantity::new(count)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }
        }

        deserializer.deserialize_u64(Whole)
    }
}

/// Reads a client's quantity, which may have any number of digits: it is a whole number all the
/// same, and the answer is "not enough stock". One that exceeds [`Quantity::MAX`] is read as a
/// number above 2^62 that its digits determine, so that two such purchases under one key are told
/// apart, and neither is ever in stock.
pub(super) fn deserialize_any_length<'de, D>(deserializer: D) -> Result<Quantity, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Box::<RawValue>::deserialize(deserializer)?;
    let text = text.get();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // JSON has no leading zeros, so a number that does not fit in 64 bits is too large.
        let count = text.parse().ok().filter(|count| *count <= Quantity::MAX);
        let quantity = Quantity::new(count.unwrap_or_else(|| stand_in(text)));
        return quantity.ok_or_else(|| de::Error::custom(NOT_WHOLE));
    }
    Err(de::Error::custom(NOT_WHOLE))
}

/// A number from 2^62 to [`Quantity::MAX`] for digits that say a larger one: 62 bits of their hash.
fn stand_in(digits: &str) -> u64 {
    let hash = Sha256::digest(digits);
    let bits = hash.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte));
    (bits >> 2) | 1 << 62
}

const NOT_WHOLE: &str = "a quantity must be a whole number, 1 or more";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_of_at_least_one_is_a_quantity() {
        for text in ["0", "-1", "1.5", "1e99", "\"1\"", "null", "true", "[1]", "1.0"] {
            assert!(
                serde_json::from_str::<Quantity>(text).is_err(),
                "{text} was read as a quantity"
            );
        }
        for (text, count) in [("1", 1), ("5000000000", 5_000_000_000)] {
            assert_eq!(serde_json::from_str::<Quantity>(text).unwrap().get(), count);
        }
    }

    #[test]
    fn a_quantity_that_a_database_cannot_hold_is_read_as_the_largest() {
        let quantity: Quantity = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(quantity.get(), Quantity::MAX);
    }
}
