//! The tables of how fast the store is: what was measured of each system, and the store beside the
//! best of the others, with the goal for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Problem;
use crate::data::{self, Row};
use crate::statistics::{extremes, quantile};

/// The tables have the rows in the order in which they are read.
const ROWS: [&str; 13] = [
    "cached", "uncached", "orders", "few", "engines", "beside", "flood", "killed", "stopped",
    "start", "opening", "catch-up", "replicas",
];
/// What the systems are called in a table.
const NAMES: [(&str, &str); 18] = [
    ("store", "the store"),
    ("bare", "a bare actix handler"),
    ("nginx", "nginx"),
    ("varnish", "Varnish"),
    ("etcd-put", "etcd, put"),
    ("etcd-transaction", "etcd, transaction"),
    ("postgres", "PostgreSQL"),
    ("sqlite", "the store on SQLite"),
    ("sqlite-tls", "the same, TLS between roles"),
    ("postgres-one", "the store on PostgreSQL, one of two standbys"),
    ("postgres-both", "the store on PostgreSQL, both standbys"),
    ("alone", "queries alone"),
    ("beside", "queries beside orders"),
    ("bare-beside", "a bare actix handler beside orders"),
    ("undisturbed", "orders alone"),
    ("at-catalog", "orders, and a flood at the catalog"),
    ("at-leader", "orders, and a flood at the leader"),
    ("at-frontend", "orders, and a flood at the front-end"),
];
const COMPARISON: &str = "| what | the store | compared with | | ratio | goal | met |\n\
                          |---|---|---|---|---|---|---|";
const SYSTEMS: &str = "| row | system | clients | per second | p50, ms | p99, ms | processor, µs each \
                       | load, µs each |\n|---|---|---|---|---|---|---|---|";

/// A goal for a figure, or for the ratio of two.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Goal {
    fn is_met(self, by: f64) -> bool {
        match self {
            Self::AtLeast(least) => by >= least,
            Self::AtMost(most) => by <= most,
            Self::Below(limit) => by < limit,
        }
    }

    fn text(self, unit: &str) -> String {
        let (sign, limit) = match self {
            Self::AtLeast(least) => ("≥", least),
            Self::AtMost(most) => ("≤", most),
            Self::Below(limit) => ("<", limit),
        };
        format!("{sign} {}{unit}", grouped(limit))
    }
}

/// The data of all rows that were measured.
struct Record {
    tables: BTreeMap<&'static str, Vec<Row>>,
    lines: Vec<String>,
}

/// Writes the summary. There are no figures.
pub(crate) fn draw(data: &Path, _figures: &Path) -> Result<(), Problem> {
    let mut record = Record { tables: BTreeMap::new(), lines: Vec::new() };
    for (row, file) in ROWS.into_iter().zip([
        "figures", "figures", "figures", "figures", "figures", "figures", "figures", "outages",
        "outages", "starts", "openings", "catch_up", "replicas",
    ]) {
        let path = data.join(row).join(file).with_extension("csv");
        if path.is_file() {
            record.tables.insert(row, data::read(&path)?);
        }
    }
    let crowd = data.join("stopped/crowd.csv");
    if crowd.is_file() {
        record.tables.insert("crowd", data::read(&crowd)?);
    }
    record.compare()?;
    let mut text = String::from(
        "# How fast the store is\n\nWritten by `eval/bench/run.sh` from the files beside it. Medians \
         over the rounds; in brackets the least and the most.\n\n",
    );
    writeln!(text, "{COMPARISON}\n{}\n", record.lines.join("\n"))?;
    writeln!(text, "{SYSTEMS}\n{}", record.systems()?.join("\n"))?;
    writeln!(text, "{}", measured(data)?)?;
    fs::write(data.join("summary.md"), text)?;
    Ok(())
}

impl Record {
    /// The lines of the table with the goals.
    fn compare(&mut self) -> Result<(), Problem> {
        self.queries()?;
        self.orders()?;
        self.outages()?;
        self.starts()?;
        self.many_replicas()
    }

