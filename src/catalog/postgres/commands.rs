//! What an operator does to the database: `toystore catalog --migrate` and `toystore move`.

use std::path::Path;
use std::time::Duration;

use super::schema::Migration;
use super::{Database, Shared, portable, schema};
use crate::catalog::core::term::{CLAIM_MARGIN, RULE_LEASE};
use crate::catalog::journal::portable::{ContentsSummary, SourceFile, TargetFile};
use crate::roles::{CatalogRole, Engine};
use crate::storage::StorageError;
use crate::wire::term::CatalogId;

/// In so much time a catalog that runs claims a term that was left: what it waits, and some looks.
const LONGEST_GAP: Duration = RULE_LEASE.saturating_add(CLAIM_MARGIN).saturating_add(LOOKS);
const LOOKS: Duration = Duration::from_millis(500);

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
/// If the file cannot be read, the database is not empty, or what is read back differs: nothing has
/// changed then. If the answer to the commit is lost: look, or move again, which is refused if the
/// store is there.
pub async fn move_from(catalog: &CatalogRole, path: &Path) -> Result<String, StorageError> {
    let database = database_of(catalog)?;
    let source = SourceFile::open(path)?;
    database.migrate().await?;
    Ok(moved(&database.fill(source).await?))
}

/// Moves the store in the database that `catalog` names into a new SQLite file at `path`, and reads
/// it back. Returns what it did.
///
/// # Errors
///
/// If a catalog rules, the file exists, or what is read back differs: there is no file then. If the
/// file's folder cannot be synced: whether the file is there after a power cut is unknown.
pub async fn move_to(catalog: &CatalogRole, path: &Path) -> Result<String, StorageError> {
    let database = database_of(catalog)?;
    let (target, found) = database.copy_into(TargetFile::create(path)?).await?;
    target.finish(&found)?;
    Ok(moved(&found))
}

fn moved(ContentsSummary { head, journal, decisions }: &ContentsSummary) -> String {
    format!(
        "moved store {}: {} orders, {} decisions; the chain on both sides ends with {}\n",
        head.store, journal.length, decisions.count, journal.chain
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
    /// If there is no primary, the tables are newer than this executable, or no synchronous standby
    /// has them in time.
    pub async fn migrate(&self) -> Result<Migration, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            let (primary, session) = shared.servers.find_primary().await?;
            schema::migrate(&primary, &session).await
        })
        .await
    }

    async fn fill(&self, mut source: SourceFile) -> Result<ContentsSummary, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            no_catalog_runs(&shared).await?;
            let (_, session) = shared.servers.find_primary().await?;
            portable::write(&session, &mut source).await
        })
        .await
    }

    /// Copies everything, unless a catalog rules.
    async fn copy_into(
        &self,
        mut target: TargetFile,
    ) -> Result<(TargetFile, ContentsSummary), StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.on_thread(async move {
            no_catalog_runs(&shared).await?;
            let (_, session) = shared.servers.find_primary().await?;
            let found = portable::read(&session, &mut target).await?;
            Ok((target, found))
        })
        .await
    }
}

/// Checks that no catalog runs. One that front-ends do not reach leaves its term again and again,
/// and between two terms none rules, for a while.
async fn no_catalog_runs(shared: &Shared) -> Result<(), StorageError> {
    let first = shared.observe().await?;
    let mut last = first.clone();
    if first.holder.is_none() {
        tokio::time::sleep(LONGEST_GAP).await;
        last = shared.observe().await?;
    }
    if let Some(id) = last.holder {
        return Err(StorageError::Unusable(format!(
            "catalog-{id} rules term {}, or ended without giving it up; stop all catalogs in order \
             (start one that was killed, and stop it)",
            last.beat.term
        )));
    }
    if last.beat != first.beat {
        return Err(StorageError::Unusable("a catalog runs; stop all catalogs in order".into()));
    }
    Ok(())
}
