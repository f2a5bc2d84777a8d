//! What a recorder keeps and hands out.

use super::rings::{MOST_CHANGES, MOST_HEARTBEATS};
use super::*;
use crate::runtime::System;
use crate::wire::calls::GetStatus;
use crate::wire::calls::{Buy, GetRows};
use crate::wire::event::EventKind::{Local, Recv, Send, Start};
use crate::wire::purchase::{IdempotencyKey, Purchase};
use crate::wire::quantity::Quantity;
use crate::wire::recording::RecordedEvent;
use crate::wire::replication::ReplicaId;
use crate::wire::trace::TraceContext;
use crate::wire::trace::TraceId;

const LEADER: Role = Role::Order(ReplicaId(3));

fn recorder(role: Role, most: usize) -> EventRecorder {
    EventRecorder::new(role, most, &(Arc::new(System) as Arc<dyn Runtime>))
}

fn origin(trace: u128, request_id: &str) -> RequestOrigin {
    RequestOrigin {
        request_id: Some(request_id.to_owned()),
        is_named_by_client: false,
        trace: Some(TraceContext::from_random(trace, 5)),
    }
}

fn buy() -> Buy {
    let purchase = Purchase {
        key: IdempotencyKey::from_client(b"my-key").unwrap(),
        name: "Tux".into(),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    };
    Buy { purchase, within_ms: None }
}

/// All that there is of some traces, and of no trace.
fn everything(recorder: &EventRecorder, traces: &[u128]) -> RoleEvents {
    recorder.events(&EventsQuery {
        traces: traces.iter().map(|bits| TraceId::from_random(*bits)).collect(),
        request: None,
        from_age_us: u64::from(u32::MAX),
        to_age_us: 0,
    })
}

fn told(events: &[RecordedEvent]) -> Vec<(EventKind, &str)> {
    events.iter().map(|event| (event.kind, event.name.as_str())).collect()
}

