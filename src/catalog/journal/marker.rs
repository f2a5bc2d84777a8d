//! A marker beside the catalog's database that tells a normal restart from a database that was
//! restored, copied or emptied.
//!
//! # The idea
//!
//! The database and the marker hold the same token, drawn anew at each start. A database that was
//! brought from elsewhere, or brought back from before the last start, holds another one. For a
//! database that was brought back from later, the marker also holds how long the journal has been:
//!
//! ```text
//!                    database                marker (catalog.marker)
//! start              token A, 2 orders       A, at least 2 orders
//! backup taken       token A, 2 orders
//! three orders sold  token A, 5 orders       A, at least 5 orders
//! backup restored    token A, 2 orders       A, at least 5 orders: the journal went back
//! ```
//!
//! The length is written after each commit, without a sync: the kernel keeps it when the process is
//! killed. A power failure may lose it, and then it is shorter than the journal, which raises no
//! alarm. So a normal restart never waits for a replica.
//!
//! At a start the marker is written before the database, with both tokens, so that a crash between
//! the two writes is a normal restart, too.
//!
//! What a marker cannot see is a machine that was rolled back as a whole, marker included. The
//! replicas' longer logs tell, once they are heard (see
//! [`history`](crate::catalog::core::history)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::wire::order::Position;

/// What the database and the marker must agree on: a number that was drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// What the marker says of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It is as the catalog left it, as far as a marker can tell.
    Continued,
    /// It may have gone back in time: it is new, restored or copied.
    InDoubt,
}

/// The marker, open.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    file: File,
    token: Token,
}

impl Marker {
    /// Compares the marker at `path` with a database that holds `known` and whose journal ends at
    /// `journal`, and draws `fresh` as the next token: it is on disk when this returns, and the
    /// database may be given it.
    ///
    /// # Errors
    ///
    /// If the marker cannot be read or written.
    pub fn renew(
        path: &Path,
        known: Option<Token>,
        journal: Position,
        fresh: Token,
    ) -> io::Result<(Self, Past)> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let mut text = String::new();
        // A marker that is no text is none.
        let found = file.read_to_string(&mut text).ok().and_then(|_| Contents::parse(&text));
        let past = match (found, known) {
            (Some(found), Some(known)) if found.matches(known, journal) => Past::Continued,
            _ => Past::InDoubt,
        };
        let marker = Self { path: path.to_owned(), file, token: fresh };
        marker.write(known, journal)?;
        marker.file.sync_all()?;
        Ok((marker, past))
    }

    /// Notes that the journal has come to `journal`. Is not synced, see above.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn advance(&self, journal: Position) -> io::Result<()> {
        self.write(None, journal)
    }

    /// Returns where the marker is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Overwrites the contents in place, in one write of a fixed length.
    fn write(&self, earlier: Option<Token>, journal: Position) -> io::Result<()> {
        let earlier = earlier.unwrap_or(self.token);
        let contents = Contents { tokens: [self.token, earlier], journal };
        self.file.write_all_at(contents.to_text().as_bytes(), 0)
    }
}

/// What a marker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents {
    /// The database holds one of these.
    tokens: [Token; 2],
    /// The journal has come at least this far.
    journal: Position,
}

impl Contents {
    fn matches(&self, known: Token, journal: Position) -> bool {
        let went_back = journal.length < self.journal.length
            || (journal.length == self.journal.length && journal != self.journal);
        self.tokens.contains(&known) && !went_back
    }

    fn to_text(self) -> String {
        let [one, other] = self.tokens;
        let Position { length, chain } = self.journal;
        format!("{:016x} {:016x} {length:020} {chain}\n", one.0, other.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let mut token = || Some(Token(u64::from_str_radix(words.next()?, 16).ok()?));
        let tokens = [token()?, token()?];
        let length = words.next()?.parse().ok()?;
        let chain = words.next()?.parse().ok()?;
        Some(Self { tokens, journal: Position { length, chain } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::{Order, OrderNumber};
    use crate::wire::quantity::Quantity;

    fn position(length: u64, name: &str) -> Position {
        (0..length).fold(Position::START, |end, number| {
            let (number, name) = (OrderNumber(number), name.into());
            end.continued_by(&Order { number, name, quantity: Quantity::ONE, key: None })
        })
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A start of a catalog whose database holds `known` and so many orders.
        fn start(&self, known: Option<u64>, orders: u64, fresh: u64) -> (Marker, Past) {
            let path = self.0.path().join("catalog.marker");
            let journal = position(orders, "Tux");
            Marker::renew(&path, known.map(Token), journal, Token(fresh)).unwrap()
        }
    }

    #[test]
    fn a_normal_restart_is_continued_also_after_a_crash_in_the_middle_of_a_start() {
        let folder = Folder::new();
        assert_eq!(folder.start(None, 0, 1).1, Past::InDoubt, "there is no database yet");
        let (marker, past) = folder.start(Some(1), 0, 2);
        assert_eq!(past, Past::Continued);
        marker.advance(position(5, "Tux")).unwrap();
        assert_eq!(folder.start(Some(2), 5, 3).1, Past::Continued);
        // The marker was written, and the database was not.
        assert_eq!(folder.start(Some(2), 5, 4).1, Past::Continued);
        assert_eq!(folder.start(Some(4), 6, 5).1, Past::Continued, "the marker was not written");
    }

    #[test]
    fn a_database_that_was_restored_copied_emptied_or_replaced_is_in_doubt() {
        let folder = Folder::new();
        folder.start(None, 0, 1);
        let (marker, _) = folder.start(Some(1), 2, 2);
        marker.advance(position(5, "Tux")).unwrap();
        assert_eq!(folder.start(Some(2), 2, 3).1, Past::InDoubt, "restored, from the same run");
        folder.start(Some(3), 5, 4);
        folder.start(Some(4), 5, 5);
        assert_eq!(folder.start(Some(3), 5, 6).1, Past::InDoubt, "restored, from an earlier run");
        assert_eq!(folder.start(None, 0, 7).1, Past::InDoubt, "emptied");
        assert_eq!(Folder::new().start(Some(7), 0, 8).1, Past::InDoubt, "copied elsewhere");
        let path = folder.0.path().join("catalog.marker");
        let other = position(0, "Tux");
        let (marker, _) = Marker::renew(&path, None, other, Token(9)).unwrap();
        marker.advance(position(2, "Tux")).unwrap();
        let (_, past) =
            Marker::renew(&path, Some(Token(9)), position(2, "Uno"), Token(10)).unwrap();
        assert_eq!(past, Past::InDoubt, "as long, with other orders");
    }

    #[test]
    fn a_marker_that_is_damaged_raises_an_alarm() {
        let folder = Folder::new();
        folder.start(None, 0, 1);
        std::fs::write(folder.0.path().join("catalog.marker"), [0xff, 0, 1]).unwrap();
        assert_eq!(folder.start(Some(1), 0, 2).1, Past::InDoubt);
    }
}
