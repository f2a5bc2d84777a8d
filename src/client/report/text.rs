//! A report as text for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::table::Row;
use super::{Report, Run, written};
use crate::client::core::latency::{Bin, Summary};
use crate::client::core::stats::{RequestType, Unanswered};

/// The width of the longest bar of a histogram.
const BAR_COLUMNS: u64 = 30;
/// Clients with a line of their own; JSON and CSV have all.
const MOST_CLIENTS: usize = 20;

/// The whole report as text, after its [`headline`].
pub(crate) fn text(report: &Report) -> String {
    written(|f| write_text(f, report))
}

/// A line with the run's settings: the loop, and the seed that repeats the run.
pub(crate) fn headline(run: &Run) -> String {
    let clients = plural(u64::from(run.clients), "client");
    let pace = match run.rate {
        Some(rate) => format!(
            "open loop: {clients}, {rate} iterations/s in all, latency counted from when it was due"
        ),
        None => format!("closed loop: {clients}"),
    };
    let end = match (run.iterations, run.duration_s) {
        (Some(iterations), _) => format!("{} each", plural(iterations, "iteration")),
        (None, seconds) => format!("{} s", seconds.unwrap_or_default()),
    };
    let Run { probability, quantity, seed, .. } = run;
    format!("{pace}, {end}, p = {probability}, quantity {quantity}, seed {seed}\n")
}

fn write_text(f: &mut String, report: &Report) -> fmt::Result {
    let interrupted = if report.interrupted { ", interrupted" } else { "" };
    let missed = report.iterations_missed.filter(|missed| *missed > 0);
    let missed = missed.map_or(String::new(), |missed| format!("; {missed} more were due"));
    let frontends = report.run.frontends.join(", ");
    writeln!(
        f,
        "{} at {frontends} in {:.3} s{interrupted}{missed}\n",
        plural(report.iterations, "iteration"),
        report.shopping_s
    )?;
    write_types(f, report)?;
    write_sums(f, report)?;
    report.requests.0.iter().try_for_each(|(request, row)| write_type(f, *request, row))?;
    write_clients(f, report)?;
    write_reasons(f, report)?;
    write_thresholds(f, report)?;
    write_check(f, report)
}

