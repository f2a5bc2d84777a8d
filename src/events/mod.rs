//! What a process has done lately: each role records its events in memory, and hands them out when
//! a front-end asks.
//!
//! # The idea
//!
//! A [`EventRecorder`] has a bounded ring for each kind of traffic, so that one does not push out
//! another: a thousand cached reads leave the last purchase where it was.
//!
//! ```text
//! peer, endpoints ─► work        calls for clients' requests, and what a role did for them
//! tasks           ─► changes     who leads, sessions, restocks: events of no request; and, in a
//!                                ring of their own, the messages about them
//! timers          ─► heartbeats  traffic that goes on whatever clients do
//! cached reads    ─► hits        one slot each, made three events when it is read
//! ```
//!
//! To record an event reads the clock, takes a lock and copies some hundred bytes (`packed.rs`):
//! nothing is rendered before it is asked for. Only its sender records a message's body; the other
//! end knows the message's id. No clock travels with a message either: [`collect`] derives the
//! vector clocks of all roles from who received what.

pub mod collect;
pub mod otlp;
mod packed;
mod render;
mod ring;
mod rings;
mod slot;
pub(crate) mod spans;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use self::rings::{Recording, hash_of, hash_of_bytes};
use self::slot::Hit;
pub use self::slot::{Exchange, Happening, Traces};
use crate::roles::Role;
use crate::runtime::Runtime;
use crate::wire::calls::{Call, Caller, MessageTag, Purpose};
use crate::wire::event::EventKind;
use crate::wire::recording::{
    AskedRequest, ChangesQuery, EventsQuery, RecordedEvent, RoleChanges, RoleEvents,
};
use crate::wire::trace::{RequestOrigin, SpanId, TraceContext};

/// The largest body that is kept. Rows and batches can be larger; of those the size is kept.
const LARGEST_BODY: usize = 2_048;

/// Records the events of one process.
#[derive(Debug)]
pub struct EventRecorder(Option<Recording>);

impl EventRecorder {
    /// A recorder for the process that runs `role`, with room for at most `most` events of work;
    /// with room for none it records nothing.
    #[must_use]
    pub fn new(role: Role, most: usize, runtime: &Arc<dyn Runtime>) -> Self {
        if most == 0 {
            return Self::off();
        }
        let recorder = Self(Some(Recording::new(role, most, runtime)));
        recorder.change(EventKind::Start, "start", || format!("{role} starts"));
        recorder
    }

    /// A recorder that records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Returns whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records something that the process did for requests of these traces.
    pub fn local(&self, name: &'static str, traces: &Traces, text: impl FnOnce() -> String) {
        self.did(name, traces, None, text);
    }

    /// Records something that took time, when it is done.
    pub fn did(
        &self,
        name: &'static str,
        traces: &Traces,
        began: Option<Instant>,
        text: impl FnOnce() -> String,
    ) {
        let Some(recording) = &self.0 else { return };
        let took = began.map(|began| recording.runtime.now().saturating_duration_since(began));
        let (traces, text) = (traces.clone(), text());
        let text = Some(text.as_str());
        let entry = Happening { traces, took, text, ..Happening::new(EventKind::Local, name) };
        recording.push(Purpose::Work, entry);
    }

    /// Records something that belongs to no request.
    pub fn change(&self, kind: EventKind, name: &'static str, text: impl FnOnce() -> String) {
        let Some(recording) = &self.0 else { return };
        let text = text();
        let text = Some(text.as_str());
        recording.push(Purpose::Change, Happening { text, ..Happening::new(kind, name) });
    }

    /// Records that a call is sent, with its `body` if that is given; returns what identifies it,
    /// for the other end and for the answer.
    pub fn sends<C: Call>(
        &self,
        call: &C,
        to: Role,
        origin: &RequestOrigin,
        body: Option<&[u8]>,
    ) -> Option<Exchange> {
        let purpose = call.purpose();
        let recording = self.0.as_ref().filter(|_| purpose != Purpose::Unrecorded)?;
        let id = recording.next_message();
        let exchange = Exchange::of(call, id, Some(to), origin);
        let body = body.map(kept);
        let body = body.as_deref();
        recording.push(purpose, Happening { body, ..exchange.entry(EventKind::Send) });
        Some(exchange)
    }

    /// Returns what a call says of itself to the process that receives it.
    #[must_use]
    pub fn tag(&self, exchange: &Exchange) -> Option<MessageTag> {
        let recording = self.0.as_ref()?;
        Some(MessageTag { id: exchange.id, from: recording.role.to_string() })
    }

    /// Records that the answer to a call came.
    pub fn answered(&self, exchange: &Exchange, status: Option<u16>, body: Option<&[u8]>) {
        let Some(recording) = &self.0 else { return };
        let body = body.map(kept);
        let body = body.as_deref();
        let entry = Happening { status, body, ..exchange.answer(EventKind::Recv) };
        recording.push(exchange.purpose, entry);
    }

