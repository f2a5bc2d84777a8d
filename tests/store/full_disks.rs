//! Disks that are really full, or whose file system has become read-only: a role's data folder is a
//! small file system of its own. The store says within a second what is wrong, refuses what it
//! cannot do at once, and goes on by itself.
//!
//! Mounting takes root's rights. Without them these tests are left out, which they say, and which
//! is a failure where `CI` is set.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::eventually::eventually;
use crate::processes::{Cluster, REPLICAS, Settings, buy, get, now};
use crate::verbs::command::{Store, expect, toystore};

/// How soon a role whose disk is full is not ready, as the contract has it.
const SECOND: Duration = Duration::from_secs(1);
/// How often a disk is filled to see that. The machine runs other tests, and may hold one up.
const MOST_TURNS: usize = 4;
/// What is answered at once has come by then, on a busy machine, too.
const SOON: Duration = Duration::from_secs(2);
const FULL: &str = "its disk is full; free some space";

const READ_ONLY: &str = "its file system is read-only; mount it for writing again";

/// A small file system, mounted in a folder of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    /// A file system of 4 MiB. `None`, and a message, if mounting is not permitted.
    fn mount() -> Option<Self> {
        Self::mount_as(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
    }

    /// An ext4 file system, in a file of `folder`.
    fn mount_ext4(folder: &Path) -> Option<Self> {
        let image = folder.join("ext4");
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let image = image.to_str().unwrap();
        let Ok(made) = Command::new("mkfs.ext4").args(["-q", "-F", image]).output() else {
            return left_out(b"there is no mkfs.ext4");
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::mount_as(&["-o", "loop", image])
    }

    fn mount_as(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(arguments).arg(folder.path()).output().unwrap();
        if mounted.status.success() {
            return Some(Self(folder));
        }
        left_out(&mounted.stderr)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Writes until there is no byte left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Has ext4 do what it does after an error: it becomes read-only, with files open.
    fn abort(&self) {
        let mut mount = Command::new("mount");
        let aborted = mount.args(["-o", "remount,abort"]).arg(self.path()).output().unwrap();
        assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    }

    fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-o", "remount,ro"]).arg(self.path()).output().unwrap();
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Says why a test is left out, which is a failure where `CI` is set.
fn left_out(why: &[u8]) -> Option<Disk> {
    let why = String::from_utf8_lossy(why).trim().to_owned();
    assert!(std::env::var_os("CI").is_none(), "a file system must be mounted: {why}");
    let mut error = std::io::stderr();
    writeln!(error, "left out: a file system cannot be mounted here: {why}").unwrap();
    None
}

/// Starts a store in which these roles have disks of their own.
async fn store_with_disks<const N: usize>(roles: [&str; N]) -> Option<([Disk; N], Cluster)> {
    let disks: Vec<Disk> = roles.iter().map_while(|_| Disk::mount()).collect();
    let disks: [Disk; N] = disks.try_into().ok()?;
    let cluster = store_on(&roles, &disks).await;
    Some((disks, cluster))
}

async fn store_on(roles: &[&str], disks: &[Disk]) -> Cluster {
    let mut cluster = Cluster::prepare(Settings::default());
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    for (role, disk) in roles.iter().zip(disks) {
        let own = format!("\"{}\"", disk.path().display());
        cluster.give_own_roles(role, &text.replacen("\"data\"", &own, 1));
    }
    cluster.start_everything().await;
    cluster
}

/// Asserts that a role says soon that it is not ready, and why.
async fn assert_unready(cluster: &Cluster, role: &str, reason: &str) {
    let start = now();
    await_unready(cluster, role, reason).await;
    assert!(start.elapsed() < SOON, "{role} said so after {:?}", start.elapsed());
}

async fn await_unready(cluster: &Cluster, role: &str, reason: &str) {
    let address = cluster.address(role);
    eventually(&format!("{role} is not ready: {reason}"), async || {
        let answer = get(&address, "/readyz").await;
        answer.is_ok_and(|(status, body)| status == 503 && message(&body).contains(reason))
    })
    .await;
}

/// Fills disks. Asserts that these roles say within a second that they are not ready, for this
/// reason, and returns at which turn they did.
async fn fill(disks: &[Disk], cluster: &Cluster, roles: &[&str], reason: &str) -> usize {
    let mut times = Vec::new();
    for turn in 1..=MOST_TURNS {
        disks.iter().for_each(Disk::fill);
        let start = now();
        for role in roles {
            await_unready(cluster, role, reason).await;
        }
        times.push(start.elapsed());
        if times.last() < Some(&SECOND) {
            return turn;
        }
        disks.iter().for_each(Disk::free);
        for role in roles {
            let address = cluster.address(role);
            eventually("it is ready", async || {
                get(&address, "/readyz").await.is_ok_and(|(status, _)| status == 200)
            })
            .await;
        }
    }
    panic!("{roles:?} were not ready after {times:?}");
}

/// Asserts that a purchase is refused at once, for this reason.
async fn assert_refused(store: &str, key: &str, reason: &str) {
    let start = now();
    let (status, body) = buy(store, "Tux", 1, key).await.unwrap();
    assert_eq!(status, 503);
    assert!(message(&body).contains(reason), "{body}");
    assert!(start.elapsed() < SOON, "it was refused after {:?}", start.elapsed());
}

async fn assert_reads(store: &str) {
    for (path, expected) in [("/products/Tux", 200), ("/orders/0", 200), ("/orders/77", 404)] {
        assert_eq!(get(store, path).await.unwrap().0, expected, "{path}");
    }
}

fn message(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap_or_default()
}

async fn assert_sold(store: &str, key: &str, number: u64) {
    let (status, body) = buy(store, "Tux", 1, key).await.unwrap();
    assert_eq!((status, body["data"]["order_number"].as_u64()), (200, Some(number)), "{body}");
}

fn orders_on(disk: &Disk, role: &str) -> u64 {
    let database = Connection::open(disk.path().join(format!("{role}.db"))).unwrap();
    database.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap()
}

#[actix_web::test]
async fn a_catalog_whose_disk_is_full_says_so_and_refuses_purchases_at_once() {
    let Some(([disk], cluster)) = store_with_disks(["catalog"]).await else { return };
    let store = cluster.frontends[0].clone();
    assert_sold(&store, "before", 0).await;
    let disks = [disk];
    let turns = fill(&disks, &cluster, &["catalog", "frontend"], FULL).await;
    for turn in 0..20 {
        assert_refused(&store, &turn.to_string(), FULL).await;
    }
    assert_reads(&store).await;
    disks[0].free();
    cluster.await_ready(0).await;
    // What was refused was not decided.
    assert_sold(&store, "7", 1).await;
    assert_sold(&store, "before", 0).await;
    let log = cluster.log("catalog");
    assert_eq!(log.matches("the disk is full").count(), turns, "{log}");
    assert_eq!(log.matches("the database takes writes again").count(), turns, "{log}");
}

#[actix_web::test]
async fn a_purchase_that_is_under_way_when_the_catalogs_disk_fills_up_is_refused_soon() {
    let Some(([disk], cluster)) = store_with_disks(["catalog"]).await else { return };
    let store = cluster.frontends[0].clone();
    disk.fill();
    // Purchases that come before a role has noticed it.
    let purchases = (0..20).map(|turn| {
        let store = &store;
        async move {
            let start = now();
            let (status, _) = buy(store, "Tux", 1, &turn.to_string()).await.unwrap();
            (status, start.elapsed())
        }
    });
    for (status, took) in futures_util::future::join_all(purchases).await {
        assert!(status == 200 || status == 503);
        assert!(took < SOON, "it was answered after {took:?}");
    }
    disk.free();
    cluster.await_ready(0).await;
    assert_eq!(buy(&store, "Tux", 1, "after").await.unwrap().0, 200);
}

#[actix_web::test]
async fn a_follower_whose_disk_is_full_says_so_and_stops_no_sales() {
    let Some(([disk], cluster)) = store_with_disks(["order-1"]).await else { return };
    let store = cluster.frontends[0].clone();
    let leader = cluster.leader().await;
    let disks = [disk];
    fill(&disks, &cluster, &["order-1"], FULL).await;
    for number in 0..50 {
        assert_sold(&store, &number.to_string(), number).await;
    }
    assert_eq!(get(&store, "/readyz").await.unwrap().0, 200);
    assert_eq!(cluster.leader().await, leader);
    disks[0].free();
    eventually("it has all orders", async || orders_on(&disks[0], "order-1") == 50).await;
    let address = cluster.address("order-1");
    eventually("it is ready", async || get(&address, "/readyz").await.unwrap().0 == 200).await;
}

#[actix_web::test]
async fn a_leader_whose_disk_is_full_gives_way_to_a_replica_that_can_write() {
    let Some(([disk], cluster)) = store_with_disks(["order-3"]).await else { return };
    let store = cluster.frontends[0].clone();
    assert_eq!(cluster.leader().await, "order-3");
    disk.fill();
    assert_unready(&cluster, "order-3", FULL).await;
    for number in 0..50 {
        assert_sold(&store, &number.to_string(), number).await;
    }
    eventually("another leads", async || cluster.leader().await != "order-3").await;
    disk.free();
    eventually("it has all orders", async || orders_on(&disk, "order-3") == 50).await;
}

#[actix_web::test]
async fn a_catalog_on_a_file_system_that_becomes_read_only_says_so_and_shows_its_toys() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount_ext4(folder.path()) else { return };
    let disks = [disk];
    let mut cluster = store_on(&["catalog"], &disks).await;
    let store = cluster.frontends[0].clone();
    assert_sold(&store, "before", 0).await;
    disks[0].abort();
    // At once, before the catalog's own check has found it.
    assert_refused(&store, "a", READ_ONLY).await;
    assert_unready(&cluster, "catalog", READ_ONLY).await;
    assert_unready(&cluster, "frontend", READ_ONLY).await;
    assert_refused(&store, "b", READ_ONLY).await;
    assert_reads(&store).await;
    assert!(cluster.take_end("catalog").is_none(), "it goes on");
}

#[actix_web::test]
async fn a_leader_on_a_file_system_that_becomes_read_only_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount_ext4(folder.path()) else { return };
    let disks = [disk];
    let mut cluster = store_on(&["order-3"], &disks).await;
    let store = cluster.frontends[0].clone();
    disks[0].abort();
    for number in 0..20 {
        assert_sold(&store, &number.to_string(), number).await;
    }
    assert_unready(&cluster, "order-3", READ_ONLY).await;
    assert_ne!(cluster.leader().await, "order-3");
    assert!(cluster.take_end("order-3").is_none(), "it goes on");
}

#[actix_web::test]
async fn a_front_end_starts_where_the_disk_is_full() {
    let Some(disk) = Disk::mount() else { return };
    let mut cluster = Cluster::prepare(Settings::default());
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    let own = format!("\"{}\"", disk.path().display());
    cluster.give_own_roles("frontend", &text.replacen("\"data\"", &own, 1));
    disk.fill();
    cluster.start_everything().await;
    assert_sold(&cluster.frontends[0], "a", 0).await;
    assert!(cluster.log("frontend").contains("goes on without a pid file"));
    assert!(cluster.terminate("frontend").await.success());
}

#[actix_web::test]
async fn the_verbs_start_and_stop_a_front_end_where_nothing_can_be_written() {
    for read_only in [false, true] {
        let Some(disk) = Disk::mount() else { return };
        let mut cluster = Cluster::prepare(Settings::default());
        let text = std::fs::read_to_string(cluster.roles()).unwrap();
        let own = cluster.roles().with_file_name("own.toml");
        let data_dir = format!("\"{}\"", disk.path().display());
        std::fs::write(&own, text.replacen("\"data\"", &data_dir, 1)).unwrap();
        cluster.start_all(&["catalog", "order-1", "order-2", "order-3"]);
        if read_only {
            disk.make_read_only();
        } else {
            disk.fill();
        }
        let said = expect(0, &mut toystore(&["start", "frontend"], &own));
        said.says("frontend is ready at").says("without a pid file");
        if read_only {
            said.says("cannot write the log").says("frontend goes on without a log");
        }
        cluster.await_ready(0).await;
        assert_sold(&cluster.frontends[0], "a", 0).await;
        let status = expect(1, &mut toystore(&["status"], &own));
        assert!(status.line("frontend").ends_with(" ready"), "{}", status.text);
        expect(0, &mut toystore(&["start", "frontend"], &own)).says("frontend runs already");
        expect(0, &mut toystore(&["stop", "frontend"], &own)).says("frontend has stopped");
    }
}

#[actix_web::test]
async fn a_role_whose_log_cannot_be_written_ends_with_a_reason() {
    let Some(disk) = Disk::mount() else { return };
    let store = Store::new();
    store
        .edit_roles(|text| text.replacen("\"data\"", &format!("\"{}\"", disk.path().display()), 1));
    disk.make_read_only();
    let said = store.expect(1, &["up"]);
    said.says("catalog is not ready").says("cannot write the log").says("Read-only file system");
    assert!(Command::new("mount").args(["-o", "remount,rw"]).arg(disk.path()).status().is_ok());
    disk.fill();
    let said = store.expect(1, &["start", "order-1"]);
    said.says("order-1 is not ready").says("No space left on device");
}

#[actix_web::test]
async fn if_no_replica_can_write_the_front_end_says_why_and_refuses_purchases_at_once() {
    let Some((disks, cluster)) = store_with_disks(REPLICAS).await else { return };
    let store = cluster.frontends[0].clone();
    assert_sold(&store, "before", 0).await;
    fill(&disks, &cluster, &["frontend"], FULL).await;
    assert_refused(&store, "meanwhile", FULL).await;
    assert_reads(&store).await;
    disks.iter().for_each(Disk::free);
    cluster.await_ready(0).await;
    assert_sold(&store, "meanwhile", 1).await;
}

/// A folder that can be made read-only, and writable again, for one role's process.
struct ReadOnly {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl ReadOnly {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/read_only.c");
        let library = folder.path().join("read_only.so");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        Self { folder, library }
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The file that makes it read-only.
    fn switch(&self) -> PathBuf {
        self.folder.path().join("read-only")
    }

    /// Starts a store in which a role has this disk.
    async fn store_of(&self, role: &str) -> Cluster {
        let mut cluster = Cluster::prepare(Settings::default());
        let text = std::fs::read_to_string(cluster.roles()).unwrap();
        let own = format!("\"{}\"", self.disk().display());
        cluster.give_own_roles(role, &text.replacen("\"data\"", &own, 1));
        let variables = [
            ("LD_PRELOAD", self.library.clone()),
            ("READ_ONLY_FOLDER", self.disk()),
            ("READ_ONLY_WHILE", self.switch()),
        ];
        cluster.give_environment(role, variables.to_vec());
        cluster.start_everything().await;
        cluster
    }

    fn remount_read_only(&self) {
        File::create(self.switch()).unwrap();
    }

    fn remount_for_writing(&self) {
        std::fs::remove_file(self.switch()).unwrap();
    }
}

#[actix_web::test]
async fn a_catalog_sells_again_by_itself_when_its_file_system_can_be_written_again() {
    let disk = ReadOnly::new();
    let mut cluster = disk.store_of("catalog").await;
    let store = cluster.frontends[0].clone();
    assert_sold(&store, "before", 0).await;
    for turn in 1..=3 {
        disk.remount_read_only();
        assert_unready(&cluster, "catalog", READ_ONLY).await;
        assert_unready(&cluster, "frontend", READ_ONLY).await;
        let key = turn.to_string();
        assert_refused(&store, &key, READ_ONLY).await;
        assert_reads(&store).await;
        disk.remount_for_writing();
        cluster.await_ready(0).await;
        assert_sold(&store, &key, turn).await;
    }
    assert!(cluster.take_end("catalog").is_none(), "it goes on");
    let log = cluster.log("catalog");
    assert_eq!(log.matches("the database takes writes again").count(), 3, "{log}");
}

#[actix_web::test]
async fn a_leader_gives_way_and_follows_again_when_its_file_system_can_be_written_again() {
    let disk = ReadOnly::new();
    let mut cluster = disk.store_of("order-3").await;
    let store = cluster.frontends[0].clone();
    assert_sold(&store, "before", 0).await;
    disk.remount_read_only();
    for number in 1..20 {
        assert_sold(&store, &number.to_string(), number).await;
    }
    assert_unready(&cluster, "order-3", READ_ONLY).await;
    assert_ne!(cluster.leader().await, "order-3");
    disk.remount_for_writing();
    let address = cluster.address("order-3");
    eventually("it is ready", async || get(&address, "/readyz").await.unwrap().0 == 200).await;
    eventually("it has all orders", async || {
        let database = Connection::open(disk.disk().join("order-3.db")).unwrap();
        let orders = database.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, u64>(0));
        orders.unwrap() == 20
    })
    .await;
    assert!(cluster.take_end("order-3").is_none(), "it goes on");
}
