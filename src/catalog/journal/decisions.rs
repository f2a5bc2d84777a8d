//! The table `decisions`: what was decided under which key, with a hash in each row that shows
//! damage.
//!
//! # The idea
//!
//! A bit may flip on a disk, and SQLite does not notice one that flips in a value. In a recorded
//! key it makes the key disappear, and the owner's retry would be sold again. So a row's hash is
//! not enough; that there is *no* row must be shown, too. The keys form a ring in their order, and
//! each row's hash covers its own values and the key of the next row (as an NSEC record of DNSSEC
//! does). A look-up of a key reads the row at or before it, and the key after that:
//!
//! ```text
//! rows           head ─► a ─► c ─► f ─► (head)
//! look up c      c is there, and its hash covers c and f
//! look up d      before it is c, whose hash says that f is next: there is no d
//! c flips to g   head ─► a ─► f ─► g
//! look up c      before it is a, whose hash says that c is next, but f is: damage
//! ```
//!
//! A new row is put between two that were checked, and writes one more hash, in the row before it,
//! which is mostly on the same page. Nothing has to be read at a start, and no answer rests on a
//! row that was not checked: damage ends the catalog with an error that says what to do.
//!
//! # What is left out
//!
//! A page that is whole and old, which a disk brings back after it has lost a write: its rows agree
//! with each other. [`verify`] finds it, since a granted decision must be in the journal, too, and
//! the other way round; every backup calls it.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, ffi, params};
use sha2::{Digest as _, Sha256};

use super::ADVICE;
use crate::catalog::core::stock::RecordedDecision;
use crate::storage::{StorageError, classify, open_reader};
use crate::wire::order::OrderNumber;
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;

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

/// What separates texts in a hash: a byte that is in no UTF-8 text.
const SEPARATOR: [u8; 1] = [0xff];
/// The key of the head, which no purchase has.
const HEAD: &str = "";

/// A hash over a row and the key of the next one.
type Proof = [u8; 16];

/// A row. The head is one, too, without a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RingRow {
    key: String,
    name: String,
    quantity: u64,
    number: Option<u64>,
}

/// A row, the key after it, and the hash that was stored.
struct Stored {
    link: RingRow,
    next: Option<String>,
    proof: Option<Vec<u8>>,
}

impl RingRow {
    fn head() -> Self {
        Self { key: HEAD.into(), name: String::new(), quantity: 0, number: None }
    }

    fn proof(&self, next: Option<&str>) -> Proof {
        let mut hasher = Sha256::new();
        for text in [self.key.as_str(), self.name.as_str(), next.unwrap_or(HEAD)] {
            hasher.update(text);
            hasher.update(SEPARATOR);
        }
        hasher.update(self.quantity.to_be_bytes());
        // No order has the largest number.
        hasher.update(self.number.unwrap_or(u64::MAX).to_be_bytes());
        let mut proof = Proof::default();
        proof.copy_from_slice(&hasher.finalize()[..16]);
        proof
    }
}

impl Stored {
    fn checked(self) -> rusqlite::Result<Self> {
        let expected = self.link.proof(self.next.as_deref());
        if self.proof.as_deref() == Some(&expected[..]) { Ok(self) } else { Err(damage()) }
    }
}

