//! Rebuilds the journal from a replica's log, if the catalog's database is lost.
//!
//! The orders come back complete, since every acknowledged order is in the logs, and the store
//! keeps its id, which the replica has, too. Before it sells, the catalog hears all replicas: one
//! of them may hold more. The stock is derived from the orders. The keys are lost, since no replica
//! has them: a retry of an old purchase is a new purchase.

use std::path::Path;

use rusqlite::Connection;

use super::open;
use super::shelves::list;
use crate::roles::ToyRole;
use crate::storage::log_table::{insert, rows, store_of, verify};
use crate::storage::{StorageError, classify, open_reader};
use crate::wire::identity::StoreId;
use crate::wire::order::Position;
use crate::wire::replication::MOST_ROWS;

/// Creates a database at `path` whose journal is the log in the replica's database at `from`. The
/// stock is what remains after as many restocks as the orders need. Returns the journal's end.
///
/// # Errors
///
/// If the database at `path` has orders already, or either file cannot be used.
pub fn rebuild(
    path: &Path,
    toys: &[ToyRole],
    initial: u64,
    from: &Path,
) -> Result<Position, StorageError> {
    let source = open_reader(from)?;
    let end = verify(&source, from)?;
    let store = store_of(&source).map_err(|error| classify(from, &error))?;
    let mut connection = open(path)?;
    let present = verify(&connection, path)?;
    if present != Position::START {
        let problem = format!("it has {} orders already; move it away first", present.length);
        return Err(StorageError::Broken(path.to_owned(), problem));
    }
    fill(&mut connection, toys, initial, &source).map_err(|error| classify(path, &error))?;
    // A replica's database from before stores had ids leaves the store a new one.
    let store = store.unwrap_or_else(|| StoreId::from_random(rand::random()));
    connection
        .execute(
            "INSERT INTO identity (id, store, token, in_doubt) VALUES (1, ?1, 0, 1)
             ON CONFLICT (id) DO UPDATE SET store = ?1, token = 0, in_doubt = 1",
            [store.get()],
        )
        .map_err(|error| classify(path, &error))?;
    Ok(end)
}

/// Fills an empty database with the orders of a replica's log.
fn fill(
    connection: &mut Connection,
    toys: &[ToyRole],
    initial: u64,
    source: &Connection,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    list(&transaction, toys, initial)?;
    let mut after = Position::START;
    while let Some(rows) = rows(source, after.length, MOST_ROWS)?
        && !rows.orders.is_empty()
    {
        after = insert(&transaction, after, &rows.orders)?;
    }
    // A toy that was removed from roles.toml needs a row, since the journal has its orders.
    transaction.execute(
        "INSERT INTO stock (name, price, quantity, stocked, sold, version)
         SELECT DISTINCT name, 0, 0, 0, 0, 0 FROM log WHERE true ON CONFLICT DO NOTHING",
        [],
    )?;
    // As many restocks as the orders need, and at least the initial stock.
    transaction.execute(
        "UPDATE stock SET (sold, stocked, quantity) = (
             SELECT sold, stocked, stocked - sold FROM (
                 SELECT sold, max((sold + ?1 - 1) / ?1, 1) * ?1 AS stocked FROM (
                     SELECT coalesce(sum(quantity), 0) AS sold
                     FROM log WHERE log.name = stock.name
                 )
             )
         )",
        [initial],
    )?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::journal::Journal;
    use crate::order::order_log::OrderLog;
    use crate::wire::order::{Order, OrderNumber};
    use crate::wire::quantity::Quantity;
    use crate::wire::toy::Price;

    #[actix_web::test]
    async fn a_journal_that_is_rebuilt_from_a_replica_has_its_orders_and_a_stock_that_adds_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let replica = folder.path().join("order-1.db");
        let (log, start) = OrderLog::open(&replica).unwrap();
        let order = |number, name: &str, quantity| Order {
            number: OrderNumber(number),
            name: name.into(),
            quantity: Quantity::new(quantity).unwrap(),
        };
        let orders = vec![order(0, "Tux", 100), order(1, "Tux", 30), order(2, "Gone", 100)];
        let end = log.append(start, orders).await.unwrap();
        let toys = ["Tux", "Uno"]
            .map(|name| ToyRole { name: name.into(), price: Price::from_cents(1599) });

        assert_eq!(rebuild(&path, &toys, 100, &replica).unwrap(), end);
        let (journal, loaded) = Journal::open(&path, &toys, 100).unwrap();
        assert_eq!(loaded.journal, end);
        let sums: Vec<_> = loaded
            .shelves
            .iter()
            .map(|shelf| (shelf.stocked, shelf.sold, shelf.toy.quantity))
            .collect();
        assert_eq!(sums, [(200, 130, 70), (100, 0, 100)]);
        drop(journal);
        assert!(
            rebuild(&path, &toys, 100, &replica).is_err(),
            "a journal that has orders is not overwritten"
        );
    }
}
