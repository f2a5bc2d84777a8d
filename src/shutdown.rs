//! How a role ends: its server first, then its tasks; in order or because of a failure.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::RoleError;
use crate::runtime::Runtime;

/// A role's tasks, and the word that it is to end.
///
/// A role ends in two steps. It is told to stop, and its server finishes the requests that it has
/// accepted, for which it needs the tasks. Then the tasks end. A role that fails is told to stop as
/// well.
#[derive(Clone)]
pub struct Shutdown {
    runtime: Arc<dyn Runtime>,
    stop: CancellationToken,
    served: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<RoleError>>>,
}

impl Shutdown {
    /// A role whose tasks run on `runtime` and that ends when `stop` is cancelled.
    #[must_use]
    pub fn new(stop: CancellationToken, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            runtime,
            stop,
            served: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failure: Arc::default(),
        }
    }

    /// Returns the token that is cancelled when the role is to end.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends the role because of `error`. If it fails more than once, the first failure is reported.
    pub fn fail(&self, error: impl Into<RoleError>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error.into());
        self.stop.cancel();
    }

    /// Ends the role once `error` resolves.
    pub async fn fail_by(self, error: impl Future<Output: Into<RoleError>>) {
        self.fail(error.await);
    }

    /// Runs a task until the server has finished. A panic in it ends the role: an invariant is
    /// broken, and going on might write the consequences to disk.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let shutdown = self.clone();
        let task = AssertUnwindSafe(task).catch_unwind();
        let task = self.tasks.track_future(async move {
            tokio::select! {
                biased;
                () = shutdown.served.cancelled() => {}
                ended = task => if ended.is_err() {
                    shutdown.fail(RoleError::Panicked(name));
                }
            }
        });
        self.runtime.spawn(Box::pin(task));
    }

    /// Ends the tasks once the server has finished.
    ///
    /// # Errors
    ///
    /// What made the role fail, or the server's own error.
    pub async fn end(self, served: io::Result<()>) -> Result<(), RoleError> {
        self.served.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        match self.take_failure() {
            Some(failure) => Err(failure),
            None => served.map_err(RoleError::Serve),
        }
    }

    /// Takes the reason for which the role failed, if it did.
    #[must_use]
    pub fn take_failure(&self) -> Option<RoleError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
