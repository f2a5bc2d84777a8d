//! Puts the tables that the experiments wrote into a document.
//!
//! A table of the document whose header is that of a table in some summary becomes that table. So
//! after an experiment was repeated, the document has its figures; `tests/documents.rs` finds what
//! is left to correct in the text.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Problem;

/// The header of the table that is made from each experiment's `machine.json`.
const MEASURED: &str = "| measured | at commit | on |";

/// Brings the tables of `document` up to date with the data of the experiments `names` below the
/// folder `experiments`.
pub(crate) fn update(document: &Path, experiments: &Path, names: &[&str]) -> Result<(), Problem> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut tables = vec![measured(&files_named("machine.json", experiments, names)?)?];
    for summary in files_named("summary.md", experiments, names)? {
        let text = read(&summary)?;
        tables.extend(
            blocks(&text).into_iter().filter(|block| is_table(block)).map(|block| block.join("\n")),
        );
    }
    let text = read(document)?;
    let updated = replaced(&text, &tables);
    if updated != text {
        fs::write(document, updated).map_err(|error| format!("{}: {error}", document.display()))?;
    }
    Ok(())
}

/// The files of a name in each experiment's `data` or in a folder there, sorted.
fn files_named(name: &str, experiments: &Path, names: &[&str]) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Vec::new();
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, Problem> {
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        Ok(entries.collect::<Result<_, _>>()?)
    };
    for experiment in names {
        let data = experiments.join(experiment).join("data");
        // One that was not run yet has none.
        if data.join("summary.md").is_file() {
            let inner = entries(&data)?.into_iter().filter(|path| path.is_dir());
            found.extend(inner.chain([data.clone()]).map(|folder| folder.join(name)));
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// A line for each experiment, with the commit and the day.
fn measured(machines: &[PathBuf]) -> Result<String, Problem> {
    let mut table = format!("{MEASURED}\n|---|---|---|");
    for path in machines {
        let text = fs::read_to_string(path)?;
        let field = |key: &str| {
            // As `eval/cluster.sh` writes it: a key and its value on a line of their own.
            let (_, rest) = text.split_once(&format!("\"{key}\": \""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let (commit, date) = field("commit")
            .zip(field("date"))
            .ok_or_else(|| format!("{} does not say at which commit and when", path.display()))?;
        let folders: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let place = folders.iter().rposition(|part| part == "data").ok_or("data are in data")?;
        let name = match &folders[place + 1..folders.len() - 1] {
            [network] => format!("{}, {network}", folders[place - 1]),
            _ => folders[place - 1].to_string(),
        };
        write!(table, "\n| {name} | `{commit}` | {date} |")?;
    }
    Ok(table)
}

/// What stands between empty lines.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    text.split('\n').collect::<Vec<_>>().split(|line| line.is_empty()).map(<[_]>::to_vec).collect()
}

fn is_table(block: &[&str]) -> bool {
    block.len() > 2 && block.iter().all(|line| line.starts_with('|'))
}

/// The text with each table replaced by the one of `tables` that has the same header.
fn replaced(text: &str, tables: &[String]) -> String {
    let with_header =
        |header: &str| tables.iter().find(|table| table.lines().next() == Some(header));
    let mut lines: Vec<&str> = Vec::new();
    for (number, block) in blocks(text).into_iter().enumerate() {
        if number > 0 {
            lines.push("");
        }
        let newer = if is_table(&block) { with_header(block[0]) } else { None };
        match newer {
            Some(table) => lines.extend(table.lines()),
            None => lines.extend(block),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_by_the_one_with_its_header() {
        let text =
            "# A title\n\n| p | ms |\n|---|---|\n| 0 | 1 |\n\n\nText.\n\n| other |\n|---|\n| 1 |\n";
        let newer =
            ["| q | ms |\n|---|---|\n| 0 | 3 |", "| p | ms |\n|---|---|\n| 0 | 2 |\n| 1 | 2 |"];
        let expected = text.replace("| 0 | 1 |", "| 0 | 2 |\n| 1 | 2 |");
        assert_eq!(replaced(text, &newer.map(str::to_owned)), expected);
    }

    #[test]
    fn the_evaluation_has_the_tables_of_the_newest_data() {
        is_up_to_date("evaluation", "faults");
    }

    #[test]
    fn the_page_on_performance_has_the_tables_of_the_newest_data() {
        is_up_to_date("performance", "bench");
    }

    /// `experiment` is one whose run updates the document.
    fn is_up_to_date(name: &str, experiment: &str) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let script = fs::read_to_string(repository.join("eval/cluster.sh")).expect("it is there");
        // `update_document evaluation cache contention …`, as the script has it.
        let (_, names) = script.split_once(&format!("update_document {name} ")).expect("a call");
        let names: Vec<&str> = names.lines().next().expect("a line").split(' ').collect();
        let document = repository.join(format!("docs/{name}.md"));
        let before = fs::read_to_string(&document).expect("the document is there");
        let copy = std::env::temp_dir().join(format!("plots-{name}-{}.md", std::process::id()));
        fs::copy(&document, &copy).expect("a document can be copied");
        let updated = update(&copy, &repository.join("eval"), &names);
        let after = fs::read_to_string(&copy).expect("a copy can be read");
        fs::remove_file(&copy).expect("a copy can be removed");
        updated.expect("the tables can be put in");
        assert!(before == after, "bring docs/{name}.md up to date: eval/{experiment}/run.sh draw");
    }
}
