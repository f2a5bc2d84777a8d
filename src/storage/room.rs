//! Whether there is room to write beside a database, found out before a transaction needs it.
//!
//! A database notices that its disk is full only when it is written to. So a self-check writes
//! a file of [`ROOM`] bytes, without a sync, and empties it again: the file system reserves
//! the blocks, or says that it cannot. The file has no name once it is open, so a crash leaves
//! nothing behind.
//!
//! That takes a good part of an idle role's time. While the file system says that it has far more
//! space, one check writes and those of the next [`LONGEST_UNWRITTEN`] do not. (It says nothing of
//! quotas.)

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::ffi;
use rustix::fs::{StatVfsMountFlags, fstatvfs};

use crate::clock;

/// What must be free: more than the largest transaction, a batch of 256 purchases with the longest
/// keys, adds to the write-ahead log.
const ROOM: usize = 256 << 10;
/// Bytes that are free on a disk that is not nearly full: more than all roles of a machine write
/// between two checks.
const AMPLE: u64 = 1 << 30;
/// How long a file system is believed that it has ample space. With the pause before the next check
/// and what a front-end takes to hear of it, a quota is told within a second.
const LONGEST_UNWRITTEN: Duration = Duration::from_millis(350);

/// The file that is written, and what it is filled with.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
    file: Option<File>,
    filling: Vec<u8>,
    /// When it was last written, if that worked.
    written: Option<Instant>,
}

impl Room {
    /// The room beside the database at `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        let filling = vec![0; ROOM];
        Self { path: path.with_extension("room"), file: None, filling, written: None }
    }

    /// Checks that [`ROOM`] bytes can be written.
    ///
    /// # Errors
    ///
    /// As SQLite would report it: the disk is full, or the file system is read-only.
    pub(crate) fn check(&mut self) -> rusqlite::Result<()> {
        self.check_at(clock::now(), has_ample_space)
    }

    fn check_at(&mut self, now: Instant, is_ample: fn(&File) -> bool) -> rusqlite::Result<()> {
        let is_recent = self.written.is_some_and(|written| now < written + LONGEST_UNWRITTEN);
        if is_recent && self.file.as_ref().is_some_and(is_ample) {
            return Ok(());
        }
        let written = self.write();
        self.written = written.is_ok().then_some(now);
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

/// Whether the file system of a file says that it has ample space, and takes writes.
fn has_ample_space(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|found| {
        found.f_bavail.saturating_mul(found.f_frsize) >= AMPLE
            && !found.f_flag.contains(StatVfsMountFlags::RDONLY)
    })
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

    /// When a file was last written, by checks after these times in milliseconds.
    fn written(checks: [u64; 5], is_ample: fn(&File) -> bool) -> [u64; 5] {
        let folder = tempfile::tempdir().unwrap();
        let (mut room, start) = (Room::beside(&folder.path().join("catalog.db")), clock::now());
        checks.map(|after| {
            assert_eq!(room.check_at(start + Duration::from_millis(after), is_ample), Ok(()));
            let written = room.written.unwrap() - start;
            u64::try_from(written.as_millis()).unwrap()
        })
    }

    #[test]
    fn a_file_system_is_believed_for_a_while_that_it_has_space() {
        let checks = [0, 200, 349, 350, 600];
        assert_eq!(written(checks, |_| true), [0, 0, 0, 350, 350]);
        assert_eq!(written(checks, |_| false), checks, "the disk is nearly full");
    }

    #[test]
    fn what_the_kernel_says_nothing_of_has_no_ample_space() {
        assert!(!has_ample_space(&File::open("/proc/self/stat").unwrap()));
    }

    #[test]
    fn a_disk_that_was_full_is_written_at_the_next_check() {
        let (mut room, now) = (Room::beside(Path::new("catalog.db")), clock::now());
        room.written = Some(now);
        room.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let later = now + LONGEST_UNWRITTEN;
        for _ in 0..2 {
            // Emptying this file fails, which must not hide that it is full.
            assert_eq!(room.check_at(later, |_| true), Err(failure(ffi::SQLITE_FULL)));
        }
    }
}
