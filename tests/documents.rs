//! Documents say what is: what they quote was printed, what they tell was measured, and what they
//! point to exists.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders that have documents.
const FOLDERS: [&str; 7] = [".", "docs", "eval", "fuzz", "src", "tests", "benches"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    let text = fs::read_to_string(root().join(path));
    text.map_err(|error| format!("{path}: {error}")).expect("documents and data are there")
}

/// What is in fences that are opened as `fence`.
fn blocks<'a>(text: &'a str, fence: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside && line == fence;
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

/// What is in no fence.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    outside.collect()
}

/// The summaries that the experiments wrote.
fn summaries() -> String {
    let data = ["cache", "faults", "overhead", "sweep"];
    data.map(|experiment| text_of(&format!("eval/{experiment}/data/summary.md"))).concat()
}

/// Whether a line is what was printed, where `…` stands for anything.
fn quotes(line: &str, printed: &str) -> bool {
    let Some((start, rest)) = line.split_once('…') else { return line == printed };
    let (middle, end) = rest.rsplit_once('…').unwrap_or(("", rest));
    let inner = printed.strip_prefix(start).and_then(|inner| inner.strip_suffix(end));
    inner.is_some_and(|inner| inner.contains(middle))
}

#[test]
fn the_sample_session_is_quoted_as_it_was_recorded() {
    let (output, readme) = (text_of("docs/output.md"), text_of("README.md"));
    let session = text_of("eval/session/data/session.txt");
    let (_, breaking) = readme.split_once("## Break it").expect("the README breaks the store");
    let (breaking, _) = breaking.split_once("\n## ").expect("it has more sections");
    for (document, least) in [(output.as_str(), 60), (breaking, 10)] {
        let quoted = blocks(document, "```console");
        assert!(quoted.len() >= least, "{} lines are quoted", quoted.len());
        let mut recorded = session.lines();
        for line in quoted.into_iter().filter(|line| *line != "…") {
            let found = recorded.any(|printed| quotes(line, printed));
            assert!(found, "not recorded, or not in this order: {line}");
        }
    }
}

#[test]
fn the_tables_of_the_evaluation_are_rows_of_the_summaries() {
    let (document, summaries) = (text_of("docs/evaluation.md"), summaries());
    let rows: Vec<&str> = prose(&document)
        .into_iter()
        .filter(|line| line.starts_with('|') && line.contains(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(rows.len() > 10, "docs/evaluation.md has {} rows of figures", rows.len());
    for row in rows {
        assert!(summaries.lines().any(|line| line == row), "no summary has this row: {row}");
    }
}

/// Numbers with a decimal point, and those of thousands (`12,345`, told without the commas).
fn figures(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
    let numbers = line.split(|c| !is_part(c)).map(|word| word.trim_matches(['.', ',']));
    let numbers =
        numbers.filter(|word| word.contains(['.', ','])).map(|word| word.replace(',', ""));
    // Two points make an address or a version.
    numbers.filter(|word| word.matches('.').count() < 2).collect()
}

#[test]
fn the_figures_in_the_evaluation_are_in_the_summaries() {
    let (document, summaries) = (text_of("docs/evaluation.md"), summaries());
    let measured: Vec<&str> = summaries
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|n| n.trim_matches('.'))
        .collect();
    let lines = prose(&document);
    let told = lines.iter().filter(|line| !line.starts_with('|')).flat_map(|line| figures(line));
    let told: Vec<String> = told.collect();
    assert!(told.len() > 5, "docs/evaluation.md tells {} figures", told.len());
    for figure in told {
        assert!(measured.contains(&figure.as_str()), "{figure} is in no summary");
    }
}

#[test]
fn links_between_files_lead_somewhere() {
    let mut documents: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.map(|folder| root().join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            } else if path.is_dir() && folder != root().join(".") {
                folders.push(path);
            }
        }
    }
    assert!(documents.len() > 8, "{} documents", documents.len());
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document is text");
        let prose = prose(&text).join("\n");
        for (_, rest) in prose.match_indices("](").map(|(at, _)| prose.split_at(at + 2)) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = document.parent().expect("a file is in a folder");
            let (from, there) = (document.display(), folder.join(target));
            assert!(there.exists(), "{from} points to {target}, which does not exist");
        }
    }
}

#[test]
fn what_is_left_out_of_a_line_may_be_anything() {
    assert!(quotes("a … c", "a b c") && quotes("… b …", "a b c") && quotes("a b c", "a b c"));
    assert!(!quotes("a … d", "a b c") && !quotes("a", "a b c") && !quotes("… d …", "a b c"));
}

#[test]
fn figures_are_told_from_other_numbers() {
    let line = "0.25 ms (of 8,123 orders), 5 clients, 127.0.0.1, 3 s. At 4.5.";
    assert_eq!(figures(line), ["0.25", "8123", "4.5"]);
}
