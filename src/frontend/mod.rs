//! The front-end: the store's door, which clients talk to.
//!
//! [`core`] decides: what the cache may answer, how the session with the catalog is kept, which
//! replica leads, when a call is retried. Around it, `routes` are what clients ask, `service` how
//! it is answered, and `tasks` what a front-end does on its own time.

pub mod core;
mod remote;
mod routes;
mod service;
pub mod single_flight;
mod tasks;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::remote::Remote;
use self::service::Service;
use crate::process::{RoleError, Shutdown};
use crate::roles::Roles;
use crate::server;

/// Runs front-end `number` (counted from 1) on `listener` until `stop` is cancelled.
///
/// # Errors
///
/// If its server fails.
pub async fn run(
    listener: TcpListener,
    roles: &Roles,
    number: u32,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let service = Arc::new(Service::new(number, roles));
    let remote = Rc::new(Remote::new(roles));
    let shutdown = Shutdown::new(stop);
    let own = || (Arc::clone(&service), Rc::clone(&remote));
    let (tasks, neighbours) = own();
    shutdown.spawn("the catalog's watch", tasks.watch_catalog(neighbours));
    if roles.cache.enabled {
        let (tasks, neighbours) = own();
        shutdown.spawn("the session", tasks.keep_session(neighbours));
    }
    for order in &roles.orders {
        let (tasks, neighbours) = own();
        shutdown.spawn("a health check", tasks.check_health(neighbours, order.id));
    }
    let (tasks, neighbours) = own();
    shutdown.spawn("the selection", tasks.select_leader(neighbours));

    let roles = roles.clone();
    let last = Arc::clone(&service);
    let routes = move |config: &mut _| routes::configure(config, &service, &roles);
    let served = server::serve(listener, routes, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close(&remote).await;
    outcome
}
