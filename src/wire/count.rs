//! The limits of numbers that count: orders, epochs, sessions.
//!
//! Each counter is stored as an SQLite integer, and is incremented somewhere. A message whose
//! number is too large for that is refused where it is parsed, so no increment can overflow.

use serde::{Deserialize, Deserializer, de};

/// The largest count: half of what an SQLite integer holds, far more than any store reaches.
pub const LARGEST: u64 = i64::MAX as u64 / 2;
/// The largest number that is random rather than counted: what an SQLite integer holds.
const LARGEST_RANDOM: u64 = i64::MAX as u64;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_most(LARGEST, deserializer)
}

pub(super) fn deserialize_random<'de, D>(deserializer: D) -> Result<u64, D::Error>
where
    D: Deserializer<'de>,
{
    at_most(LARGEST_RANDOM, deserializer)
}

fn at_most<'de, D: Deserializer<'de>>(largest: u64, deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    if count > largest {
        return Err(de::Error::custom(format_args!("{count} is too large, at most {largest}")));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lease::SessionId;
    use crate::wire::replication::Epoch;

    #[test]
    fn a_count_that_could_not_be_incremented_for_ever_is_refused() {
        let epoch = |number: u64| serde_json::from_str::<Epoch>(&number.to_string());
        assert_eq!(epoch(LARGEST).unwrap(), Epoch(LARGEST));
        assert!(epoch(LARGEST + 1).unwrap_err().to_string().contains("is too large, at most"));
        assert!(epoch(u64::MAX).is_err());
    }

    #[test]
    fn a_random_number_may_be_any_that_a_database_holds() {
        let session = |boot: u64| {
            serde_json::from_str::<SessionId>(&format!(r#"{{"boot":{boot},"serial":0}}"#))
        };
        assert_eq!(session(LARGEST_RANDOM).unwrap().boot, LARGEST_RANDOM);
        assert!(session(LARGEST_RANDOM + 1).is_err());
    }
}
