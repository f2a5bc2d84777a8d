//! The catalog's database on PostgreSQL: one that several catalogs share.
//!
//! A thread of its own runs all connections, so that no server thread waits for a database. While a
//! catalog stands by, it has a connection to each server and asks all of them at once which is the
//! primary. A [`Tenure`](tenure) has three connections to that one server, one for writes, one for
//! reads and one for beats, and none of them is ever made anew.
//!
//! # Which server is the primary
//!
//! The one that is not in recovery; of several, the one with the highest timeline, which is the one
//! that was promoted last. A server that was promoted although it lacked writes shows an older term
//! or a shorter journal than is known to be on standbys, and is refused.
//!
//! # When a write is on the standbys
//!
//! A commit waits for them, if the server is told to, and three things may let it end too early: a
//! cancelled wait, which the server says in a warning; a list of standbys that was emptied; a
//! setting that never named any. So each write is followed, on its connection, by a look at how
//! many synchronous standbys there are. If a warning has come, or there are too few, the write is
//! [`Lost`](StorageError::Lost).

mod password;
mod queue;
mod reads;
mod rows;
mod schema;
mod session;
mod statements;
mod tenure;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::rows::natural;
pub use self::schema::Migration;
use self::session::{Login, ServerSession};
use self::tenure::PostgresTenure;
use super::shared::{Beat, Observed, SharedDatabase, Tenure};
use crate::roles::{Address, PostgresSettings, ToyRole};
use crate::storage::{Outcome, StorageError};
use crate::wire::term::{CatalogId, Term};

/// For one server to connect, log in and answer; and for all of them, since they are asked at once.
const DIAL_LIMIT: Duration = Duration::from_millis(400);
/// For a beat, a look-up, a commit or a claim. A standby on the next machine takes milliseconds;
/// the lease is longer.
const CALL_LIMIT: Duration = Duration::from_millis(600);

/// What a server says of itself: whether it is in recovery, its timeline, how many synchronous
/// standbys it has, and whether this user may see what they do.
const PROBE: &str = "
    SELECT pg_is_in_recovery(),
        CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
        END,
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
        pg_has_role('pg_read_all_stats', 'USAGE')";

/// Who rules, and how many synchronous standbys have that row: all that was written before it was
/// read.
const OBSERVE: &str = "
    SELECT schema, store, term, beat, holder, length,
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
    login: Login,
    own: CatalogId,
    standbys: u32,
    toys: Vec<ToyRole>,
    initial: u64,
    /// The connections with which this process stands by.
    sessions: Mutex<HashMap<Address, Arc<ServerSession>>>,
    sighted: Mutex<Sighted>,
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

