//! The messages by which a front-end collects what roles have recorded: for requests, or what has
//! changed since it asked last.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::EventKind;
use super::trace::TraceId;

/// A front-end asks a role for what it has recorded (`POST /internal/events`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Events of these traces, whenever they were.
    pub traces: Vec<TraceId>,
    /// And of the newest client's request with this id: an `X-Request-Id`, or a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// And events of no trace, such as heartbeats and changes of leader, from so long ago …
    pub from_age_us: u64,
    /// … until so long ago.
    pub to_age_us: u64,
}

/// A role's answer: the events in the order in which it recorded them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleEvents {
    /// The role's name.
    pub role: String,
    /// The time of the answer, on the clock of the events.
    pub now_us: u64,
    /// How many of the events that were asked for are certain to be missing, or may be: those for
    /// which there was no more room.
    pub dropped: u64,
    /// The request that was asked for by its id, if it came to this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRequest>,
    /// The events.
    pub events: Vec<RecordedEvent>,
}

/// A front-end whose page is watched asks a role what has changed (`POST /internal/changes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesQuery {
    /// The [run](RoleChanges::run) that the caller knows, or 0.
    pub run: u64,
    /// The number of the first change of that run that it lacks.
    pub from: u64,
}

/// A role's answer: what has changed about it, in the order in which it recorded that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleChanges {
    /// The role's name.
    pub role: String,
    /// Which run of the role's process this is: drawn at its start. The numbers below are of this
    /// run, so that a caller that knows another one is told all.
    pub run: u64,
    /// The number of the first change that is told; numbers begin with 0.
    pub first: u64,
    /// How many changes that the caller lacks are kept no more.
    pub dropped: u64,
    /// The time of the answer, on the clock of the changes.
    pub now_us: u64,
    /// The changes, none of which is about a message.
    pub changes: Vec<RecordedEvent>,
}

/// A client's request, as the front-end that it came to recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRequest {
    /// Its trace.
    pub trace: TraceId,
    /// The method and the path's first part, such as `POST /orders`.
    pub name: String,
    /// What it is about, in words.
    pub text: String,
    /// How long ago it came.
    pub age_us: u64,
    /// How long it took, if it was answered and took any time.
    pub took_us: Option<u64>,
    /// The status of the answer, if it was answered.
    pub status: Option<u16>,
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