    fn queries(&mut self) -> Result<(), Problem> {
        const EACH: &str = "µs of processor time";
        for (row, what, other, measures) in [
            (
                "cached",
                "cached queries",
                "bare",
                [
                    (Figure::Rate, "per second", Goal::AtLeast(0.97)),
                    (Figure::Each, EACH, Goal::AtMost(1.03)),
                ],
            ),
            (
                "uncached",
                "queries without a cache",
                "nginx",
                [
                    (Figure::Each, EACH, Goal::AtMost(1.0)),
                    (Figure::P50, "p50, ms", Goal::AtMost(1.0)),
                ],
            ),
        ] {
            for clients in self.clients(row)? {
                for (figure, unit, goal) in measures {
                    let store = self.median(row, "store", Some(clients), figure)?;
                    let peer = self.median(row, other, Some(clients), figure)?;
                    let what = format!("{what}, {clients} connections: {unit}");
                    self.line(&what, figure, store, (other, peer), goal);
                }
            }
        }
        Ok(())
    }

    fn orders(&mut self) -> Result<(), Problem> {
        const WHOLE: [&str; 2] = ["etcd-transaction", "postgres"];
        const ALL: [&str; 3] = ["etcd-put", "etcd-transaction", "postgres"];
        for clients in self.clients("orders")? {
            for (others, goal) in [(&ALL[..1], 4.0), (&WHOLE[..], 6.0)] {
                let store = self.median("orders", "store", Some(clients), Figure::Rate)?;
                let best = self.best("orders", others, clients, Figure::Rate)?;
                let what = format!("orders of {clients} clients: per second");
                self.line(&what, Figure::Rate, store, best, Goal::AtLeast(goal));
            }
        }
        for clients in self.clients("few")? {
            for (figure, unit) in [(Figure::P50, "p50, ms"), (Figure::P99, "p99, ms")] {
                let store = self.median("few", "store", Some(clients), figure)?;
                let best = self.best("few", &ALL, clients, figure)?;
                let what = format!("orders of {clients} clients: {unit}");
                self.line(&what, figure, store, best, Goal::Below(1.0));
            }
        }
        if self.tables.contains_key("beside") {
            let beside = self.median("beside", "beside", None, Figure::P99)?;
            let alone = self.median("beside", "alone", None, Figure::P99)?;
            let what = "queries while 64 clients order: p99, ms";
            self.line(what, Figure::P99, beside, ("alone", alone), Goal::AtMost(2.0));
            // Without a goal: it tells what the machine's part is. (Older data have none.)
            let of = |system| self.samples("beside", system, None, Figure::P99);
            if let (Ok(bare), Ok(busy)) = (middle(&of("bare")?), middle(&of("bare-beside")?)) {
                self.lines.push(format!(
                    "| the same of a bare actix handler | {} | alone | {} | {} | | |",
                    Figure::P99.text(busy),
                    Figure::P99.text(bare),
                    rounded(busy / bare),
                ));
            }
        }
        self.flood()
    }

    /// Where it takes most. Half of the rate is what is left of two cores when one is busy with the
    /// flood.
    fn flood(&mut self) -> Result<(), Problem> {
        for clients in self.clients("flood")? {
            let rate = |system| self.median("flood", system, Some(clients), Figure::Rate);
            let during = rate("at-catalog")?.min(rate("at-leader")?).min(rate("at-frontend")?);
            let alone = ("undisturbed", rate("undisturbed")?);
            let what = format!("orders of {clients} clients during a flood: per second");
            self.line(&what, Figure::Rate, during, alone, Goal::AtLeast(0.5));
        }
        Ok(())
    }

