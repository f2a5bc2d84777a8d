//! The rings of one process, and what is found in them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::packed::{self, Packed, PackedRing};
use super::render;
use super::ring::Ring;
use super::slot::{Happening, Hit, Slot};
use crate::clock::micros;
use crate::roles::Role;
use crate::runtime::Runtime;
use crate::wire::calls::Purpose;
use crate::wire::event::EventKind;
use crate::wire::recording::{
    AskedRequest, ChangesQuery, EventsQuery, RecordedEvent, RoleChanges, RoleEvents,
};
use crate::wire::trace::TraceId;

/// Changes of leader, sessions and restocks that are kept: some minutes of trouble. The messages
/// about them are kept in a ring of their own, of the same size, since fetching what was missed
/// takes hundreds of messages.
pub(super) const MOST_CHANGES: usize = 512;
/// Heartbeats that are kept: those of some ten seconds.
pub(super) const MOST_HEARTBEATS: usize = 1_024;
/// Cached reads that are kept.
pub(super) const MOST_HITS: usize = 1_024;
/// The most bytes of a text that are kept: more than a toy's name has. What a client asks for may
/// have as many as a head or a body.
const LONGEST_TEXT: usize = 1_024;
/// The most bytes of a [`Slot`] before its entry: three numbers, of at most ten bytes each.
const LONGEST_HEAD: usize = 30;

thread_local! {
    /// Where this thread wrote its last entry.
    static WRITTEN: Cell<Vec<u8>> = Cell::default();
}

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
    work: PackedRing,
    /// What changed.
    changes: PackedRing,
    /// Messages that changed something, or are to.
    change_messages: PackedRing,
    heartbeats: PackedRing,
    /// How many events were recorded.
    recorded: u64,
}

impl Recording {
    /// Rings for the process that runs `role`, with room for at most `most` events of work.
    pub(super) fn new(role: Role, most: usize, runtime: &Arc<dyn Runtime>) -> Self {
        let first_message = runtime.random();
        Self {
            role,
            beginning: runtime.now(),
            // 0 is no run.
            run: first_message.max(1),
            next_message: AtomicU64::new(first_message),
            rings: Mutex::new(Rings {
                work: PackedRing::new(most),
                changes: PackedRing::new(MOST_CHANGES),
                change_messages: PackedRing::new(MOST_CHANGES),
                heartbeats: PackedRing::new(MOST_HEARTBEATS),
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

    pub(super) fn push(&self, purpose: Purpose, mut entry: Happening<'_>) {
        entry.text = entry.text.map(cut);
        // Before the lock, which other threads wait for.
        let entry_written = packed::written(&entry, WRITTEN.take());
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
        // A [`Slot`] is its time, its place and its entry, in this order.
        let mut head = [0; LONGEST_HEAD];
        let head =
            postcard::to_slice(&(self.since_beginning(self.runtime.now()), place), &mut head)
                .expect("it has room");
        ring.push(&[head, &entry_written]);
        drop(rings);
        WRITTEN.set(entry_written);
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
        let work = self.locked(|rings| rings.work.copy());
        let now = self.since_beginning(now);
        let mut answers = HashMap::new();
        let mut found = 0;
        for slot in work.newest_first::<Slot<'_>>() {
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
        all.sort_by_key(|asked| asked.age_us);
        all.truncate(most);
        all
    }

    /// Takes all that is in the rings out of them.
    pub(super) fn take(&self) -> Vec<RecordedEvent> {
        let all = self.locked(|rings| rings.each().map(|(purpose, ring)| (purpose, ring.take())));
        let slots = all
            .iter()
            .flat_map(|(purpose, ring)| ring.iter::<Slot<'_>>().map(|slot| (*purpose, slot)));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_by_key(|(_, slot)| slot.place);
        slots.iter().map(|(purpose, slot)| render::event(0, *purpose, slot)).collect()
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
        let now = self.since_beginning(self.runtime.now());
        let ago = |us: u64| now.saturating_sub(Duration::from_micros(us));
        let (from, to) = (ago(query.from_age_us), ago(query.to_age_us));
        let is_meant = |slot: &Slot<'_>| {
            let of = &slot.entry.traces;
            of.has_any(&traces) || (of.is_empty() && (from..=to).contains(&slot.time))
        };
        let each = self.locked(|rings| rings.each().map(|(purpose, ring)| (purpose, ring.copy())));
        // What left a ring was older than its oldest entry. Heartbeats are not missed.
        let lacks = |(purpose, ring): &(Purpose, Packed)| match ring.iter::<Slot<'_>>().next() {
            Some(oldest) if oldest.time > from && *purpose != Purpose::Heartbeat => ring.dropped,
            _ => 0,
        };
        let dropped = each.iter().map(lacks).sum();
        let meant = each
            .iter()
            .flat_map(|(purpose, ring)| ring.iter().filter(is_meant).map(|slot| (*purpose, slot)));
        let mut slots: Vec<(Purpose, Slot<'_>)> = meant.collect();
        let hits: Vec<Hit> = {
            let hits = self.hits.lock().expect("nothing panics under this lock");
            hits.iter().filter(|hit| traces.contains(&hit.trace)).cloned().collect()
        };
        for hit in &hits {
            let time = self.since_beginning(hit.began);
            slots.extend(hit.slots(time).map(|slot| (Purpose::Work, slot)));
        }
        slots.sort_by_key(|(_, slot)| (slot.time, slot.place));
        let rendered =
            slots.iter().map(|(purpose, slot)| render::event(micros(slot.time), *purpose, slot));
        RoleEvents {
            role: self.role.to_string(),
            now_us: micros(now),
            dropped,
            asked,
            events: rendered.collect(),
        }
    }

    /// The changes that a caller lacks.
    pub(super) fn changes(&self, query: &ChangesQuery) -> RoleChanges {
        let from = if query.run == self.run { query.from } else { 0 };
        let changes = self.locked(|rings| rings.changes.copy());
        let left = changes.dropped;
        let first = from.max(left);
        let known = usize::try_from(first - left).unwrap_or(usize::MAX);
        let rendered = changes
            .iter_from::<Slot<'_>>(known)
            .map(|slot| render::event(micros(slot.time), Purpose::Change, &slot));
        RoleChanges {
            role: self.role.to_string(),
            run: self.run,
            first,
            dropped: left.saturating_sub(from),
            now_us: micros(self.since_beginning(self.runtime.now())),
            changes: rendered.collect(),
        }
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Rings) -> T) -> T {
        work(&mut self.rings.lock().expect("nothing panics under this lock"))
    }

    /// The time since the process began to record.
    fn since_beginning(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.beginning)
    }
}

impl Rings {
    fn each(&mut self) -> [(Purpose, &mut PackedRing); 4] {
        [
            (Purpose::Work, &mut self.work),
            (Purpose::Change, &mut self.changes),
            (Purpose::Change, &mut self.change_messages),
            (Purpose::Heartbeat, &mut self.heartbeats),
        ]
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the events of {}", self.role)
    }
}

/// The beginning of a text, of at most [`LONGEST_TEXT`] bytes.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The hash by which a request is found by its id, which is not kept itself (FNV-1a, 64 bits).
pub(super) fn hash_of(request_id: &str) -> u64 {
    hash_of_bytes(request_id.as_bytes())
}

pub(super) fn hash_of_bytes(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
