//! The secret of a run: which starts make it, who has it, and how a person makes a call with it.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use toystore::wire::identity::StoreId;
use toystore::wire::order::Position;
use toystore::wire::replication::{CatalogReport, CatalogStatus, Leadership};

use super::command::{ROLES, Store, expect, toystore};
use crate::eventually::eventually;
use crate::processes::{REPLICAS, buy, get};

/// A call of each role that needs the secret.
const CALLS: [(&str, &str); 4] = [
    ("catalog", "/internal/catalog-status"),
    ("catalog", "/internal/journal/0"),
    ("order-1", "/internal/status"),
    ("order-3", "/internal/rows/0"),
];

/// The status of a call that is made without the secret.
async fn status_without(store: &Store, role: &str, path: &str) -> u16 {
    get(&store.0.address(role), path).await.unwrap().0
}

async fn assert_sells(store: &Store, key: &str) {
    eventually("the store sells", async || {
        buy(&store.0.address("frontend"), "Tux", 1, key)
            .await
            .is_ok_and(|(status, _)| status == 200)
    })
    .await;
}

#[actix_web::test]
async fn up_makes_a_secret_without_which_roles_refuse_calls() {
    let store = Store::new();
    let secret = store.0.data("run.secret");
    store.expect(0, &["up"]);
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read_to_string(&secret).unwrap();
    assert_sells(&store, "a").await;
    for (role, path) in CALLS {
        assert_eq!(status_without(&store, role, path).await, 403, "{role} {path}");
        let said = store.expect(0, &["call", role, path]);
        assert!(!said.text.contains(first.trim()), "the secret is not shown");
        let answer: Value = serde_json::from_str(&said.text).unwrap();
        assert!(answer["data"].is_object(), "{answer}");
    }
    for role in ROLES {
        assert!(!store.0.log(role).contains("not guarded"), "{}", store.0.log(role));
        assert!(!store.0.log(role).contains(first.trim()), "{}", store.0.log(role));
    }
    store.expect(0, &["down"]);
    assert!(!secret.exists(), "the run has ended");
    store.expect(0, &["up"]);
    assert_ne!(std::fs::read_to_string(&secret).unwrap(), first, "each run has its own");
}

#[actix_web::test]
async fn a_role_joins_the_run_however_it_is_started() {
    let store = Store::new();
    store.expect(0, &["up"]);
    store.expect(0, &["kill", "order-1"]);
    store.expect(0, &["kill", "frontend"]);
    store.expect(0, &["start", "frontend"]);
    let words = ["order", "--id", "1"];
    let mut replica = store.command(&words).stderr(Stdio::null()).spawn().unwrap();
    eventually("the store is whole", async || {
        store.command(&["status"]).output().unwrap().status.success()
    })
    .await;
    assert_eq!(status_without(&store, "order-1", "/internal/status").await, 403);
    assert_sells(&store, "a").await;
    eventually("the replica has the order", async || {
        store.0.orders_if_readable("order-1").is_some_and(|orders| !orders.is_empty())
    })
    .await;
    // It was not started by a verb, so that the run goes on, and with it the secret.
    store.expect(1, &["down"]);
    assert!(store.0.data("run.secret").exists());
    replica.kill().unwrap();
    replica.wait().unwrap();
    store.expect(0, &["down"]);
    assert!(!store.0.data("run.secret").exists());
}

#[actix_web::test]
async fn roles_that_start_one_by_one_form_a_store_and_say_that_they_are_not_guarded() {
    let mut store = Store::new();
    for role in &ROLES[1..] {
        let own = store.0.roles_with_data_dir(&format!("data-of-{role}"));
        store.0.give_own_roles(role, &std::fs::read_to_string(own).unwrap());
    }
    store.0.start_everything().await;
    assert_sells(&store, "a").await;
    for (role, path) in CALLS {
        assert_eq!(status_without(&store, role, path).await, 200, "{role} {path}");
        store.expect(0, &["call", role, path]);
    }
    for role in ROLES {
        assert!(store.0.log(role).contains("is not guarded"), "{}", store.0.log(role));
        assert!(!store.0.data("run.secret").exists());
    }
    // One that a verb starts joins them: with a secret, it would refuse their calls.
    for role in ["order-1", "order-3"] {
        store.0.kill(role);
        let own = store.0.roles().with_file_name(format!("data-of-{role}.toml"));
        expect(0, &mut toystore(&["start", role], &own)).says("is ready");
    }
    assert_sells(&store, "b").await;
    eventually("all have both orders", async || {
        REPLICAS.iter().all(|role| has_orders(&store, role, 2))
    })
    .await;
    for role in ["order-1", "order-3"] {
        let own = store.0.roles().with_file_name(format!("data-of-{role}.toml"));
        expect(0, &mut toystore(&["stop", role], &own));
    }
}

#[actix_web::test]
async fn roles_that_a_verb_starts_one_by_one_in_folders_of_their_own_form_a_store() {
    let store = Store::new();
    let files: Vec<_> = ROLES
        .iter()
        .map(|role| (role, store.0.roles_with_data_dir(&format!("data-of-{role}"))))
        .collect();
    for (role, own) in &files {
        expect(0, &mut toystore(&["start", role], own));
    }
    store.0.await_ready(0).await;
    assert_sells(&store, "a").await;
    for (role, own) in &files {
        let folder = store.0.roles().with_file_name(format!("data-of-{role}"));
        assert!(!folder.join("run.secret").exists());
        expect(0, &mut toystore(&["stop", role], own));
    }
}