/// Adds the column `proof`, which databases lack that were made before decisions had hashes, and
/// gives each row its hash.
pub(super) fn complete(connection: &mut Connection) -> rusqlite::Result<()> {
    if connection.column_exists(None, "decisions", "proof")? {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch("ALTER TABLE decisions ADD COLUMN proof BLOB")?;
    let mut link = RingRow::head();
    let mut count: u64 = 0;
    while let Some(next) = row_after(&transaction, &link.key)? {
        write_proof(&transaction, &link, Some(&next.key))?;
        link = next;
        count += 1;
    }
    write_proof(&transaction, &link, None)?;
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
    let stored = at_or_before(connection, key)?.checked()?;
    if stored.next.as_deref().is_some_and(|next| next <= key) {
        return Err(damage());
    }
    let RingRow { key: found, name, quantity, number } = stored.link;
    if found != key {
        return Ok(None);
    }
    if let Some(number) = number {
        let in_journal = connection
            .prepare_cached("SELECT key FROM log WHERE number = ?1")?
            .query_row([number], |row| row.get::<_, Option<String>>(0))
            .optional()?;
        // Orders from before the journal kept keys have none.
        if in_journal.is_none_or(|owner| owner.is_some_and(|owner| owner != key)) {
            return Err(damage());
        }
    }
    let quantity = Quantity::new(quantity).ok_or_else(damage)?;
    Ok(Some(RecordedDecision { name: name.into(), quantity, number: number.map(OrderNumber) }))
}

/// Records a decision under a key that has none.
pub(super) fn insert(
    connection: &Connection,
    key: &IdempotencyKey,
    decision: &RecordedDecision,
) -> rusqlite::Result<()> {
    let before = at_or_before(connection, key.as_str())?.checked()?;
    let link = link_of(key, decision);
    connection
        .prepare_cached(
            "INSERT INTO decisions (key, name, quantity, number, proof)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            link.key,
            link.name,
            link.quantity,
            link.number,
            link.proof(before.next.as_deref())
        ])?;
    write_proof(connection, &before.link, Some(&link.key))
}

