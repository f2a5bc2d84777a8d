//! A connection with a queue of calls, so that calls take effect in the order in which they are
//! made: the library sends a statement when its future is first polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::ended;
use super::session::ServerSession;
use crate::storage::{Outcome, StorageError};

/// Calls that may wait for one connection; more would wait longer than their limit.
const MOST_CALLS: usize = 1_024;

/// A connection and the calls that wait for it.
pub(super) struct CallQueue {
    calls: mpsc::Sender<QueuedCall>,
    /// A call failed: no more are made in this term.
    is_over: Arc<AtomicBool>,
    /// The calls that wait.
    waiting: IntGauge,
}

type QueuedCall = Box<dyn for<'a> FnOnce(&'a ServerSession) -> BoxFuture<'a, ()> + Send>;

impl CallQueue {
    pub(super) fn start(
        session: ServerSession,
        runtime: &Handle,
        end: &CancellationToken,
        is_over: &Arc<AtomicBool>,
        waiting: &IntGauge,
    ) -> Self {
        let (calls, mut queue) = mpsc::channel::<QueuedCall>(MOST_CALLS);
        let end = end.clone();
        runtime.spawn(async move {
            let serve = async {
                while let Some(call) = queue.recv().await {
                    call(&session).await;
                }
            };
            tokio::select! {
                () = end.cancelled() => {}
                () = serve => {}
            }
        });
        Self { calls, is_over: Arc::clone(is_over), waiting: waiting.clone() }
    }

    /// Makes a call after all earlier ones. It is queued when this function returns.
    pub(super) fn run<T, F>(&self, call: F) -> Outcome<'static, T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a ServerSession) -> BoxFuture<'a, Result<T, StorageError>>
            + Send
            + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let is_over = Arc::clone(&self.is_over);
        let waits = Waits::new(&self.waiting);
        let queued: QueuedCall = Box::new(move |session| {
            drop(waits);
            Box::pin(async move {
                let outcome = if is_over.load(Ordering::Relaxed) {
                    Err(session.lost("the term is over"))
                } else {
                    call(session).await
                };
                if outcome.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                // The caller may have stopped waiting; the call was made all the same.
                let _gone = done.send(outcome);
            })
        });
        let queued = self.calls.try_send(queued);
        Box::pin(async move {
            if queued.is_err() {
                return Err(StorageError::Lost("too many calls wait for the database".into()));
            }
            outcome.await.unwrap_or_else(|_ended| Err(ended()))
        })
    }
}

/// A call that waits, until it is dropped: it begins, or the term has ended.
struct Waits(IntGauge);

impl Waits {
    fn new(waiting: &IntGauge) -> Self {
        waiting.inc();
        Self(waiting.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}
