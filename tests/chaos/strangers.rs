//! A stranger who can reach every port of the store and does not know its secret.

use std::time::Duration;

use awc::http::Method;
use serde_json::{Value, json};

use crate::processes::{Settings, buy, get};
use crate::proxied_store::{Store, settings};

const SECRET: &str = "correct-horse-battery-staple";

/// Everything that roles ask of each other, as a well-informed stranger would.
fn calls() -> Vec<(&'static str, Method, String, Value)> {
    let chain = "0".repeat(32);
    let start = json!({ "length": 0, "chain": chain });
    let rows = json!({ "after": start, "orders": [{ "number": 0, "name": "Uno", "quantity": 7 }] });
    let purchase = json!({ "key": "client:stolen", "name": "Tux", "quantity": 1 });
    let usurper = json!({ "epoch": 99, "leader": 1 });
    let session = json!({ "boot": 1, "serial": 0 });
    let post = |role, path: &str, body| (role, Method::POST, path.to_owned(), body);
    let ask = |role, path: &str| (role, Method::GET, path.to_owned(), Value::Null);
    vec![
        ask("catalog", "/internal/catalog-status"),
        ask("catalog", "/internal/toys"),
        ask("catalog", "/internal/journal/0"),
        ask("catalog", "/internal/order/0"),
        post("catalog", "/internal/toy", json!({ "name": "Tux", "session": session })),
        post("catalog", "/internal/register", json!({ "frontend": 1, "previous": session })),
        post("catalog", "/internal/renew", json!({ "session": session })),
        post(
            "catalog",
            "/internal/commit",
            json!({ "leader": 3, "epoch": 1, "log": start, "purchases": [purchase] }),
        ),
        post("catalog", "/internal/acquire", json!({ "nominee": 1, "seen": 1, "log": start })),
        ask("order-3", "/internal/status"),
        ask("order-3", "/internal/order/0"),
        ask("order-3", "/internal/rows/0"),
        post("order-3", "/internal/purchase", purchase.clone()),
        post("order-3", "/internal/leader", usurper.clone()),
        post("order-1", "/internal/nominate", json!({ "seen": 1 })),
        post(
            "order-2",
            "/internal/append",
            json!({ "leadership": usurper, "rows": rows, "leader_length": 1 }),
        ),
        post(
            "frontend",
            "/internal/invalidate",
            json!({ "session": session, "toys": [["Tux", 5]] }),
        ),
    ]
}

async fn call(
    store: &Store,
    (role, method, path, body): &(&str, Method, String, Value),
    authorization: Option<&str>,
) -> u16 {
    let client = awc::Client::builder().timeout(Duration::from_secs(15)).finish();
    let url = format!("http://{}{path}", store.addresses[*role]);
    let mut request = client.request(method.clone(), url);
    if let Some(authorization) = authorization {
        request = request.insert_header(("Authorization", authorization));
    }
    request.send_json(body).await.unwrap().status().as_u16()
}

#[actix_web::test]
async fn a_stranger_can_neither_lead_nor_commit_nor_append_nor_invalidate_nor_read_a_journal() {
    let store = Store::open(Settings { secret: Some(SECRET), ..settings() }).await;
    let frontend = &store.frontends[0];
    assert_eq!(buy(frontend, "Tux", 2, "mine").await.unwrap().0, 200);
    get(frontend, "/products/Tux").await.unwrap();
    let cluster = get(frontend, "/cluster").await.unwrap().1;
    let wrong = format!("Bearer {}x", &SECRET[..SECRET.len() - 1]);
    for authorization in [None, Some(""), Some("Bearer "), Some(SECRET), Some(wrong.as_str())] {
        for question in calls() {
            let status = call(&store, &question, authorization).await;
            assert_eq!(status, 403, "{question:?} with {authorization:?}");
        }
    }
    let longer = format!("Bearer {SECRET}x");
    for (role, path) in [
        ("catalog", "//internal/journal/0"),
        ("catalog", "/%69nternal/journal/0"),
        ("catalog", "/Internal/journal/0"),
        ("catalog", "/x/../internal/journal/0"),
        ("order-1", "/internal/rows/0/"),
        ("order-1", "/internal%2Frows/0"),
    ] {
        let question = (role, Method::GET, path.to_owned(), Value::Null);
        let status = call(&store, &question, Some(&longer)).await;
        assert!((400..500).contains(&status), "{path} at {role} was answered {status}");
    }
    assert_eq!(store.journal(), [(0, "Tux".to_owned(), 2)]);
    for replica in crate::processes::REPLICAS {
        assert_eq!(store.orders(replica), store.journal());
    }
    let later = get(frontend, "/cluster").await.unwrap().1;
    for field in ["epoch", "leader"] {
        assert_eq!(cluster["data"][field], later["data"][field], "a stranger changed the {field}");
    }
    let (before, after) = (&cluster["data"]["cache"], &later["data"]["cache"]);
    assert_eq!(before["invalidations"], after["invalidations"]);
    assert_eq!(before["items"], after["items"]);
    assert!(!store.has_decided("stolen"));

    // The same calls are good ones for those who know the secret.
    let right = format!("Bearer {SECRET}");
    for question in calls().iter().filter(|(_, method, ..)| method == Method::GET) {
        assert_eq!(call(&store, question, Some(&right)).await, 200, "{question:?}");
    }
}
