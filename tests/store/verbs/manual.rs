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