/// Records that `key` was granted an order, also if it was refused before. Returns false, and
/// changes nothing, if it has an order already.
pub(super) fn grant(
    connection: &Connection,
    key: &IdempotencyKey,
    decision: &RecordedDecision,
) -> rusqlite::Result<bool> {
    let Some(known) = look_up(connection, key.as_str())? else {
        insert(connection, key, decision)?;
        return Ok(true);
    };
    if known.number.is_some() {
        return Ok(false);
    }
    let next = at_or_before(connection, key.as_str())?.checked()?.next;
    let link = link_of(key, decision);
    connection
        .prepare_cached(
            "UPDATE decisions SET name = ?2, quantity = ?3, number = ?4 WHERE key = ?1",
        )?
        .execute(params![link.key, link.name, link.quantity, link.number])?;
    write_proof(connection, &link, next.as_deref())?;
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
        let mut link = RingRow::head();
        let (mut granted, mut proof) = (0_u64, head_proof(&connection)?);
        loop {
            let next = stored_after(&connection, &link.key)?;
            let next_key = next.as_ref().map(|(next, _)| next.key.clone());
            Stored { link, next: next_key, proof }.checked()?;
            let Some((row, row_proof)) = next else { break };
            granted += u64::from(row.number.is_some());
            look_up(&connection, &row.key)?;
            (link, proof) = (row, row_proof);
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
    while let Some(row) = found.next().map_err(as_damage)? {
        let link = link_at(row).map_err(as_damage)?;
        if let Some((before, proof)) = last {
            Stored { link: before, next: Some(link.key.clone()), proof }.checked()?;
        }
        last = Some((link, row.get(4).map_err(as_damage)?));
        count += 1;
    }
    match last {
        Some((link, _)) if count > most => Ok(Some(link.key)),
        Some((link, proof)) => Stored { link, next: None, proof }.checked().map(|_last| None),
        None => Ok(None),
    }
}

fn link_of(key: &IdempotencyKey, decision: &RecordedDecision) -> RingRow {
    RingRow {
        key: key.as_str().to_owned(),
        name: decision.name.as_str().to_owned(),
        quantity: decision.quantity.get(),
        number: decision.number.map(|number| number.0),
    }
}

fn at_or_before(connection: &Connection, key: &str) -> rusqlite::Result<Stored> {
    let found = connection
        .prepare_cached(
            "SELECT key, name, quantity, number, proof FROM decisions WHERE key <= ?1
             ORDER BY key DESC LIMIT 1",
        )?
        .query_row([key], |row| Ok((link_at(row)?, row.get::<_, Option<Vec<u8>>>(4)?)))
        .optional()
        .map_err(as_damage)?;
    let (link, proof) = match found {
        Some(found) => found,
        None => (RingRow::head(), head_proof(connection)?),
    };
    let next = connection
        .prepare_cached("SELECT key FROM decisions WHERE key > ?1 ORDER BY key LIMIT 1")?
        .query_row([&link.key], |row| row.get(0))
        .optional()
        .map_err(as_damage)?;
    Ok(Stored { link, next, proof })
}

fn row_after(connection: &Connection, key: &str) -> rusqlite::Result<Option<RingRow>> {
    connection
        .prepare_cached(
            "SELECT key, name, quantity, number FROM decisions WHERE key > ?1
             ORDER BY key LIMIT 1",
        )?
        .query_row([key], link_at)
        .optional()
        .map_err(as_damage)
}

fn stored_after(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<(RingRow, Option<Vec<u8>>)>> {
    let Some(link) = row_after(connection, key)? else { return Ok(None) };
    let proof = connection
        .prepare_cached("SELECT proof FROM decisions WHERE key = ?1")?
        .query_row([&link.key], |row| row.get(0))
        .map_err(as_damage)?;
    Ok(Some((link, proof)))
}

fn head_proof(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT proof FROM decisions_head")?;
    statement.query_row([], |row| row.get(0)).optional().map_err(as_damage)
}

fn write_proof(
    connection: &Connection,
    link: &RingRow,
    next: Option<&str>,
) -> rusqlite::Result<()> {
    let proof = link.proof(next);
    if link.key == HEAD {
        let sql = "INSERT INTO decisions_head (id, proof) VALUES (1, ?1)
                   ON CONFLICT (id) DO UPDATE SET proof = ?1";
        return connection.prepare_cached(sql)?.execute([proof]).map(drop);
    }
    let changed = connection
        .prepare_cached("UPDATE decisions SET proof = ?2 WHERE key = ?1")?
        .execute(params![link.key, proof])?;
    if changed == 1 { Ok(()) } else { Err(damage()) }
}

fn link_at(row: &Row<'_>) -> rusqlite::Result<RingRow> {
    Ok(RingRow { key: row.get(0)?, name: row.get(1)?, quantity: row.get(2)?, number: row.get(3)? })
}

/// A value of the wrong type is damage.
fn as_damage(error: rusqlite::Error) -> rusqlite::Error {
    match error.sqlite_error_code() {
        None | Some(ErrorCode::DatabaseCorrupt) => damage(),
        Some(_) => error,
    }
}

fn damage() -> rusqlite::Error {
    let problem =
        format!("a recorded decision does not match its hash, or one is missing; {ADVICE}");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(problem))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::log_table;
    use crate::wire::order::{Order, Position};

    const KEYS: [&str; 5] = ["client:c", "client:a", "client:e", "random:2", "client:b"];

    fn decision(number: Option<u64>) -> RecordedDecision {
        let number = number.map(OrderNumber);
        RecordedDecision { name: "Tux".into(), quantity: Quantity::ONE, number }
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
            insert(&connection, &key, &decision(granted)).unwrap();
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
        assert!(insert(&connection, &key, &decision(None)).is_err());
    }

    #[test]
    fn a_refusal_that_was_forgotten_becomes_an_order_once() {
        let connection = filled();
        let key = IdempotencyKey::from("client:b".to_owned());
        let (number, quantity) = (OrderNumber(3), Quantity::ONE);
        let order = Order { number, name: "Tux".into(), quantity, key: Some(key.clone()) };
        let end = log_table::rows(&connection, 3, 0).unwrap().unwrap().after;
        log_table::insert(&connection, end, &[order]).unwrap();
        assert!(grant(&connection, &key, &decision(Some(3))).unwrap());
        assert_eq!(look_up(&connection, "client:b").unwrap(), Some(decision(Some(3))));
        assert!(!grant(&connection, &key, &decision(Some(3))).unwrap());
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
