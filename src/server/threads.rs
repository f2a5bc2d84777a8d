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
//!
//! # Which of a front-end's threads
//!
//! Each message to another role wakes up a thread there, and its answer one here. What the clients
//! of one thread ask for at the same time goes in one message; those of two threads send two. So a
//! thread gets a [few connections](FEW) before the next one gets any. Further ones go to the thread
//! with the fewest:
//!
//! ```text
//! five clients, spread               together
//! thread 1  a b c ─► message         thread 1  a b c d e ─► message
//! thread 2  d e ───► message         thread 2
//! ```

use std::io;
use std::net::{self, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use actix_service::{Service, ServiceFactory};
use actix_web::rt;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
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
/// How many connections a thread has before the next one gets any: so few clients, each of which
/// waits for an answer before it asks again, hardly keep a thread busy.
const FEW: usize = 8;

/// How a server ends.
#[derive(Clone)]
pub(super) struct ServerEnd {
    /// The server is to end.
    pub(super) stop: CancellationToken,
    /// It finishes what it has accepted, and takes no further requests.
    pub(super) draining: CancellationToken,
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
            let (mut servers, mut ends) = (Vec::new(), FuturesUnordered::new());
            for number in 1..=workers {
                let (server, end) = ServerThread::start(number, serving.clone(), end.clone())?;
                servers.push(server);
                ends.push(end);
            }
            let most = servers.len() * connections;
            let accepting = accept(listener, most, &end.stop, |stream, permit| {
                let chosen =
                    choose(servers.iter().map(|server| server.open.load(Ordering::Relaxed)));
                servers[chosen].hand(stream, permit);
            });
            match select(pin!(accepting), ends.next()).await {
                Either::Left((accepted, _)) => accepted?,
                // It does not end by itself, so that it says why.
                Either::Right((ended, _)) => ended.map_or(Ok(()), outcome)?,
            }
            drop(servers);
            while let Some(ended) = ends.next().await {
                outcome(ended)?;
            }
            Ok(())
        }
        Threads::Main => {
            let mut served = OpenConnections::by(&serving).await?;
            accept(listener, connections, &end.stop, |stream, permit| served.add(stream, permit))
                .await?;
            served.end(&end.draining).await;
            Ok(())
        }
    }
}

/// Returns which of the threads with so many connections gets the next one.
fn choose(loads: impl Iterator<Item = usize> + Clone) -> usize {
    let few = loads.clone().position(|load| load < FEW);
    let fewest = || loads.enumerate().min_by_key(|(_, load)| *load).map(|(number, _)| number);
    few.or_else(fewest).expect("a server has a thread")
}

/// A thread that serves connections.
struct ServerThread {
    accepted: mpsc::UnboundedSender<(net::TcpStream, ThreadPlace)>,
    /// How many connections it has.
    open: Arc<AtomicUsize>,
}

/// A connection's place on a thread. When it is dropped, the place is free; and then, not before,
/// another connection is accepted.
struct ThreadPlace {
    open: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl ServerThread {
    /// Starts the thread. Returns what it tells when it ends, too.
    fn start<S, F>(number: usize, serving: F, end: ServerEnd) -> io::Result<(Self, ThreadEnd)>
    where
        F: Fn() -> S + Send + 'static,
        S: ServiceFactory<TcpStream, Config = (), InitError = ()>,
        S::Service: 'static,
    {
        let (accepted, connections) = mpsc::unbounded_channel();
        let (outcome, ended) = oneshot::channel();
        thread::Builder::new().name(format!("server-{number}")).spawn(move || {
            let runtime = rt::Runtime::new();
            let served =
                runtime.and_then(|runtime| runtime.block_on(work(serving, connections, end)));
            let _the_server_has_ended = outcome.send(served);
        })?;
        Ok((Self { accepted, open: Arc::default() }, ended))
    }

    /// Hands a connection to the thread.
    fn hand(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // It leaves the present thread's poll. If it can't, or that thread has ended, it is closed.
        let Ok(stream) = stream.into_std() else { return };
        let _has_ended = self.accepted.send((stream, ThreadPlace::among(&self.open, permit)));
    }
}

/// What a thread tells when it ends, unless it panics.
type ThreadEnd = oneshot::Receiver<io::Result<()>>;

fn outcome(ended: Result<io::Result<()>, RecvError>) -> io::Result<()> {
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread that serves has panicked")))
}

/// Serves the connections that are handed to this thread until there are no more to come.
async fn work<S>(
    serving: impl Fn() -> S,
    mut connections: mpsc::UnboundedReceiver<(net::TcpStream, ThreadPlace)>,
    end: ServerEnd,
) -> io::Result<()>
where
    S: ServiceFactory<TcpStream, Config = (), InitError = ()>,
    S::Service: 'static,
{
    let mut served = OpenConnections::by(&serving).await?;
    while let Some((stream, place)) = connections.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => served.add(stream, place),
            Err(error) => log::debug!("a connection cannot be served: {error}"),
        }
    }
    served.end(&end.draining).await;
    Ok(())
}

