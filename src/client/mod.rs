//! The client: shops, measures and checks.
//!
//! Several clients shop at once, each with connections, random numbers and counts of its own:
//!
//! ```text
//! shopper  ── which toy, and whether to buy it ─┐
//! pace     ── when, and until when ─────────────┤
//! patience ── whether to ask again ─────────────┼─► service ─► remote ─► a front-end
//! tally, latency ◄── how it went ───────────────┤
//! receipts ◄── what was bought ─────────────────┘
//! ```
//!
//! When all have stopped shopping, each fetches every order that it made and compares it with its
//! receipt; then [`report`] puts everything together and [`render`] writes it. Only `service` and
//! `remote` know a clock or a socket.

pub mod arguments;
pub mod connection;
pub mod http;
pub mod latency;
pub mod pace;
pub mod patience;
pub mod progress;
pub mod receipts;
pub mod remote;
pub mod render;
pub mod report;
pub mod service;
pub mod shopper;
pub mod tally;

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::roles::{Address, Roles};
use crate::{clock, process};
pub use arguments::{Arguments, Format, Settings};
use pace::End;
use progress::{Progress, Watch};
use remote::{Remote, Store, StoreClosed};
use report::{Homecoming, Report, Run, Times, Verdict};
use service::{Customer, Timetable};
use shopper::Shopper;

/// The exit status of a program that Ctrl-C has ended, by the shells' custom.
const INTERRUPTED: u8 = 130;

/// Why there is no report, or no good one.
#[derive(Debug)]
enum Failed {
    Closed(StoreClosed),
    Write(PathBuf, io::Error),
    Print(io::Error),
    Check(u64),
    NothingWorked(Vec<Address>),
}

/// Runs the client: shops, checks, reports.
pub async fn run(arguments: Arguments, roles: &Roles) -> ExitCode {
    let settings = Settings::new(&arguments, roles);
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        outcome = shop_and_report(&settings, &arguments, &stop) => outcome,
        () = interrupted_twice(&stop) => return ExitCode::from(INTERRUPTED),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => process::fail(&failed),
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
    Ok(shop(settings, Rc::new(store), stop).await)
}

/// Lets all clients shop until the end or until `stop`, and then check their orders.
///
/// # Panics
///
/// If a client does, which is a bug.
pub async fn shop(settings: &Settings, store: Rc<Store>, stop: &CancellationToken) -> Report {
    let watch = Rc::new(Watch::default());
    let progress = Progress::show(watch.clone(), settings.end, settings.clients);
    let timetable = Rc::new(Timetable {
        began: clock::now(),
        pace: settings.pace,
        end: settings.end,
        clients: settings.clients,
        stop: stop.clone(),
    });
    let shopping = (1..=settings.clients).map(|client| {
        let (mut customer, timetable) =
            (settings.customer(client, store.clone(), watch.clone()), timetable.clone());
        actix_web::rt::spawn(async move {
            customer.shop(&timetable).await;
            customer
        })
    });
    let customers = all_of(shopping.collect()).await;
    let stopped = clock::now();
    let checking = customers.into_iter().map(|customer| actix_web::rt::spawn(check(customer)));
    let home = all_of(checking.collect()).await;
    drop(progress);
    let shopping = stopped - timetable.began;
    let times = Times { shopping, checking: clock::now() - stopped };
    Report::new(settings, stop.is_cancelled(), times, home)
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
    let store =
        Store::open(&settings.frontends, settings.quantity).await.map_err(Failed::Closed)?;
    if arguments.format == Format::Text {
        print(&render::headline(&Run::new(settings)))?;
    }
    let report = shop(settings, Rc::new(store), stop).await;
    if let Some(folder) = &arguments.out {
        write_files(&report, folder)?;
    }
    print(&match arguments.format {
        Format::Text => render::text(&report),
        Format::Json => to_json(&report),
        Format::Csv => render::latencies_csv(&report),
    })?;
    match report.verdict() {
        Verdict::Passed => Ok(()),
        Verdict::CheckFailed => Err(Failed::Check(report.check.failed)),
        Verdict::NothingWorked => Err(Failed::NothingWorked(settings.frontends.clone())),
    }
}

/// Ends the shopping at the first Ctrl-C, and itself at the second.
async fn interrupted_twice(stop: &CancellationToken) {
    let Ok(mut interrupts) = signal(SignalKind::interrupt()) else {
        // Without the means to hear of it, Ctrl-C does what it does to any program.
        return std::future::pending().await;
    };
    interrupts.recv().await;
    stop.cancel();
    // If standard error is gone, there is nobody to be told.
    writeln!(io::stderr(), "checking the orders; Ctrl-C again ends at once").ok();
    interrupts.recv().await;
}

fn write_files(report: &Report, folder: &Path) -> Result<(), Failed> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Failed::Write(path, error))
    };
    write("report.json", to_json(report))?;
    write("latencies.csv", render::latencies_csv(report))?;
    write("orders.csv", render::orders_csv(report))
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
            tally: tally::Tally::default(),
            receipts: receipts::Receipts::default(),
            watch,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
            Self::Print(error) => write!(f, "cannot print the report: {error}"),
            Self::Check(failed) => write!(f, "{failed} of the final checks failed; see the report"),
            Self::NothingWorked(addresses) => {
                let addresses: Vec<&str> = addresses.iter().map(Address::as_str).collect();
                let addresses = addresses.join(", ");
                write!(
                    f,
                    "no request succeeded; tried {addresses}; is the store well? start it \
                           with ./run.sh"
                )
            }
        }
    }
}
