//! Random faults and random clients, drawn from a seed, round after round.
//!
//! ```text
//! round   start the clients   fault … fault … fault   heal   send the clients home   check all
//! ```
//!
//! In two of three rounds at most one replica at a time is hurt, and no client may see an error. In
//! the others everybody may be hurt, several at once; then clients may be told to come again, and
//! never anything wrong. After each round all that clients were told since the run began is held
//! against the databases: see [`history`](crate::history).
//!
//! The seed determines the settings, the faults and the clients' choices. It does not determine
//! what an operating system does with a dozen processes on real sockets and disks; so a seed that
//! has found something is likely to find it again, and not certain to. And kill -9 takes a process
//! away, not the machine: what the kernel was given it keeps.
//!
//! `tests/chaos/run.sh` runs this for as long as one likes. A short run is among the tests.
#![allow(clippy::print_stderr, reason = "a run of an hour tells how it fares")]

mod clients;
mod record;
mod schedule;
mod stage;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;

use clients::{Clients, Memory};
use record::{Part, Record};
use schedule::{EDITION, Regime, Round, Schedule};
use stage::Stage;

use crate::processes::now;
use crate::proxied_store::Store;

/// The run among the tests: long enough for a few rounds of both kinds.
const SHORT: Duration = Duration::from_secs(25);
/// Its seed.
const SEED: u64 = 11;

#[actix_web::test]
async fn random_faults_for_a_short_while() {
    let mut record = Record { seed: SEED, edition: EDITION, ..Record::default() };
    run(SHORT, &mut record).await;
    assert!(record.orders > 0 && record.one_replica_rounds.rounds > 0);
}

/// A run as the environment says; see `tests/chaos/run.sh`.
#[actix_web::test]
#[ignore = "takes as long as one likes; tests/chaos/run.sh starts it"]
async fn random_faults() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("CHAOS_SEED").expect("CHAOS_SEED says which");
    let seconds = number("CHAOS_SECONDS").expect("CHAOS_SECONDS says how long");
    let commit = variable("CHAOS_COMMIT").unwrap_or_default();
    let mut record = Record { seed, edition: EDITION, commit, ..Record::default() };
    let run = run(Duration::from_secs(seconds), &mut record);
    let outcome = AssertUnwindSafe(run).catch_unwind().await;
    if let Err(panic) = &outcome {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let words = message.unwrap_or_default();
        record.violation = Some(words.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    if let Some(path) = variable("CHAOS_OUT") {
        record.keep(&PathBuf::from(path));
    }
    if let Some(violation) = &record.violation {
        eprintln!("VIOLATION (seed {seed}, after {} s): {violation}", record.seconds);
    }
    assert!(outcome.is_ok(), "there was a violation");
}

/// Plays round after round until the time is over. What was counted is in `record`, be it that
/// this panics.
async fn run(time: Duration, record: &mut Record) {
    let began = now();
    let mut schedule = Schedule::new(record.seed);
    let settings = schedule.settings();
    eprintln!("seed {}: {settings:?}", record.seed);
    let memory = Rc::new(Memory::new(settings.initial_stock));
    let mut stage = Stage::new(Store::open(settings).await, Rc::clone(&memory));
    for number in 0.. {
        let round = schedule.round();
        let outcome = AssertUnwindSafe(play(&mut stage, &round, (record.seed, number), &memory));
        let outcome = outcome.catch_unwind().await;
        let part = match round.regime {
            Regime::OneReplica => &mut record.one_replica_rounds,
            Regime::Anything => &mut record.anything_rounds,
        };
        account(part, &mut stage, &memory);
        record.seconds = began.elapsed().as_secs();
        record.died_at = stage.died_at.clone();
        record.selections = memory.selections();
        record.cache_hits = memory.cache_hits();
        match outcome {
            Ok(checked) => {
                record.orders = checked.orders;
                let recovery_ms = u64::try_from(checked.recovery.as_millis()).expect("no ages");
                record.longest_recovery_ms = record.longest_recovery_ms.max(recovery_ms);
            }
            Err(panic) => {
                eprintln!("round {number} of seed {} failed: {round:#?}", record.seed);
                std::panic::resume_unwind(panic);
            }
        }
        eprintln!(
            "{:5} s: round {number} ({:?}): {} faults; {} orders so far; slowest request while \
             one replica is hurt {} ms",
            record.seconds,
            round.regime,
            round.steps.len(),
            record.orders,
            record.one_replica_rounds.tally.slowest(),
        );
        if began.elapsed() >= time {
            return;
        }
    }
}

/// What came of a round that ended well.
struct Checked {
    orders: u64,
    recovery: Duration,
}

async fn play(
    stage: &mut Stage,
    round: &Round,
    (seed, number): (u64, usize),
    memory: &Rc<Memory>,
) -> Checked {
    stage.regime = round.regime;
    if let Some(opening) = &round.opening {
        stage.open(opening).await;
    }
    let clients = Clients::start(round.clients, (seed, number), &stage.store.frontends, memory);
    if let Some(opening) = &round.opening {
        stage.play_opening(opening).await;
    }
    for step in &round.steps {
        stage.play(step).await;
    }
    stage.wait(round.rest).await;
    let recovery = stage.heal().await;
    clients.finish().await;
    memory.settle(&stage.store.frontends[0]).await;
    memory.assert_good(round.regime == Regime::Anything);
    let mut history = memory.history.take();
    let orders = history.check(&stage.store).await as u64;
    // What clients were told to ask again is no error of the next round.
    history.errors.clear();
    memory.history.replace(history);
    Checked { orders, recovery }
}

fn account(part: &mut Part, stage: &mut Stage, memory: &Memory) {
    part.rounds += 1;
    for (fault, count) in std::mem::take(&mut stage.faults) {
        *part.faults.entry(fault).or_default() += count;
    }
    part.tally.absorb(memory.tally.take());
}
