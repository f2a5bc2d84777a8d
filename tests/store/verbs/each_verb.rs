//! Each verb, as a person uses it.

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use super::command::{ROLES, Store, assert_ended, expect, has_ended, send, toystore};
use crate::eventually::eventually;
use crate::processes::get;

#[test]
fn every_verb_has_help() {
    for verb in ["run", "up", "down", "status", "start", "stop", "kill", "call", "demo"] {
        expect(0, &mut toystore(&[verb, "--help"], Path::new("none"))).says(verb).says("--config");
        expect(0, &mut toystore(&["--help"], Path::new("none"))).says(&format!("\n  {verb} "));
    }
}

#[test]
fn an_unknown_verb_or_role_is_refused_with_what_is_allowed() {
    let store = Store::new();
    store.expect(2, &["begin"]).says("begin").says("--help");
    store.expect(2, &["up", "now"]).says("now");
    for verb in ["start", "stop", "kill"] {
        for role in ["order-7", "nonsense", "frontend-2"] {
            let said = store.expect(2, &[verb, role]);
            said.says(&format!("no role is called {role}"));
            said.says("catalog, order-1, order-2, order-3, frontend");
        }
        store.expect(2, &[verb]).says(&format!("{verb} needs a role: catalog, order-1"));
    }
}

#[test]
fn a_missing_roles_toml_is_named() {
    for verb in ["run", "up", "down", "status", "demo"] {
        let said = expect(1, &mut toystore(&[verb], Path::new("/nowhere.toml")));
        said.says("/nowhere.toml").says("ROLES").says("--config");
    }
}

#[test]
fn up_starts_every_role_once_and_down_stops_all() {
    let store = Store::new();
    store.expect_all_down();
    let said = store.expect(0, &["up"]);
    let places: Vec<usize> = ROLES
        .iter()
        .map(|role| said.text.find(&format!("{role} is ready at")).expect("every role is ready"))
        .collect();
    assert!(places.is_sorted(), "catalog, replicas, front-end: {}", said.text);
    said.says(&format!("the store is open at http://{}/", store.0.address("frontend")));
    let before = store.expect(0, &["status"]);
    assert_eq!(before.lines_ending("ready"), ROLES.len(), "{}", before.text);
    for role in ROLES {
        store.expect(0, &["up"]).says(&format!("{role} runs already"));
    }
    assert_eq!(store.expect(0, &["status"]).text, before.text);
    let pids = store.pids();
    let said = store.expect(0, &["down"]);
    let places: Vec<usize> = ROLES
        .iter()
        .map(|role| said.text.find(&format!("{role} has stopped")).expect("every role stops"))
        .collect();
    assert!(places.is_sorted_by(|a, b| a > b), "the last one first: {}", said.text);
    assert_ended(&pids);
    store.expect_all_down();
    for role in ROLES {
        assert!(!store.0.data(&format!("{role}.pid")).exists(), "{role}");
    }
    store.expect(0, &["down"]).says("catalog does not run");
}

#[test]
fn a_killed_role_is_down_until_it_is_started() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let before = store.pid("order-2");
    store.expect(0, &["kill", "order-2"]).says("order-2 (pid").says("is killed");
    assert!(has_ended(before));
    let status = store.expect(1, &["status"]);
    assert!(status.line("order-2").ends_with("down"), "{}", status.text);
    assert!(status.line("order-3").ends_with("ready"), "{}", status.text);
    store.expect(0, &["kill", "order-2"]).says("order-2 does not run");
    store.expect(0, &["start", "order-2"]).says("order-2 is ready at");
    assert_ne!(store.pid("order-2"), before);
    store.expect(0, &["status"]);
    store.expect(0, &["start", "order-2"]).says("order-2 runs already");
}

#[test]
fn a_stopped_role_ends_in_order() {
    let store = Store::new();
    store.expect(0, &["up"]);
    store.expect(0, &["stop", "frontend"]).says("frontend has stopped");
    assert!(!store.0.data("frontend.pid").exists());
    let log = store.0.log("frontend");
    assert!(log.lines().last().unwrap().contains("ended in order"), "{log}");
    store.expect(0, &["stop", "frontend"]).says("frontend does not run");
}

