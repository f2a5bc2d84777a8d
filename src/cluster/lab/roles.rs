//! What the laboratory shows of the roles, and does with them.

use std::str::FromStr;
use std::time::Duration;

use actix_web::http::StatusCode;
use rustix::process::{Pid, Signal};
use serde::Serialize;

use super::Lab;
use crate::clock;
use crate::cluster::handle::Handle;
use crate::cluster::processes::{self, Origin, RoleProcess};
use crate::cluster::start::{POLL_INTERVAL, start_alive};
use crate::cluster::terminal::say;
use crate::roles::Role;

/// For a process to end after SIGKILL, or to stop after SIGSTOP: the kernel does either within
/// milliseconds.
const SIGNAL_LIMIT: Duration = Duration::from_secs(5);

/// What the page may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoleVerb {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: the process hangs, and keeps its connections.
    Stop,
    /// SIGCONT.
    Continue,
    /// A new process.
    Start,
}

/// A role as the page sees it.
#[derive(Debug, Serialize)]
pub(super) struct SupervisedRole {
    role: String,
    address: String,
    pid: Option<i32>,
    state: ProcessState,
}

/// What a role's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum ProcessState {
    Running,
    Stopped,
    Down,
}

/// Why something was not done: the HTTP status, and a sentence.
#[derive(Debug)]
pub(super) struct LabRefusal(pub(super) StatusCode, pub(super) String);

impl Lab {
    /// Returns every role of `roles.toml`, in start order.
    pub(super) fn roles(&self) -> Vec<SupervisedRole> {
        self.reap();
        let found = processes::survey(&self.cluster.config, &self.cluster.roles);
        let roles = self.cluster.roles.in_start_order().into_iter();
        roles.map(|role| self.view(role, &found)).collect()
    }

    /// Carries out a verb on a role of `roles.toml`.
    pub(super) async fn carry_out(
        &self,
        role: Role,
        verb: RoleVerb,
    ) -> Result<SupervisedRole, LabRefusal> {
        let turn = self.turns.iter().find(|(of, _)| *of == role);
        let (_, turn) = turn.ok_or_else(|| not_found(role))?;
        let _turn = turn.lock().await;
        self.reap();
        let found = self.find(role);
        match (verb, found.first()) {
            (RoleVerb::Start, Some(_)) => Err(conflict(format!("{role} runs already"))),
            (RoleVerb::Start, None) => self.start(role).await,
            (_, None) => Err(conflict(format!("{role} does not run"))),
            (RoleVerb::Kill | RoleVerb::Stop | RoleVerb::Continue, Some(_)) => {
                for process in &found {
                    signal(self, process, verb).await?;
                }
                Ok(())
            }
        }?;
        self.reap();
        Ok(self.view(role, &self.find(role)))
    }

    /// Has every role go on that is stopped, so that it can end in order.
    pub(super) fn continue_all(&self) {
        for process in processes::marked(&self.cluster.config) {
            if let Ok(Some(handle)) = Handle::open(&self.cluster.config, &process) {
                let _ended = handle.send(Signal::CONT);
            }
        }
    }

    async fn start(&self, role: Role) -> Result<(), LabRefusal> {
        match start_alive(&self.cluster, role).await {
            Ok(child) => {
                self.adopt(child);
                Ok(())
            }
            Err(_reported) => Err(LabRefusal(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{role} did not start; the terminal of `toystore up` has the reason"),
            )),
        }
    }

    fn find(&self, role: Role) -> Vec<RoleProcess> {
        processes::survey_role(&self.cluster.config, &self.cluster.roles, role)
    }

    fn view(&self, role: Role, found: &[RoleProcess]) -> SupervisedRole {
        let process = found.iter().find(|process| process.role == role);
        let state = process.map_or(ProcessState::Down, |process| state_of(process.pid));
        let pid = process.filter(|_| state != ProcessState::Down);
        SupervisedRole {
            role: role.to_string(),
            address: self.cluster.address_of(role).to_string(),
            pid: pid.map(|process| process.pid.as_raw_nonzero().get()),
            state,
        }
    }
}

/// Sends a signal to a process that the verbs started, and waits until it shows.
async fn signal(lab: &Lab, process: &RoleProcess, verb: RoleVerb) -> Result<(), LabRefusal> {
    let (role, pid) = (process.role, process.pid);
    if process.origin == Origin::Foreign {
        return Err(conflict(format!("{role} was not started by up or start; left alone")));
    }
    let failed = |error| conflict(format!("{role} cannot be signalled: {error}"));
    let handle = Handle::open(&lab.cluster.config, process).map_err(failed)?;
    let Some(handle) = handle else { return Ok(()) };
    let (signal, said) = match verb {
        RoleVerb::Kill => (Signal::KILL, "is killed"),
        RoleVerb::Stop => (Signal::STOP, "is stopped"),
        RoleVerb::Continue | RoleVerb::Start => (Signal::CONT, "goes on"),
    };
    handle.send(signal).map_err(failed)?;
    let expected = match verb {
        RoleVerb::Kill => ProcessState::Down,
        RoleVerb::Stop => ProcessState::Stopped,
        RoleVerb::Continue | RoleVerb::Start => ProcessState::Running,
    };
    let deadline = clock::now() + SIGNAL_LIMIT;
    while state_of(pid) != expected {
        if clock::now() >= deadline {
            return Err(conflict(format!("{role} has not taken the signal; check its disk")));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    say(format_args!("{role} (pid {}) {said}", pid.as_raw_nonzero()));
    Ok(())
}

/// What a process does, by the letter that the kernel has for it.
fn state_of(pid: Pid) -> ProcessState {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let Ok(text) = std::fs::read_to_string(path) else { return ProcessState::Down };
    // The name before it is in parentheses, and may have any character.
    match text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
        Some('T' | 't') => ProcessState::Stopped,
        Some('Z' | 'X') | None => ProcessState::Down,
        Some(_) => ProcessState::Running,
    }
}

fn conflict(message: String) -> LabRefusal {
    LabRefusal(StatusCode::CONFLICT, message)
}

fn not_found(role: Role) -> LabRefusal {
    LabRefusal(StatusCode::NOT_FOUND, format!("roles.toml has no {role}"))
}

impl FromStr for RoleVerb {
    type Err = LabRefusal;

    fn from_str(name: &str) -> Result<Self, LabRefusal> {
        match name {
            "kill" => Ok(Self::Kill),
            "stop" => Ok(Self::Stop),
            "continue" => Ok(Self::Continue),
            "start" => Ok(Self::Start),
            _ => Err(LabRefusal(
                StatusCode::NOT_FOUND,
                "no such verb; a role can be told to kill, stop, continue or start".to_owned(),
            )),
        }
    }
}
