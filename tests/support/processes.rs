//! The whole store as processes, on free ports and in a folder of its own.
#![allow(
    dead_code,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "each test program uses a part of this; a failure here is a test's failure"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::eventually::eventually;

/// What a cluster's `roles.toml` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) frontends: usize,
    pub(crate) cache: bool,
    pub(crate) capacity: usize,
    pub(crate) initial_stock: u64,
    pub(crate) restock_interval_ms: u64,
    pub(crate) secret: Option<&'static str>,
}

/// A running store. Dropping it kills what is left of it.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    machines: Machines,
    pub(crate) frontends: Vec<String>,
    /// The catalog, or several.
    pub(crate) catalogs: Vec<String>,
    /// Where each role listens.
    pub(crate) addresses: BTreeMap<String, String>,
    /// What its `roles.toml` says of the stock.
    pub(crate) initial_stock: u64,
    processes: BTreeMap<String, Child>,
    failpoints: BTreeMap<String, String>,
    log_levels: BTreeMap<String, String>,
    file_limits: BTreeMap<String, u32>,
    environments: BTreeMap<String, Vec<(&'static str, PathBuf)>>,
}

/// Where the roles' data folders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machines {
    /// All use one, `data`.
    One,
    /// Each has one of its own, which is named as it is.
    OneEach,
}

/// A row of `orders`.
pub(crate) type Row = (u64, String, u64);

impl Default for Settings {
    fn default() -> Self {
        Self {
            frontends: 1,
            cache: true,
            capacity: 1000,
            initial_stock: 100,
            restock_interval_ms: 200,
            secret: None,
        }
    }
}

/// The order replicas, in the sequence in which they are started.
pub(crate) const REPLICAS: [&str; 3] = ["order-1", "order-2", "order-3"];

impl Cluster {
    /// Writes a `roles.toml` and starts every role.
    pub(crate) async fn start(settings: Settings) -> Self {
        let mut cluster = Self::prepare(settings);
        cluster.start_everything().await;
        cluster
    }

    /// Starts every role and waits until all are ready and in step. The front-ends come last, so
    /// that replica 3 leads first: on a busy machine, another one may listen before it does.
    pub(crate) async fn start_everything(&mut self) {
        self.start_catalogs_and_replicas();
        for role in self.catalogs.iter().map(String::as_str).chain(REPLICAS) {
            let is_alive = async || {
                get(&self.addresses[role], "/healthz").await.is_ok_and(|(status, _)| status == 200)
            };
            eventually(&format!("{role} lives"), is_alive).await;
        }
        self.start_frontends();
        self.await_everything().await;
    }

    /// Starts every role at once and waits until all are ready and in step.
    pub(crate) async fn start_everything_at_once(&mut self) {
        self.start_catalogs_and_replicas();
        self.start_frontends();
        self.await_everything().await;
    }

    fn start_catalogs_and_replicas(&mut self) {
        for catalog in self.catalogs.clone() {
            self.start_role(&catalog);
        }
        self.start_all(&REPLICAS);
    }

    fn start_frontends(&mut self) {
        for number in 1..=self.frontends.len() {
            self.start_role(&frontend_name(number));
        }
    }

    async fn await_everything(&self) {
        for frontend in 0..self.frontends.len() {
            self.await_ready(frontend).await;
        }
        self.await_followers().await;
    }

