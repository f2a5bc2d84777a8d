//! The table `decisions`: what was decided under which key. Its rows form a
//! [ring](super::decision_ring), so that damage to one, and the loss of one, are seen.
//!
//! The keys of a batch are taken in their order. Those that front-ends draw begin with the time, so
//! they mostly lie in one gap between two rows, which is read and checked once for all of them.
//!
//! # What is left out
//!
//! A page that is whole and old, which a disk brings back after it has lost a write: its rows agree
//! with each other. [`verify`] finds it, since a granted decision must be in the journal, too, and
//! the other way round; every backup calls it.

use std::path::Path;

use rusqlite::{Connection, params};

use super::KnownKeys;
use super::decision_ring::{
    Gap, HEAD, RingRow, Stored, as_damage, damage, head_proof, insert_row, ring_row, row_after,
    stored_after, write_proof,
};
use crate::catalog::core::stock::RecordedDecision;
use crate::storage::{StorageError, classify, open_reader};
use crate::wire::purchase::IdempotencyKey;

/// The tables' definitions, without the column that [`complete`] adds.
pub(super) const SCHEMA: &str = "
    -- The decision on each idempotency key; a refusal has no number.
    CREATE TABLE IF NOT EXISTS decisions (
        key      TEXT    PRIMARY KEY,
        name     TEXT    NOT NULL,
        quantity INTEGER NOT NULL,
        number   INTEGER
    ) STRICT, WITHOUT ROWID;
    -- The hash before the first key.
    CREATE TABLE IF NOT EXISTS decisions_head (
        id    INTEGER PRIMARY KEY CHECK (id = 1),
        proof BLOB NOT NULL
    ) STRICT;
";

