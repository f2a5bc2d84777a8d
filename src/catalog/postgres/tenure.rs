//! One term at one server, with three connections: for writes, for reads and for beats.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::join;
use prometheus::Histogram;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::metrics::KeptDecisions;
use super::queue::CallQueue;
use super::reads::{self, LOAD_LIMIT, in_time};
use super::rows::{Columns, natural, signed};
use super::session::ServerSession;
use super::statements::{
    BEAT, CLAIM, COMMIT, LEAVE, NOTE_SESSIONS, SET_LEADERSHIP, SET_PAST, STANDBYS,
};
use super::{CALL_LIMIT, Shared, Written};
use crate::catalog::core::stock::{Change, RecordedDecision};
use crate::catalog::journal::marker::Past;
use crate::catalog::journal::{DecisionMetrics, Loaded};
use crate::catalog::shared::{Beat, Beaten, Tenure};
use crate::catalog::storage::Storage;
use crate::storage::{Outcome, StorageError};
use crate::wire::lease::SessionId;
use crate::wire::order::{Position, Rows};
use crate::wire::purchase::IdempotencyKey;
use crate::wire::replication::{Leadership, ReplicaId};
use crate::wire::term::{CatalogId, Term};

/// Begins a term. Returns it with the number of synchronous standbys, or `None` if something was
/// written since `seen`.
pub(super) async fn claim(
    session: &ServerSession,
    seen: Beat,
    own: CatalogId,
    standbys: u32,
) -> Result<Option<(Term, u32)>, StorageError> {
    let (term, beat) = (signed(seen.term.0), signed(seen.count));
    let holder = i64::from(own.0);
    let claimed = write(session, standbys, CLAIM, &[&term, &beat, &holder]).await?;
    let (row, standbys) = claimed;
    row.map(|row| Ok((Term(natural(&row, 0)?), standbys))).transpose()
}

/// Makes a write, and looks afterwards how many synchronous standbys there are. The row is what the
/// statement returned, none if its fence did not hold.
async fn write(
    session: &ServerSession,
    standbys: u32,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(Option<Row>, u32), StorageError> {
    let wrote = async {
        // What is prepared is sent at once: both in the order in which they are polled first.
        session.prepare(sql).await?;
        session.prepare(STANDBYS).await?;
        let (wrote, seen) =
            join(session.query(sql, parameters), session.query_one(STANDBYS, &[])).await;
        let row = wrote?.into_iter().next();
        let seen = u32::try_from(seen?.get::<_, i64>(0)).unwrap_or(u32::MAX);
        if row.is_some() && seen < standbys {
            return Err(session.lost(&format!(
                "it has {seen} synchronous standbys, and `standbys` is {standbys}: its last write \
                 may be on one disk only"
            )));
        }
        Ok((row, seen))
    };
    let late = || Err(session.lost("no answer to a write in time"));
    timeout(CALL_LIMIT, wrote).await.unwrap_or_else(|_late| late())
}

/// A term. When it is dropped, its connections end.
pub(super) struct PostgresTenure {
    shared: Arc<Shared>,
    term: Term,
    writes: CallQueue,
    reads: CallQueue,
    beats: CallQueue,
    /// Synchronous standbys at the last write.
    standbys: Arc<AtomicU32>,
    /// Shown while the term lasts.
    decisions: Arc<KeptDecisions>,
    end: CancellationToken,
    /// Ends the connections, also while a call is under way.
    _connections: DropGuard,
}

impl PostgresTenure {
    pub(super) fn new(
        shared: Arc<Shared>,
        (term, standbys): (Term, u32),
        runtime: &Handle,
        sessions: [ServerSession; 3],
    ) -> Self {
        let (end, is_over) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let waiting = &shared.metrics.waiting;
        let [writes, reads, beats] =
            sessions.map(|session| CallQueue::start(session, runtime, &end, &is_over, waiting));
        let standbys = Arc::new(AtomicU32::new(standbys));
        let decisions = shared.metrics.begin_term();
        let guard = end.clone().drop_guard();
        Self { shared, term, writes, reads, beats, standbys, decisions, end, _connections: guard }
    }

    /// Counts the decisions in the database, beside what else the term does.
    fn count_decisions(&self) -> impl Future<Output = ()> + use<> {
        let (shared, decisions) = (Arc::clone(&self.shared), Arc::clone(&self.decisions));
        let (term, end) = (self.term, self.end.clone());
        async move {
            let counted = end.run_until_cancelled(decisions.count(&shared)).await;
            if let Some(Err(error)) = counted {
                log::warn!("the decisions are not counted in term {term}: {error}");
            }
        }
    }

    /// Makes a write that is fenced by the term.
    fn fenced(
        &self,
        queue: &CallQueue,
        sql: &'static str,
        parameters: Vec<Box<dyn ToSql + Send + Sync>>,
    ) -> Outcome<'static, Beaten> {
        self.timed(queue, sql, parameters, None)
    }

    /// The same, with a histogram of how long it takes.
    fn timed(
        &self,
        queue: &CallQueue,
        sql: &'static str,
        parameters: Vec<Box<dyn ToSql + Send + Sync>>,
        times: Option<Histogram>,
    ) -> Outcome<'static, Beaten> {
        let (term, standbys) = (signed(self.term.0), self.shared.standbys);
        let last_seen = Arc::clone(&self.standbys);
        queue.run(move |session| {
            Box::pin(async move {
                let rest = parameters.iter().map(|it| &**it as &(dyn ToSql + Sync));
                let all: Vec<_> = std::iter::once(&term as _).chain(rest).collect();
                let _timed = times.as_ref().map(Histogram::start_timer);
                match write(session, standbys, sql, &all).await? {
                    (Some(_), standbys) => {
                        last_seen.store(standbys, Ordering::Relaxed);
                        Ok(Beaten { standbys })
                    }
                    (None, _) => Err(StorageError::Deposed),
                }
            })
        })
    }
}

