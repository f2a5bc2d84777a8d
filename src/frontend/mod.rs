//! The front-end: the store's door, which clients talk to.
//!
//! [`cache`](core::cache) decides what it may answer by itself, [`tenancy`](core::tenancy) how it keeps its session with the
//! catalog, [`selection`](core::selection) whom it takes for the leader, [`retry`](core::retry) when it asks again, [`flights`](core::flights)
//! who shares a question. `tasks` has the tasks that keep all this up.

pub mod core;
pub mod misses;
mod remote;
mod routes;
mod service;
mod tasks;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::remote::Remote;
use self::service::Service;
use crate::process::{Lifeline, RoleError};
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
    let lifeline = Lifeline::new(stop);
    let own = || (Arc::clone(&service), Rc::clone(&remote));
    let (tasks, neighbours) = own();
    lifeline.spawn("the catalog's watch", tasks.watch_catalog(neighbours));
    if roles.cache.enabled {
        let (tasks, neighbours) = own();
        lifeline.spawn("the session", tasks.keep_session(neighbours));
    }
    for order in &roles.orders {
        let (tasks, neighbours) = own();
        lifeline.spawn("a health check", tasks.check_health(neighbours, order.id));
    }
    let (tasks, neighbours) = own();
    lifeline.spawn("the selection", tasks.select_leader(neighbours));

    let roles = roles.clone();
    let last = Arc::clone(&service);
    let routes = move |config: &mut _| routes::configure(config, &service, &roles);
    let served = server::serve(listener, routes, lifeline.stop()).await;
    let outcome = lifeline.end(served).await;
    last.close(&remote).await;
    outcome
}