    /// Writes a `roles.toml` and starts nothing.
    pub(crate) fn prepare(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // An address of its own on the loopback network keeps this cluster's ports apart from those
        // of all other programs.
        let [a, b, c, ..] = rand::random::<[u8; 4]>();
        let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let names = ["catalog".to_owned()].into_iter();
        let names = names.chain(REPLICAS.map(str::to_owned));
        let names: Vec<String> = names.chain((1..=settings.frontends).map(frontend_name)).collect();
        // All are bound before any is released, so no two are the same.
        let listeners: Vec<TcpListener> =
            names.iter().map(|_| TcpListener::bind((host, 0)).unwrap()).collect();
        let addresses: BTreeMap<String, String> = names
            .iter()
            .zip(&listeners)
            .map(|(name, listener)| (name.clone(), listener.local_addr().unwrap().to_string()))
            .collect();
        drop(listeners);
        let cluster = Self {
            folder,
            machines: Machines::One,
            frontends: (1..=settings.frontends)
                .map(|number| addresses[&frontend_name(number)].clone())
                .collect(),
            catalogs: vec!["catalog".to_owned()],
            addresses,
            initial_stock: settings.initial_stock,
            processes: BTreeMap::new(),
            failpoints: BTreeMap::new(),
            log_levels: BTreeMap::new(),
            file_limits: BTreeMap::new(),
            environments: BTreeMap::new(),
        };
        std::fs::write(cluster.roles(), roles_text(settings, &cluster.addresses)).unwrap();
        cluster
    }

    /// Has two catalogs share the database at `url`, instead of one on SQLite. To be called before
    /// anything is started.
    pub(crate) fn share_database(&mut self, settings: Settings, url: &str) {
        let alone = self.addresses.remove("catalog").expect("it had one on SQLite");
        let (host, _port) = alone.rsplit_once(':').unwrap();
        let host: Ipv4Addr = host.parse().unwrap();
        // The others' are bound meanwhile, so that neither is one of them.
        let _others: Vec<TcpListener> =
            self.addresses.values().map(|other| TcpListener::bind(other).unwrap()).collect();
        let listeners = [(); 2].map(|()| TcpListener::bind((host, 0)).unwrap());
        self.catalogs = (1..=listeners.len()).map(|id| format!("catalog-{id}")).collect();
        for (name, listener) in self.catalogs.iter().zip(&listeners) {
            self.addresses.insert(name.clone(), listener.local_addr().unwrap().to_string());
        }
        std::fs::write(self.roles(), shared_roles_text(settings, &self.addresses, url)).unwrap();
    }

    /// Has a role read a `roles.toml` of its own from its next start on.
    pub(crate) fn give_own_roles(&self, name: &str, text: &str) {
        std::fs::write(self.own_roles(name), text).unwrap();
    }

    /// Gives each role a machine of its own, for which it has a `roles.toml` of its own.
    pub(crate) fn give_own_machines(&mut self) {
        self.machines = Machines::OneEach;
    }