/// Ends with what a fenced write's outcome says, without the standbys.
fn done(written: Outcome<'_, Beaten>) -> Outcome<'_, ()> {
    Box::pin(async move { written.await.map(drop) })
}

/// A parameter of a statement.
fn parameter(value: impl ToSql + Send + Sync + 'static) -> Box<dyn ToSql + Send + Sync> {
    Box::new(value)
}

impl Tenure for PostgresTenure {
    fn term(&self) -> Term {
        self.term
    }

    fn load(&self) -> Outcome<'_, Loaded> {
        let (shared, term) = (Arc::clone(&self.shared), self.term);
        let counting = self.count_decisions();
        self.writes.run(move |session| {
            Box::pin(async move {
                let loaded = timeout(LOAD_LIMIT, reads::load(session, &shared, term)).await;
                let late = || Err(session.lost("reading the store took too long"));
                let loaded = loaded.unwrap_or_else(|_late| late())?;
                tokio::spawn(counting);
                Ok(loaded)
            })
        })
    }

    fn beat(&self) -> Outcome<'_, Beaten> {
        self.fenced(&self.beats, BEAT, Vec::new())
    }

    fn standbys(&self) -> u32 {
        self.standbys.load(Ordering::Relaxed)
    }

    fn leave(&self) -> Outcome<'_, ()> {
        done(self.fenced(&self.writes, LEAVE, Vec::new()))
    }
}

impl Storage for PostgresTenure {
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>> {
        self.reads.run(move |session| Box::pin(in_time(session, reads::recorded(session, keys))))
    }

    fn commit(&self, change: Change) -> Outcome<'_, ()> {
        let (Columns { stock, log, decisions }, end) = Columns::of(&change);
        let position = |it: Position| (signed(it.length), it.chain.as_bytes().to_vec());
        let ((length, chain), (new_length, new_chain)) = (position(change.after), position(end));
        let parameters = vec![
            parameter(length),
            parameter(chain),
            parameter(new_length),
            parameter(new_chain),
            parameter(stock.names),
            parameter(stock.quantities),
            parameter(stock.stocked),
            parameter(stock.sold),
            parameter(stock.versions),
            parameter(log.numbers),
            parameter(log.names),
            parameter(log.quantities),
            parameter(log.chains),
            parameter(log.keys),
            parameter(decisions.keys),
            parameter(decisions.names),
            parameter(decisions.quantities),
            parameter(decisions.numbers),
        ];
        let written = Written { term: self.term, length: end.length };
        let recorded = DecisionMetrics::of(&change);
        let times = self.shared.metrics.commit_seconds.clone();
        let committed = self.timed(&self.writes, COMMIT, parameters, Some(times));
        let (shared, decisions) = (Arc::clone(&self.shared), Arc::clone(&self.decisions));
        Box::pin(async move {
            committed.await?;
            shared.confirm(written);
            decisions.recorded(recorded);
            Ok(())
        })
    }

    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()> {
        let leader = leadership.leader.map(|ReplicaId(id)| i64::from(id));
        let parameters = vec![parameter(signed(leadership.epoch.0)), parameter(leader)];
        done(self.fenced(&self.writes, SET_LEADERSHIP, parameters))
    }

    fn set_past(&self, past: Past) -> Outcome<'_, ()> {
        let parameters = vec![parameter(past == Past::InDoubt)];
        done(self.fenced(&self.writes, SET_PAST, parameters))
    }

    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()> {
        let columns = |sessions: Vec<SessionId>| -> (Vec<i64>, Vec<i64>) {
            sessions.iter().map(|it| (signed(it.boot), signed(it.serial))).unzip()
        };
        let ((gone_boots, gone), (boots, serials)) =
            (columns(ended), columns(begun.into_iter().collect()));
        let parameters =
            vec![parameter(gone_boots), parameter(gone), parameter(boots), parameter(serials)];
        done(self.fenced(&self.writes, NOTE_SESSIONS, parameters))
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        self.reads
            .run(move |session| Box::pin(in_time(session, reads::read_rows(session, from, most))))
    }

    /// A beat tells whether the database responds.
    fn pulse(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// There is no file of the catalog's own.
    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
