//! Starting roles, and waiting until they are ready.
//!
//! ```text
//! launched ──► holds its pid file ──► answers /healthz ──► answers /readyz with 200
//!        (it listens before that, so
//!         the answers are its own)
//! ```

use std::process::Child;
use std::time::{Duration, Instant};

use super::guard::Starts;
use super::processes::{self, Files, Origin, RoleProcess};
use super::terminal::{complain, note, say};
use super::{Cluster, VerbError, VerbResult, launch, logs};
use crate::roles::Role;
use crate::{clock, health};

/// For one role of `up` to be ready: it first opens and checks the database that a crash left.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// For the role of `start` to be ready. Healthy is enough, so this need not be long.
const START_LIMIT: Duration = Duration::from_secs(3);
/// For a process without its pid file to get it or to end: it is still starting, or its files
/// were removed, and then it notices within two seconds.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);
/// How often to look.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A start of a role, as far as it has come.
pub(super) struct Start {
    role: Role,
    starts: Starts,
    /// The process, if this start launched it.
    pub(super) child: Option<Child>,
    /// How long the role's log was before.
    log_began: u64,
}

/// Why a role is not ready.
enum NotReady {
    /// Its process has ended, or was never there.
    Ended(String),
    /// It lives. The reason is the role's own, from `/readyz`.
    Alive(String),
}

/// Starts every role, and says how to use the store.
pub(super) async fn up(cluster: &Cluster) -> VerbResult {
    start_all(cluster).await?;
    let down = cluster.invocation.verb("down");
    say(format_args!("the store is open at {}; {down} closes it", cluster.url()));
    Ok(())
}

/// Starts every role, in order.
pub(super) async fn start_all(cluster: &Cluster) -> VerbResult {
    for role in cluster.roles.in_start_order() {
        if start_ready(cluster, role).await.is_err() {
            complain(format_args!(
                "the roles that run go on; {} stops them",
                cluster.invocation.verb("down")
            ));
            return Err(VerbError::Reported);
        }
    }
    Ok(())
}

/// Starts a role, and waits until it is ready.
pub(super) async fn start_ready(cluster: &Cluster, role: Role) -> Result<Option<Child>, VerbError> {
    let mut start = Start::of(role, Starts::Store);
    match start.go(cluster, READY_LIMIT).await {
        Ok(()) => Ok(start.child),
        Err(NotReady::Ended(problem) | NotReady::Alive(problem)) => {
            start.explain(cluster, &problem);
            Err(VerbError::Reported)
        }
    }
}

/// Starts a role, and waits until it is ready, or healthy: a role whose neighbours are down has
/// started well and cannot be ready.
pub(super) async fn start_one(cluster: &Cluster, role: Role) -> VerbResult {
    start_alive(cluster, role).await.map(drop)
}

/// Does the same, and returns the process if this start launched it.
pub(super) async fn start_alive(cluster: &Cluster, role: Role) -> Result<Option<Child>, VerbError> {
    let mut start = Start::of(role, Starts::Role);
    let problem = match start.go(cluster, START_LIMIT).await {
        Ok(()) => return Ok(start.child),
        Err(NotReady::Alive(problem)) => {
            if health::probe_alive(cluster.address_of(role)).await.is_ok() {
                say(format_args!("{role} is alive, but not ready yet: {problem}"));
                return Ok(start.child);
            }
            problem
        }
        Err(NotReady::Ended(problem)) => problem,
    };
    start.explain(cluster, &problem);
    Err(VerbError::Reported)
}

impl Start {
    fn of(role: Role, starts: Starts) -> Self {
        Self { role, starts, child: None, log_began: 0 }
    }

    async fn go(&mut self, cluster: &Cluster, limit: Duration) -> Result<(), NotReady> {
        let deadline = clock::now() + limit;
        if let Some(running) = self.settled(cluster).await? {
            return await_running(cluster, &running, deadline).await;
        }
        self.log_began = logs::length(&cluster.roles.file_of(self.role, "log"));
        let child =
            launch::launch(cluster, self.role, self.starts).map_err(|failure| match failure {
                VerbError::Problem(problem) | VerbError::Usage(problem) => NotReady::Ended(problem),
                VerbError::Reported => NotReady::Ended("see above".to_owned()),
            })?;
        self.child = Some(child);
        // Another terminal may have started the role at the same time. One of the two is the role.
        let process = self.await_place(cluster, deadline).await?;
        if self.launched(&process) {
            await_ready(cluster, &process, deadline).await?;
            let without = match process.files {
                Files::Current => "",
                Files::Other => ", without a pid file: the data folder cannot be written",
            };
            say(format_args!(
                "{} is ready at {}{without}",
                self.role,
                cluster.address_of(self.role)
            ));
            return Ok(());
        }
        await_running(cluster, &process, deadline).await
    }

