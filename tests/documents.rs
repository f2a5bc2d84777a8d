//! Documents say what is: what they quote was printed, what they tell was measured, what they point
//! to exists, and what was recorded names its commit. And they are as short as they have to be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folders that have documents.
const FOLDERS: [&str; 6] = [".", "docs", "eval", "fuzz", "src", "tests"];

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
const EXPERIMENTS: [&str; 6] = ["cache", "contention", "faults", "hostile", "overhead", "sweep"];
/// Where the machine and the commit of each are.
const MACHINES: [&str; 7] =
    ["cache", "contention", "faults", "hostile", "overhead", "sweep/loopback", "sweep/links"];

/// The assignment's limits for documents, in words: two pages have 1,150 at most, three pages with
/// figures and tables 1,100.
const MOST_WORDS: [(&str, usize); 4] = [
    ("docs/design.md", 1_150),
    ("docs/output.md", 1_000),
    ("docs/evaluation.md", 1_100),
    // One page, and as much again for its tables.
    ("docs/performance.md", 1_300),
];
/// What else three pages hold.
const MOST_FIGURES: usize = 4;

/// The summaries that the experiments wrote.
fn summaries() -> String {
    EXPERIMENTS.map(|of| text_of(&format!("eval/{of}/data/summary.md"))).concat()
}

/// The summaries that `docs/performance.md` tells of.
fn summaries_of_performance() -> String {
    ["bench", "profile"].map(|of| text_of(&format!("eval/{of}/data/summary.md"))).concat()
}

/// What is known of the machines that its rows were measured on.
fn machines_of_performance() -> Vec<Value> {
    let rows = fs::read_dir(root().join("eval/bench/data")).expect("there are data");
    let rows = rows.map(|entry| entry.expect("a folder can be read").file_name());
    let rows = rows.filter_map(|name| name.into_string().ok());
    let rows: Vec<String> = rows.filter(|name| name != "summary.md").collect();
    assert!(rows.len() > 8, "{} rows were measured", rows.len());
    let rows = rows.into_iter().map(|row| machine(&format!("bench/{row}")));
    rows.chain([machine("profile")]).collect()
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

/// The first of `lines` that is not printed behind those before it. A line `…` leaves any out.
fn first_unprinted<'a>(lines: &[&'a str], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines();
    let quoted = lines.iter().filter(|line| **line != "…");
    quoted.copied().find(|line| !printed.any(|one| quotes(line, one)))
}

#[test]
fn the_sample_session_is_quoted_as_it_was_recorded() {
    let (output, readme) = (text_of("docs/output.md"), text_of("README.md"));
    let session = text_of("eval/session/data/session.txt");
    let (tour, _) = readme.split_once("\n## Test it").expect("the README's tour ends there");
    for (document, least) in [(output.as_str(), 60), (tour, 60)] {
        let quoted = blocks(document, "```console");
        assert!(quoted.len() >= least, "{} lines are quoted", quoted.len());
        let missing = first_unprinted(&quoted, &session);
        assert_eq!(missing, None, "not recorded, or not in this order");
    }
}

/// Where the conversations between the roles are, and how a quote of one begins.
const TRANSCRIPTS: &str = "tests/simulator/transcripts/";

#[test]
fn conversations_are_quoted_as_the_simulator_wrote_them() {
    let mut quoted = BTreeSet::new();
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document is text");
        for block in text.split("\n```text\n").skip(1) {
            let Some((block, _)) = block.split_once("\n```") else { continue };
            let Some((name, lines)) = block.split_once('\n') else { continue };
            if !name.starts_with(TRANSCRIPTS) {
                continue;
            }
            let lines: Vec<&str> = lines.lines().collect();
            let missing = first_unprinted(&lines, &text_of(name));
            assert_eq!(missing, None, "{}: not in {name} in this order", document.display());
            quoted.insert(name.to_owned());
        }
    }
    let all = fs::read_dir(root().join(TRANSCRIPTS)).expect("a folder can be read").count();
    assert_eq!(quoted.len(), all, "each conversation is quoted somewhere; these are: {quoted:?}");
}

