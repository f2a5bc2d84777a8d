//! The client: shops, measures and checks.
//!
//! Several clients run at once, each with its own connections, random numbers and counts:
//!
//! ```text
//! core/shopper   ── which toy, and whether to buy it ─┐
//! core/schedule  ── when, and until when ─────────────┤
//! core/retry     ── whether to try again ─────────────┼─► service ─► remote ─► a front-end
//! core/stats, latency ◄── counts and latencies ───────┤
//! core/receipts  ◄── orders ──────────────────────────┘
//! ```
//!
//! When all have stopped shopping, each fetches every order that it made and compares it with its
//! receipt. Then [`report`] puts the results together, judges them by thresholds and writes them.
//! `eval/overhead` measures that a client costs less than the store that it measures.

pub mod arguments;
pub mod core;
mod interruption;
mod remote;
pub mod report;
mod service;

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use tokio_util::sync::CancellationToken;

use self::core::live::LiveCounts;
use self::core::receipts::Receipts;
use self::core::schedule::End;
use self::core::shopper::Shopper;
use self::core::stats::Stats;
use crate::roles::Address;
use crate::{clock, process};
pub use arguments::{Arguments, Format, Settings};
use interruption::interrupted_twice;
pub use remote::StoreClosed;
use remote::{Remote, Store};
use report::csv::Phase;
use report::progress::Progress;
use report::series::{Recorder, Series};
use report::thresholds::ThresholdOutcome;
use report::{ClientResult, Report, Run, RunResult, Times, csv, files, text};
use service::{Customer, Timetable};

/// The exit status of a program that Ctrl-C has ended, by the shells' custom.
const INTERRUPTED: u8 = 130;

/// The exit status of a run in which only a threshold failed.
const THRESHOLD_FAILED: u8 = 3;

/// The exit status of a run that failed otherwise.
const FAILED: u8 = 1;

/// Why a run failed, in a sentence, and its exit status.
#[derive(Debug)]
struct Failed(u8, String);

/// Runs the client: shops, checks, reports. It uses the front-ends that the arguments name, else
/// the `known` ones.
pub async fn run(arguments: Arguments, known: &[Address]) -> ExitCode {
    let settings = Settings::new(&arguments, known);
    // Each client has its own connection.
    process::raise_file_limit();
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        // First, so that signals have their handlers before the first request is sent.
        biased;
        () = interrupted_twice(&stop) => return ExitCode::from(INTERRUPTED),
        outcome = shop_and_report(&settings, &arguments, &stop) => outcome,
    };
    let Err(Failed(status, sentence)) = outcome else { return ExitCode::SUCCESS };
    let failure = process::fail(&sentence);
    if status == FAILED { failure } else { status.into() }
}

/// Opens the store, lets all clients shop, and checks their orders.
///
/// # Errors
///
/// If no front-end answers with its toys.
pub async fn open_and_shop(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Report, StoreClosed> {
    let store = Store::open(&settings.frontends, settings.quantity).await?;
    Ok(shop(settings, Rc::new(store), stop, None).await)
}

/// Lets all clients shop until the end or until `stop`, and then check their orders. The `series`,
/// if there is one, is written meanwhile.
async fn shop(
    settings: &Settings,
    store: Rc<Store>,
    stop: &CancellationToken,
    series: Option<&mut Series>,
) -> Report {
    let interval = series.is_some().then(RefCell::default);
    let live = Rc::new(LiveCounts { interval, ..LiveCounts::default() });
    let progress = Progress::show(live.clone(), settings.end, settings.clients);
    let mut recorder = Recorder::new(series, live.clone());
    let timetable = Rc::new(Timetable {
        began: recorder.began,
        schedule: settings.schedule,
        end: settings.end,
        clients: settings.clients,
        stop: stop.clone(),
    });
    let cancelled = stop.clone();
    let interruption = actix_web::rt::spawn(async move {
        cancelled.cancelled().await;
        clock::now()
    });
    let shopping = (1..=settings.clients).map(|client| {
        let (mut customer, timetable) =
            (settings.customer(client, store.clone(), live.clone()), timetable.clone());
        actix_web::rt::spawn(async move {
            customer.shop(&timetable).await;
            customer
        })
    });
    let customers = recorder.during(Phase::Shopping, all_of(shopping.collect())).await;
    let stopped = clock::now();
    // An interruption from now on does not count.
    let interrupted = if stop.is_cancelled() { interruption.await.ok() } else { None };
    let interrupted = interrupted.map(|at| at - timetable.began);
    let checking = customers.into_iter().map(|customer| actix_web::rt::spawn(check(customer)));
    let results = recorder.during(Phase::Checking, all_of(checking.collect())).await;
    drop(progress);
    let shopping = stopped - timetable.began;
    let checking = clock::now() - stopped;
    let times = Times { started_unix: recorder.began_unix, interrupted, shopping, checking };
    Report::new(settings, times, results)
}

async fn check(mut customer: Customer) -> ClientResult {
    let failures = customer.check().await;
    let frontend = customer.remote.address().to_string();
    ClientResult { frontend, stats: customer.stats, receipts: customer.receipts, failures }
}

async fn all_of<T>(tasks: Vec<actix_web::rt::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a client does not panic and is not aborted"));
    }
    results
}

