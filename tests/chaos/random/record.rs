//! What is kept of a run: a line of JSON, and a table of all lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) seed: u64,
    /// Which edition of the schedule the seed is for.
    pub(super) edition: u32,
    /// The commit that changed the product last; `+` for changes that were not committed.
    pub(super) commit: String,
    /// What was found: nothing, if all is well.
    pub(super) violation: Option<String>,
    pub(super) seconds: u64,
    pub(super) one_replica_rounds: Part,
    pub(super) anything_rounds: Part,
    /// How many died at each failpoint. Others were held up there, or ended before.
    pub(super) died_at: BTreeMap<String, u64>,
    /// Orders in the journal in the end.
    pub(super) orders: u64,
    /// Terms that catalogs ruled, if they share a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<u64>,
    /// Epochs: changes of leader.
    pub(super) selections: u64,
    /// Queries that front-ends answered from their caches, as far as they lived to tell.
    pub(super) cache_hits: u64,
    /// From the last fault's end until all replicas were in step and all front-ends ready.
    pub(super) longest_recovery_ms: u64,
}

/// The rounds of one regime.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) rounds: u64,
    pub(super) faults: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

/// What clients asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// By operation and status; `none` for no answer.
    pub(super) requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// By operation.
    pub(super) slowest_ms: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn count(&mut self, operation: &str, status: Option<u16>, took: Duration) {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.add(operation, &status, 1);
        self.slower(operation, u64::try_from(took.as_millis()).expect("no request takes so long"));
    }

    /// Takes over what another one counted.
    pub(super) fn absorb(&mut self, other: Self) {
        for (operation, statuses) in other.requests {
            for (status, count) in statuses {
                self.add(&operation, &status, count);
            }
        }
        for (operation, slowest) in other.slowest_ms {
            self.slower(&operation, slowest);
        }
    }

    /// How many requests there were.
    pub(super) fn total(&self) -> u64 {
        self.requests.values().flat_map(BTreeMap::values).sum()
    }

    /// How many were answered 503, or not at all.
    pub(super) fn errors(&self) -> u64 {
        let is_error = |status: &str| status == "503" || status == "none";
        let counts = self.requests.values().flatten();
        counts.filter(|(status, _)| is_error(status)).map(|(_, count)| count).sum()
    }

    pub(super) fn slowest(&self) -> u64 {
        self.slowest_ms.values().copied().max().unwrap_or_default()
    }

    fn add(&mut self, operation: &str, status: &str, count: u64) {
        let statuses = self.requests.entry(operation.to_owned()).or_default();
        *statuses.entry(status.to_owned()).or_default() += count;
    }

    fn slower(&mut self, operation: &str, took_ms: u64) {
        let slowest = self.slowest_ms.entry(operation.to_owned()).or_default();
        *slowest = (*slowest).max(took_ms);
    }
}

impl Record {
    /// Adds the record to a file, a line for each run, and writes the table of all beside it.
    pub(super) fn keep(&self, path: &Path) {
        let mut lines = std::fs::read_to_string(path).unwrap_or_default();
        let line = serde_json::to_string(self).expect("a record can be written as JSON");
        writeln!(lines, "{line}").expect("memory takes it");
        std::fs::write(path, &lines).expect("the record can be written");
        let records = lines.lines().map(|line| serde_json::from_str(line).expect("a record"));
        let records: Vec<Self> = records.collect();
        std::fs::write(path.with_extension("md"), table(&records)).expect("so can the table");
    }

    fn parts(&self) -> [&Part; 2] {
        [&self.one_replica_rounds, &self.anything_rounds]
    }
}

/// All runs, a row each, and their sums.
fn table(records: &[Record]) -> String {
    let mut text = String::from(
        "# Random faults over real processes\n\n\
         Written by `tests/chaos/run.sh`; the records themselves are beside this file.\n\n\
         In rounds of the kind *one replica* at most one replica at a time fails, and no client\n\
         may see an error. In those of the kind *anything* any role may fail, and\n\
         clients may see errors: a 503, or no answer from a front-end that is gone.\n\n\
         | seed (edition) | commit | violations | s | rounds: one replica | anything | faults | \
         deaths at a failpoint | selections | orders | requests | cache hits | \
         errors: one replica | anything | slowest request: one replica | slowest recovery |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for record in records {
        let row = columns(std::slice::from_ref(record));
        let Record { seed, edition, commit, .. } = record;
        writeln!(text, "| {seed} ({edition}) | {commit} | {row}").expect("memory takes it");
    }
    writeln!(text, "| all | | {}", columns(records)).expect("memory takes it");
    let mut faults = Table::default();
    let mut requests = Table::default();
    let mut slowest = Table::default();
    for (place, part) in records.iter().flat_map(|record| record.parts().into_iter().enumerate()) {
        for (fault, count) in &part.faults {
            faults.row(fault)[place] += count;
        }
        for (operation, statuses) in &part.tally.requests {
            for (status, count) in statuses {
                requests.row(&format!("{operation} | {status}"))[place] += count;
            }
        }
        for (operation, slowest_ms) in &part.tally.slowest_ms {
            let cell = &mut slowest.row(operation)[place];
            *cell = (*cell).max(*slowest_ms);
        }
    }
    faults.write("fault", &mut text);
    requests.write("request | status", &mut text);
    slowest.write("slowest, ms", &mut text);
    text
}

