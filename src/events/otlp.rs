//! Events as OpenTelemetry's spans, in OTLP's JSON: what Jaeger's "Upload" and collectors read.
//!
//! The form is that of `opentelemetry/proto/trace/v1/trace.proto` in Protobuf's JSON mapping, with
//! OTLP's exceptions: ids are hexadecimal, enums are numbers, 64-bit integers are strings.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::spans::{Span, SpanKind, in_words, is_heartbeat, spans_of};
use crate::wire::event::{EventKind, EventLog, TraceEvent};

/// The number of an unset and of an erroneous status.
const STATUS_ERROR: u8 = 2;

/// Writes the events; the first one was at this time of day.
#[must_use]
pub fn write(log: &EventLog, beginning: Duration) -> String {
    let spans = spans_of(log);
    let of_role = |role: &String| {
        let own: Vec<Value> = (0..spans.len())
            .filter(|place| log.events[spans[*place].event].node == *role)
            .map(|place| span(log, &spans, place, beginning))
            .collect();
        (!own.is_empty()).then(|| {
            json!({
                "resource": { "attributes": [attribute("service.name", role)] },
                "scopeSpans": [{
                    "scope": { "name": "toystore", "version": log.header.version },
                    "spans": own,
                }],
            })
        })
    };
    let resources: Vec<Value> = log.header.roles.iter().filter_map(of_role).collect();
    json!({ "resourceSpans": resources }).to_string() + "\n"
}

fn span(log: &EventLog, spans: &[Span], place: usize, beginning: Duration) -> Value {
    let span = &spans[place];
    let event = &log.events[span.event];
    let nanos = |us: u64| (beginning + Duration::from_micros(us)).as_nanos().to_string();
    let mut told = Map::from_iter([
        ("traceId".to_owned(), trace_id(log, spans, place).into()),
        ("spanId".to_owned(), span_id(event, span.kind).into()),
        ("name".to_owned(), event.name.clone().into()),
        ("kind".to_owned(), number_of(span.kind).into()),
        ("startTimeUnixNano".to_owned(), nanos(span.start_us).into()),
        ("endTimeUnixNano".to_owned(), nanos(span.end_us).into()),
        ("attributes".to_owned(), attributes(event)),
        ("events".to_owned(), marks(log, spans, place, &nanos)),
    ]);
    if let Some(parent) = parent_id(log, spans, place) {
        told.insert("parentSpanId".to_owned(), parent.into());
    }
    if span.failed {
        told.insert("status".to_owned(), json!({ "code": STATUS_ERROR }));
    }
    told.into()
}

/// The span that a span is part of: another one of the log or, at its edge, the client's own.
fn parent_id(log: &EventLog, spans: &[Span], place: usize) -> Option<String> {
    let span = &spans[place];
    let told = log.events[span.event].detail("parent").and_then(Value::as_str);
    told.map(str::to_owned).or_else(|| {
        let parent = &spans[span.parent?];
        Some(span_id(&log.events[parent.event], parent.kind))
    })
}

/// What happened within a span and has no length: events of its node that the next inner span is
/// not around.
fn marks(log: &EventLog, spans: &[Span], place: usize, nanos: &impl Fn(u64) -> String) -> Value {
    let span = &spans[place];
    if span.kind != SpanKind::Server {
        return json!([]);
    }
    let outer = &log.events[span.event];
    let is_mark = |event: &&TraceEvent| {
        event.node == outer.node
            && event.kind == EventKind::Local
            && event.detail("took_us").is_none()
            && event.trace == outer.trace
            && !is_heartbeat(event)
            && (span.start_us..=span.end_us).contains(&event.time_us)
    };
    let marks = log.events.iter().filter(is_mark);
    marks
        .map(|event| json!({ "timeUnixNano": nanos(event.time_us), "name": in_words(event) }))
        .collect()
}

fn attributes(event: &TraceEvent) -> Value {
    let text = event.detail("text").and_then(Value::as_str);
    let mut told = vec![attribute("toystore.text", text.unwrap_or_default())];
    told.extend(event.to.as_ref().map(|to| attribute("server.address", to)));
    told.extend(event.detail("body").map(|body| attribute("toystore.body", &body.to_string())));
    told.into()
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number_of(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    }
}

/// A span's id: made of the message, since both of a call's spans are known by it.
fn span_id(event: &TraceEvent, kind: SpanKind) -> String {
    let of = event.message.clone().unwrap_or_else(|| format!("{}-{}", event.node, event.seq));
    format!("{:016x}", hash(&format!("{of}/{}", number_of(kind))).max(1))
}

/// A span's trace: its event's or, where that has none, one that is made of its outermost span.
fn trace_id(log: &EventLog, spans: &[Span], place: usize) -> String {
    let mut outermost = place;
    while let Some(parent) = spans[outermost].parent {
        outermost = parent;
    }
    let event = &log.events[spans[outermost].event];
    event.trace.clone().unwrap_or_else(|| span_id(event, spans[outermost].kind).repeat(2))
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
