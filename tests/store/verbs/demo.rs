//! `toystore demo`.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs::File;
use std::process::Command;

use rustix::process::{Pid, Signal};

use super::command::{Store, send};
use crate::eventually::eventually;

#[test]
fn the_demo_changes_the_leader_and_leaves_nothing_running() {
    let store = Store::new();
    let said = store.expect(0, &["demo"]);
    said.says("order-3 (pid").says("is killed").says("order-2 leads now");
    said.says("order-3 is ready").says("all match");
    let has_sqlite3 = Command::new("sqlite3").arg("-version").output().is_ok();
    if std::env::var_os("CI").is_some() || has_sqlite3 {
        said.says("All replicas have the same orders");
    } else {
        said.says("apt-get install -y sqlite3");
    }
    store.expect_all_down();
}

#[test]
fn the_demo_is_refused_while_a_role_runs() {
    let store = Store::new();
    store.expect(0, &["up"]);
    store.expect(1, &["demo"]).says("runs already").says("down");
    store.expect(0, &["status"]);
}

#[actix_web::test]
async fn a_demo_that_is_ended_early_leaves_nothing_running() {
    let store = Store::new();
    let path = store.0.roles().with_file_name("demo");
    let file = File::create(&path).unwrap();
    let mut command = store.command(&["demo"]);
    let mut demo = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let shown = || std::fs::read_to_string(&path).unwrap();
    eventually("the clients shop", async || {
        shown().contains("Five clients shop") && is_shopping(&store)
    })
    .await;
    send(Pid::from_child(&demo), Signal::TERM);
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{}", shown());
    assert!(!is_shopping(&store), "the client goes on");
    assert!(!shown().contains("final check"), "the client asked a store that was closing");
    store.expect_all_down();
}

/// Whether a client of this store runs.
fn is_shopping(store: &Store) -> bool {
    let roles = store.0.roles();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok()).any(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.split('\0').collect();
        words.contains(&"client") && words.contains(&roles.to_string_lossy().as_ref())
    })
}
