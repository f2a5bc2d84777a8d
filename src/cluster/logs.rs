//! The roles' log files: their last lines, and all of them as they grow.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::Cluster;
use super::terminal::{Colour, Palette};
use crate::pid_lock::FileId;

/// How many lines of a log explain why a role did not start.
const LAST_LINES: usize = 15;
/// How much of a log is read for them.
const LAST_BYTES: u64 = 64 << 10;

/// The colours of the prefixes, in turn.
const COLOURS: [Colour; 6] =
    [Colour::Red, Colour::Green, Colour::Yellow, Colour::Blue, Colour::Magenta, Colour::Cyan];

/// How long a log is; 0 if there is none.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Writes an empty line to a log in which a role has written nothing, to find out why.
pub(super) fn try_to_write(path: &Path) -> io::Result<()> {
    let mut log = File::options().append(true).create(true).open(path)?;
    log.write_all(b"\n")
}

/// The last lines of a log after its first `from` bytes.
pub(super) fn last_lines(path: &Path, from: u64) -> Vec<String> {
    let from = from.max(length(path).saturating_sub(LAST_BYTES));
    let read = || {
        let mut file = File::open(path)?;
        let _position = file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        let _count = file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(ToString::to_string).collect()
}

/// Shows the logs of all roles, each line with its role before it.
pub(super) struct Logs(Vec<LogFile>);

/// One log, as far as it was shown.
struct LogFile {
    path: PathBuf,
    prefix: String,
    open: Option<(File, FileId)>,
    position: u64,
    /// The beginning of a line that is not complete yet.
    rest: Vec<u8>,
}

impl Logs {
    /// Shows what the roles write from now on.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let roles = cluster.roles.in_start_order();
        let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
        let width = names.iter().map(String::len).max().unwrap_or_default();
        let palette = Palette::of_stdout();
        let logs =
            roles.iter().zip(names).zip(COLOURS.iter().cycle()).map(|((role, name), colour)| {
                let path = cluster.roles.file_of(*role, "log");
                let position = length(&path);
                let prefix = palette.paint(*colour, &format!("{name:<width$} | "));
                LogFile { path, prefix, open: None, position, rest: Vec::new() }
            });
        Self(logs.collect())
    }

    /// Shows what was written since the last time.
    ///
    /// # Errors
    ///
    /// If standard output is closed.
    pub(super) fn show(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for log in &mut self.0 {
            for line in log.new_lines() {
                out.write_all(log.prefix.as_bytes())?;
                out.write_all(&line)?;
            }
        }
        out.flush()
    }
}

impl LogFile {
    /// The lines that were completed since the last call. A log that cannot be read has none.
    fn new_lines(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.rest);
        self.read_into(&mut bytes);
        if self.is_another_file() {
            // The data folder was removed, and a role has begun a new log.
            self.open = None;
            self.position = 0;
            self.read_into(&mut bytes);
        }
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(|line| !line.ends_with(b"\n")) {
            self.rest = lines.pop().unwrap_or_default();
        }
        lines
    }

    fn read_into(&mut self, bytes: &mut Vec<u8>) {
        let mut read = || {
            if self.open.is_none() {
                let file = File::open(&self.path)?;
                let id = FileId::of(&file.metadata()?);
                self.open = Some((file, id));
            }
            let Some((file, _)) = &mut self.open else { return Ok(0) };
            if file.metadata()?.len() < self.position {
                self.position = 0; // It was emptied.
            }
            let _position = file.seek(SeekFrom::Start(self.position))?;
            file.read_to_end(bytes)
        };
        let count = read().unwrap_or_default();
        self.position += u64::try_from(count).expect("a length fits 64 bits");
    }

    fn is_another_file(&self) -> bool {
        let named = std::fs::metadata(&self.path).map(|metadata| FileId::of(&metadata));
        match (&self.open, named) {
            (Some((_, id)), Ok(named)) => named != *id,
            (None, _) | (_, Err(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &Path) -> LogFile {
        let position = length(path);
        LogFile {
            path: path.to_owned(),
            prefix: String::new(),
            open: None,
            position,
            rest: Vec::new(),
        }
    }

    fn new_lines(log: &mut LogFile) -> String {
        String::from_utf8(log.new_lines().concat()).unwrap()
    }

    #[test]
    fn a_log_is_followed_from_where_it_ended_also_into_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.log");
        std::fs::write(&path, "old\n").unwrap();
        let mut log = log(&path);
        assert_eq!(new_lines(&mut log), "");
        std::fs::write(&path, "old\nfirst\nsec").unwrap();
        assert_eq!(new_lines(&mut log), "first\n");
        std::fs::write(&path, "old\nfirst\nsecond\n").unwrap();
        assert_eq!(new_lines(&mut log), "second\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(new_lines(&mut log), "");
        std::fs::write(&path, "a new file\n").unwrap();
        assert_eq!(new_lines(&mut log), "a new file\n");
    }

    #[test]
    fn the_last_lines_are_those_of_this_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.log");
        std::fs::write(&path, "before\nfirst\nlast\n").unwrap();
        assert_eq!(last_lines(&path, 7), ["first", "last"]);
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        std::fs::write(&path, many.join("\n")).unwrap();
        assert_eq!(last_lines(&path, 0), many[85..]);
        assert!(last_lines(&folder.path().join("none.log"), 0).is_empty());
    }
}
