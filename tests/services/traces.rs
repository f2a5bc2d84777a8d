//! A client's request is followed through every role: its `X-Request-Id` and its trace go along
//! with each call that is made for it.

use toystore::wire::lease::Invalidation;
use toystore::wire::purchase::{CommitRequest, Purchase};
use toystore::wire::replication::AppendRequest;
use toystore::wire::trace::{RequestOrigin, TraceContext};

use crate::eventually::eventually;
use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::of_order::{Catalog, Peer};
use crate::neighbours::{Neighbour, OrderRole, Received, Running, Store, finish, purchase};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ORDER: &str = r#"{"name":"Tux","quantity":1}"#;

fn sent() -> TraceContext {
    TraceContext::parse(TRACEPARENT).expect("it is valid")
}

/// The trace that a call says it belongs to.
fn trace_of(call: &Received) -> TraceContext {
    let header = call.headers.get("traceparent").expect("the call belongs to a trace");
    TraceContext::parse(header).expect("roles send valid contexts")
}

/// Whether `later` is of the same trace as `earlier`, in another span.
fn is_below(later: TraceContext, earlier: TraceContext) -> bool {
    later.trace == earlier.trace && later.span != earlier.span
}

async fn ask(fixture: &Fixture<'_>, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = fixture.frontend.request("GET", path);
    for header in headers {
        request = request.append_header(*header);
    }
    let answer = finish(request.send()).await;
    answer.header("x-request-id").expect("every reply has one").to_owned()
}

async fn nominated(store: &Store) -> Running<OrderRole> {
    let replica = store.run_order(3).ready().await;
    let nomination = serde_json::json!({ "seen": 0 });
    assert_eq!(replica.post("/internal/nominate", nomination).await.status, 200);
    replica
}

#[actix_web::test]
async fn a_front_end_passes_the_trace_and_the_id_on_in_a_span_of_its_own() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let headers = [("traceparent", TRACEPARENT), ("x-request-id", "mine")];
    ask(&fixture, "/products/Tux", &headers).await;
    ask(&fixture, "/products", &headers).await;
    ask(&fixture, "/orders/0", &headers).await;
    let mut bought = fixture.frontend.request("POST", "/orders");
    for header in headers {
        bought = bought.append_header(header);
    }
    assert_eq!(finish(bought.send_body(ORDER)).await.status, 200);

    let leader = fixture.replica(3);
    let mut calls = [fixture.catalog.received("toy"), fixture.catalog.received("toys")].concat();
    calls.extend([leader.received("order"), leader.received("purchase")].concat());
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!(call.headers.get("x-request-id").map(String::as_str), Some("mine"), "{call:?}");
        assert!(is_below(trace_of(call), sent()), "{call:?}");
    }
}

#[actix_web::test]
async fn an_id_that_the_front_end_takes_is_taken_by_the_other_roles() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for (id, passed) in [("two words", true), ("W5' (kec|b~!", true), ("a\ttab", false)] {
        let bought =
            fixture.frontend.request("POST", "/orders").append_header(("x-request-id", id));
        let answer = finish(bought.send_body(ORDER)).await;
        assert_eq!(answer.status, 200, "{id}");
        assert_eq!(answer.header("x-request-id") == Some(id), passed, "{id}");
        let sold = fixture.replica(3).received("purchase");
        // A replica does without an id that it does not take.
        let told = &sold.last().expect("it came").headers["x-request-id"];
        assert_eq!((told == id, RequestOrigin::takes(told)), (passed, true), "{id}");
    }
}

#[actix_web::test]
async fn a_request_whose_trace_is_not_valid_begins_a_new_one() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let invalid = TRACEPARENT.replace('4', "G");
    let twice = [("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)];
    for headers in [&[][..], &[("traceparent", "")], &[("traceparent", &invalid)], &twice] {
        let id = ask(&fixture, "/orders/7", headers).await;
        let call = fixture.replica(3).received("order").pop().expect("it was asked");
        assert_ne!(trace_of(&call).trace, sent().trace, "{headers:?}");
        let passed = call.headers.get("x-request-id");
        assert_eq!(passed, Some(&id), "the id that was drawn goes along");
    }
    let traces: Vec<_> = fixture.replica(3).received("order").iter().map(trace_of).collect();
    assert!(traces.is_sorted_by(|one, other| one.trace != other.trace), "each is fresh");
}

#[actix_web::test]
async fn a_query_that_the_cache_answers_makes_no_call() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    ask(&fixture, "/products/Tux", &[]).await;
    let before = fixture.catalog.received("toy").len();
    ask(&fixture, "/products/Tux", &[("traceparent", TRACEPARENT)]).await;
    assert_eq!(fixture.catalog.received("toy").len(), before);
}