#[test]
fn documents_are_as_short_as_the_assignment_wants_them() {
    for (document, most) in MOST_WORDS {
        // A dash, a column's border or a sign is no word.
        let is_word = |word: &&str| word.contains(char::is_alphanumeric);
        let words = text_of(document).split_whitespace().filter(is_word).count();
        assert!(words <= most, "{document} has {words} words; {most} are the limit");
    }
    let evaluation = text_of("docs/evaluation.md");
    let figures = evaluation.matches("![").count() + evaluation.matches("<img ").count();
    assert!(figures <= MOST_FIGURES, "docs/evaluation.md shows {figures} figures");
}

#[test]
fn the_tables_of_the_evaluation_are_rows_of_the_summaries() {
    let document = text_of("docs/evaluation.md");
    let measured = MACHINES.map(|of| {
        let (machine, name) = (machine(of), of.replace('/', ", "));
        let text = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
        format!("| {name} | `{}` | {} |\n", text("commit"), text("date"))
    });
    has_rows_of(&document, &(summaries() + &measured.concat()));
}

#[test]
fn the_tables_of_the_page_on_performance_are_rows_of_the_summaries() {
    has_rows_of(&text_of("docs/performance.md"), &summaries_of_performance());
}

fn has_rows_of(document: &str, summaries: &str) {
    let rows: Vec<&str> = prose(document)
        .into_iter()
        .filter(|line| line.starts_with('|') && line.contains(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(rows.len() >= 4, "there are {} rows of figures", rows.len());
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
    let settings = settings + &text_of("eval/cluster.sh");
    let machines = MACHINES.map(|of| machine(of).to_string()).concat();
    let sources = [summaries(), settings, machines, text_of("eval/deploy/README.md")].concat();
    tells_numbers_of(&document, &sources);
}

#[test]
fn every_number_in_the_page_on_performance_occurs_in_the_data_or_the_settings() {
    let settings = ["bench/run.sh", "bench/rows.sh", "bench/systems.sh", "profile/order.sh"];
    let settings = settings.map(|name| text_of(&format!("eval/{name}"))).concat();
    let counts = text_of("benches/counts.sh");
    let machines = machines_of_performance().iter().map(Value::to_string).collect::<String>();
    let sources = [summaries_of_performance(), settings, counts, machines].concat();
    tells_numbers_of(&text_of("docs/performance.md"), &sources);
}

fn tells_numbers_of(document: &str, sources: &str) {
    let known: Vec<String> = sources.lines().flat_map(numbers).collect();
    let is_picture = |line: &&str| line.starts_with("<img ");
    let told = prose(document).into_iter().filter(|line| !is_picture(line)).flat_map(numbers);
    let told: Vec<String> = told.collect();
    assert!(told.len() > 50, "{} numbers are told", told.len());
    for number in told {
        // A share may be set as 0.2 and told as 20 %.
        let share = number.parse::<f64>().map_or(String::new(), |n| (n / 100.0).to_string());
        let is_known = known.contains(&number) || known.contains(&share);
        assert!(is_known, "{number} is in no summary and no setting");
    }
}

#[test]
fn the_evaluation_names_its_machine_and_its_commit() {
    names_machines("docs/evaluation.md", MACHINES.map(machine));
}

#[test]
fn the_page_on_performance_names_its_machine_and_its_commit() {
    names_machines("docs/performance.md", machines_of_performance());
}

fn names_machines(document: &str, machines: impl IntoIterator<Item = Value>) {
    let text_of_document = text_of(document).replace('\n', " ");
    for machine in machines {
        assert_eq!(machine["changed_since_commit"], false, "{machine}");
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
            assert!(text_of_document.contains(&name), "{document} does not name {name}");
        }
    }
}

/// The commits that a record names: in each line of JSON, in the column of a table that is called
/// so, or after that word in the first line.
fn commits(path: &Path, text: &str) -> Vec<String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jsonl") => {
            let commit = |line: &str| {
                let record: Value = serde_json::from_str(line).expect("a record is JSON");
                record["commit"].as_str().unwrap_or_default().to_owned()
            };
            text.lines().map(commit).collect()
        }
        Some("md") => {
            let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
            let rows: Vec<Vec<String>> = text.lines().map(cells).collect();
            let tables = rows.split(|row| row.len() < 2);
            let column = |table: &[Vec<String>]| {
                let place = table.first()?.iter().position(|cell| cell == "commit")?;
                // Below the header and the rule; the row of sums names none.
                let rows = table.iter().skip(2).filter_map(move |row| row.get(place).cloned());
                Some(rows.filter(|cell| !cell.is_empty()).collect::<Vec<_>>())
            };
            tables.filter_map(column).flatten().collect()
        }
        _ => {
            let first = text.lines().next().unwrap_or_default();
            let mut words = first.split(|c: char| !c.is_ascii_alphanumeric() && c != '+');
            words.find(|word| *word == "commit");
            words.next().map(str::to_owned).into_iter().collect()
        }
    }
}

