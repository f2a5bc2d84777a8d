//! Stopping roles: in order, or as a crash would.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::handle::Handle;
use super::processes::{self, Origin, RoleProcess};
use super::terminal::{complain, note, say};
use super::{Cluster, VerbError, VerbResult, guard};
use crate::roles::{Role, RolesError};

/// For a role to end after SIGTERM: it finishes what it has accepted within 12 s.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// For a process to end after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Stops every role that runs, the last one that started first.
pub(super) async fn down(cluster: &Cluster) -> VerbResult {
    let found = processes::survey(&cluster.config, &cluster.roles);
    let mut roles = cluster.roles.in_start_order();
    for process in &found {
        if !roles.contains(&process.role) {
            roles.push(process.role);
        }
    }
    roles.sort_by_key(|role| std::cmp::Reverse(processes::start_rank(*role)));
    let mut outcome = Ok(());
    for role in roles {
        let of_role = found.iter().filter(|process| process.role == role).copied().collect();
        if stop_all(&cluster.config, role, of_role).await.is_err() {
            outcome = Err(VerbError::Reported);
        }
    }
    guard::end_run(cluster);
    outcome
}

/// Stops what was started for a `roles.toml` that cannot be read any more. It fails all the same:
/// whether more runs, only that file could tell.
pub(super) async fn down_without_roles(config: &Path, error: &RolesError) -> VerbResult {
    let mut found = processes::marked(config);
    found.sort_by_key(|process| std::cmp::Reverse(processes::start_rank(process.role)));
    complain(error);
    for process in found {
        if let Err(failure) = stop_process(config, &process).await {
            report(failure);
        }
    }
    Err(VerbError::Reported)
}

/// Stops a role's process in order.
pub(super) async fn stop(cluster: &Cluster, role: Role) -> VerbResult {
    let found = processes::survey_role(&cluster.config, &cluster.roles, role);
    stop_all(&cluster.config, role, found).await
}

/// Kills a role's process.
pub(super) async fn kill(cluster: &Cluster, role: Role) -> VerbResult {
    let found = processes::survey_role(&cluster.config, &cluster.roles, role);
    if found.is_empty() {
        note(format_args!("{role} does not run"));
    }
    for process in found {
        match open(&cluster.config, &process)? {
            Some(handle) => kill_process(&handle, &process).await?,
            None => say(format_args!("{role} has ended by itself")),
        }
    }
    Ok(())
}

/// Stops the processes of one role; goes on after one that does not stop.
async fn stop_all(config: &Path, role: Role, processes: Vec<RoleProcess>) -> VerbResult {
    if processes.is_empty() {
        note(format_args!("{role} does not run"));
    }
    let mut outcome = Ok(());
    for process in processes {
        if let Err(failure) = stop_process(config, &process).await {
            report(failure);
            outcome = Err(VerbError::Reported);
        }
    }
    outcome
}

async fn stop_process(config: &Path, process: &RoleProcess) -> VerbResult {
    let role = process.role;
    let Some(handle) = open(config, process)? else {
        say(format_args!("{role} has ended by itself"));
        return Ok(());
    };
    send(&handle, process, Signal::TERM)?;
    if handle.ends_within(STOP_LIMIT).await {
        say(format_args!("{role} has stopped"));
        return Ok(());
    }
    let (pid, seconds) = (process.pid.as_raw_nonzero(), STOP_LIMIT.as_secs());
    complain(format_args!("{role} (pid {pid}) has not ended within {seconds} s; it gets SIGKILL"));
    kill_process(&handle, process).await
}

async fn kill_process(handle: &Handle, process: &RoleProcess) -> VerbResult {
    let (role, pid) = (process.role, process.pid.as_raw_nonzero());
    send(handle, process, Signal::KILL)?;
    if handle.ends_within(KILL_LIMIT).await {
        say(format_args!("{role} (pid {pid}) is killed"));
        return Ok(());
    }
    Err(VerbError::Problem(format!(
        "{role} (pid {pid}) has not ended after SIGKILL: the kernel waits for a device; check the \
         disk of data_dir"
    )))
}

/// Opens a process that may get signals. `None` if it has ended meanwhile.
fn open(config: &Path, process: &RoleProcess) -> Result<Option<Handle>, VerbError> {
    let (role, pid) = (process.role, process.pid.as_raw_nonzero());
    match process.origin {
        Origin::Marked => Handle::open(config, process).map_err(|error| {
            VerbError::Problem(format!("cannot open the process of {role} (pid {pid}): {error}"))
        }),
        Origin::Foreign => Err(VerbError::Problem(format!(
            "{role} runs (pid {pid}), but was not started by up or start; left alone"
        ))),
    }
}

fn send(handle: &Handle, process: &RoleProcess, signal: Signal) -> VerbResult {
    handle.send(signal).map_err(|error| {
        let (role, pid) = (process.role, process.pid.as_raw_nonzero());
        VerbError::Problem(format!("cannot signal {role} (pid {pid}): {error}"))
    })
}

fn report(failure: VerbError) {
    match failure {
        VerbError::Problem(problem) | VerbError::Usage(problem) => complain(problem),
        VerbError::Reported => {}
    }
}