#[test]
fn a_call_is_recorded_at_both_ends_under_one_id() {
    let (frontend, leader) = (recorder(Role::Frontend(1), 100), recorder(LEADER, 100));
    let (call, origin) = (buy(), origin(7, "r"));
    let body = serde_json::to_vec(&call).unwrap();
    let sent = frontend.sends(&call, LEADER, &origin, Some(&body)).unwrap();
    let caller = Caller { origin, message: frontend.tag(&sent), ..Caller::default() };
    let received = leader.receives(&call, &caller).unwrap();
    leader.answers(&received, None);
    frontend.answered(&sent, None, Some(br#"{"data":{"decided":{"granted":4}}}"#));
    let (at_frontend, at_leader) = (everything(&frontend, &[7]), everything(&leader, &[7]));
    let expected = [(Start, "start"), (Send, "purchase"), (Recv, "purchase.answer")];
    assert_eq!(told(&at_frontend.events), expected);
    let expected = [(Start, "start"), (Recv, "purchase"), (Send, "purchase.answer")];
    assert_eq!(told(&at_leader.events), expected);
    for place in [1, 2] {
        let ids = [&at_frontend, &at_leader]
            .map(|role| role.events[place].message.as_ref().unwrap().id.clone());
        assert_eq!(ids[0], ids[1]);
    }
    assert_eq!(at_leader.events[1].message.as_ref().unwrap().peer, "frontend");
    let detail = |event: &RecordedEvent| serde_json::to_string(&event.detail).unwrap();
    let sent = detail(&at_frontend.events[1]);
    assert!(sent.contains("\"text\":\"1 Tux\"") && !sent.contains("my-key"), "{sent}");
    assert!(detail(&at_frontend.events[2]).contains("\"text\":\"order 4\""));
}

#[test]
fn a_role_hands_out_the_traces_that_it_is_asked_for_and_what_belongs_to_none_at_the_time() {
    let recorder = recorder(LEADER, 100);
    for trace in [7, 8] {
        recorder.local("sync", &Traces::One(TraceId::from_random(trace)), String::new);
    }
    let both = Traces::of([8, 7, 8].map(TraceId::from_random).to_vec());
    recorder.local("commit", &both, String::new);
    let asked = everything(&recorder, &[7]);
    assert_eq!(told(&asked.events), [(Start, "start"), (Local, "sync"), (Local, "commit")]);
    assert_eq!(asked.events[2].traces.len(), 2);
    let of_trace = EventsQuery {
        traces: vec![TraceId::from_random(8)],
        request: None,
        from_age_us: 0,
        to_age_us: 0,
    };
    let asked = recorder.events(&of_trace);
    assert_eq!(told(&asked.events), [(Local, "sync"), (Local, "commit")]);
}

#[test]
fn one_kind_of_traffic_does_not_push_out_another() {
    let recorder = recorder(Role::Frontend(1), 4);
    recorder.asked("POST /orders", &origin(7, "r"), None, || "1 Tux".into());
    let none = RequestOrigin::default();
    for _ in 0..5_000 {
        recorder.hit("Tux", None, b"h", crate::clock::now());
        recorder.sends(&GetStatus {}, LEADER, &none, None);
        recorder.sends(&GetRows { from: 0 }, LEADER, &none, None);
    }
    let asked = everything(&recorder, &[7]);
    assert!(told(&asked.events).contains(&(EventKind::Recv, "POST /orders")));
    assert!(asked.events.len() < 2 * (MOST_CHANGES + MOST_HEARTBEATS), "they are bounded");
    assert!(asked.dropped > 4_000, "what had no more room is counted: {}", asked.dropped);
    let is_heartbeat = |event: &&RecordedEvent| {
        event.detail.as_ref().is_some_and(|detail| detail.contains_key("heartbeat"))
    };
    let beats = asked.events.iter().filter(is_heartbeat).map(|event| event.name.as_str());
    assert!(beats.clone().count() == MOST_HEARTBEATS && beats.clone().all(|it| it == "status"));
}

#[test]
fn a_request_is_found_by_its_id_and_its_trace_and_listed_without_its_id() {
    let recorder = recorder(Role::Frontend(1), 100);
    let first =
        recorder.asked("POST /orders", &origin(7, "mine"), None, || "1 Tux".into()).unwrap();
    recorder.replied(&first, 409);
    recorder.asked("GET /orders", &origin(8, "other"), None, || "5".into());
    recorder.hit("Uno", None, b"hit", crate::clock::now());
    let found = recorder.asked_under("mine").unwrap();
    assert_eq!((found.trace, found.status), (TraceId::from_random(7), Some(409)));
    assert_eq!(recorder.asked_under(&TraceId::from_random(8).to_string()).unwrap().text, "5");
    assert_eq!(recorder.asked_under("hit").unwrap().text, "Uno, from the cache");
    assert_eq!(recorder.asked_under("none"), None);
    let last = recorder.last_asked(2);
    let texts: Vec<&str> = last.iter().map(|asked| asked.text.as_str()).collect();
    assert_eq!(texts, ["Uno, from the cache", "5"]);
    assert!(!serde_json::to_string(&last).unwrap().contains("other"));
    let cached = everything(&recorder, &[]);
    let query = EventsQuery { request: Some("hit".into()), ..EventsQuery::default() };
    let asked = recorder.events(&query);
    assert_eq!(asked.events.len(), 3, "a request, a look-up and an answer");
    assert_eq!(asked.asked.unwrap().text, "Uno, from the cache");
    assert_eq!(cached.events.len(), 1, "of no trace there is the start");
}

#[test]
fn the_body_of_a_large_message_is_not_kept() {
    let recorder = recorder(LEADER, 100);
    let large = vec![b' '; LARGEST_BODY + 1];
    recorder.sends(&buy(), LEADER, &origin(7, "r"), Some(&large));
    let asked = everything(&recorder, &[7]);
    let body = asked.events[1].detail.as_ref().unwrap()["body"].clone();
    assert_eq!(body, "2049 bytes");
}

#[test]
fn of_a_long_text_the_beginning_is_kept() {
    let recorder = recorder(Role::Frontend(1), 100);
    let long = format!("1 {}", "ä".repeat(20_000));
    recorder.asked("POST /orders", &origin(7, "r"), None, || long.clone());
    let told = everything(&recorder, &[7]).events[1].detail.as_ref().unwrap()["text"].to_string();
    assert_eq!(told, format!("{:?}", &long[..1_024]));
    let long = format!("11 {}", "ä".repeat(20_000));
    recorder.asked("POST /orders", &origin(8, "r"), None, || long.clone());
    let told = everything(&recorder, &[8]).events[1].detail.as_ref().unwrap()["text"].to_string();
    assert_eq!(told, format!("{:?}", &long[..1_023]), "no character is cut in two");
}

#[test]
fn a_body_that_is_no_text_is_not_kept() {
    let recorder = recorder(Role::Frontend(1), 100);
    let sent = recorder.sends(&buy(), LEADER, &origin(7, "r"), Some(b"\xff")).unwrap();
    recorder.answered(&sent, Some(500), Some(b"\"\xff\""));
    let asked = everything(&recorder, &[7]);
    assert_eq!(asked.events[1].detail, None);
    assert_eq!(serde_json::to_string(&asked.events[2].detail).unwrap(), r#"{"status":500}"#);
}

#[test]
fn nothing_is_recorded_where_there_is_no_room() {
    let recorder = recorder(LEADER, 0);
    assert!(!recorder.is_on());
    assert!(recorder.sends(&buy(), LEADER, &origin(7, "r"), None).is_none());
    recorder.local("sync", &Traces::None, || unreachable!("nothing is rendered"));
    assert_eq!(everything(&recorder, &[7]), RoleEvents::default());
}

/// What has changed since a caller asked that was told `before`.
fn changes_after(recorder: &EventRecorder, before: &RoleChanges) -> RoleChanges {
    let from = before.first + before.changes.len() as u64;
    recorder.changes(&ChangesQuery { run: before.run, from })
}

#[test]
fn each_change_is_told_once_to_a_caller_that_goes_on_where_it_was() {
    let recorder = recorder(LEADER, 100);
    recorder.sends(&GetRows { from: 0 }, LEADER, &RequestOrigin::default(), None);
    let first = recorder.changes(&ChangesQuery::default());
    assert_eq!((told(&first.changes), first.dropped), (vec![(Start, "start")], 0));
    assert_ne!(first.run, 0);
    assert!(changes_after(&recorder, &first).changes.is_empty(), "messages are no changes");
    recorder.change(Local, "selection", || "selected leader 3".into());
    let second = changes_after(&recorder, &first);
    assert_eq!((told(&second.changes), second.first), (vec![(Local, "selection")], 1));
    assert!(changes_after(&recorder, &second).changes.is_empty());
    // A caller that knows another run of the process lacks all of this one.
    let other = RoleChanges { run: first.run + 1, ..second };
    assert_eq!(changes_after(&recorder, &other).changes.len(), 2);
}

#[test]
fn changes_that_a_caller_missed_and_that_are_kept_no_more_are_counted() {
    let recorder = recorder(LEADER, 100);
    let before = recorder.changes(&ChangesQuery::default());
    for _ in 0..MOST_CHANGES + 7 {
        recorder.change(Local, "restock.commit", || "restocked Tux".into());
    }
    let missed = changes_after(&recorder, &before);
    assert_eq!((missed.changes.len(), missed.dropped, missed.first), (MOST_CHANGES, 7, 8));
    assert_eq!(changes_after(&recorder, &missed).dropped, 0);
    let nothing = ChangesQuery { run: missed.run, from: u64::MAX };
    assert!(recorder.changes(&nothing).changes.is_empty());
}
