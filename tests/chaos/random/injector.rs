//! The store, the faults that are active in it, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::clients::Results;
use super::databases::Databases;
use super::machines::{self, Machines, RepairedBy};
use super::schedule::{Fault, FreshStart, Peers, Regime, Step, Target, kind_of_failpoint};
use crate::eventually::eventually;
use crate::processes::{REPLICAS, frontend_name, get, now};
use crate::proxied_store::Store;
use crate::proxies::State;

/// How often processes and clients are checked while a fault is active.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The pause between the starts of two roles, where the order of the starts is to matter.
const START_INTERVAL: Duration = Duration::from_millis(40);

/// The store and its active faults.
pub(super) struct Injector {
    pub(super) store: Store,
    pub(super) results: Rc<Results>,
    pub(super) machines: Machines,
    /// The catalogs' database, if they share one.
    pub(super) databases: Option<Databases>,
    pub(super) regime: Regime,
    pub(super) paused: BTreeSet<String>,
    /// Roles with a failpoint.
    armed: BTreeMap<String, String>,
    /// Roles that received SIGTERM.
    ending: BTreeSet<String>,
    active: Vec<(Instant, ActiveFault)>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) died_at: BTreeMap<String, u64>,
}

/// A fault that has to be repaired.
#[derive(Clone, Debug)]
enum ActiveFault {
    Down(String),
    Paused(String),
    Armed(String),
    Ending(String),
    Cut(String, Vec<(String, String)>),
    /// Of a machine.
    Machine(String, RepairedBy),
    /// Of the catalogs' database.
    Database,
}

impl Injector {
    pub(super) fn new(store: Store, databases: Option<Databases>, results: Rc<Results>) -> Self {
        Self {
            databases,
            store,
            results,
            machines: Machines::default(),
            regime: Regime::OneReplica,
            paused: BTreeSet::new(),
            armed: BTreeMap::new(),
            ending: BTreeSet::new(),
            active: Vec::new(),
            faults: BTreeMap::new(),
            died_at: BTreeMap::new(),
        }
    }

    /// All roles, in the order in which they are started.
    fn roles(&self) -> Vec<String> {
        let frontends = (1..=self.store.frontends.len()).map(frontend_name);
        let replicas = REPLICAS.into_iter().map(str::to_owned);
        self.store.catalogs.iter().cloned().chain(replicas).chain(frontends).collect()
    }

    /// Starts everything anew, one role with a failpoint.
    pub(super) async fn start_with_failpoint(&mut self, fresh_start: &FreshStart) {
        self.store.kill_everything();
        self.store.fail_at(fresh_start.role, &fresh_start.failpoint);
        match self.regime {
            Regime::OneReplica => self.store.start_everything().await,
            // The catalog may die of it before any role is ready.
            Regime::Anything => self.roles().iter().for_each(|role| self.store.start_role(role)),
        }
        self.armed.insert(fresh_start.role.to_owned(), fresh_start.failpoint.clone());
        *self.faults.entry(kind_of_failpoint(&fresh_start.failpoint)).or_default() += 1;
    }

    /// Waits while the clients are at work until the failpoint of a fresh start was reached.
    pub(super) async fn await_failpoint(&mut self, fresh_start: &FreshStart) {
        let fault = ActiveFault::Armed(fresh_start.role.to_owned());
        match self.regime {
            Regime::OneReplica => {
                self.wait(fresh_start.hold).await;
                self.repair(&fault).await;
            }
            Regime::Anything => self.active.push((now() + fresh_start.hold, fault)),
        }
    }

    /// Injects a fault, and, where only one may be active at a time, waits until it is repaired.
    pub(super) async fn inject(&mut self, step: &Step) {
        self.wait(step.wait).await;
        let Some(fault) = self.inject_fault(step).await else { return };
        *self.faults.entry(step.fault.kind(step.target)).or_default() += 1;
        match self.regime {
            Regime::OneReplica => {
                self.wait(step.hold).await;
                self.repair(&fault).await;
            }
            Regime::Anything => self.active.push((now() + step.hold, fault)),
        }
    }

