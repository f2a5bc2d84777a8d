//! What happened, in an order that respects causes: the events of a running store, of the simulator
//! and of the model, in one format of JSON lines (`docs/events.md`).
//!
//! # Vector clocks
//!
//! A clock counts, for each node, the events that came before. An event is a cause of another only
//! if its clock is at most the other's everywhere, so that a reader can tell what followed from
//! what, though the nodes' times differ:
//!
//! ```text
//! frontend   send m1 {frontend:1} ────────┐                  ┌───► recv m2 {frontend:2, order-3:2}
//! order-3                                 └─► recv m1 ─► send m2
//!                            {frontend:1, order-3:1}   {frontend:1, order-3:2}
//! ```
//!
//! No clock travels between the roles: [`EventLog::stamp`] derives all of them from which event
//! received what another sent.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What `format` is in the header. It grows when a reader would misread.
pub const FORMAT: u32 = 1;

/// A header, and events in an order in which each comes behind its causes.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLog {
    /// The header.
    pub header: EventsHeader,
    /// The events.
    pub events: Vec<TraceEvent>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsHeader {
    /// Always `events`, by which a file of this kind is known.
    pub toystore: String,
    /// Always [`FORMAT`].
    pub format: u32,
    /// The version of the executable that wrote it.
    pub version: String,
    /// Its commit, if that is known.
    pub commit: Option<String>,
    /// Where the events are from.
    pub source: EventSource,
    /// The seed, if the simulator drew them.
    pub seed: Option<u64>,
    /// The rule that was left out, if one was.
    pub rule: Option<String>,
    /// The nodes, in the order in which a diagram has their lanes.
    pub roles: Vec<String>,
    /// Events that are missing, because a ring had no more room for them.
    pub dropped: u64,
    /// The roles that could not be asked for their events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Where events are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// Processes that run.
    Live,
    /// The simulator.
    Simulator,
    /// The model checker.
    Model,
}

/// One thing that happened at a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Its place among the events, from 0 on.
    pub seq: u64,
    /// The node: a role's name, or a client's.
    pub node: String,
    /// Which run of the node's process, from 1 on.
    pub incarnation: u64,
    /// What kind of thing happened.
    pub kind: EventKind,
    /// The message, if it is about one; the same where it is sent, received and lost.
    #[serde(default)]
    pub message: Option<String>,
    /// Who sends the message.
    #[serde(default)]
    pub from: Option<String>,
    /// Whom it is sent to.
    #[serde(default)]
    pub to: Option<String>,
    /// What the message asks or answers, or what happened: `append`, `append.answer`, `commit`.
    pub name: String,
    /// When, in microseconds since a beginning that all events of the file share.
    pub time_us: u64,
    /// The vector clock. A node that is not in it has 0.
    #[serde(default)]
    pub clock: BTreeMap<String, u64>,
    /// The trace that it belongs to, as 32 hexadecimal digits.
    #[serde(default)]
    pub trace: Option<String>,
    /// The span in which it happened, as 16 hexadecimal digits.
    #[serde(default)]
    pub span: Option<String>,
    /// What a reader may want to know besides.
    #[serde(default)]
    pub detail: Option<Map<String, Value>>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The node sent the message.
    Send,
    /// The node received the message. A message that is received twice was delivered twice.
    Recv,
    /// The message that the node sent was lost.
    Drop,
    /// The node did something by itself.
    Local,
    /// A timer of the node ran out.
    Timer,
    /// The node's process ended without a warning.
    Crash,
    /// The node's process started.
    Start,
}

/// Why a text is no file of events.
#[derive(Debug)]
pub struct EventsError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl EventsHeader {
    /// The header of events of this executable from `source`, whose nodes are `roles`.
    #[must_use]
    pub fn new(source: EventSource, roles: Vec<String>) -> Self {
        Self {
            toystore: "events".into(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("TOYSTORE_COMMIT").map(str::to_owned),
            source,
            seed: None,
            rule: None,
            roles,
            dropped: 0,
            missing: Vec::new(),
        }
    }
}

impl TraceEvent {
    /// An event of `kind` at `node`, about no message.
    #[must_use]
    pub fn new(node: &str, kind: EventKind, name: &str, time_us: u64) -> Self {
        Self {
            seq: 0,
            node: node.into(),
            incarnation: 1,
            kind,
            message: None,
            from: None,
            to: None,
            name: name.into(),
            time_us,
            clock: BTreeMap::new(),
            trace: None,
            span: None,
            detail: None,
        }
    }

    /// The same event, about the message `message` that `from` sends to `to`.
    #[must_use]
    pub fn about(self, message: &str, from: &str, to: &str) -> Self {
        let (message, from, to) = (message.to_owned(), from.to_owned(), to.to_owned());
        Self { message: Some(message), from: Some(from), to: Some(to), ..self }
    }

    /// The same event, with this detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// Returns a part of its detail.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&Value> {
        self.detail.as_ref()?.get(name)
    }

    /// Returns whether `other` is a consequence of this event, by their clocks.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let at_most = |(node, count)| other.clock.get(node).is_some_and(|there| count <= there);
        self.clock != other.clock && self.clock.iter().all(at_most)
    }
}

