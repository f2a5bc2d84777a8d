//! Starting a role's process: with the mark, in a session of its own, without the descriptors of
//! the process that starts it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};

use super::guard::Starts;
use super::invocation::FRONT_DOOR;
use super::processes::MARK;
use super::terminal::complain;
use super::{Cluster, VerbError, guard, lab};
use crate::roles::{LINKS, Role};
use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;

/// The first descriptor after standard input, output and error.
const FIRST_OTHER_DESCRIPTOR: i32 = 3;

/// Starts the process, for a verb that starts so much. Its log is appended to.
pub(super) fn launch(cluster: &Cluster, role: Role, starts: Starts) -> Result<Child, VerbError> {
    let (output, errors) = outputs(cluster, role)?;
    guard::make_secret(cluster, role, starts)?;
    // An inherited descriptor would keep a pipe open, or a file locked, while the role runs.
    close_fds::set_fds_cloexec_threadsafe(FIRST_OTHER_DESCRIPTOR, &[]);
    command(cluster, role)
        .and_then(|mut command| command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn())
        .map_err(|error| VerbError::Problem(format!("cannot start {role}: {error}")))
}

/// The role's log, as standard output and as standard error. A front-end, which needs no disk, goes
/// on without a log.
fn outputs(cluster: &Cluster, role: Role) -> Result<(Stdio, Stdio), VerbError> {
    let folder = &cluster.roles.data_dir;
    let path = cluster.roles.file_of(role, "log");
    let open = || {
        std::fs::create_dir_all(folder).map_err(|error| {
            format!("cannot create the data folder {}: {error}", folder.display())
        })?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        log.and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("cannot write the log {}: {error}", path.display()))
    };
    match (open(), role) {
        (Ok((log, same_log)), _) => Ok((log.into(), same_log.into())),
        (Err(problem), Role::Frontend(_)) => {
            complain(format_args!("{problem}; {role} goes on without a log"));
            Ok((Stdio::null(), Stdio::null()))
        }
        (Err(problem), Role::Catalog | Role::CatalogProcess(_) | Role::Order(_)) => {
            Err(VerbError::Problem(problem))
        }
    }
}

fn command(cluster: &Cluster, role: Role) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    match role {
        Role::Catalog => command.arg("catalog"),
        Role::CatalogProcess(CatalogId(id)) => command.args(["catalog", "--id", &id.to_string()]),
        Role::Order(ReplicaId(id)) => command.args(["order", "--id", &id.to_string()]),
        Role::Frontend(1) => command.arg("frontend"),
        Role::Frontend(number) => command.args(["frontend", "--id", &number.to_string()]),
    };
    command.arg("--config").arg(&cluster.config);
    command.env(MARK, &cluster.config).env_remove(FRONT_DOOR);
    command.env_remove(lab::ADDRESS).env_remove(LINKS);
    command.envs(cluster.lab.iter().flat_map(|lab| lab.variables(role)));
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