    /// Records that no answer came, and why.
    pub fn unanswered(&self, exchange: &Exchange, why: impl FnOnce() -> String) {
        let Some(recording) = &self.0 else { return };
        let why = why();
        let text = Some(why.as_str());
        let entry = Happening { text, ..exchange.answer(EventKind::Timer) };
        recording.push(exchange.purpose, entry);
    }

    /// Records that a call came.
    pub fn receives<C: Call>(&self, call: &C, caller: &Caller) -> Option<Exchange> {
        let tag = caller.message.as_ref()?;
        let purpose = call.purpose();
        let recording = self.0.as_ref().filter(|_| purpose != Purpose::Unrecorded)?;
        let exchange = Exchange::of(call, tag.id, tag.from.parse().ok(), &caller.origin);
        recording.push(purpose, exchange.entry(EventKind::Recv));
        Some(exchange)
    }

    /// Records that the answer to a call is sent; `refusal` says why the call was refused.
    pub fn answers(&self, exchange: &Exchange, refusal: Option<&str>) {
        let Some(recording) = &self.0 else { return };
        let entry = Happening { text: refusal, ..exchange.answer(EventKind::Send) };
        recording.push(exchange.purpose, entry);
    }

    /// Records that a client's request came, which has this `origin`, is part of the client's span
    /// `caller` and is about `text`.
    pub fn asked(
        &self,
        name: &'static str,
        origin: &RequestOrigin,
        caller: Option<SpanId>,
        text: impl FnOnce() -> String,
    ) -> Option<Exchange> {
        let recording = self.0.as_ref()?;
        let id = recording.next_message();
        let mut exchange = Exchange::of_client(name, id, origin);
        exchange.request = origin.request_id.as_deref().map(hash_of);
        let text = text();
        let text = Some(text.as_str());
        let entry = Happening { caller, text, ..exchange.entry(EventKind::Recv) };
        recording.push(Purpose::Work, entry);
        Some(exchange)
    }

    /// Records that a client's request is answered with this status.
    pub fn replied(&self, exchange: &Exchange, status: u16) {
        let Some(recording) = &self.0 else { return };
        let entry = Happening { status: Some(status), ..exchange.answer(EventKind::Send) };
        recording.push(Purpose::Work, entry);
    }

    /// Records that a toy was read from the cache: in one slot, since there may be 100,000 a
    /// second. `sent` is the trace that the client sent, and `request_id` the id of the reply.
    ///
    /// # Panics
    ///
    /// If recording has panicked.
    pub fn hit(&self, toy: &str, sent: Option<TraceContext>, request_id: &[u8], began: Instant) {
        let Some(recording) = &self.0 else { return };
        let id = recording.next_message();
        let request = hash_of_bytes(request_id);
        recording.push_hit(|leaves| Hit::new(leaves, toy, sent, request, id, began));
    }

    /// Returns the last requests of clients, newest first: at most `most`.
    #[must_use]
    pub fn last_asked(&self, most: usize) -> Vec<AskedRequest> {
        self.0.as_ref().map_or_else(Vec::new, |recording| recording.last_asked(most, |_, _| true))
    }

    /// Returns the newest request with this `X-Request-Id`, or of this trace.
    #[must_use]
    pub fn asked_under(&self, id: &str) -> Option<AskedRequest> {
        self.0.as_ref()?.asked_under(id)
    }

    /// Takes all events out of the rings, without their times: a simulator does so after each step,
    /// and knows the time.
    #[must_use]
    pub fn take(&self) -> Vec<RecordedEvent> {
        self.0.as_ref().map_or_else(Vec::new, Recording::take)
    }

    /// Returns what was recorded for some traces, and of no trace at some time.
    ///
    /// # Panics
    ///
    /// If recording has panicked.
    #[must_use]
    pub fn events(&self, query: &EventsQuery) -> RoleEvents {
        match &self.0 {
            Some(recording) => recording.events(query),
            None => RoleEvents::default(),
        }
    }

    /// Returns what has changed since the caller asked last.
    ///
    /// # Panics
    ///
    /// If recording has panicked.
    #[must_use]
    pub fn changes(&self, query: &ChangesQuery) -> RoleChanges {
        self.0.as_ref().map_or_else(RoleChanges::default, |recording| recording.changes(query))
    }
}

/// What is kept of a body: its size if it is too long, and nothing if it is no text, as no JSON is.
fn kept(body: &[u8]) -> Cow<'_, str> {
    if body.len() > LARGEST_BODY {
        return format!("\"{} bytes\"", body.len()).into();
    }
    std::str::from_utf8(body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