/// Whether a replica with a data folder of its own has this many orders.
fn has_orders(store: &Store, role: &str, count: u64) -> bool {
    let folder = store.0.roles().with_file_name(format!("data-of-{role}"));
    let database = rusqlite::Connection::open(folder.join(format!("{role}.db"))).unwrap();
    let orders = database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0));
    orders.is_ok_and(|orders: u64| orders == count)
}

#[actix_web::test]
async fn a_run_that_began_without_a_secret_goes_on_without_one() {
    let mut store = Store::new();
    store.0.start_role("catalog");
    eventually("the catalog is there", async || {
        get(&store.0.address("catalog"), "/healthz").await.is_ok()
    })
    .await;
    store.expect(0, &["up"]).says("catalog runs already");
    assert!(!store.0.data("run.secret").exists());
    assert_sells(&store, "a").await;
    assert!(store.0.log("order-2").contains("is not guarded"));
}

#[actix_web::test]
async fn a_data_folder_that_is_removed_ends_the_run_and_the_next_has_a_secret() {
    let store = Store::new();
    store.expect(0, &["up"]);
    std::fs::remove_dir_all(store.data_folder()).unwrap();
    store.expect(0, &["up"]);
    assert!(store.0.data("run.secret").exists());
    assert_eq!(status_without(&store, "catalog", "/internal/toys").await, 403);
    assert_sells(&store, "a").await;
}

#[actix_web::test]
async fn where_roles_toml_has_a_secret_a_run_needs_none() {
    let store = Store::new();
    store.edit_roles(|text| format!("secret = \"0123456789abcdef\"\n{text}"));
    store.expect(0, &["up"]);
    assert!(!store.0.data("run.secret").exists());
    assert_eq!(status_without(&store, "catalog", "/internal/toys").await, 403);
    store.expect(0, &["call", "catalog", "/internal/toys"]).says("Tux");
}

#[actix_web::test]
async fn a_damaged_secret_is_named_and_the_next_run_makes_another() {
    let store = Store::new();
    std::fs::create_dir_all(store.data_folder()).unwrap();
    std::fs::write(store.0.data("run.secret"), "no secret").unwrap();
    let said = store.expect(1, &["catalog"]);
    said.says("run.secret: this is no secret of a run").says("remove the file");
    store.expect(1, &["call", "catalog", "/internal/toys"]).says("run.secret");
    store.expect(0, &["up"]);
    store.expect(0, &["call", "catalog", "/internal/toys"]).says("Tux");
}

#[test]
fn a_call_that_fails_says_why() {
    let store = Store::new();
    store.expect(1, &["call", "order-2", "/internal/status"]).says("order-2 at").says("no answer");
    store.expect(2, &["call", "order-2", "internal/status"]).says("is not a path");
    store.expect(2, &["call", "order-9", "/internal/status"]).says("no role is called order-9");
    expect(2, &mut toystore(&["call", "order-2"], Path::new("none"))).says("<PATH>");
    store.expect(0, &["up"]);
    let body = r#"{"session":{"boot":1,"serial":1},"toys":[]}"#;
    let path = "/internal/invalidate";
    store.expect(1, &["call", "frontend", path, "--data", body]).says(r#"{"error":{"code":421"#);
    store.expect(1, &["call", "frontend", path]).says(r#"{"error":{"code":405"#);
    store.expect(1, &["call", "frontend", "/orders/7"]).says("order not found");
    let order = r#"{"name":"Tux","quantity":1}"#;
    store.expect(0, &["call", "frontend", "/orders", "--data", order]).says("order_number");
}

/// Answers one request with this. Returns the request's head.
fn answer_once(listener: &TcpListener, body: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.extend(byte);
    }
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    String::from_utf8(head).unwrap()
}

#[test]
fn a_call_names_the_store_that_one_of_several_catalogs_says() {
    let folder = tempfile::tempdir().unwrap();
    // The first catalog takes the connection, and does not answer.
    let [silent, ruling, replica] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let catalogs = format!(
        "database = \"postgres://toystore@127.0.0.1/toystore\"\nprocess = [{{ id = 1, address = \
         {:?} }}, {{ id = 2, address = {:?} }}]",
        at(&silent),
        at(&ruling)
    );
    let roles = include_str!("../../../roles.toml")
        .replacen("address = \"127.0.0.1:8081\"", &catalogs, 1)
        .replace("127.0.0.1:8091", &at(&replica));
    let config = folder.path().join("roles.toml");
    std::fs::write(&config, roles).unwrap();

    let store = std::thread::spawn(move || {
        let report = CatalogReport {
            status: CatalogStatus { leadership: Leadership::default(), journal: Position::START },
            store: StoreId::new(77),
            boot: None,
            stopped: None,
            next_restock_ms: None,
        };
        answer_once(&ruling, &serde_json::json!({ "data": report }).to_string())
    });
    let called = std::thread::spawn(move || answer_once(&replica, "{\"data\":{}}"));
    expect(0, &mut toystore(&["call", "order-1", "/internal/status"], &config));
    let head = called.join().unwrap().to_lowercase();
    let id = StoreId::new(77).unwrap();
    assert!(head.contains(&format!("toystore-store: {id}\r\n")), "{head}");
    assert!(store.join().unwrap().starts_with("GET /internal/catalog-status"));
}
