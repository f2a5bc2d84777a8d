//! The catalog: it owns the stock and the purchase journal, and decides every purchase.
//!
//! [`stock`] decides who gets a toy and who may lead; [`sessions`] decides when a change may become
//! visible; [`core`] holds the two together, and [`steps`] is how a change comes about. `writer` is
//! the one task that writes; `remote` tells the front-ends what to drop.

pub mod core;
pub mod journal;
mod remote;
mod routes;
mod service;
mod tasks;

use std::net::TcpListener;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::journal::Journal;
use self::remote::Remote;
use self::service::Service;
use crate::process::{RoleError, Shutdown};
use crate::roles::{Role, Roles};
use crate::server;
use crate::storage::log_table;

/// Refuses to sell where replicas hold orders that the journal does not: its database was removed
/// or replaced, and the next orders would get numbers that others have.
async fn refuse_to_start_over(
    roles: &Roles,
    remote: &Remote,
    journal: u64,
) -> Result<(), RoleError> {
    let files = roles.orders.iter().filter_map(|order| {
        let path = roles.file_of(Role::Order(order.id), "db");
        let length = log_table::length_at(&path).ok()?;
        Some((path.display().to_string(), length))
    });
    let running = remote.longest_log().await;
    let running = running.map(|(id, length)| (format!("order replica {id}"), length));
    match files.chain(running).max_by_key(|(_, length)| *length) {
        Some((replica, orders)) if orders > journal => {
            Err(RoleError::JournalBehind { replica, orders, journal })
        }
        Some(_) | None => Ok(()),
    }
}

/// Runs the catalog on `listener` until `stop` is cancelled.
///
/// # Errors
///
/// If its database cannot be used, or fails on the way.
pub async fn run(
    listener: TcpListener,
    roles: &Roles,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let settings = &roles.catalog;
    let path = roles.file_of(Role::Catalog, "db");
    let (journal, loaded) = Journal::open(&path, &settings.toys, settings.initial_stock)?;
    let remote = Remote::new(roles);
    refuse_to_start_over(roles, &remote, loaded.journal.length).await?;
    log::info!(
        "the catalog has {} toys and {} orders; {}",
        loaded.shelves.len(),
        loaded.journal.length,
        loaded.leadership
    );
    let shutdown = Shutdown::new(stop);
    let (service, jobs) = Service::new(journal, loaded, roles, shutdown.clone());
    let write = Arc::clone(&service).write(jobs, remote, settings.restock_interval);
    shutdown.spawn("the writing task", write);
    shutdown.spawn("the sweep", Arc::clone(&service).sweep());
    shutdown.spawn("the disk's watch", Arc::clone(&service).watch_disk());

    let secret = roles.secret.clone();
    let last = Arc::clone(&service);
    let routes = move |config: &mut _| routes::configure(config, &service, secret.as_ref());
    let served = server::serve(listener, routes, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close().await;
    outcome
}
