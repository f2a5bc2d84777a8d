//! Draws an experiment's figures from its data, and writes its tables.
//!
//! `plots EXPERIMENT DATA FIGURES` reads the CSV files in the folder DATA, writes SVG files to the
//! folder FIGURES, and `summary.md`, with every number that the documents quote, to DATA. `plots
//! document FILE EXPERIMENTS NAME…` puts the tables of the summaries of the experiments NAME below
//! the folder EXPERIMENTS into a document.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers become pixels"
)]
#![allow(clippy::print_stderr, reason = "a program speaks to its terminal")]
#![allow(clippy::float_cmp, reason = "settings are compared as they were read from the same file")]

mod bench;
mod cache;
mod chart;
#[cfg(test)]
mod committed;
mod data;
mod document;
mod faults;
mod statistics;
mod sweep;

use std::path::Path;
use std::process::ExitCode;

/// What went wrong, for a person.
type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let drawn = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bench", data, figures] => bench::draw(Path::new(data), Path::new(figures)),
        ["cache", data, figures] => cache::draw(Path::new(data), Path::new(figures)),
        ["sweep", data, figures] => sweep::draw(Path::new(data), Path::new(figures)),
        ["faults", data, figures] => faults::draw(Path::new(data), Path::new(figures)),
        ["document", file, experiments, ref names @ ..] => {
            document::update(Path::new(file), Path::new(experiments), names)
        }
        _ => Err("usage: plots bench|cache|sweep|faults DATA FIGURES, or document FILE \
                  EXPERIMENTS NAME…"
            .into()),
    };
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("plots: {problem}");
            ExitCode::FAILURE
        }
    }
}