impl ThreadPlace {
    fn among(open: &Arc<AtomicUsize>, permit: OwnedSemaphorePermit) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { open: Arc::clone(open), _permit: permit }
    }
}

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections that a thread serves.
struct OpenConnections<S> {
    serving: Rc<S>,
    tasks: JoinSet<()>,
}

impl<S: Service<TcpStream> + 'static> OpenConnections<S> {
    async fn by<F>(serving: &impl Fn() -> F) -> io::Result<Self>
    where
        F: ServiceFactory<TcpStream, Config = (), InitError = (), Service = S>,
    {
        let made = serving().new_service(()).await;
        let serving = Rc::new(made.map_err(|()| io::Error::other("it cannot be built"))?);
        Ok(Self { serving, tasks: JoinSet::new() })
    }

    /// Serves a connection, which holds its place until it has ended.
    fn add(&mut self, stream: TcpStream, place: impl Sized + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let serving = Rc::clone(&self.serving);
        self.tasks.spawn_local(async move {
            let _the_connection_has_ended = serving.call(stream).await;
            drop(place);
        });
    }

    /// Waits until all have answered what is under way.
    async fn end(mut self, draining: &CancellationToken) {
        let mut ended = pin!(async { while self.tasks.join_next().await.is_some() {} });
        if rt::time::timeout(PARTING_LIMIT, &mut ended).await.is_err() {
            draining.cancel();
            // What takes longer is dropped.
            let _in_time = rt::time::timeout(DRAIN_LIMIT, ended).await;
        }
    }
}

/// Accepts connections, of which at most `most` may be open, until `stop` is cancelled. Each comes
/// with a permit, which is to be held while it is open.
async fn accept(
    listener: TcpListener,
    most: usize,
    stop: &CancellationToken,
    mut serve: impl FnMut(TcpStream, OwnedSemaphorePermit),
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(most));
    let refusals = Repeats::default();
    let next = async || {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("it is never closed");
        (listener.accept().await, permit)
    };
    while let Some((accepted, permit)) = stop.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, _)) => {
                if let Some(lasted) = refusals.over(clock::now()) {
                    log::info!("connections are accepted again, after {lasted}");
                }
                serve(stream, permit);
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

#[cfg(test)]
mod tests {
    use actix_service::boxed::BoxService;
    use actix_service::fn_factory;

    use super::*;

    type Never = BoxService<TcpStream, (), ()>;

    #[actix_web::test]
    async fn a_server_ends_if_one_of_its_threads_cannot_serve() {
        let (stop, draining) = (CancellationToken::new(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let serving = || fn_factory(async || Err::<Never, ()>(()));
        let end = ServerEnd { stop, draining };
        serve(Threads::ForEachCore, listener, serving, end).await.unwrap_err();
    }

    #[test]
    fn few_connections_share_a_thread_and_many_are_spread_evenly() {
        let mut loads = [0; 3];
        for _ in 0..2 * FEW {
            loads[choose(loads.iter().copied())] += 1;
        }
        assert_eq!(loads, [FEW, FEW, 0]);
        for _ in 0..100 * loads.len() - 2 * FEW {
            loads[choose(loads.iter().copied())] += 1;
        }
        assert_eq!(loads, [100; 3]);
    }
}