/// Adds the column `proof`, which databases lack that were made before decisions had hashes, and
/// gives each row its hash.
pub(super) fn complete(connection: &mut Connection) -> rusqlite::Result<()> {
    if connection.column_exists(None, "decisions", "proof")? {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch("ALTER TABLE decisions ADD COLUMN proof BLOB")?;
    let mut row = RingRow::head();
    let mut count: u64 = 0;
    while let Some(next) = row_after(&transaction, &row.key)? {
        write_proof(&transaction, &row, Some(&next.key))?;
        row = next;
        count += 1;
    }
    write_proof(&transaction, &row, None)?;
    transaction.commit()?;
    if count > 0 {
        log::info!("{count} decisions have got hashes, which show damage from now on");
    }
    Ok(())
}

/// Returns the decision under `key`. `None` if there is none, which is checked as well.
pub(super) fn look_up(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<RecordedDecision>> {
    Gap::at(connection, key)?.decision(connection, key)
}

/// Returns the decisions under those of `keys` that have one. That the others have none is checked
/// as well.
pub(super) fn look_up_all(
    connection: &Connection,
    mut keys: Vec<IdempotencyKey>,
) -> rusqlite::Result<KnownKeys> {
    keys.sort_unstable();
    let mut known = KnownKeys::new();
    let mut last: Option<Gap> = None;
    for key in keys {
        let gap = match last.take().filter(|gap| gap.has(key.as_str())) {
            Some(gap) => gap,
            None => Gap::at(connection, key.as_str())?,
        };
        let decision = gap.decision(connection, key.as_str())?;
        known.extend(decision.map(|decision| (key, decision)));
        last = Some(gap);
    }
    Ok(known)
}

/// Returns the last of the recorded keys, in their order. That there is none behind it is checked.
pub(super) fn last_key(connection: &Connection) -> rusqlite::Result<Option<IdempotencyKey>> {
    let Gap { before, .. } = Gap::last(connection)?;
    Ok((before.key != HEAD).then(|| before.key.into()))
}

/// Records decisions under keys that have none, which is checked. To be called in a transaction.
pub(super) fn insert(
    connection: &Connection,
    decisions: &[(IdempotencyKey, RecordedDecision)],
) -> rusqlite::Result<()> {
    let mut rows: Vec<_> =
        decisions.iter().map(|(key, decision)| RingRow::of(key, decision)).collect();
    rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first() {
        let gap = Gap::at(connection, &first.key)?;
        let (inside, beyond) = rest.split_at(rest.partition_point(|row| gap.has(&row.key)));
        write_proof(connection, &gap.before, Some(&first.key))?;
        let later = inside.iter().skip(1).map(|row| Some(row.key.as_str()));
        for (row, next) in inside.iter().zip(later.chain([gap.next.as_deref()])) {
            insert_row(connection, row, next)?;
        }
        rest = beyond;
    }
    Ok(())
}

/// Records that `key` was granted an order, also if it was refused before. Returns false, and
/// changes nothing, if it has an order already.
pub(super) fn grant(
    connection: &Connection,
    key: &IdempotencyKey,
    decision: RecordedDecision,
) -> rusqlite::Result<bool> {
    let gap = Gap::at(connection, key.as_str())?;
    let Some(known) = gap.decision(connection, key.as_str())? else {
        insert(connection, &[(key.clone(), decision)])?;
        return Ok(true);
    };
    if known.number.is_some() {
        return Ok(false);
    }
    let row = RingRow::of(key, &decision);
    connection
        .prepare_cached(
            "UPDATE decisions SET name = ?2, quantity = ?3, number = ?4 WHERE key = ?1",
        )?
        .execute(params![row.key, row.name, row.quantity, row.number])?;
    write_proof(connection, &row, gap.next.as_deref())?;
    Ok(true)
}

/// Checks every row, that each granted decision is in the journal, and that each of the journal's
/// keys has its decision.
///
/// # Errors
///
/// If one does not hold, or the database cannot be read.
pub(crate) fn verify(path: &Path) -> Result<(), StorageError> {
    let connection = open_reader(path)?;
    let checked = || -> rusqlite::Result<()> {
        if !connection.column_exists(None, "decisions", "proof")? {
            // From before decisions had hashes.
            return Ok(());
        }
        let mut row = RingRow::head();
        let (mut granted, mut proof) = (0_u64, head_proof(&connection)?);
        loop {
            let next = stored_after(&connection, &row.key)?;
            let next_key = next.as_ref().map(|(next, _)| next.key.clone());
            Stored { row, next: next_key, proof }.checked()?;
            let Some((after, after_proof)) = next else { break };
            granted += u64::from(after.number.is_some());
            look_up(&connection, &after.key)?;
            (row, proof) = (after, after_proof);
        }
        let keys: u64 = connection.query_row("SELECT count(key) FROM log", [], |row| row.get(0))?;
        // Decisions on orders from before the journal kept keys have no counterpart.
        if granted < keys { Err(damage()) } else { Ok(()) }
    };
    checked().map_err(|error| classify(path, &error))
}

/// Checks the hashes of at most `most` rows from the one under `from` on, or from the head on if
/// that is empty. Returns the key to go on from, if there are more. To be called in a transaction.
///
/// # Errors
///
/// If one does not hold, or the database cannot be read.
pub(super) fn check_piece(
    connection: &Connection,
    from: &str,
    most: u64,
) -> rusqlite::Result<Option<String>> {
    let mut last = None;
    if from == HEAD {
        last = Some((RingRow::head(), head_proof(connection)?));
    }
    let mut statement = connection.prepare_cached(
        "SELECT key, name, quantity, number, proof FROM decisions WHERE key >= ?1 ORDER BY key
         LIMIT ?2",
    )?;
    let mut found = statement.query(params![from, most + 1])?;
    let mut count = 0;
    while let Some(read) = found.next().map_err(as_damage)? {
        let row = ring_row(read).map_err(as_damage)?;
        if let Some((before, proof)) = last {
            Stored { row: before, next: Some(row.key.clone()), proof }.checked()?;
        }
        last = Some((row, read.get(4).map_err(as_damage)?));
        count += 1;
    }
    match last {
        Some((row, _)) if count > most => Ok(Some(row.key)),
        Some((row, proof)) => Stored { row, next: None, proof }.checked().map(|_last| None),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::log_table;
    use crate::wire::order::{Order, OrderNumber, Position};
    use crate::wire::quantity::Quantity;

    const KEYS: [&str; 5] = ["client:c", "client:a", "client:e", "random:2", "client:b"];

    fn decision(number: Option<u64>) -> RecordedDecision {
        let number = number.map(OrderNumber);
        RecordedDecision { name: "Tux".into(), quantity: Quantity::ONE, number }
    }

    fn refused(keys: &[IdempotencyKey]) -> Vec<(IdempotencyKey, RecordedDecision)> {
        keys.iter().map(|key| (key.clone(), decision(None))).collect()
    }

    /// The first three keys are granted, and the others refused.
    fn filled() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(log_table::SCHEMA).unwrap();
        log_table::complete(&connection).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        complete(&mut connection).unwrap();
        let mut end = Position::START;
        for (number, key) in (0..).zip(KEYS) {
            let key = IdempotencyKey::from(key.to_owned());
            let granted = (number < 3).then_some(number);
            if let Some(number) = granted {
                let (number, quantity) = (OrderNumber(number), Quantity::ONE);
                let order = Order { number, name: "Tux".into(), quantity, key: Some(key.clone()) };
                end = log_table::insert(&connection, end, &[order]).unwrap();
            }
            insert(&connection, &[(key, decision(granted))]).unwrap();
        }
        connection
    }

    fn truth() -> BTreeMap<&'static str, RecordedDecision> {
        let numbers = (0..).map(|number| (number < 3).then_some(number));
        KEYS.into_iter().zip(numbers.map(decision)).collect()
    }

    /// Checks all rows, in pieces of each size.
    fn check_in_pieces(connection: &Connection) -> rusqlite::Result<()> {
        for most in 1..=6 {
            let mut from = Some(String::new());
            while let Some(key) = from {
                from = check_piece(connection, &key, most)?;
            }
        }
        Ok(())
    }

    #[test]
    fn what_was_recorded_is_found_and_nothing_else() {
        let connection = filled();
        for (key, decision) in truth() {
            assert_eq!(look_up(&connection, key).unwrap(), Some(decision), "{key}");
        }
        for key in ["client:", "client:aa", "client:d", "random:1", "random:3", "z"] {
            assert_eq!(look_up(&connection, key).unwrap(), None, "{key}");
        }
        check_in_pieces(&connection).unwrap();
    }

    #[test]
    fn decisions_of_a_batch_are_put_into_as_many_gaps_as_they_lie_in() {
        let keys = |names: &[&str]| -> Vec<IdempotencyKey> {
            names.iter().map(|name| IdempotencyKey::from((*name).to_owned())).collect()
        };
        // Before the first row, between two, after the last, and several in one gap, in any order.
        let new = keys(&["z:2", "client:d", "client:", "z:1", "random:1", "client:dd", "z:3"]);
        let connection = filled();
        insert(&connection, &refused(&new)).unwrap();
        check_in_pieces(&connection).unwrap();

        let known = look_up_all(&connection, [new.clone(), keys(&KEYS)].concat()).unwrap();
        let recorded = |(name, decision): (&str, _)| (keys(&[name]).remove(0), decision);
        let added = new.into_iter().map(|key| (key, decision(None)));
        assert_eq!(known, truth().into_iter().map(recorded).chain(added).collect());
        let others = keys(&["z:0", "client:aa", "z:11", "z:12", "client:ddd", "a", "z:4"]);
        assert_eq!(look_up_all(&connection, others).unwrap(), KnownKeys::new());
    }

    #[test]
    fn a_key_is_recorded_once() {
        let mut connection = filled();
        for keys in [["client:c", "client:d"], ["client:d", "client:d"]] {
            let keys = keys.map(|key| IdempotencyKey::from(key.to_owned()));
            let transaction = connection.transaction().unwrap();
            assert!(insert(&transaction, &refused(&keys)).is_err());
            transaction.rollback().unwrap();
            check_in_pieces(&connection).unwrap();
        }
    }

    #[test]
    fn the_last_key_is_known_only_if_it_is_undamaged_and_the_last() {
        let last = |sql: &str| {
            let connection = filled();
            connection.execute_batch(sql).unwrap();
            last_key(&connection)
        };
        assert_eq!(last("").unwrap(), Some(IdempotencyKey::from("random:2".to_owned())));
        for damage in [
            "DELETE FROM decisions WHERE key = 'random:2'",
            "DELETE FROM decisions",
            "UPDATE decisions SET key = 'random:0' WHERE key = 'random:2'",
            "UPDATE decisions SET key = 'a' WHERE key = 'random:2'",
            "UPDATE decisions SET key = 'z' WHERE key = 'client:a'",
            "UPDATE decisions SET number = 7 WHERE key = 'random:2'",
        ] {
            assert!(last(damage).is_err(), "{damage}");
        }
    }

    #[test]
    fn a_batch_is_not_looked_up_beside_damage() {
        for key in KEYS {
            let connection = filled();
            connection.execute("DELETE FROM decisions WHERE key = ?1", [key]).unwrap();
            let keys = KEYS.map(|key| IdempotencyKey::from(key.to_owned()));
            assert!(look_up_all(&connection, keys.into()).is_err(), "{key}");
        }
    }

    #[test]
    fn a_change_of_any_value_is_never_an_answer() {
        let changes = [
            "key = 'client:f' WHERE key = 'client:c'",
            "key = 'client:aa' WHERE key = 'client:c'",
            "key = 'random:1' WHERE key = 'client:a'",
            "name = 'Uno' WHERE key = 'client:c'",
            "quantity = 2 WHERE key = 'client:c'",
            "number = 1 WHERE key = 'client:c'",
            "number = NULL WHERE key = 'client:c'",
            "number = 7 WHERE key = 'client:b'",
            "proof = x'00' WHERE key = 'client:c'",
            "proof = NULL WHERE key = 'client:c'",
        ];
        for change in changes {
            let connection = filled();
            let sql = format!("UPDATE decisions SET {change}");
            assert_eq!(connection.execute(&sql, []).unwrap(), 1, "{change}");
            let mut damaged = 0;
            for (key, decision) in truth() {
                match look_up(&connection, key) {
                    Ok(found) => assert_eq!(found, Some(decision), "{change}: {key}"),
                    Err(error) => {
                        assert!(error.to_string().contains("toystore rebuild"), "{error}");
                        damaged += 1;
                    }
                }
            }
            assert!(damaged > 0, "{change} was not seen");
            assert!(check_in_pieces(&connection).is_err(), "{change}");
        }
    }

    #[test]
    fn a_row_that_is_gone_is_missed() {
        for key in KEYS {
            let connection = filled();
            connection.execute("DELETE FROM decisions WHERE key = ?1", [key]).unwrap();
            assert!(look_up(&connection, key).is_err(), "{key}");
            assert!(check_in_pieces(&connection).is_err(), "{key}");
        }
    }

    #[test]
    fn nothing_is_recorded_beside_damage() {
        let connection = filled();
        connection.execute("DELETE FROM decisions WHERE key = 'client:b'", []).unwrap();
        let key = IdempotencyKey::from("client:bb".to_owned());
        assert!(insert(&connection, &[(key, decision(None))]).is_err());
    }

    #[test]
    fn a_refusal_that_was_forgotten_becomes_an_order_once() {
        let connection = filled();
        let key = IdempotencyKey::from("client:b".to_owned());
        let (number, quantity) = (OrderNumber(3), Quantity::ONE);
        let order = Order { number, name: "Tux".into(), quantity, key: Some(key.clone()) };
        let end = log_table::rows(&connection, 3, 0).unwrap().unwrap().after;
        log_table::insert(&connection, end, &[order]).unwrap();
        assert!(grant(&connection, &key, decision(Some(3))).unwrap());
        assert_eq!(look_up(&connection, "client:b").unwrap(), Some(decision(Some(3))));
        assert!(!grant(&connection, &key, decision(Some(3))).unwrap());
        for (key, decision) in truth().into_iter().filter(|(key, _)| *key != "client:b") {
            assert_eq!(look_up(&connection, key).unwrap(), Some(decision), "{key}");
        }
    }

    #[test]
    fn decisions_from_before_they_had_hashes_get_some() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(log_table::SCHEMA).unwrap();
        log_table::complete(&connection).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for key in ["client:b", "client:a"] {
            let sql = "INSERT INTO decisions (key, name, quantity) VALUES (?1, 'Tux', 1)";
            connection.execute(sql, [key]).unwrap();
        }
        complete(&mut connection).unwrap();
        for key in ["client:a", "client:b"] {
            assert_eq!(look_up(&connection, key).unwrap(), Some(decision(None)));
        }
        assert_eq!(look_up(&connection, "client:c").unwrap(), None);
    }
}
