//! Faults of machines, and the operator who repairs them as `docs/operations.md` has it.
//!
//! | fault | what is repaired how | what is promised meanwhile |
//! |---|---|---|
//! | a replica's disk is lost | an empty one, or the backup of a while ago | no client sees an error |
//! | the catalog's disk is lost | the same; then the journal is rolled forward | nothing is sold before the journal has every acknowledged order; afterwards each has its number and its key. See [`histories`](crate::histories) |
//! | a machine runs twice | the second one is ended | what the second process answers is as right as what the first one does |
//! | two processes of a kind have each other's address | they get their own | nothing wrong is answered |
//! | the catalog was moved, and the old one runs as well | the new one is ended | a front-end that asks the new one sells nothing, and shows what that one has |
//!
//! Disks are lost one in a round: an order that is on no disk any more is lost, and no store can
//! tell.

use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;

use super::injector::Injector;
use super::schedule::{Fault, Step, Target};
use crate::eventually::TIME_LIMIT;
use crate::processes::{REPLICAS, frontend_name, get, now};

/// The name of the second process of a role.
pub(super) const SECOND: &str = "second";

/// How a machine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineFault {
    /// kill -9, and its disk is lost.
    DiskLost(Replacement),
    /// A copy of it runs at another address.
    Cloned,
    /// It and another role of its kind are restarted with each other's address.
    Swapped,
    /// A copy of the catalog runs at another address, and one front-end asks that one.
    Moved,
}

/// What is in the place of a disk that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// An empty disk.
    Empty,
    /// One with the last backup.
    Backup,
}

/// How a fault is repaired.
#[derive(Clone, Debug)]
pub(super) enum RepairedBy {
    /// By a start, if it is not up already.
    Start,
    /// By rolling the catalog's journal forward from the replica with the most orders.
    RollingForward,
    /// By ending the second process.
    EndingSecond,
    /// By giving these roles the `roles.toml` that they had, and ending the second process if there
    /// is one.
    Roles(Vec<(String, String)>),
}

/// What the operator has.
#[derive(Default)]
pub(super) struct Machines {
    /// The folder of the last backup, in which each machine has one.
    backup: Option<PathBuf>,
}

impl Injector {
    /// Backs up each machine. (The backup before is removed.)
    pub(super) async fn back_up(&mut self, number: usize) {
        let folder = self.store.roles().with_file_name(format!("backup-{number}"));
        // A catalog on PostgreSQL has nothing of its own.
        let catalog = self.databases.is_none().then_some("catalog");
        for role in catalog.into_iter().chain(REPLICAS) {
            let to = folder.join(role);
            let done = self.toystore(role, "backup", "--to", &to).await;
            assert!(done.status.success(), "the backup of {role} failed: {done:?}");
        }
        if let Some(old) = self.machines.backup.replace(folder) {
            std::fs::remove_dir_all(old).expect("a backup can be removed");
        }
    }

    pub(super) async fn inject_machine_fault(
        &mut self,
        role: &str,
        fault: MachineFault,
    ) -> Option<RepairedBy> {
        match fault {
            MachineFault::DiskLost(replacement) => {
                let replacement =
                    if self.machines.backup.is_some() { replacement } else { Replacement::Empty };
                Some(self.lose_disk(role, replacement).await)
            }
            MachineFault::Cloned => self.clone_machine(role),
            MachineFault::Swapped => Some(self.swap(role)),
            MachineFault::Moved => self.move_catalog(),
        }
    }

    async fn lose_disk(&mut self, role: &str, replacement: Replacement) -> RepairedBy {
        self.kill(role);
        let is_catalog = role == "catalog";
        if is_catalog {
            self.results.history.borrow_mut().loses_journal(&self.store, now());
        }
        let disk = self.store.data(&format!("{role}.db"));
        let folder = disk.parent().expect("it is in a folder").to_owned();
        for file in std::fs::read_dir(&folder).expect("it is readable") {
            let path = file.expect("it is readable").path();
            // The log of the process is the test's.
            if path.extension().is_none_or(|ending| ending != "log") {
                std::fs::remove_file(path).expect("it can be removed");
            }
        }
        if replacement == Replacement::Backup {
            let from = self.machines.backup.as_ref().expect("one was taken").join(role);
            let done = self.toystore(role, "restore", "--from", &from).await;
            assert!(done.status.success(), "{role} was not restored: {done:?}");
        }
        if is_catalog {
            let orders = if disk.exists() { self.store.journal().len() } else { 0 };
            self.results.resumes_journal(now(), orders);
        }
        self.store.start_role(role);
        if is_catalog { RepairedBy::RollingForward } else { RepairedBy::Start }
    }

