//! Loads a store or an etcd with orders, and runs what measurements compare the store with.
//!
//! | command | does |
//! |---|---|
//! | `load SYSTEM CLIENTS SECONDS ADDRESS…` | orders in a closed loop, and prints a line of figures |
//! | `load SYSTEM CLIENTS SECONDS --rate RATE ADDRESS…` | the same, but orders are due at fixed times |
//! | `load bare ADDRESS` | serves one toy by the shortest actix-web handler, until its input ends |
//! | `load until ready\|sold ADDRESS SECONDS` | waits until a role is ready, or sells, and prints when |
//! | `load fill DATABASE ORDERS ROLES` | writes a catalog's database with so many orders |
//!
//! `SYSTEM` is `store` (`POST /orders`), `etcd-put` (an order under a key of its own) or
//! `etcd-transaction` (takes the stock by compare-and-swap, and puts the order). All clients run
//! in one thread, so that the load costs the machine the same beside every system.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]
#![allow(
    clippy::disallowed_methods,
    reason = "the measurements of latencies read clocks; nothing here is a core"
)]

mod bare;
mod etcd;
mod fill;
mod loops;
mod message;
mod store;
mod tally;
mod wait;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use loops::{Plan, System};

const USAGE: &str = "usage: load store|etcd-put|etcd-transaction CLIENTS SECONDS [--rate RATE] \
                     ADDRESS…, load bare ADDRESS, load until ready|sold ADDRESS SECONDS, \
                     or load fill DATABASE ORDERS ROLES";

/// What went wrong, for a person.
type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", address] => bare::serve(address),
        ["until", sign, address, seconds] => wait::until(sign, address, seconds),
        ["fill", database, orders, roles] => {
            fill::write(database.as_ref(), orders.parse()?, roles.as_ref())
        }
        [system, clients, seconds, "--rate", rate, ref addresses @ ..] => {
            shop(system, clients, seconds, Some(rate.parse()?), addresses)
        }
        [system, clients, seconds, ref addresses @ ..] => {
            shop(system, clients, seconds, None, addresses)
        }
        _ => Err(USAGE.into()),
    }
}

fn shop(
    system: &str,
    clients: &str,
    seconds: &str,
    rate: Option<u32>,
    addresses: &[&str],
) -> Result<(), Problem> {
    let system = match system {
        "store" => System::Store,
        "etcd-put" => System::EtcdPut,
        "etcd-transaction" => System::EtcdTransaction,
        _ => return Err(USAGE.into()),
    };
    let addresses =
        addresses.iter().map(|it| it.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    if addresses.is_empty() {
        return Err(USAGE.into());
    }
    let plan = Plan {
        system,
        addresses,
        clients: clients.parse()?,
        time: Duration::from_secs_f64(seconds.parse()?),
        rate,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // What still waits for an answer when the time is over is not waited for.
    let tally = runtime.block_on(tokio::task::LocalSet::new().run_until(loops::run(plan)))?;
    println!("{tally}");
    Ok(())
}
