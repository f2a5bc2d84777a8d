//! `toystore backup` and `toystore restore` that are killed after each of their steps in turn: what
//! is there is never taken for a backup, the store goes on, and a second attempt succeeds.
#![expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::eventually::eventually;
use crate::processes::{Cluster, REPLICAS, buy};
use crate::verbs::command::Store;

/// Runs a command that dies at a failpoint after `passes` of its steps. Returns whether it had no
/// further step, and succeeded.
fn succeeds_before(command: &mut Command, failpoint: &str, passes: usize) -> bool {
    let output = command.env("FAILPOINTS", format!("{failpoint}={passes}*off->return")).output();
    let output = output.unwrap();
    let died = output.status.signal() == Some(Signal::ABORT.as_raw());
    assert!(died || output.status.success(), "{output:?}");
    !died
}

async fn buy_one(store: &Cluster, key: &str, number: u64) {
    let granted = eventually("an order is granted", async || {
        let (status, body) = buy(&store.frontends[0], "Uno", 1, key).await.ok()?;
        body["data"]["order_number"].as_u64().filter(|_| status == 200)
    });
    assert_eq!(granted.await, number, "{key}");
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

struct Folders {
    backups: PathBuf,
    monday: String,
}

impl Folders {
    fn of(store: &Store) -> Self {
        let backups = store.0.roles().with_file_name("backups");
        let monday = backups.join("monday").to_str().unwrap().to_owned();
        Self { backups, monday }
    }
}

#[actix_web::test]
async fn a_backup_that_is_killed_is_none_and_the_next_one_succeeds() {
    let store = Store::new();
    let Folders { backups, monday } = Folders::of(&store);
    store.expect(0, &["up"]);
    let backup = ["backup", "--to", &monday];
    let mut killed = 0;
    while !succeeds_before(&mut store.command(&backup), "backup-step", killed) {
        buy_one(&store.0, &killed.to_string(), killed as u64).await;
        killed += 1;
        let names = names_in(&backups);
        if names.iter().any(|name| name == "monday") {
            // It was killed after its last step, and is whole.
            store.expect(1, &backup).says("exists already");
            break;
        }
        assert!(names.iter().all(|name| name.starts_with("monday.partial-")), "{names:?}");
        assert_eq!(names.len(), killed, "each leaves a folder of its own, which can be removed");
        let partial = backups.join(&names[0]);
        let restore = ["restore", "--from", partial.to_str().unwrap(), "--discard-newer"];
        if !partial.join("manifest.json").exists() {
            store.expect(1, &restore).says("manifest.json");
        }
    }
    assert!(killed >= 6, "it was killed {killed} times");
    store.expect(0, &["down"]);
    store.expect(0, &["restore", "--from", &monday, "--discard-newer"]).says("catalog: restored");
    store.expect(0, &["up"]);
    // The backup was taken after all orders but the last one.
    buy_one(&store.0, &(killed - 2).to_string(), killed as u64 - 2).await;
    buy_one(&store.0, "afterwards", killed as u64 - 1).await;
    store.0.check_databases(100).await;
}

/// Puts the databases of a stopped store back as they were in the folder `from`.
fn put_back(store: &Store, from: &Path) {
    let data = store.data_folder();
    for name in names_in(&data).iter().filter(|name| name.contains(".db")) {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    for name in names_in(from) {
        std::fs::copy(from.join(&name), data.join(&name)).unwrap();
    }
}

#[actix_web::test]
async fn a_restore_that_is_killed_can_be_repeated() {
    let store = Store::new();
    let Folders { backups, monday } = Folders::of(&store);
    store.expect(0, &["up"]);
    buy_one(&store.0, "saved", 0).await;
    store.expect(0, &["backup", "--to", &monday]);
    buy_one(&store.0, "later", 1).await;
    store.expect(0, &["down"]);
    let whole = backups.join("whole");
    std::fs::create_dir(&whole).unwrap();
    for name in names_in(&store.data_folder()).iter().filter(|name| name.contains(".db")) {
        std::fs::copy(store.data_folder().join(name), whole.join(name)).unwrap();
    }

    // All databases go back to the backup.
    let restore = ["restore", "--from", &monday, "--discard-newer"];
    let mut killed = 0;
    while !succeeds_before(&mut store.command(&restore), "restore-step", killed) {
        store.expect(0, &restore).says("catalog: restored, 1 orders");
        assert_eq!(store.0.journal().len(), 1);
        assert!(REPLICAS.iter().all(|replica| store.0.orders(replica) == store.0.journal()));
        put_back(&store, &whole);
        killed += 1;
    }
    assert!(killed >= 8, "it was killed {killed} times");
    store.expect(0, &["up"]);
    buy_one(&store.0, "saved", 0).await;
    store.expect(0, &["down"]);

    // The catalog's database is lost, and the replicas' stay.
    let restore = ["restore", "--from", &monday];
    let mut killed = 0;
    loop {
        put_back(&store, &whole);
        std::fs::remove_file(store.0.data("catalog.db")).unwrap();
        if succeeds_before(&mut store.command(&restore), "restore-step", killed) {
            break;
        }
        let said = store.expect(0, &restore);
        said.says("order-1: kept, 2 orders").says("catalog: ");
        assert_eq!(store.0.journal().len(), 1);
        killed += 1;
    }
    assert!(killed >= 3, "it was killed {killed} times");
    // A backup is not all that was sold, and the catalog knows.
    store.expect(1, &["up"]).says("toystore rebuild");
    store.expect(0, &["down"]);
    let log = store.0.data("order-1.db");
    store.expect(0, &["rebuild", "--from", log.to_str().unwrap()]).says("has 2 now");
    store.expect(0, &["up"]);
    buy_one(&store.0, "later", 1).await;
    store.0.check_databases(100).await;
}
