//! Spans out of events: a call is a span where it is made and one where it is answered.

use std::collections::HashMap;

use crate::wire::event::{EventKind, EventLog, TraceEvent};

/// Something that took time at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The place of the event that begins it or, where only its length is known, ends it.
    pub(crate) event: usize,
    pub(crate) kind: SpanKind,
    pub(crate) start_us: u64,
    pub(crate) end_us: u64,
    /// The place of the span that it is part of.
    pub(crate) parent: Option<usize>,
    /// Whether it ended without an answer.
    pub(crate) failed: bool,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// A call, as its caller sees it.
    Client,
    /// A call, as the one who answers it sees it.
    Server,
    /// Something that a node did by itself.
    Internal,
}

/// An answer's message is its call's with this ending.
const ANSWER: &str = ".answer";

/// Returns the spans of a log, heartbeats left out. A span comes behind the one that it is part of.
pub(crate) fn spans_of(log: &EventLog) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut at_end = HashMap::new();
    for (place, event) in log.events.iter().enumerate() {
        if is_heartbeat(event) {
            continue;
        }
        let message = event.message.as_deref();
        let answered = message.and_then(|message| message.strip_suffix(ANSWER));
        let kind = match (event.kind, answered) {
            (EventKind::Send, None) if message.is_some() => SpanKind::Client,
            (EventKind::Recv, None) if message.is_some() => SpanKind::Server,
            (EventKind::Local, _) if took_us(event).is_some() => SpanKind::Internal,
            (EventKind::Recv | EventKind::Timer, Some(call)) => {
                end(&mut spans, &at_end, (call, SpanKind::Client), event);
                continue;
            }
            (EventKind::Send, Some(call)) => {
                end(&mut spans, &at_end, (call, SpanKind::Server), event);
                continue;
            }
            _ => continue,
        };
        let parent = parent_of(log, &spans, &at_end, place, kind);
        if let (Some(message), SpanKind::Client | SpanKind::Server) = (message, kind) {
            // A message that comes twice is answered twice; the first time counts.
            at_end.entry((message.to_owned(), kind as u8)).or_insert(spans.len());
        }
        let length =
            if kind == SpanKind::Internal { took_us(event).unwrap_or_default() } else { 0 };
        spans.push(Span {
            event: place,
            kind,
            start_us: event.time_us.saturating_sub(length),
            end_us: event.time_us,
            parent,
            failed: false,
        });
    }
    spans
}

/// Ends the span of a call.
fn end(
    spans: &mut [Span],
    at_end: &HashMap<(String, u8), usize>,
    (call, kind): (&str, SpanKind),
    event: &TraceEvent,
) {
    if let Some(place) = at_end.get(&(call.to_owned(), kind as u8)) {
        spans[*place].end_us = event.time_us;
        spans[*place].failed = event.kind == EventKind::Timer;
    }
}

/// The span that one which begins at `place` is part of: for a call that is answered the call as
/// its caller sees it; else what its node is answering.
fn parent_of(
    log: &EventLog,
    spans: &[Span],
    at_end: &HashMap<(String, u8), usize>,
    place: usize,
    kind: SpanKind,
) -> Option<usize> {
    let event = &log.events[place];
    if kind == SpanKind::Server {
        let message = event.message.clone()?;
        return at_end.get(&(message, SpanKind::Client as u8)).copied();
    }
    let is_around = |span: &&(usize, &Span)| {
        let outer = &log.events[span.1.event];
        span.1.kind == SpanKind::Server
            && outer.node == event.node
            && shares_trace(outer, event)
            // It has not been answered yet: its end is still its beginning.
            && span.1.end_us == outer.time_us
    };
    let around: Vec<(usize, &Span)> =
        spans.iter().enumerate().filter(|it| is_around(&it)).collect();
    let same = around
        .iter()
        .rev()
        .find(|(_, span)| event.span.is_some() && log.events[span.event].span == event.span);
    same.or(around.last()).map(|(place, _)| *place)
}

/// Whether two events belong to one request.
fn shares_trace(one: &TraceEvent, other: &TraceEvent) -> bool {
    let traces = |event: &TraceEvent| -> Vec<String> {
        let many = event.detail("traces").and_then(|traces| traces.as_array()).cloned();
        let many = many.unwrap_or_default();
        let many = many.iter().filter_map(|trace| trace.as_str().map(str::to_owned));
        many.chain(event.trace.clone()).collect()
    };
    let others = traces(other);
    traces(one).iter().any(|trace| others.contains(trace))
}

/// Whether an event belongs to traffic that goes on whatever clients do.
pub(crate) fn is_heartbeat(event: &TraceEvent) -> bool {
    event.detail("heartbeat").is_some_and(|it| it == true)
}

fn took_us(event: &TraceEvent) -> Option<u64> {
    event.detail("took_us")?.as_u64()
}

/// An event in words, on one line.
pub(crate) fn in_words(event: &TraceEvent) -> String {
    let text = event.detail("text").and_then(|text| text.as_str()).unwrap_or_default();
    let name = &event.name;
    let what = match event.kind {
        EventKind::Send => format!("send {name} to {}", event.to.as_deref().unwrap_or("?")),
        EventKind::Recv => format!("receive {name} from {}", event.from.as_deref().unwrap_or("?")),
        EventKind::Drop => format!("{name} is lost"),
        EventKind::Timer => format!("{name} runs out"),
        EventKind::Crash => "crash".to_owned(),
        EventKind::Local | EventKind::Start => name.clone(),
    };
    let whole = if text.is_empty() { what } else { format!("{what}: {text}") };
    whole.replace(char::is_control, " ")
}
