//! Each format is read back, by a small parser that was written from the format's documentation.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::*;
use crate::wire::event::EventKind::{Drop, Local, Recv, Send, Timer};
use crate::wire::event::EventSource;

/// A purchase in small: a client, a front-end and a leader, which writes; one call is lost, one
/// mark and one heartbeat are in between.
pub(crate) fn purchase() -> EventLog {
    let roles = ["client", "frontend", "order-3"].map(str::to_owned).to_vec();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let event = |node: &str, kind, name: &str, time| {
        let event = TraceEvent::new(node, kind, name, time);
        TraceEvent { trace: Some(trace.into()), ..event }
    };
    let events = vec![
        event("client", Send, "POST /orders", 0).about("c", "client", "frontend"),
        event("frontend", Recv, "POST /orders", 10).about("c", "client", "frontend"),
        event("frontend", Send, "purchase", 20).about("m1", "frontend", "order-3"),
        event("frontend", Drop, "purchase", 20).about("m1", "frontend", "order-3"),
        event("frontend", Timer, "purchase.timeout", 620).about("m1.answer", "order-3", "frontend"),
        event("frontend", Local, "retry", 625).with("text", "at order-3; #2"),
        event("frontend", Send, "purchase", 630).about("m2", "frontend", "order-3"),
        event("order-3", Recv, "purchase", 700).about("m2", "frontend", "order-3"),
        event("order-3", Send, "status", 750)
            .about("h", "order-3", "frontend")
            .with("heartbeat", true),
        event("order-3", Local, "sync", 1_700)
            .with("took_us", 900)
            .with("text", "1 orders on disk"),
        event("order-3", Send, "purchase.answer", 1_710).about("m2.answer", "order-3", "frontend"),
        event("frontend", Recv, "purchase.answer", 1_800).about("m2.answer", "order-3", "frontend"),
        event("frontend", Send, "POST /orders.answer", 1_810)
            .about("c.answer", "frontend", "client"),
        event("client", Recv, "POST /orders.answer", 1_900).about("c.answer", "frontend", "client"),
    ];
    let mut log = EventLog { header: EventsHeader::new(EventSource::Simulator, roles), events };
    log.stamp();
    log
}

fn written(log: &EventLog, format: ViewerFormat) -> String {
    write(log, format, Duration::from_secs(1_700_000_000)).unwrap()
}

#[test]
fn events_are_read_back_as_they_are() {
    let log = purchase();
    assert_eq!(EventLog::parse(&written(&log, ViewerFormat::Events)).unwrap(), log);
}

/// Reads what ShiViz reads, and checks what it checks: that a host's own clock counts its events
/// from 1 on, and that a clock names no event that is not there.
fn read_shiviz(text: &str) -> Vec<(String, BTreeMap<String, u64>, String)> {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() % 2, 0, "two lines for each event");
    let mut hosts: HashMap<String, u64> = HashMap::new();
    let mut events = Vec::new();
    for pair in lines.chunks(2) {
        let (host, clock) = pair[0].split_once(' ').expect("a host and a clock");
        let clock: BTreeMap<String, u64> = serde_json::from_str(clock).expect("a clock is JSON");
        let own = hosts.entry(host.to_owned()).or_default();
        *own += 1;
        assert_eq!(clock.get(host), Some(&*own), "a gap in the clock of {host}");
        for (other, count) in &clock {
            assert!(hosts.get(other).is_some_and(|there| count <= there), "{other} {count}");
        }
        events.push((host.to_owned(), clock, pair[1].to_owned()));
    }
    events
}

#[test]
fn shiviz_is_given_clocks_without_gaps_also_of_a_part_of_a_log() {
    let log = purchase();
    let events = read_shiviz(&written(&log, ViewerFormat::Shiviz));
    assert_eq!(events.len(), log.events.len() - 1, "a loss is no event of a host");
    assert_eq!(events[5].2, "send purchase to order-3");
    let mut suffix = log.clone();
    suffix.events.drain(..7);
    let events = read_shiviz(&written(&suffix, ViewerFormat::Shiviz));
    assert_eq!(events[0].1, BTreeMap::from([("order-3".to_owned(), 1)]));
    assert_eq!(events.last().unwrap().1["frontend"], 2);
}

/// Reads OTLP's JSON; returns each span's name with its parent's.
fn read_otlp(text: &str) -> Vec<(String, Option<String>)> {
    let whole: Value = serde_json::from_str(text).expect("JSON");
    let mut spans: Vec<(String, Value)> = Vec::new();
    for resource in whole["resourceSpans"].as_array().expect("resources") {
        let service = resource["resource"]["attributes"][0].clone();
        assert_eq!(service["key"], "service.name");
        let service = service["value"]["stringValue"].as_str().expect("a name").to_owned();
        for scope in resource["scopeSpans"].as_array().expect("scopes") {
            assert_eq!(scope["scope"]["name"], "toystore");
            let own = scope["spans"].as_array().expect("spans");
            spans.extend(own.iter().map(|span| (service.clone(), span.clone())));
        }
    }
    let mut names: HashMap<String, String> = HashMap::new();
    for (service, span) in &spans {
        let id = span["spanId"].as_str().expect("an id");
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(span["traceId"].as_str().expect("an id").len(), 32);
        let name = format!("{service} {}", span["name"].as_str().expect("a name"));
        assert_eq!(names.insert(id.to_owned(), name), None, "an id is one span's");
        assert!((1..=5).contains(&span["kind"].as_u64().expect("a number")));
        let time = |of: &Value| of.as_str().and_then(|it| it.parse::<u64>().ok()).expect("nanos");
        let (start, end) = (time(&span["startTimeUnixNano"]), time(&span["endTimeUnixNano"]));
        assert!(1_700_000_000_000_000_000 <= start && start <= end, "{start} {end}");
        for mark in span["events"].as_array().expect("events") {
            assert!((start..=end).contains(&time(&mark["timeUnixNano"])));
        }
    }
    let parent = |span: &Value| {
        span.get("parentSpanId").map(|id| names[id.as_str().expect("an id")].clone())
    };
    spans
        .iter()
        .map(|(_, span)| (names[span["spanId"].as_str().unwrap()].clone(), parent(span)))
        .collect()
}

