//! Rebuilds the journal from a replica's log, or rolls an older journal forward.
//!
//! If the catalog's database is lost, or was restored from a backup, the replicas have the orders
//! that it lacks: every acknowledged order is in the logs, with its key. The missing orders are
//! appended to the journal, each key is decided as it was, and the stock is what remains after as
//! many restocks as the orders need.
//!
//! ```text
//! journal, restored   0 1
//! log of replica 3    0 1 2 3 4       equal up to order 1: the journal is a prefix
//! rolled forward      0 1 2 3 4
//! ```
//!
//! What the logs do not have is forgotten: refusals and restocks, since they are no orders, and
//! the keys of orders from before replicas kept keys. A purchase that was refused may be granted
//! when it is sent again. Before it sells, the catalog hears all replicas: one may hold more.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, Transaction, named_params};

use super::shelves::list;
use super::{decisions, open};
use crate::catalog::core::stock::RecordedDecision;
use crate::roles::ToyRole;
use crate::storage::log_table::{insert, open_any, rows, store_of, verify};
use crate::storage::{StorageError, classify, commit};
use crate::wire::identity::StoreId;
use crate::wire::order::{Order, Position};
use crate::wire::replication::MOST_ROWS;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many orders the journal had.
    pub before: u64,
    /// Where it ends now.
    pub end: Position,
    /// How many of the orders that were added have no key.
    pub without_key: u64,
}

/// Why a journal is left as it was.
#[derive(Debug)]
pub enum RebuildError {
    /// One of the two databases cannot be used.
    Storage(StorageError),
    /// The journal and the log belong to two stores.
    OtherStore(StoreId, StoreId),
    /// The log is a prefix of the journal, which has more orders.
    Shorter(u64, u64),
    /// The journal and the log have different orders from this number on.
    Parted(u64),
}

/// Appends to the journal at `path`, which is created if it is missing, the orders that the log in
/// the replica's database at `from` has and it lacks, with their keys.
///
/// # Errors
///
/// If the journal is not a prefix of the log, or either file cannot be used. The journal is as it
/// was then.
pub fn rebuild(
    path: &Path,
    toys: &[ToyRole],
    initial: u64,
    from: &Path,
) -> Result<Rebuilt, RebuildError> {
    let source = open_any(from)?;
    // The replica may run: all reads see its log as it is now.
    source.execute_batch("BEGIN").map_err(|error| classify(from, &error))?;
    let end = verify(&source, from)?;
    let source_store = store_of(&source).map_err(|error| classify(from, &error))?;
    let mut connection = open(path)?;
    let journal = verify(&connection, path)?;
    let store = store_of(&connection).map_err(|error| classify(path, &error))?;
    if let (Some(ours), Some(theirs)) = (store, source_store)
        && ours != theirs
        && journal != Position::START
    {
        return Err(RebuildError::OtherStore(ours, theirs));
    }
    compare(&connection, journal, &source, end).map_err(|error| classify(path, &error))??;
    // A replica's database from before stores had ids leaves the journal its own, or a new one.
    let store = source_store.or(store).unwrap_or_else(|| StoreId::from_random(rand::random()));
    let without_key = roll_forward(&mut connection, (toys, initial), journal, &source, store)
        .map_err(|error| classify(path, &error))?;
    Ok(Rebuilt { before: journal.length, end, without_key })
}

/// Checks that the journal is a prefix of the log, by the chain hashes.
fn compare(
    connection: &Connection,
    journal: Position,
    source: &Connection,
    log: Position,
) -> rusqlite::Result<Result<(), RebuildError>> {
    let position = |of: &Connection, length| -> rusqlite::Result<Option<Position>> {
        Ok(rows(of, length, 0)?.map(|rows| rows.after))
    };
    let differ = |length| -> rusqlite::Result<bool> {
        Ok(position(connection, length)? != position(source, length)?)
    };
    // Equal at `equal`; each hash covers all that is before it, so that a search by halves finds
    // the first order that differs.
    let (mut equal, mut different) = (0, journal.length.min(log.length));
    if differ(different)? {
        while different - equal > 1 {
            let middle = equal.midpoint(different);
            if differ(middle)? { different = middle } else { equal = middle }
        }
        return Ok(Err(RebuildError::Parted(equal)));
    }
    if journal.length > log.length {
        return Ok(Err(RebuildError::Shorter(journal.length, log.length)));
    }
    Ok(Ok(()))
}

