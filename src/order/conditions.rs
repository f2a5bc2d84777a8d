//! What a replica says of what it meets: events once each, and conditions that last once when they
//! begin and once when they end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::effects::Event;
use super::service::Service;
use crate::repeats::Repeats;
use crate::wire::event::EventKind;

/// What may last, and is said once.
#[derive(Default)]
pub(super) struct Conditions {
    /// The database refuses writes.
    pub(super) refused_writes: Repeats,
    /// This replica is nominated and cannot lead.
    pub(super) unable_to_lead: Repeats,
    /// The catalog gives no answer to batches.
    pub(super) batches_in_doubt: Repeats,
    /// The catalog rejects batches.
    pub(super) rejected_batches: Repeats,
    /// Other replicas hold other orders.
    pub(super) foreign_logs: Repeats,
    /// A log that is not the journal's cannot be set aside.
    pub(super) not_set_aside: Repeats,
    /// A follower, or this replica itself, has a log that contradicts the journal.
    contradictions: Repeats,
    /// How many orders this replica had when it began to ask what it missed.
    pub(super) length_at_start: AtomicU64,
}

impl Conditions {
    /// The conditions of a replica whose log has so many orders at its start.
    pub(super) fn of_a_log(length: u64) -> Self {
        Self { length_at_start: AtomicU64::new(length), ..Self::default() }
    }
}

impl Service {
    /// Logs an event, but one that follows from a condition that lasts only once.
    pub(super) fn say(&self, event: &Event) {
        let recorder = self.identity.recorder();
        if let Event::FollowerLive(_) = event {
            // No contradiction begins or ends with it.
            recorder.change(EventKind::Local, name(event), || event.to_string());
            log::debug!("{event}");
            return;
        }
        let (contradictions, now) = (&self.conditions.contradictions, self.runtime.now());
        let is_said = match event {
            Event::FollowerDiverged(_) | Event::Diverged | Event::Behind(_) => {
                contradictions.happened(&event.to_string(), now)
            }
            // A leadership begins anew.
            Event::Leads(_) | Event::Learned(_) => {
                let _ended_with_it = contradictions.over(now);
                true
            }
            Event::Acquired(_)
            | Event::SteppedDown(..)
            | Event::FollowerLive(_)
            | Event::FollowerLost(_)
            | Event::FollowerSlow(_) => true,
        };
        recorder.change(EventKind::Local, name(event), || event.to_string());
        if is_said {
            log::log!(level(event), "{event}");
        }
    }

    /// Says that this replica has what it missed while it was away, `length` orders in all.
    pub(super) fn say_caught_up(&self, length: u64) {
        let start = self.conditions.length_at_start.load(Ordering::Relaxed);
        if length == start {
            log::info!("replica {} missed no orders; it has {length}", self.id);
        } else {
            log::info!("replica {} caught up from {start} to {length} orders", self.id);
        }
        self.identity.recorder().change(EventKind::Local, "caught_up", || {
            match length.saturating_sub(start) {
                0 => "missed no orders".to_owned(),
                1 => format!("caught up 1 order, number {start}"),
                missed => format!("caught up {missed} orders, {start} to {}", length - 1),
            }
        });
    }
}

/// The event's name among those that are recorded.
fn name(event: &Event) -> &'static str {
    match event {
        Event::Learned(_) | Event::Acquired(_) | Event::Leads(_) => "leader.known",
        Event::SteppedDown(..) => "leader.stepped_down",
        Event::FollowerLost(_) | Event::FollowerSlow(_) | Event::FollowerDiverged(_) => {
            "follower.dropped"
        }
        Event::FollowerLive(_) => "follower.live",
        Event::Behind(_) | Event::Diverged => "log.behind",
    }
}

fn level(event: &Event) -> log::Level {
    match event {
        Event::Learned(_) | Event::Acquired(_) | Event::Leads(_) => log::Level::Info,
        Event::FollowerLive(_) => log::Level::Debug,
        Event::SteppedDown(..)
        | Event::FollowerLost(_)
        | Event::FollowerSlow(_)
        | Event::Behind(_) => log::Level::Warn,
        Event::FollowerDiverged(_) | Event::Diverged => log::Level::Error,
    }
}
