//! The catalog's database on PostgreSQL: one that several catalogs share.
//!
//! A thread of its own runs all connections, so that no server thread waits for a database. While a
//! catalog stands by, it has a connection to each server and asks all of them at once which is the
//! primary. A `Tenure` has three connections to that one server, one for writes, one for reads and
//! one for beats, and none of them is ever made anew.
//!
//! # When a write is on the standbys
//!
//! A commit waits for them, if the server is told to, and three things may let it end too early: a
//! cancelled wait, which the server says in a warning; a list of standbys that was emptied; a
//! setting that never named any. So each write is followed, on its connection, by a look at how
//! many synchronous standbys there are. If a warning has come, or there are too few, the write is
//! [`Lost`](StorageError::Lost).

mod commands;
mod metrics;
mod password;
mod portable;
mod primary;
mod queue;
mod reads;
mod rows;
mod schema;
mod session;
mod statements;
mod tenure;
mod tls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::commands::{migrate, move_from, move_to};
pub use self::metrics::PostgresMetrics;
use self::primary::{DIAL_LIMIT, Primary, Servers};
use self::rows::{chain_of, natural};
pub use self::schema::Migration;
use self::session::Login;
use self::tenure::PostgresTenure;
use super::shared::{Beat, Observed, SharedDatabase, Tenure};
use crate::roles::{PostgresSettings, ToyRole};
use crate::storage::{Outcome, StorageError};
use crate::wire::order::Position;
use crate::wire::term::{CatalogId, Term};

/// For a beat, a look-up, a commit or a claim. A standby on the next machine takes milliseconds;
/// the lease is longer. A catalog waits as long for each of its writes (`WRITE_LIMIT` in
/// `running_term.rs`).
const CALL_LIMIT: Duration = Duration::from_millis(600);

/// Who rules, and how many synchronous standbys have that row: all that was written before it was
/// read.
const OBSERVE: &str = "
    SELECT schema, store, term, beat, holder, length, chain,
        (SELECT count(*) FROM pg_stat_replication
         WHERE sync_state IN ('sync', 'quorum') AND flush_lsn >= pg_current_wal_lsn())
    FROM cluster";

/// A PostgreSQL database, as one catalog uses it.
pub struct Database {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Ends the thread.
    _thread: DropGuard,
}

/// What the jobs on the thread share.
struct Shared {
    servers: Servers,
    own: CatalogId,
    standbys: u32,
    toys: Vec<ToyRole>,
    initial: u64,
    sighted: Mutex<Sighted>,
    metrics: PostgresMetrics,
}

/// What this process has seen.
#[derive(Clone, Default)]
struct Sighted {
    primary: Option<Primary>,
    newest: Written,
}

/// What certainly is on as many standbys as there must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    term: Term,
    length: u64,
}

impl Database {
    /// The database of `settings`, for the catalog `own`, and the thread that serves it. Nothing is
    /// connected yet. The catalog sells `toys`, new ones with a quantity of `initial`.
    ///
    /// # Errors
    ///
    /// If the password's file or the certificates cannot be used.
    pub fn new(
        settings: &PostgresSettings,
        own: CatalogId,
        toys: &[ToyRole],
        initial: u64,
    ) -> Result<Self, StorageError> {
        let shared = Shared {
            servers: Servers::new(Login::new(&settings.database)?, settings.standbys),
            own,
            standbys: settings.standbys,
            toys: toys.to_vec(),
            initial,
            sighted: Mutex::default(),
            metrics: PostgresMetrics::new(),
        };
        let (runtime, thread) = start_thread()?;
        Ok(Self { shared: Arc::new(shared), runtime, _thread: thread })
    }

    /// Returns what the database tells Prometheus.
    #[must_use]
    pub fn metrics(&self) -> PostgresMetrics {
        self.shared.metrics.clone()
    }

    /// Runs a job on the thread. It is under way when this function returns.
    fn on_thread<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Outcome<'static, T> {
        let (done, outcome) = oneshot::channel();
        self.runtime.spawn(async move {
            let outcome = job.await;
            // The caller may have stopped waiting.
            let _gone = done.send(outcome);
        });
        Box::pin(async move { outcome.await.unwrap_or_else(|_ended| Err(ended())) })
    }
}

