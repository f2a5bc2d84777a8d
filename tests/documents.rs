//! Documents say what is: what they quote was printed, what they tell was measured, and what they
//! point to exists.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

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

/// The experiments that `docs/evaluation.md` tells of: the folders of their data.
const EXPERIMENTS: [&str; 4] = ["cache", "faults", "overhead", "sweep"];
/// Where the machine and the commit of each are.
const MACHINES: [&str; 5] = ["cache", "faults", "overhead", "sweep/loopback", "sweep/links"];

/// The summaries that the experiments wrote.
fn summaries() -> String {
    EXPERIMENTS.map(|of| text_of(&format!("eval/{of}/data/summary.md"))).concat()
}

/// What is known of the machine that an experiment was run on.
fn machine(of: &str) -> Value {
    let (experiment, network) = of.split_once('/').unwrap_or((of, ""));
    let text = text_of(&format!("eval/{experiment}/data/{network}/machine.json"));
    serde_json::from_str(&text).expect("what an experiment wrote is JSON")
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
    assert!(rows.len() >= 4, "docs/evaluation.md has {} rows of figures", rows.len());
    for row in rows {
        assert!(summaries.lines().any(|line| line == row), "no summary has this row: {row}");
    }
}

/// The numbers in a line, thousands without their commas. What belongs to a word (`p99`, `16x`) or
/// has several points (a version, an address) is none.
fn numbers(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && !['.', ',', '-'].contains(&c));
    let words = words.map(|word| word.trim_matches(['.', ',', '-']).replace(',', ""));
    let is_number = |word: &String| {
        let digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        digits && !word.is_empty() && word.matches('.').count() < 2
    };
    words.filter(is_number).collect()
}

/// It finds figures that have gone stale. Whether a number is told of the right thing is for people
/// to read.
#[test]
fn every_number_in_the_evaluation_occurs_in_the_data_or_the_settings() {
    let document = text_of("docs/evaluation.md");
    let settings = EXPERIMENTS.map(|of| text_of(&format!("eval/{of}/run.sh"))).concat();
    let machines = MACHINES.map(|of| machine(of).to_string()).concat();
    let sources = [summaries(), settings, machines, text_of("eval/deploy/README.md")].concat();
    let known: Vec<String> = sources.lines().flat_map(numbers).collect();
    let is_picture = |line: &&str| line.starts_with("<img ");
    let told = prose(&document).into_iter().filter(|line| !is_picture(line)).flat_map(numbers);
    let told: Vec<String> = told.collect();
    assert!(told.len() > 50, "docs/evaluation.md tells {} numbers", told.len());
    for number in told {
        // A share may be set as 0.2 and told as 20 %.
        let share = number.parse::<f64>().map_or(String::new(), |n| (n / 100.0).to_string());
        let is_known = known.contains(&number) || known.contains(&share);
        assert!(is_known, "{number} is in no summary and no setting");
    }
}

#[test]
fn the_evaluation_names_its_machine_and_its_commit() {
    let document = text_of("docs/evaluation.md").replace('\n', " ");
    for of in MACHINES {
        let machine = machine(of);
        assert_eq!(machine["changed_since_commit"], false, "{of}");
        let text = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
        let named = [
            format!("`{}`", text("commit")),
            text("date"),
            text("processor"),
            text("kernel"),
            format!("{} cores", machine["cores"]),
            format!("{} GiB", machine["memory_gib"]),
        ];
        for name in named {
            assert!(document.contains(&name), "docs/evaluation.md does not name {name} of {of}");
        }
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
        let links = prose.split("](").skip(1).map(|rest| rest.split([')', '#', ' ']).next());
        let pictures = prose.split("src=\"").skip(1).map(|rest| rest.split('"').next());
        for target in links.chain(pictures).flatten() {
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
fn numbers_are_told_from_what_only_has_digits() {
    let line = "0.25 ms (of 8,123 orders), p99, 5 clients, 127.0.0.1, us-east-1, `4.5`. At 16.";
    assert_eq!(numbers(line), ["0.25", "8123", "5", "4.5", "16"]);
}
