//! Which processes get signals: those that the verbs started for this `roles.toml`, whatever its
//! text says now, and no others.

use std::process::{Command, Stdio};

use toystore::cluster::MARK;

use super::command::{Store, assert_ended, expect, has_ended, send, toystore};
use crate::eventually::eventually;
use rustix::process::{Pid, Signal};

#[actix_web::test]
async fn a_role_that_was_started_by_other_means_is_left_alone() {
    let store = Store::new();
    let mut catalog = store.command(&["catalog"]).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_child(&catalog);
    eventually("the catalog has its pid file", async || {
        std::fs::read(store.0.data("catalog.pid")).is_ok_and(|text| !text.is_empty())
    })
    .await;
    let left_alone = format!(
        "catalog runs (pid {}), but was not started by up or start; left alone",
        pid.as_raw_nonzero()
    );
    for verb in ["stop", "kill"] {
        store.expect(1, &[verb, "catalog"]).says(&left_alone);
    }
    store.expect(0, &["up"]).says("left alone");
    let status = store.expect(0, &["status"]);
    assert!(status.line("catalog").ends_with("ready (not started by up or start)"));
    store.expect(1, &["down"]).says(&left_alone);
    assert!(!has_ended(pid), "the verbs signalled a process that they had not started");
    send(pid, Signal::TERM);
    assert!(catalog.wait().unwrap().success());
}

#[test]
fn a_number_that_a_crash_left_in_a_pid_file_is_not_signalled() {
    let store = Store::new();
    std::fs::create_dir(store.data_folder()).unwrap();
    // A process that has the mark, but is no role: a person's own, with an environment copied.
    let mut other = Command::new("sleep").arg("60").env(MARK, store.0.roles()).spawn().unwrap();
    std::fs::write(store.0.data("catalog.pid"), format!("{}\n", other.id())).unwrap();
    store.expect(0, &["kill", "catalog"]).says("catalog does not run");
    store.expect(0, &["down"]);
    store.expect(0, &["start", "catalog"]);
    store.expect(0, &["stop", "catalog"]);
    assert!(other.try_wait().unwrap().is_none(), "it got a signal");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn down_stops_what_was_started_before_data_dir_was_changed() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pids = store.pids();
    store.edit_roles(|text| text.replace("\"data\"", "\"elsewhere\""));
    let status = store.expect(1, &["status"]);
    status.says("was changed after the store was started").says("down");
    assert!(status.line("catalog").contains("runs without the pid file"), "{}", status.text);
    store.expect(1, &["up"]).says("catalog is not ready").says("stop it first");
    store.expect(0, &["down"]).says("catalog has stopped");
    assert_ended(&pids);
    store.expect(0, &["up"]);
    store.expect(0, &["status"]);
}

#[test]
fn down_stops_a_replica_that_was_removed_from_roles_toml() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pids = store.pids();
    let removed = format!("[[order]]\nid = 3\naddress = \"{}\"\n", store.0.address("order-3"));
    store.edit_roles(|text| text.replace(&removed, ""));
    let status = store.expect(1, &["status"]);
    assert!(status.line("order-3").contains("no longer in roles.toml"), "{}", status.text);
    store.expect(0, &["kill", "order-3"]).says("is killed");
    store.expect(2, &["kill", "order-3"]).says("no role is called order-3");
    store.expect(0, &["down"]);
    assert_ended(&pids);
}

#[test]
fn down_stops_what_was_started_though_roles_toml_is_broken_or_gone() {
    let store = Store::new();
    let text = std::fs::read_to_string(store.0.roles()).unwrap();
    for broken in [Some("[[order"), None] {
        store.expect(0, &["up"]);
        let pids = store.pids();
        match broken {
            Some(broken) => std::fs::write(store.0.roles(), broken).unwrap(),
            None => std::fs::remove_file(store.0.roles()).unwrap(),
        }
        // Whether there is more to stop, only the file could say: this is no success.
        store.expect(1, &["down"]).says("roles.toml: ").says("catalog has stopped");
        assert_ended(&pids);
        std::fs::write(store.0.roles(), &text).unwrap();
    }
}

#[test]
fn a_roles_toml_behind_a_symbolic_link_is_the_same_store() {
    let store = Store::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("roles.toml");
    std::os::unix::fs::symlink(store.0.roles(), &link).unwrap();
    expect(0, &mut toystore(&["up"], &link));
    let pids = store.pids();
    assert!(!elsewhere.path().join("data").exists(), "the data folder is beside the file");
    assert_eq!(
        expect(0, &mut toystore(&["status"], &link)).text,
        store.expect(0, &["status"]).text
    );
    store.expect(0, &["down"]).says("catalog has stopped");
    assert_ended(&pids);
}

#[test]
fn a_data_dir_with_a_tilde_is_refused_with_a_hint() {
    let store = Store::new();
    store.edit_roles(|text| text.replace("\"data\"", "\"~/toys\""));
    store.expect(1, &["up"]).says("line 1").says("~").says("the whole path");
    assert!(!store.0.roles().parent().unwrap().join("~").exists());
}