/// Appends what the log has behind `journal`, in one transaction. The catalog is in doubt after it.
/// Returns how many orders came without a key.
fn roll_forward(
    connection: &mut Connection,
    (toys, initial): (&[ToyRole], u64),
    journal: Position,
    source: &Connection,
    store: StoreId,
) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    list(&transaction, toys, initial)?;
    let mut without_key = 0;
    let mut after = journal;
    while let Some(rows) = rows(source, after.length, MOST_ROWS)?
        && !rows.orders.is_empty()
    {
        after = insert(&transaction, after, &rows.orders)?;
        for order in &rows.orders {
            sell(&transaction, order, initial)?;
            without_key += u64::from(order.key.is_none());
        }
    }
    transaction.execute(
        "INSERT INTO identity (id, store, token, in_doubt) VALUES (1, ?1, 0, 1)
         ON CONFLICT (id) DO UPDATE SET store = ?1, token = 0, in_doubt = 1",
        [store.get()],
    )?;
    commit(transaction)?;
    Ok(without_key)
}

/// Takes an order out of the stock, with as many restocks as it needs, and records the decision.
fn sell(transaction: &Transaction<'_>, order: &Order, initial: u64) -> rusqlite::Result<()> {
    let name = order.name.as_str();
    // A toy that was removed from roles.toml needs a row, since the journal has its orders.
    transaction
        .prepare_cached(
            "INSERT INTO stock (name, price, quantity, stocked, sold, version)
             VALUES (?1, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
        )?
        .execute([name])?;
    transaction
        .prepare_cached(
            "UPDATE stock SET (quantity, stocked, sold, version) = (
                 SELECT quantity + refill - :taken, stocked + refill, sold + :taken, version + 1
                 FROM (SELECT max(:taken - quantity + :initial - 1, 0) / :initial * :initial
                       AS refill)
             ) WHERE name = :name",
        )?
        .execute(named_params! {
            ":name": name, ":taken": order.quantity.get(), ":initial": initial,
        })?;
    let Some(key) = &order.key else { return Ok(()) };
    let (name, quantity) = (order.name.clone(), order.quantity);
    let granted = RecordedDecision { name, quantity, number: Some(order.number) };
    // A refusal that an earlier rebuild forgot may have become an order since. Two orders under one
    // key are in no log that a store wrote.
    if decisions::grant(transaction, key, granted)? {
        return Ok(());
    }
    Err(rusqlite::Error::StatementChangedRows(0))
}

impl From<StorageError> for RebuildError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl fmt::Display for RebuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::OtherStore(journal, log) => write!(
                f,
                "the journal is that of store {journal} and the log that of store {log}; name the \
                 database of a replica of this store, or move catalog.db away to rebuild the other \
                 store"
            ),
            Self::Shorter(journal, log) => write!(
                f,
                "the journal has {journal} orders and the log only the first {log} of them: \
                 nothing is missing; name the database of the replica that has the most orders"
            ),
            Self::Parted(number) => write!(
                f,
                "the journal and the log have different orders from order {number} on; one of them \
                 is of another store, or was continued from a backup. To keep the log's orders, \
                 move catalog.db away and rebuild; to keep the journal's, move that replica's \
                 database away"
            ),
        }
    }
}

