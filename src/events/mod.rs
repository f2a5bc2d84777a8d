//! What a process has done lately: each role records its events in memory, and hands them out when
//! a front-end asks.
//!
//! # The idea
//!
//! A [`Recorder`] has a bounded ring for each kind of traffic, so that one does not push out
//! another: a thousand cached reads leave the last purchase where it was.
//!
//! ```text
//! peer, endpoints ─► work        calls for clients' requests, and what a role did for them
//! tasks           ─► changes     who leads, sessions, restocks: events of no request
//! timers          ─► heartbeats  traffic that goes on whatever clients do
//! cached reads    ─► hits        one slot each, made three events when it is read
//! ```
//!
//! Recording costs a clock, a lock and a copy into a slot: nothing is rendered before it is asked
//! for. A message's body is the buffer that was sent, which is kept instead of freed. Only its
//! sender records it; the other end knows the message's id. No clock travels with a message either:
//! [`collect`] derives the vector clocks of all roles from who received what.

pub mod collect;
mod render;
mod ring;
mod slot;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;

use self::ring::Ring;
pub use self::slot::{Entry, Exchange, Traces};
use self::slot::{Hit, Slot};
use crate::roles::Role;
use crate::runtime::Runtime;
use crate::wire::calls::{Call, Caller, MessageTag, Purpose};
use crate::wire::event::EventKind;
use crate::wire::recording::{AskedRequest, EventsQuery, RoleEvents};
use crate::wire::trace::{RequestOrigin, TraceId};

/// Changes of leader, sessions and restocks that are kept: some minutes of trouble.
const MOST_CHANGES: usize = 512;
/// Heartbeats that are kept: those of some ten seconds.
const MOST_HEARTBEATS: usize = 1_024;
/// Cached reads that are kept.
const MOST_HITS: usize = 1_024;
/// The largest body that is kept. Rows and batches can be larger; of those the size is kept.
const LARGEST_BODY: usize = 2_048;

/// Records the events of one process.
#[derive(Debug)]
pub struct Recorder(Option<Recording>);

struct Recording {
    role: Role,
    runtime: Arc<dyn Runtime>,
    beginning: Instant,
    next_message: AtomicU64,
    /// An event gets its time under the lock, so that the order in the rings is that of the times.
    rings: Mutex<Rings>,
    hits: Mutex<Ring<Hit>>,
}

struct Rings {
    work: Ring<Slot>,
    changes: Ring<Slot>,
    heartbeats: Ring<Slot>,
}

impl Recorder {
    /// A recorder for the process that runs `role`, with room for `most` events of work; with room
    /// for none it records nothing.
    #[must_use]
    pub fn new(role: Role, most: usize, runtime: &Arc<dyn Runtime>) -> Self {
        if most == 0 {
            return Self::off();
        }
        let recording = Recording {
            role,
            beginning: runtime.now(),
            next_message: AtomicU64::new(runtime.random()),
            rings: Mutex::new(Rings {
                work: Ring::new(most),
                changes: Ring::new(MOST_CHANGES),
                heartbeats: Ring::new(MOST_HEARTBEATS),
            }),
            hits: Mutex::new(Ring::new(MOST_HITS)),
            runtime: Arc::clone(runtime),
        };
        let recorder = Self(Some(recording));
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
        let traces = traces.clone();
        let text = Some(text().into());
        let entry = Entry { traces, took, text, ..Entry::new(EventKind::Local, name) };
        recording.push(Purpose::Work, entry);
    }

    /// Records something that belongs to no request.
    pub fn change(&self, kind: EventKind, name: &'static str, text: impl FnOnce() -> String) {
        let Some(recording) = &self.0 else { return };
        let entry = Entry { text: Some(text().into()), ..Entry::new(kind, name) };
        recording.push(Purpose::Change, entry);
    }

