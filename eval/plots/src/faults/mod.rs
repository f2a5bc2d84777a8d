//! Crashes and hangs of order replicas, and what clients noticed of them.

mod figure;

use std::fmt::Write as _;
use std::fs;
use std::ops::Add as _;
use std::path::Path;

use crate::Problem;
use crate::data::{Row, read};
use crate::statistics::quantile;

/// What a fault may do belongs to it for so long after it is over.
const AFTERMATH_S: f64 = 1.0;
/// The end of the run cuts the last interval short. A request in a millisecond is no rate.
const LEAST_INTERVAL_S: f64 = 0.05;
/// An order that takes longer while nothing is wrong is told of: some five times the median.
const HICCUP_MS: f64 = 12.0;
/// Connections are made in the first second, and nothing is said of it.
const START_S: f64 = 1.0;

/// Replicas that were killed or stopped at one time, in seconds since the run began.
struct Fault {
    /// `killed` or `stopped`.
    kind: String,
    /// Each replica that was hurt, and whether it led.
    replicas: Vec<(String, bool)>,
    /// What the clients were at: `shopping` or `checking`.
    clients: String,
    from: f64,
    to: f64,
}

/// What faults are called, in the order of figure and table.
const KINDS: [&str; 5] = [
    "leader killed",
    "leader stopped",
    "follower killed",
    "follower stopped",
    "all but one killed",
];

impl Fault {
    /// One of [`KINDS`].
    fn name(&self) -> &'static str {
        let is_killed = self.kind == "killed";
        match (self.replicas.len(), self.is_of_leader()) {
            (1, true) => KINDS[usize::from(!is_killed)],
            (1, false) => KINDS[2 + usize::from(!is_killed)],
            _ => KINDS[4],
        }
    }

    fn is_of_leader(&self) -> bool {
        self.replicas.iter().any(|(_, leads)| *leads)
    }

    fn is_while_shopping(&self) -> bool {
        self.clients == SHOPPING
    }
}

/// What clients are at.
const SHOPPING: &str = "shopping";
const CHECKING: &str = "checking";

/// What happened to each type of request.
struct Seen {
    queries: Vec<Moment>,
    orders: Vec<Moment>,
    /// In the final check.
    order_queries: Vec<Moment>,
}

/// What happened to one type of request in one interval.
#[derive(Clone, Copy)]
struct Moment {
    from: f64,
    to: f64,
    count: f64,
    errors: f64,
    /// Nothing, if it was too short to tell.
    per_second: Option<f64>,
    /// In milliseconds; nothing without a request.
    longest: Option<f64>,
}

pub(crate) fn draw(data: &Path, figures: &Path) -> Result<(), Problem> {
    let series = read(&data.join("series.csv"))?;
    let began = series[0].number("unix_s")? - series[0].number("time_s")?;
    let faults = faults_of(&read(&data.join("faults.csv"))?, began)?;
    let seen = Seen {
        queries: moments(&series, SHOPPING, "query")?,
        orders: moments(&series, SHOPPING, "order")?,
        order_queries: moments(&series, CHECKING, "order_query")?,
    };
    figure::draw(&faults, &seen, &figures.join("faults-timeline.svg"))?;
    let totals = read(&data.join("latencies.csv"))?;
    let databases = read(&data.join("databases.csv"))?;
    let checks = read(&data.join("orders.csv"))?;
    let text = summary(&faults, &seen, &totals, &checks, &databases)?;
    fs::write(data.join("summary.md"), text)?;
    Ok(())
}

/// The rows of `faults.csv`, of which those with one number are one fault.
fn faults_of(rows: &[Row], began: f64) -> Result<Vec<Fault>, Problem> {
    let mut faults: Vec<(&str, Fault)> = Vec::new();
    for row in rows {
        let number = row.text("fault")?;
        let replica = (row.text("replica")?.to_owned(), row.text("leader")? == "yes");
        match faults.last_mut() {
            Some((last, fault)) if *last == number => fault.replicas.push(replica),
            _ => {
                let fault = Fault {
                    kind: row.text("kind")?.to_owned(),
                    replicas: vec![replica],
                    clients: row.text("clients")?.to_owned(),
                    from: row.number("from_unix_s")? - began,
                    to: row.number("to_unix_s")? - began,
                };
                faults.push((number, fault));
            }
        }
    }
    Ok(faults.into_iter().map(|(_, fault)| fault).collect())
}

