//! A report, and a time series, as CSV for programs.
//!
//! Columns are only ever added, at the end. A figure that does not exist is an empty field.

use std::fmt::{self, Write as _};

use super::table::{Row, Table};
use super::{Report, written};

const LATENCIES_HEADER: &str = "client,type,count,errors,refusals,retries,per_second,min_ms,\
                                mean_ms,p50_ms,p90_ms,p99_ms,p999_ms,max_ms,p95_ms,unanswered,loop";

/// The first line of a time series.
pub(crate) const SERIES_HEADER: &str = "unix_s,time_s,interval_s,phase,type,count,errors,refusals,\
                                        retries,unanswered,per_second,mean_ms,p50_ms,p95_ms,\
                                        p99_ms,max_ms\n";

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Queries and orders.
    Shopping,
    /// The final check.
    Checking,
}

/// The report's figures: a row per type of request, for all clients together (client `all`) and for
/// each.
pub(crate) fn latencies(report: &Report) -> String {
    of_all_and_each(report, LATENCIES_HEADER, |f, client, request, row| {
        let Row { count, errors, refusals, retries, latency: l, .. } = row;
        write!(f, "{client},{request},{count},{errors},{refusals},{retries}")?;
        write_figures(f, [row.per_second].into_iter().chain(l.columns()).chain([l.p95_ms]))?;
        // A latency counts from a different moment in each loop.
        writeln!(f, ",{},{}", row.unanswered.sum(), report.run.schedule)
    })
}

/// The histograms, to three digits.
pub(crate) fn histograms(report: &Report) -> String {
    of_all_and_each(report, "client,type,up_to_ms,count", |f, client, request, row| {
        let mut bins = row.all_bins.iter();
        bins.try_for_each(|bin| writeln!(f, "{client},{request},{:.3},{}", bin.up_to_ms, bin.count))
    })
}

/// Attempts by HTTP status.
pub(crate) fn statuses(report: &Report) -> String {
    of_all_and_each(report, "client,type,status,count", |f, client, request, row| {
        let mut statuses = row.statuses.iter();
        statuses.try_for_each(|(status, n)| writeln!(f, "{client},{request},{status},{n}"))
    })
}

/// The clients' orders, each with the finding of the final check.
pub(crate) fn orders(report: &Report) -> String {
    written(|f| {
        writeln!(f, "client,number,name,quantity,check")?;
        for (client, receipts) in (1..).zip(&report.receipts) {
            for receipt in &receipts.rows {
                let (order, finding) = (&receipt.order, receipt.finding);
                let name = quoted(order.name.as_str());
                writeln!(f, "{client},{},{name},{},{finding}", order.number, order.quantity)?;
            }
        }
        Ok(())
    })
}

/// A row per type of request for one interval of a time series: its end, counted from 1970 and
/// from the start of the run, and its length; all in seconds.
pub(crate) fn series_rows(times: [f64; 3], phase: Phase, table: &Table) -> String {
    let [unix_s, since_start_s, interval_s] = times;
    let phase = match phase {
        Phase::Shopping => "shopping",
        Phase::Checking => "checking",
    };
    written(|f| {
        for (request, row) in &table.0 {
            let Row { count, errors, refusals, retries, latency: l, .. } = row;
            let unanswered = row.unanswered.sum();
            write!(f, "{unix_s:.3},{since_start_s:.3},{interval_s:.3},{phase},{}", request.name())?;
            write!(f, ",{count},{errors},{refusals},{retries},{unanswered}")?;
            let figures = [row.per_second, l.mean_ms, l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms];
            write_figures(f, figures)?;
            writeln!(f)?;
        }
        Ok(())
    })
}

/// Writes a header, and the rows of each type of request, for all clients together and for each.
fn of_all_and_each(
    report: &Report,
    header: &str,
    write_row: impl Fn(&mut String, &str, &str, &Row) -> fmt::Result,
) -> String {
    let write_table = |f: &mut String, client: &str, table: &Table| {
        let mut rows = table.0.iter();
        rows.try_for_each(|(request, row)| write_row(f, client, request.name(), row))
    };
    written(|f| {
        writeln!(f, "{header}")?;
        write_table(f, "all", &report.requests)?;
        let mut clients = report.clients.iter();
        clients.try_for_each(|client| write_table(f, &client.client.to_string(), &client.requests))
    })
}

fn write_figures(f: &mut String, figures: impl IntoIterator<Item = Option<f64>>) -> fmt::Result {
    figures.into_iter().try_for_each(|figure| match figure {
        Some(figure) => write!(f, ",{figure:.6}"),
        None => f.write_str(","),
    })
}

/// A field; quoted if it has to be (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::core::stats::{RequestType, Stats};

    #[test]
    fn an_interval_without_requests_has_rows_of_zeros_and_no_latencies() {
        let mut stats = Stats::default();
        stats.succeeded(RequestType::Query, Duration::from_millis(2));
        stats.failed(RequestType::Order, "a reason");
        let table = Table::new(&stats, |_| Duration::from_millis(500));
        let rows = series_rows([9.5, 1.5, 0.5], Phase::Shopping, &table);
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows.len(), RequestType::ALL.len());
        let two = "2.000000";
        let start = "9.500,1.500,0.500,shopping";
        let query = format!("{start},query,1,0,0,0,0,{two},{two},{two},{two},{two},{two}");
        assert_eq!(rows[0], query);
        assert_eq!(rows[3], format!("{start},order,0,1,0,0,0,,,,,,"));
        let columns = SERIES_HEADER.split(',').count();
        assert!(rows.iter().all(|row| row.split(',').count() == columns));
    }

    #[test]
    fn fields_are_quoted_if_they_have_to_be() {
        assert_eq!(quoted("Tux"), "Tux");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}
