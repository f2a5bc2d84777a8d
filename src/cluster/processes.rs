//! Which process is which role, and which of them this `roles.toml`'s verbs started.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid};

use crate::pid_lock::FileId;
use crate::roles::{Role, Roles};
use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;

/// The environment variable that marks a role's process with the canonical path of the `roles.toml`
/// that it was started for.
pub const MARK: &str = "TOYSTORE_STARTED_BY";

/// A number that is longer is no process id.
const LONGEST_PID: u64 = 16;

/// A process that is a role of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoleProcess {
    pub(super) role: Role,
    pub(super) pid: Pid,
    pub(super) origin: Origin,
    pub(super) files: Files,
}

/// Who started a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A verb, for this `roles.toml`. It may get signals.
    Marked,
    /// Something else. It is left alone.
    Foreign,
}

/// Whether a process holds the pid file that `roles.toml` names now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// It does.
    Current,
    /// It does not: it is still starting, its files were removed, or `roles.toml` was edited.
    Other,
}

/// All processes of the store: those with its mark, and those that hold a pid file of a role.
pub(super) fn survey(config: &Path, roles: &Roles) -> Vec<RoleProcess> {
    let mut found = marked(config);
    for role in roles.in_start_order() {
        let Some(pid) = holder(&roles.file_of(role, "pid")) else { continue };
        match found.iter_mut().find(|process| process.pid == pid) {
            Some(process) => process.files = Files::Current,
            None => found.push(RoleProcess {
                role,
                pid,
                origin: Origin::Foreign,
                files: Files::Current,
            }),
        }
    }
    found.sort_by_key(|process| start_rank(process.role));
    found
}

/// The processes of one role.
pub(super) fn survey_role(config: &Path, roles: &Roles, role: Role) -> Vec<RoleProcess> {
    let mut found = survey(config, roles);
    found.retain(|process| process.role == role);
    found
}

/// This user's processes that are roles with the mark of the `roles.toml` at `config`.
pub(super) fn marked(config: &Path) -> Vec<RoleProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| parse_pid(entry.ok()?.file_name().to_str()?))
        .filter_map(|pid| {
            let role = marked_role(config, pid)?;
            Some(RoleProcess { role, pid, origin: Origin::Marked, files: Files::Other })
        })
        .collect()
}

/// The role of a process that is this user's and has the mark, else `None`.
pub(super) fn marked_role(config: &Path, pid: Pid) -> Option<Role> {
    let folder = process_folder(pid);
    let owner = std::fs::metadata(&folder).ok()?.uid();
    if owner != geteuid().as_raw() {
        return None;
    }
    let mark = [MARK.as_bytes(), b"=", config.as_os_str().as_bytes()].concat();
    let environment = std::fs::read(folder.join("environ")).ok()?;
    if !environment.split(|byte| *byte == 0).any(|entry| entry == mark) {
        return None;
    }
    role_of_arguments(&std::fs::read(folder.join("cmdline")).ok()?)
}

/// The process that is the role of this pid file: it has the file's number, and holds its lock.
pub(super) fn holder(pid_file: &Path) -> Option<Pid> {
    let file = File::open(pid_file).ok()?;
    let mut text = String::new();
    (&file).take(LONGEST_PID).read_to_string(&mut text).ok()?;
    let pid = parse_pid(text.trim_end())?;
    let id = FileId::of(&file.metadata().ok()?);
    let holds = match std::fs::read_dir(process_folder(pid).join("fd")) {
        Ok(descriptors) => descriptors.flatten().any(|descriptor| {
            let same = std::fs::metadata(descriptor.path()).is_ok_and(|it| FileId::of(&it) == id);
            same && is_locked(pid, &descriptor.file_name().to_string_lossy())
        }),
        // Another user's process does not show its files.
        Err(_hidden) => process_folder(pid).exists() && is_locked_by_another(&file),
    };
    holds.then_some(pid)
}

/// The order in which roles start; they stop in the opposite one.
pub(super) fn start_rank(role: Role) -> (u8, u32) {
    match role {
        Role::Catalog => (0, 0),
        Role::CatalogProcess(CatalogId(id)) => (0, id),
        Role::Order(ReplicaId(id)) => (1, id),
        Role::Frontend(number) => (2, number),
    }
}

/// Asks the kernel instead of trying to lock, which would be in the way of a role that just starts.
fn is_locked(pid: Pid, descriptor: &str) -> bool {
    let info = process_folder(pid).join("fdinfo").join(descriptor);
    let info = std::fs::read_to_string(info).unwrap_or_default();
    info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK"))
}

/// Tries for a shared lock. Only for the pid file of another user's process: no role of this user
/// starts with it.
fn is_locked_by_another(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The role of a command line such as `toystore\0order\0--id\01\0--config\0…`.
fn role_of_arguments(command_line: &[u8]) -> Option<Role> {
    let words: Vec<&str> = command_line
        .split(|byte| *byte == 0)
        .map(std::str::from_utf8)
        .collect::<Result<_, _>>()
        .ok()?;
    let id = || words.iter().skip_while(|word| **word != "--id").nth(1)?.parse().ok();
    match *words.get(1)? {
        "catalog" => Some(id().map_or(Role::Catalog, |id| Role::CatalogProcess(CatalogId(id)))),
        "order" => Some(Role::Order(ReplicaId(id()?))),
        "frontend" => Some(Role::Frontend(id().unwrap_or(1))),
        _ => None,
    }
}

fn process_folder(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

fn parse_pid(text: &str) -> Option<Pid> {
    // `Pid` is a positive number; text such as "+7" or "007" was not written by a role.
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    Pid::from_raw(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_tells_its_role() {
        let role = |text: &str| role_of_arguments(text.replace(' ', "\0").as_bytes());
        assert_eq!(role("/x/toystore catalog --config /r"), Some(Role::Catalog));
        let second = Role::CatalogProcess(CatalogId(2));
        assert_eq!(role("/x/toystore catalog --id 2 --config /r"), Some(second));
        assert_eq!(role("toystore order --id 3 --config /r"), Some(Role::Order(ReplicaId(3))));
        assert_eq!(role("toystore frontend --config /r"), Some(Role::Frontend(1)));
        assert_eq!(role("toystore frontend --id 2 --config /r"), Some(Role::Frontend(2)));
        for other in ["", "sleep 60", "toystore", "toystore order", "toystore client -c 5"] {
            assert_eq!(role(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_positive_number_is_a_process_id() {
        assert!(parse_pid("4711").is_some());
        for other in ["", "0", "-1", "+7", "x", "1 2", "99999999999"] {
            assert!(parse_pid(other).is_none(), "{other}");
        }
    }
}
