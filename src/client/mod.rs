//! The client: shops, measures and checks.
//!
//! Several clients shop at once, each with connections, random numbers and counts of its own:
//!
//! ```text
//! shopper  ── which toy, and whether to buy it ─┐
//! pace     ── when, and until when ─────────────┤
//! patience ── whether to ask again ─────────────┼─► service ─► remote ─► a front-end
//! tally, latency ◄── how it went ───────────────┤             (connection, http)
//! receipts ◄── what was bought ─────────────────┘
//! ```
//!
//! When all have stopped shopping, each fetches every order that it made and compares it with its
//! receipt; then [`report`] puts everything together, `thresholds` judges it, and `text` and
//! `csv` write it. Meanwhile `progress` and `series` tell how it goes. A client has to cost
//! less than the store that it measures; `eval/overhead` shows whether it does.

pub mod arguments;
pub mod connection;
pub mod core;
pub mod http;
pub mod interruption;
pub mod remote;
pub mod report;
pub mod service;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use tokio_util::sync::CancellationToken;

use crate::client::core::schedule::End;
use crate::client::core::shopper::Shopper;
use crate::client::core::stats::RequestType;
use crate::client::report::csv::Phase;
use crate::client::report::progress::{Progress, Watch};
use crate::client::report::series::{Recorder, Series};
use crate::client::report::thresholds::Outcome;
use crate::client::report::{Homecoming, Report, Run, Times, Verdict};
use crate::client::report::{csv, text};
use crate::roles::Address;
use crate::{clock, process};
pub use arguments::{Arguments, Format, Settings};
use interruption::{Interruption, interrupted_twice};
use remote::{Remote, Store, StoreClosed};
use service::{Customer, Timetable};

/// The exit status of a program that Ctrl-C has ended, by the shells' custom.
const INTERRUPTED: u8 = 130;

/// The exit status of a run in which all went well, but for a gate.
const GATE_FAILED: u8 = 3;

/// What is written to the `--out` folder.
const FILES: [&str; 5] =
    ["report.json", "latencies.csv", "histograms.csv", "statuses.csv", "orders.csv"];

/// Why there is no report, or no good one.
#[derive(Debug)]
enum Failed {
    Closed(StoreClosed),
    Write(PathBuf, io::Error),
    Print(io::Error),
    Interrupted,
    Check(u64),
    NoneSucceeded(RequestType, Vec<Address>),
    Gates(Vec<String>),
}

/// Runs the client: shops, checks, reports. It uses the front-ends that the arguments name, else
/// the `known` ones.
pub async fn run(arguments: Arguments, known: &[Address]) -> ExitCode {
    let settings = Settings::new(&arguments, known);
    // Each client has a connection of its own.
    process::raise_file_limit();
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        outcome = shop_and_report(&settings, &arguments, &stop) => outcome,
        () = interrupted_twice(&stop) => return ExitCode::from(INTERRUPTED),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let status = process::fail(&failed);
            match failed {
                Failed::Interrupted => INTERRUPTED.into(),
                Failed::Gates(_) => GATE_FAILED.into(),
                Failed::Closed(_)
                | Failed::Write(..)
                | Failed::Print(_)
                | Failed::Check(_)
                | Failed::NoneSucceeded(..) => status,
            }
        }
    }
}

/// Opens the store and shops in it; see [`shop`].
///
/// # Errors
///
/// If no front-end says what there is to buy.
pub async fn open_and_shop(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Report, StoreClosed> {
    let store = Store::open(&settings.frontends, settings.quantity).await?;
    Ok(shop(settings, Rc::new(store), stop, None).await)
}

/// Lets all clients shop until the end or until `stop`, and then check their orders. If there is a
/// `series`, it gets what happens.
///
/// # Panics
///
/// If a client does, which is a bug.
pub async fn shop(
    settings: &Settings,
    store: Rc<Store>,
    stop: &CancellationToken,
    series: Option<&mut Series>,
) -> Report {
    let interval = series.is_some().then(RefCell::default);
    let watch = Rc::new(Watch { interval, ..Watch::default() });
    let progress = Progress::show(watch.clone(), settings.end, settings.clients);
    let mut recorder = Recorder::new(series, watch.clone());
    let timetable = Rc::new(Timetable {
        began: recorder.began(),
        pace: settings.pace,
        end: settings.end,
        clients: settings.clients,
        stop: stop.clone(),
    });
    let interruption = Interruption::of(stop);
    let shopping = (1..=settings.clients).map(|client| {
        let (mut customer, timetable) =
            (settings.customer(client, store.clone(), watch.clone()), timetable.clone());
        actix_web::rt::spawn(async move {
            customer.shop(&timetable).await;
            customer
        })
    });
    let customers = recorder.during(Phase::Shopping, all_of(shopping.collect())).await;
    let stopped = clock::now();
    let interrupted = interruption.after(timetable.began).await;
    let checking = customers.into_iter().map(|customer| actix_web::rt::spawn(check(customer)));
    let home = recorder.during(Phase::Checking, all_of(checking.collect())).await;
    drop(progress);
    let shopping = stopped - timetable.began;
    let checking = clock::now() - stopped;
    let times = Times { started_unix: recorder.began_unix(), interrupted, shopping, checking };
    Report::new(settings, times, home)
}

async fn check(mut customer: Customer) -> Homecoming {
    let failures = customer.check().await;
    let frontend = customer.remote.address().to_string();
    Homecoming { frontend, tally: customer.tally, receipts: customer.receipts, failures }
}

async fn all_of<T>(tasks: Vec<actix_web::rt::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a client does not panic, and nobody aborts it"));
    }
    results
}

