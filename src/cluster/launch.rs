//! Starting a role's process: with the mark, in a session of its own, without the descriptors of
//! the process that starts it.

use std::fs::OpenOptions;
use std::io;
use std::process::{Child, Command, Stdio};

use super::invocation::FRONT_DOOR;
use super::processes::MARK;
use super::{Cluster, VerbError, guard};
use crate::roles::Role;
use crate::wire::replication::ReplicaId;

/// The first descriptor after standard input, output and error.
const FIRST_OTHER_DESCRIPTOR: i32 = 3;

/// Starts the process. Its log is appended to.
pub(super) fn launch(cluster: &Cluster, role: Role) -> Result<Child, VerbError> {
    let log_path = cluster.roles.file_of(role, "log");
    let folder = &cluster.roles.data_dir;
    std::fs::create_dir_all(folder).map_err(|error| {
        VerbError::Problem(format!("cannot create the data folder {}: {error}", folder.display()))
    })?;
    guard::make_secret(cluster, role)?;
    let open = || {
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        Ok((log.try_clone()?, log))
    };
    let (log, same_log) = open().map_err(|error: io::Error| {
        VerbError::Problem(format!("cannot write the log {}: {error}", log_path.display()))
    })?;
    // An inherited descriptor would keep a pipe open, or a file locked, while the role runs.
    close_fds::set_fds_cloexec_threadsafe(FIRST_OTHER_DESCRIPTOR, &[]);
    command(cluster, role)
        .and_then(|mut command| command.stdin(Stdio::null()).stdout(log).stderr(same_log).spawn())
        .map_err(|error| VerbError::Problem(format!("cannot start {role}: {error}")))
}

fn command(cluster: &Cluster, role: Role) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    match role {
        Role::Catalog => command.arg("catalog"),
        Role::Order(ReplicaId(id)) => command.args(["order", "--id", &id.to_string()]),
        Role::Frontend(1) => command.arg("frontend"),
        Role::Frontend(number) => command.args(["frontend", "--id", &number.to_string()]),
    };
    command.arg("--config").arg(&cluster.config);
    command.env(MARK, &cluster.config).env_remove(FRONT_DOOR);
    Ok(command)
}

/// Moves a role that a verb started into a session of its own, so that neither Ctrl-C in the
/// terminal nor the end of the terminal reaches it. Does nothing in other processes.
pub fn leave_session_of_supervisor() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    if let Err(error) = rustix::process::setsid() {
        log::warn!("the role stays in its terminal's session, and Ctrl-C may end it: {error}");
    }
}