/// Whether a commit is in the history.
fn is_in_history(commit: &str) -> bool {
    let git = Command::new("git")
        .current_dir(root())
        .args(["merge-base", "--is-ancestor", commit, "HEAD"])
        .output()
        .expect("git is installed");
    git.status.success()
}

#[test]
fn a_record_names_a_commit_that_is_in_the_history() {
    // A copy without its history can show only that a record names what may be a commit.
    let has_history = root().join(".git").exists();
    let mut folders = vec![root().join("tests/output")];
    let mut records = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let (name, text) = (path.display(), fs::read_to_string(&path));
            let commits = commits(&path, &text.expect("a record is text"));
            assert!(!commits.is_empty(), "{name} names no commit");
            for commit in commits {
                let is_hash = commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
                assert!(is_hash, "{name} names {commit:?} as its commit");
                assert!(
                    !has_history || is_in_history(&commit),
                    "{name}: commit {commit} is not in the history; in a shallow clone, fetch the \
                     rest with git fetch --unshallow"
                );
            }
            records += 1;
        }
    }
    assert!(records > 6, "{records} records");
}

#[test]
fn every_planted_bug_can_still_be_planted() {
    let folder = root().join("tests/planted");
    let runner = text_of("tests/planted/run.sh");
    let mut patches = 0;
    for entry in fs::read_dir(&folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let name = path.file_stem().expect("a patch has a name").to_string_lossy().into_owned();
        assert!(runner.contains(&format!("'{name} ")), "tests/planted/run.sh does not try {name}");
        let mut git = Command::new("git");
        let applied = git.args(["apply", "--check"]).arg(&path).current_dir(root()).output();
        let applied = applied.expect("git can be run");
        let why = String::from_utf8_lossy(&applied.stderr);
        assert!(applied.status.success(), "{name} does not apply any more; plant it anew: {why}");
        patches += 1;
    }
    assert!(patches > 15, "{patches} patches");
}

#[test]
fn the_oldest_rust_is_the_same_everywhere_and_clippy_holds_the_code_to_it() {
    let manifest = text_of("Cargo.toml");
    let (_, rest) = manifest.split_once("\nrust-version = \"").expect("the workspace names it");
    let oldest = rest.split('"').next().expect("a first part");
    let readme = text_of("README.md");
    assert!(readme.contains(&format!("Rust {oldest}")), "README.md does not name Rust {oldest}");
    for member in [
        "Cargo.toml",
        "benches/Cargo.toml",
        "eval/links/Cargo.toml",
        "eval/load/Cargo.toml",
        "eval/plots/Cargo.toml",
    ] {
        let takes_over = text_of(member).contains("\nrust-version.workspace = true\n");
        assert!(takes_over, "{member} does not take over the workspace's rust-version");
    }
    assert!(manifest.contains("\nincompatible_msrv = \"deny\"\n"), "the lint is off");
}

/// All documents.
fn documents() -> Vec<PathBuf> {
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
    documents
}

#[test]
fn links_between_files_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document is text");
        let prose = prose(&text).join("\n");
        let links = prose.split("](").skip(1).map(|rest| rest.split([')', ' ']).next());
        let pictures = prose.split("src=\"").skip(1).map(|rest| rest.split('"').next());
        for link in links.chain(pictures).flatten() {
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let folder = document.parent().expect("a file is in a folder");
            let (target, section) = link.split_once('#').unwrap_or((link, ""));
            let there = if target.is_empty() { document.clone() } else { folder.join(target) };
            let from = document.display();
            assert!(there.exists(), "{from} points to {target}, which does not exist");
            if !section.is_empty() {
                let text = fs::read_to_string(&there).expect("a document is text");
                let is_there = text.lines().any(|line| anchor(line).as_deref() == Some(section));
                assert!(is_there, "{from} points to {link}, a section that does not exist");
            }
        }
    }
}