    /// Copies a machine as it is at one time, and starts its copy at another address.
    fn clone_machine(&mut self, role: &str) -> Option<RepairedBy> {
        if !self.store.runs(role) || self.store.runs(SECOND) {
            return None;
        }
        self.store.signal(role, Signal::STOP);
        self.copy_disk(role, SECOND);
        if !self.paused.contains(role) {
            self.store.signal(role, Signal::CONT);
        }
        let address = self.start_second(role);
        if role.starts_with("frontend") {
            self.results.second_frontend.replace(Some(address));
        }
        Some(RepairedBy::EndingSecond)
    }

    /// Starts a second process of a role, with a data folder and an address of its own. Returns
    /// the address.
    fn start_second(&mut self, role: &str) -> String {
        let own = self.store.address(role);
        let host = own.rsplit_once(':').expect("it has a port").0;
        let listener = std::net::TcpListener::bind((host, 0)).expect("there are free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let text = self.roles_of(role).replace(&own, &address);
        let text = text.replacen(&format!("\"{role}\""), &format!("\"{SECOND}\""), 1);
        self.store.give_own_roles(SECOND, &text);
        self.store.addresses.insert(SECOND.to_owned(), address.clone());
        self.store.start_second(SECOND, role);
        address
    }

    fn copy_disk(&self, from: &str, to: &str) {
        let to = self.store.data(&format!("{to}.db"));
        let to = to.parent().expect("it is in a folder");
        std::fs::create_dir_all(to).expect("it can be made");
        for ending in ["db", "db-wal", "marker"] {
            let file = self.store.data(&format!("{from}.{ending}"));
            if file.exists() {
                let name = file.file_name().expect("it has a name");
                std::fs::copy(&file, to.join(name)).expect("it can be copied");
            }
        }
    }

    /// Restarts two roles of a kind with each other's address.
    fn swap(&mut self, role: &str) -> RepairedBy {
        let frontends = (1..=self.store.frontends.len()).map(frontend_name);
        let replicas = REPLICAS.into_iter().map(str::to_owned);
        let other = frontends.chain(replicas).find(|other| {
            other != role && other.starts_with("frontend") == role.starts_with("frontend")
        });
        let other = other.expect("there are two");
        let roles = [role, &other].map(|role| (role.to_owned(), self.roles_of(role)));
        let (one, two) = (self.store.address(role), self.store.address(&other));
        self.kill(role);
        self.kill(&other);
        for (role, text) in &roles {
            let text = text.replace(&one, "?").replace(&two, &one).replace('?', &two);
            self.store.give_own_roles(role, &text);
            self.store.start_role(role);
        }
        RepairedBy::Roles(roles.to_vec())
    }

    /// Starts a copy of the catalog at another address, which the first front-end asks from now on.
    fn move_catalog(&mut self) -> Option<RepairedBy> {
        if !self.store.runs("catalog") || self.paused.contains("catalog") {
            return None;
        }
        self.kill("catalog");
        self.copy_disk("catalog", SECOND);
        self.store.start_role("catalog");
        let address = self.start_second("catalog");
        let frontend = frontend_name(1);
        let text = self.roles_of(&frontend);
        let known = self.store.network.address(&frontend, "catalog").expect("it has a link");
        self.kill(&frontend);
        self.results.apart.replace(Some(self.store.address(&frontend)));
        self.store.give_own_roles(&frontend, &text.replace(&known, &address));
        self.store.start_role(&frontend);
        Some(RepairedBy::Roles(vec![(frontend, text)]))
    }

    fn roles_of(&self, role: &str) -> String {
        std::fs::read_to_string(self.store.own_roles(role)).expect("each role has one")
    }

    pub(super) async fn repair_machine(&mut self, role: &str, repaired_by: &RepairedBy) {
        match repaired_by {
            RepairedBy::Start => {
                if !self.store.runs(role) {
                    self.store.start_role(role);
                }
            }
            RepairedBy::RollingForward => self.roll_forward().await,
            RepairedBy::EndingSecond => self.end_second(),
            RepairedBy::Roles(roles) => {
                self.end_second();
                for (role, text) in roles {
                    self.kill(role);
                    self.store.give_own_roles(role, text);
                }
                self.results.apart.replace(None);
                for (role, _) in roles {
                    self.store.start_role(role);
                }
            }
        }
    }

    fn end_second(&mut self) {
        self.results.second_frontend.replace(None);
        if self.store.runs(SECOND) {
            self.store.kill(SECOND);
        }
        let disk = self.store.data(&format!("{SECOND}.db"));
        let folder = disk.parent().expect("it is in a folder");
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("it can be removed");
        }
    }

