//! The table `stock`: a row per toy, with its place in `roles.toml`, its price and its totals.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, named_params};

use crate::catalog::core::stock::Shelf;
use crate::roles::ToyRole;
use crate::storage::{StorageError, classify};
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

/// Checks that each toy's row says as many sold as the journal's orders add up to.
pub(super) fn check_sums(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    let contradiction = connection
        .query_row(
            "SELECT name, total(quantity) AS ordered, max(sold) AS sold FROM (
                 SELECT name, quantity, 0 AS sold FROM log
                 UNION ALL SELECT name, 0, sold FROM stock
             ) GROUP BY name HAVING ordered <> max(sold) LIMIT 1",
            [],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)?, row.get::<_, u64>(2)?)),
        )
        .optional()
        .map_err(|error| classify(path, &error))?;
    let Some((name, ordered, sold)) = contradiction else { return Ok(()) };
    Err(StorageError::Corrupt(
        path.to_owned(),
        format!(
            "the journal's orders of {name} add up to {ordered}, but the table stock says that \
             {sold} were sold"
        ),
    ))
}
