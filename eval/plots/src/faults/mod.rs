//! Crashes and hangs of order replicas: throughput and latency over time, and what clients noticed.

use std::fmt::Write as _;
use std::fs;
use std::ops::Add as _;
use std::path::Path;

use crate::Problem;
use crate::chart::{Axis, COLOURS, Frame, Line, Page, Shape, Style};
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

/// A replica that was killed or stopped, in seconds since the run began.
struct Fault {
    kind: String,
    replica: String,
    leader: bool,
    /// What the clients were at: `shopping` or `checking`.
    clients: String,
    from: f64,
    to: f64,
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
    let mut faults = Vec::new();
    for row in read(&data.join("faults.csv"))? {
        faults.push(Fault {
            kind: row.text("kind")?.to_owned(),
            replica: row.text("replica")?.to_owned(),
            leader: row.text("leader")? == "yes",
            clients: row.text("clients")?.to_owned(),
            from: row.number("from_unix_s")? - began,
            to: row.number("to_unix_s")? - began,
        });
    }
    let seen = Seen {
        queries: moments(&series, SHOPPING, "query")?,
        orders: moments(&series, SHOPPING, "order")?,
        order_queries: moments(&series, CHECKING, "order_query")?,
    };
    draw_timeline(&faults, &seen, &figures.join("faults-timeline.svg"))?;
    let totals = read(&data.join("latencies.csv"))?;
    let databases = read(&data.join("databases.csv"))?;
    let checks = read(&data.join("orders.csv"))?;
    let text = summary(&faults, &seen, &totals, &checks, &databases)?;
    fs::write(data.join("summary.md"), text)?;
    Ok(())
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

/// The shopping, that is. (The final check, which goes as fast as it can, is in the summary.)
fn draw_timeline(faults: &[Fault], seen: &Seen, path: &Path) -> Result<(), Problem> {
    let Seen { queries, orders, .. } = seen;
    let faults = || faults.iter().filter(|fault| fault.clients == SHOPPING);
    let end = orders.last().ok_or("there are no orders")?.to;
    let all = || queries.iter().chain(orders);
    // Who was kept waiting catches up at once. An axis up to there would show nothing else.
    let fastest = all().filter_map(|moment| moment.per_second).fold(0.0, f64::max);
    let usual: Vec<f64> = queries.iter().filter_map(|moment| moment.per_second).collect();
    let usual = quantile(&usual, 0.5).ok_or("there are no queries")?;
    let most_shown = if usual > 0.0 { fastest.min(2.0 * usual) } else { fastest };
    let longest: Vec<f64> = all().filter_map(|moment| moment.longest).collect();
    let (least, most) = (quantile(&longest, 0.0), quantile(&longest, 1.0));
    let (least, most) = least.zip(most).ok_or("nothing was answered")?;
    let axis = Axis::from_zero("time, s", end);
    let ticks: Vec<_> = axis.ticks.iter().filter(|(at, _)| *at <= end).cloned().collect();
    let x = Axis { high: end, ticks, ..axis };
    let rates = Frame {
        title: String::new(),
        corner: (120, 90),
        size: (1_240, 230),
        x: Axis { label: String::new(), ..x.clone() },
        y: Axis::from_zero("requests per second", most_shown),
    };
    let latencies = Frame {
        title: "Longest latency in each tenth of a second, from when it was due".into(),
        corner: (120, 420),
        size: (1_240, 280),
        x,
        y: Axis::log("milliseconds", least.max(0.01), most),
    };
    let styles = [Style::of_series(0), Style { shape: Shape::Square, ..Style::of_series(2) }];
    Page::draw(path, (1_420, 900), "Throughput and latency while replicas fail", |page| {
        page.heading("Requests that were answered as hoped", (120, 34))?;
        for frame in [&rates, &latencies] {
            for fault in faults() {
                page.band(frame, fault.from, fault.to, colour_of(fault))?;
            }
            page.frame(frame)?;
        }
        for fault in faults().filter(|fault| fault.leader) {
            let (at, top) = rates.at(f64::midpoint(fault.from, fault.to), rates.y.high);
            page.note_above("L", (at, top - 1))?;
        }
        // Queries last: they come evenly, so it is their line that shows a time without service.
        for (moments, style) in [queries, orders].into_iter().zip(styles).rev() {
            let rate = moments.iter().filter_map(|m| Some((m.to, m.per_second?)));
            let rate: Vec<_> = rate.map(|(to, rate)| (to, rate.min(rates.y.high))).collect();
            page.curve(&rates, &rate, style.colour)?;
            let longest: Vec<_> =
                moments.iter().filter_map(|m| Some((m.to, m.longest?.max(0.01)))).collect();
            page.dots(&latencies, &longest, Style { line: Line::None, ..style })?;
        }
        let names = ["queries", "orders"].into_iter().zip(styles);
        let names: Vec<_> = names.map(|(name, style)| (name.to_owned(), style)).collect();
        page.legend((120, 810), &names)?;
        page.legend_of_area((340, 810), "replica killed (SIGKILL)", COLOURS[3])?;
        page.legend_of_area((340, 838), "replica stopped (SIGSTOP)", COLOURS[5])?;
        page.note("L: it was the leader.", (720, 810))?;
        page.note("The bands end when the replica is brought back.", (720, 838))?;
        if fastest > rates.y.high {
            let words = format!(
                "Bursts of up to {}/s, when clients catch up, are cut off.",
                with_commas(fastest)
            );
            page.note(&words, (720, 866))?;
        }
        Ok(())
    })
}

fn colour_of(fault: &Fault) -> plotters::style::RGBColor {
    if fault.kind == "killed" { COLOURS[3] } else { COLOURS[5] }
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

/// A whole number with its thousands set apart.
fn with_commas(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
         machine is in `machine.json`.\n\n## What clients noticed\n\n| type | answered as hoped | \
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
    let mut replicas: Vec<&str> = faults.iter().map(|fault| fault.replica.as_str()).collect();
    replicas.sort_unstable();
    replicas.dedup();
    *text += "\nWho was hurt, the final check included:\n\n| replica | times | as the leader \
              |\n|---|---|---|\n";
    for replica in replicas {
        let its = || faults.iter().filter(|fault| fault.replica == replica);
        let led = its().filter(|fault| fault.leader).count();
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
        let whom = if fault.leader { "leader" } else { "follower" };
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
    for (kind, leader, name) in [
        ("killed", true, "leader killed"),
        ("stopped", true, "leader stopped"),
        ("killed", false, "follower killed"),
        ("stopped", false, "follower stopped"),
    ] {
        let these = || {
            let shopping = faults.iter().filter(|fault| fault.clients == SHOPPING);
            shopping.filter(|fault| fault.kind == kind && fault.leader == leader)
        };
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
    fn a_kind_of_fault_that_did_not_occur_has_no_errors() {
        let mut text = String::new();
        let seen = Seen { queries: vec![], orders: vec![], order_queries: vec![] };
        write_kinds(&mut text, &[], &seen).expect("text can be written");
        assert!(text.starts_with("| leader killed | 0 | - | - | - | - | 0 |\n"), "{text}");
        text.clear();
        let faults = [fault("order-2", 1.0, 2.0), fault("order-2", 5.0, 6.0)];
        write_replicas(&mut text, &faults).expect("text can be written");
        assert!(text.ends_with("|\n| order-2 | 2 | 0 |\n"), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let numbers = [0.4, 999.0, 1_040.4, 1_234_567.0];
        assert_eq!(numbers.map(with_commas), ["0", "999", "1,040", "1,234,567"]);
    }

    /// Intervals of a second with so many requests each, of as many milliseconds.
    fn moments_of(counts: &[f64]) -> Vec<Moment> {
        let moments = (0..).zip(counts).map(|(n, &count)| {
            let (from, longest) = (f64::from(n), (count > 0.0).then_some(count));
            Moment { from, to: from + 1.0, count, errors: 0.0, per_second: Some(count), longest }
        });
        moments.collect()
    }

    fn fault(replica: &str, from: f64, to: f64) -> Fault {
        let (kind, clients) = ("hurt".into(), SHOPPING.into());
        Fault { kind, replica: replica.into(), leader: false, clients, from, to }
    }
}