impl SharedDatabase for Database {
    fn observe(&self) -> Outcome<'_, Observed> {
        let shared = Arc::clone(&self.shared);
        self.on_thread(async move { shared.observe().await })
    }

    fn claim(&self, seen: Beat) -> Outcome<'_, Option<Arc<dyn Tenure>>> {
        let (shared, runtime) = (Arc::clone(&self.shared), self.runtime.clone());
        self.on_thread(async move {
            let claimed = shared.claim(seen, &runtime).await?;
            Ok(claimed.map(|tenure| Arc::new(tenure) as Arc<dyn Tenure>))
        })
    }
}

impl Shared {
    async fn observe(&self) -> Result<Observed, StorageError> {
        let (primary, session) = self.servers.find_primary().await?;
        let row = timeout(DIAL_LIMIT, session.query_one(OBSERVE, &[])).await;
        let row = row.map_err(|_late| session.lost("it does not say who rules"))??;
        schema::check(row.get(0))?;
        let store = schema::store_of(row.get(1))?;
        let beat = Beat { term: Term(natural(&row, 2)?), count: natural(&row, 3)? };
        let holder: Option<i64> = row.get(4);
        let holder = holder.and_then(|id| u32::try_from(id).ok()).map(CatalogId);
        let journal = Position { length: natural(&row, 5)?, chain: chain_of(&row, 6)? };
        let is_safe = row.get::<_, i64>(7) >= i64::from(self.standbys);
        let found = Written { term: beat.term, length: journal.length };
        self.compare(&primary, found)?;
        if is_safe {
            self.confirm(found);
        }
        self.sighted().primary = Some(primary.clone());
        let Primary { server, standbys, .. } = primary;
        Ok(Observed { beat, holder, store, journal, primary: server.to_string(), standbys })
    }

    /// Refuses a primary that lacks what is known to be on standbys.
    fn compare(&self, primary: &Primary, found: Written) -> Result<(), StorageError> {
        let newest = self.sighted().newest;
        if found.term >= newest.term && found.length >= newest.length {
            return Ok(());
        }
        Err(StorageError::Unusable(format!(
            "{} is the primary and has term {} and {} orders, but term {} and {} orders were \
             written: it was promoted without the last writes, or restored; stop it, and promote \
             the standby that has them",
            primary.server, found.term, found.length, newest.term, newest.length
        )))
    }

    /// Remembers what is on standbys. (What a primary alone shows after it has crashed may never
    /// have come to one.)
    fn confirm(&self, written: Written) {
        let newest = &mut self.sighted().newest;
        newest.term = newest.term.max(written.term);
        newest.length = newest.length.max(written.length);
    }

    fn sighted(&self) -> std::sync::MutexGuard<'_, Sighted> {
        self.sighted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim(
        self: &Arc<Self>,
        seen: Beat,
        runtime: &Handle,
    ) -> Result<Option<PostgresTenure>, StorageError> {
        let primary = self.sighted().primary.clone();
        let primary = primary.ok_or_else(|| StorageError::Lost("no primary was seen".into()))?;
        let dialled = (0..3).map(|_| self.servers.dial_primary(&primary));
        let dialled = timeout(DIAL_LIMIT, join_all(dialled)).await;
        let dialled = dialled.map_err(|_late| {
            StorageError::Lost(format!("{}: it does not answer", primary.server))
        })?;
        let mut sessions = dialled.into_iter();
        let mut next = || sessions.next().expect("three were dialled");
        let (writes, reads, beats) = (next()?, next()?, next()?);
        let claimed = tenure::claim(&writes, seen, self.own, self.standbys).await?;
        Ok(claimed.map(|claimed| {
            PostgresTenure::new(Arc::clone(self), claimed, runtime, [writes, reads, beats])
        }))
    }
}

/// The thread has ended before a job was done.
fn ended() -> StorageError {
    StorageError::Lost("the thread of the database has ended".into())
}

/// Starts the thread. It ends when the guard is dropped, and all connections with it.
fn start_thread() -> Result<(Handle, DropGuard), StorageError> {
    let failed = |error: std::io::Error| {
        StorageError::Lost(format!("the thread of the database cannot be started: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
    let stopped = stop.clone();
    std::thread::Builder::new()
        .name("postgres".into())
        .spawn(move || {
            runtime.block_on(stopped.cancelled());
            // Without waiting for a name that is being looked up.
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok((handle, stop.drop_guard()))
}
