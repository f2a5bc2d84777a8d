//! An order replica: it keeps the orders on its own disk and, if it leads, sells.
//!
//! [`core`] decides: which rows continue the log, who leads, what goes into a batch, when an order
//! is acknowledged. Around it, `service` answers what other roles ask, `tasks` is what a replica
//! does on its own time, `reports` what it tells the catalog and learns, and [`order_log`] is the
//! database.

mod conditions;
pub mod core;
mod errors;
mod metrics;
pub mod order_log;
pub mod remote;
mod reports;
pub mod routes;
pub mod service;
pub mod storage;
pub mod tasks;
mod timeline;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::order_log::OrderLog;
use self::remote::Remote;
use self::service::Service;
use self::storage::Storage;
use crate::agreement;
use crate::events::EventRecorder;
use crate::identity::Identity;
use crate::neighbours::over_sockets;
use crate::process::RoleError;
use crate::roles::{Role, Roles};
use crate::runtime::{self, Runtime};
use crate::server::{self, Admission};
use crate::shutdown::Shutdown;
use crate::wire::replication::ReplicaId;

/// Runs the replica `id` on `listener` until `stop` is cancelled.
///
/// # Errors
///
/// If its database cannot be used, or fails on the way.
pub async fn run(
    listener: TcpListener,
    roles: &Roles,
    id: ReplicaId,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let (log, end) = OrderLog::open_or_set_aside(&roles.file_of(Role::Order(id), "db"))?;
    log::info!("replica {id} has {} orders", end.length);
    let runtime: Arc<dyn Runtime> = Arc::new(runtime::System);
    let shutdown = Shutdown::new(stop, Arc::clone(&runtime));
    let role = Role::Order(id);
    let recorder = EventRecorder::new(role, roles.trace.events, &runtime);
    let identity = Identity::recording(role, log.store(), recorder);
    agreement::start(roles, &identity, over_sockets(roles, &identity), &shutdown);
    let remote = Rc::new(Remote::new(roles, id, over_sockets(roles, &identity)));
    let others = remote.others().collect();
    let (metrics, damage) = (log.metrics(), log.damage());
    let database: (Box<dyn Storage>, _) = (Box::new(log), end);
    let service = Service::new(id, others, database, shutdown.clone(), runtime, identity);
    service.metrics.role.register(metrics);
    tasks::start(&service, &remote, &shutdown);
    shutdown.spawn("the check of the database", shutdown.clone().fail_by(damage));

    let (roles, admission) = (roles.clone(), Admission::of(roles, role));
    let last = Arc::clone(&service);
    let routes =
        move |config: &mut _, calls: &mut _| routes::configure(config, calls, &service, &roles);
    let served =
        server::serve(listener, admission, routes, &last.metrics.role, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close().await;
    outcome
}
