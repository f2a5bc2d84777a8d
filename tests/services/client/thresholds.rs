//! `--fail-if`: which runs fail, with which status, and with which message.

use serde_json::{Value, json};

use super::program::{stderr, stdout, toystore};
use crate::fake_store::{Faults, Store};

#[actix_web::test]
async fn a_run_that_passes_its_thresholds_says_so_and_succeeds() {
    let store = Store::open(Faults::default());
    let base = ["--frontend", store.address.as_str(), "-n", "4", "-p", "1"];
    let thresholds = [
        "--fail-if",
        "requests.order.p99_ms>50000",
        "--fail-if",
        "errors > 0",
        "--fail-if",
        "iterations_per_second<0.001",
    ];
    let output = toystore(&[&base[..], &thresholds].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let passed = "\nthresholds:\n  requests.order.p99_ms>50000: passed, it is ";
    assert!(text.contains(passed), "{text}");
    assert!(text.contains("\n  errors > 0: passed, it is 0\n"), "{text}");
}

#[actix_web::test]
async fn a_threshold_that_is_not_passed_fails_the_run_with_a_status_of_its_own() {
    let store = Store::open(Faults::default());
    let base = ["--frontend", store.address.as_str(), "-c", "2", "-n", "4", "-p", "1"];
    for condition in [
        "requests.order.p99_ms>0",
        "requests.order.count>=8",
        "requests.query.errors<=0",
        "requests.query_hit.max_ms<1000000",
        "orders<9",
        "iterations>7",
        "requests.order_query.per_second>0",
        "error_ratio<0.01",
        "hit_ratio<=1",
        "statuses.200>=24",
        "statuses.503<1",
        "unanswered_attempts<1",
        "check.matching<=8",
    ] {
        let thresholds = ["--format", "json", "--fail-if", "errors>0", "--fail-if", condition];
        let output = toystore(&[&base[..], &thresholds].concat()).await;
        assert_eq!(output.status.code(), Some(3), "{condition}: {}", stderr(&output));
        let error = stderr(&output);
        assert!(error.contains(&format!("--fail-if: {condition}: failed, it is ")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["gates"][0]["outcome"], "passed");
        assert_eq!(report["gates"][1]["outcome"], "failed");
        assert_eq!(report["gates"][1]["gate"], condition);
        assert!(report["gates"][1]["value"].is_f64());
    }
}

#[actix_web::test]
async fn a_threshold_without_samples_fails_the_run() {
    let store = Store::open(Faults::default());
    let base = ["--frontend", store.address.as_str(), "-n", "2", "-p", "0"];
    for condition in [
        "requests.order.p99_ms>50",
        "requests.order.mean_ms<0.001",
        "requests.order.per_second>5",
        "iterations_missed>0",
    ] {
        let output = toystore(&[&base[..], &["--fail-if", condition]].concat()).await;
        assert_eq!(output.status.code(), Some(3), "{condition}");
        let reason = format!("{condition}: failed, there are no samples");
        assert!(stderr(&output).contains(&reason), "{}", stderr(&output));
        assert!(stdout(&output).contains(&reason), "{}", stdout(&output));
    }
    // A count of zero is a value.
    let output = toystore(&[&base[..], &["--fail-if", "requests.order.count>0"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[actix_web::test]
async fn an_unknown_field_is_an_error_before_the_run() {
    let store = Store::open(Faults::default());
    let base = ["--frontend", store.address.as_str(), "-n", "2"];
    let output = toystore(&[&base[..], &["--fail-if", "requests.order.p98_ms>50"]].concat()).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    let error = stderr(&output);
    assert!(error.contains("no field 'requests.order.p98_ms'; there are count, "), "{error}");
    assert_eq!(store.read(|books| books.log.len()), 0);
}

#[actix_web::test]
async fn a_failed_check_goes_before_a_failed_threshold() {
    let store = Store::open(Faults { lies_about: Some(0), ..Faults::default() });
    let base = ["--frontend", store.address.as_str(), "-n", "2", "-p", "1", "--format", "json"];
    let output = toystore(&[&base[..], &["--fail-if", "orders>0"]].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["gates"][0]["outcome"], "failed");
    assert_eq!(report["check"]["failed"], json!(1));
}
