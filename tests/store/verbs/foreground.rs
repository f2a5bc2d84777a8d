//! `toystore run`: the store in the foreground.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, getsid, kill_process_group};

use super::command::{ROLES, Store, assert_ended};
use crate::eventually::eventually;

/// A store in the foreground of a session of its own, as in a terminal.
struct Foreground<'a> {
    store: &'a Store,
    process: Child,
}

impl<'a> Foreground<'a> {
    /// Starts it and waits until it shows the logs. The test itself may ignore some signals, as
    /// under `nohup`; `signals` is what `env` is to do about them.
    async fn start(store: &'a Store, signals: &str) -> Self {
        let foreground = Self::spawn(store, signals);
        for role in ROLES {
            eventually("it shows every role's log", async || foreground.log_lines(role) > 0).await;
        }
        foreground
    }

    fn spawn(store: &'a Store, signals: &str) -> Self {
        let shown = File::create(Self::file(store)).unwrap();
        let process = Command::new("setsid")
            .args(["env", signals, env!("CARGO_BIN_EXE_toystore"), "run", "--config"])
            .arg(store.0.roles())
            .stdin(Stdio::null())
            .stdout(shown.try_clone().unwrap())
            .stderr(shown)
            .spawn()
            .unwrap();
        Self { store, process }
    }

    fn file(store: &Store) -> std::path::PathBuf {
        store.0.roles().with_file_name("foreground")
    }

    /// What it has printed.
    fn shown(&self) -> String {
        std::fs::read_to_string(Self::file(self.store)).unwrap()
    }

    /// How many lines of a role's log it has shown.
    fn log_lines(&self, role: &str) -> usize {
        let prefix = format!("{role:<8} | ");
        self.shown().lines().filter(|line| line.starts_with(&prefix)).count()
    }

    /// Sends a signal to all processes of its session's group, as a terminal does.
    fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.process), signal).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        eventually("the foreground ends", async || self.process.try_wait().unwrap()).await
    }

    /// Ends it with a signal, and asserts that nothing is left.
    async fn end(mut self, signal: Signal) {
        let pids = self.store.pids();
        self.signal(signal);
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.shown());
        assert_ended(&pids);
        self.store.expect_all_down();
    }
}

impl Drop for Foreground<'_> {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

#[actix_web::test]
async fn the_foreground_shows_all_logs_and_ends_with_ctrl_c() {
    let store = Store::new();
    let foreground = Foreground::start(&store, "--default-signal=INT,HUP").await;
    let shown = foreground.shown();
    for part in ["The store is open at http://", "Ctrl-C closes it", "kill order-3"] {
        assert!(shown.contains(part), "{shown}");
    }
    let before = foreground.log_lines("order-3");
    store.expect(1, &["run"]).says("catalog runs already").says("down");
    store.expect(0, &["kill", "order-3"]);
    eventually("it says that the role has ended", async || {
        foreground.shown().contains("order-3 has ended (killed by signal 9)")
    })
    .await;
    store.expect(0, &["start", "order-3"]);
    eventually("the restarted role's log is shown", async || {
        foreground.log_lines("order-3") > before
    })
    .await;
    // The terminal sends Ctrl-C to its whole session: the roles are in sessions of their own.
    let session = getsid(Some(Pid::from_child(&foreground.process))).unwrap();
    for pid in store.pids() {
        assert_ne!(getsid(Some(pid)).unwrap(), session);
    }
    let file = Foreground::file(&store);
    foreground.end(Signal::INT).await;
    let shown = std::fs::read_to_string(file).unwrap();
    for role in ROLES {
        let is_last = |line: &str| line.starts_with(role) && line.ends_with("ended in order");
        assert!(shown.lines().any(is_last), "{role}: {shown}");
    }
}

#[actix_web::test]
async fn the_foreground_ends_with_sigterm_and_with_its_terminal() {
    let store = Store::new();
    for signal in [Signal::TERM, Signal::HUP] {
        Foreground::start(&store, "--default-signal=INT,HUP").await.end(signal).await;
    }
}

#[actix_web::test]
async fn the_foreground_ends_with_ctrl_c_also_while_it_starts() {
    let store = Store::new();
    let mut foreground = Foreground::spawn(&store, "--default-signal=INT,HUP");
    eventually("the first role is ready", async || foreground.shown().contains("catalog is ready"))
        .await;
    foreground.signal(Signal::INT);
    let status = foreground.ended().await;
    assert!(status.success(), "{status}: {}", foreground.shown());
    store.expect_all_down();
}

#[actix_web::test]
async fn the_foreground_survives_its_terminal_under_nohup() {
    let store = Store::new();
    let foreground = Foreground::start(&store, "--ignore-signal=HUP").await;
    foreground.signal(Signal::HUP);
    store.expect(0, &["kill", "order-1"]);
    eventually("it goes on", async || foreground.shown().contains("order-1 has ended")).await;
    store.expect(0, &["start", "order-1"]);
    foreground.end(Signal::TERM).await;
}

#[actix_web::test]
async fn the_foreground_ends_when_another_terminal_has_stopped_its_store() {
    let store = Store::new();
    let mut foreground = Foreground::start(&store, "--default-signal=INT,HUP").await;
    store.expect(0, &["down"]);
    let status = foreground.ended().await;
    let shown = foreground.shown();
    assert!(status.success(), "{shown}");
    assert!(shown.contains("another command has stopped every role"), "{shown}");
}

#[actix_web::test]
async fn the_foreground_fails_when_its_data_folder_is_removed() {
    let store = Store::new();
    let mut foreground = Foreground::start(&store, "--default-signal=INT,HUP").await;
    std::fs::remove_dir_all(store.data_folder()).unwrap();
    let status = foreground.ended().await;
    let shown = foreground.shown();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(shown.contains("no role is running any more"), "{shown}");
    assert!(shown.contains("was removed while catalog was running"), "{shown}");
}