/// The name by which a section is linked to, if the line is its heading.
fn anchor(line: &str) -> Option<String> {
    let (marks, heading) = line.split_once(' ')?;
    let is_heading = !marks.is_empty() && marks.chars().all(|mark| mark == '#');
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    is_heading
        .then(|| heading.to_lowercase().chars().filter(kept).collect::<String>())
        .map(|name| name.replace(' ', "-"))
}

/// What is in backquotes.
fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The text of a source file, as documents name it: `order/core/log.rs`, or its path from the root.
fn source(name: &str) -> Option<String> {
    let paths = [root().join(name), root().join("src").join(name)];
    paths.iter().find_map(|path| fs::read_to_string(path).ok())
}

#[test]
fn source_files_that_documents_name_exist_and_have_what_they_are_named_for() {
    let (mut files, mut items) = (0, 0);
    for document in ["README.md", "docs/architecture.md", "docs/protocol.md", "docs/design.md"] {
        // A row of a table stands for itself, as a paragraph does.
        let text = text_of(document).replace("\n|", "\n\n|");
        for paragraph in prose(&text).join("\n").split("\n\n") {
            let spans = code_spans(paragraph);
            let is_source = |span: &&str| {
                let extension = Path::new(span).extension();
                extension.is_some_and(|it| it == "rs") && !span.contains(['<', '*'])
            };
            let (paths, others): (Vec<&str>, Vec<&str>) = spans.into_iter().partition(is_source);
            let mut sources = String::new();
            for path in paths.into_iter().filter(|path| path.contains('/')) {
                let text = source(path);
                assert!(text.is_some(), "{document} names {path}, which does not exist");
                sources += &text.unwrap_or_default();
                files += 1;
            }
            let is_item = |span: &&str| {
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                span.chars().all(is_of_name) && (span.contains('_') || span.contains("::"))
            };
            for item in others.into_iter().filter(is_item).filter(|_| !sources.is_empty()) {
                let name = item.rsplit("::").next().unwrap_or(item);
                let is_there = sources.contains(&format!("fn {name}"))
                    || sources.contains(&format!("const {name}"));
                assert!(is_there, "{document} looks for {item} where it is not: {paragraph}");
                items += 1;
            }
        }
    }
    assert!(files > 60 && items > 20, "{files} files and {items} items are named");
}

