//! The rows of the table `decisions`, each with a hash that shows damage.
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
//! which is mostly on the same page. Only the last row has to be read at a start, and no answer
//! rests on a row that was not checked: damage ends the catalog with an error that says what to do.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, ffi, params};
use sha2::{Digest as _, Sha256};

use super::ADVICE;
use crate::catalog::core::stock::RecordedDecision;
use crate::wire::order::OrderNumber;
use crate::wire::purchase::IdempotencyKey;
use crate::wire::quantity::Quantity;

/// What separates texts in a hash: a byte that is in no UTF-8 text.
const SEPARATOR: [u8; 1] = [0xff];
/// The key of the head, which no purchase has.
pub(super) const HEAD: &str = "";

/// A hash over a row and the key of the next one.
type Proof = [u8; 16];

/// A row. The head is one, too, without a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RingRow {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) quantity: u64,
    pub(super) number: Option<u64>,
}

/// A row, the key after it, and the hash that was stored.
pub(super) struct Stored {
    pub(super) row: RingRow,
    pub(super) next: Option<String>,
    pub(super) proof: Option<Vec<u8>>,
}

/// A row, and the hash that was stored.
type RowAndProof = (RingRow, Option<Vec<u8>>);

/// A row and the key after it, which the row's hash covers: no key between the two has a row.
pub(super) struct Gap {
    pub(super) before: RingRow,
    pub(super) next: Option<String>,
}

impl RingRow {
    /// What stands before the first row.
    pub(super) fn head() -> Self {
        Self { key: HEAD.into(), name: String::new(), quantity: 0, number: None }
    }

    /// The row of a decision.
    pub(super) fn of(key: &IdempotencyKey, decision: &RecordedDecision) -> Self {
        Self {
            key: key.as_str().to_owned(),
            name: decision.name.as_str().to_owned(),
            quantity: decision.quantity.get(),
            number: decision.number.map(|number| number.0),
        }
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
    /// Checks the hash.
    pub(super) fn checked(self) -> rusqlite::Result<Gap> {
        let expected = self.row.proof(self.next.as_deref());
        if self.proof.as_deref() != Some(&expected[..]) {
            return Err(damage());
        }
        Ok(Gap { before: self.row, next: self.next })
    }
}

impl Gap {
    /// Reads the gap that `key` lies in, or begins.
    pub(super) fn at(connection: &Connection, key: &str) -> rusqlite::Result<Self> {
        let gap = at_or_before(connection, key)?.checked()?;
        if gap.has(key) { Ok(gap) } else { Err(damage()) }
    }

    /// Reads the gap behind the last row, or behind the head if there are no rows.
    pub(super) fn last(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT key, name, quantity, number, proof FROM decisions
                   ORDER BY key DESC LIMIT 1";
        let (row, proof) = row_or_head(connection, connection.query_row(sql, [], with_proof))?;
        Stored { row, next: None, proof }.checked()
    }

    /// Returns whether `key` lies in this gap, or begins it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.before.key.as_str() <= key && self.next.as_deref().is_none_or(|next| key < next)
    }

    /// Returns the decision under `key`, which this gap has.
    pub(super) fn decision(
        &self,
        connection: &Connection,
        key: &str,
    ) -> rusqlite::Result<Option<RecordedDecision>> {
        if self.before.key != key {
            return Ok(None);
        }
        let RingRow { name, quantity, number, .. } = &self.before;
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
        let quantity = Quantity::new(*quantity).ok_or_else(damage)?;
        let (name, number) = (name.as_str().into(), number.map(OrderNumber));
        Ok(Some(RecordedDecision { name, quantity, number }))
    }
}

