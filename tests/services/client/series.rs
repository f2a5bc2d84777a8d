//! `--interval`: the time series of a run.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use toystore::client::core::stats::RequestType;

use super::program::{TIME_LIMIT, command, finish, stderr, stdout, toystore};
use super::reports::rows;
use crate::fake_store::{Faults, Store};

fn number(row: &HashMap<&str, &str>, column: &str) -> f64 {
    row[column].parse().expect("a number")
}

#[actix_web::test]
async fn the_intervals_together_are_the_run() {
    let store = Store::open(Faults { stock: Some(6), unavailable: 2, ..Faults::default() });
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let base = ["--frontend", store.address.as_str(), "-n", "40", "-p", "1", "-q", "2"];
    let more = ["--interval", "2ms", "--out", folder, "--format", "json"];
    let output = toystore(&[&base[..], &more].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = std::fs::read_to_string(out.path().join("series.csv")).unwrap();
    let series = rows(&text);

    for request in RequestType::ALL {
        let of_it: Vec<_> = series.iter().filter(|row| row["type"] == request.name()).collect();
        let total = &report["requests"][request.name()];
        for column in ["count", "errors", "refusals", "retries"] {
            let sum: f64 = of_it.iter().map(|row| number(row, column)).sum();
            assert_eq!(Some(sum), total[column].as_f64(), "{column} of {}", request.name());
        }
        for row in &of_it {
            let nothing = row["count"] == "0";
            for column in ["per_second", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"] {
                assert_eq!(row[column].is_empty(), nothing, "{column} of {row:?}");
            }
        }
        let most = of_it.iter().filter(|row| row["count"] != "0");
        let most = most.map(|row| number(row, "max_ms")).reduce(f64::max);
        let known = total["max_ms"].as_f64();
        assert!(most.zip(known).is_none_or(|(ours, all)| (ours - all).abs() < 1e-5));
        assert_eq!(most.is_some(), known.is_some());
    }
    // One interval follows another, without a gap, from the start to the end of the check.
    let intervals: Vec<_> = series.iter().filter(|row| row["type"] == "query").collect();
    let mut end = 0.0;
    for row in &intervals {
        assert!(
            (number(row, "time_s") - end - number(row, "interval_s")).abs() < 0.0021,
            "{row:?}"
        );
        end = number(row, "time_s");
    }
    let whole = report["shopping_s"].as_f64().unwrap() + report["checking_s"].as_f64().unwrap();
    assert!(end > 0.0 && end <= whole + 0.001, "{whole} and {end}");
    let began = report["started_unix_s"].as_f64().unwrap();
    assert!((number(intervals[0], "unix_s") - number(intervals[0], "time_s") - began).abs() < 0.01);
    let phases: Vec<_> = intervals.iter().map(|row| row["phase"]).collect();
    assert!(phases.is_sorted_by_key(|phase| *phase == "checking"), "{phases:?}");
    assert!(phases.contains(&"shopping") && phases.contains(&"checking"), "{phases:?}");
}

/// The queries in a series so far; its last line may be half written.
fn queries(path: &Path) -> (usize, f64) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    if whole.is_empty() {
        return (0, 0.0);
    }
    let series = rows(whole);
    let queries: Vec<_> = series.iter().filter(|row| row["type"] == "query").collect();
    (queries.len(), queries.iter().map(|row| number(row, "count")).sum())
}

#[actix_web::test]
async fn if_the_client_is_killed_while_the_store_hangs_all_earlier_intervals_are_in_the_file() {
    let mut store = Store::open(Faults { hangs_from: Some(30), ..Faults::default() });
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let base = ["--frontend", store.address.as_str(), "-c", "2", "-d", "1h", "-p", "0"];
    let mut command = command(&[&base[..], &["--interval", "20ms", "--out", folder]].concat());
    command.stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let hanging = store.queries.wait_for(|queries| *queries >= 32);
    actix_web::rt::time::timeout(TIME_LIMIT, hanging).await.unwrap().unwrap();
    // All that was answered is written, and then one empty interval after the other.
    let path = out.path().join("series.csv");
    let written = async {
        let mut after = None;
        loop {
            let (intervals, counted) = queries(&path);
            if counted >= 30.0 && intervals >= *after.get_or_insert(intervals) + 3 {
                return counted;
            }
            actix_web::rt::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let counted = actix_web::rt::time::timeout(TIME_LIMIT, written).await;
    child.kill().unwrap();
    finish(move || child.wait().unwrap()).await;
    assert_eq!(counted, Ok(30.0));
    assert!((queries(&path).1 - 30.0).abs() < 0.1);
}

#[actix_web::test]
async fn without_a_folder_the_series_is_in_this_one_and_the_report_says_where() {
    let store = Store::open(Faults::default());
    let here = tempfile::tempdir().unwrap();
    let address = store.address.to_string();
    let mut command = command(&["--frontend", &address, "-n", "2", "--interval", "1"]);
    command.current_dir(here.path());
    let output = finish(move || command.output().unwrap()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let second = stdout(&output).lines().nth(1).unwrap();
    assert_eq!(second, "time series: series.csv, every 1s");
    assert!(here.path().join("series.csv").exists());
}

#[actix_web::test]
async fn a_series_that_cannot_be_written_is_known_before_the_run() {
    let store = Store::open(Faults::default());
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("series.csv")).unwrap();
    let folder = here.path().to_str().unwrap();
    let arguments =
        ["--frontend", store.address.as_str(), "-n", "2", "--interval", "1", "--out", folder];
    let output = toystore(&arguments).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("series.csv"), "{}", stderr(&output));
    assert_eq!(store.read(|books| books.log.len()), 0);
}