fn moments(series: &[Row], phase: &str, request: &str) -> Result<Vec<Moment>, Problem> {
    let mut moments = Vec::new();
    for row in series {
        if row.text("type")? != request || row.text("phase")? != phase {
            continue;
        }
        let to = row.number("time_s")?;
        let (length, count) = (row.number("interval_s")?, row.number("count")?);
        moments.push(Moment {
            from: to - length,
            to,
            count,
            errors: row.number("errors")?,
            per_second: (length >= LEAST_INTERVAL_S).then(|| count / length),
            longest: row.figure("max_ms")?,
        });
    }
    Ok(moments)
}

/// The longest time in a row, within a stretch, in which no request was answered, in seconds.
fn longest_gap(moments: &[Moment], from: f64, to: f64) -> f64 {
    longest_empty(moments.iter().filter(|moment| moment.to > from && moment.from < to))
}

/// The intervals that lie within a stretch as a whole.
fn within(moments: &[Moment], from: f64, to: f64) -> impl Iterator<Item = &Moment> + Clone {
    moments.iter().filter(move |moment| moment.from >= from && moment.to <= to)
}

/// The length of the longest row of intervals in which no request was answered, in seconds.
fn longest_empty<'a>(moments: impl Iterator<Item = &'a Moment>) -> f64 {
    let (mut longest, mut gap) = (0.0_f64, 0.0);
    for moment in moments {
        gap = if moment.count > 0.0 { 0.0 } else { gap + (moment.to - moment.from) };
        longest = longest.max(gap);
    }
    longest
}

/// The longest latency of a request that was answered within a stretch, in milliseconds.
fn longest_latency(moments: &[Moment], from: f64, to: f64) -> Option<f64> {
    let within = moments.iter().filter(|moment| moment.to > from && moment.from < to);
    within.filter_map(|moment| moment.longest).reduce(f64::max)
}

fn summary(
    faults: &[Fault],
    seen: &Seen,
    totals: &[Row],
    checks: &[Row],
    databases: &[Row],
) -> Result<String, Problem> {
    let mut text = String::from(
        "# Replicas that fail\n\nWritten by `eval/faults/run.sh` from the files beside it; the \
         machine is in `machine.json`.\n\n## What clients noticed\n\n| type | succeeded | \
         errors | refused for lack of stock | asked again | median, ms | 99 %, ms | longest, ms \
         |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in totals {
        if row.text("client")? != "all" {
            continue;
        }
        let cell = |column: &str| -> Result<String, Problem> {
            Ok(row.figure(column)?.map_or("-".into(), |figure| format!("{figure:.1}")))
        };
        let count = |column: &str| row.text(column);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.text("type")?.replace('_', " "),
            count("count")?,
            count("errors")?,
            count("refusals")?,
            count("retries")?,
            cell("p50_ms")?,
            cell("p99_ms")?,
            cell("max_ms")?,
        )?;
    }
    let mut matching = 0;
    for row in checks {
        matching += usize::from(row.text("check")? == "match");
    }
    writeln!(text, "\nFinal check: {matching} of {} orders match.", checks.len())?;
    text += "\n## By kind of fault\n\nWithin the fault and a second after it; a time without \
             service is that of the tenths of a second in a row in which nothing was answered. A \
             client awaits its order before it queries again, so queries pause with orders. \
             Median (greatest) over the faults.\n\n| fault | times | longest without an order, s \
             | longest order, ms | longest without a query, s | longest query, ms | errors \
             |\n|---|---|---|---|---|---|---|\n";
    write_kinds(&mut text, faults, seen)?;
    write_final_check(&mut text, faults, &seen.order_queries)?;
    write_quiet_times(&mut text, faults, &seen.orders)?;
    write_replicas(&mut text, faults)?;
    text += "\n## The databases afterwards\n\n| database | orders | SHA-256 of its rows |\n|---|---|---|\n";
    let mut digests = Vec::new();
    for row in databases {
        let (name, orders, digest) =
            (row.text("database")?, row.text("orders")?, row.text("sha256")?);
        writeln!(text, "| {name} | {orders} | `{}` |", &digest[..16.min(digest.len())])?;
        digests.push((orders, digest));
    }
    digests.dedup();
    text += if digests.len() == 1 { "\nAll are the same.\n" } else { "\nThey differ.\n" };
    Ok(text)
}

