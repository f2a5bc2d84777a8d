//! The front-end: what clients talk to.
//!
//! [`core`] decides: what the cache may answer, how the session with the catalog is kept, which
//! replica leads, when a call is retried. Around it, `routes` are what clients ask, `service` how
//! it is answered, and `tasks` what a front-end does on its own time.

pub mod answers;
pub mod core;
mod document;
mod leader;
mod metrics;
mod page;
mod readiness;
pub mod remote;
mod reports;
pub mod routes;
pub mod service;
pub mod single_flight;
mod spans;
pub mod tasks;
mod traces;
mod view;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::document::Document;
use self::page::Page;
use self::page::events::Events;
use self::remote::Remote;
use self::service::Service;
use crate::agreement;
use crate::events::EventRecorder;
use crate::identity::Identity;
use crate::neighbours::over_sockets;
use crate::process::RoleError;
use crate::roles::{Role, Roles};
use crate::runtime::{self, Runtime};
use crate::server::{self, Admission};
use crate::shutdown::Shutdown;

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
    let runtime: Arc<dyn Runtime> = Arc::new(runtime::System);
    let role = Role::Frontend(number);
    let recorder = EventRecorder::new(role, roles.trace.events, &runtime);
    let identity = Identity::recording(role, None, recorder);
    let service = Service::new(identity, number, roles, Arc::clone(&runtime));
    let remote = Rc::new(Remote::new(roles, over_sockets(roles, &service.identity)));
    let shutdown = Shutdown::new(stop, runtime);
    tasks::start(&service, &remote, roles, &shutdown);
    spans::start(&service, &remote, roles, &shutdown);
    agreement::start(roles, &service.identity, over_sockets(roles, &service.identity), &shutdown);

    let (roles, admission) = (roles.clone(), Admission::of(roles, role));
    let last = Arc::clone(&service);
    let (page, document) = (Page::of_this_process(), Document::of_this_version());
    let events = Events::new(&service, &roles, shutdown.stop());
    events.start(&remote, &roles, over_sockets(&roles, &service.identity), &shutdown);
    let routes = move |config: &mut _, calls: &mut _| {
        routes::configure(config, calls, &service, &roles);
        page::routes(config, &page, &events);
        document::routes(config, &document);
    };
    let served =
        server::serve(listener, admission, routes, &last.metrics.role, shutdown.stop()).await;
    let outcome = shutdown.end(served).await;
    last.close(&remote).await;
    outcome
}
