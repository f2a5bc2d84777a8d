//! `toystore rebuild`, `repair` and `move`: what is done to the database of a catalog that is
//! stopped.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::catalog::journal::rebuild::{self, RebuildError};
use crate::catalog::journal::repair;
use crate::catalog::postgres;
use crate::pid_lock::PidLock;
use crate::process::RoleError;
use crate::roles::{CatalogRole, Engine, Role, Roles};
use crate::storage::StorageError;

/// Why nothing was mended.
#[derive(Debug)]
pub enum MendError {
    /// The catalog runs, or its pid file cannot be written.
    Role(RoleError),
    /// The journal cannot be rebuilt.
    Rebuild(RebuildError),
    /// The database cannot be used.
    Storage(StorageError),
    /// The catalog is on PostgreSQL.
    Postgres,
}

/// `rebuild` and `repair` change an SQLite file only.
fn check_engine(roles: &Roles) -> Result<(), MendError> {
    match roles.catalog.engine {
        Engine::Sqlite { .. } => Ok(()),
        Engine::Postgres(_) => Err(MendError::Postgres),
    }
}

/// Rebuilds the journal from the log in a replica's database. Returns what was done.
///
/// # Errors
///
/// If the catalog runs, or the two do not belong together.
pub fn rebuild(roles: &Roles, from: &Path) -> Result<String, MendError> {
    check_engine(roles)?;
    let _lock = PidLock::take(roles, Role::Catalog).map_err(MendError::Role)?;
    let path = roles.file_of(Role::Catalog, "db");
    let CatalogRole { toys, initial_stock, .. } = &roles.catalog;
    let rebuilt =
        rebuild::rebuild(&path, toys, *initial_stock, from).map_err(MendError::Rebuild)?;
    let (before, end) = (rebuilt.before, rebuilt.end.length);
    let keys = match rebuilt.without_key {
        0 => String::new(),
        count => format!(" ({count} of them from before replicas kept keys)"),
    };
    Ok(format!("the journal had {before} orders and has {end} now{keys}; start the catalog\n"))
}

/// Repairs impossible values. Returns what was done.
///
/// # Errors
///
/// If the catalog runs, or its database cannot be used.
pub fn repair(roles: &Roles) -> Result<String, MendError> {
    check_engine(roles)?;
    let _lock = PidLock::take(roles, Role::Catalog).map_err(MendError::Role)?;
    let path = roles.file_of(Role::Catalog, "db");
    let problems =
        repair::repair(&path, roles.catalog.initial_stock).map_err(MendError::Storage)?;
    if problems.is_empty() {
        return Ok("there is nothing to repair\n".into());
    }
    let lines: Vec<String> = problems.iter().map(|it| format!("repaired: {it}\n")).collect();
    Ok(lines.concat())
}

/// Where a store is moved from, or to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct MoveArguments {
    /// The SQLite file to move from, such as data/catalog.db, into `database`.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The SQLite file to move to, which is created, from `database`.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Moves a store, while no catalog on SQLite runs in this data folder. Returns what was done.
///
/// # Errors
///
/// If a catalog runs, or what the store is moved from or to cannot be used.
pub async fn move_store(roles: &Roles, arguments: &MoveArguments) -> Result<String, RoleError> {
    let _lock = PidLock::take(roles, Role::Catalog)?;
    let catalog = &roles.catalog;
    Ok(match (&arguments.from, &arguments.to) {
        (Some(file), _) => postgres::move_from(catalog, file).await?,
        (None, to) => postgres::move_to(catalog, to.as_deref().unwrap_or(Path::new(""))).await?,
    })
}

impl fmt::Display for MendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(error) => error.fmt(f),
            Self::Rebuild(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
            Self::Postgres => f.write_str(
                "the catalog is on PostgreSQL, and this command mends an SQLite file; restore the \
                 database with PostgreSQL's own tools. To rebuild it from a replica, rebuild an \
                 SQLite file (a roles.toml with an `address` in [catalog]), and then use \
                 `toystore move --from`",
            ),
        }
    }
}

impl std::error::Error for MendError {}