/// Reads the row at `key`, or else the last one before it.
fn at_or_before(connection: &Connection, key: &str) -> rusqlite::Result<Stored> {
    let found = connection
        .prepare_cached(
            "SELECT key, name, quantity, number, proof FROM decisions WHERE key <= ?1
             ORDER BY key DESC LIMIT 1",
        )?
        .query_row([key], with_proof);
    let (row, proof) = row_or_head(connection, found)?;
    let next = connection
        .prepare_cached("SELECT key FROM decisions WHERE key > ?1 ORDER BY key LIMIT 1")?
        .query_row([&row.key], |row| row.get(0))
        .optional()
        .map_err(as_damage)?;
    Ok(Stored { row, next, proof })
}

/// Returns the row that was found, or the head if there was none.
fn row_or_head(
    connection: &Connection,
    found: rusqlite::Result<RowAndProof>,
) -> rusqlite::Result<RowAndProof> {
    match found.optional().map_err(as_damage)? {
        Some(found) => Ok(found),
        None => Ok((RingRow::head(), head_proof(connection)?)),
    }
}

/// Reads the row that follows `key`.
pub(super) fn row_after(connection: &Connection, key: &str) -> rusqlite::Result<Option<RingRow>> {
    connection
        .prepare_cached(
            "SELECT key, name, quantity, number FROM decisions WHERE key > ?1
             ORDER BY key LIMIT 1",
        )?
        .query_row([key], ring_row)
        .optional()
        .map_err(as_damage)
}

/// Reads the row that follows `key`, with its hash.
pub(super) fn stored_after(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<RowAndProof>> {
    connection
        .prepare_cached(
            "SELECT key, name, quantity, number, proof FROM decisions WHERE key > ?1
             ORDER BY key LIMIT 1",
        )?
        .query_row([key], with_proof)
        .optional()
        .map_err(as_damage)
}

/// Reads the hash before the first key.
pub(super) fn head_proof(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT proof FROM decisions_head")?;
    statement.query_row([], |row| row.get(0)).optional().map_err(as_damage)
}

/// Writes a new row, behind which `next` follows.
pub(super) fn insert_row(
    connection: &Connection,
    row: &RingRow,
    next: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO decisions (key, name, quantity, number, proof)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![row.key, row.name, row.quantity, row.number, row.proof(next)])
        .map(drop)
}

/// Writes the hash of a row, or of the head, behind which `next` follows.
pub(super) fn write_proof(
    connection: &Connection,
    row: &RingRow,
    next: Option<&str>,
) -> rusqlite::Result<()> {
    let proof = row.proof(next);
    if row.key == HEAD {
        let sql = "INSERT INTO decisions_head (id, proof) VALUES (1, ?1)
                   ON CONFLICT (id) DO UPDATE SET proof = ?1";
        return connection.prepare_cached(sql)?.execute([proof]).map(drop);
    }
    let changed = connection
        .prepare_cached("UPDATE decisions SET proof = ?2 WHERE key = ?1")?
        .execute(params![row.key, proof])?;
    if changed == 1 { Ok(()) } else { Err(damage()) }
}

/// Reads the columns `key`, `name`, `quantity` and `number`.
pub(super) fn ring_row(read: &Row<'_>) -> rusqlite::Result<RingRow> {
    let (key, name) = (read.get(0)?, read.get(1)?);
    Ok(RingRow { key, name, quantity: read.get(2)?, number: read.get(3)? })
}

/// Reads these columns, and `proof`.
fn with_proof(read: &Row<'_>) -> rusqlite::Result<RowAndProof> {
    Ok((ring_row(read)?, read.get(4)?))
}

/// A value of the wrong type is damage.
pub(super) fn as_damage(error: rusqlite::Error) -> rusqlite::Error {
    match error.sqlite_error_code() {
        None | Some(ErrorCode::DatabaseCorrupt) => damage(),
        Some(_) => error,
    }
}

/// The error of a row that is damaged or gone.
pub(super) fn damage() -> rusqlite::Error {
    let problem =
        format!("a recorded decision does not match its hash, or one is missing; {ADVICE}");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(problem))
}
