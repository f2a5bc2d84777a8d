//! Events as Chrome's trace events in JSON, which [Perfetto](https://ui.perfetto.dev) reads.
//!
//! Each node is a process. Its first track has the events, as slices of a microsecond, with an
//! arrow from where a message was sent to where it was received; spans that overlap are on tracks
//! of their own. The format is that of "Trace Event Format" (complete, flow and metadata events).

use serde_json::{Value, json};

use crate::events::spans::{in_words, is_heartbeat, spans_of};
use crate::wire::event::{EventKind, EventLog, TraceEvent};

/// Writes the events.
pub(super) fn write(log: &EventLog) -> String {
    let mut told = Vec::new();
    let nodes = nodes_of(log);
    for (process, node) in nodes.iter().enumerate() {
        told.push(metadata("process_name", process, 0, node));
        told.push(metadata("thread_name", process, 0, "events"));
    }
    let process_of = |event: &TraceEvent| {
        nodes.iter().position(|node| *node == event.node).expect("each node has a process")
    };
    for event in log.events.iter().filter(|event| !is_heartbeat(event)) {
        let process = process_of(event);
        told.push(json!({
            "name": event.name, "cat": "event", "ph": "X", "pid": process, "tid": 0,
            "ts": event.time_us, "dur": 1,
            "args": { "what": in_words(event), "detail": event.detail },
        }));
        told.extend(flow(event, process));
    }
    // When each track of each process is free again.
    let mut free: Vec<Vec<u64>> = vec![Vec::new(); nodes.len()];
    let mut spans = spans_of(log);
    spans.sort_by_key(|span| (span.start_us, std::cmp::Reverse(span.end_us)));
    for span in spans {
        let event = &log.events[span.event];
        let process = process_of(event);
        let tracks = &mut free[process];
        let track = tracks.iter().position(|free| *free <= span.start_us).unwrap_or(tracks.len());
        if track == tracks.len() {
            tracks.push(0);
            told.push(metadata("thread_name", process, track + 1, &format!("work {}", track + 1)));
        }
        tracks[track] = span.end_us.max(span.start_us + 1);
        told.push(json!({
            "name": event.name, "cat": "span", "ph": "X", "pid": process, "tid": track + 1,
            "ts": span.start_us, "dur": (span.end_us - span.start_us).max(1),
            "args": { "what": in_words(event) },
        }));
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": told }).to_string() + "\n"
}

/// All nodes: the header's, and those that it does not name.
fn nodes_of(log: &EventLog) -> Vec<&str> {
    let mut nodes: Vec<&str> = log.header.roles.iter().map(String::as_str).collect();
    for event in &log.events {
        if !nodes.contains(&event.node.as_str()) {
            nodes.push(&event.node);
        }
    }
    nodes
}

fn metadata(what: &str, process: usize, track: usize, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": process, "tid": track, "args": { "name": name } })
}

/// An end of the arrow of a message.
fn flow(event: &TraceEvent, process: usize) -> Option<Value> {
    let message = event.message.as_ref()?;
    let mut end = json!({
        "name": event.name, "cat": "message", "id": message, "pid": process, "tid": 0,
        "ts": event.time_us,
    });
    match event.kind {
        EventKind::Send => end["ph"] = "s".into(),
        EventKind::Recv => {
            end["ph"] = "f".into();
            // It ends at the slice that is around it, not at the next one.
            end["bp"] = "e".into();
        }
        EventKind::Drop
        | EventKind::Local
        | EventKind::Timer
        | EventKind::Crash
        | EventKind::Start => return None,
    }
    Some(end)
}