    /// The path of a role's own `roles.toml`.
    pub(crate) fn own_roles(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("roles-{name}.toml"))
    }

    /// Sets the failpoints of a role for its next start, and only for that one.
    pub(crate) fn fail_at(&mut self, name: &str, failpoints: &str) {
        self.failpoints.insert(name.to_owned(), failpoints.to_owned());
    }

    /// Has a role log at this level from its next start on.
    pub(crate) fn log_at(&mut self, name: &str, level: &str) {
        self.log_levels.insert(name.to_owned(), level.to_owned());
    }

    /// Limits how many files a role may have open from its next start on.
    pub(crate) fn limit_files(&mut self, name: &str, limit: u32) {
        self.file_limits.insert(name.to_owned(), limit);
    }

    /// Gives a role these variables from its next start on.
    pub(crate) fn give_environment(&mut self, name: &str, variables: Vec<(&'static str, PathBuf)>) {
        self.environments.insert(name.to_owned(), variables);
    }

    /// Where a role listens.
    pub(crate) fn address(&self, name: &str) -> String {
        self.addresses[name].clone()
    }

    /// The path of `roles.toml`.
    pub(crate) fn roles(&self) -> PathBuf {
        self.folder.path().join("roles.toml")
    }

    /// A file in the data folder of the role that it is named after.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        let folder = match (self.machines, name.split_once('.')) {
            (Machines::OneEach, Some((role, _))) => role,
            (Machines::One, _) | (_, None) => "data",
        };
        self.folder.path().join(folder).join(name)
    }

    /// Starts a role's process.
    pub(crate) fn start_role(&mut self, name: &str) {
        let own = self.own_roles(name);
        let roles = if own.exists() { own } else { self.roles() };
        self.start_role_with(name, &roles);
    }

    /// Writes a second `roles.toml`, with another data folder.
    pub(crate) fn roles_with_data_dir(&self, data_dir: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{data_dir}.toml"));
        let text = std::fs::read_to_string(self.roles()).unwrap();
        std::fs::write(&path, text.replacen("\"data\"", &format!("\"{data_dir}\""), 1)).unwrap();
        path
    }

    /// Starts a role's process with a `roles.toml` of its own.
    pub(crate) fn start_role_with(&mut self, name: &str, roles: &Path) {
        self.start_process(name, name, roles);
    }

    /// Starts a second process of a role, which is called `name` here and reads its own
    /// `roles.toml`.
    pub(crate) fn start_second(&mut self, name: &str, role: &str) {
        self.start_process(name, role, &self.own_roles(name));
    }

    fn start_process(&mut self, name: &str, role: &str, roles: &Path) {
        let log = self.data(&format!("{name}.log"));
        std::fs::create_dir_all(log.parent().expect("it is in a folder")).unwrap();
        let log = File::options().create(true).append(true).open(log);
        let program = env!("CARGO_BIN_EXE_toystore");
        let mut command = match self.file_limits.get(name) {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("bash");
                let script = r#"ulimit -n "$0" && exec "$@""#;
                shell.args(["-c", script, &limit.to_string(), program]);
                shell
            }
        };
        match role.split_once('-') {
            Some((role, id)) => command.args([role, "--id", id]),
            None => command.arg(role),
        };
        if let Some(failpoints) = self.failpoints.remove(name) {
            command.env("FAILPOINTS", failpoints);
        }
        if let Some(level) = self.log_levels.get(name) {
            command.env("RUST_LOG", level);
        }
        command.envs(self.environments.get(name).into_iter().flatten().cloned());
        let child = command
            .arg("--config")
            .arg(roles)
            .stdin(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        assert!(self.processes.insert(name.to_owned(), child).is_none(), "{name} runs already");
    }

    /// Starts several roles at once.
    pub(crate) fn start_all(&mut self, names: &[&str]) {
        for name in names {
            self.start_role(name);
        }
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut child = self.processes.remove(name).expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// kill -9 to all processes at once.
    pub(crate) fn kill_everything(&mut self) {
        for child in self.processes.values_mut() {
            child.kill().unwrap();
        }
        for (_, mut child) in std::mem::take(&mut self.processes) {
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the process's exit status.
    pub(crate) async fn terminate(&mut self, name: &str) -> ExitStatus {
        self.signal(name, Signal::TERM);
        self.await_end(name).await
    }

    /// Waits until a role has ended; its process's exit status.
    pub(crate) async fn await_end(&mut self, name: &str) -> ExitStatus {
        let mut child = self.processes.remove(name).unwrap();
        eventually(&format!("{name} ends"), async || child.try_wait().unwrap()).await
    }

    /// Whether a role was started and no test ended it since.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.processes.contains_key(name)
    }

    /// Takes a role's exit status, if it has ended by itself.
    pub(crate) fn take_end(&mut self, name: &str) -> Option<ExitStatus> {
        let status = self.processes.get_mut(name)?.try_wait().unwrap()?;
        self.processes.remove(name);
        Some(status)
    }

    /// The memory that a role has, in KiB.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.processes[name].id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends a signal, such as STOP or CONT.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let child = &self.processes[name];
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits until a front-end (counted from 0) is ready.
    pub(crate) async fn await_ready(&self, frontend: usize) {
        eventually("the front-end is ready", async || {
            get(&self.frontends[frontend], "/readyz").await.is_ok_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// Waits until all replicas that run are in step and one leads.
    pub(crate) async fn await_followers(&self) {
        eventually("all replicas are in step", async || {
            let Ok((200, body)) = get(&self.frontends[0], "/cluster").await else { return false };
            let replicas = body["data"]["replicas"].as_array().unwrap();
            replicas.iter().all(|one| one["state"] == "leader" || one["state"] == "follower")
        })
        .await;
    }

    /// The leader according to the first front-end.
    pub(crate) async fn leader(&self) -> String {
        let leader = eventually("a replica leads", async || {
            let (_, body) = get(&self.frontends[0], "/cluster").await.ok()?;
            body["data"]["leader"].as_u64()
        });
        format!("order-{}", leader.await)
    }

    /// The rows of a replica's `orders`, as a stock SQLite reads them.
    pub(crate) fn orders(&self, replica: &str) -> Vec<Row> {
        self.query(replica, "SELECT number, name, quantity FROM orders ORDER BY number")
    }

    /// The same; `None` if they cannot be read, as before its process has made the file, or set a
    /// damaged one aside.
    pub(crate) fn orders_if_readable(&self, replica: &str) -> Option<Vec<Row>> {
        self.try_query(replica, "SELECT number, name, quantity FROM orders ORDER BY number").ok()
    }

    /// The rows of the catalog's journal.
    pub(crate) fn journal(&self) -> Vec<Row> {
        self.query("catalog", "SELECT number, name, quantity FROM journal ORDER BY number")
    }

    /// Whether the catalog has decided a purchase under a client's key.
    pub(crate) fn has_decided(&self, key: &str) -> bool {
        let sql = format!("SELECT 0, key, 0 FROM decisions WHERE key = 'client:{key}'");
        !self.query("catalog", &sql).is_empty()
    }

    fn query(&self, role: &str, sql: &str) -> Vec<Row> {
        self.try_query(role, sql).unwrap()
    }

    fn try_query(&self, role: &str, sql: &str) -> rusqlite::Result<Vec<Row>> {
        self.try_open(role)?
            .prepare(sql)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }

    /// A role's database, to read.
    pub(crate) fn open(&self, role: &str) -> Connection {
        self.try_open(role).unwrap()
    }

    fn try_open(&self, role: &str) -> rusqlite::Result<Connection> {
        let path = self.data(&format!("{role}.db"));
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Waits until all databases hold the same orders, then checks what must always hold: numbers
    /// run from 0 without a gap, and every toy adds up.
    pub(crate) async fn check_databases(&self, initial_stock: u64) -> Vec<Row> {
        eventually("all databases hold the same orders", async || {
            let journal = Some(self.journal());
            REPLICAS.iter().all(|replica| self.orders_if_readable(replica) == journal)
        })
        .await;
        let journal = self.journal();
        for (expected, (number, ..)) in (0..).zip(&journal) {
            assert_eq!(*number, expected, "order numbers run from 0 without a gap");
        }
        for (_, name, left) in
            self.query("catalog", "SELECT 0, name, quantity FROM products ORDER BY name")
        {
            let sold: u64 = journal.iter().filter(|row| row.1 == name).map(|row| row.2).sum();
            assert!(
                (sold + left).is_multiple_of(initial_stock) && left <= initial_stock,
                "{name}: {sold} were sold and {left} are left of restocks of {initial_stock}"
            );
        }
        journal
    }

    /// What a role logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.data(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Everything that the roles logged, for a failed test's output.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for name in self.addresses.keys() {
            writeln!(text, "--- {name}\n{}", self.log(name)).unwrap();
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            // A process that has ended cannot be killed, and need not be.
            let _ended = child.kill();
            let _ended = child.wait();
        }
        if std::thread::panicking() {
            let mut error = std::io::stderr();
            let _if_stderr_is_closed =
                std::io::Write::write_all(&mut error, self.logs().as_bytes());
        }
    }
}

/// The toys of every test cluster; one has every character that is awkward in a URL or in JSON.
pub(crate) const TOYS: [&str; 5] = ["Tux", "Uno", "LEGO", "Slinky", r#"Yo-Yo & "Friends"/1"#];

/// A `roles.toml` with the roles at these addresses, and the catalog on SQLite.
pub(crate) fn roles_text(settings: Settings, addresses: &BTreeMap<String, String>) -> String {
    let catalog = format!("address = \"{}\"", addresses["catalog"]);
    roles_text_with(settings, addresses, &catalog)
}

/// The same with two catalogs, which share the database at `url`.
pub(crate) fn shared_roles_text(
    settings: Settings,
    addresses: &BTreeMap<String, String>,
    url: &str,
) -> String {
    let process =
        |id| format!("{{ id = {id}, address = \"{}\" }}", addresses[&format!("catalog-{id}")]);
    let processes = [1, 2].map(process).join(", ");
    let catalog = format!("database = \"{url}\"\nprocess = [{processes}]");
    roles_text_with(settings, addresses, &catalog)
}

fn roles_text_with(
    settings: Settings,
    addresses: &BTreeMap<String, String>,
    catalog: &str,
) -> String {
    let mut text = String::from("data_dir = \"data\"\n");
    if let Some(secret) = settings.secret {
        writeln!(text, "secret = \"{secret}\"").unwrap();
    }
    for number in 1..=settings.frontends {
        let address = &addresses[&frontend_name(number)];
        writeln!(text, "[[frontend]]\naddress = \"{address}\"").unwrap();
    }
    for (id, name) in (1..).zip(REPLICAS) {
        writeln!(text, "[[order]]\nid = {id}\naddress = \"{}\"", addresses[name]).unwrap();
    }
    let toys = TOYS.map(|toy| format!("{{ name = '{toy}', price = 15.99 }}")).join(", ");
    writeln!(
        text,
        "[catalog]\n{catalog}\nrestock_interval_ms = {}\ninitial_stock = {}\n\
         toys = [{toys}]\n[cache]\nenabled = {}\ncapacity = {}",
        settings.restock_interval_ms, settings.initial_stock, settings.cache, settings.capacity
    )
    .unwrap();
    text
}

/// The name of a front-end, counted from 1.
pub(crate) fn frontend_name(number: usize) -> String {
    if number == 1 { "frontend".to_owned() } else { format!("frontend-{number}") }
}

/// The time, for a test's own deadlines.
pub(crate) fn now() -> Instant {
    toystore::clock::now()
}

/// GET; status and body.
pub(crate) async fn get(address: &str, path: &str) -> Result<(u16, Value), String> {
    let url = format!("http://{address}{path}");
    let client = awc::Client::builder().timeout(Duration::from_secs(15)).finish();
    let response = client.get(url).send().await.map_err(|error| error.to_string())?;
    read(response).await
}

/// `POST /orders` under an idempotency key; status and body.
pub(crate) async fn buy(
    address: &str,
    name: &str,
    quantity: u64,
    key: &str,
) -> Result<(u16, Value), String> {
    let url = format!("http://{address}/orders");
    let client = awc::Client::builder().timeout(Duration::from_secs(15)).finish();
    let request = client.post(url).insert_header(("Idempotency-Key", key));
    let body = serde_json::json!({ "name": name, "quantity": quantity });
    let response = request.send_json(&body).await.map_err(|error| error.to_string())?;
    read(response).await
}

async fn read<S>(mut response: awc::ClientResponse<S>) -> Result<(u16, Value), String>
where
    S: futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + Unpin,
{
    let body = response.body().await.map_err(|error| error.to_string())?;
    let value = serde_json::from_slice(&body).map_err(|error| format!("{error}: {body:?}"))?;
    Ok((response.status().as_u16(), value))
}
