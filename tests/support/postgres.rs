//! PostgreSQL servers for tests: a primary with synchronous standbys, in a folder of their own, by
//! the system's packages.
//!
//! A shell waits for the end of this test program, however it comes, and then ends the servers and
//! removes the folder.
#![allow(
    dead_code,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test program uses a part of this; a failure here is a test's failure"
)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::eventually::eventually;

/// Who the servers run as: they refuse to run as root.
const USER: &str = "postgres";
/// The role of the store, which may do what its documents ask for and no more.
const ROLE: &str = "toystore";

/// A standby looks for its primary every 200 ms.
const FOLLOW_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The settings of every server. `synchronous_standby_names` is in all of them, since a standby
/// that is promoted inherits nothing.
const SETTINGS: &str = "
    synchronous_standby_names = 'ANY 1 (s0, s1, s2)'
    wal_log_hints = on
    unix_socket_directories = ''
    max_connections = 200
    max_wal_senders = 10
    shared_buffers = 16MB
    wal_keep_size = 64MB
    hot_standby_feedback = on
    wal_receiver_status_interval = 1s
    wal_retrieve_retry_interval = 200ms
    primary_slot_name = ''
";

/// A primary and its standbys, by number. Dropping it ends them.
pub(crate) struct Servers {
    folder: PathBuf,
    host: Ipv4Addr,
    ports: Vec<u16>,
    /// Ends with its standard input.
    _janitor: Child,
}

