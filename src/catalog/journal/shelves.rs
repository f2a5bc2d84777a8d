//! The table `stock`: a row per toy, with its place in `roles.toml`, its price and its totals.

use rusqlite::{Connection, Transaction, named_params};

use crate::catalog::core::stock::Shelf;
use crate::roles::ToyRole;
use crate::storage::walk::Sold;
use crate::wire::lease::Version;
use crate::wire::toy::Toy;

/// Enters the toys of `roles.toml` with their places and prices, new ones with a quantity of
/// `initial`.
pub(super) fn list(
    transaction: &Transaction<'_>,
    toys: &[ToyRole],
    initial: u64,
) -> rusqlite::Result<()> {
    transaction.execute("UPDATE stock SET position = NULL", [])?;
    for (position, toy) in (0_i64..).zip(toys) {
        transaction.execute(
            "INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
             VALUES (:name, :position, :price, :initial, :initial, 0, 0)
             ON CONFLICT (name) DO UPDATE SET position = :position, price = :price",
            named_params! {
                ":name": toy.name.as_str(),
                ":position": position,
                ":price": toy.price.as_decimal(),
                ":initial": initial,
            },
        )?;
    }
    Ok(())
}

/// Reads a toy's row.
pub(super) fn stock_of(connection: &Connection, toy: &ToyRole) -> rusqlite::Result<Shelf> {
    connection.query_row(
        "SELECT quantity, stocked, sold, version FROM stock WHERE name = ?1",
        [toy.name.as_str()],
        |row| {
            Ok(Shelf {
                toy: Toy { name: toy.name.clone(), price: toy.price, quantity: row.get(0)? },
                stocked: row.get(1)?,
                sold: row.get(2)?,
                version: Version(row.get(3)?),
            })
        },
    )
}

/// Reads how many of each toy were sold, which the journal's orders must add up to.
pub(super) fn sold_of(connection: &Connection) -> rusqlite::Result<Option<Sold>> {
    connection
        .prepare_cached("SELECT name, sold FROM stock WHERE sold <> 0")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into(), row.get(1)?)))?
        .collect::<rusqlite::Result<Sold>>()
        .map(Some)
}
