//! `docs/operations.md`: every command that it has is run here, in its order.
#![expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::histories::{Answer, Purchase};
use crate::processes::{Cluster, Settings, buy, get};
use crate::verbs::command::{Said, Store, expect};

/// The sections that have commands. Each has a test.
const SECTIONS: [&str; 12] = [
    "Back up",
    "Restore a backup",
    "Roll a restored catalog forward",
    "Go back to a backup",
    "Replace the catalog's disk",
    "Replace a replica's disk",
    "Move a role",
    "Add or remove a replica",
    "Change a toy",
    "Use TLS between hosts",
    "Rotate the secret",
    "Upgrade",
];

/// The commands of a section that are still to be run.
struct Steps {
    section: &'static str,
    commands: Vec<String>,
}

/// Each section's title, and its commands.
fn sections() -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_command = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title.to_owned(), Vec::new()));
        } else if line.starts_with("```") {
            is_command = line == "```sh";
        } else if is_command {
            sections.last_mut().expect("a section").1.push(line.to_owned());
        }
    }
    sections.retain(|(_, commands)| !commands.is_empty());
    sections
}

impl Steps {
    fn of(section: &'static str) -> Self {
        let found = sections().into_iter().find(|(title, _)| title == section);
        Self { section, commands: found.expect("a section of the page").1 }
    }

    /// The next command, which has to be this one, in the folder of the store.
    fn command(&mut self, store: &Cluster, line: &str) -> Command {
        assert!(!self.commands.is_empty(), "{} has no further command", self.section);
        assert_eq!(self.commands.remove(0), line, "{}", self.section);
        let words = line.strip_prefix("toystore ").expect("a command of toystore");
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(words.split(' ')).current_dir(store.roles().parent().unwrap());
        command.env_remove("ROLES").env_remove("TOYSTORE_RUN_SH");
        command
    }

    /// Runs the next command, which has to be this one and to end with this status.
    fn expect(&mut self, status: i32, store: &Cluster, line: &str) -> Said {
        expect(status, &mut self.command(store, line))
    }

    fn run(&mut self, store: &Cluster, line: &str) -> Said {
        self.expect(0, store, line)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.commands.is_empty(), "{}: {:?} was not run", self.section, self.commands);
        }
    }
}

#[test]
fn every_section_of_the_page_has_a_test() {
    let titles: Vec<String> = sections().into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, SECTIONS);
}

/// Buys one Uno, and returns the order's number.
async fn buy_one(store: &Cluster, key: &str) -> u64 {
    eventually("an order is granted", async || {
        let (status, body) = buy(&store.frontends[0], "Uno", 1, key).await.ok()?;
        let number = body["data"]["order_number"].as_u64();
        number.filter(|_| status == 200)
    })
    .await
}

/// Buys under these keys; the orders' numbers.
async fn buy_all(store: &Cluster, keys: &[&str]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for key in keys {
        numbers.push(buy_one(store, key).await);
    }
    numbers
}

fn remove_database(store: &Cluster, role: &str) {
    fs::remove_file(store.data(&format!("{role}.db"))).unwrap();
    for suffix in ["-wal", "-shm"] {
        // There is none if the role ended in order.
        let _none = fs::remove_file(store.data(&format!("{role}.db{suffix}")));
    }
}

fn asides(store: &Cluster) -> Vec<String> {
    let names = fs::read_dir(store.data("")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.into_string().unwrap()
    });
    let mut found: Vec<_> = names.filter(|name| name.ends_with(".aside-1")).collect();
    found.sort();
    found
}

fn open_store() -> Store {
    let store = Store::new();
    store.expect(0, &["up"]);
    store
}