#[test]
fn a_role_that_does_not_end_is_killed() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pid = store.pid("order-1");
    send(pid, Signal::STOP);
    let status = store.expect(1, &["status"]);
    let line = status.line("order-1");
    assert!(line.contains("alive, not ready: it did not answer in time"), "{line}");
    store.expect(0, &["stop", "order-1"]).says("order-1").says("SIGKILL");
    assert!(has_ended(pid));
}

#[test]
fn a_role_without_its_neighbours_is_started_and_said_not_to_be_ready() {
    let store = Store::new();
    store.expect(0, &["start", "order-1"]).says("order-1 is alive, but not ready yet");
    store.expect(0, &["up"]);
    store.expect(0, &["status"]);
}

#[actix_web::test]
async fn status_gives_the_reason_why_a_role_is_not_ready() {
    let store = Store::new();
    store.expect(0, &["up"]);
    store.expect(0, &["kill", "catalog"]);
    eventually("status has each role's own reason", async || {
        let mut reasons = Vec::new();
        for role in ["order-1", "frontend"] {
            let Ok((503, body)) = get(&store.0.address(role), "/readyz").await else {
                return false;
            };
            let reason = body["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(reason.len() > 10, "{body}");
            reasons.push((role, reason));
        }
        let status = store.expect(1, &["status"]);
        reasons.iter().all(|(role, reason)| {
            status.line(role).ends_with(&format!("alive, not ready: {reason}"))
        })
    })
    .await;
}

#[test]
fn a_store_is_found_from_any_folder_and_by_any_path() {
    let store = Store::new();
    let folder = store.0.roles().parent().unwrap().to_owned();
    let from = |folder: &Path, roles: &Path, status: i32, verb: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.arg(verb).current_dir(folder).env("ROLES", roles).env_remove("TOYSTORE_RUN_SH");
        expect(status, &mut command)
    };
    from(&folder, Path::new(""), 0, "up").says("the store is open");
    from(&folder, Path::new("roles.toml"), 0, "status");
    let name = Path::new(folder.file_name().unwrap());
    let parent = folder.parent().unwrap();
    from(parent, &name.join("..").join(name).join("roles.toml"), 0, "status");
    from(Path::new("/"), &store.0.roles(), 0, "down").says("catalog has stopped");
    store.expect_all_down();
}

#[test]
fn two_stores_run_side_by_side() {
    let (one, two) = (Store::new(), Store::new());
    one.expect(0, &["up"]);
    two.expect(0, &["up"]);
    two.expect(0, &["down"]);
    two.expect_all_down();
    one.expect(0, &["status"]);
}

#[test]
fn two_ups_at_the_same_time_start_one_store() {
    let store = Store::new();
    let start = || store.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let ups = [start().unwrap(), start().unwrap()];
    for up in ups {
        let output = up.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let pids = store.pids();
    store.expect(0, &["status"]);
    store.expect(0, &["down"]);
    assert_ended(&pids);
}

#[test]
fn a_role_that_cannot_start_is_named_and_its_log_shown() {
    let (one, two) = (Store::new(), Store::new());
    one.expect(0, &["up"]);
    let taken = one.0.address("frontend");
    two.edit_roles(|text| text.replace(&two.0.address("order-2"), &taken));
    let said = two.expect(1, &["up"]);
    said.says("order-2 is not ready").says(&taken).says("stop what listens there");
    said.says("the last lines of").says("down");
    let status = two.expect(1, &["status"]);
    assert!(status.line("order-1").ends_with(" ready"), "{}", status.text);
    assert!(status.line("order-2").ends_with(" down"), "{}", status.text);
    two.expect(1, &["start", "order-2"]).says("order-2 is not ready");
    two.expect(0, &["down"]);
    two.expect(1, &["run"]).says("order-2 is not ready");
    two.expect_all_down();
    one.expect(0, &["status"]);
}