    fn outages(&mut self) -> Result<(), Problem> {
        for (row, goal) in [("killed", Goal::AtMost(20.0)), ("stopped", Goal::Below(400.0))] {
            if !self.tables.contains_key(row) {
                continue;
            }
            let gaps = |system| self.samples(row, system, None, Figure::Gap);
            let (store, etcd) = (gaps("store")?, gaps("etcd-put")?);
            let (median, peer) = (middle(&store)?, middle(&etcd)?);
            self.lines.push(format!(
                "| leader {row}: ms without an order | {} | etcd, put | {} | {} | {} | {} |",
                spread(&store, 0)?,
                spread(&etcd, 0)?,
                rounded(median / peer),
                goal.text(" ms"),
                yes(goal.is_met(median)),
            ));
        }
        if let Some(crowd) = self.tables.get("crowd").and_then(|rows| rows.first()) {
            let changes = crowd.number("changes_of_leader")?;
            self.lines.push(format!(
                "| changes of the leader while {} clients order for {} s | {changes} | | | | ≤ 0 | {} |",
                grouped(crowd.number("clients")?),
                crowd.number("seconds")?,
                yes(changes <= 0.0),
            ));
        }
        Ok(())
    }

    fn starts(&mut self) -> Result<(), Problem> {
        let rows = self.tables.get("start").cloned().unwrap_or_default();
        for role in ["catalog", "order-1"] {
            let of = |cache: &str| -> Result<Vec<f64>, Problem> {
                let is_it = |row: &&Row| {
                    row.text("role").is_ok_and(|it| it == role)
                        && row.text("cache").is_ok_and(|it| it == cache)
                };
                rows.iter().filter(is_it).map(|row| Ok(row.number("ready_ms")? / 1_000.0)).collect()
            };
            let (Some(first), cold, warm) = (rows.first(), of("cold")?, of("warm")?) else {
                continue;
            };
            let goal = Goal::Below(2.0);
            self.lines.push(format!(
                "| {} with {} orders, read from the disk: seconds to start | {} | from memory | {} | \
                 {} | {} | {} |",
                if role == "catalog" { "the catalog" } else { "a replica" },
                grouped(first.number("orders")?),
                spread(&cold, 2)?,
                spread(&warm, 2)?,
                rounded(middle(&cold)? / middle(&warm)?),
                goal.text(" s"),
                yes(goal.is_met(middle(&cold)?)),
            ));
        }
        let rows = self.tables.get("opening").cloned().unwrap_or_default();
        if !rows.is_empty() {
            let of = |how: &str| -> Result<Vec<f64>, Problem> {
                let rows = rows.iter().filter(|row| row.text("how").is_ok_and(|it| it == how));
                rows.map(|row| row.number("first_order_ms")).collect()
            };
            let (once, turn, goal) = (of("at once")?, of("in turn")?, Goal::AtMost(45.0));
            self.lines.push(format!(
                "| all roles started at once: ms to the first order | {} | in turn | {} | {} | {} | {} |",
                spread(&once, 0)?,
                spread(&turn, 0)?,
                rounded(middle(&once)? / middle(&turn)?),
                goal.text(" ms"),
                yes(goal.is_met(middle(&once)?)),
            ));
        }
        let rows = self.tables.get("catch-up").cloned().unwrap_or_default();
        if !rows.is_empty() {
            let speed = |row: &Row| Ok(row.number("orders")? / row.number("seconds")?);
            let speeds = rows.iter().map(speed).collect::<Result<Vec<f64>, Problem>>()?;
            self.lines.push(format!(
                "| an empty replica fetches: orders per second | {} | | | | | |",
                spread(&speeds, 0)?
            ));
        }
        Ok(())
    }

    fn many_replicas(&mut self) -> Result<(), Problem> {
        let rows = self.tables.get("replicas").cloned().unwrap_or_default();
        let counts = if rows.is_empty() { Vec::new() } else { data::values(&rows, "replicas")? };
        let [few, many] = counts[..] else { return Ok(()) };
        for (column, unit, goal) in [
            ("p50_ms", "p50 of one client's orders, ms", Goal::AtMost(2.0)),
            ("idle_percent", "processor time when idle, % of a core", Goal::AtMost(3.0)),
        ] {
            let of = |count: f64| -> Result<Vec<f64>, Problem> {
                let rows =
                    rows.iter().filter(|row| row.number("replicas").is_ok_and(|it| it == count));
                rows.map(|row| row.number(column)).collect()
            };
            let (many_of, few_of) = (of(many)?, of(few)?);
            let (ours, theirs) = (middle(&many_of)?, middle(&few_of)?);
            let (measured, unit_of_goal) =
                if column == "p50_ms" { (ours / theirs, "") } else { (ours, " %") };
            self.lines.push(format!(
                "| {many} replicas: {unit} | {} | {few} replicas | {} | {} | {} | {} |",
                spread(&many_of, 1)?,
                spread(&few_of, 1)?,
                rounded(ours / theirs),
                goal.text(unit_of_goal),
                yes(goal.is_met(measured)),
            ));
        }
        Ok(())
    }

