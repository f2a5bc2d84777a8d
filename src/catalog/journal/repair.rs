//! Impossible values, such as an epoch near the largest number: found at a start, and
//! repaired by `toystore repair`.
//!
//! No message between roles can bring such a value into the database. An older version could, and
//! so can a disk or a hand.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::storage::{StorageError, classify, commit};

/// The largest number that anything is counted to: a count of ten thousand a second for nine
/// centuries.
const LARGEST_COUNT: i64 = 1 << 48;
/// The largest stock of a toy that `roles.toml` allows.
const LARGEST_STOCK: i64 = 1_000_000_000;

/// A kind of value, how to find an impossible one, and how to mend it.
struct Check {
    /// Returns a text that says what is impossible. `?1` is the largest count, `?2` the largest
    /// stock.
    find: &'static str,
    /// `?3` is the initial stock.
    mend: &'static str,
}

const CHECKS: [Check; 4] = [
    Check {
        find: "SELECT 'the epoch is ' || epoch || ' and its leader ' || coalesce(leader, 'none')
               FROM cluster WHERE epoch NOT BETWEEN 0 AND ?1
               OR coalesce(leader, 1) NOT BETWEEN 1 AND 4294967295 OR ?2 < 0",
        // The replicas and front-ends count as the catalog does.
        mend: "UPDATE cluster SET epoch = 0, leader = NULL WHERE ?1 + ?2 + ?3 > 0",
    },
    Check {
        find: "SELECT 'a session is ' || boot || '.' || serial FROM sessions
               WHERE boot < 0 OR serial NOT BETWEEN 0 AND ?1 OR ?2 < 0",
        mend: "DELETE FROM sessions WHERE boot < 0 OR serial NOT BETWEEN 0 AND ?1 OR ?2 + ?3 < 0",
    },
    Check {
        find: "SELECT 'the version of ' || name || ' is ' || version FROM stock
               WHERE version NOT BETWEEN 0 AND ?1 OR ?2 < 0",
        mend: "UPDATE stock SET version = 0 WHERE version NOT BETWEEN 0 AND ?1 OR ?2 + ?3 < 0",
    },
    Check {
        find: "SELECT 'the stock of ' || name || ' is ' || quantity FROM stock
               WHERE quantity NOT BETWEEN 0 AND ?2 OR ?1 < 0",
        // As if it had just been restocked.
        mend: "UPDATE stock SET quantity = ?3, stocked = sold + ?3
               WHERE quantity NOT BETWEEN 0 AND ?2 OR ?1 < 0",
    },
];

/// Checks that the database holds no impossible value.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    match found(connection).map_err(|error| classify(path, &error))?.first() {
        None => Ok(()),
        Some((_, problem)) => Err(StorageError::Corrupt(
            path.to_owned(),
            format!("{problem}, which is impossible; run `toystore repair`"),
        )),
    }
}

/// Mends what is impossible in the database at `path`, where a toy that has to be restocked gets
/// `initial`. Returns what it was.
///
/// # Errors
///
/// If the database cannot be used.
pub fn repair(path: &Path, initial: u64) -> Result<Vec<String>, StorageError> {
    let mut connection = super::open(path)?;
    let mend = |connection: &mut Connection| -> rusqlite::Result<Vec<String>> {
        let transaction = connection.transaction()?;
        let problems = found(&transaction)?;
        for (check, _) in &problems {
            transaction.execute(check.mend, params![LARGEST_COUNT, LARGEST_STOCK, initial])?;
        }
        commit(transaction)?;
        Ok(problems.into_iter().map(|(_, problem)| problem).collect())
    };
    mend(&mut connection).map_err(|error| classify(path, &error))
}

fn found(connection: &Connection) -> rusqlite::Result<Vec<(&'static Check, String)>> {
    let mut problems = Vec::new();
    for check in &CHECKS {
        let problem = connection
            .query_row(check.find, [LARGEST_COUNT, LARGEST_STOCK], |row| row.get(0))
            .optional()?;
        problems.extend(problem.map(|problem| (check, problem)));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::super::Journal;
    use super::*;
    use crate::roles::ToyRole;
    use crate::wire::lease::Version;
    use crate::wire::replication::Leadership;
    use crate::wire::toy::Price;

    #[test]
    fn impossible_values_are_named_at_a_start_and_mended() {
        let toys = [ToyRole { name: "Tux".into(), price: Price::from_cents(1599) }];
        for damage in [
            "UPDATE cluster SET epoch = 4611686018427387903, leader = 3",
            "UPDATE cluster SET epoch = -1",
            "UPDATE cluster SET leader = -7",
            "INSERT INTO sessions (boot, serial) VALUES (7, 4611686018427387904)",
            "UPDATE stock SET version = 4611686018427387904",
            "UPDATE stock SET quantity = 2000000000, stocked = 2000000000",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("catalog.db");
            drop(Journal::open(&path, &toys, 100).unwrap());
            Connection::open(&path).unwrap().execute_batch(damage).unwrap();
            let refused = Journal::open(&path, &toys, 100).err().unwrap().to_string();
            assert!(refused.contains("run `toystore repair`"), "{damage}: {refused}");
            assert_eq!(repair(&path, 100).unwrap().len(), 1, "{damage}");
            assert!(repair(&path, 100).unwrap().is_empty(), "{damage}");
            let (_journal, loaded) = Journal::open(&path, &toys, 100).unwrap();
            assert_eq!(loaded.leadership, Leadership::default());
            assert!(loaded.sessions.is_empty());
            let shelf = &loaded.shelves[0];
            assert_eq!((shelf.toy.quantity, shelf.version), (100, Version(0)));
        }
    }
}
