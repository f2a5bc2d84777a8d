//! What an operator does to the database: `toystore catalog --migrate` and `toystore move`.

use std::path::Path;

use super::schema::Migration;
use super::{Database, portable, schema};
use crate::catalog::journal::portable::{self as file, Portable};
use crate::roles::{CatalogRole, Engine};
use crate::storage::StorageError;
use crate::wire::term::CatalogId;

/// Creates the tables of the database that `catalog` names, or upgrades them. Returns what it did.
///
/// # Errors
///
/// If `catalog` is on SQLite, there is no primary, or the tables are newer than this executable.
pub async fn migrate(catalog: &CatalogRole) -> Result<String, StorageError> {
    Ok(match database_of(catalog)?.migrate().await? {
        Migration::Created(store) => format!("created store {store}\n"),
        Migration::Current(store) => format!("store {store} is up to date\n"),
    })
}

/// Moves the store in the SQLite file at `path` into the database that `catalog` names, and reads
/// it back. Returns what it did.
///
/// # Errors
///
/// If the file cannot be read, the database is not empty, or what is read back differs.
pub async fn move_from(catalog: &CatalogRole, path: &Path) -> Result<String, StorageError> {
    let database = database_of(catalog)?;
    let contents = file::read(path)?;
    database.migrate().await?;
    database.fill(contents.clone()).await?;
    if database.contents().await? != contents {
        return Err(StorageError::Unusable(
            "the database does not hold what was written to it; drop it, and begin with a new one"
                .into(),
        ));
    }
    Ok(moved(&contents))
}

/// Moves the store in the database that `catalog` names into a new SQLite file at `path`, and reads
/// it back. Returns what it did.
///
/// # Errors
///
/// If a catalog rules, the file exists, or what is read back differs.
pub async fn move_to(catalog: &CatalogRole, path: &Path) -> Result<String, StorageError> {
    if path.exists() {
        return Err(StorageError::Unusable(format!(
            "{} exists already; name a new file",
            path.display()
        )));
    }
    let contents = database_of(catalog)?.contents().await?;
    file::write(path, &contents)?;
    Ok(moved(&contents))
}

fn moved(contents: &Portable) -> String {
    let (end, decisions) = (contents.end(), contents.decisions.len());
    format!(
        "moved store {}: {} orders, {decisions} decisions; the chain on both sides ends with {}\n",
        contents.store, end.length, end.chain
    )
}

fn database_of(catalog: &CatalogRole) -> Result<Database, StorageError> {
    let Engine::Postgres(settings) = &catalog.engine else {
        return Err(StorageError::Unusable(
            "[catalog] in roles.toml has no `database`; SQLite's file is upgraded when the catalog \
             starts"
                .into(),
        ));
    };
    // No term is begun, so which catalog this would be does not matter.
    Database::new(settings, CatalogId(0), &catalog.toys, catalog.initial_stock)
}

impl Database {
    /// Creates the tables, or upgrades them. Returns what it did.
    ///
    /// # Errors
    ///
    /// If there is no primary, or the tables are newer than this executable.
    pub async fn migrate(&self) -> Result<Migration, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            let (_, session) = shared.servers.find_primary().await?;
            schema::migrate(&session).await
        })
        .await
    }

    async fn fill(&self, contents: Portable) -> Result<(), StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            let (_, session) = shared.servers.find_primary().await?;
            portable::write(&session, &contents).await
        })
        .await
    }

    /// The whole contents, unless a catalog rules.
    async fn contents(&self) -> Result<Portable, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            let observed = shared.observe().await?;
            if let Some(id) = observed.holder {
                return Err(StorageError::Unusable(format!(
                    "catalog-{id} rules term {}, or ended without giving it up; stop all catalogs \
                     in order (start one that was killed, and stop it)",
                    observed.beat.term
                )));
            }
            let (_, session) = shared.servers.find_primary().await?;
            portable::read(&session).await
        })
        .await
    }
}
