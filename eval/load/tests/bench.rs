//! Every row of `eval/bench` can be measured: its scripts run, in their shortest form, with the
//! systems that they compare the store with.
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

use std::path::Path;
use std::process::Command;

/// What the rows need that a machine may lack. `tests/run.sh` installs it.
const PROGRAMS: [&str; 7] = ["curl", "etcd", "nginx", "pg_ctlcluster", "psql", "varnishd", "wrk"];

#[test]
#[ignore = "three minutes, mostly of waiting: eval/bench/test.sh runs it"]
fn every_row_of_the_comparison_can_be_measured() {
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    // test.sh has built it.
    let store = load.with_file_name("toystore");
    let missing = missing();
    if !missing.is_empty() || !store.is_file() {
        let is_ci = std::env::var_os("CI").is_some();
        assert!(!is_ci, "{missing:?} or {} is missing", store.display());
        eprintln!("left out: {missing:?} or {} is missing; tests/run.sh gets it", store.display());
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/run.sh");
    let run = Command::new(script)
        .args(["--quick", "all"])
        .env("LOAD_BIN", load)
        .env("TOYSTORE_BIN", &store)
        .output()
        .expect("the script can be run");
    let (out, error) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{error}");
    let rows = [
        "cached queries, 256 connections: per second",
        "queries without a cache, 5 connections: p50, ms",
        "orders of 64 clients: per second",
        "orders of 5 clients: p99, ms",
        "engines | the same, TLS between roles | 5",
        "engines | the store on PostgreSQL, one of two standbys | 64",
        "engines | the store on PostgreSQL, both standbys | 64",
        "queries while 64 clients order: p99, ms",
        "orders of 5 clients during a flood: per second",
        "leader killed: ms without an order",
        "leader stopped: ms without an order",
        "changes of the leader while 1,000 clients order",
        "the catalog with 20,000 orders, read from the disk",
        "all roles started at once: ms to the first order",
        "an empty replica fetches: orders per second",
        "5 replicas: processor time when idle",
    ];
    for row in rows {
        assert!(out.contains(&format!("| {row}")), "there is no row {row}:\n{out}\n{error}");
    }
}

fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let is_there = |name: &&str| folders.iter().any(|folder| folder.join(name).is_file());
    PROGRAMS.into_iter().filter(|name| !is_there(name)).collect()
}
