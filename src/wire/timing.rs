//! Where the time of a request went: the header `Server-Timing`, which browsers show.
//!
//! Each role adds to its answer what it measured itself and what the roles that it asked told it:
//!
//! ```text
//! catalog ─ fsync;dur=1.2 ─► leader ─ fsync;dur=2.3, catalog;dur=1.6, followers;dur=0.4 ─►
//! front-end ─ leader;dur=4.4, catalog;dur=1.6, fsync;dur=2.3, followers;dur=0.4 ─► client
//! ```
//!
//! The parts overlap: the leader's time has the catalog's in it, and that has its sync.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedPart {
    /// Looking into the cache, which takes too little time to be measured for each query.
    Cache,
    /// The leader's answer, from its front-end's sight.
    Leader,
    /// The catalog's answer, from the sight of the role that asked it.
    Catalog,
    /// Commits of the catalog and the leader, with the syncs of their disks.
    Fsync,
    /// The wait for followers once the leader's own disk has the order.
    Followers,
}

/// How long the parts of a request took, in microseconds, as far as they were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTiming {
    parts: [Option<u32>; TimedPart::ALL.len()],
}

/// Where a handler notes what it measured, and a caller what it was told. Clones are the same note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimingNote(Rc<Cell<ServerTiming>>);

impl TimingNote {
    /// Adds to a part.
    pub fn add(&self, phase: TimedPart, took: Duration) {
        let mut timing = self.0.get();
        timing.add(phase, took);
        self.0.set(timing);
    }

    /// Adds to all parts.
    pub fn add_all(&self, other: ServerTiming) {
        let mut timing = self.0.get();
        timing.add_all(other);
        self.0.set(timing);
    }

    /// Returns what was noted.
    #[must_use]
    pub fn get(&self) -> ServerTiming {
        self.0.get()
    }
}

impl TimedPart {
    /// All parts, in the order in which they are told.
    pub const ALL: [Self; 5] =
        [Self::Cache, Self::Leader, Self::Catalog, Self::Fsync, Self::Followers];

    /// The name in the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Leader => "leader",
            Self::Catalog => "catalog",
            Self::Fsync => "fsync",
            Self::Followers => "followers",
        }
    }
}

impl ServerTiming {
    /// Adds to a part. (What takes longer than an hour counts as an hour.)
    pub fn add(&mut self, phase: TimedPart, took: Duration) {
        const HOUR: u32 = 3_600_000_000;
        let took = u32::try_from(took.as_micros()).unwrap_or(HOUR).min(HOUR);
        let part = &mut self.parts[phase as usize];
        *part = Some(part.unwrap_or_default().saturating_add(took).min(HOUR));
    }

    /// Adds what another role told.
    pub fn add_all(&mut self, other: Self) {
        for (phase, took) in other.parts() {
            self.add(phase, took);
        }
    }

    /// Returns a part, if it was measured.
    #[must_use]
    pub fn get(self, phase: TimedPart) -> Option<Duration> {
        self.parts[phase as usize].map(|took| Duration::from_micros(took.into()))
    }

    /// The parts that were measured.
    pub fn parts(self) -> impl Iterator<Item = (TimedPart, Duration)> {
        TimedPart::ALL.into_iter().filter_map(move |phase| Some((phase, self.get(phase)?)))
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.parts == Self::default().parts
    }

    /// Reads a header; what it has besides durations of known parts is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut timing = Self::default();
        for part in text.split(',') {
            let mut words = part.split(';').map(str::trim);
            let name = words.next().unwrap_or_default();
            let Some(phase) = TimedPart::ALL.into_iter().find(|phase| phase.name() == name) else {
                continue;
            };
            let milliseconds =
                words.find_map(|word| word.strip_prefix("dur=")?.parse::<f64>().ok());
            let took = milliseconds.and_then(|it| Duration::try_from_secs_f64(it / 1_000.0).ok());
            timing.add(phase, took.unwrap_or_default());
        }
        timing
    }
}

/// Between roles, a list of parts and microseconds.
impl Serialize for ServerTiming {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = (0_u8..).zip(self.parts);
        let told = parts.filter_map(|(part, took)| Some((part, took?)));
        serializer.collect_seq(told.collect::<Vec<_>>())
    }
}

/// Parts that are not known are passed over.
impl<'de> Deserialize<'de> for ServerTiming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut timing = Self::default();
        for (part, took) in Vec::<(u8, u32)>::deserialize(deserializer)? {
            if let Some(part) = TimedPart::ALL.get(usize::from(part)) {
                timing.add(*part, Duration::from_micros(took.into()));
            }
        }
        Ok(timing)
    }
}

/// Writes the header: `leader;dur=4.412, fsync;dur=2.3`, in milliseconds.
impl fmt::Display for ServerTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = TimedPart::ALL.into_iter().zip(self.parts);
        let told = parts.filter_map(|(phase, took)| Some((phase, took?)));
        for (index, (phase, took)) in told.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{};dur={}.{:03}", phase.name(), took / 1_000, took % 1_000)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_is_read_as_it_is_written() {
        let mut timing = ServerTiming::default();
        assert!(timing.is_empty());
        timing.add(TimedPart::Fsync, Duration::from_micros(2_300));
        timing.add(TimedPart::Leader, Duration::from_micros(4_412));
        timing.add(TimedPart::Fsync, Duration::from_micros(7));
        assert_eq!(timing.to_string(), "leader;dur=4.412, fsync;dur=2.307");
        assert_eq!(ServerTiming::parse(&timing.to_string()), timing);
        assert_eq!(timing.get(TimedPart::Catalog), None);
        let json = serde_json::to_string(&timing).unwrap();
        assert_eq!(json, "[[1,4412],[3,2307]]");
        assert_eq!(serde_json::from_str::<ServerTiming>(&json).unwrap(), timing);
        let newer = "[[1,4412],[200,1],[3,2307]]";
        assert_eq!(serde_json::from_str::<ServerTiming>(newer).unwrap(), timing);
    }

    #[test]
    fn parts_that_are_not_known_and_words_that_make_no_sense_are_passed_over() {
        let text = "db;dur=3, leader;desc=\"x\";dur=1.5,cache, fsync;dur=-1, ;, catalog;dur=1e99";
        let timing = ServerTiming::parse(text);
        assert_eq!(timing.get(TimedPart::Leader), Some(Duration::from_micros(1_500)));
        assert_eq!(timing.get(TimedPart::Cache), Some(Duration::ZERO));
        assert_eq!(timing.get(TimedPart::Fsync), Some(Duration::ZERO));
        assert_eq!(timing.get(TimedPart::Catalog), Some(Duration::ZERO));
        assert_eq!(timing.parts().count(), 4);
    }

    #[test]
    fn a_part_never_overflows() {
        let mut timing = ServerTiming::default();
        for _ in 0..3 {
            timing.add(TimedPart::Leader, Duration::MAX);
        }
        assert_eq!(timing.get(TimedPart::Leader), Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn all_has_every_part_at_its_place() {
        for (index, phase) in TimedPart::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index);
        }
    }
}