impl std::error::Error for RebuildError {}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::catalog::core::stock::{Change, Shelf};
    use crate::catalog::journal::marker::Past;
    use crate::catalog::journal::{Journal, Loaded};
    use crate::order::order_log::OrderLog;
    use crate::wire::lease::Version;
    use crate::wire::order::OrderNumber;
    use crate::wire::purchase::IdempotencyKey;
    use crate::wire::quantity::Quantity;
    use crate::wire::toy::Price;

    const INITIAL: u64 = 100;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A replica's database with these orders.
        async fn replica(&self, name: &str, orders: &[Order]) -> Position {
            let (log, start) = OrderLog::open(&self.path(name)).unwrap();
            log.set_store(StoreId::new(7).unwrap()).await.unwrap();
            log.append(start, orders.to_vec()).await.unwrap()
        }

        fn rebuild(&self, from: &str) -> Result<Rebuilt, RebuildError> {
            rebuild(&self.path("catalog.db"), &toys(), INITIAL, &self.path(from))
        }

        fn open(&self) -> (Journal, Loaded) {
            Journal::open(&self.path("catalog.db"), &toys(), INITIAL).unwrap()
        }

        /// The numbers that the journal has under these keys.
        async fn decided(&self, keys: &[&str]) -> Vec<Option<Option<u64>>> {
            let keys: Vec<IdempotencyKey> =
                keys.iter().map(|key| (*key).to_owned().into()).collect();
            let (journal, _) = self.open();
            let recorded = journal.recorded(keys.clone()).await.unwrap();
            let number = |one: &RecordedDecision| one.number.map(|number| number.0);
            keys.iter().map(|key| recorded.get(key).map(number)).collect()
        }
    }

    fn toys() -> [ToyRole; 2] {
        ["Tux", "Uno"].map(|name| ToyRole { name: name.into(), price: Price::from_cents(1599) })
    }

    fn order(number: u64, name: &str, quantity: u64) -> Order {
        Order {
            number: OrderNumber(number),
            name: name.into(),
            quantity: Quantity::new(quantity).unwrap(),
            key: Some(format!("key-{number}").into()),
        }
    }

    fn orders() -> Vec<Order> {
        vec![order(0, "Tux", 100), order(1, "Tux", 30), order(2, "Gone", 100), order(3, "Uno", 1)]
    }

    fn sums(loaded: &Loaded) -> Vec<(u64, u64, u64)> {
        let sums = |shelf: &Shelf| (shelf.stocked, shelf.sold, shelf.toy.quantity);
        loaded.shelves.iter().map(sums).collect()
    }

    #[actix_web::test]
    async fn a_journal_that_is_rebuilt_has_the_orders_their_keys_and_a_stock_that_adds_up() {
        let folder = Folder::new();
        let end = folder.replica("order-1.db", &orders()).await;
        let rebuilt = Rebuilt { before: 0, end, without_key: 0 };
        assert_eq!(folder.rebuild("order-1.db").unwrap(), rebuilt);
        let (_journal, loaded) = folder.open();
        assert_eq!((loaded.journal, loaded.store.get()), (end, 7));
        assert_eq!(loaded.past, Past::InDoubt, "another replica may hold more");
        assert_eq!(sums(&loaded), [(200, 130, 70), (100, 1, 99)]);
        let decided = folder.decided(&["key-0", "key-2", "key-3", "key-4"]).await;
        assert_eq!(decided, [Some(Some(0)), Some(Some(2)), Some(Some(3)), None]);
    }

    #[actix_web::test]
    async fn an_older_journal_is_rolled_forward_and_a_grant_replaces_a_forgotten_refusal() {
        let folder = Folder::new();
        let end = folder.replica("order-1.db", &orders()).await;
        folder.replica("order-2.db", &orders()[..1]).await;
        folder.rebuild("order-2.db").unwrap();
        // Under the key of order 3 the older journal has a refusal.
        let (journal, loaded) = folder.open();
        let refused =
            RecordedDecision { name: "Uno".into(), quantity: Quantity::ONE, number: None };
        let decisions = vec![("key-3".to_owned().into(), refused)];
        let (shelves, after) = (Vec::new(), loaded.journal);
        let refusal = Change { shelves, after, orders: Vec::new(), decisions };
        journal.commit(refusal).await.unwrap();
        drop(journal);
        assert_eq!(folder.decided(&["key-0", "key-3"]).await, [Some(Some(0)), Some(None)]);

        let rebuilt = Rebuilt { before: 1, end, without_key: 0 };
        assert_eq!(folder.rebuild("order-1.db").unwrap(), rebuilt);
        let (_journal, loaded) = folder.open();
        assert_eq!((loaded.journal, loaded.past), (end, Past::InDoubt));
        assert_eq!(sums(&loaded), [(200, 130, 70), (100, 1, 99)]);
        assert_eq!(loaded.shelves[0].version, Version(2), "versions grow with each order");
        assert_eq!(folder.decided(&["key-1", "key-3"]).await, [Some(Some(1)), Some(Some(3))]);
        // Again: nothing is missing, and nothing changes.
        assert_eq!(folder.rebuild("order-1.db").unwrap().before, 4);
        assert_eq!(sums(&folder.open().1), [(200, 130, 70), (100, 1, 99)]);
    }

    #[actix_web::test]
    async fn a_journal_that_is_no_prefix_of_the_log_is_left_alone() {
        let folder = Folder::new();
        folder.replica("order-1.db", &orders()).await;
        folder.rebuild("order-1.db").unwrap();
        folder.replica("short.db", &orders()[..2]).await;
        let mut other = orders();
        other[2] = order(2, "Uno", 5);
        folder.replica("other.db", &other).await;
        let mut keys = orders();
        keys[1].key = Some("another".to_owned().into());
        folder.replica("keys.db", &keys).await;
        folder.replica("stranger.db", &orders()).await;
        let (log, _) = OrderLog::open(&folder.path("stranger.db")).unwrap();
        log.set_store(StoreId::new(8).unwrap()).await.unwrap();
        drop(log);

        assert!(matches!(folder.rebuild("short.db"), Err(RebuildError::Shorter(4, 2))));
        assert!(matches!(folder.rebuild("other.db"), Err(RebuildError::Parted(2))));
        assert!(matches!(folder.rebuild("keys.db"), Err(RebuildError::Parted(1))));
        assert!(matches!(folder.rebuild("stranger.db"), Err(RebuildError::OtherStore(..))));
        let (_journal, loaded) = folder.open();
        assert_eq!(loaded.journal, orders().iter().fold(Position::START, Position::continued_by));
    }

    #[actix_web::test]
    async fn orders_from_before_replicas_kept_keys_come_without() {
        let folder = Folder::new();
        let mut old = orders();
        old[0].key = None;
        folder.replica("order-1.db", &old).await;
        assert_eq!(folder.rebuild("order-1.db").unwrap().without_key, 1);
        assert_eq!(folder.decided(&["key-0", "key-1"]).await, [None, Some(Some(1))]);
    }
}
