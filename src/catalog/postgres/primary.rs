//! Which server is the primary.
//!
//! The one that is not in recovery; of several, the one with the highest timeline, which is the one
//! that was promoted last. A server that was promoted although it lacked writes shows an older term
//! or a shorter journal than is known to be on standbys, and is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::session::{Login, ServerSession};
use crate::roles::Address;
use crate::storage::StorageError;

/// For one server to connect, log in and answer; and for all of them, since they are asked at once.
pub(super) const DIAL_LIMIT: Duration = Duration::from_millis(400);
/// For a server that did not answer the last time: enough for one on the next machine.
const SHORT_LIMIT: Duration = Duration::from_millis(100);
/// One of so many tries of a server that does not answer takes the whole time.
const FULL_TRIES: u32 = 8;

/// What a server says of itself: whether it is in recovery, its timeline, how many synchronous
/// standbys it has, and whether this user may see what they do.
const PROBE: &str = "
    SELECT pg_is_in_recovery(),
        CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
        END,
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
        pg_has_role('pg_read_all_stats', 'USAGE')";

/// The servers, and the connections with which this process stands by.
pub(super) struct Servers {
    login: Login,
    standbys: u32,
    sessions: Mutex<HashMap<Address, Arc<ServerSession>>>,
    /// How often in a row each server has not answered.
    silent: Mutex<HashMap<Address, u32>>,
}

/// A server that is not in recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) server: Address,
    pub(super) timeline: String,
    pub(super) standbys: u32,
}

impl Servers {
    pub(super) fn new(login: Login, standbys: u32) -> Self {
        Self { login, standbys, sessions: Mutex::default(), silent: Mutex::default() }
    }

    /// Asks all servers at once, and returns the primary with a connection to it.
    pub(super) async fn find_primary(&self) -> Result<(Primary, Arc<ServerSession>), StorageError> {
        let probes = self.login.servers().iter().map(|server| async move {
            let probed = timeout(self.patience(server), self.probe(server)).await;
            let late = || Err(StorageError::Lost(format!("{server}: it does not answer")));
            let probed = probed.unwrap_or_else(|_late| late());
            if probed.is_err() {
                self.sessions().remove(server);
            }
            match &probed {
                Ok(_) => *self.silent().entry(server.clone()).or_default() = 0,
                Err(_) => *self.silent().entry(server.clone()).or_default() += 1,
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

    /// How long to wait for a server. One that did not answer is given its whole time only now and
    /// then, so that one server that hangs does not slow each look at the others.
    fn patience(&self, server: &Address) -> Duration {
        let silent = self.silent().get(server).copied().unwrap_or_default();
        if silent.is_multiple_of(FULL_TRIES) { DIAL_LIMIT } else { SHORT_LIMIT }
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

    fn sessions(&self) -> MutexGuard<'_, HashMap<Address, Arc<ServerSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<Address, u32>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to the server that was seen to be the primary, if it still is the same.
    pub(super) async fn dial_primary(
        &self,
        primary: &Primary,
    ) -> Result<ServerSession, StorageError> {
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
