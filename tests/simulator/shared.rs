//! The database that several catalogs share, as a register behind a network: what is asked takes a
//! while to arrive, may be lost on the way or on the way back, and then its outcome is unknown.
//!
//! What was acknowledged is never lost. A change of the primary cuts all connections: whatever is
//! under way on one of them either happened before or never does, and is not answered.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use toystore::catalog::core::stock::{Change, RecordedDecision};
use toystore::catalog::journal::Loaded;
use toystore::catalog::journal::marker::Past;
use toystore::catalog::shared::{Beat, Beaten, Observed, SharedDatabase, Tenure};
use toystore::catalog::storage::Storage;
use toystore::storage::{Outcome, StorageError};
use toystore::wire::lease::SessionId;
use toystore::wire::order::Rows;
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::replication::Leadership;
use toystore::wire::term::{CatalogId, Term};

use super::cluster::Cluster;
use super::databases::Journal;
use super::disk::Disk;
use super::judge::Judge;
use super::message::Node;
use super::network::Network;
use super::transcript::Transcript;
use super::world::Env;

/// How long a catalog waits for an answer.
const LIMIT: Duration = Duration::from_millis(600);

/// The database.
pub(crate) struct SharedBase {
    network: Rc<Network>,
    journal: Rc<Disk<Journal>>,
    judge: Rc<Judge>,
    transcript: Rc<Transcript>,
    beat: Cell<Beat>,
    holder: Cell<Option<CatalogId>>,
    /// Counts the servers that were the primary.
    primary: Cell<u64>,
    is_away: Cell<bool>,
    standbys: Cell<u32>,
    /// How long a claim takes before its write and after it.
    claims_take: Cell<[Duration; 2]>,
    /// How long a catalog takes to read what its term begins with.
    loads_take: Cell<Duration>,
}

impl SharedBase {
    pub(crate) fn new(cluster: &Cluster) -> Rc<Self> {
        Rc::new(Self {
            network: Rc::clone(&cluster.network),
            journal: Rc::clone(&cluster.journal),
            judge: Rc::clone(&cluster.judge),
            transcript: Rc::clone(&cluster.transcript),
            beat: Cell::default(),
            holder: Cell::default(),
            primary: Cell::default(),
            is_away: Cell::default(),
            standbys: Cell::new(1),
            claims_take: Cell::default(),
            loads_take: Cell::default(),
        })
    }

    /// The term that was claimed last.
    pub(crate) fn term(&self) -> Term {
        self.beat.get().term
    }

    /// Another server is the primary from now on, or will be once the database is back.
    pub(crate) fn changes_primary(&self) {
        self.primary.set(self.primary.get() + 1);
    }

    /// From now on the database answers nothing, or does again.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.set(is_away);
    }

    /// Has claims take so long before their write, for connections, and after it, for standbys.
    pub(crate) fn set_claims_take(&self, times: [Duration; 2]) {
        self.claims_take.set(times);
    }

    /// Has catalogs take so long to read what their term begins with.
    pub(crate) fn set_loads_take(&self, time: Duration) {
        self.loads_take.set(time);
    }

    pub(crate) fn set_standbys(&self, standbys: u32) {
        self.standbys.set(standbys);
    }

    /// Carries a question to the primary, on a connection to it, and its answer back. It may arrive
    /// although the one that asks has given up or crashed.
    fn ask<T: 'static>(
        self: &Rc<Self>,
        env: &Env,
        primary: Option<u64>,
        work: impl FnOnce(&Self) -> Result<T, StorageError> + 'static,
    ) -> LocalBoxFuture<'static, Result<T, StorageError>> {
        let (answer, answered) = oneshot::channel();
        let (base, from, env) = (Rc::clone(self), env.node, env.clone());
        env.world.spawn(Node::World, async move {
            let is_served = base.network.travels(from, Node::Database).await
                && !base.is_away.get()
                && primary.is_none_or(|primary| primary == base.primary.get());
            if !is_served {
                // It waits until its time limit.
                std::future::pending::<()>().await;
            }
            let outcome = work(&base);
            if !base.network.travels(Node::Database, from).await {
                base.network.reached("an answer of the shared database was lost");
                std::future::pending::<()>().await;
            }
            let _gave_up = answer.send(outcome);
        });
        Box::pin(async move {
            match env.timeout(LIMIT, answered).await {
                Some(Ok(outcome)) => outcome,
                Some(Err(_)) | None => Err(StorageError::Lost("it does not answer".into())),
            }
        })
    }
}

/// The database as one catalog sees it.
pub(crate) struct Client {
    base: SendWrapper<Rc<SharedBase>>,
    env: SendWrapper<Env>,
    own: CatalogId,
}

impl Client {
    pub(crate) fn new(base: &Rc<SharedBase>, env: &Env, own: CatalogId) -> Self {
        let (base, env) = (SendWrapper::new(Rc::clone(base)), SendWrapper::new(env.clone()));
        Self { base, env, own }
    }
}