    /// The role's process, if it runs. One without its pid file is given some time.
    async fn settled(&self, cluster: &Cluster) -> Result<Option<RoleProcess>, NotReady> {
        let deadline = clock::now() + SETTLE_LIMIT;
        loop {
            let found = processes::survey_role(&cluster.config, &cluster.roles, self.role);
            let Some(stray) = found.iter().find(|process| process.files == Files::Other) else {
                return Ok(found.first().copied());
            };
            if clock::now() >= deadline {
                if needs_no_pid_file(cluster, stray).await {
                    return Ok(Some(*stray));
                }
                return Err(NotReady::Ended(format!(
                    "its process {} of an earlier start runs without the pid file that roles.toml \
                     names now; stop it first: {}",
                    stray.pid.as_raw_nonzero(),
                    cluster.invocation.verb("down")
                )));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the launched process, or another one, is the role.
    async fn await_place(
        &mut self,
        cluster: &Cluster,
        deadline: Instant,
    ) -> Result<RoleProcess, NotReady> {
        let pid_file = cluster.roles.file_of(self.role, "pid");
        loop {
            // Sleep first: Ctrl-C that ended the process before it left this session is for this
            // process, too, which must have the chance to receive it.
            tokio::time::sleep(POLL_INTERVAL).await;
            if processes::holder(&pid_file).is_some() {
                let found = processes::survey_role(&cluster.config, &cluster.roles, self.role);
                if let Some(process) = found.into_iter().find(|it| it.files == Files::Current) {
                    return Ok(process);
                }
            }
            if let Some(child) = &self.child {
                let pid = rustix::process::Pid::from_child(child);
                let (role, origin, files) = (self.role, Origin::Marked, Files::Other);
                let process = RoleProcess { role, pid, origin, files };
                if needs_no_pid_file(cluster, &process).await {
                    return Ok(process);
                }
            }
            let ended = self
                .child
                .as_mut()
                .is_none_or(|child| child.try_wait().is_ok_and(|end| end.is_some()));
            if ended {
                return Err(NotReady::Ended("its process has ended".to_owned()));
            }
            if clock::now() >= deadline {
                return Err(NotReady::Alive("it has no pid file yet".to_owned()));
            }
        }
    }

    fn launched(&self, process: &RoleProcess) -> bool {
        let child = self.child.as_ref().map(rustix::process::Pid::from_child);
        child == Some(process.pid)
    }

    /// Says why the role is not ready, with the end of its log.
    fn explain(&self, cluster: &Cluster, problem: &str) {
        complain(format_args!("{} is not ready: {problem}", self.role));
        let log = cluster.roles.file_of(self.role, "log");
        let lines = logs::last_lines(&log, self.log_began);
        if lines.is_empty() {
            if let Err(error) = logs::try_to_write(&log) {
                complain(format_args!("its log {} cannot be written: {error}", log.display()));
            }
            return;
        }
        complain(format_args!("the last lines of {}:", log.display()));
        for line in lines {
            note(format_args!("  {line}"));
        }
    }
}

async fn await_running(
    cluster: &Cluster,
    process: &RoleProcess,
    deadline: Instant,
) -> Result<(), NotReady> {
    let note = match process.origin {
        Origin::Marked => "",
        Origin::Foreign => ", but was not started by up or start; left alone",
    };
    say(format_args!("{} runs already (pid {}){note}", process.role, process.pid.as_raw_nonzero()));
    await_ready(cluster, process, deadline).await
}

/// Waits until this very process answers that it is ready.
async fn await_ready(
    cluster: &Cluster,
    process: &RoleProcess,
    deadline: Instant,
) -> Result<(), NotReady> {
    let address = cluster.address_of(process.role);
    loop {
        let problem = match health::probe(address).await {
            Ok(health) if health.is_of(process.pid) => return Ok(()),
            Ok(other) => format!("{address} is answered by {} (pid {})", other.role, other.pid),
            Err(error) => health::reason(error),
        };
        if !lives(cluster, process) {
            return Err(NotReady::Ended("its process has ended".to_owned()));
        }
        if clock::now() >= deadline {
            return Err(NotReady::Alive(problem));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether the process is still the role.
fn lives(cluster: &Cluster, process: &RoleProcess) -> bool {
    match process.files {
        Files::Current => {
            let pid_file = cluster.roles.file_of(process.role, "pid");
            processes::holder(&pid_file) == Some(process.pid)
        }
        Files::Other => processes::marked_role(&cluster.config, process.pid) == Some(process.role),
    }
}

/// Whether the process is a front-end that serves where `roles.toml` says, without a pid file: it
/// goes on without one where the data folder cannot be written.
pub(super) async fn needs_no_pid_file(cluster: &Cluster, process: &RoleProcess) -> bool {
    let Role::Frontend(_) = process.role else { return false };
    let Some(address) = cluster.roles.address_of(process.role) else { return false };
    if processes::holder(&cluster.roles.file_of(process.role, "pid")).is_some() {
        return false;
    }
    health::probe_alive(address).await.is_ok_and(|health| health.is_of(process.pid))
}