    fn line(&mut self, what: &str, figure: Figure, store: f64, other: (&str, f64), goal: Goal) {
        let (name, peer) = other;
        let ratio = store / peer;
        self.lines.push(format!(
            "| {what} | {} | {} | {} | {} | {} | {} |",
            figure.text(store),
            name_of(name),
            figure.text(peer),
            rounded(ratio),
            goal.text(""),
            yes(goal.is_met(ratio)),
        ));
    }

    /// The lines of the table of all systems.
    fn systems(&self) -> Result<Vec<String>, Problem> {
        let mut lines = Vec::new();
        for row in ["cached", "uncached", "orders", "few", "engines", "beside", "flood"] {
            let Some(rows) = self.tables.get(row) else { continue };
            for clients in self.clients(row)? {
                for (system, name) in NAMES {
                    if !rows.iter().any(|row| row.text("system").is_ok_and(|it| it == system)) {
                        continue;
                    }
                    let of = |figure| self.samples(row, system, Some(clients), figure);
                    let spread_of = |figure, digits| -> Result<String, Problem> {
                        let samples: Vec<f64> =
                            of(figure)?.into_iter().filter(|sample| sample.is_finite()).collect();
                        if samples.is_empty() {
                            Ok(String::new())
                        } else {
                            spread(&samples, digits)
                        }
                    };
                    lines.push(format!(
                        "| {row} | {name} | {clients} | {} | {} | {} | {} | {} |",
                        spread_of(Figure::Rate, 0)?,
                        spread_of(Figure::P50, 2)?,
                        spread_of(Figure::P99, 1)?,
                        spread_of(Figure::Each, 1)?,
                        spread_of(Figure::Load, 1)?,
                    ));
                }
            }
        }
        Ok(lines)
    }

    /// The different numbers of clients of a row. None if it was not measured.
    fn clients(&self, row: &str) -> Result<Vec<f64>, Problem> {
        self.tables.get(row).map_or(Ok(Vec::new()), |rows| data::values(rows, "clients"))
    }

    fn median(
        &self,
        row: &str,
        system: &str,
        clients: Option<f64>,
        figure: Figure,
    ) -> Result<f64, Problem> {
        middle(&self.samples(row, system, clients, figure)?)
    }

    /// The best of several systems.
    fn best<'a>(
        &self,
        row: &str,
        systems: &[&'a str],
        clients: f64,
        figure: Figure,
    ) -> Result<(&'a str, f64), Problem> {
        let mut best: Option<(&str, f64)> = None;
        for system in systems {
            let median = self.median(row, system, Some(clients), figure)?;
            let is_better = best.is_none_or(|(_, best)| match figure {
                Figure::Rate => median > best,
                Figure::P50 | Figure::P99 | Figure::Gap | Figure::Each | Figure::Load => {
                    median < best
                }
            });
            if is_better {
                best = Some((system, median));
            }
        }
        Ok(best.ok_or("there is no other system")?)
    }

    /// A figure in each round.
    fn samples(
        &self,
        row: &str,
        system: &str,
        clients: Option<f64>,
        figure: Figure,
    ) -> Result<Vec<f64>, Problem> {
        let rows = self.tables.get(row).ok_or_else(|| format!("there is no row {row}"))?;
        let mut samples = Vec::new();
        for line in rows {
            let is_it = line.text("system")? == system
                && clients.is_none_or(|count| line.number("clients").is_ok_and(|it| it == count));
            if is_it {
                samples.push(figure.of(line)?);
            }
        }
        Ok(samples)
    }
}

