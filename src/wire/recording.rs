//! The messages by which a front-end collects what roles have recorded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::EventKind;
use super::trace::TraceId;

/// A front-end asks a role for what it has recorded (`POST /internal/events`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Events of these traces, whenever they were.
    pub traces: Vec<TraceId>,
    /// And events of no trace, such as heartbeats and changes of leader, from so long ago …
    pub from_age_us: u64,
    /// … until so long ago.
    pub to_age_us: u64,
}

/// A role's answer: the events in the order in which it recorded them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleEvents {
    /// The role's name.
    pub role: String,
    /// The time of the answer, on the clock of the events.
    pub now_us: u64,
    /// How many of the events that were asked for are certain to be missing, or may be: those for
    /// which there was no more room.
    pub dropped: u64,
    /// The events.
    pub events: Vec<RecordedEvent>,
}

/// An event as a role recorded it. Times are those of the role's own clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// When, in microseconds on the role's clock.
    pub time_us: u64,
    /// What kind of thing happened.
    pub kind: EventKind,
    /// What a message asks or answers, or what happened.
    pub name: String,
    /// The message, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<RecordedMessage>,
    /// The traces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<TraceId>,
    /// The role's span in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// What a reader may want to know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Map<String, Value>>,
}

/// A message as one of its ends sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedMessage {
    /// Its id, which both ends know.
    pub id: String,
    /// The other end: a role's name, or `client`.
    pub peer: String,
}
