//! A report as text for people, and as CSV for programs.

use std::fmt::{self, Write as _};

use super::report::{Report, Row, Run, Table};
use super::tally::RequestType;

/// The columns of figures in CSV, after the client and the type.
const CSV_HEADER: &str = "client,type,count,errors,refusals,retries,per_second,min_ms,mean_ms,\
                          p50_ms,p90_ms,p99_ms,p999_ms,max_ms";

/// The whole report as text, after its [`headline`].
#[must_use]
pub fn text(report: &Report) -> String {
    written(|f| write_text(f, report))
}

/// The report's figures as CSV: a row per type of request, for all clients together (client `all`)
/// and for each.
#[must_use]
pub fn latencies_csv(report: &Report) -> String {
    written(|f| {
        writeln!(f, "{CSV_HEADER}")?;
        write_csv_rows(f, "all", &report.requests)?;
        let mut clients = report.clients.iter();
        clients
            .try_for_each(|client| write_csv_rows(f, &client.client.to_string(), &client.requests))
    })
}

/// The clients' orders as CSV, each with what the final check found.
#[must_use]
pub fn orders_csv(report: &Report) -> String {
    written(|f| {
        writeln!(f, "client,number,name,quantity,check")?;
        for (client, receipts) in (1..).zip(&report.receipts) {
            for receipt in receipts.rows() {
                let (order, finding) = (&receipt.order, receipt.finding);
                let name = quoted(order.name.as_str());
                writeln!(f, "{client},{},{name},{},{finding}", order.number, order.quantity)?;
            }
        }
        Ok(())
    })
}

/// A line on what is run: which loop it is, and the seed with which it can be run again.
#[must_use]
pub fn headline(run: &Run) -> String {
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

fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    write(&mut text).expect("a string takes whatever is written to it");
    text
}

fn write_text(f: &mut String, report: &Report) -> fmt::Result {
    let cut = if report.interrupted { ", interrupted" } else { "" };
    let missed = report.iterations_due.unwrap_or_default().saturating_sub(report.iterations);
    let missed = if missed > 0 { format!("; {missed} more were due") } else { String::new() };
    let frontends = report.run.frontends.join(", ");
    writeln!(
        f,
        "{} at {frontends} in {:.3} s{cut}{missed}\n",
        plural(report.iterations, "iteration"),
        report.shopping_s
    )?;
    write_types(f, report)?;
    write_sums(f, report)?;
    write_clients(f, report)?;
    write_complaints(f, report)?;
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
        cells.extend(latencies(row).map(|latency| figure(latency, 3)));
        rows.push(cells);
    }
    write_table(f, &rows)
}

fn write_sums(f: &mut String, report: &Report) -> fmt::Result {
    let answers: Vec<String> =
        report.statuses.iter().map(|(status, count)| format!("{status} × {count}")).collect();
    let answers = if answers.is_empty() { "none".into() } else { answers.join(", ") };
    write!(f, "\nanswers by status: {answers}")?;
    let lost = &report.unanswered;
    if lost.nobody_listens + lost.silent + lost.broken > 0 {
        write!(
            f,
            "; attempts without an answer: nobody listens × {}, silent × {}, broken × {}",
            lost.nobody_listens, lost.silent, lost.broken
        )?;
    }
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
    let hits = report.requests.of(RequestType::QueryHit).count;
    match report.hit_ratio {
        Some(ratio) => writeln!(f, "\ncache: {hits} hits, hit ratio {:.1} %", ratio * 100.0),
        None => writeln!(f, "\ncache: no answer passed one, hit ratio -"),
    }
}

fn write_clients(f: &mut String, report: &Report) -> fmt::Result {
    writeln!(f, "\nmean latency in ms of each client:")?;
    let heads = ["client", "front-end", "requests", "orders"].map(str::to_owned);
    let mut rows = vec![heads.into_iter().chain(RequestType::ALL.map(spoken)).collect::<Vec<_>>()];
    for client in &report.clients {
        let mut cells = vec![
            client.client.to_string(),
            client.frontend.clone(),
            client.requests_made.to_string(),
            client.orders.to_string(),
        ];
        let means = RequestType::ALL.map(|request| client.requests.of(request).latency.mean_ms);
        cells.extend(means.map(|mean| figure(mean, 3)));
        rows.push(cells);
    }
    write_table(f, &rows)
}

fn write_complaints(f: &mut String, report: &Report) -> fmt::Result {
    if report.complaints.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nerrors:")?;
    report.complaints.iter().try_for_each(|(reason, count)| writeln!(f, "  {count} × {reason}"))
}

fn write_check(f: &mut String, report: &Report) -> fmt::Result {
    let check = &report.check;
    write!(f, "\nfinal check: checked {} of {} orders: ", check.checked, check.orders)?;
    if check.failed == 0 {
        return writeln!(f, "all match");
    }
    writeln!(f, "{} failed", plural(check.failed, "check"))?;
    check.failures.iter().try_for_each(|failure| writeln!(f, "  {failure}"))?;
    let untold = check.failed - check.failures.len() as u64;
    if untold > 0 { writeln!(f, "  … and {untold} more") } else { Ok(()) }
}

/// Writes rows in columns: the first to the left, figures to the right.
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

fn write_csv_rows(f: &mut String, client: &str, table: &Table) -> fmt::Result {
    for (request, row) in &table.0 {
        let Row { count, errors, refusals, retries, per_second, .. } = row;
        write!(f, "{client},{},{count},{errors},{refusals},{retries}", request.name())?;
        for value in std::iter::once(*per_second).chain(latencies(row)) {
            match value {
                Some(value) => write!(f, ",{value:.6}")?,
                None => write!(f, ",")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

fn latencies(row: &Row) -> [Option<f64>; 7] {
    let l = &row.latency;
    [l.min_ms, l.mean_ms, l.p50_ms, l.p90_ms, l.p99_ms, l.p999_ms, l.max_ms]
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

/// A CSV field; quoted if it has to be (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