/// Constants of the protocol, and where `docs/protocol.md` tells of them.
const TOLD: [(&str, &str, &str); 46] = [
    ("runtime.rs", "START_PERIOD: Duration = Duration::from_secs(2)", "first 2 s every"),
    ("runtime.rs", "START_PAUSE: Duration = Duration::from_millis(10)", "every 10 ms, until"),
    ("wire/lease.rs", "LONGEST_LEASE_MS: u64 = 1_000", "It lasts 1 s"),
    ("catalog/core/sessions.rs", "MARGIN: Duration = Duration::from_millis(250)", "250 ms more"),
    ("catalog/core/sessions.rs", "from_millis(500)", "not acknowledged for 500 ms"),
    (
        "catalog/core/sessions.rs",
        "QUARANTINE: Duration = Duration::from_secs(10)",
        "for 10 s (*qua",
    ),
    ("catalog/core/sessions.rs", "LONGEST_LOCK: Duration = Duration::from_secs(5)", "it for 5 s"),
    ("catalog/core/steps.rs", "GRACE: Duration = Duration::from_millis(20)", "A batch waits 20 ms"),
    ("catalog/service.rs", "MOST_JOBS: usize = 64;", "256; 64"),
    ("wire/purchase.rs", "MOST_IN_BATCH: usize = 256", "at most 256 purchases"),
    ("order/core/batches.rs", "REST: Duration = Duration::from_millis(10)", "again 10 ms later"),
    ("order/core/batches.rs", "DOUBT_PAUSE: Duration = Duration::from_millis(50)", "every 50 ms"),
    (
        "order/core/gathering.rs",
        "LONGEST_GATHERING: Duration = Duration::from_millis(10)",
        "until 10 ms after the last",
    ),
    (
        "order/core/gathering.rs",
        "JOINING: Duration = Duration::from_millis(2)",
        "until 2 ms after that",
    ),
    (
        "order/core/gathering.rs",
        "RETURN: Duration = Duration::from_micros(500)",
        "500 µs after clients were",
    ),
    (
        "order/core/gathering.rs",
        "RETURN_OF_EACH: Duration = Duration::from_micros(30)",
        "30 µs for each",
    ),
    ("order/core/gathering.rs", "MOST_SKIPPED: u32 = 256", "84, and at most 256"),
    ("server/ration.rs", "PAUSE: u32 = 7", "an eighth of a thread's time"),
    ("server/ration.rs", "LONGEST_WAIT: Duration = Duration::from_secs(1)", "longer than 1 s is"),
    ("order/core/followers.rs", "from_millis(300)", "not acknowledged for 300 ms"),
    ("order/core/followers.rs", "MOST_BEHIND: u64 = 256", "at most 256 orders behind"),
    ("order/core/followers.rs", "from_millis(250)", "a heartbeat every 250 ms"),
    ("order/core/in_flight.rs", "MOST_PURCHASES: usize = 4_096", "4,096; 16"),
    ("order/core/mod.rs", "FRESHNESS: Duration = Duration::from_secs(1)", "answered for 1 s"),
    ("order/remote.rs", "COMMIT_TIMEOUT: Duration = Duration::from_secs(1)", "1 s / 2 s / 600 ms"),
    ("frontend/core/health.rs", "MOST_MISSES: u32 = 3", "three misses in a row"),
    (
        "frontend/core/retry.rs",
        "DEADLINE: Duration = Duration::from_secs(10)",
        "10 s for purchases",
    ),
    ("frontend/core/retry.rs", "QUERY_DEADLINE: Duration = Duration::from_secs(3)", "3 s for toys"),
    ("frontend/core/selection.rs", "YIELD_CHECKS: u32 = 100", "next 100 health checks"),
    ("frontend/core/session.rs", "from_millis(200)", "renewed every 200 ms"),
    ("frontend/core/health.rs", "from_millis(80)", "at least 80 ms"),
    ("frontend/core/health.rs", "from_millis(250)", "at most 250 ms"),
    ("frontend/core/health.rs", "ALLOWANCE: u32 = 4", "four times as long"),
    (
        "frontend/core/health.rs",
        "LIMIT_IF_GONE: Duration = Duration::from_secs(1)",
        "1 s if the re",
    ),
    (
        "frontend/tasks.rs",
        "CHECK_INTERVAL: Duration = Duration::from_millis(100)",
        "every 100 ms, at once after a miss",
    ),
    ("frontend/core/health.rs", "SAME_SILENCE_MS: u64 = 400", "at least 400 ms later than"),
    ("order/core/mod.rs", "SLOW_ANSWER: Duration = Duration::from_millis(200)", "and 200 ms; one"),
    (
        "order/tasks.rs",
        "LONGEST_FOLLOWER_INTERVAL: Duration = Duration::from_secs(1)",
        "one of many every second",
    ),
    (
        "order/tasks.rs",
        "SILENCE_PAUSE: Duration = Duration::from_millis(50)",
        "again 50 ms later |",
    ),
    ("storage/room.rs", "AMPLE: u64 = 1 << 30", "less than 1 GiB"),
    ("storage/room.rs", "from_millis(350)", "every 350 ms or later"),
    (
        "frontend/tasks.rs",
        "LONGEST_CHECK_INTERVAL: Duration = Duration::from_secs(1)",
        "less often, up to every second",
    ),
    (
        "order/tasks.rs",
        "LONGEST_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2)",
        "less often, up to every 2 s",
    ),
    ("frontend/service.rs", "MOST_IN_FLIGHT: usize = 1_024", "at a front-end | 1,024"),
    ("server/threads.rs", "DRAIN_LIMIT: Duration = Duration::from_secs(12)", "for at most 12 s"),
    ("wire/replication.rs", "MOST_ROWS: u64 = 1_000", "4 MiB; 1,000"),
];

#[test]
fn the_numbers_of_the_protocol_are_those_of_the_code() {
    let protocol = text_of("docs/protocol.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for (file, constant, told) in TOLD {
        let code = text_of(&format!("src/{file}"));
        assert!(code.contains(constant), "{file} has no {constant}; the protocol says {told:?}");
        assert!(protocol.contains(told), "the protocol does not say {told:?}; {file}: {constant}");
    }
}

