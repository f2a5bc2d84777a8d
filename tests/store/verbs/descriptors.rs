//! Roles inherit no open files of the process that starts them.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::process::{Command, Stdio};

use super::command::{Store, expect};
use crate::eventually::eventually;

fn shell(store: &Store, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(store.0.roles().parent().unwrap());
    command.env("TOYSTORE", env!("CARGO_BIN_EXE_toystore")).env("ROLES", store.0.roles());
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_lock_that_up_was_called_with_is_free_when_it_returns() {
    let store = Store::new();
    expect(0, &mut shell(&store, r#"flock L "$TOYSTORE" up && flock -n L true"#));
    store.expect(0, &["status"]);
}

#[actix_web::test]
async fn a_pipe_that_up_was_called_with_ends_when_it_returns() {
    let store = Store::new();
    let script = r#"exec 17>&1; "$TOYSTORE" up 3>&1 >/dev/null 2>&1 | cat"#;
    let mut up = shell(&store, script).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the pipe ends", async || up.try_wait().unwrap().is_some()).await;
    // The descriptor 17 is this test's pipe: `wait_with_output` returns when no role holds it.
    assert!(up.wait_with_output().unwrap().status.success());
    store.expect(0, &["status"]);
}

#[test]
fn a_role_holds_only_files_that_it_opened_itself() {
    let store = Store::new();
    let marker = tempfile::NamedTempFile::new().unwrap();
    let script = format!(r#"exec 9<"{}"; "$TOYSTORE" up"#, marker.path().display());
    expect(0, &mut shell(&store, &script));
    for pid in store.pids() {
        let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
        for descriptor in std::fs::read_dir(folder).unwrap() {
            let target = std::fs::read_link(descriptor.unwrap().path()).unwrap_or_default();
            assert_ne!(target, marker.path(), "{pid:?} has inherited it");
        }
    }
}