async fn shop_and_report(
    settings: &Settings,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let out = arguments.out.as_deref();
    out.map_or(Ok(()), files::make)?;
    let store = tokio::select! {
        store = Store::open(&settings.frontends, settings.quantity) => store,
        () = stop.cancelled() => {
            return Err(Failed(INTERRUPTED, "interrupted before the shopping began".into()));
        }
    };
    let store = store.map_err(|closed| Failed(FAILED, closed.to_string()))?;
    out.map_or(Ok(()), files::try_to_write)?;
    let series = arguments
        .interval
        .map(|every| Series::create(out.unwrap_or(Path::new("")).join("series.csv"), every.get()));
    let mut series = series.transpose()?;
    if arguments.format == Format::Text {
        print(&text::headline(&Run::new(settings)))?;
        if let Some(series) = &series {
            print(&format!("{series}\n"))?;
        }
    }
    let mut report = shop(settings, Rc::new(store), stop, series.as_mut()).await;
    report.judge(&arguments.fail_if);
    // The report is printed even if a file cannot be written.
    let written = out.map_or(Ok(()), |folder| files::write(&report, folder));
    print(&match arguments.format {
        Format::Text => text::text(&report),
        Format::Json => files::json(&report),
        Format::Csv => csv::latencies(&report),
    })?;
    written?;
    match report.result() {
        RunResult::Passed => Ok(series.map_or(Ok(()), Series::finish)?),
        RunResult::CheckFailed => {
            let failed = report.check.failed;
            Err(Failed(FAILED, format!("{failed} of the final checks failed; see the report")))
        }
        RunResult::NoneSucceeded(kind) => {
            let (kind, tried) = (kind.name().replace('_', " "), report.run.frontends.join(", "));
            let reason =
                "see the report for the reasons, and ./run.sh status for the store's state";
            Err(Failed(FAILED, format!("no {kind} succeeded; tried {tried}; {reason}")))
        }
        RunResult::ThresholdFailed => {
            let failed =
                report.thresholds.iter().filter(|one| one.outcome != ThresholdOutcome::Passed);
            let failed: Vec<String> = failed.map(ToString::to_string).collect();
            Err(Failed(THRESHOLD_FAILED, format!("--fail-if: {}", failed.join("; "))))
        }
    }
}

fn print(text: &str) -> Result<(), Failed> {
    process::print(text.as_bytes())
        .map_err(|error| Failed(FAILED, format!("cannot print the report: {error}")))
}

impl Settings {
    fn customer(&self, client: u32, store: Rc<Store>, live: Rc<LiveCounts>) -> Customer {
        let iterations = match self.end {
            End::Iterations(iterations) => Some(iterations),
            End::Time(_) => None,
        };
        let toys = store.toys.len();
        Customer {
            client,
            shopper: Shopper::new(self.seed, client, toys, self.probability, iterations),
            remote: Remote::new(store, client as usize - 1),
            stats: Stats::default(),
            receipts: Receipts::default(),
            live,
        }
    }
}

impl From<files::CannotWrite> for Failed {
    fn from((path, error): files::CannotWrite) -> Self {
        Self(FAILED, format!("cannot write {}: {error}", path.display()))
    }
}
