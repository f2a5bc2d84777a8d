//! An order replica: it keeps the orders on its own disk and, if it leads, sells.
//!
//! [`core`] decides: which rows continue the log, who leads, what goes into a batch, when an order
//! is acknowledged. Around it, `service` answers what others ask of a replica, and `tasks`,
//! `catch_up` and `watch` are what it does on its own time.

mod catch_up;
pub mod core;
pub mod order_log;
mod remote;
mod routes;
mod service;
mod tasks;
mod watch;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::order_log::OrderLog;
use self::remote::Remote;
use self::service::Service;
use crate::process::{RoleError, Shutdown};
use crate::roles::{Role, Roles};
use crate::server;
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
    let shutdown = Shutdown::new(stop);
    let remote = Rc::new(Remote::new(roles, id));
    let others = remote.others().collect();
    let service = Arc::new(Service::new(id, others, log, end, shutdown.clone()));
    let own = || (Arc::clone(&service), Rc::clone(&remote));
    let (tasks, neighbours) = own();
    shutdown.spawn("the watch", tasks.watch(neighbours));
    let (tasks, neighbours) = own();
    shutdown.spawn("the catching up", tasks.catch_up(neighbours));
    let (tasks, neighbours) = own();
    shutdown.spawn("the selling task", tasks.sell(neighbours));
    for follower in remote.others() {
        let (tasks, neighbours) = own();
        shutdown.spawn("the replicating_to on", tasks.replicate(neighbours, follower));
    }
    shutdown.spawn("the followers' watch", Arc::clone(&service).watch_followers());

    let roles = roles.clone();
    let last = Arc::clone(&service);
    let routes = move |config: &mut _| routes::configure(config, &service, &roles);
    let served = server::serve(listener, routes, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close().await;
    outcome
}
