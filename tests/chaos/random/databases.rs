//! Faults of the servers that the catalogs' database is on, and the manager that repairs them: it
//! promotes the standby that has most, and makes a server that was the primary a standby.
//!
//! One at a time: with a standby out, the loss of the primary would be that of the only other disk.

use std::sync::Arc;

use rustix::process::Signal;

use crate::eventually::eventually;
use crate::postgres::Servers;
use crate::processes::Cluster;
use crate::shared_store::copy_database;

/// How the database fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseFault {
    /// SIGSTOP to one standby.
    StandbyPaused,
    /// To both.
    StandbysPaused,
    /// kill -9, and a standby is promoted.
    PrimaryKilled,
    /// SIGSTOP, and a standby is promoted; then the old primary goes on for a while.
    PrimaryPaused,
    /// `synchronous_standby_names` is empty.
    NamesEmptied,
    /// The catalogs' sessions end.
    SessionsTerminated,
}

/// The servers, and what is wrong with them.
pub(super) struct Databases {
    pub(super) servers: Arc<Servers>,
    /// The database's name.
    pub(super) name: String,
    primary: usize,
    active: Option<DatabaseFault>,
    /// The primary before, which is to become a standby.
    former: Option<usize>,
}

impl DatabaseFault {
    pub(super) const ALL: [Self; 6] = [
        Self::StandbyPaused,
        Self::StandbysPaused,
        Self::PrimaryKilled,
        Self::PrimaryPaused,
        Self::NamesEmptied,
        Self::SessionsTerminated,
    ];

    /// What to count it as.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::StandbyPaused => "a standby paused",
            Self::StandbysPaused => "both standbys paused",
            Self::PrimaryKilled => "primary killed, standby promoted",
            Self::PrimaryPaused => "primary paused, standby promoted",
            Self::NamesEmptied => "names of standbys emptied",
            Self::SessionsTerminated => "sessions terminated",
        }
    }
}

impl Databases {
    /// Three servers, and an empty database.
    pub(super) async fn start() -> Self {
        let servers = Servers::start(3).await;
        let name = servers.new_database(0);
        Self { servers: Arc::new(servers), name, primary: 0, active: None, former: None }
    }

    /// Returns whether it was injected: only one at a time is.
    pub(super) async fn inject(&mut self, fault: DatabaseFault) -> bool {
        if self.active.is_some() || self.servers.standbys(self.primary) != Some(2) {
            return false;
        }
        self.active = Some(fault);
        let [first, second] = self.standbys();
        match fault {
            DatabaseFault::StandbyPaused => self.servers.signal(first, Signal::STOP),
            DatabaseFault::StandbysPaused => {
                self.servers.signal(first, Signal::STOP);
                self.servers.signal(second, Signal::STOP);
            }
            DatabaseFault::PrimaryKilled => {
                self.servers.kill(self.primary).await;
                self.promote().await;
            }
            DatabaseFault::PrimaryPaused => {
                self.servers.signal(self.primary, Signal::STOP);
                self.promote().await;
                self.servers.signal(self.former.expect("it was replaced"), Signal::CONT);
            }
            DatabaseFault::NamesEmptied => {
                self.set_names("ALTER SYSTEM SET synchronous_standby_names = ''");
            }
            DatabaseFault::SessionsTerminated => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE application_name = 'toystore'";
                self.servers.sql(self.primary, sql);
            }
        }
        true
    }

    /// Repairs what is wrong.
    pub(super) async fn repair(&mut self) {
        match self.active.take() {
            Some(DatabaseFault::StandbyPaused | DatabaseFault::StandbysPaused) => {
                for standby in self.standbys() {
                    self.servers.signal(standby, Signal::CONT);
                }
            }
            Some(DatabaseFault::PrimaryKilled | DatabaseFault::PrimaryPaused) => {
                let former = self.former.take().expect("it was replaced");
                self.clone_anew(former).await;
            }
            Some(DatabaseFault::NamesEmptied) => {
                self.set_names("ALTER SYSTEM RESET synchronous_standby_names");
            }
            Some(DatabaseFault::SessionsTerminated) | None => {}
        }
    }

    /// Repairs what is wrong, and waits until both standbys are in step. One that received more
    /// than the server that was promoted cannot follow that: it is copied anew.
    pub(super) async fn heal(&mut self) {
        self.repair().await;
        for standby in self.standbys() {
            if !self.servers.follows(self.primary, standby).await {
                self.clone_anew(standby).await;
            }
        }
        self.servers.await_standbys(self.primary, 2).await;
    }

    /// How many terms there were.
    pub(super) fn terms(&self) -> Option<u64> {
        self.servers.sql_in(self.primary, &self.name, "SELECT term FROM cluster").parse().ok()
    }

    /// Copies the database to where the checks of a store on SQLite read it.
    pub(super) fn copy_to(&self, cluster: &Cluster) {
        copy_database(cluster, &self.servers, self.primary, &self.name);
    }

    fn standbys(&self) -> [usize; 2] {
        [(self.primary + 1) % 3, (self.primary + 2) % 3]
    }

    async fn promote(&mut self) {
        let standbys = self.standbys();
        let most_advanced = self.servers.most_advanced(&standbys);
        self.servers.promote(most_advanced).await;
        for other in standbys.into_iter().filter(|standby| *standby != most_advanced) {
            self.servers.redirect(other, most_advanced);
        }
        self.former = Some(std::mem::replace(&mut self.primary, most_advanced));
    }

    /// Makes a server a standby with a copy of all that the primary has, while clients go on.
    async fn clone_anew(&self, number: usize) {
        if self.servers.runs(number) {
            self.servers.kill(number).await;
        }
        let (servers, primary) = (Arc::clone(&self.servers), self.primary);
        let copied =
            actix_web::rt::task::spawn_blocking(move || servers.clone_anew(primary, number));
        copied.await.expect("nothing panics there");
        eventually("the copy answers", async || self.servers.answers(number)).await;
    }

    fn set_names(&self, sql: &str) {
        self.servers.sql(self.primary, sql);
        self.servers.sql(self.primary, "SELECT pg_reload_conf()");
    }
}
