//! The files in the `--out` folder.

use std::io;
use std::path::{Path, PathBuf};

use super::{Report, csv};

/// Their names, in the order of their contents below.
const NAMES: [&str; 5] =
    ["report.json", "latencies.csv", "histograms.csv", "statuses.csv", "orders.csv"];

/// A file or folder that could not be written.
pub(crate) type CannotWrite = (PathBuf, io::Error);

/// Makes the folder.
pub(crate) fn make(folder: &Path) -> Result<(), CannotWrite> {
    std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))
}

/// Checks that all files can be written, which is better known before a long run than after it. It
/// changes no file: a run that is broken off leaves none, and destroys none of an earlier run.
pub(crate) fn try_to_write(folder: &Path) -> Result<(), CannotWrite> {
    NAMES.map(|name| folder.join(name)).into_iter().try_for_each(|path| {
        let existed = path.exists();
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        let removed = || if existed { Ok(()) } else { std::fs::remove_file(&path) };
        opened.and_then(|_file| removed()).map_err(|error| (path, error))
    })
}

/// Writes all files.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<(), CannotWrite> {
    let texts = [
        json(report),
        csv::latencies(report),
        csv::histograms(report),
        csv::statuses(report),
        csv::orders(report),
    ];
    NAMES.iter().zip(texts).try_for_each(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| (path, error))
    })
}

/// `report.json`, which `--format json` prints, too.
pub(crate) fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("the maps of a report have strings as keys") + "\n"
}