fn write_types(f: &mut String, report: &Report) -> fmt::Result {
    let heads = [
        "request", "count", "errors", "refused", "retries", "per s", "min ms", "mean", "p50",
        "p90", "p99", "p99.9", "max",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (request, row) in &report.requests.0 {
        let counts = [row.count, row.errors, row.refusals, row.retries].map(|n| n.to_string());
        let mut cells = vec![spoken(*request)];
        cells.extend(counts);
        cells.push(figure(row.per_second, 1));
        cells.extend(row.latency.columns().map(|latency| figure(latency, 3)));
        rows.push(cells);
    }
    write_table(f, &rows)
}

fn write_sums(f: &mut String, report: &Report) -> fmt::Result {
    write!(f, "\nanswers by status: ")?;
    write_statuses(f, &report.statuses)?;
    write_unanswered(f, report.unanswered)?;
    let row = report.requests.of(RequestType::Order);
    write!(
        f,
        "\norders: {} made, {} bought, {} refused, {}, {}",
        report.orders,
        plural(report.units, "unit"),
        row.refusals,
        plural(row.errors, "error"),
        if row.retries == 1 { "1 retry".into() } else { format!("{} retries", row.retries) },
    )?;
    if report.orders_in_doubt > 0 {
        write!(f, "; {} may have been made without an answer", report.orders_in_doubt)?;
    }
    if !report.order_timing.is_empty() {
        let part = |(name, took): (&&str, &Summary)| {
            format!("{name} {} / {}", figure(took.mean_ms, 3), figure(took.p99_ms, 3))
        };
        let parts: Vec<String> = report.order_timing.iter().map(part).collect();
        write!(f, "\nwhere orders spent their time, mean / p99 in ms: {}", parts.join(", "))?;
    }
    let hits = report.requests.of(RequestType::QueryHit).count;
    match report.hit_ratio {
        Some(ratio) => writeln!(f, "\ncache: {hits} hits, hit ratio {:.1} %", ratio * 100.0),
        None => writeln!(f, "\ncache: no answer passed one, hit ratio -"),
    }
}

/// The block of one type of request, if there was any: percentiles, statuses and a histogram.
fn write_type(f: &mut String, request: RequestType, row: &Row) -> fmt::Result {
    if row.statuses.is_empty() && row.unanswered.sum() == 0 {
        return Ok(());
    }
    let l = &row.latency;
    let name = spoken(request);
    write!(f, "\n{name}: {} succeeded, {}", row.count, plural(row.errors, "error"))?;
    if request == RequestType::Order {
        write!(f, ", {} refused", row.refusals)?;
    }
    write!(f, "; by status ")?;
    write_statuses(f, &row.statuses)?;
    write_unanswered(f, row.unanswered)?;
    if row.count == 0 {
        return writeln!(f);
    }
    write!(f, "\n  ms:")?;
    let percentiles = [
        ("p50", l.p50_ms),
        ("p90", l.p90_ms),
        ("p95", l.p95_ms),
        ("p99", l.p99_ms),
        ("p99.9", l.p999_ms),
        ("max", l.max_ms),
    ];
    percentiles.iter().try_for_each(|(name, value)| write!(f, "  {name} {}", figure(*value, 3)))?;
    writeln!(f)?;
    write_histogram(f, &row.histogram)
}

fn write_histogram(f: &mut String, bins: &[Bin]) -> fmt::Result {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or_default().max(1);
    let edges: Vec<String> = bins.iter().map(|bin| format!("{}", bin.up_to_ms)).collect();
    let edge_width = edges.iter().map(String::len).max().unwrap_or_default();
    let count_width = most.to_string().len();
    for (bin, edge) in bins.iter().zip(&edges) {
        let bar = bar(bin.count, most);
        let line = format!("  ≤ {edge:>edge_width$} ms  {:>count_width$}  {bar}", bin.count);
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A bar in eighths of a column. A count above zero has at least one eighth.
fn bar(count: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * u128::from(BAR_COLUMNS * 8) / u128::from(most);
    let eighths = usize::try_from(eighths).unwrap_or_default().max(usize::from(count > 0));
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn write_statuses(f: &mut String, statuses: &BTreeMap<u16, u64>) -> fmt::Result {
    if statuses.is_empty() {
        return f.write_str("none");
    }
    let statuses: Vec<String> =
        statuses.iter().map(|(status, count)| format!("{status} × {count}")).collect();
    f.write_str(&statuses.join(", "))
}

fn write_unanswered(f: &mut String, attempts: Unanswered) -> fmt::Result {
    if attempts.sum() == 0 {
        return Ok(());
    }
    write!(
        f,
        "; attempts without an answer: connection refused × {}, timed out × {}, broken × {}",
        attempts.refused, attempts.timed_out, attempts.broken
    )
}

fn write_clients(f: &mut String, report: &Report) -> fmt::Result {
    writeln!(f, "\nmean / p99 of the latency in ms, as each client saw it:")?;
    let heads = ["client", "front-end", "requests", "orders"].map(str::to_owned);
    let mut rows = vec![heads.into_iter().chain(RequestType::ALL.map(spoken)).collect::<Vec<_>>()];
    for client in report.clients.iter().take(MOST_CLIENTS) {
        let mut cells = vec![
            client.client.to_string(),
            client.frontend.clone(),
            client.requests_made.to_string(),
            client.orders.to_string(),
        ];
        cells.extend(RequestType::ALL.map(|request| {
            let latency = &client.requests.of(request).latency;
            match (latency.mean_ms, latency.p99_ms) {
                (Some(mean), Some(p99)) => format!("{mean:.3} / {p99:.3}"),
                _ => "-".into(),
            }
        }));
        rows.push(cells);
    }
    write_table(f, &rows)?;
    match report.clients.len().checked_sub(MOST_CLIENTS) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "… and {more} more, in JSON and CSV"),
    }
}

fn write_reasons(f: &mut String, report: &Report) -> fmt::Result {
    if report.reasons.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nerrors:")?;
    report.reasons.iter().try_for_each(|(reason, count)| writeln!(f, "  {count} × {reason}"))
}

fn write_thresholds(f: &mut String, report: &Report) -> fmt::Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nthresholds:")?;
    report.thresholds.iter().try_for_each(|judgement| writeln!(f, "  {judgement}"))
}

fn write_check(f: &mut String, report: &Report) -> fmt::Result {
    let check = &report.check;
    if check.orders == 0 {
        return writeln!(f, "\nfinal check: there are no orders to check");
    }
    write!(f, "\nfinal check: checked {} of {} orders: ", check.checked, check.orders)?;
    if check.failed == 0 {
        return writeln!(f, "all match");
    }
    writeln!(f, "{} failed", plural(check.failed, "check"))?;
    check.failures.iter().try_for_each(|failure| writeln!(f, "  {failure}"))?;
    let more = check.failed - check.failures.len() as u64;
    if more > 0 { writeln!(f, "  … and {more} more") } else { Ok(()) }
}

/// Writes rows in columns: the first one flush left, the figures flush right.
fn write_table(f: &mut String, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        write!(f, "{:<width$}", row[0], width = widths[0])?;
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(f, "  {cell:>width$}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

fn spoken(request: RequestType) -> String {
    request.name().replace('_', " ")
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_count_and_never_empty_for_a_count_above_zero() {
        assert_eq!(bar(0, 100), "");
        assert_eq!(bar(100, 100), "█".repeat(30));
        assert_eq!(bar(50, 100), "█".repeat(15));
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(u64::MAX, u64::MAX).chars().count(), 30);
    }

    #[test]
    fn a_histogram_has_a_line_for_each_bin() {
        let mut text = String::new();
        let bin = |up_to_ms, count| Bin { up_to_ms, count };
        write_histogram(&mut text, &[bin(0.5, 2), bin(1.0, 0), bin(20.0, 1)]).unwrap();
        let (long, short) = ("█".repeat(30), "█".repeat(15));
        let expected = format!("  ≤ 0.5 ms  2  {long}\n  ≤   1 ms  0\n  ≤  20 ms  1  {short}\n");
        assert_eq!(text, expected);
    }
}
