//! Which store a database belongs to, and whether it is as the catalog left it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::marker::{Marker, Past, Token};
use crate::storage::{StorageError, classify};
use crate::wire::identity::StoreId;
use crate::wire::order::Position;

/// Has the catalog hear every replica before it sells, whatever the marker says: the database was
/// restored.
pub(crate) fn put_in_doubt(path: &Path) -> Result<(), StorageError> {
    let connection = super::open(path)?;
    let done = connection.execute("UPDATE identity SET token = 0, in_doubt = 1", []);
    done.map(drop).map_err(|error| classify(path, &error))
}

/// Compares the database with the marker beside it, and gives both a new token. A database that is
/// new becomes a store's.
pub(super) fn identify(
    connection: &mut Connection,
    path: &Path,
    journal: Position,
) -> Result<(Marker, StoreId, Past), StorageError> {
    let known = connection
        .query_row("SELECT store, token, in_doubt FROM identity", [], |row| {
            Ok((row.get::<_, u64>(0)?, Token(row.get(1)?), row.get::<_, bool>(2)?))
        })
        .optional()
        .map_err(|error| classify(path, &error))?;
    let (store, token, was_in_doubt) = match known {
        Some((store, token, in_doubt)) => {
            let store = StoreId::new(store).ok_or_else(|| {
                let problem = format!("its store has the number {store}, which no store has");
                StorageError::Corrupt(path.to_owned(), problem)
            })?;
            (store, Some(token), in_doubt)
        }
        None => (StoreId::from_random(rand::random()), None, false),
    };
    let fresh = Token(rand::random::<u64>() >> 1);
    let marker_path = path.with_extension("marker");
    let (marker, past) = Marker::renew(&marker_path, token, journal, fresh)
        .map_err(|error| StorageError::Broken(marker_path, error.to_string()))?;
    let past = if was_in_doubt { Past::InDoubt } else { past };
    connection
        .execute(
            "INSERT INTO identity (id, store, token, in_doubt) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET token = ?2, in_doubt = ?3",
            params![store.get(), fresh.0, past == Past::InDoubt],
        )
        .map_err(|error| classify(path, &error))?;
    Ok((marker, store, past))
}