/// What the clients noticed while nothing was wrong.
fn write_quiet_times(
    text: &mut String,
    faults: &[Fault],
    orders: &[Moment],
) -> Result<(), Problem> {
    let mut edges: Vec<(f64, f64)> =
        faults.iter().map(|fault| (fault.from, fault.to + AFTERMATH_S)).collect();
    edges.push((f64::NEG_INFINITY, START_S));
    edges.push((f64::INFINITY, f64::INFINITY));
    edges.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut gap, mut longest, mut count, mut hiccups) = (0.0_f64, 0.0_f64, 0, 0);
    for stretch in edges.windows(2) {
        let quiet = within(orders, stretch[0].1, stretch[1].0);
        gap = gap.max(longest_empty(quiet.clone()));
        for latency in quiet.filter_map(|moment| moment.longest) {
            longest = longest.max(latency);
            count += 1;
            hiccups += usize::from(latency > HICCUP_MS);
        }
    }
    writeln!(
        text,
        "\nOutside the faults and the second after each: longest without an order {gap:.1} s, \
         longest order {longest:.1} ms. Of {count} tenths of a second with an order, {hiccups} had \
         one that took longer than {HICCUP_MS} ms."
    )?;
    Ok(())
}

/// How often each replica was hurt.
fn write_replicas(text: &mut String, faults: &[Fault]) -> Result<(), Problem> {
    let hurt: Vec<&(String, bool)> = faults.iter().flat_map(|fault| &fault.replicas).collect();
    let mut replicas: Vec<&str> = hurt.iter().map(|(replica, _)| replica.as_str()).collect();
    replicas.sort_unstable();
    replicas.dedup();
    *text += "\nWho was hurt, the final check included:\n\n| replica | times | as the leader \
              |\n|---|---|---|\n";
    for replica in replicas {
        let its = || hurt.iter().filter(|(hurt, _)| hurt == replica);
        let led = its().filter(|(_, leads)| *leads).count();
        writeln!(text, "| {replica} | {} | {led} |", its().count())?;
    }
    Ok(())
}

