//! What a run's report says: as text, JSON and CSV.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::program::{stderr, stdout, toystore};
use crate::fake_store::{Fails, Faults, Store};

#[actix_web::test]
async fn the_text_report_begins_with_the_loop_and_the_seed_and_ends_with_the_check() {
    let store = Store::open(Faults::default());
    let address = store.address.as_str();
    let output = toystore(&["-c", "2", "-n", "5", "-p", "1", "--frontend", address]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("closed loop: 2 clients, 5 iterations each, p = 1, "), "{first}");
    assert!(first.split(' ').next_back().unwrap().parse::<u32>().is_ok(), "{first}");
    assert!(text.ends_with("\nfinal check: checked 10 of 10 orders: all match\n"), "{text}");
    let refused = text.lines().find(|line| line.starts_with("order refused")).unwrap();
    let cells: Vec<&str> = refused.split_whitespace().skip(2).collect();
    assert_eq!(cells, ["0", "0", "0", "0", "-", "-", "-", "-", "-", "-", "-", "-"]);
    assert!(!text.contains("NaN") && !text.contains('\u{1b}'), "{text}");
}

#[actix_web::test]
async fn json_and_csv_can_be_read_back() {
    let store = Store::open(Faults::default());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let base = ["--frontend", store.address.as_str(), "-n", "8", "-p", "1", "--seed", "42"];
    let of = |more: &[&'static str]| [&base[..], more].concat();

    let mut arguments = of(&["--format", "json", "--out"]);
    let out_text = out.to_str().unwrap();
    arguments.push(out_text);
    let output = toystore(&arguments).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["run"]["seed"], 42);
    assert_eq!(report["run"]["loop"], "closed");
    assert_eq!(report["requests"]["query"]["count"], 40);
    assert!(report["requests"]["order"]["p99_ms"].is_f64());
    assert!(report["requests"]["order_refused"]["p99_ms"].is_null());
    assert_eq!(report["check"]["matching"], 40);
    assert_eq!(report["clients"].as_array().unwrap().len(), 5);
    let written = std::fs::read(out.join("report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), report);

    let output = toystore(&of(&["--format", "csv"])).await;
    let csv = stdout(&output).to_owned();
    assert!(
        csv.starts_with("client,type,count,errors,refusals,retries,per_second,min_ms,"),
        "{csv}"
    );
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 6 * 6);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    assert_eq!(rows[1][..3], ["all", "query", "40"]);
    let refused = rows.iter().find(|row| row[1] == "order_refused").unwrap();
    assert!(refused[6..15].iter().all(|cell| cell.is_empty()), "{refused:?}");
    assert_eq!(refused[15..], ["0", "closed"]);
    let written = std::fs::read_to_string(out.join("latencies.csv")).unwrap();
    assert_eq!(written.lines().next(), csv.lines().next());

    let orders = std::fs::read_to_string(out.join("orders.csv")).unwrap();
    assert_eq!(orders.lines().count(), 41);
    assert!(orders.lines().skip(1).all(|line| line.ends_with(",1,match")), "{orders}");
    assert!(orders.contains(",\"Ünö, \"\"quoted\"\"\",1,match"), "{orders}");
}

/// The rows of a CSV file without quotes in it, by column.
pub(crate) fn rows(text: &str) -> Vec<HashMap<&str, &str>> {
    let mut lines = text.lines();
    let heads: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let row = |line| {
        let fields: Vec<&str> = str::split(line, ',').collect();
        assert_eq!(fields.len(), heads.len(), "{line}");
        heads.iter().copied().zip(fields).collect()
    };
    lines.map(row).collect()
}

fn sum_of<'a>(rows: impl Iterator<Item = &'a HashMap<&'a str, &'a str>>) -> u64 {
    rows.map(|row| row["count"].parse::<u64>().expect("a count")).sum()
}

#[actix_web::test]
async fn every_sample_is_in_a_histogram_for_all_and_for_its_client() {
    let store = Store::open(Faults::default());
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let address = store.address.as_str();
    let arguments = ["--frontend", address, "-c", "3", "-n", "7", "-p", "1", "--format", "json"];
    let output = toystore(&[&arguments[..], &["--out", folder]].concat()).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let histograms = std::fs::read_to_string(out.path().join("histograms.csv")).unwrap();
    let fine = rows(&histograms);
    let clients = report["clients"].as_array().unwrap();
    let tables = [("all".to_owned(), &report["requests"])];
    let each = clients.iter().map(|one| (one["client"].to_string(), &one["requests"]));
    for (client, table) in tables.into_iter().chain(each) {
        for (request, row) in table.as_object().unwrap() {
            let bins = row["histogram"].as_array().unwrap();
            let sum: u64 = bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum();
            assert_eq!(json!(sum), row["count"], "{client} {request}");
            let of_it =
                |fine: &&HashMap<&str, &str>| fine["client"] == client && fine["type"] == request;
            assert_eq!(sum_of(fine.iter().filter(of_it)), sum, "{client} {request}");
            let edges: Vec<f64> = bins.iter().map(|b| b["up_to_ms"].as_f64().unwrap()).collect();
            assert!(edges.is_sorted_by(|low, high| low < high), "{edges:?}");
            let most = row["max_ms"].as_f64().unwrap_or(0.0);
            // The extremes are exact, and a histogram is of whole microseconds.
            let least = most * 0.999 - 0.001;
            assert!(edges.last().is_none_or(|edge| *edge >= least), "{edges:?}, {most}");
        }
    }
    assert_eq!(report["clients"][2]["requests"]["order"]["count"], 7);
}