/// What is taken of a line of a data file.
#[derive(Clone, Copy)]
enum Figure {
    /// Requests per second.
    Rate,
    P50,
    P99,
    /// Milliseconds without an order.
    Gap,
    /// Microseconds of processor time for a request.
    Each,
    /// The same of the program that makes the requests.
    Load,
}

impl Figure {
    fn of(self, row: &Row) -> Result<f64, Problem> {
        let share = |column| -> Result<f64, Problem> {
            let seconds = row.figure(column)?.unwrap_or(f64::NAN);
            Ok(seconds * 1e6 / row.number("requests")?)
        };
        match self {
            Self::Rate => Ok(row.number("requests")? / row.number("seconds")?),
            Self::P50 => row.number("p50_ms"),
            Self::P99 => row.number("p99_ms"),
            Self::Gap => row.number("longest_gap_ms"),
            Self::Each => share("processor_s"),
            Self::Load => share("load_processor_s"),
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Gap => grouped(value.round()),
            Self::P50 | Self::P99 => format!("{value:.2}"),
            Self::Each | Self::Load => format!("{value:.1}"),
        }
    }
}

/// Which rows were measured where and when: a line for each commit and day.
fn measured(data: &Path) -> Result<String, Problem> {
    /// Rows, and how many cores were busy before each of those that say so.
    type Group<'a> = (Vec<&'a str>, Vec<f64>);
    let mut groups: BTreeMap<(String, String), Group<'_>> = BTreeMap::new();
    for row in ROWS {
        let path = data.join(row).join("machine.json");
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let field = |key: &str| -> Result<String, Problem> {
            // As `eval/cluster.sh` writes it: a key and its value on a line of their own.
            let line = text.lines().find(|line| line.contains(&format!("\"{key}\":")));
            let value = line.and_then(|line| line.split_once(": ")).map(|(_, value)| value);
            let value = value.ok_or_else(|| format!("{} has no {key}", path.display()))?;
            Ok(value.trim_matches([',', '"', ' ']).to_owned())
        };
        let group = groups.entry((field("date")?, field("commit")?)).or_default();
        group.0.push(row);
        if let Ok(busy) = field("cores_busy_before") {
            group.1.push(busy.parse()?);
        }
    }
    let mut text = "\n| rows | at commit | on | cores busy before |\n|---|---|---|---|".to_owned();
    for ((date, commit), (rows, busy)) in groups {
        let busy = extremes(&busy)
            .map_or("not measured".to_owned(), |(least, most)| format!("{least} to {most}"));
        write!(text, "\n| {} | `{commit}` | {date} | {busy} |", rows.join(", "))?;
    }
    Ok(text)
}

fn name_of(system: &str) -> &str {
    NAMES.iter().find(|(name, _)| *name == system).map_or(system, |(_, name)| name)
}

fn middle(samples: &[f64]) -> Result<f64, Problem> {
    Ok(quantile(samples, 0.5).ok_or("a system was not measured")?)
}

/// The median, and the least and the most if they differ.
fn spread(samples: &[f64], digits: usize) -> Result<String, Problem> {
    let (least, most) = extremes(samples).ok_or("a system was not measured")?;
    let text = |value: f64| {
        if digits == 0 { grouped(value.round()) } else { format!("{value:.digits$}") }
    };
    let middle = text(middle(samples)?);
    let is_alone = samples.len() < 2;
    Ok(if is_alone { middle } else { format!("{middle} [{}, {}]", text(least), text(most)) })
}

/// A ratio, to as many digits as a repetition may confirm.
fn rounded(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// A number with commas between its thousands.
fn grouped(value: f64) -> String {
    let text = value.to_string();
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

fn yes(is_met: bool) -> &'static str {
    if is_met { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!((grouped(999.0).as_str(), grouped(0.97).as_str()), ("999", "0.97"));
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        assert!(Goal::AtLeast(4.0).is_met(4.0) && !Goal::AtLeast(4.0).is_met(3.9));
        assert!(Goal::AtMost(1.0).is_met(1.0) && !Goal::Below(1.0).is_met(1.0));
        assert_eq!(Goal::AtMost(20.0).text(" ms"), "≤ 20 ms");
    }
}
