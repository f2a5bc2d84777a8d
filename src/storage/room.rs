//! Whether there is room to write beside a database, found out before a transaction needs it.
//!
//! A database notices that its disk is full only when it is written to. So each self-check writes
//! a file of [`ROOM`] bytes, without a sync, and empties it again: the file system reserves
//! the blocks, or says that it cannot. The file has no name once it is open, so a crash leaves
//! nothing behind.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// What must be free: more than the largest transaction, a batch of 256 purchases with the longest
/// keys, adds to the write-ahead log.
const ROOM: usize = 256 << 10;

/// The file that is written, and what it is filled with.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
    file: Option<File>,
    filling: Vec<u8>,
}

impl Room {
    /// The room beside the database at `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        Self { path: path.with_extension("room"), file: None, filling: vec![0; ROOM] }
    }

    /// Checks that [`ROOM`] bytes can be written.
    ///
    /// # Errors
    ///
    /// As SQLite would report it: the disk is full, or the file system is read-only.
    pub(crate) fn check(&mut self) -> rusqlite::Result<()> {
        let written = self.write();
        match written.map_err(|error| error.kind()) {
            Err(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(failure(ffi::SQLITE_FULL))
            }
            Err(ErrorKind::ReadOnlyFilesystem) => Err(failure(ffi::SQLITE_READONLY)),
            // Other errors say nothing about the database, whose own writes will tell.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(create_unnamed(&self.path)?),
        };
        file.rewind()?;
        let written = file.write_all(&self.filling);
        // Also after an error: what was written must not keep the disk full.
        let emptied = file.set_len(0);
        written.and(emptied)
    }
}

fn create_unnamed(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_leaves_no_file_and_takes_no_space() {
        let folder = tempfile::tempdir().unwrap();
        let mut room = Room::beside(&folder.path().join("catalog.db"));
        for _ in 0..2 {
            assert_eq!(room.check(), Ok(()));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            assert_eq!(room.file.as_ref().unwrap().metadata().unwrap().len(), 0);
        }
    }

    #[test]
    fn a_full_disk_is_found_full() {
        let mut room = Room::beside(Path::new("catalog.db"));
        room.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let found = room.write().map_err(|error| error.kind());
        assert_eq!(found, Err(ErrorKind::StorageFull));
    }
}
