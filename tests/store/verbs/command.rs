//! A store that the verbs start and stop.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::eventually;
use crate::processes::{Cluster, Settings};

/// The roles, in start order.
pub(crate) const ROLES: [&str; 5] = ["catalog", "order-1", "order-2", "order-3", "frontend"];

/// A store of which nothing runs at first. Dropping it stops what runs.
pub(crate) struct Store(pub(crate) Cluster);

/// How a command ended, and what it printed: standard output, then standard error.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) text: String,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self(Cluster::prepare(Settings::default()))
    }

    /// The command `toystore VERB` for this store.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        toystore(words, &self.0.roles())
    }

    /// Runs a verb that has to end with this exit status.
    pub(crate) fn expect(&self, status: i32, words: &[&str]) -> Said {
        expect(status, &mut self.command(words))
    }

    /// The process id in a role's pid file.
    pub(crate) fn pid(&self, role: &str) -> Pid {
        let text = std::fs::read_to_string(self.0.data(&format!("{role}.pid"))).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    /// The process ids of all roles, which must run.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        ROLES.iter().map(|role| self.pid(role)).collect()
    }

    /// Changes the text of `roles.toml`.
    pub(crate) fn edit_roles(&self, edit: impl Fn(&str) -> String) {
        let text = std::fs::read_to_string(self.0.roles()).unwrap();
        let edited = edit(&text);
        assert_ne!(text, edited, "the edit changes something");
        std::fs::write(self.0.roles(), edited).unwrap();
    }

    pub(crate) fn data_folder(&self) -> PathBuf {
        self.0.data("")
    }

    /// Asserts that `status` shows every role as down.
    pub(crate) fn expect_all_down(&self) {
        let said = self.expect(1, &["status"]);
        assert_eq!(said.lines_ending("down"), ROLES.len(), "{}", said.text);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _best_effort = self.command(&["down"]).output();
    }
}

impl Said {
    pub(crate) fn says(&self, part: &str) -> &Self {
        assert!(self.text.contains(part), "it does not say {part:?}: {}", self.text);
        self
    }

    /// The line of `status` for a role.
    pub(crate) fn line(&self, role: &str) -> &str {
        let is_its = |line: &&str| line.split_whitespace().next() == Some(role);
        self.text.lines().find(is_its).unwrap_or_default()
    }

    pub(crate) fn lines_ending(&self, end: &str) -> usize {
        self.text.lines().filter(|line| line.ends_with(end)).count()
    }
}

/// The command `toystore WORDS --config CONFIG`.
pub(crate) fn toystore(words: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    command.args(words).arg("--config").arg(config).stdin(Stdio::null());
    for name in ["ROLES", "NO_COLOR", "TOYSTORE_RUN_SH"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command that has to end with this exit status.
pub(crate) fn expect(status: i32, command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let said = Said { status: output.status.code(), text: text.concat() };
    assert_eq!(said.status, Some(status), "{command:?}: {}", said.text);
    said
}

/// Whether a process has ended. (Its parent may leave a zombie.)
pub(crate) fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let state = |stat: &str| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
    stat.map_or(true, |stat| state(&stat).unwrap_or(true))
}

/// Asserts that processes have ended when a verb says so.
pub(crate) fn assert_ended(pids: &[Pid]) {
    for pid in pids {
        assert!(has_ended(*pid), "{pid:?} still runs");
    }
}

/// Waits until processes have ended.
pub(crate) async fn await_ended(pids: &[Pid]) {
    eventually("the processes end", async || pids.iter().all(|pid| has_ended(*pid))).await;
}

pub(crate) fn send(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap();
}