impl EventLog {
    /// Numbers the events from 0 on, and gives each its clock. They must be in an order in which
    /// each comes behind its causes: a message is sent before it is received.
    pub fn stamp(&mut self) {
        let mut clocks: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        let mut sent: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        for (seq, event) in (0..).zip(&mut self.events) {
            event.seq = seq;
            let clock = clocks.entry(event.node.clone()).or_default();
            if event.kind == EventKind::Drop {
                // No node notices it, so that it is no cause of anything.
                let of_message = event.message.as_ref().and_then(|message| sent.get(message));
                event.clock = of_message.unwrap_or(clock).clone();
                continue;
            }
            let received = event.message.as_ref().filter(|_| event.kind == EventKind::Recv);
            for (node, count) in
                received.and_then(|message| sent.get(message)).into_iter().flatten()
            {
                let known = clock.entry(node.clone()).or_default();
                *known = (*known).max(*count);
            }
            *clock.entry(event.node.clone()).or_default() += 1;
            event.clock.clone_from(clock);
            if let (EventKind::Send, Some(message)) = (event.kind, &event.message) {
                sent.insert(message.clone(), clock.clone());
            }
        }
    }

    /// Writes the header and the events, a line each.
    ///
    /// # Panics
    ///
    /// Never: all of it can be written as JSON.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut text = line(&self.header);
        for event in &self.events {
            text += &line(event);
        }
        text
    }

    /// Reads what [`to_lines`](Self::to_lines) wrote.
    ///
    /// # Errors
    ///
    /// If a line is not valid, or the first one is no header of this format.
    pub fn parse(text: &str) -> Result<Self, EventsError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let (number, first) = lines.next().unwrap_or((1, ""));
        let header: EventsHeader = read(number, first)?;
        if (header.toystore.as_str(), header.format) != ("events", FORMAT) {
            let problem = format!(
                "it is a header of {:?} in format {}; this executable reads \"events\" in format \
                 {FORMAT}",
                header.toystore, header.format
            );
            return Err(EventsError { line: number, problem });
        }
        let events = lines.map(|(number, line)| read(number, line)).collect::<Result<_, _>>()?;
        Ok(Self { header, events })
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps can be written as JSON") + "\n"
}

fn read<T: for<'a> Deserialize<'a>>(line: usize, text: &str) -> Result<T, EventsError> {
    serde_json::from_str(text).map_err(|error| EventsError { line, problem: error.to_string() })
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for EventsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: Vec<TraceEvent>) -> EventLog {
        let roles = vec!["frontend".into(), "order-3".into()];
        EventLog { header: EventsHeader::new(EventSource::Model, roles), events }
    }

    fn event(node: &str, kind: EventKind, message: &str) -> TraceEvent {
        TraceEvent::new(node, kind, "buy", 7).about(message, "frontend", "order-3")
    }

    fn call_and_answer() -> EventLog {
        let mut log = log(vec![
            event("frontend", EventKind::Send, "m1"),
            TraceEvent::new("frontend", EventKind::Local, "waits", 8),
            event("order-3", EventKind::Recv, "m1").with("rows", 2),
            event("order-3", EventKind::Send, "m2"),
            event("frontend", EventKind::Recv, "m2"),
        ]);
        log.stamp();
        log
    }

    fn clock(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect()
    }

    #[test]
    fn what_is_received_counts_the_events_before_it_was_sent() {
        let log = call_and_answer();
        let clocks: Vec<_> = log.events.iter().map(|event| event.clock.clone()).collect();
        let expected = [
            clock(&[("frontend", 1)]),
            clock(&[("frontend", 2)]),
            clock(&[("frontend", 1), ("order-3", 1)]),
            clock(&[("frontend", 1), ("order-3", 2)]),
            clock(&[("frontend", 3), ("order-3", 2)]),
        ];
        assert_eq!(clocks, expected);
        assert!(log.events[0].is_before(&log.events[2]), "it was sent before it was received");
        let (waits, received) = (&log.events[1], &log.events[2]);
        assert!(!waits.is_before(received) && !received.is_before(waits), "they are concurrent");
        assert!(!log.events[4].is_before(&log.events[0]));
    }

    #[test]
    fn a_message_that_is_lost_moves_no_clock_and_one_that_comes_twice_is_received_twice() {
        let mut log = log(vec![
            event("frontend", EventKind::Send, "m1"),
            event("frontend", EventKind::Drop, "m1"),
            event("frontend", EventKind::Send, "m2"),
            event("order-3", EventKind::Recv, "m2"),
            event("order-3", EventKind::Recv, "m2"),
        ]);
        log.stamp();
        assert_eq!(log.events[1].clock, log.events[0].clock);
        assert_eq!(log.events[2].clock, clock(&[("frontend", 2)]));
        assert_eq!(log.events[4].clock, clock(&[("frontend", 2), ("order-3", 2)]));
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let log = call_and_answer();
        let lines = log.to_lines();
        assert!(lines.starts_with(r#"{"toystore":"events","format":1,"version":""#), "{lines}");
        let third = concat!(
            r#"{"seq":2,"node":"order-3","incarnation":1,"kind":"recv","message":"m1","#,
            r#""from":"frontend","to":"order-3","name":"buy","time_us":7,"#,
            r#""clock":{"frontend":1,"order-3":1},"trace":null,"span":null,"detail":{"rows":2}}"#,
        );
        assert_eq!(lines.lines().nth(3), Some(third));
        assert_eq!(EventLog::parse(&lines).unwrap(), log);
    }

    #[test]
    fn a_text_of_another_kind_is_refused_with_its_line() {
        let lines = call_and_answer().to_lines();
        let later = lines.replacen("\"format\":1", "\"format\":2", 1);
        let torn = &lines[..lines.len() - 10];
        for (text, problem) in [
            ("", "line 1: "),
            (r#"{"kind":"send"}"#, "line 1: missing field `toystore`"),
            (later.as_str(), "line 1: it is a header of \"events\" in format 2"),
            (torn, "line 6: EOF"),
        ] {
            let error = EventLog::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