impl SharedDatabase for Client {
    fn observe(&self) -> Outcome<'_, Observed> {
        self.base.ask(&self.env, None, |base| {
            Ok(Observed {
                beat: base.beat.get(),
                holder: base.holder.get(),
                store: base.journal.read(Journal::load).store,
                journal: base.journal.read(|journal| journal.log.end()),
                primary: format!("server {}", base.primary.get()),
                standbys: base.standbys.get(),
            })
        })
    }

    fn claim(&self, seen: Beat) -> Outcome<'_, Option<Arc<dyn Tenure>>> {
        let own = self.own;
        let work = move |base: &SharedBase| {
            if base.beat.get() != seen {
                base.network.reached("a claim came too late");
                return Ok(None);
            }
            base.beat.set(Beat { term: seen.term.next(), count: seen.count + 1 });
            base.holder.set(Some(own));
            Ok(Some((seen.term.next(), base.primary.get())))
        };
        let (base, env) = (self.base.clone(), self.env.clone());
        Box::pin(async move {
            let [before, after] = base.claims_take.get();
            if !before.is_zero() {
                env.sleep(before).await;
            }
            let claimed = base.ask(&env, None, work).await?;
            if !after.is_zero() {
                env.sleep(after).await;
            }
            let tenure = claimed.map(|(term, primary)| {
                Arc::new(Connection { base, env, term, primary }) as Arc<dyn Tenure>
            });
            Ok(tenure)
        })
    }
}

/// A term's connections to the server where it was claimed.
struct Connection {
    base: SendWrapper<Rc<SharedBase>>,
    env: SendWrapper<Env>,
    term: Term,
    primary: u64,
}

impl Connection {
    fn ask<T: 'static>(
        &self,
        work: impl FnOnce(&SharedBase) -> Result<T, StorageError> + 'static,
    ) -> Outcome<'_, T> {
        self.base.ask(&self.env, Some(self.primary), work)
    }

    /// A write, which is refused in a later term.
    fn write<T: 'static>(&self, write: impl FnOnce(&SharedBase) -> T + 'static) -> Outcome<'_, T> {
        let term = self.term;
        self.ask(move |base| {
            let beat = base.beat.get();
            if beat.term != term {
                base.network.reached("a write of an earlier term was refused");
                return Err(StorageError::Deposed);
            }
            base.beat.set(Beat { count: beat.count + 1, ..beat });
            Ok(write(base))
        })
    }
}

impl Storage for Connection {
    fn recorded(
        &self,
        keys: Vec<IdempotencyKey>,
    ) -> Outcome<'_, HashMap<IdempotencyKey, RecordedDecision>> {
        self.ask(move |base| {
            base.journal.read(|journal| {
                let known = |key: IdempotencyKey| {
                    let recorded = journal.decisions.get(&key)?.clone();
                    Some((key, recorded))
                };
                Ok(keys.into_iter().filter_map(known).collect())
            })
        })
    }

    fn commit(&self, change: Change) -> Outcome<'_, ()> {
        let env = self.env.clone();
        self.write(move |base| {
            base.journal.change(|journal| journal.apply(&change));
            base.transcript.commit(&env, &change);
        })
    }

    fn set_leadership(&self, leadership: Leadership) -> Outcome<'_, ()> {
        self.write(move |base| {
            base.judge.records(leadership);
            base.journal.change(|journal| journal.leadership = leadership);
        })
    }

    fn set_past(&self, past: Past) -> Outcome<'_, ()> {
        self.write(move |base| base.journal.change(|journal| journal.past = past))
    }

    fn note_sessions(&self, begun: Option<SessionId>, ended: Vec<SessionId>) -> Outcome<'_, ()> {
        self.write(move |base| {
            base.journal.change(|journal| {
                journal.sessions.retain(|session| !ended.contains(session));
                journal.sessions.extend(begun);
            });
        })
    }

    fn rows(&self, from: u64, most: u64) -> Outcome<'_, Option<Rows>> {
        self.ask(move |base| Ok(base.journal.read(|journal| journal.log.rows(from, most))))
    }

    fn pulse(&self) -> Outcome<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn try_write(&self) -> Outcome<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn checkpoint(&self) -> Outcome<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Tenure for Connection {
    fn term(&self) -> Term {
        self.term
    }

    fn load(&self) -> Outcome<'_, Loaded> {
        let term = self.term;
        let loaded = self.ask(move |base| {
            if base.term() != term {
                return Err(StorageError::Deposed);
            }
            Ok(base.journal.read(Journal::load))
        });
        Box::pin(async move {
            let time = self.base.loads_take.get();
            if !time.is_zero() {
                self.env.sleep(time).await;
            }
            loaded.await
        })
    }

    fn beat(&self) -> Outcome<'_, Beaten> {
        self.write(|base| Beaten { standbys: base.standbys.get() })
    }

    fn standbys(&self) -> u32 {
        self.base.standbys.get()
    }

    fn leave(&self) -> Outcome<'_, ()> {
        self.write(|base| base.holder.set(None))
    }
}
