//! Random faults and random clients, drawn from a seed, round after round.
//!
//! ```text
//! round   start the clients   fault … fault … fault   repair   end the clients   check all
//! ```
//!
//! In two of three rounds at most one replica at a time fails, and no client may see an error. In
//! the others any role may fail, several at once; then clients may be answered 503, and never
//! anything wrong. In both a machine may fail as a whole: see [`machines`]. After each round all
//! that clients saw since the run began is compared with the databases: see
//! [`histories`](crate::histories).
//!
//! The seed determines the settings, the faults and the clients' choices. It does not determine
//! what an operating system does with a dozen processes on real sockets and disks: a seed that has
//! found something is likely to find it again, and not certain to. And kill -9 ends a process, not
//! the machine: what was written and not synced is kept by the kernel.
//!
//! `tests/chaos/run.sh` runs this for as long as one likes. A short run is among the tests.
#![allow(clippy::print_stderr, reason = "a run of an hour shows its progress")]

mod clients;
mod databases;
mod injector;
mod machines;
mod record;
mod schedule;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;

use clients::{Clients, Results};
use databases::Databases;
use injector::Injector;
use record::{Part, Record};
use schedule::{EDITION, Engine, Regime, Round, Schedule, Step};

use crate::postgres;
use crate::processes::now;
use crate::proxied_store::Store;

/// How often a backup is taken: some rounds before one in which a disk may be lost.
const ROUNDS_PER_BACKUP: usize = 3;
/// The run among the tests: long enough for a few rounds of both kinds.
const SHORT: Duration = Duration::from_secs(25);
/// Its seed.
const SEED: u64 = 11;

#[actix_web::test]
async fn random_faults_for_a_short_while() {
    let mut record = Record { seed: SEED, edition: EDITION, ..Record::default() };
    run(SHORT, Engine::Sqlite, &mut record).await;
    assert!(record.orders > 0 && record.one_replica_rounds.rounds > 0);
}

#[actix_web::test]
async fn random_faults_of_several_catalogs_and_their_database_for_a_short_while() {
    if postgres::missing().is_some() {
        return;
    }
    let mut record = Record { seed: SEED, edition: EDITION, ..Record::default() };
    run(SHORT, Engine::Postgres, &mut record).await;
    assert!(record.orders > 0 && record.anything_rounds.rounds > 0);
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
    let engine = match variable("CHAOS_ENGINE").as_deref() {
        None | Some("sqlite") => Engine::Sqlite,
        Some("postgres") => Engine::Postgres,
        Some(other) => panic!("CHAOS_ENGINE is {other}"),
    };
    let missing = (engine == Engine::Postgres).then(postgres::missing).flatten();
    assert!(missing.is_none(), "{missing:?}");
    let run = run(Duration::from_secs(seconds), engine, &mut record);
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

/// Runs round after round until the time is over. The counts are in `record` even if this panics.
async fn run(time: Duration, engine: Engine, record: &mut Record) {
    let began = now();
    let mut schedule = Schedule::new(record.seed, engine);
    let settings = schedule.settings();
    eprintln!("seed {}: {settings:?}", record.seed);
    let results = Rc::new(Results::new(settings.initial_stock));
    let (store, databases) = match engine {
        Engine::Sqlite => (Store::open(settings).await, None),
        Engine::Postgres => {
            let databases = Databases::start().await;
            let store = Store::open_sharing(settings, &databases.servers, &databases.name).await;
            (store, Some(databases))
        }
    };
    let mut injector = Injector::new(store, databases, Rc::clone(&results));
    for number in 0.. {
        let round = schedule.round();
        let outcome =
            AssertUnwindSafe(run_round(&mut injector, &round, (record.seed, number), &results));
        let outcome = outcome.catch_unwind().await;
        let part = match round.regime {
            Regime::OneReplica => &mut record.one_replica_rounds,
            Regime::Anything => &mut record.anything_rounds,
        };
        account(part, &mut injector, &results);
        record.seconds = began.elapsed().as_secs();
        record.died_at = injector.died_at.clone();
        record.selections = results.selections();
        record.cache_hits = results.cache_hits();
        record.terms = injector.databases.as_ref().and_then(Databases::terms);
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
            "{:5} s: round {number} ({:?}): {} faults; {} orders so far; slowest request with one \
             faulty replica {} ms",
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

/// The result of a round in which no check failed.
struct Checked {
    orders: u64,
    recovery: Duration,
}

async fn run_round(
    injector: &mut Injector,
    round: &Round,
    (seed, number): (u64, usize),
    results: &Rc<Results>,
) -> Checked {
    injector.regime = round.regime;
    results.forgets_refusals.set(round.steps.iter().any(Step::loses_the_catalogs_disk));
    if let Some(fresh_start) = &round.fresh_start {
        injector.start_with_failpoint(fresh_start).await;
    }
    let clients = Clients::start(round.clients, (seed, number), &injector.store.frontends, results);
    if let Some(fresh_start) = &round.fresh_start {
        injector.await_failpoint(fresh_start).await;
    }
    if number.is_multiple_of(ROUNDS_PER_BACKUP) {
        injector.back_up(number).await;
    }
    for step in &round.steps {
        injector.inject(step).await;
    }
    injector.wait(round.rest).await;
    let recovery = injector.heal().await;
    clients.finish().await;
    results.retry_in_doubt(&injector.store.frontends[0]).await;
    results.assert_no_violation(round.regime == Regime::Anything);
    let mut history = results.history.take();
    if let Some(databases) = &injector.databases {
        databases.copy_to(&injector.store);
    }
    let orders = history.check(&injector.store).await as u64;
    history.check_past_life(&injector.store);
    // An error of this round is none of the next one.
    history.errors.clear();
    results.history.replace(history);
    Checked { orders, recovery }
}

fn account(part: &mut Part, injector: &mut Injector, results: &Results) {
    part.rounds += 1;
    for (fault, count) in std::mem::take(&mut injector.faults) {
        *part.faults.entry(fault).or_default() += count;
    }
    part.tally.absorb(results.tally.take());
}
