//! Completions, manual pages, and a table that is watched.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::command::{Store, expect, toystore};

#[test]
fn a_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = expect(0, &mut toystore(&["completions", shell], Path::new("none")));
        for command in ["up", "rebuild", "client", "completions"] {
            said.says(command);
        }
    }
    expect(2, &mut toystore(&["completions", "tcsh"], Path::new("none"))).says("bash");
    let script = r#"source <("$0" completions bash); complete -p toystore"#;
    let bash = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_toystore")]).output();
    let bash = bash.unwrap();
    assert!(String::from_utf8_lossy(&bash.stdout).contains("toystore"), "{bash:?}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let page = expect(0, &mut toystore(&["man"], Path::new("none")));
    page.says(".TH toystore 1").says("toystore\\-up").says("toystore\\-client");
    let page = expect(0, &mut toystore(&["man", "up"], Path::new("none")));
    page.says(".TH toystore-up 1").says("Start every role in the background");
    expect(1, &mut toystore(&["man", "nothing"], Path::new("none"))).says("no command is called");
}

#[test]
fn a_watched_status_is_printed_again_when_it_changes_and_without_colours_in_a_pipe() {
    let store = Store::new();
    let mut watch = store.command(&["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut shows = |role: &str, state: &str| {
        let line = lines.find(|line| line.starts_with(role) && line.ends_with(state)).unwrap();
        assert!(!line.contains('\u{1b}'), "{line:?}");
    };
    shows("order-2", " down");
    store.expect(0, &["up"]);
    shows("order-2", " ready");
    shows("frontend", " ready");
    store.expect(0, &["kill", "order-2"]);
    shows("order-2", " down");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// Runs a command whose output has no reader, as behind `| head` once that has its lines. Returns
/// how it ended and what it said on standard error.
fn without_reader(mut command: Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn a_reader_that_wants_no_more_is_no_failure() {
    let store = Store::new();
    store.expect(0, &["up"]);
    for words in [
        &["completions", "bash"][..],
        &["man"],
        &["roles"],
        &["status"],
        &["call", "catalog", "/internal/toys"],
        &["trace", "--simulate", "7"],
        &["trace", "--last", "5"],
        &["client", "-c", "1", "-n", "2"],
        &["--help"],
    ] {
        assert_eq!(without_reader(store.command(words)), (Some(0), String::new()), "{words:?}");
    }
    // What a command finds out is its exit status, also if its text is not read.
    store.expect(0, &["kill", "order-2"]);
    assert_eq!(without_reader(store.command(&["status"])).0, Some(1));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut man = toystore(&["man"], Path::new("none"));
    let ended = man.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("No space left on device"));
}
