//! A role whose pid file or database is removed or replaced ends: it would write where a restart
//! does not look.

use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use super::command::{Store, assert_ended, await_ended};
use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, buy, now};

/// How soon a role has to end.
const LIMIT: Duration = Duration::from_secs(2);

/// Does something to the files of a role that runs, and asserts that it ends soon, with an error
/// that has all of `parts`.
async fn ends_after(role: &str, act: impl Fn(&Cluster), parts: &[&str]) {
    let mut cluster = Cluster::start(Settings::default()).await;
    act(&cluster);
    let began = now();
    let status = end_of(&mut cluster, role).await;
    assert!(began.elapsed() <= LIMIT, "{role} ended after {:?}", began.elapsed());
    assert_eq!(status.code(), Some(1), "{role}");
    let log = cluster.log(role);
    let last = log.lines().last().unwrap_or_default();
    for part in parts {
        assert!(last.contains(part), "{role} does not say {part:?}: {last}");
    }
    for other in cluster.addresses.keys().filter(|other| *other != role) {
        assert!(!cluster.log(other).contains("was removed"), "{other} ended, too");
    }
}

/// Waits until a role has ended by itself. One that has not is still the cluster's, to be killed.
async fn end_of(cluster: &mut Cluster, role: &str) -> ExitStatus {
    eventually(&format!("{role} ends"), async || cluster.take_end(role)).await
}

#[actix_web::test]
async fn a_role_ends_when_its_pid_file_is_removed() {
    for role in ["catalog", "order-3", "frontend"] {
        let file = format!("{role}.pid");
        let remove = |cluster: &Cluster| fs::remove_file(cluster.data(&file)).unwrap();
        ends_after(role, remove, &["toystore: ", &file, "was removed while", role]).await;
    }
}

#[actix_web::test]
async fn a_role_ends_when_its_pid_file_is_replaced_and_leaves_the_new_one() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let file = cluster.data("order-2.pid");
    let new = cluster.data("new.pid");
    fs::write(&new, "1\n").unwrap();
    fs::rename(&new, &file).unwrap();
    let began = now();
    assert_eq!(end_of(&mut cluster, "order-2").await.code(), Some(1));
    assert!(began.elapsed() <= LIMIT);
    assert!(cluster.log("order-2").contains("was replaced by another file"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
}

#[actix_web::test]
async fn a_role_ends_when_its_database_is_removed() {
    for (role, file) in
        [("catalog", "catalog.db"), ("order-1", "order-1.db"), ("order-1", "order-1.db-wal")]
    {
        let remove = |cluster: &Cluster| fs::remove_file(cluster.data(file)).unwrap();
        ends_after(role, remove, &["toystore: ", file, "was removed while"]).await;
    }
}

#[actix_web::test]
async fn a_role_ends_when_its_database_is_replaced() {
    for role in ["catalog", "order-2"] {
        let file = format!("{role}.db");
        let replace = |cluster: &Cluster| {
            let copy = cluster.data("copy.db");
            fs::copy(cluster.data(&file), &copy).unwrap();
            fs::rename(copy, cluster.data(&file)).unwrap();
        };
        ends_after(role, replace, &[&file, "was replaced by another file"]).await;
    }
}

#[actix_web::test]
async fn a_store_whose_files_are_left_alone_goes_on() {
    let cluster = Cluster::start(Settings::default()).await;
    let began = now();
    let mut orders = 0;
    eventually("it has sold for longer than a role's files are checked", async || {
        let key = format!("key-{orders}");
        let answer = buy(&cluster.frontends[0], "Tux", 1, &key).await;
        assert!(matches!(answer, Ok((200 | 409, _))), "{answer:?}");
        orders += 1;
        began.elapsed() > LIMIT
    })
    .await;
    // Another program that reads the databases and closes them changes nothing.
    cluster.check_databases(100).await;
    assert!(cluster.addresses.keys().all(|role| cluster.runs(role)));
    assert!(!cluster.logs().contains("toystore: "), "{}", cluster.logs());
}

#[actix_web::test]
async fn without_the_data_folder_every_role_ends_and_up_works_again() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pids = store.pids();
    fs::remove_dir_all(store.data_folder()).unwrap();
    let began = now();
    await_ended(&pids).await;
    assert!(began.elapsed() <= LIMIT, "{:?}", began.elapsed());
    store.expect_all_down();
    store.expect(0, &["up"]);
    store.expect(0, &["status"]);
}

#[test]
fn down_stops_a_store_whose_data_folder_is_gone() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pids = store.pids();
    fs::remove_dir_all(store.data_folder()).unwrap();
    let said = store.expect(0, &["down"]);
    assert!(!said.text.contains("frontend does not run"), "{}", said.text);
    assert_ended(&pids);
    store.expect(0, &["up"]);
}

#[test]
fn up_waits_for_a_store_whose_data_folder_is_gone_to_end() {
    let store = Store::new();
    store.expect(0, &["up"]);
    let pids = store.pids();
    fs::remove_dir_all(store.data_folder()).unwrap();
    store.expect(0, &["up"]);
    assert_ended(&pids);
    store.expect(0, &["status"]);
}