#[test]
fn otlp_has_a_tree_of_spans_from_the_client_to_the_disk() {
    let text = written(&purchase(), ViewerFormat::Otlp);
    let tree: Vec<_> = read_otlp(&text);
    let expected = [
        ("client POST /orders", None),
        ("frontend POST /orders", Some("client POST /orders")),
        ("frontend purchase", Some("frontend POST /orders")),
        ("frontend purchase", Some("frontend POST /orders")),
        ("order-3 purchase", Some("frontend purchase")),
        ("order-3 sync", Some("order-3 purchase")),
    ];
    let expected = expected.map(|(span, parent)| (span.to_owned(), parent.map(str::to_owned)));
    assert_eq!(tree, expected);
    assert_eq!(text.matches(r#""status":{"code":2}"#).count(), 1, "the lost call failed");
    assert!(text.contains("retry: at order-3; #2"), "marks are events of a span");
}

/// Reads Chrome's trace events: slices must not overlap unless one is in the other, and both ends
/// of an arrow must be at a slice.
fn read_chrome(text: &str) -> (usize, usize) {
    let whole: Value = serde_json::from_str(text).expect("JSON");
    let events = whole["traceEvents"].as_array().expect("events");
    let number = |event: &Value, name: &str| event[name].as_u64().expect("a number");
    let track = |event: &Value| (number(event, "pid"), number(event, "tid"));
    let mut slices: HashMap<(u64, u64), Vec<(u64, u64)>> = HashMap::new();
    let mut named = HashSet::new();
    for event in events {
        match event["ph"].as_str().expect("a phase") {
            "X" => {
                let start = number(event, "ts");
                slices.entry(track(event)).or_default().push((start, start + number(event, "dur")));
            }
            "M" => {
                assert!(event["args"]["name"].is_string());
                named.insert(track(event));
            }
            "s" | "f" => assert!(event["id"].is_string()),
            other => unreachable!("the phase {other} is not used"),
        }
    }
    for (track, slices) in &slices {
        assert!(named.contains(track), "{track:?} has no name");
        for (a, b) in slices.iter().flat_map(|a| slices.iter().map(move |b| (a, b))) {
            let overlap = a.0 < b.0 && b.0 < a.1 && a.1 < b.1;
            assert!(!overlap, "{a:?} and {b:?} on {track:?}");
        }
    }
    let of_phase = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    for event in events.iter().filter(|event| event["ph"] == "s" || event["ph"] == "f") {
        let time = number(event, "ts");
        assert!(slices[&track(event)].iter().any(|(start, end)| *start <= time && time < *end));
    }
    (of_phase("s"), of_phase("f"))
}

#[test]
fn chrome_is_given_slices_that_nest_and_arrows_between_them() {
    assert_eq!(
        read_chrome(&written(&purchase(), ViewerFormat::Chrome)),
        (5, 4),
        "one message was lost"
    );
}

/// Reads a sequence diagram; returns its arrows.
fn read_mermaid(text: &str) -> Vec<(String, String, String)> {
    let mut lines = text.lines().map(str::trim);
    assert_eq!(lines.next(), Some("sequenceDiagram"));
    let mut participants = HashSet::new();
    let mut arrows = Vec::new();
    let is_word = |word: &str| word.chars().all(|c| c.is_alphanumeric() || c == '_');
    for line in lines {
        assert!(!line.contains(['#', ';']), "{line}");
        if let Some(rest) = line.strip_prefix("participant ") {
            let (alias, _name) = rest.split_once(" as ").expect("an alias and a name");
            assert!(is_word(alias) && participants.insert(alias.to_owned()), "{line}");
            continue;
        }
        let (what, _words) = line.split_once(": ").expect("words behind a colon");
        if let Some(over) = what.strip_prefix("Note over ") {
            assert!(participants.contains(over), "{line}");
            continue;
        }
        let arrow = ["-->>", "->>", "--x", "-x"].into_iter().find(|arrow| what.contains(arrow));
        let arrow = arrow.expect("an arrow");
        let (from, to) = what.split_once(arrow).expect("two ends");
        assert!(participants.contains(from) && participants.contains(to), "{line}");
        arrows.push((from.to_owned(), arrow.to_owned(), to.to_owned()));
    }
    arrows
}

#[test]
fn mermaid_is_given_an_arrow_for_each_message() {
    let arrows = read_mermaid(&written(&purchase(), ViewerFormat::Mermaid));
    let expected = [
        ("client", "->>", "frontend"),
        ("frontend", "-x", "order_3"),
        ("frontend", "->>", "order_3"),
        ("order_3", "-->>", "frontend"),
        ("frontend", "-->>", "client"),
    ];
    let expected =
        expected.map(|(from, arrow, to)| (from.to_owned(), arrow.to_owned(), to.to_owned()));
    assert_eq!(arrows, expected);
}

#[test]
fn a_long_log_is_refused_for_mermaid_with_what_to_do() {
    let mut log = purchase();
    log.events = vec![log.events[0].clone(); 301];
    let error = write(&log, ViewerFormat::Mermaid, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("is for 300 events, and there are 301; ask for one"), "{error}");
}
