//! Restores a backup's databases into a store that is stopped.
//!
//! A database that is lost, damaged, shorter than the backup's or of other orders is replaced, and
//! kept under another name. One that has all of the backup's orders stays where it is: a replica
//! that went on after the backup may hold the only copy of an acknowledged order. An operator who
//! wants the backup all the same says so ([`Newer::Discarded`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BackupError, Manifest, SavedDatabase, sync, with_suffix};
use crate::catalog::journal::past::put_in_doubt;
use crate::failpoint;
use crate::pid_lock::PidLock;
use crate::roles::{Role, Roles};
use crate::storage::rename_aside;
use crate::storage::snapshot::{has, inspect};

/// What happens to databases that have all of the backup's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// They stay.
    Kept,
    /// They are replaced, too.
    Discarded,
}

/// What happened to a role's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The backup's is in place; there was none.
    Restored,
    /// The backup's is in place, and what was there has this name.
    Replaced(PathBuf),
    /// It has so many orders, all of the backup's among them, and stays.
    Kept(u64),
    /// The role is not in `roles.toml`.
    NotHere,
}

/// A database that is about to be put in place.
struct Prepared {
    /// Its place among the backup's databases.
    place: usize,
    role: Role,
    file: PathBuf,
}

/// Puts the databases of the backup in the folder `from` in place. All roles must be stopped.
///
/// # Errors
///
/// If a role runs, or the backup or a file cannot be used. Until all databases are copied and
/// checked, nothing is changed; each is then put in place by a rename.
pub fn restore(
    roles: &Roles,
    from: &Path,
    newer: Newer,
) -> Result<Vec<(SavedDatabase, Fate)>, BackupError> {
    let manifest = Manifest::read(from)?;
    let own = roles.in_start_order();
    let _locks: Vec<PidLock> =
        own.iter().map(|role| PidLock::take(roles, *role)).collect::<Result<_, _>>()?;
    let mut fates = Vec::new();
    let mut prepared = Vec::new();
    for saved in manifest.databases {
        let role = own.iter().find(|role| role.to_string() == saved.role);
        let Some(role @ (Role::Catalog | Role::Order(_))) = role.copied() else {
            fates.push((saved, Fate::NotHere));
            continue;
        };
        if newer == Newer::Kept
            && let Some(orders) = orders_beyond(&roles.file_of(role, "db"), &saved)?
        {
            fates.push((saved, Fate::Kept(orders)));
            continue;
        }
        let file = prepare(roles, role, from, &saved)?;
        failpoint::pass(failpoint::RESTORE_STEP);
        prepared.push(Prepared { place: fates.len(), role, file });
        fates.push((saved, Fate::Restored));
    }
    if fates.iter().all(|(_, fate)| *fate == Fate::NotHere) {
        return Err(BackupError::NoRole(from.to_owned()));
    }
    for Prepared { place, role, file } in prepared {
        if let Some(aside) = put_in_place(&roles.file_of(role, "db"), &file)? {
            fates[place].1 = Fate::Replaced(aside);
        }
        failpoint::pass(failpoint::RESTORE_STEP);
    }
    sync(&roles.data_dir)?;
    Ok(fates)
}

impl Fate {
    /// Returns a line on what happened to a role's database.
    #[must_use]
    pub fn told(&self, SavedDatabase { role, orders, .. }: &SavedDatabase) -> String {
        match self {
            Self::Restored => format!("{role}: restored, {orders} orders\n"),
            Self::Replaced(aside) => {
                format!(
                    "{role}: restored, {orders} orders; what was there is {}\n",
                    aside.display()
                )
            }
            Self::Kept(present) => {
                format!("{role}: kept, {present} orders; the backup has {orders} of them\n")
            }
            Self::NotHere => format!("{role}: not restored, it is not in roles.toml\n"),
        }
    }
}

/// How many orders the database at `path` has, if it has all of the saved one's. `None` if there is
/// none, or it is damaged.
fn orders_beyond(path: &Path, saved: &SavedDatabase) -> Result<Option<u64>, BackupError> {
    if !path.exists() {
        return Ok(None);
    }
    let Ok(contents) = inspect(path) else { return Ok(None) };
    Ok(has(path, saved.end())?.then_some(contents.end.length))
}

/// Copies a database of the backup into the data folder, under a name of its own, and checks it.
fn prepare(
    roles: &Roles,
    role: Role,
    from: &Path,
    saved: &SavedDatabase,
) -> Result<PathBuf, BackupError> {
    let source = from.join(format!("{role}.db"));
    let file = with_suffix(&roles.file_of(role, "db"), ".restoring");
    // What a restore left that was killed.
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(&file, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::File(path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    fs::copy(&source, &file).map_err(|error| BackupError::File(source.clone(), error))?;
    if inspect(&file)?.end != saved.end() {
        return Err(BackupError::OtherThanTold(source));
    }
    if role == Role::Catalog {
        put_in_doubt(&file)?;
    }
    sync(&file)?;
    Ok(file)
}

/// Renames what is at `path`, and `file` to `path`. Returns the new name of what was there.
fn put_in_place(path: &Path, file: &Path) -> Result<Option<PathBuf>, BackupError> {
    let was_there = path.exists();
    // A write-ahead log without its database must not meet another one.
    let aside = rename_aside(path)?;
    failpoint::pass(failpoint::RESTORE_STEP);
    if let Err(error) = fs::rename(file, path) {
        if was_there {
            fs::rename(&aside, path).map_err(|error| BackupError::File(aside, error))?;
        }
        return Err(BackupError::File(path.to_owned(), error));
    }
    Ok(was_there.then_some(aside))
}
