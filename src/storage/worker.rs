//! A database connection on a thread of its own, which runs jobs in the order of their arrival.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use prometheus::IntGauge;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::metrics::{DatabaseMetrics, waiting};
use super::{StorageError, classify};

/// Jobs that may wait for one thread. A disk that works leaves a few waiting; at this limit it
/// hangs, and callers are told that the database is busy.
const MOST_JOBS: usize = 1_024;

/// A connection, and the thread that owns it.
pub(crate) struct Worker {
    path: PathBuf,
    jobs: Option<SyncSender<QueuedJob>>,
    thread: Option<JoinHandle<()>>,
    /// The jobs that wait.
    waiting: IntGauge,
}

type QueuedJob = Box<dyn FnOnce(&mut Connection) + Send>;

impl Worker {
    /// Starts a thread that owns `connection`.
    pub(crate) fn start(
        name: &str,
        path: &Path,
        mut connection: Connection,
    ) -> Result<Self, StorageError> {
        let (jobs, queue) = sync_channel::<QueuedJob>(MOST_JOBS);
        let waiting = waiting();
        let taken = waiting.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The loop ends when the sender is dropped, and the connection is closed.
                for job in queue {
                    taken.dec();
                    job(&mut connection);
                }
            })
            .map_err(|error| StorageError::Broken(path.to_owned(), error.to_string()))?;
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), thread: Some(thread), waiting })
    }

    /// Returns the metrics of the database at `path`, which this thread writes.
    pub(crate) fn metrics(&self) -> DatabaseMetrics {
        DatabaseMetrics::new(&self.path, self.waiting.clone())
    }

    /// Runs `work` on the thread, after all earlier jobs.
    ///
    /// The job is queued when this function returns. So jobs run in the order of the calls, in
    /// whatever order the futures are awaited.
    pub(crate) fn run<T, F>(
        &self,
        work: F,
    ) -> impl Future<Output = Result<T, StorageError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let path = self.path.clone();
        let (done, outcome) = oneshot::channel();
        let job: QueuedJob = Box::new(move |connection| {
            // The caller may have stopped waiting; the job is done all the same.
            let _caller_gone = done.send(work(connection));
        });
        self.waiting.inc();
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !queued {
            self.waiting.dec();
        }
        async move {
            if !queued {
                return Err(StorageError::Busy(path));
            }
            match outcome.await {
                Ok(result) => result.map_err(|error| classify(&path, &error)),
                Err(_) => Err(StorageError::Broken(path, "its thread has panicked".into())),
            }
        }
    }
}

impl Drop for Worker {
    /// Waits until the thread has run all queued jobs and closed the database.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_panic)) = ended {
            log::error!("the thread of the database {} panicked", self.path.display());
        }
    }
}
