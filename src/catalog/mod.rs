//! The catalog: it owns the stock and the purchase journal, and decides every purchase.
//!
//! [`core`] decides: who gets a toy ([`core::stock`]), and when a change may become visible
//! ([`core::sessions`]). Around it, `service` answers what other roles ask, and `tasks` writes, and
//! has what else the catalog does on its own time. The database is SQLite ([`journal`]) or
//! PostgreSQL ([`postgres`]), which several catalogs share: `sharing` stands by and rules in turn,
//! and `seat` says which service answers, if this catalog's does.

pub mod core;
pub mod errors;
mod hearings;
pub mod journal;
pub mod metrics;
pub mod postgres;
mod readiness;
pub mod remote;
pub mod routes;
mod running_term;
pub mod seat;
pub mod service;
pub mod shared;
pub mod sharing;
pub mod storage;
pub mod tasks;

use std::net::TcpListener;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::journal::Journal;
use self::metrics::CatalogMetrics;
use self::postgres::Database;
use self::remote::Remote;
use self::seat::Seat;
use self::service::{Kept, Service};
use self::shared::SharedDatabase;
use self::sharing::SharingCatalog;
use crate::agreement;
use crate::events::EventRecorder;
use crate::identity::Identity;
use crate::neighbours::over_sockets;
use crate::process::RoleError;
use crate::roles::{CatalogRole, Engine, Role, Roles};
use crate::runtime::{self, Runtime};
use crate::server::{self, Admission};
use crate::shutdown::Shutdown;
use crate::storage::log_table;
use crate::wire::replication::ReplicaId;
use crate::wire::term::CatalogId;

/// Refuses to start beside a replica's database that holds orders which the journal lacks: the
/// catalog's database was removed or replaced, and the next orders would get numbers that were
/// given before. (Replicas elsewhere are heard when they report, see [`core::history`].)
fn refuse_to_start_over(roles: &Roles, journal: u64) -> Result<(), RoleError> {
    let files = roles.orders.iter().filter_map(|order| {
        let path = roles.file_of(Role::Order(order.id), "db");
        let length = log_table::length_at(&path).ok()?;
        Some((path.display().to_string(), length))
    });
    match files.max_by_key(|(_, length)| *length) {
        Some((replica, orders)) if orders > journal => {
            Err(RoleError::JournalBehind { replica, orders, journal })
        }
        Some(_) | None => Ok(()),
    }
}

/// Runs the catalog, or one of several, on `listener` until `stop` is cancelled. It does not wait
/// to hear the replicas `without`, which are lost for good.
///
/// # Errors
///
/// If its database cannot be used, or fails on the way.
pub async fn run(
    listener: TcpListener,
    roles: &Roles,
    role: Role,
    without: &[ReplicaId],
    stop: CancellationToken,
) -> Result<(), RoleError> {
    match (&roles.catalog.engine, role) {
        (Engine::Postgres(settings), Role::CatalogProcess(id)) => {
            let CatalogRole { toys, initial_stock, .. } = &roles.catalog;
            let database = Database::new(settings, id, toys, *initial_stock)?;
            let metrics = CatalogMetrics::new();
            metrics.role.register(database.metrics());
            let database: (Arc<dyn SharedDatabase>, u32) = (Arc::new(database), settings.standbys);
            run_beside_others(listener, roles, id, database, metrics, without, stop).await
        }
        (Engine::Sqlite { .. } | Engine::Postgres(_), _) => {
            run_alone(listener, roles, without, stop).await
        }
    }
}

/// Runs one of several catalogs, which share `database`, on `listener` until `stop` is cancelled.
/// What it counts is added to `metrics`.
///
/// # Errors
///
/// If it cannot serve, or an invariant is found broken. A database that fails ends no more than a
/// term.
pub async fn run_beside_others(
    listener: TcpListener,
    roles: &Roles,
    id: CatalogId,
    database: (Arc<dyn SharedDatabase>, u32),
    metrics: CatalogMetrics,
    without: &[ReplicaId],
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let role = Role::CatalogProcess(id);
    let runtime: Arc<dyn Runtime> = Arc::new(runtime::System);
    let shutdown = Shutdown::new(stop, Arc::clone(&runtime));
    let recorder = EventRecorder::new(role, roles.trace.events, &runtime);
    let identity = Identity::recording(role, None, recorder);
    let metrics = Arc::new(metrics);
    let kept = Kept { runtime, identity: Arc::clone(&identity), metrics: Arc::clone(&metrics) };
    let catalog = SharingCatalog::new(id, database, roles, without, kept);
    let (all, own) = (roles.clone(), Arc::clone(&identity));
    let connect = move || Remote::new(&all, over_sockets(&all, &own));
    shutdown.spawn("the terms", Arc::clone(&catalog).run(connect, shutdown.clone()));
    agreement::start(roles, &identity, over_sockets(roles, &identity), &shutdown);

    let secret = roles.secret.clone();
    let seat = Seat::Shared(Arc::clone(&catalog));
    let routes = move |config: &mut _, calls: &mut _| {
        routes::configure(config, calls, &seat, secret.as_ref());
    };
    let served =
        server::serve(listener, Admission::of(roles, role), routes, &metrics.role, shutdown.stop())
            .await;
    catalog.leave().await;
    shutdown.end(served).await
}

/// Runs the one catalog of a store.
async fn run_alone(
    listener: TcpListener,
    roles: &Roles,
    without: &[ReplicaId],
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let settings = &roles.catalog;
    let path = roles.file_of(Role::Catalog, "db");
    let is_new = ["db", "marker"].iter().all(|kind| !roles.file_of(Role::Catalog, kind).exists());
    let (journal, loaded) = Journal::open(&path, &settings.toys, settings.initial_stock)?;
    refuse_to_start_over(roles, loaded.journal.length)?;
    log::info!(
        "the catalog of store {} has {} toys and {} orders; {}",
        loaded.store,
        loaded.shelves.len(),
        loaded.journal.length,
        loaded.leadership
    );
    let runtime: Arc<dyn Runtime> = Arc::new(runtime::System);
    let shutdown = Shutdown::new(stop, Arc::clone(&runtime));
    let (database, damage) = (journal.metrics(), journal.damage());
    let recorder = EventRecorder::new(Role::Catalog, roles.trace.events, &runtime);
    let storage = Arc::new(journal);
    let (service, jobs) = Service::new(storage, loaded, roles, shutdown.clone(), runtime, recorder);
    service.metrics.role.register(database);
    service.forgo(without).await.map_err(|error| RoleError::Without(error.to_string()))?;
    if let Err(stopped) = service.decide(|core, _| core.may_sell()) {
        if is_new {
            log::info!("this store is new; it sells once every replica in roles.toml has reported");
        } else {
            log::warn!("{stopped}");
        }
    }
    let remote = Remote::new(roles, over_sockets(roles, &service.identity));
    tasks::start(&service, jobs, remote, settings.restock_interval, &shutdown);
    shutdown.spawn("the check of the database", shutdown.clone().fail_by(damage));
    agreement::start(roles, &service.identity, over_sockets(roles, &service.identity), &shutdown);

    let secret = roles.secret.clone();
    let last = Arc::clone(&service);
    let seat = Seat::Alone(service);
    let routes = move |config: &mut _, calls: &mut _| {
        routes::configure(config, calls, &seat, secret.as_ref());
    };
    let admission = Admission::of(roles, Role::Catalog);
    let served =
        server::serve(listener, admission, routes, &last.metrics.role, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close().await;
    outcome
}