/// Ends all servers below a folder and removes it, when the input ends. Stopped ones, too.
const JANITOR: &str = r#"
    read -r _
    for file in "$1"/*/postmaster.pid; do
        read -r pid <"$file" || continue
        kill -STOP "$pid"
        for child in $(ps -o pid= --ppid "$pid"); do kill -KILL "$child"; done
        kill -KILL "$pid"
    done 2>/dev/null
    # One of them may still write.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf -- "$1" 2>/dev/null && break
        sleep 0.3
    done
"#;

/// Returns why there can be no servers here. That is a failure where `CI` is set.
pub(crate) fn missing() -> Option<String> {
    let problem = if programs().is_none() {
        "PostgreSQL is not installed; get it with: sudo apt-get install -y postgresql"
    } else if !getuid().is_root() {
        "only root can start PostgreSQL's servers as their own user"
    } else {
        return None;
    };
    assert!(std::env::var_os("CI").is_none(), "{problem}");
    eprintln!("left out: {problem}");
    Some(problem.to_owned())
}

/// The servers that the tests of this program share: three that nothing happens to. Each test has a
/// database of its own.
pub(crate) async fn shared() -> &'static Servers {
    static SHARED: OnceLock<Servers> = OnceLock::new();
    // A second test waits until the first has started them.
    let servers = SHARED.get_or_init(|| {
        let servers = Servers::prepare(3);
        servers.start_all();
        servers
    });
    servers.await_standbys(0, 2).await;
    servers
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let newest = versions.max_by_key(|version| {
        version.file_name().to_string_lossy().parse::<u32>().unwrap_or_default()
    });
    newest.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists())
}

impl Servers {
    /// Starts a primary, number 0, and standbys until there are `count` servers, and waits until
    /// the standbys are synchronous.
    pub(crate) async fn start(count: usize) -> Self {
        let servers = Self::prepare(count);
        servers.start_all();
        servers.await_standbys(0, count - 1).await;
        servers
    }

    fn prepare(count: usize) -> Self {
        let folder =
            tempfile::Builder::new().prefix("toystore-postgres-").tempdir().unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let (uid, gid) = owner();
        chown(&folder, Some(uid), Some(gid)).unwrap();
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let [a, b, c, ..] = rand::random::<[u8; 4]>();
        let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind((host, 0)).unwrap()).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = listeners.iter().map(port).collect();
        Self { folder, host, ports, _janitor: janitor }
    }

    fn start_all(&self) {
        let data = self.data(0);
        let path = data.to_str().unwrap();
        as_owner("initdb", &["-k", "-N", "-A", "trust", "-U", USER, "-E", "UTF8", "-D", path]);
        fs::write(data.join("postgresql.conf"), SETTINGS).unwrap();
        // The first line that fits counts: the user `guarded` needs a password.
        let rules = "host all guarded all scram-sha-256\nhost all all all trust\n\
                     host replication all all trust\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        self.launch(0);
        self.sql_when_up(0, "SELECT 1");
        let make = format!(
            "SET synchronous_commit = local; CREATE ROLE {ROLE} LOGIN; \
             GRANT pg_read_all_stats TO {ROLE};"
        );
        self.sql(0, &make);
        (1..self.ports.len()).for_each(|number| self.clone_from(0, number));
    }

    /// Makes server `number` a standby of server `of`, with an empty folder, and starts it.
    pub(crate) fn clone_from(&self, of: usize, number: usize) {
        let data = self.data(number);
        let path = data.to_str().unwrap();
        let (host, port) = (self.host.to_string(), self.ports[of].to_string());
        let from = ["-h", &host, "-p", &port, "-U", USER];
        let to = ["-D", path, "-R", "-N", "-X", "stream", "-c", "fast"];
        as_owner("pg_basebackup", &[&from[..], &to[..]].concat());
        self.follow(of, number);
        self.launch(number);
    }

    /// Makes a server that is down a standby of server `of`, with all that it had removed.
    pub(crate) fn clone_anew(&self, of: usize, number: usize) {
        fs::remove_dir_all(self.data(number)).unwrap();
        self.clone_from(of, number);
    }

    /// Has server `number` follow server `of` from its next start on.
    pub(crate) fn follow(&self, of: usize, number: usize) {
        let (host, port) = (self.host, self.ports[of]);
        let text = format!(
            "primary_conninfo = 'host={host} port={port} user={USER} application_name=s{number}'\n"
        );
        fs::write(self.data(number).join("postgresql.auto.conf"), text).unwrap();
        fs::write(self.data(number).join("standby.signal"), "").unwrap();
    }

    /// Starts a server that is down.
    pub(crate) fn launch(&self, number: usize) {
        let data = self.data(number);
        let path = self.folder.join(format!("s{number}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let (host, port) = (self.host.to_string(), self.ports[number].to_string());
        // A session of its own: Ctrl-C does not reach it. No `-o`: that would beat ALTER SYSTEM.
        let mut command = Command::new("setsid");
        command
            .args(["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--"])
            .arg(programs().unwrap().join("postgres"))
            .args(["-h", &host, "-p", &port, "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        std::thread::spawn(move || child.wait());
    }

    /// The URL of a database, with all servers.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as(ROLE, database)
    }

    /// The same, for another user.
    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@{}/{database}", self.addresses().join(","))
    }

    /// Where all servers listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (0..self.ports.len()).map(|number| self.address(number)).collect()
    }

    /// Where a server listens.
    pub(crate) fn address(&self, number: usize) -> String {
        format!("{}:{}", self.host, self.ports[number])
    }

    /// The address of all servers.
    pub(crate) fn host(&self) -> String {
        self.host.to_string()
    }

    /// Has a server offer TLS, with this certificate and key.
    pub(crate) async fn encrypt(&self, number: usize, certificate: &Path, key: &Path) {
        let (uid, gid) = owner();
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data(number).join(to);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&to, Some(uid), Some(gid)).unwrap();
        }
        self.sql(number, "ALTER SYSTEM SET ssl = on");
        self.sql(number, "SELECT pg_reload_conf()");
        eventually("the server offers TLS", async || self.sql(number, "SHOW ssl") == "on").await;
    }

    /// Makes an empty database that belongs to the store's role. Returns its name.
    pub(crate) fn new_database(&self, primary: usize) -> String {
        let name = format!("test_{:016x}", rand::random::<u64>());
        self.sql(primary, &format!("CREATE DATABASE {name} OWNER {ROLE}"));
        name
    }

    /// Runs SQL at a server as its superuser. Returns the rows, with tabs between the columns.
    pub(crate) fn sql(&self, number: usize, sql: &str) -> String {
        self.sql_in(number, USER, sql)
    }

    /// The same, in a database.
    pub(crate) fn sql_in(&self, number: usize, database: &str, sql: &str) -> String {
        let output = self.psql(number, database, sql);
        let (text, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{sql}: {error}");
        text
    }

    /// Runs SQL beside the test, until it ends by itself.
    pub(crate) fn sql_beside(&self, number: usize, sql: &str) -> Beside {
        let mut command = self.psql_command(number, USER, sql);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Beside(command.spawn().unwrap())
    }

    /// Calls a function such as `pg_cancel_backend` on each session whose commit waits for
    /// standbys, as soon as one does, and then ends.
    pub(crate) fn end_waiting_commits(&self, number: usize, function: &str) -> Beside {
        self.sql_beside(
            number,
            &format!(
                "DO $$ BEGIN LOOP PERFORM pg_stat_clear_snapshot(); \
                 PERFORM {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'; \
                 EXIT WHEN FOUND; PERFORM pg_sleep(0.005); END LOOP; END $$"
            ),
        )
    }

    /// The one of these standbys that has received the most.
    pub(crate) fn most_advanced(&self, numbers: &[usize]) -> usize {
        let received = |number: &usize| {
            let sql = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')";
            self.sql(*number, sql).parse::<u64>().unwrap()
        };
        *numbers.iter().max_by_key(|number| received(number)).unwrap()
    }

    /// Has a running standby follow another server.
    pub(crate) fn redirect(&self, number: usize, to: usize) {
        self.follow(to, number);
        self.sql(number, "SELECT pg_reload_conf()");
    }

    fn psql(&self, number: usize, database: &str, sql: &str) -> Output {
        self.psql_command(number, database, sql).output().unwrap()
    }

    fn psql_command(&self, number: usize, database: &str, sql: &str) -> Command {
        let mut command = Command::new(programs().unwrap().join("psql"));
        command
            .args(["-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database])
            .args(["-h", &self.host.to_string(), "-p", &self.ports[number].to_string(), "-c", sql])
            .env("PGCONNECT_TIMEOUT", "5");
        command
    }

    fn sql_when_up(&self, number: usize, sql: &str) {
        let deadline = toystore::clock::now() + crate::eventually::TIME_LIMIT;
        while !self.psql(number, USER, sql).status.success() {
            assert!(toystore::clock::now() < deadline, "server {number} does not come up");
            std::thread::yield_now();
        }
    }

    /// Waits until server `number` has this many synchronous standbys. (A run that only seems
    /// synchronous proves nothing.)
    pub(crate) async fn await_standbys(&self, number: usize, count: usize) {
        eventually(&format!("server {number} has {count} synchronous standbys"), async || {
            self.standbys(number) == Some(count)
        })
        .await;
    }

    /// How many synchronous standbys a server has, if it answers.
    pub(crate) fn standbys(&self, number: usize) -> Option<usize> {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        let output = self.psql(number, USER, sql);
        output.status.success().then(|| text(&output.stdout).parse().unwrap())
    }

    /// Whether a standby streams from `primary`, which may take it a moment.
    pub(crate) async fn follows(&self, primary: usize, standby: usize) -> bool {
        let sql =
            format!("SELECT 1 FROM pg_stat_replication WHERE application_name = 's{standby}'");
        let deadline = toystore::clock::now() + FOLLOW_LIMIT;
        while toystore::clock::now() < deadline {
            if self.sql(primary, &sql) == "1" {
                return true;
            }
            actix_web::rt::time::sleep(FOLLOW_LIMIT / 50).await;
        }
        false
    }

    /// Whether a server answers.
    pub(crate) fn answers(&self, number: usize) -> bool {
        self.psql(number, USER, "SELECT 1").status.success()
    }

    /// Whether a server's process is there.
    pub(crate) fn runs(&self, number: usize) -> bool {
        self.data(number).join("postmaster.pid").exists()
    }

    /// Sends a signal to a server and all of its processes.
    pub(crate) fn signal(&self, number: usize, signal: Signal) {
        let postmaster = self.postmaster(number);
        let parent = postmaster.as_raw_nonzero().to_string();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output().unwrap();
        let children = text(&children.stdout);
        let children =
            children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        // The parent first, so that it starts no more.
        for pid in std::iter::once(postmaster).chain(children) {
            // One that has just ended has no signal to get.
            let _ended = kill_process(pid, signal);
        }
    }

    /// Kills a server, and waits until it is gone.
    pub(crate) async fn kill(&self, number: usize) {
        let pid = self.postmaster(number).as_raw_nonzero();
        self.signal(number, Signal::KILL);
        let folder = PathBuf::from(format!("/proc/{pid}"));
        eventually("the server is gone", async || !folder.exists()).await;
        let _stays = fs::remove_file(self.data(number).join("postmaster.pid"));
    }

    /// Promotes a standby, and waits until it takes writes.
    pub(crate) async fn promote(&self, number: usize) {
        self.sql_when_up(number, "SELECT 1");
        self.sql(number, "SELECT pg_promote(wait => false)");
        eventually("the standby is promoted", async || {
            self.sql(number, "SELECT pg_is_in_recovery()") == "f"
        })
        .await;
    }

    fn postmaster(&self, number: usize) -> Pid {
        let file = fs::read_to_string(self.data(number).join("postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().parse().unwrap()).unwrap()
    }

    fn data(&self, number: usize) -> PathBuf {
        self.folder.join(format!("s{number}"))
    }
}

/// SQL that runs beside the test. Dropping it ends it.
pub(crate) struct Beside(Child);

impl Beside {
    /// Waits until it has ended.
    pub(crate) async fn ended(mut self) {
        eventually("the SQL has ended", async || self.0.try_wait().unwrap().is_some()).await;
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The user and group of the servers.
fn owner() -> (u32, u32) {
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, USER]).output().unwrap();
        text(&output.stdout).parse().unwrap()
    };
    (id("-u"), id("-g"))
}

/// Runs one of PostgreSQL's programs as the servers' user.
fn as_owner(program: &str, arguments: &[&str]) {
    let output = Command::new("runuser")
        .args(["-u", USER, "--"])
        .arg(programs().unwrap().join(program))
        .args(arguments)
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