/// A server that is not in recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Primary {
    server: Address,
    timeline: String,
    standbys: u32,
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
            login: Login::new(&settings.database)?,
            own,
            standbys: settings.standbys,
            toys: toys.to_vec(),
            initial,
            sessions: Mutex::default(),
            sighted: Mutex::default(),
        };
        let (runtime, thread) = start_thread()?;
        Ok(Self { shared: Arc::new(shared), runtime, _thread: thread })
    }

    /// Creates the tables, or upgrades them. Returns what it did.
    ///
    /// # Errors
    ///
    /// If there is no primary, or the tables are newer than this executable.
    pub async fn migrate(&self) -> Result<Migration, StorageError> {
        let shared = Arc::clone(&self.shared);
        self.on_thread(async move {
            let (primary, session) = shared.find_primary().await?;
            let migration = schema::migrate(&session).await?;
            log::debug!("the primary is {}", primary.server);
            Ok(migration)
        })
        .await
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
        let (primary, session) = self.find_primary().await?;
        let row = timeout(DIAL_LIMIT, session.query_one(OBSERVE, &[])).await;
        let row = row.map_err(|_late| session.lost("it does not say who rules"))??;
        schema::check(row.get(0))?;
        let store = schema::store_of(row.get(1))?;
        let beat = Beat { term: Term(natural(&row, 2)?), count: natural(&row, 3)? };
        let holder: Option<i64> = row.get(4);
        let holder = holder.and_then(|id| u32::try_from(id).ok()).map(CatalogId);
        let journal = Written { term: beat.term, length: natural(&row, 5)? };
        let is_safe = row.get::<_, i64>(6) >= i64::from(self.standbys);
        self.compare(&primary, journal)?;
        if is_safe {
            self.confirm(journal);
        }
        self.sighted().primary = Some(primary.clone());
        let Primary { server, standbys, .. } = primary;
        Ok(Observed { beat, holder, store, primary: server.to_string(), standbys })
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

    /// Asks all servers at once, and returns the primary with a connection to it.
    async fn find_primary(&self) -> Result<(Primary, Arc<ServerSession>), StorageError> {
        let probes = self.login.servers().iter().map(|server| async move {
            let probed = timeout(DIAL_LIMIT, self.probe(server)).await;
            let late = || Err(StorageError::Lost(format!("{server}: it does not answer")));
            let probed = probed.unwrap_or_else(|_late| late());
            if probed.is_err() {
                self.sessions().remove(server);
            }
            probed
        });
        let mut best: Option<(Primary, Arc<ServerSession>)> = None;
        let mut problems = Vec::new();
        for probed in join_all(probes).await {
            match probed {
                Ok(Some(found))
                    if best.as_ref().is_none_or(|(it, _)| found.0.timeline > it.timeline) =>
                {
                    best = Some(found);
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        best.ok_or_else(|| no_primary(&problems))
    }

    /// Asks one server. `None` if it is in recovery.
    async fn probe(
        &self,
        server: &Address,
    ) -> Result<Option<(Primary, Arc<ServerSession>)>, StorageError> {
        let known = self.sessions().get(server).cloned();
        let session = match known {
            Some(session) => session,
            None => Arc::new(self.login.dial(server).await?),
        };
        let probed = probe(&session, self.standbys).await?;
        self.sessions().insert(server.clone(), Arc::clone(&session));
        Ok(probed.map(|primary| (primary, session)))
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Arc<ServerSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim(
        self: &Arc<Self>,
        seen: Beat,
        runtime: &Handle,
    ) -> Result<Option<PostgresTenure>, StorageError> {
        let primary = self.sighted().primary.clone();
        let primary = primary.ok_or_else(|| StorageError::Lost("no primary was seen".into()))?;
        let dialled = (0..3).map(|_| self.dial_primary(&primary));
        let dialled = timeout(DIAL_LIMIT, join_all(dialled)).await;
        let dialled = dialled.map_err(|_late| {
            StorageError::Lost(format!("{}: it does not answer", primary.server))
        })?;
        let mut sessions = dialled.into_iter();
        let mut next = || sessions.next().expect("three were dialled");
        let (writes, reads, beats) = (next()?, next()?, next()?);
        let claimed = tenure::claim(&writes, seen, self.own, self.standbys).await?;
        Ok(claimed.map(|term| {
            PostgresTenure::new(Arc::clone(self), term, runtime, [writes, reads, beats])
        }))
    }

    /// Connects to the server that was seen to be the primary, if it still is the same.
    async fn dial_primary(&self, primary: &Primary) -> Result<ServerSession, StorageError> {
        let session = self.login.dial(&primary.server).await?;
        let probed = probe(&session, self.standbys).await?;
        if probed.is_some_and(|now| now.timeline == primary.timeline) {
            return Ok(session);
        }
        Err(session.lost("it is no longer the primary that it was"))
    }
}

/// Asks a server what it is. `None` if it is in recovery.
async fn probe(session: &ServerSession, standbys: u32) -> Result<Option<Primary>, StorageError> {
    let row = session.query_one(PROBE, &[]).await?;
    if row.get(0) {
        return Ok(None);
    }
    if standbys > 0 && !row.get::<_, bool>(3) {
        return Err(StorageError::Unusable(format!(
            "{}: this user may not see the standbys; GRANT pg_read_all_stats to it, or set \
             `standbys` to 0 if the storage replicates itself",
            session.server
        )));
    }
    let standbys = u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX);
    Ok(Some(Primary { server: session.server.clone(), timeline: row.get(1), standbys }))
}

/// The error when no server is the primary. What a person must mend comes first.
fn no_primary(problems: &[StorageError]) -> StorageError {
    let list = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let is_a_persons = |problem: &StorageError| matches!(problem, StorageError::Unusable(_));
    if problems.iter().any(is_a_persons) {
        return StorageError::Unusable(list);
    }
    let others = if list.is_empty() { "all servers are in recovery".into() } else { list };
    StorageError::Lost(format!("no server is the primary: {others}"))
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