/// What the clients noticed of faults that came while they checked their orders.
fn write_final_check(
    text: &mut String,
    faults: &[Fault],
    order_queries: &[Moment],
) -> Result<(), Problem> {
    for fault in faults.iter().filter(|fault| fault.clients == CHECKING) {
        let end = fault.to + AFTERMATH_S;
        // Whether there was anything left to check when the fault came has to be seen.
        let later = || order_queries.iter().filter(|moment| moment.from >= fault.from);
        let count = later().map(|moment| moment.count).fold(0.0, f64::add);
        let errors = later().map(|moment| moment.errors).fold(0.0, f64::add);
        let whom = if fault.is_of_leader() { "leader" } else { "follower" };
        writeln!(
            text,
            "\nDuring the final check, {whom} {}: at least {count} order queries answered \
             after that, {errors} errors, longest without one {:.1} s, longest order query {:.0} ms.",
            fault.kind,
            longest_gap(order_queries, fault.from, end),
            longest_latency(order_queries, fault.from, end).unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn write_kinds(text: &mut String, faults: &[Fault], seen: &Seen) -> Result<(), Problem> {
    let Seen { queries, orders, .. } = seen;
    for name in KINDS {
        let these =
            || faults.iter().filter(|fault| fault.is_while_shopping() && fault.name() == name);
        if these().next().is_none() {
            continue;
        }
        let over = |of: &dyn Fn(f64, f64) -> Option<f64>, digits: usize| {
            let values: Vec<f64> =
                these().filter_map(|fault| of(fault.from, fault.to + AFTERMATH_S)).collect();
            match quantile(&values, 0.5).zip(quantile(&values, 1.0)) {
                Some((median, most)) => format!("{median:.digits$} ({most:.digits$})"),
                None => "-".into(),
            }
        };
        // Not by `sum`, which is -0 of nothing.
        let errors = these()
            .flat_map(|fault| {
                let end = fault.to + AFTERMATH_S;
                let within = move |moment: &&Moment| moment.to > fault.from && moment.from < end;
                queries.iter().chain(orders).filter(within)
            })
            .map(|moment| moment.errors)
            .fold(0.0, f64::add);
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {errors} |",
            these().count(),
            over(&|from, to| Some(longest_gap(orders, from, to)), 1),
            over(&|from, to| longest_latency(orders, from, to), 0),
            over(&|from, to| Some(longest_gap(queries, from, to)), 1),
            over(&|from, to| longest_latency(queries, from, to), 0),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_as_long_as_its_empty_intervals_in_a_row() {
        let moments = moments_of(&[1.0, 0.0, 0.0, 3.0, 0.0, 1.0]);
        assert!((longest_gap(&moments, 0.0, 6.0) - 2.0).abs() < 1e-9);
        assert!((longest_gap(&moments, 3.5, 6.0) - 1.0).abs() < 1e-9);
        assert_eq!(longest_latency(&moments, 0.0, 6.0), Some(3.0));
        assert_eq!(longest_latency(&moments, 1.0, 2.0), None);
    }

    #[test]
    fn quiet_times_are_between_faults_and_what_comes_of_them() {
        // From 3 to 6 there is a fault, and what comes of it; the first second does not count.
        let mut text = String::new();
        let orders = moments_of(&[90.0, 20.0, 0.0, 80.0, 80.0, 80.0, 0.0, 0.0, 1.0]);
        let faults = [fault("order-1", 3.0, 5.0)];
        write_quiet_times(&mut text, &faults, &orders).expect("text can be written");
        let gap_and_longest = "longest without an order 2.0 s, longest order 20.0 ms. ";
        let hiccups =
            "Of 2 tenths of a second with an order, 1 had one that took longer than 12 ms";
        assert!(text.contains(gap_and_longest) && text.contains(hiccups), "{text}");
    }

    #[test]
    fn a_kind_of_fault_that_did_not_occur_has_no_row() {
        let mut text = String::new();
        let seen = Seen { queries: vec![], orders: vec![], order_queries: vec![] };
        write_kinds(&mut text, &[fault("order-2", 1.0, 2.0)], &seen).expect("text can be written");
        assert_eq!(text, "| follower killed | 1 | 0.0 (0.0) | - | 0.0 (0.0) | - | 0 |\n");
    }

    #[test]
    fn a_fault_may_be_of_several_replicas() {
        let mut both = fault("order-2", 1.0, 2.0);
        both.replicas.push(("order-3".into(), true));
        assert_eq!(both.name(), "all but one killed");
        let mut text = String::new();
        write_replicas(&mut text, &[both, fault("order-2", 5.0, 6.0)])
            .expect("text can be written");
        assert!(text.ends_with("|\n| order-2 | 2 | 0 |\n| order-3 | 1 | 1 |\n"), "{text}");
    }

    /// Intervals of a second with so many requests each, of as many milliseconds.
    pub(super) fn moments_of(counts: &[f64]) -> Vec<Moment> {
        let moments = (0..).zip(counts).map(|(n, &count)| {
            let (from, longest) = (f64::from(n), (count > 0.0).then_some(count));
            Moment { from, to: from + 1.0, count, errors: 0.0, per_second: Some(count), longest }
        });
        moments.collect()
    }

    fn fault(replica: &str, from: f64, to: f64) -> Fault {
        let replicas = vec![(replica.to_owned(), false)];
        Fault { kind: "killed".into(), replicas, clients: SHOPPING.into(), from, to }
    }
}
