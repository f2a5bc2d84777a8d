//! Which threads serve a role's connections, and how they end.
//!
//! A front-end has a thread for each core, since each of its clients may be busy. A catalog and a
//! replica do all on their main thread but wait for the disk: what an order takes there is short,
//! and most of it is the work of tasks. On another thread, each order would wake that one up to
//! reach a task, and be woken up for its answer, which takes longer than the work itself:
//!
//! ```text
//! worker thread   frame ─┐                 ┌─► answer
//! main thread            └─► task ─┐   ┌───┘
//! writing thread                   └─►─┘                 4 threads to wake up
//!
//! main thread     frame ─► task ─┐   ┌─► answer
//! writing thread                 └─►─┘                   2
//! ```

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
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::descriptors::{Descriptors, Threads};

/// How long a stopping server waits for what it has accepted: a little more than the front-end's
/// deadline for a purchase.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
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
        Threads::Own => {
            let made = serving().new_service(()).await;
            let serving = Rc::new(made.map_err(|()| io::Error::other("it cannot be built"))?);
            let mut served = JoinSet::new();
            accept(listener, serving, connections, &end.stop, &mut served).await?;
            end.draining.cancel();
            let ended = async { while served.join_next().await.is_some() {} };
            // What takes longer is dropped.
            let _in_time = rt::time::timeout(DRAIN_LIMIT, ended).await;
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
        const LOOKS: u32 = 40;
        self.stop.cancelled().await;
        server.pause().await;
        for _ in 0..LOOKS {
            if self.connections.get() == 0 {
                break;
            }
            rt::time::sleep(LOOK_INTERVAL).await;
        }
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
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        (listener.accept().await, place)
    };
    while let Some((accepted, place)) = stop.run_until_cancelled(next()).await {
        while served.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let serving = Rc::clone(&serving);
                served.spawn_local(async move {
                    let _the_connection_has_ended = serving.call(stream).await;
                    drop(place);
                });
            }
            // Only that client has gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                log::error!("no connection can be accepted: {error}");
                rt::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    Ok(())
}
