//! Which threads serve a role's connections, and how they end.
//!
//! A front-end has a thread for each core, since each of its clients may be busy. A catalog and a
//! replica do everything except waiting for the disk on their main thread: what an order takes
//! there is short, and most of it is the work of tasks. With worker threads, each order would wake
//! the main thread to reach a task, and a worker to be answered, which takes longer than the work
//! itself:
//!
//! ```text
//! worker thread   frame ─┐                 ┌─► answer
//! main thread            └─► task ─┐   ┌───┘
//! writing thread                   └─►─┘                 4 threads to wake up
//!
//! main thread     frame ─► task ─┐   ┌─► answer
//! writing thread                 └─►─┘                   2
//! ```
//!
//! What clients ask for on that thread does not hold up this work: they stand in
//! [line](super::lines).

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use actix_service::{Service, ServiceFactory};
use actix_web::rt;
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::descriptors::{Descriptors, Threads};
use crate::repeats::Repeats;

/// How long a stopping server waits for what it has accepted: a little more than the front-end's
/// deadline for a purchase.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// How long connections are given to end when they have answered what is under way, before those
/// that are left are told to.
const PARTING_LIMIT: Duration = Duration::from_millis(400);
/// How long nothing is accepted after the kernel refused to, as when no file can be opened.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// How a server ends.
#[derive(Clone)]
pub(super) struct ServerEnd {
    /// The server is to end.
    pub(super) stop: CancellationToken,
    /// It finishes what it has accepted, and takes no further requests.
    pub(super) draining: CancellationToken,
    /// How many connections are left.
    pub(super) connections: IntGauge,
}

/// Serves connections by what `serving` makes for each thread, until the server has ended.
pub(super) async fn serve<S, F>(
    threads: Threads,
    listener: TcpListener,
    serving: F,
    end: ServerEnd,
) -> io::Result<()>
where
    F: Fn() -> S + Clone + Send + 'static,
    S: ServiceFactory<TcpStream, Config = (), InitError = ()> + 'static,
    S::Service: 'static,
{
    let Descriptors { workers, connections, .. } = threads.descriptors();
    match threads {
        Threads::ForEachCore => {
            let server = Server::build()
                .workers(workers)
                .max_concurrent_connections(connections)
                .disable_signals()
                .shutdown_timeout(DRAIN_LIMIT.as_secs())
                .listen("http", listener, serving)?
                .run();
            rt::spawn(end.end(server.handle()));
            server.await
        }
        Threads::Main => {
            let made = serving().new_service(()).await;
            let serving = Rc::new(made.map_err(|()| io::Error::other("it cannot be built"))?);
            let mut served = JoinSet::new();
            accept(listener, serving, connections, &end.stop, &mut served).await?;
            let mut ended = std::pin::pin!(async { while served.join_next().await.is_some() {} });
            if rt::time::timeout(PARTING_LIMIT, &mut ended).await.is_err() {
                end.draining.cancel();
                // What takes longer is dropped.
                let _in_time = rt::time::timeout(DRAIN_LIMIT, ended).await;
            }
            Ok(())
        }
    }
}

impl ServerEnd {
    /// Ends actix's server once it is told to stop. While it ends, it looks for what is left of its
    /// connections once a second, so those that have nothing to wait for are given time to end
    /// first.
    async fn end(self, server: ServerHandle) {
        const LOOK_INTERVAL: Duration = Duration::from_millis(10);
        self.stop.cancelled().await;
        server.pause().await;
        let parted = async {
            while self.connections.get() > 0 {
                rt::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let _all_have = rt::time::timeout(PARTING_LIMIT, parted).await;
        self.draining.cancel();
        server.stop(true).await;
    }
}

/// Accepts connections, of which at most `most` may be open, until `stop` is cancelled.
async fn accept<S>(
    listener: TcpListener,
    serving: Rc<S>,
    most: usize,
    stop: &CancellationToken,
    served: &mut JoinSet<()>,
) -> io::Result<()>
where
    S: Service<TcpStream> + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(most));
    let refusals = Repeats::default();
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        (listener.accept().await, place)
    };
    while let Some((accepted, place)) = stop.run_until_cancelled(next()).await {
        while served.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                if let Some(lasted) = refusals.over(clock::now()) {
                    log::info!("connections are accepted again, after {lasted}");
                }
                let serving = Rc::clone(&serving);
                served.spawn_local(async move {
                    let _the_connection_has_ended = serving.call(stream).await;
                    drop(place);
                });
                // The thread's other work goes on while many connect.
                yield_now().await;
            }
            // Only that client has gone.
            Err(error) if is_of_a_client(&error) => {}
            Err(error) => {
                if refusals.happened(&error.to_string(), clock::now()) {
                    log::error!("no connection can be accepted: {error}");
                }
                let _stops = stop.run_until_cancelled(rt::time::sleep(REFUSED_PAUSE)).await;
            }
        }
    }
    Ok(())
}

fn is_of_a_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
