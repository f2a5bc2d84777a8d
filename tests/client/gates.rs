//! `--fail-if`: which runs fail, with which status, and what is said of it.

use serde_json::{Value, json};

use crate::program::{stderr, stdout, toystore};
use crate::store::{Manners, Store};

#[actix_web::test]
async fn a_run_that_passes_its_gates_says_so_and_is_well() {
    let store = Store::open(Manners::default());
    let base = ["--frontend", store.address.as_str(), "-n", "4", "-p", "1"];
    let gates =
        ["--fail-if", "order.p99>50s", "--fail-if", "errors > 0", "--fail-if", "rate<0.001"];
    let output = toystore(&[&base[..], &gates].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("\ngates:\n  order.p99>50s: passed, it is "), "{text}");
    assert!(text.contains("\n  errors > 0: passed, it is 0\n"), "{text}");
}

#[actix_web::test]
async fn a_gate_that_is_not_passed_fails_the_run_with_a_status_of_its_own() {
    let store = Store::open(Manners::default());
    let base = ["--frontend", store.address.as_str(), "-c", "2", "-n", "4", "-p", "1"];
    for gate in [
        "order.p99>0us",
        "order.count>=8",
        "query.errors<=0",
        "query_hit.max<1000s",
        "orders<9",
        "iterations>7",
        "order_query.rate>0",
        "error_ratio<1%",
        "hit_ratio<=100%",
    ] {
        let gates = ["--format", "json", "--fail-if", "errors>0", "--fail-if", gate];
        let output = toystore(&[&base[..], &gates].concat()).await;
        assert_eq!(output.status.code(), Some(3), "{gate}: {}", stderr(&output));
        let complaint = stderr(&output);
        assert!(complaint.contains(&format!("--fail-if: {gate}: failed, it is ")), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["gates"][0]["outcome"], "passed");
        assert_eq!(report["gates"][1]["outcome"], "failed");
        assert_eq!(report["gates"][1]["gate"], gate);
        assert!(report["gates"][1]["value"].is_f64());
    }
}

#[actix_web::test]
async fn a_gate_without_samples_fails_the_run() {
    let store = Store::open(Manners::default());
    let base = ["--frontend", store.address.as_str(), "-n", "2", "-p", "0"];
    for gate in ["order.p99>50ms", "order.mean<1us", "order.rate>5", "missed>0"] {
        let output = toystore(&[&base[..], &["--fail-if", gate]].concat()).await;
        assert_eq!(output.status.code(), Some(3), "{gate}");
        let reason = format!("{gate}: failed, there are no samples");
        assert!(stderr(&output).contains(&reason), "{}", stderr(&output));
        assert!(stdout(&output).contains(&reason), "{}", stdout(&output));
    }
    // A count of none is a count.
    let output = toystore(&[&base[..], &["--fail-if", "order.count>0"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[actix_web::test]
async fn a_failed_check_goes_before_a_failed_gate() {
    let store = Store::open(Manners { lies_about: Some(0), ..Manners::default() });
    let base = ["--frontend", store.address.as_str(), "-n", "2", "-p", "1", "--format", "json"];
    let output = toystore(&[&base[..], &["--fail-if", "orders>0"]].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["gates"][0]["outcome"], "failed");
    assert_eq!(report["check"]["failed"], json!(1));
}