/// What a row of the first table says of one run, or of all.
fn columns(records: &[Record]) -> String {
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let most = |count: fn(&Record) -> u64| records.iter().map(count).max().unwrap_or_default();
    let columns = [
        sum(|one| u64::from(one.violation.is_some())).to_string(),
        sum(|one| one.seconds).to_string(),
        sum(|one| one.one_replica_rounds.rounds).to_string(),
        sum(|one| one.anything_rounds.rounds).to_string(),
        sum(|one| one.parts().iter().flat_map(|part| part.faults.values()).sum()).to_string(),
        sum(|one| one.died_at.values().sum()).to_string(),
        sum(|one| one.selections).to_string(),
        sum(|one| one.orders).to_string(),
        sum(|one| one.parts().iter().map(|part| part.tally.total()).sum()).to_string(),
        sum(|one| one.cache_hits).to_string(),
        sum(|one| one.one_replica_rounds.tally.errors()).to_string(),
        sum(|one| one.anything_rounds.tally.errors()).to_string(),
        format!("{} ms", most(|one| one.one_replica_rounds.tally.slowest())),
        format!("{} ms", most(|one| one.longest_recovery_ms)),
    ];
    format!("{} |", columns.join(" | "))
}

/// Figures for the two kinds of rounds.
#[derive(Default)]
struct Table(BTreeMap<String, [u64; 2]>);

impl Table {
    fn row(&mut self, name: &str) -> &mut [u64; 2] {
        self.0.entry(name.to_owned()).or_default()
    }

    fn write(&self, name: &str, text: &mut String) {
        let rule = name.split('|').map(|_| "|---").collect::<String>();
        writeln!(text, "\n| {name} | one replica | anything |\n{rule}|---|---|")
            .expect("memory takes it");
        for (name, [one_replica, anything]) in &self.0 {
            writeln!(text, "| {name} | {one_replica} | {anything} |").expect("memory takes it");
        }
    }
}

/// The records in the repository.
const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/output/chaos/runs.jsonl");

#[test]
fn the_table_and_the_documents_tell_what_is_on_record() {
    let lines = std::fs::read_to_string(RECORDS).expect("there are records");
    let records = lines.lines().map(|line| serde_json::from_str(line).expect("a record"));
    let records: Vec<Record> = records.collect();
    let path = Path::new(RECORDS).with_extension("md");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(&path, table(&records)).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("there is a table");
    assert!(kept == table(&records), "{} is another table", path.display());

    for (place, record) in records.iter().enumerate().filter(|(_, one)| one.violation.is_some()) {
        let again = records[place..].iter().find(|later| {
            later.seed == record.seed
                && later.edition == record.edition
                && later.violation.is_none()
        });
        assert!(
            again.is_some(),
            "seed {} found something, and then did not run again",
            record.seed
        );
    }
    let proof = include_str!("../../../docs/proof.md").split_whitespace();
    let proof = proof.collect::<Vec<_>>().join(" ");
    for told in told_of(&records) {
        assert!(proof.contains(&told), "docs/proof.md does not say {told:?}");
    }
}

/// What `docs/proof.md` has to say of the records.
fn told_of(records: &[Record]) -> Vec<String> {
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let with_thousands = |number: u64| {
        let digits = number.to_string();
        let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
        groups.collect::<Vec<_>>().join(",")
    };
    let errors = sum(|one| one.one_replica_rounds.tally.errors());
    assert_eq!(errors, 0, "docs/proof.md says that no client saw an error");
    let slowest = records.iter().map(|one| one.one_replica_rounds.tally.slowest()).max();
    let slowest_ms = u32::try_from(slowest.unwrap_or_default()).expect("less than a month");
    vec![
        format!("{} s", with_thousands(sum(|one| one.seconds))),
        format!(
            "{} faults",
            with_thousands(sum(|one| {
                one.parts().iter().flat_map(|part| part.faults.values()).sum()
            }))
        ),
        format!("{} selections", with_thousands(sum(|one| one.selections))),
        format!("{} orders", with_thousands(sum(|one| one.orders))),
        format!(
            "{} requests",
            with_thousands(sum(|one| one.parts().iter().map(|part| part.tally.total()).sum()))
        ),
        format!("({} rounds)", sum(|one| one.one_replica_rounds.rounds)),
        format!("{:.2} s", f64::from(slowest_ms) / 1_000.0),
        format!("{} runs", records.len()),
        format!("In {} of them", sum(|one| u64::from(one.violation.is_some()))),
    ]
}
