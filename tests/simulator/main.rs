//! The simulator: the production's services in a simulated world, with faults drawn from a seed.
//!
//! # The idea
//!
//! After `FoundationDB`'s simulation and `TigerBeetle`'s VOPR. A service meets the world at three
//! places only: its [runtime](toystore::runtime::Runtime), its [peers](toystore::transport::Peer)
//! and its storage. Here these are simulated, so that a whole store, tasks included, runs in one
//! thread and in simulated time, some hundred times faster than a real one. Everything random is
//! drawn from the seed: which faults there are, which machine is hit, how late each message is, in
//! which order tasks run. A seed that fails, fails again, exactly.
//!
//! ```text
//!            one world per seed
//! clients ──► front-ends ─► replicas ─► catalog     the production's services
//!      │          └────────────┴───────────┘
//!      ▼            network, disks, clocks          messages late, lost, twice; cuts; crashes
//!    judge ◄── every step, every answer             that lose what was not synced; pauses;
//!                                                   drift; full, slow and failing disks
//! ```
//!
//! The [judge](judge) checks each invariant whenever something changes that it concerns, and
//! `judge_tests` has a wrong history for each check. At the end everything is repaired, and must
//! complete: each front-end serves, every purchase is decided, every toy is restocked, all logs are
//! equal. (If the catalog's database was restored from a backup, an operator rolls it forward.) The
//! [paths](paths) count how often each rare path of the protocol was reached; one that no seed
//! reached fails the run.
//!
//! # Running it
//!
//! `cargo test --test simulator` runs the seeds of the normal test run. `tests/simulator/run.sh`
//! runs it for longer, or one seed again with its trace.

#![expect(
    clippy::panic,
    reason = "a message that does not belong where it arrives is a bug, and ends the run"
)]

mod absence_tests;
mod client;
mod cluster;
mod conversation;
mod databases;
mod disk;
mod events;
mod events_tests;
mod faults;
mod judge;
mod judge_tests;
mod machine;
mod message;
mod network;
mod observer;
mod pace_tests;
mod paths;
mod runs;
mod shared;
mod start_tests;
mod steady;
mod takeover_tests;
mod transcript;
mod world;

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use self::paths::RARE;
use self::runs::{Outcome, run_in};
use self::world::{Timing, World};

/// Seeds of the normal test run.
const SEEDS: u64 = 4_000;
/// Runs a seed. The trace is written to `trace` as it comes, so that it is there after a panic.
fn run(seed: u64, traces: bool, keep: &mut Option<Rc<World>>) -> Outcome {
    let world = World::new(seed, toystore::clock::now(), traces, Timing::Random);
    *keep = Some(Rc::clone(&world));
    run_in(&world).1
}

/// Runs a seed, and once more with a trace if it fails.
fn run_and_explain(seed: u64) -> Result<Outcome, String> {
    let mut kept = None;
    let attempt = catch_unwind(AssertUnwindSafe(|| run(seed, false, &mut kept)));
    drop(kept);
    match attempt {
        Ok(outcome) => Ok(outcome),
        Err(_panic) => Err(explain(seed)),
    }
}

/// Runs a seed with a trace. Returns where the trace is, and its end.
fn explain(seed: u64) -> String {
    keep_first_panic();
    let mut kept = None;
    take_first_panic();
    let again = catch_unwind(AssertUnwindSafe(|| run(seed, true, &mut kept)));
    let problem = match again {
        Ok(_) => {
            "it went well when it was run again: the simulator is not deterministic".to_owned()
        }
        Err(_panic) => take_first_panic().unwrap_or_default(),
    };
    let trace = kept.map(|world| world.take_trace()).unwrap_or_default();
    let path = format!("{}/seed-{seed}.trace", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, trace.join("\n")).expect("the trace can be written");
    let last = trace.len().saturating_sub(40);
    format!(
        "seed {seed} fails: {problem}\n\nthe last lines of {path}:\n{}\n\nagain: \
         tests/simulator/run.sh --seed {seed} --seeds 1",
        trace[last..].join("\n")
    )
}

thread_local! {
    /// The first panic of this thread's run. A service's panic ends the service, and the run only
    /// by what follows from it; the first one tells what happened.
    static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn take_first_panic() -> Option<String> {
    FIRST_PANIC.take()
}

/// Keeps each thread's first panic, besides printing it.
fn keep_first_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            FIRST_PANIC.with_borrow_mut(|first| {
                let text = panic.payload().downcast_ref::<String>().cloned();
                let text = text
                    .or_else(|| panic.payload().downcast_ref::<&str>().map(ToString::to_string));
                first.get_or_insert(text.unwrap_or_default());
            });
            print(panic);
        }));
    });
}

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text}")))
}

fn report(first: u64, count: u64, sum: &Outcome, took: Duration) -> String {
    let summary = format!(
        "{count} seeds from {first} on: {} s simulated in {} s, {} steps, {} orders",
        sum.simulated.as_secs(),
        took.as_secs(),
        sum.events,
        sum.orders
    );
    let paths = RARE.map(|path| format!("{:>12}  {path}", sum.paths.count(path)));
    format!("{summary}\n{}", paths.join("\n"))
}

#[test]
fn no_seed_breaks_an_invariant_and_all_rare_paths_are_reached() {
    let first = number_of("SIMULATOR_SEED").unwrap_or(1);
    let seeds = number_of("SIMULATOR_SEEDS");
    let seconds = number_of("SIMULATOR_SECONDS");
    let end = match (seeds, seconds) {
        (Some(seeds), _) => first + seeds,
        (None, Some(_)) => u64::MAX,
        (None, None) => first + SEEDS,
    };
    let began = toystore::clock::now();
    let stops = seconds.map(|seconds| began + Duration::from_secs(seconds));
    let in_time = |now: Instant| stops.is_none_or(|stops| now < stops);
    let next = AtomicU64::new(first);
    let sums = Mutex::new((Outcome::default(), 0_u64, Vec::new()));
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(|| {
                while in_time(toystore::clock::now()) && sums.lock().unwrap().2.is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run_and_explain(seed);
                    let mut sums = sums.lock().unwrap();
                    sums.1 += 1;
                    match outcome {
                        Ok(outcome) => {
                            sums.0.paths.add(&outcome.paths);
                            sums.0.events += outcome.events;
                            sums.0.orders += outcome.orders;
                            sums.0.simulated += outcome.simulated;
                        }
                        Err(problem) => sums.2.push(problem),
                    }
                }
            });
        }
    });
    let (sum, count, problems) = sums.into_inner().unwrap();
    let report = report(first, count, &sum, toystore::clock::now() - began);
    writeln!(std::io::stdout(), "{report}").expect("standard output is open");
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    // A few seeds cannot reach everything.
    if count >= SEEDS {
        let missing = sum.paths.missing();
        assert!(missing.is_empty(), "no seed reached: {missing:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [7, 77] {
        let traces = [(); 2].map(|()| {
            let mut kept = None;
            run(seed, true, &mut kept);
            kept.expect("a world").take_trace()
        });
        assert!(traces[0].len() > 100, "a trace tells something");
        for (one, other) in traces[0].iter().zip(&traces[1]) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(traces[0].len(), traces[1].len(), "seed {seed}");
    }
}
