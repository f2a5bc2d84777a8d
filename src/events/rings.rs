//! The rings of one process, and what is found in them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::render;
use super::ring::Ring;
use super::slot::{Happening, Hit, Slot};
use crate::roles::Role;
use crate::runtime::Runtime;
use crate::wire::calls::Purpose;
use crate::wire::event::EventKind;
use crate::wire::recording::{
    AskedRequest, ChangesQuery, EventsQuery, RecordedEvent, RoleChanges, RoleEvents,
};
use crate::wire::trace::TraceId;

/// Changes of leader, sessions and restocks that are kept: some minutes of trouble. As many
/// messages about them are kept in a ring of their own, since fetching what was missed takes
/// hundreds of messages.
pub(super) const MOST_CHANGES: usize = 512;
/// Heartbeats that are kept: those of some ten seconds.
pub(super) const MOST_HEARTBEATS: usize = 1_024;
/// Cached reads that are kept.
pub(super) const MOST_HITS: usize = 1_024;
/// All that a process keeps.
pub(super) struct Recording {
    pub(super) role: Role,
    pub(super) runtime: Arc<dyn Runtime>,
    beginning: Instant,
    /// Tells this run of the process from others.
    run: u64,
    next_message: AtomicU64,
    /// An event gets its time under the lock, so that the order in the rings is that of the times.
    rings: Mutex<Rings>,
    hits: Mutex<Ring<Hit>>,
}

struct Rings {
    work: Ring<Slot>,
    /// What changed.
    changes: Ring<Slot>,
    /// Messages that changed something, or are to.
    change_messages: Ring<Slot>,
    heartbeats: Ring<Slot>,
    /// How many events were recorded.
    recorded: u64,
}

impl Recording {
    /// Rings for the process that runs `role`, with room for `most` events of work.
    pub(super) fn new(role: Role, most: usize, runtime: &Arc<dyn Runtime>) -> Self {
        let first_message = runtime.random();
        Self {
            role,
            beginning: runtime.now(),
            // 0 is no run.
            run: first_message.max(1),
            next_message: AtomicU64::new(first_message),
            rings: Mutex::new(Rings {
                work: Ring::new(most),
                changes: Ring::new(MOST_CHANGES),
                change_messages: Ring::new(MOST_CHANGES),
                heartbeats: Ring::new(MOST_HEARTBEATS),
                recorded: 0,
            }),
            hits: Mutex::new(Ring::new(MOST_HITS)),
            runtime: Arc::clone(runtime),
        }
    }

    /// Draws a message's id.
    pub(super) fn next_message(&self) -> u64 {
        self.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a hit, which is made of the one that leaves: 100,000 a second would be much to allocate
    /// and, as a rule on another thread, to free.
    pub(super) fn push_hit(&self, hit: impl FnOnce(Option<Hit>) -> Hit) {
        self.hits.lock().expect("nothing panics under this lock").push_with(hit);
    }

    pub(super) fn push(&self, purpose: Purpose, entry: Happening) {
        let mut rings = self.rings.lock().expect("nothing panics under this lock");
        rings.recorded += 1;
        let place = rings.recorded;
        let ring = match purpose {
            Purpose::Work => &mut rings.work,
            Purpose::Change if entry.message.is_some() => &mut rings.change_messages,
            Purpose::Change => &mut rings.changes,
            Purpose::Heartbeat => &mut rings.heartbeats,
            Purpose::Unrecorded => return,
        };
        ring.push(Slot { time: self.runtime.now(), place, entry });
    }

    pub(super) fn last_asked(
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

    /// Takes all that is in the rings out of them.
    pub(super) fn take(&self) -> Vec<RecordedEvent> {
        let mut rings = self.rings.lock().expect("nothing panics under this lock");
        let mut slots: Vec<(Purpose, Slot)> = Vec::new();
        slots.extend(rings.work.drain().map(|slot| (Purpose::Work, slot)));
        slots.extend(rings.changes.drain().map(|slot| (Purpose::Change, slot)));
        slots.extend(rings.change_messages.drain().map(|slot| (Purpose::Change, slot)));
        slots.extend(rings.heartbeats.drain().map(|slot| (Purpose::Heartbeat, slot)));
        drop(rings);
        slots.sort_by_key(|(_, slot)| slot.place);
        slots.into_iter().map(|(purpose, slot)| render::event(0, purpose, slot)).collect()
    }

    pub(super) fn asked_under(&self, id: &str) -> Option<AskedRequest> {
        let (hash, trace) = (hash_of(id), TraceId::parse(id));
        let is_meant = |request, of| request == Some(hash) || (trace.is_some() && of == trace);
        self.last_asked(1, is_meant).pop()
    }

    pub(super) fn events(&self, query: &EventsQuery) -> RoleEvents {
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
            (Purpose::Change, &rings.change_messages),
            (Purpose::Heartbeat, &rings.heartbeats),
        ];
        // What left a ring was older than its oldest entry.
        let lacks = |ring: &Ring<Slot>| match ring.oldest() {
            (Some(oldest), dropped) if oldest.time > from => dropped,
            _ => 0,
        };
        // Heartbeats are not missed.
        let dropped = lacks(&rings.work) + lacks(&rings.changes) + lacks(&rings.change_messages);
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
        slots.sort_by_key(|(_, slot)| (slot.time, slot.place));
        RoleEvents {
            role: self.role.to_string(),
            now_us: self.micros_until(now),
            dropped,
            asked,
            events: slots
                .into_iter()
                .map(|(purpose, slot)| render::event(self.micros_until(slot.time), purpose, slot))
                .collect(),
        }
    }

    /// The changes that a caller lacks.
    pub(super) fn changes(&self, query: &ChangesQuery) -> RoleChanges {
        let from = if query.run == self.run { query.from } else { 0 };
        let rings = self.rings.lock().expect("nothing panics under this lock");
        let (_, left) = rings.changes.oldest();
        let first = from.max(left);
        let known = usize::try_from(first - left).unwrap_or(usize::MAX);
        let slots: Vec<Slot> = rings.changes.iter().skip(known).cloned().collect();
        drop(rings);
        let rendered = slots
            .into_iter()
            .map(|slot| render::event(self.micros_until(slot.time), Purpose::Change, slot));
        RoleChanges {
            role: self.role.to_string(),
            run: self.run,
            first,
            dropped: left.saturating_sub(from),
            now_us: self.micros_until(self.runtime.now()),
            changes: rendered.collect(),
        }
    }

    /// The time since the process began to record.
    fn micros_until(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.beginning);
        u64::try_from(since.as_micros()).expect("no process runs for 500,000 years")
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the events of {}", self.role)
    }
}

/// The hash by which a request is found by its id, which is not kept itself (FNV-1a, 64 bits).
pub(super) fn hash_of(request_id: &str) -> u64 {
    hash_of_bytes(request_id.as_bytes())
}

pub(super) fn hash_of_bytes(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
