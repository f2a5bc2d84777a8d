//! The files that make a process a role: its locked pid file and its database.
//!
//! The lock, not the number in the file, tells that the process lives: the kernel releases it when
//! the process ends, for whatever reason, while process ids are used again.
//!
//! A name can come to mean another file while a role runs: the data folder is removed, or a backup
//! is copied over a database. The role would go on writing to files without a name, which a restart
//! does not find. So a running role compares the files that it holds with those that bear their
//! names now, by device and inode, and ends when they differ. (PostgreSQL does the same with
//! `postmaster.pid`.)

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::process::RoleError;
use crate::roles::{Role, Roles};

/// How often a role compares. A role whose files are gone has to end within two seconds; a check is
/// three calls of `stat`.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What SQLite writes beside a database. Both files exist while a connection is open, and the
/// transactions of the last seconds may be in the first of them only.
const BESIDE_THE_DATABASE: [&str; 2] = ["db-wal", "db-shm"];

/// A role's place in the data folder: its locked pid file.
#[derive(Debug)]
pub struct PidLock {
    role: Role,
    files: HeldFiles,
    /// None for a front-end whose folder cannot be written.
    _lock: Option<File>,
}

/// How a file stopped being the one that a role holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No file bears its name.
    Removed,
    /// Another file bears its name.
    Replaced,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// The files that must stay what they are while a role runs. The first is the pid file.
#[derive(Clone, Debug)]
struct HeldFiles(Vec<HeldFile>);

/// One of them. It has no id until the role has opened it.
#[derive(Clone, Debug)]
struct HeldFile {
    path: PathBuf,
    id: Option<FileId>,
}

impl PidLock {
    /// Creates the data folder if need be, and locks the role's pid file in it. A front-end, which
    /// writes no other file, goes on without one where the folder cannot be written.
    ///
    /// # Errors
    ///
    /// If another process holds the lock, or a role with a database cannot write the folder.
    pub fn take(roles: &Roles, role: Role) -> Result<Self, RoleError> {
        match (Self::in_folder(roles, role), role) {
            (Err(RoleError::Folder(path, error)), Role::Frontend(_)) => {
                log::warn!(
                    "cannot write {}: {error}; {role} goes on without a pid file",
                    path.display()
                );
                Ok(Self { role, files: HeldFiles(Vec::new()), _lock: None })
            }
            (taken, _) => taken,
        }
    }

    fn in_folder(roles: &Roles, role: Role) -> Result<Self, RoleError> {
        let folder = &roles.data_dir;
        std::fs::create_dir_all(folder)
            .map_err(|error| RoleError::Folder(folder.clone(), error))?;
        let path = roles.file_of(role, "pid");
        let failed = |error| RoleError::Folder(path.clone(), error);
        let mut file = lock(&path, role)?;
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        let id = FileId::of(&file.metadata().map_err(failed)?);
        let mut files = vec![HeldFile { path, id: Some(id) }];
        if matches!(role, Role::Catalog | Role::Order(_)) {
            let kinds = std::iter::once("db").chain(BESIDE_THE_DATABASE);
            files.extend(kinds.map(|kind| HeldFile { path: roles.file_of(role, kind), id: None }));
        }
        Ok(Self { role, files: HeldFiles(files), _lock: Some(file) })
    }

    /// Waits until the pid file or the database is no longer the file that the role holds, and
    /// says so. To be polled only after the role has opened its database.
    ///
    /// A thread of its own compares: the role must go on while a disk is slow, and need not wake up
    /// to hear that all is well.
    pub async fn lost(&self) -> RoleError {
        let (role, mut files) = (self.role, self.files.clone());
        let (_waits, gone) = mpsc::channel::<()>();
        let (found, lost) = oneshot::channel();
        let compare = move || {
            loop {
                files.note_opened();
                if let Some((path, loss)) = files.first_lost() {
                    let _role_ends_anyway = found.send(RoleError::FileLost { role, path, loss });
                    return;
                }
                if gone.recv_timeout(CHECK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("files-watch".into()).spawn(compare);
        if let Err(error) = thread {
            return RoleError::Thread(error);
        }
        lost.await.unwrap_or(RoleError::Panicked("the check of the role's files"))
    }
}

impl Drop for PidLock {
    /// Removes the pid file, unless its name is another process's by now.
    fn drop(&mut self) {
        if self.files.first_lost().is_some() {
            return;
        }
        let Some(HeldFile { path, .. }) = self.files.0.first() else { return };
        if let Err(error) = std::fs::remove_file(path) {
            log::warn!("cannot remove the pid file {}: {error}", path.display());
        }
    }
}

impl HeldFiles {
    /// Notes the ids of the files that the role has opened since the last check. A name whose file
    /// this process does not have open is left for the next check.
    fn note_opened(&mut self) {
        if self.0.iter().all(|file| file.id.is_some()) {
            return;
        }
        let open = open_files();
        for file in self.0.iter_mut().filter(|file| file.id.is_none()) {
            let named = std::fs::metadata(&file.path).ok().map(|metadata| FileId::of(&metadata));
            file.id = named.filter(|id| open.contains(id));
        }
    }

    /// The first file that is no longer the one that its name leads to.
    fn first_lost(&self) -> Option<(PathBuf, Loss)> {
        self.0.iter().find_map(|file| {
            let held = file.id?;
            let loss = match std::fs::metadata(&file.path) {
                Ok(named) if FileId::of(&named) == held => return None,
                Ok(_another) => Loss::Replaced,
                Err(error) if is_missing(&error) => Loss::Removed,
                // It cannot be told now, as when a permission is missing. The next check may tell.
                Err(_unknown) => return None,
            };
            Some((file.path.clone(), loss))
        })
    }
}

impl FileId {
    /// The id of the file that has this metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Nothing bears the name, or its folder has become something else.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The files that this process has open.
fn open_files() -> Vec<FileId> {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    descriptors
        .filter_map(|descriptor| std::fs::metadata(descriptor.ok()?.path()).ok())
        .map(|metadata| FileId::of(&metadata))
        .collect()
}

/// Opens and locks the pid file.
///
/// A role that ends removes its file. A process that opened the file just before, and locks it just
/// after, holds a file without a name, which excludes no other process; so the lock counts only if
/// the name still leads to the locked file.
fn lock(path: &Path, role: Role) -> Result<File, RoleError> {
    let error = |error| RoleError::Folder(path.to_owned(), error);
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RoleError::AlreadyRunning(role, path.to_owned()));
            }
            Err(TryLockError::Error(cause)) => return Err(error(cause)),
        }
        let locked = FileId::of(&file.metadata().map_err(error)?);
        if std::fs::metadata(path).is_ok_and(|named| FileId::of(&named) == locked) {
            return Ok(file);
        }
    }
}