#[actix_web::test]
async fn each_type_of_request_has_its_statuses_and_refusals_are_counted_apart() {
    let faults = Faults { stock: Some(2), unavailable: 1, ..Faults::default() };
    let store = Store::open(faults);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let address = store.address.as_str();
    let base = ["--frontend", address, "-c", "1", "-n", "9", "-p", "1", "-q", "3"];
    let output = toystore(&[&base[..], &["--out", folder]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let report = std::fs::read_to_string(out.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let requests = &report["requests"];
    assert_eq!(requests["query"]["statuses"], json!({"200": 9}));
    assert_eq!(requests["query_hit"]["statuses"]["200"], requests["query_hit"]["count"]);
    assert_eq!(requests["order"]["statuses"], json!({"409": 9, "503": 1}));
    assert_eq!(requests["order_refused"]["statuses"], json!({"409": 9}));
    assert_eq!(requests["order_query"]["statuses"], json!({}));
    assert_eq!(report["statuses"], json!({"200": 9, "409": 9, "503": 1}));
    let order = &requests["order"];
    assert_eq!([&order["count"], &order["refusals"], &order["errors"]], [0, 9, 0]);
    assert!(order["p50_ms"].is_null() && requests["order_refused"]["p50_ms"].is_f64());

    let statuses = std::fs::read_to_string(out.path().join("statuses.csv")).unwrap();
    assert!(statuses.contains("\nall,order,409,9\nall,order,503,1\n"), "{statuses}");
    assert!(statuses.contains("\n1,order_refused,409,9\n"), "{statuses}");

    let text = stdout(&output);
    let block =
        text.find("\norder: 0 succeeded, 0 errors, 9 refused; by status 409 × 9, 503 × 1\n");
    assert!(block.is_some(), "{text}");
    let refused = text.split("\norder refused: 9 succeeded, ").nth(1).unwrap();
    let block: Vec<&str> = refused.lines().take(3).collect();
    assert!(block[0].ends_with("by status 409 × 9"), "{block:?}");
    for percentile in ["p50", "p90", "p95", "p99", "p99.9", "max"] {
        assert!(block[1].contains(&format!("  {percentile} ")), "{block:?}");
    }
    let bar_ends = ['█', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    assert!(block[2].contains(" ms  ") && block[2].ends_with(bar_ends), "{block:?}");
    assert!(!text.contains("\norder query: "), "no order was fetched: {text}");
}

#[actix_web::test]
async fn a_run_of_errors_has_no_figure_made_of_nothing() {
    let store = Store::open(Faults { fails: Fails::Queries, ..Faults::default() });
    let address = store.address.as_str();
    for format in ["text", "json", "csv"] {
        let arguments = ["--frontend", address, "-n", "3", "--format", format];
        let output = toystore(&arguments).await;
        assert_eq!(output.status.code(), Some(1));
        let text = stdout(&output);
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        assert!(!words.iter().any(|word| ["NaN", "nan", "inf"].contains(word)), "{text}");
        // Not one latency: in the table, nor in a block.
        match format {
            "text" => assert!(
                text.split_whitespace().any(|cell| cell == "-") && !text.contains("ms:"),
                "{text}"
            ),
            "csv" => assert!(rows(text).iter().all(|row| row["p50_ms"].is_empty()), "{text}"),
            _ => {
                let report: Value = serde_json::from_str(text).unwrap();
                assert!(report["requests"]["query"]["mean_ms"].is_null(), "{text}");
                assert_eq!(report["requests"]["query"]["histogram"], json!([]));
            }
        }
    }
}

#[actix_web::test]
async fn the_first_line_says_which_loop_it_is() {
    let store = Store::open(Faults::default());
    let base = ["--frontend", store.address.as_str(), "-c", "2", "-n", "3"];
    let output = toystore(&base).await;
    assert!(stdout(&output).starts_with("closed loop: "), "{}", stdout(&output));
    let output = toystore(&[&base[..], &["--rate", "1000"]].concat()).await;
    let first = stdout(&output).lines().next().unwrap();
    let start =
        "open loop: 2 clients, 1000 iterations/s in all, latency counted from when it was due";
    assert!(first.starts_with(start), "{first}");
}