    /// Repairs everything and waits until all replicas are in step and all front-ends ready.
    /// Returns how long that took.
    pub(super) async fn heal(&mut self) -> Duration {
        self.check_processes();
        for (_, fault) in std::mem::take(&mut self.active) {
            self.repair(&fault).await;
        }
        self.store.network.heal();
        if let Some(databases) = &mut self.databases {
            databases.heal().await;
        }
        for role in self.roles() {
            if !self.store.runs(&role) {
                self.store.start_role(&role);
            }
        }
        let healed = now();
        self.await_sales().await;
        self.store.await_followers().await;
        self.check_processes();
        healed.elapsed()
    }

    /// Waits, repairs what is due, and fails as soon as a check fails.
    pub(super) async fn wait(&mut self, time: Duration) {
        let end = now() + time;
        loop {
            self.check_processes();
            self.results.assert_no_violation(self.regime == Regime::Anything);
            let time = now();
            let (due, rest) = self.active.drain(..).partition(|(end, _)| *end <= time);
            self.active = rest;
            let due: Vec<(Instant, ActiveFault)> = due;
            for (_, fault) in due {
                self.repair(&fault).await;
            }
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            actix_web::rt::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    /// Fails if a role has ended that was not killed, did not receive SIGTERM and has no failpoint.
    fn check_processes(&mut self) {
        for role in self.roles() {
            if !self.armed.contains_key(&role) && !self.ending.contains(&role) {
                let end = self.store.take_end(&role);
                assert!(end.is_none(), "{role} ended by itself: {end:?}");
            }
        }
        let end = self.store.take_end(machines::SECOND);
        assert!(end.is_none(), "{} ended by itself: {end:?}", machines::SECOND);
    }

    async fn inject_fault(&mut self, step: &Step) -> Option<ActiveFault> {
        if let Fault::Blackout(order) = &step.fault {
            self.restart_everything(order).await;
            return None;
        }
        if let Fault::Database(fault) = &step.fault {
            let databases = self.databases.as_mut().expect("several catalogs share one");
            return databases.inject(*fault).await.then_some(ActiveFault::Database);
        }
        let role = self.role_of(step.target);
        if let Fault::Machine(fault) = &step.fault {
            let repaired_by = self.inject_machine_fault(&role, *fault).await;
            return repaired_by.map(|repaired_by| ActiveFault::Machine(role, repaired_by));
        }
        let links = || {
            let links = self.store.network.links().into_iter();
            links.filter(|(from, to)| *from == role || *to == role).collect::<Vec<_>>()
        };
        match &step.fault {
            Fault::Isolate(state) => Some(self.cut(&role, links(), *state)),
            Fault::CutFrom(peers, state) => {
                let prefix = match peers {
                    Peers::Database => "database",
                    Peers::FrontEnds => "frontend",
                };
                let links = links()
                    .into_iter()
                    .filter(|(from, to)| [from, to].iter().any(|end| end.starts_with(prefix)));
                let links = links.collect();
                Some(self.cut(&role, links, *state))
            }
            Fault::Link(number, state) => {
                let link = links().swap_remove(number % links().len());
                Some(self.cut(&role, vec![link], *state))
            }
            // A role that is down cannot fail in this way.
            _ if !self.store.runs(&role) || self.ending.contains(&role) => None,
            Fault::Kill => {
                self.kill(&role);
                Some(ActiveFault::Down(role))
            }
            Fault::Failpoint(failpoint) => {
                self.kill(&role);
                self.store.fail_at(&role, failpoint);
                self.store.start_role(&role);
                self.armed.insert(role.clone(), failpoint.clone());
                Some(ActiveFault::Armed(role))
            }
            _ if self.paused.contains(&role) => None,
            Fault::Terminate => {
                self.store.signal(&role, Signal::TERM);
                self.ending.insert(role.clone());
                Some(ActiveFault::Ending(role))
            }
            Fault::Pause | Fault::Blackout(_) | Fault::Machine(_) | Fault::Database(_) => {
                self.store.signal(&role, Signal::STOP);
                self.paused.insert(role.clone());
                Some(ActiveFault::Paused(role))
            }
        }
    }

    /// kill -9 to everything, and a new start in some order.
    async fn restart_everything(&mut self, order: &[usize]) {
        for role in self.roles() {
            self.note_death(&role);
        }
        self.store.kill_everything();
        self.paused.clear();
        self.armed.clear();
        self.ending.clear();
        *self.faults.entry("blackout".to_owned()).or_default() += 1;
        let roles = self.roles();
        for place in order {
            self.store.start_role(&roles[*place]);
            actix_web::rt::time::sleep(START_INTERVAL).await;
        }
    }

    async fn repair(&mut self, fault: &ActiveFault) {
        match fault {
            ActiveFault::Down(role) => {
                if !self.store.runs(role) {
                    self.store.start_role(role);
                }
            }
            ActiveFault::Paused(role) => {
                if self.paused.remove(role) {
                    self.store.signal(role, Signal::CONT);
                }
            }
            ActiveFault::Armed(role) => {
                // It may have been killed and started without a failpoint meanwhile.
                if self.armed.contains_key(role) {
                    self.note_death(role);
                    if self.store.runs(role) {
                        self.kill(role);
                    }
                    self.armed.remove(role);
                    self.store.start_role(role);
                }
            }
            ActiveFault::Ending(role) => {
                if self.ending.contains(role) {
                    if self.regime == Regime::OneReplica {
                        let status = self.store.await_end(role).await;
                        assert!(status.success(), "{role} did not end in order: {status}");
                    } else if self.store.take_end(role).is_none() {
                        self.kill(role);
                    }
                    self.ending.remove(role);
                    self.store.start_role(role);
                }
            }
            ActiveFault::Cut(_, links) => {
                for (from, to) in links {
                    self.store.network.set(from, to, State::OPEN);
                }
            }
            ActiveFault::Machine(role, repaired_by) => {
                self.repair_machine(role, repaired_by).await;
            }
            ActiveFault::Database => {
                self.databases.as_mut().expect("it was there").repair().await;
                return;
            }
        }
        let (ActiveFault::Down(role)
        | ActiveFault::Paused(role)
        | ActiveFault::Armed(role)
        | ActiveFault::Ending(role)
        | ActiveFault::Cut(role, _)
        | ActiveFault::Machine(role, _)) = fault
        else {
            return;
        };
        if self.regime == Regime::OneReplica {
            let address = self.store.addresses[role].clone();
            eventually("the replica answers", async || {
                get(&address, "/healthz").await.is_ok_and(|(status, _)| status == 200)
            })
            .await;
        }
    }

    pub(super) fn kill(&mut self, role: &str) {
        self.note_death(role);
        if self.store.runs(role) {
            self.store.kill(role);
        }
        self.paused.remove(role);
        self.armed.remove(role);
        self.ending.remove(role);
    }

    /// Records the death of a role at its failpoint, which is the only way in which it may have
    /// ended.
    fn note_death(&mut self, role: &str) {
        let Some(failpoint) = self.armed.get(role) else { return };
        let Some(status) = self.store.take_end(role) else { return };
        let place = kind_of_failpoint(failpoint);
        if self.ending.contains(role) && status.success() {
            // It received SIGTERM before it came there.
            return;
        }
        let by_abort = status.signal() == Some(Signal::ABORT.as_raw());
        assert!(by_abort, "{role} ended by itself, and not at {place}: {status}");
        *self.died_at.entry(place).or_default() += 1;
    }

    fn cut(&mut self, role: &str, links: Vec<(String, String)>, state: State) -> ActiveFault {
        for (from, to) in &links {
            self.store.network.set(from, to, state);
        }
        ActiveFault::Cut(role.to_owned(), links)
    }

    fn role_of(&self, target: Target) -> String {
        let leader = format!("order-{}", self.results.leader.get());
        match target {
            Target::Leader => leader,
            Target::Follower(number) => {
                let mut followers = REPLICAS.into_iter().filter(|replica| *replica != leader);
                followers.nth(number).expect("there are two").to_owned()
            }
            Target::Catalog if self.databases.is_none() => "catalog".to_owned(),
            Target::Catalog | Target::Database => format!("catalog-{}", self.results.ruler.get()),
            Target::OtherCatalog => format!("catalog-{}", 3 - self.results.ruler.get()),
            Target::Frontend(number) => frontend_name(number + 1),
        }
    }
}