/// A request whose client sent an id and a trace.
fn named_origin() -> RequestOrigin {
    let request_id = Some("mine".into());
    RequestOrigin { request_id, is_named_by_client: true, trace: Some(sent()) }
}

#[actix_web::test]
async fn a_leader_passes_each_purchases_origin_to_the_catalog_and_to_its_followers() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[0]);
    let replica = nominated(&store).await;
    follower.await_live().await;
    // The call says for which request it is made; a purchase may say so, too.
    for (key, in_purchase) in [("a", RequestOrigin::default()), ("b", named_origin())] {
        let mut request = replica.request("POST", "/internal/purchase");
        request = request.insert_header(("traceparent", TRACEPARENT));
        if in_purchase.is_unknown() {
            request = request.insert_header(("x-request-id", "mine"));
            request = request.insert_header(("toystore-named-by-client", "1"));
        }
        let bought = Purchase { origin: in_purchase, ..purchase(key, "Tux", 1) };
        assert_eq!(finish(request.send_json(&bought)).await.status, 200);
    }

    let origins = |origins: &[RequestOrigin]| {
        let [origin] = origins else { return false };
        let is_named =
            RequestOrigin { trace: named_origin().trace, ..origin.clone() } == named_origin();
        is_named && origin.trace.is_some_and(|trace| is_below(trace, sent()))
    };
    let batches = catalog.received("commit");
    let batches: Vec<CommitRequest> = batches.iter().map(Received::read).collect();
    let appended = follower.received("append");
    let appended: Vec<AppendRequest> = appended.iter().map(Received::read).collect();
    for key in ["a", "b"] {
        let key = purchase(key, "Tux", 1).key;
        let sold = batches.iter().flat_map(|batch| &batch.purchases).find(|one| one.key == key);
        let sold = sold.expect("it was sold");
        assert!(origins(std::slice::from_ref(&sold.origin)), "{sold:?}");
        let has_it = |request: &&AppendRequest| {
            request.rows.orders.iter().any(|order| order.key.as_ref() == Some(&key))
        };
        let told = appended.iter().find(has_it).expect("it was passed on");
        assert!(origins(&told.origins), "{told:?}");
    }
}

#[actix_web::test]
async fn a_catalog_tells_holders_for_which_requests_they_drop_a_toy() {
    let store = Store::new();
    let frontend = Neighbour::at(&store.frontends[0]);
    frontend.answer("invalidate", ());
    let catalog = store.run_catalog().ready().await;
    let acquisition = serde_json::json!({
        "nominee": 3, "seen": 0, "log": toystore::wire::order::Position::START
    });
    assert_eq!(catalog.post("/internal/acquire", acquisition).await.status, 200);
    let registration = serde_json::json!({ "frontend": 1, "previous": null });
    let session = catalog.post("/internal/register", registration).await.json();
    let session = session["data"]["session"].clone();
    let fill = serde_json::json!({ "name": "Tux", "session": session });
    assert_eq!(catalog.post("/internal/toy", fill).await.status, 200);
    let mut bought = purchase("a", "Tux", 1);
    bought.origin = named_origin();
    let origin = bought.origin.clone();
    let commit = serde_json::json!({
        "leader": 3,
        "epoch": 1,
        "log": toystore::wire::order::Position::START,
        "purchases": [bought],
    });
    eventually("the batch is decided", async || {
        catalog.post("/internal/commit", &commit).await.status == 200
    })
    .await;
    let told: Invalidation = frontend.receives("invalidate", 1).await[0].read();
    assert_eq!(told.origins, [origin]);
}