    /// Records that a call is sent; returns what identifies it, for the other end and for the
    /// answer.
    pub fn sends<C: Call>(
        &self,
        call: &C,
        to: Role,
        origin: &RequestOrigin,
        body: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Exchange> {
        let purpose = call.purpose();
        let recording = self.0.as_ref().filter(|_| purpose != Purpose::Unrecorded)?;
        let id = recording.next_message.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange::of(call, id, Some(to), origin);
        let body = body().map(|body| kept(body.len()).unwrap_or(body));
        recording.push(purpose, Entry { body, ..exchange.entry(EventKind::Send) });
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
        // A copy: the buffer that an answer was read into may be much larger.
        let body =
            body.map(|body| kept(body.len()).unwrap_or_else(|| Bytes::copy_from_slice(body)));
        let entry = Entry { status, body, ..exchange.answer(EventKind::Recv) };
        recording.push(exchange.purpose, entry);
    }

    /// Records that no answer came, and why.
    pub fn unanswered(&self, exchange: &Exchange, why: impl FnOnce() -> String) {
        let Some(recording) = &self.0 else { return };
        let entry = Entry { text: Some(why().into()), ..exchange.answer(EventKind::Timer) };
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
    pub fn answers(&self, exchange: &Exchange, refusal: Option<String>) {
        let Some(recording) = &self.0 else { return };
        let text = refusal.map(Into::into);
        recording.push(exchange.purpose, Entry { text, ..exchange.answer(EventKind::Send) });
    }

    /// Records that a client's request came, which has this `origin` and is about `text`.
    pub fn asked(
        &self,
        name: &'static str,
        origin: &RequestOrigin,
        text: impl FnOnce() -> String,
    ) -> Option<Exchange> {
        let recording = self.0.as_ref()?;
        let id = recording.next_message.fetch_add(1, Ordering::Relaxed);
        let mut exchange = Exchange::of_client(name, id, origin);
        exchange.request = origin.request_id.as_deref().map(hash_of);
        let text = Some(text().into());
        recording.push(Purpose::Work, Entry { text, ..exchange.entry(EventKind::Recv) });
        Some(exchange)
    }

    /// Records that a client's request is answered with this status.
    pub fn replied(&self, exchange: &Exchange, status: u16) {
        let Some(recording) = &self.0 else { return };
        let entry = Entry { status: Some(status), ..exchange.answer(EventKind::Send) };
        recording.push(Purpose::Work, entry);
    }

    /// Records that a toy was read from the cache: in one slot, since there may be 100,000 a
    /// second. `origin` is what the client sent, and `request_id` the id of the reply.
    ///
    /// # Panics
    ///
    /// If recording has panicked.
    pub fn hit(&self, toy: &str, origin: Option<TraceId>, request_id: &[u8], began: Instant) {
        let Some(recording) = &self.0 else { return };
        let id = recording.next_message.fetch_add(1, Ordering::Relaxed);
        let hit = Hit::new(toy, origin, hash_of_bytes(request_id), id, began);
        recording.hits.lock().expect("nothing panics under this lock").push(hit);
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
}

impl Recording {
    fn push(&self, purpose: Purpose, entry: Entry) {
        let mut rings = self.rings.lock().expect("nothing panics under this lock");
        let ring = match purpose {
            Purpose::Work => &mut rings.work,
            Purpose::Change => &mut rings.changes,
            Purpose::Heartbeat => &mut rings.heartbeats,
            Purpose::Unrecorded => return,
        };
        ring.push(Slot { time: self.runtime.now(), entry });
    }

    fn last_asked(
        &self,
        most: usize,
        is_meant: impl Fn(Option<u64>, Option<TraceId>) -> bool,
    ) -> Vec<AskedRequest> {
        let now = self.runtime.now();
        let mut all: Vec<AskedRequest> = {
            let hits = self.hits.lock().expect("nothing panics under this lock");
            let meant = |hit: &&Hit| is_meant(Some(hit.request), Some(hit.trace));
            hits.iter().rev().filter(meant).take(most).map(|hit| hit.asked(now)).collect()
        };
        let rings = self.rings.lock().expect("nothing panics under this lock");
        let mut answers = HashMap::new();
        let mut found = 0;
        for slot in rings.work.iter().rev() {
            let Some(id) = slot.entry.client_message() else { continue };
            if slot.entry.kind == EventKind::Send {
                answers.insert(id, (slot.time, slot.entry.status));
            } else if is_meant(slot.entry.request, slot.entry.traces.ids().first().copied()) {
                all.extend(slot.asked(now, answers.get(&id)));
                found += 1;
                if found == most {
                    break;
                }
            }
        }
        drop(rings);
        all.sort_by_key(|asked| asked.age_us);
        all.truncate(most);
        all
    }

    fn asked_under(&self, id: &str) -> Option<AskedRequest> {
        let (hash, trace) = (hash_of(id), TraceId::parse(id));
        let is_meant = |request, of| request == Some(hash) || (trace.is_some() && of == trace);
        self.last_asked(1, is_meant).pop()
    }

    fn events(&self, query: &EventsQuery) -> RoleEvents {
        let asked = query.request.as_deref().and_then(|id| self.asked_under(id));
        let found = asked.iter().map(|asked| asked.trace);
        let traces: Vec<TraceId> = query.traces.iter().copied().chain(found).collect();
        let now = self.runtime.now();
        let ago = |us: u64| now.checked_sub(Duration::from_micros(us)).unwrap_or(self.beginning);
        let (from, to) = (ago(query.from_age_us), ago(query.to_age_us));
        let is_meant = |slot: &&Slot| {
            let of = &slot.entry.traces;
            of.has_any(&traces) || (of.is_empty() && (from..=to).contains(&slot.time))
        };
        let rings = self.rings.lock().expect("nothing panics under this lock");
        let each = [
            (Purpose::Work, &rings.work),
            (Purpose::Change, &rings.changes),
            (Purpose::Heartbeat, &rings.heartbeats),
        ];
        // What left a ring was older than its oldest entry.
        let lacks = |ring: &Ring<Slot>| match ring.oldest() {
            (Some(oldest), dropped) if oldest.time > from => dropped,
            _ => 0,
        };
        let dropped = each.iter().map(|(_, ring)| lacks(ring)).sum();
        let meant = each.iter().flat_map(|(purpose, ring)| {
            ring.iter().filter(is_meant).map(|slot| (*purpose, slot.clone()))
        });
        let mut slots: Vec<(Purpose, Slot)> = meant.collect();
        drop(rings);
        let hits = self.hits.lock().expect("nothing panics under this lock");
        for hit in hits.iter().filter(|hit| traces.contains(&hit.trace)) {
            slots.extend(hit.slots().map(|slot| (Purpose::Work, slot)));
        }
        drop(hits);
        slots.sort_by_key(|(_, slot)| slot.time);
        let since = |time: Instant| {
            let since = time.saturating_duration_since(self.beginning);
            u64::try_from(since.as_micros()).expect("no process runs for 500,000 years")
        };
        RoleEvents {
            role: self.role.to_string(),
            now_us: since(now),
            dropped,
            asked,
            events: slots
                .into_iter()
                .map(|(purpose, slot)| render::event(since(slot.time), purpose, slot))
                .collect(),
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the events of {}", self.role)
    }
}

/// What is kept in the place of a body of this length, if it is too long to be kept.
fn kept(length: usize) -> Option<Bytes> {
    (length > LARGEST_BODY).then(|| format!("\"{length} bytes\"").into())
}

/// The hash by which a request is found by its id, which is not kept itself (FNV-1a, 64 bits).
fn hash_of(request_id: &str) -> u64 {
    hash_of_bytes(request_id.as_bytes())
}

fn hash_of_bytes(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;
