//! Numbers that count: orders, epochs, sessions.
//!
//! Every counter is kept in an SQLite integer, and the one after it is asked for somewhere. A
//! message with a number for which that is impossible is nonsense, and is refused where it is read:
//! behind that, counting on can go wrong nowhere.

use serde::{Deserialize, Deserializer, de};

/// The largest count. No store gets so far: half of what an SQLite integer holds.
pub const LARGEST: u64 = i64::MAX as u64 / 2;
/// The largest number that is drawn rather than counted: what an SQLite integer holds.
const LARGEST_DRAWN: u64 = i64::MAX as u64;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_most(LARGEST, deserializer)
}

pub(super) fn deserialize_drawn<'de, D>(deserializer: D) -> Result<u64, D::Error>
where
    D: Deserializer<'de>,
{
    at_most(LARGEST_DRAWN, deserializer)
}

fn at_most<'de, D: Deserializer<'de>>(largest: u64, deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    if count > largest {
        return Err(de::Error::custom(format_args!("{count} is beyond all counting: {largest}")));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lease::SessionId;
    use crate::wire::replication::Epoch;

    #[test]
    fn what_cannot_be_counted_on_from_is_refused() {
        let epoch = |number: u64| serde_json::from_str::<Epoch>(&number.to_string());
        assert_eq!(epoch(LARGEST).unwrap(), Epoch(LARGEST));
        assert!(epoch(LARGEST + 1).unwrap_err().to_string().contains("beyond all counting"));
        assert!(epoch(u64::MAX).is_err());
    }

    #[test]
    fn what_is_drawn_may_be_all_that_a_database_holds() {
        let session = |boot: u64| {
            serde_json::from_str::<SessionId>(&format!(r#"{{"boot":{boot},"serial":0}}"#))
        };
        assert_eq!(session(LARGEST_DRAWN).unwrap().boot, LARGEST_DRAWN);
        assert!(session(LARGEST_DRAWN + 1).is_err());
    }
}
