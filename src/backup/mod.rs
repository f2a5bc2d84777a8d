//! Backups of a store: copies of its databases, and back.
//!
//! A backup is taken while the store runs. Each database is copied as it is at one time, the
//! replicas' before the catalog's, so that the journal in a backup is as long as any log in it:
//!
//! ```text
//! order-1.db ─► order-2.db ─► order-3.db ─► catalog.db ─► manifest.json ─► DIR
//!    5 orders       5             7             9          all in DIR.partial-PID, synced; then
//!                                                          renamed
//! ```
//!
//! So a backup that was killed is no backup, and what is in DIR is whole. [`restore()`] puts a
//! backup's databases in place of those that are lost, damaged or shorter.

mod manifest;
mod restore;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use self::manifest::{Manifest, SavedDatabase};
pub use self::restore::{Fate, Newer, restore};
use crate::catalog::journal::decisions;
use crate::failpoint;
use crate::process::RoleError;
use crate::roles::{Role, Roles};
use crate::storage::StorageError;
use crate::storage::snapshot::{copy, inspect};
use crate::wire::identity::StoreId;

/// Why there is no backup, or nothing was restored.
#[derive(Debug)]
pub enum BackupError {
    /// A role runs, or its pid file cannot be written.
    Role(RoleError),
    /// A database cannot be used.
    Storage(StorageError),
    /// A file or folder cannot be read or written.
    File(PathBuf, io::Error),
    /// The folder for the backup is there already.
    Exists(PathBuf),
    /// There is nothing to back up.
    NoDatabase(PathBuf),
    /// The databases belong to two stores.
    TwoStores(PathBuf, StoreId, StoreId),
    /// A manifest is not as one is written.
    Manifest(PathBuf, String),
    /// A database of a backup is not the one that its manifest tells of.
    OtherThanTold(PathBuf),
    /// No database of the backup is that of a role in `roles.toml`.
    NoRole(PathBuf),
}

/// Copies every database in the data folder of `roles` to the folder `to`, which must not exist.
///
/// # Errors
///
/// If there is nothing to copy, or a database or the folder cannot be used. `to` does not exist
/// then.
pub fn back_up(roles: &Roles, to: &Path) -> Result<Manifest, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let replicas = roles.orders.iter().map(|order| Role::Order(order.id));
    let present: Vec<Role> = replicas
        .chain(roles.catalog.roles())
        .filter(|role| roles.file_of(*role, "db").exists())
        .collect();
    if present.is_empty() {
        return Err(BackupError::NoDatabase(roles.data_dir.clone()));
    }
    let partial = with_suffix(to, &format!(".partial-{}", std::process::id()));
    fs::create_dir_all(parent(to)).map_err(|error| BackupError::File(parent(to), error))?;
    fs::create_dir(&partial).map_err(|error| BackupError::File(partial.clone(), error))?;
    failpoint::pass(failpoint::BACKUP_STEP);
    let manifest = fill(roles, &present, &partial).and_then(|manifest| {
        fs::rename(&partial, to).map_err(|error| BackupError::File(to.to_owned(), error))?;
        failpoint::pass(failpoint::BACKUP_STEP);
        sync(&parent(to))?;
        Ok(manifest)
    });
    if manifest.is_err() {
        // It is this process's own, and no backup. If it stays, its name says what it is.
        let _stays = fs::remove_dir_all(&partial);
    }
    manifest
}

/// Copies the databases of `present` into a folder, and writes the manifest beside them.
fn fill(roles: &Roles, present: &[Role], folder: &Path) -> Result<Manifest, BackupError> {
    let mut store = None;
    let mut databases = Vec::new();
    for role in present {
        let name = format!("{role}.db");
        let file = folder.join(name);
        copy(&roles.file_of(*role, "db"), &file)?;
        failpoint::pass(failpoint::BACKUP_STEP);
        let contents = inspect(&file)?;
        if *role == Role::Catalog {
            decisions::verify(&file)?;
        }
        if let (Some(first), Some(other)) = (store, contents.store)
            && first != other
        {
            let path = roles.file_of(*role, "db");
            return Err(BackupError::TwoStores(path, other, first));
        }
        store = store.or(contents.store);
        sync(&file)?;
        databases.push(SavedDatabase::new(role.to_string(), contents.end));
    }
    let manifest = Manifest::begun_now(store, databases);
    sync(&manifest.write(folder)?)?;
    sync(folder)?;
    failpoint::pass(failpoint::BACKUP_STEP);
    Ok(manifest)
}

/// Has the disk write a file, or a folder's names.
fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| BackupError::File(path.to_owned(), error))
}

fn parent(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    // A slash at the end would make the suffix a name of its own.
    let plain: PathBuf = path.components().collect();
    let mut name = OsString::from(plain);
    name.push(suffix);
    name.into()
}

impl From<StorageError> for BackupError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<RoleError> for BackupError {
    fn from(error: RoleError) -> Self {
        Self::Role(error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "cannot use {}: {error}", path.display()),
            Self::Exists(path) => write!(
                f,
                "{} exists already, and a backup is a new folder; name another one",
                path.display()
            ),
            Self::NoDatabase(folder) => write!(
                f,
                "there is no database in {}; name the roles.toml of this machine's roles with \
                 --config",
                folder.display()
            ),
            Self::TwoStores(path, other, first) => write!(
                f,
                "{} is of store {other}, and another database in its folder of store {first}; \
                 move away what does not belong there",
                path.display()
            ),
            Self::Manifest(path, problem) => {
                write!(f, "{} is no manifest of a backup: {problem}", path.display())
            }
            Self::OtherThanTold(path) => write!(
                f,
                "{} is not the database that the backup's manifest tells of; use another backup",
                path.display()
            ),
            Self::NoRole(folder) => write!(
                f,
                "no database in {} is that of a role in roles.toml; nothing was restored",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for BackupError {}