/// Words that say less than a name or an active verb would (see CONTRIBUTING.md).
const AVOIDED: [&str; 9] = [
    "whoever",
    "nobody",
    "somebody",
    "everybody",
    "what came of",
    "what became of",
    "what becomes of",
    "be it that",
    "has nothing to do with",
];
/// Where one of them stands nevertheless, and in what: names that users' scripts read.
const KEPT: [(&str, &str); 2] =
    [("src/client/core/stats.rs", "nobody_listens"), ("docs/client.md", "nobody_listens")];

#[test]
fn code_and_documents_name_things_in_plain_words() {
    // What is no text is passed over.
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        Some((name, fs::read_to_string(path).ok()?))
    };
    let files = files_below(root().join("src")).into_iter().chain(documents());
    let texts: Vec<_> = files.filter_map(read).collect();
    assert!(texts.len() > 300, "{} texts are read", texts.len());
    for (path, text) in texts {
        let mut text = plain(&text);
        for (_, kept) in KEPT.iter().filter(|(file, _)| *file == path) {
            assert!(text.contains(kept), "{path} has no {kept} any more: take it off the list");
            text = text.replace(kept, "");
        }
        let avoided = AVOIDED.iter().find(|word| text.contains(**word));
        assert_eq!(avoided, None, "{path}: name what is meant");
    }
}

fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// A text in small letters, without what begins the lines of a comment, and with single spaces.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '*', '#']));
    let words = lines.flat_map(str::split_whitespace).map(str::to_lowercase);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn avoided_words_are_found_across_lines_of_a_comment() {
    assert_eq!(plain("    /// What came\n    /// of it,  x"), "what came of it, x");
}

#[test]
fn the_documents_count_what_the_tests_have() {
    let told = |path: &str| text_of(path).split_whitespace().collect::<Vec<_>>().join(" ");
    let (proof, tests) = (told("docs/proof.md"), told("tests/README.md"));
    assert!(text_of("tests/simulator/paths.rs").contains("RARE: [&str; 67]"));
    assert!(proof.contains("67 rare paths") && tests.contains("one of 67 rare paths"));
    let planted = text_of("tests/planted/run.sh");
    let found_by = |detector: &str| {
        let listed = planted.lines().filter(|line| line.starts_with("  '"));
        listed.filter(|line| line.ends_with(&format!(" {detector}'"))).count()
    };
    let by_processes = found_by("chaos") + found_by("leases");
    let directed = found_by("hearings") + found_by("takeovers") + found_by("databases");
    assert_eq!((by_processes, found_by("simulator"), directed), (5, 14, 8), "say so in the proof");
    assert!(
        proof.contains("find five of the classical kind, and the simulator must find fourteen")
    );
    assert!(proof.contains("Directed tests must find eight more"));
    assert!(tests.contains("has twenty-seven bugs as patches"));
}

#[test]
fn sections_are_linked_to_by_their_headings() {
    let name = anchor("### 1. When a read can be stale?");
    assert_eq!(name.as_deref(), Some("1-when-a-read-can-be-stale"));
    assert_eq!(anchor("a line"), None);
}

#[test]
fn what_is_left_out_of_a_line_may_be_anything() {
    assert!(quotes("a … c", "a b c") && quotes("… b …", "a b c") && quotes("a b c", "a b c"));
    assert!(!quotes("a … d", "a b c") && !quotes("a", "a b c") && !quotes("… d …", "a b c"));
}

#[test]
fn commits_are_found_where_records_name_them() {
    let commits = |path: &str, text: &str| commits(Path::new(path), text);
    assert_eq!(commits("a.txt", "$ cargo test   # commit 687cff9, 2 processors\n"), ["687cff9"]);
    assert_eq!(commits("a.txt", "ea68ab2\ncommit 687cff9\n"), [""; 0]);
    assert_eq!(commits("a.jsonl", "{\"commit\":\"ea68ab2\"}\n{}\n"), ["ea68ab2", ""]);
    let table = "| seed | commit |\n|---|---|\n| 7 | ea68ab2+ |\n| all | |\n\n| seed |\n|---|\n";
    assert_eq!(commits("a.md", table), ["ea68ab2+"]);
}

#[test]
fn numbers_are_told_from_what_only_has_digits() {
    let line = "0.25 ms (of 8,123 orders), p99, 5 clients, 127.0.0.1, us-east-1, `4.5`. At 16.";
    assert_eq!(numbers(line), ["0.25", "8123", "5", "4.5", "16"]);
}
