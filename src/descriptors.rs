//! How a process shares out the files that it may have open, each connection being one.
//!
//! A server that accepts as many connections as it may have files has none left for its own calls:
//! its clients are connected, and none is served. So some files are set aside for what a role holds
//! anyway, and of the rest clients get one half and the role's own calls the other. Further clients
//! wait to be accepted, and further calls wait for a call to end.
//!
//! ```text
//! ulimit -n 1024, 2 workers, calls to 5 roles
//! 104  databases, log, listener, pid file; poll and wake-up of each thread
//! 460  accepted: 230 connections at each worker thread
//! 460  calls:    30 to each role from each thread
//! ```

use rustix::process::{Resource, getrlimit};

use crate::roles::Role;

/// What a role opens besides connections: its listener, log and pid file, two connections to a
/// database with three files each, the file for its room, the signals; and as much again in
/// reserve.
const OWN_FILES: u64 = 64;
/// What each thread that serves or accepts opens: its poll, wake-ups and signals.
const FILES_OF_A_THREAD: u64 = 8;
/// Threads besides the workers: the main one, which runs the tasks, and the one that accepts. (One
/// more in reserve. Of a role whose main thread serves, more are.)
const OTHER_THREADS: u64 = 3;
/// The files that a worker thread is worth: with fewer, there are fewer workers.
const FILES_OF_A_WORKER: u64 = 64;
/// Connections of one worker thread at most, however many files there may be.
const MOST_CONNECTIONS: u64 = 4_096;
/// Calls in flight at once to one peer from one thread at most.
const MOST_CALLS: u64 = 512;

/// The threads that serve a role's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One for each core.
    #[default]
    ForEachCore,
    /// The main thread, which runs the role's tasks.
    Main,
}

/// The shares of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Worker threads.
    pub workers: usize,
    /// Connections that each worker thread accepts at once.
    pub connections: usize,
    /// Calls that all threads together may have in flight.
    calls: u64,
}

impl Threads {
    /// The threads of `role`.
    #[must_use]
    pub fn of(role: Role) -> Self {
        match role {
            Role::Frontend(_) => Self::ForEachCore,
            Role::Catalog | Role::CatalogProcess(_) | Role::Order(_) => Self::Main,
        }
    }

    /// Returns how connections and calls share the files that this process may have open.
    #[must_use]
    pub fn descriptors(self) -> Descriptors {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        match self {
            Self::ForEachCore => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                Descriptors::new(limit, cores)
            }
            Self::Main => Descriptors::new(limit, 1),
        }
    }
}

impl Descriptors {
    /// The shares of a process that may have `limit` files open, and wants so many worker threads.
    #[must_use]
    pub fn new(limit: u64, workers: usize) -> Self {
        let most_workers = usize::try_from(limit / FILES_OF_A_WORKER).unwrap_or(usize::MAX);
        let workers = workers.min(most_workers).max(1);
        let threads = workers as u64 + OTHER_THREADS;
        let rest = limit.saturating_sub(OWN_FILES + threads * FILES_OF_A_THREAD);
        let connections = (rest / 2 / workers as u64).clamp(1, MOST_CONNECTIONS);
        Self { workers, connections: to_usize(connections), calls: rest / 2 }
    }

    /// Returns how many calls each thread may have in flight to each of `peers`. Connections that
    /// rest are used before new ones are made, so that there are no more of them.
    #[must_use]
    pub fn calls_to_each_of(&self, peers: usize) -> usize {
        let callers = (self.workers as u64 + 1) * peers.max(1) as u64;
        to_usize((self.calls / callers).clamp(1, MOST_CALLS))
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("it is at most a few thousand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_is_shared_out_as_the_head_of_this_file_says() {
        let shares = Descriptors::new(1_024, 2);
        assert_eq!((shares.workers, shares.connections), (2, 230));
        assert_eq!(shares.calls_to_each_of(5), 30);
    }

    #[test]
    fn no_limit_is_exceeded_by_all_connections_and_calls_together() {
        // With fewer files than 160, one call to each role may still be one too many.
        for limit in (160..4_096).step_by(32) {
            for cores in [1, 2, 16, 128] {
                let shares = Descriptors::new(limit, cores);
                let threads = shares.workers as u64 + OTHER_THREADS;
                let own = OWN_FILES + threads * FILES_OF_A_THREAD;
                let accepted = (shares.workers * shares.connections) as u64;
                let calls = ((shares.workers + 1) * 5 * shares.calls_to_each_of(5)) as u64;
                assert!(own + accepted + calls <= limit, "{limit}, {cores} cores");
            }
        }
    }

    #[test]
    fn many_files_do_not_make_more_connections_than_a_worker_can_serve() {
        let shares = Descriptors::new(u64::MAX, 8);
        assert_eq!((shares.workers, shares.connections), (8, 4_096));
        assert_eq!(shares.calls_to_each_of(5), 512);
    }
}
