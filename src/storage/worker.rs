//! A database connection on a thread of its own: jobs in, outcomes out, in order.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{StorageError, classify};

/// Jobs that may wait for one thread; far more than a disk that is well leaves waiting.
const MOST_JOBS: usize = 1_024;

/// A connection and the thread that owns it.
pub(crate) struct Worker {
    path: PathBuf,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

impl Worker {
    /// Puts `connection` on a thread.
    pub(crate) fn start(
        name: &str,
        path: &Path,
        mut connection: Connection,
    ) -> Result<Self, StorageError> {
        let (jobs, queue) = sync_channel::<Job>(MOST_JOBS);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Ends when the last sender is gone, and closes the database with it.
                for job in queue {
                    job(&mut connection);
                }
            })
            .map_err(|error| StorageError::Broken(path.to_owned(), error.to_string()))?;
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread, after all that was asked before.
    ///
    /// The job is in the queue when this function returns, so that two calls are done in the order
    /// in which they were made, whenever their futures are awaited.
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
        let job: Job = Box::new(move |connection| {
            // Nobody waits for the outcome any more if the receiver is gone.
            let _unheard = done.send(work(connection));
        });
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        async move {
            if !queued {
                return Err(StorageError::Busy(path));
            }
            match outcome.await {
                Ok(result) => result.map_err(|error| classify(&path, &error)),
                Err(_) => Err(StorageError::Broken(path, "its thread has ended".into())),
            }
        }
    }
}

impl Drop for Worker {
    /// Lets the thread finish what it was asked and close the database in order.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_panic)) = ended {
            log::error!("the thread of {} ended in a panic", self.path.display());
        }
    }
}