    /// Waits until all front-ends are ready. A journal that contradicts a replica's log is rolled
    /// forward.
    pub(super) async fn await_sales(&mut self) {
        let deadline = now() + TIME_LIMIT * 2;
        loop {
            let mut are_ready = true;
            let mut reasons = Vec::new();
            for role in (1..=self.store.frontends.len()).map(frontend_name) {
                let answer = get(&self.store.addresses[&role], "/readyz").await;
                are_ready &= matches!(answer, Ok((200, _)));
                reasons.push(answer);
            }
            if are_ready {
                return;
            }
            assert!(now() < deadline, "the store does not sell: {reasons:?}");
            if self.databases.is_some() {
                actix_web::rt::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
            let at_catalog = get(&self.store.addresses["catalog"], "/readyz").await;
            if at_catalog.is_ok_and(|(_, body)| body.to_string().contains("sales are stopped")) {
                self.roll_forward().await;
            }
            actix_web::rt::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Rolls the catalog's journal forward from the replica that has the most orders.
    async fn roll_forward(&mut self) {
        self.kill("catalog");
        let longest = REPLICAS.into_iter().max_by_key(|replica| self.store.orders(replica).len());
        let log = self.store.data(&format!("{}.db", longest.expect("there are replicas")));
        let done = self.toystore("catalog", "rebuild", "--from", &log).await;
        let said = String::from_utf8_lossy(&done.stderr);
        let is_complete = said.contains("nothing is missing");
        assert!(done.status.success() || is_complete, "no roll-forward: {said}");
        let orders = self.store.journal().len();
        self.results.resumes_journal(now(), orders);
        self.store.start_role("catalog");
    }

    /// Runs a command of `toystore` on a role's machine, while the clients go on.
    async fn toystore(&self, role: &str, verb: &str, option: &str, path: &Path) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.arg(verb).arg("--config").arg(self.store.own_roles(role)).arg(option).arg(path);
        let output = actix_web::rt::task::spawn_blocking(move || command.output()).await;
        output.expect("nothing panics there").expect("it can be run")
    }
}

impl MachineFault {
    /// What to count it as, at this role.
    pub(super) fn kind(self, target: Target) -> &'static str {
        match (self, target) {
            (Self::DiskLost(Replacement::Empty), Target::Catalog) => "catalog rebuilt",
            (Self::DiskLost(Replacement::Backup), Target::Catalog) => "catalog restored",
            (Self::DiskLost(Replacement::Empty), _) => "replica's disk emptied",
            (Self::DiskLost(Replacement::Backup), _) => "replica restored",
            (Self::Cloned, Target::Frontend(_)) => "front-end cloned",
            (Self::Cloned, _) => "replica cloned",
            (Self::Swapped, Target::Frontend(_)) => "front-ends swapped",
            (Self::Swapped, _) => "replicas swapped",
            (Self::Moved, _) => "catalog moved",
        }
    }
}

impl Step {
    /// Whether the catalog's disk is lost.
    pub(super) fn loses_the_catalogs_disk(&self) -> bool {
        let is_lost = matches!(self.fault, Fault::Machine(MachineFault::DiskLost(_)));
        is_lost && self.target == Target::Catalog
    }
}
