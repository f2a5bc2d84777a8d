//! The simulator as a part of the executable, for `toystore trace --simulate`: the same files as in
//! the test program, without its tests.

#![allow(dead_code, reason = "some of it is there for the test program")]
#![expect(
    clippy::panic,
    reason = "a message that does not belong where it arrives is a bug, and ends the run"
)]

mod client;
mod cluster;
mod conversation;
mod databases;
mod disk;
mod events;
mod faults;
mod judge;
mod machine;
mod message;
mod network;
mod observer;
mod paths;
mod runs;
mod shared;
mod transcript;
mod world;

use toystore::wire::event::EventLog;

/// Runs the simulator with this seed, and returns what happened.
pub(crate) fn events_of(seed: u64) -> EventLog {
    runs::recorded(seed, false).0
}
