//! What a backup says of itself: which store, when, and how many orders each database has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::wire::identity::StoreId;
use crate::wire::order::{Chain, Position};

/// The file's name in a backup's folder.
const FILE: &str = "manifest.json";

/// The contents of a backup's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The store, as its processes log it. `None` if no database says.
    pub store: Option<String>,
    /// When the backup was begun, in UTC.
    pub taken_at: String,
    /// The databases, `ROLE.db` each.
    pub databases: Vec<SavedDatabase>,
}

/// One database of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDatabase {
    /// The role whose database it is.
    pub role: String,
    /// How many orders it has.
    pub orders: u64,
    /// The chain hash at their end.
    pub chain: Chain,
}

impl Manifest {
    /// The manifest of a backup that is begun now.
    pub(super) fn begun_now(store: Option<StoreId>, databases: Vec<SavedDatabase>) -> Self {
        let store = store.map(|store| store.to_string());
        Self { store, taken_at: in_utc(crate::clock::time_of_day()), databases }
    }

    /// Writes the manifest into a backup's folder. Returns the file's path.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf, BackupError> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).expect("it is made of texts and numbers");
        fs::write(&path, text + "\n").map_err(|error| BackupError::File(path.clone(), error))?;
        Ok(path)
    }

    /// Reads the manifest of a backup's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(FILE);
        let text =
            fs::read_to_string(&path).map_err(|error| BackupError::File(path.clone(), error))?;
        serde_json::from_str(&text).map_err(|error| BackupError::Manifest(path, error.to_string()))
    }
}

impl SavedDatabase {
    pub(super) fn new(role: String, end: Position) -> Self {
        Self { role, orders: end.length, chain: end.chain }
    }

    /// Where its orders end.
    pub(super) fn end(&self) -> Position {
        Position { length: self.orders, chain: self.chain }
    }
}

/// A time since 1970 as RFC 3339 writes it.
fn in_utc(since_1970: Duration) -> String {
    let second = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_date_in_utc() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
        ] {
            assert_eq!(in_utc(Duration::from_secs(seconds)), date);
        }
    }
}