#[actix_web::test]
async fn a_backup_is_restored_and_the_catalog_rolled_forward() {
    let store = open_store();
    let first = buy_all(&store.0, &["a", "b"]).await;
    let mut steps = Steps::of("Back up");
    steps.run(&store.0, "toystore backup --to backups/monday").says("catalog: 2 orders");
    let folder = store.0.roles().parent().unwrap().join("backups");
    let monday = folder.join("monday");
    let monday = monday.to_str().unwrap();
    store.expect(1, &["backup", "--to", monday]).says("exists already");
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!(names, 1, "nothing but the backup is left");
    let manifest = fs::read_to_string(folder.join("monday/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["databases"].as_array().unwrap().len(), 4);
    let second = buy_all(&store.0, &["c", "d"]).await;
    assert_eq!([first, second].concat(), [0, 1, 2, 3]);

    // While a role runs nothing is restored.
    store.expect(1, &["restore", "--from", monday]).says("runs already");

    let mut steps = Steps::of("Restore a backup");
    steps.run(&store.0, "toystore down");
    remove_database(&store.0, "catalog");
    let said = steps.run(&store.0, "toystore restore --from backups/monday");
    said.says("catalog: restored, 2 orders");
    said.says("order-3: kept, 4 orders; the backup has 2 of them");
    assert_eq!(asides(&store.0), Vec::<String>::new());
    let said = steps.expect(1, &store.0, "toystore up");
    said.says("toystore rebuild --from");

    let mut steps = Steps::of("Roll a restored catalog forward");
    steps.run(&store.0, "toystore stop catalog");
    let said = steps.run(&store.0, "toystore rebuild --from data/order-3.db");
    said.says("the journal had 2 orders and has 4 now");
    steps.run(&store.0, "toystore start catalog");
    store.expect(0, &["up"]);
    assert_eq!(buy_all(&store.0, &["a", "b", "c", "d", "e"]).await, [0, 1, 2, 3, 4]);
    store.0.check_databases(100).await;

    let mut steps = Steps::of("Go back to a backup");
    steps.run(&store.0, "toystore down");
    let line = "toystore restore --from backups/monday --discard-newer";
    steps.run(&store.0, line).says("catalog: restored, 2 orders; what was there is");
    assert_eq!(asides(&store.0).len(), 4, "{:?}", asides(&store.0));
    steps.run(&store.0, "toystore up");
    assert_eq!(buy_all(&store.0, &["a", "b", "f"]).await, [0, 1, 2]);
    store.0.check_databases(100).await;
}

#[actix_web::test]
async fn a_lost_disk_is_replaced() {
    let mut store = open_store();
    assert_eq!(buy_all(&store.0, &["a", "b"]).await, [0, 1]);
    let mut steps = Steps::of("Replace a replica's disk");
    steps.run(&store.0, "toystore kill order-2");
    remove_database(&store.0, "order-2");
    steps.run(&store.0, "toystore start order-2");
    store.0.check_databases(100).await;

    let mut steps = Steps::of("Replace the catalog's disk");
    steps.run(&store.0, "toystore stop catalog");
    remove_database(&store.0, "catalog");
    steps.run(&store.0, "toystore rebuild --from data/order-3.db").says("has 2 now");
    steps.run(&store.0, "toystore start catalog");
    assert_eq!(buy_all(&store.0, &["a", "b", "c"]).await, [0, 1, 2]);
    store.0.check_databases(100).await;

    // Once more, with a replica that is lost for good.
    store.expect(0, &["kill", "order-1"]);
    store.expect(0, &["stop", "catalog"]);
    remove_database(&store.0, "catalog");
    let replica = store.0.data("order-3.db");
    store.expect(0, &["rebuild", "--from", replica.to_str().unwrap()]);
    let without = steps.command(&store.0, "toystore catalog --without order-1").spawn().unwrap();
    assert_eq!(buy_one(&store.0, "d").await, 3);
    end_in_order(without);
    store.expect(0, &["start", "catalog"]);
    assert_eq!(buy_all(&store.0, &["a", "d", "e"]).await, [0, 3, 4]);
    store.expect(0, &["start", "order-1"]);
    store.0.check_databases(100).await;
    store.0.kill_everything();
}

fn end_in_order(mut process: Child) {
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert!(process.wait().unwrap().success());
}

/// Runs a section that takes the store down and up, with a change of roles.toml in between.
fn with_new_roles(store: &Store, section: &'static str, edit: impl Fn(&str) -> String) {
    let mut steps = Steps::of(section);
    steps.run(&store.0, "toystore down");
    store.edit_roles(edit);
    steps.run(&store.0, "toystore up");
}

#[actix_web::test]
async fn roles_move_come_and_go_and_the_secret_changes() {
    let store = open_store();
    assert_eq!(buy_one(&store.0, "a").await, 0);
    let (old, front) = (store.0.address("order-2"), store.0.address("frontend"));
    // Nothing listens there, as the roles' ports are not the first ones.
    let host = front.rsplit_once(':').unwrap().0;
    let free = std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string();
    with_new_roles(&store, "Move a role", |text| text.replace(&old, &free));
    assert_eq!(buy_all(&store.0, &["a", "b"]).await, [0, 1]);
    with_new_roles(&store, "Add or remove a replica", |text| {
        text.replacen("[[order]]", &format!("[[order]]\nid = 4\naddress = \"{old}\"\n[[order]]"), 1)
    });
    assert_eq!(buy_all(&store.0, &["a", "c"]).await, [0, 2]);
    eventually("the new replica has all orders", async || {
        store.0.orders_if_readable("order-4") == Some(store.0.journal())
    })
    .await;
    with_new_roles(&store, "Add or remove a replica", |text| {
        text.replacen(&format!("[[order]]\nid = 4\naddress = \"{old}\"\n"), "", 1)
    });
    with_new_roles(&store, "Rotate the secret", |text| {
        format!("secret = \"0123456789abcdef\"\n{text}")
    });
    assert_eq!(buy_all(&store.0, &["a", "d"]).await, [0, 3]);

    let mut steps = Steps::of("Use TLS between hosts");
    steps.run(&store.0, "toystore down");
    store.edit_roles(|text| format!("{text}\n[tls]\n"));
    steps.run(&store.0, "toystore certs").says("authority.pem");
    steps.run(&store.0, "toystore up");
    assert_eq!(buy_one(&store.0, "a").await, 0);

    let mut steps = Steps::of("Change a toy");
    steps.run(&store.0, "toystore stop catalog");
    store.edit_roles(|text| {
        text.replace("toys = [", "toys = [{ name = 'Kite', price = 5.0 }, ")
            .replace("15.99", "12.5")
    });
    steps.run(&store.0, "toystore start catalog");
    eventually("the new toy is sold, and the old ones have the new price", async || {
        let new = get(&store.0.frontends[0], "/products/Kite").await;
        let old = get(&store.0.frontends[0], "/products/Uno").await;
        let is = |answer: Result<(u16, Value), String>, price: f64| {
            answer.is_ok_and(|(status, body)| status == 200 && body["data"]["price"] == price)
        };
        is(new, 5.0) && is(old, 12.5)
    })
    .await;

    let mut steps = Steps::of("Upgrade");
    let said = steps.run(&store.0, "toystore backup --to backups/before-upgrade");
    said.says("catalog: 4 orders").says("order-3: 4 orders");
    steps.run(&store.0, "toystore down");
    steps.run(&store.0, "toystore up");
    assert_eq!(buy_all(&store.0, &["a", "e"]).await, [0, 4]);
}

#[test]
fn a_backup_and_a_restore_that_cannot_be_done_say_why_and_change_nothing() {
    let store = Store::new();
    let folder = store.0.roles().parent().unwrap().to_owned();
    let to = folder.join("new");
    let to = to.to_str().unwrap();
    store.expect(1, &["backup", "--to", to]).says("there is no database in");
    assert!(!Path::new(to).exists());
    store.expect(1, &["restore", "--from", to]).says("manifest.json");
    store.expect(2, &["backup"]).says("--to");
    store.expect(2, &["restore"]).says("--from");
    store.expect(0, &["backup", "--help"]).says("--config").says("manifest");
    store.expect(0, &["restore", "--help"]).says("--discard-newer");
    store.expect(0, &["rebuild", "--help"]).says("refusals");

    store.expect(0, &["up"]);
    store.expect(0, &["down"]);
    store.expect(0, &["backup", "--to", to]);
    // A copy that is not the one of the manifest.
    let file = Path::new(to).join("order-2.db");
    fs::write(&file, "no database").unwrap();
    let before = fs::read(store.0.data("catalog.db")).unwrap();
    store.expect(1, &["restore", "--from", to, "--discard-newer"]).says("order-2");
    assert_eq!(fs::read(store.0.data("catalog.db")).unwrap(), before);
    assert_eq!(asides(&store.0), Vec::<String>::new());
}

/// A catalog with a data folder of its own, as on a machine of its own: it does not see the
/// replicas' files, and learns what they hold only from what they report.
#[actix_web::test]
async fn a_catalog_restored_from_a_backup_under_load_sells_when_it_is_rolled_forward() {
    let mut cluster = Cluster::prepare(Settings::default());
    let elsewhere = cluster.roles_with_data_dir("elsewhere");
    let folder = cluster.roles().parent().unwrap().to_owned();
    let backup = folder.join("backup");
    let run = |words: &[&str], status| {
        expect(status, &mut crate::verbs::command::toystore(words, &elsewhere))
    };
    cluster.start_role_with("catalog", &elsewhere);
    cluster.start_all(&["order-1", "order-2", "order-3", "frontend"]);
    cluster.await_ready(0).await;
    let clients = Clients::start(&cluster.frontends);
    clients.await_orders(100).await;
    run(&["backup", "--to", backup.to_str().unwrap()], 0);
    clients.await_orders(100).await;
    cluster.kill_everything();
    let mut clients = clients;
    clients.end().await;
    let history = clients.history.take();

    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        fs::remove_file(folder.join("elsewhere").join(file)).unwrap();
    }
    run(&["restore", "--from", backup.to_str().unwrap()], 0).says("catalog: restored");
    cluster.start_role_with("catalog", &elsewhere);
    cluster.start_all(&["order-1", "order-2", "order-3", "frontend"]);
    for role in ["catalog", "frontend"] {
        let address = cluster.address(role);
        eventually("it says why sales are stopped", async || {
            let answer = get(&address, "/readyz").await;
            answer.is_ok_and(|(status, body)| {
                status == 503 && body.to_string().contains("sales are stopped")
            })
        })
        .await;
    }
    let (status, body) = buy(&cluster.frontends[0], "Uno", 1, "meanwhile").await.unwrap();
    assert_eq!(status, 503, "{body}");

    let longest = ["order-1", "order-2", "order-3"]
        .into_iter()
        .max_by_key(|role| cluster.orders(role).len())
        .expect("there are replicas");
    assert!(cluster.terminate("catalog").await.success());
    let log = cluster.data(&format!("{longest}.db"));
    run(&["rebuild", "--from", log.to_str().unwrap()], 0).says("and has");
    cluster.start_role_with("catalog", &elsewhere);
    let new = buy_one(&cluster, "afterwards").await;

    let mut granted = 0;
    for Purchase { key, toy, quantity, answer, .. } in &history.purchases {
        // A refusal may be forgotten.
        let Some((Answer::Granted(number), _)) = answer else { continue };
        let (status, body) = buy(&cluster.frontends[0], toy, *quantity, key).await.unwrap();
        assert_eq!((status, body["data"]["order_number"].as_u64()), (200, Some(*number)), "{key}");
        assert!(*number < new, "a number is given once");
        granted += 1;
    }
    assert!(granted >= 200, "{granted} orders were granted");
}

/// A catalog that starts with an empty disk draws an id of its own. What starts beside it must not
/// belong to that store, since the one that is rebuilt has the id that the replicas hold.
#[actix_web::test]
async fn a_front_end_and_a_replica_that_start_beside_an_emptied_catalog_belong_to_the_rebuilt_one()
{
    let mut cluster = Cluster::prepare(Settings::default());
    let elsewhere = cluster.roles_with_data_dir("elsewhere");
    let folder = cluster.roles().with_file_name("elsewhere");
    cluster.start_role_with("catalog", &elsewhere);
    cluster.start_all(&["order-1", "order-2", "order-3", "frontend"]);
    assert_eq!(buy_all(&cluster, &["a", "b"]).await, [0, 1]);

    for role in ["catalog", "frontend", "order-1"] {
        cluster.kill(role);
    }
    fs::remove_dir_all(&folder).unwrap();
    for file in ["order-1.db", "order-1.db-wal", "order-1.db-shm"] {
        fs::remove_file(cluster.data(file)).unwrap();
    }
    cluster.start_role_with("catalog", &elsewhere);
    cluster.start_all(&["order-1", "frontend"]);
    let address = cluster.address("frontend");
    eventually("the front-end has heard the emptied catalog", async || {
        let answer = get(&address, "/readyz").await;
        // Its journal is new or, once another replica has reported, shorter than that one's log.
        let hears = ["sales wait for", "toystore rebuild"];
        answer.is_ok_and(|(_, body)| hears.iter().any(|it| body.to_string().contains(it)))
    })
    .await;
    eventually("so has the replica", async || {
        cluster.log("catalog").contains("listens") && cluster.data("order-1.db").exists()
    })
    .await;

    cluster.kill("catalog");
    let log = cluster.data("order-3.db");
    let words = ["rebuild", "--from", log.to_str().unwrap()];
    expect(0, &mut crate::verbs::command::toystore(&words, &elsewhere)).says("has 2 now");
    cluster.start_role_with("catalog", &elsewhere);
    assert_eq!(buy_all(&cluster, &["a", "b", "c"]).await, [0, 1, 2]);
    eventually("the emptied replica has all orders", async || {
        cluster.orders_if_readable("order-1").is_some_and(|orders| orders.len() == 3)
    })
    .await;
}