async fn shop_and_report(
    settings: &Settings,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    // Whether the files can be written is better known before a long run than after it.
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(|error| Failed::Write(folder.clone(), error))?;
    }
    let store = tokio::select! {
        store = Store::open(&settings.frontends, settings.quantity) => store,
        () = stop.cancelled() => return Err(Failed::Interrupted),
    };
    let store = store.map_err(Failed::Closed)?;
    if let Some(folder) = &arguments.out {
        FILES.iter().try_for_each(|name| try_to_write(folder.join(name)))?;
    }
    let mut series = open_series(arguments)?;
    if arguments.format == Format::Text {
        print(&text::headline(&Run::new(settings)))?;
        if let Some(series) = &series {
            print(&format!("{series}\n"))?;
        }
    }
    let mut report = shop(settings, Rc::new(store), stop, series.as_mut()).await;
    report.judge(&arguments.fail_if);
    // A file that cannot be written is no reason to keep the report from being printed.
    let written = arguments.out.as_ref().map_or(Ok(()), |folder| write_files(&report, folder));
    print(&match arguments.format {
        Format::Text => text::text(&report),
        Format::Json => to_json(&report),
        Format::Csv => csv::latencies(&report),
    })?;
    written?;
    match report.verdict() {
        Verdict::Passed => series.map_or(Ok(()), Series::finish).map_err(Failed::write),
        Verdict::CheckFailed => Err(Failed::Check(report.check.failed)),
        Verdict::NoneSucceeded(kind) => {
            Err(Failed::NoneSucceeded(kind, settings.frontends.clone()))
        }
        Verdict::GateFailed => {
            let failed = report.gates.iter().filter(|gate| gate.outcome != Outcome::Passed);
            Err(Failed::Gates(failed.map(ToString::to_string).collect()))
        }
    }
}

/// The time series, if one is asked for.
fn open_series(arguments: &Arguments) -> Result<Option<Series>, Failed> {
    let Some(every) = arguments.interval else { return Ok(None) };
    let folder = arguments.out.as_deref().unwrap_or(Path::new(""));
    let path = folder.join("series.csv");
    let series = Series::create(&path, every.get());
    series.map(Some).map_err(|error| Failed::Write(path, error))
}

/// Whether a file can be written. It is left as it is: a run that breaks off leaves no empty file,
/// and takes nothing from an earlier one.
fn try_to_write(path: PathBuf) -> Result<(), Failed> {
    let existed = path.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    let removed = || if existed { Ok(()) } else { std::fs::remove_file(&path) };
    opened.and_then(|_file| removed()).map_err(|error| Failed::Write(path, error))
}

fn write_files(report: &Report, folder: &Path) -> Result<(), Failed> {
    let texts = [
        to_json(report),
        csv::latencies(report),
        csv::histograms(report),
        csv::statuses(report),
        csv::orders(report),
    ];
    FILES.iter().zip(texts).try_for_each(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Failed::Write(path, error))
    })
}

fn to_json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has nothing that JSON cannot say") + "\n"
}

fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed::Print)
}

impl Settings {
    fn customer(&self, client: u32, store: Rc<Store>, watch: Rc<Watch>) -> Customer {
        let visits = match self.end {
            End::Visits(visits) => Some(visits),
            End::Time(_) => None,
        };
        let toys = store.toys().len();
        Customer {
            client,
            shopper: Shopper::new(self.seed, client, toys, self.probability, visits),
            remote: Remote::new(store, client as usize - 1),
            tally: crate::client::core::stats::Tally::default(),
            receipts: crate::client::core::receipts::Receipts::default(),
            watch,
        }
    }
}

impl Failed {
    fn write((path, error): (PathBuf, io::Error)) -> Self {
        Self::Write(path, error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
            Self::Print(error) => write!(f, "cannot print the report: {error}"),
            Self::Check(failed) => write!(f, "{failed} of the final checks failed; see the report"),
            Self::Gates(gates) => write!(f, "--fail-if: {}", gates.join("; ")),
            Self::Interrupted => f.write_str("interrupted before the shopping began"),
            Self::NoneSucceeded(kind, addresses) => {
                let kind = kind.name().replace('_', " ");
                let addresses: Vec<&str> = addresses.iter().map(Address::as_str).collect();
                let addresses = addresses.join(", ");
                write!(
                    f,
                    "no {kind} succeeded; tried {addresses}; see the report for the reasons, and \
                     ./run.sh status for how the store is"
                )
            }
        }
    }
}
