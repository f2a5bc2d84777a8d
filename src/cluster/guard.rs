//! The secret of a run on loopback: the first verb that starts a role makes it, and the last one
//! that stops a role removes it.
//!
//! A role learns the secret when it starts. So none is made while a role runs that started without
//! one: it could not make calls to those that have it. The run then goes on without a secret, and
//! each role says so when it starts. Nor is one made for a role that starts alone in a data folder
//! where no other role has been: the others have folders of their own, and would not find it.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::processes::{self, Files};
use super::terminal::complain;
use super::{Cluster, VerbError, VerbResult};
use crate::roles::Role;

/// For a process on this machine to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// What a verb starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    /// All roles, from one data folder.
    Store,
    /// One role. The others may have data folders of their own.
    Role,
}

/// Makes the secret of the run, if `roles.toml` has none, for a role that is about to start.
pub(super) fn make_secret(cluster: &Cluster, role: Role, starts: Starts) -> VerbResult {
    let roles = &cluster.roles;
    let is_made = roles.clone().join_run().is_ok_and(|roles| roles.secret.is_some());
    let is_for_others = starts == Starts::Store || has_been_shared(cluster, role);
    if is_made || !is_for_others || !is_on_loopback(cluster) || runs_without(cluster, role) {
        return Ok(());
    }
    let Err(error) = roles.make_run_secret() else { return Ok(()) };
    let path = roles.run_secret_file();
    match role {
        // It needs no disk, and says when it starts that it is not guarded.
        Role::Frontend(_) => {
            complain(format_args!("cannot write {}: {error}", path.display()));
            Ok(())
        }
        Role::Catalog | Role::CatalogProcess(_) | Role::Order(_) => {
            Err(VerbError::Problem(format!(
                "cannot write {}, the secret of this run: {error}; make the folder writable, or \
                 set `secret` in roles.toml",
                path.display()
            )))
        }
    }
}

/// Removes the secret once no role runs.
pub(super) fn end_run(cluster: &Cluster) {
    if !processes::survey(&cluster.config, &cluster.roles).is_empty() {
        return;
    }
    if let Err(error) = cluster.roles.remove_run_secret() {
        complain(format_args!(
            "cannot remove {}: {error}",
            cluster.roles.run_secret_file().display()
        ));
    }
}

/// Whether another role than `role` has logged to the data folder.
fn has_been_shared(cluster: &Cluster, role: Role) -> bool {
    let others = cluster.roles.in_start_order().into_iter().filter(|other| *other != role);
    others.into_iter().any(|other| cluster.roles.file_of(other, "log").exists())
}

/// Whether all roles are on this machine alone. A store on several needs a secret in `roles.toml`.
pub(super) fn is_on_loopback(cluster: &Cluster) -> bool {
    let roles = cluster.roles.in_start_order();
    roles.iter().all(|role| {
        let mut addresses = socket_addresses(cluster, *role).into_iter().peekable();
        addresses.peek().is_some() && addresses.all(|address| address.ip().is_loopback())
    })
}

/// Whether another role runs, here or with a data folder of its own. (A process whose pid file was
/// removed is about to end.)
fn runs_without(cluster: &Cluster, role: Role) -> bool {
    let found = processes::survey(&cluster.config, &cluster.roles);
    cluster.roles.in_start_order().into_iter().filter(|other| *other != role).any(|other| {
        let mut of_role = found.iter().filter(|process| process.role == other).peekable();
        match of_role.peek() {
            Some(_) => of_role.any(|process| process.files == Files::Current),
            None => socket_addresses(cluster, other)
                .iter()
                .any(|address| TcpStream::connect_timeout(address, CONNECT_LIMIT).is_ok()),
        }
    })
}

fn socket_addresses(cluster: &Cluster, role: Role) -> Vec<SocketAddr> {
    cluster.address_of(role).as_str().to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}
