//! The store, who is hurt in it, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::clients::Memory;
use super::schedule::{Fault, Opening, Regime, Step, Victim, kind_of_failpoint};
use crate::eventually::eventually;
use crate::processes::{REPLICAS, frontend_name, get, now};
use crate::proxied_store::Store;
use crate::proxies::State;

/// How often is looked whether all is as it should be.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long the roles of a store that is started in some order have before the next one comes.
const START_INTERVAL: Duration = Duration::from_millis(40);

/// The store and its wounds.
pub(super) struct Stage {
    pub(super) store: Store,
    memory: Rc<Memory>,
    pub(super) regime: Regime,
    paused: BTreeSet<String>,
    /// Roles with a failpoint.
    armed: BTreeMap<String, String>,
    /// Roles that were told to end.
    ending: BTreeSet<String>,
    wounds: Vec<(Instant, Wound)>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) died_at: BTreeMap<String, u64>,
}

/// What has to be mended.
#[derive(Clone, Debug)]
enum Wound {
    Down(String),
    Paused(String),
    Armed(String),
    Ending(String),
    Cut(String, Vec<(String, String)>),
}

impl Stage {
    pub(super) fn new(store: Store, memory: Rc<Memory>) -> Self {
        Self {
            store,
            memory,
            regime: Regime::OneReplica,
            paused: BTreeSet::new(),
            armed: BTreeMap::new(),
            ending: BTreeSet::new(),
            wounds: Vec::new(),
            faults: BTreeMap::new(),
            died_at: BTreeMap::new(),
        }
    }

    /// All roles, in the order in which they are started.
    fn roles(&self) -> Vec<String> {
        let frontends = (1..=self.store.frontends.len()).map(frontend_name);
        ["catalog"].into_iter().chain(REPLICAS).map(str::to_owned).chain(frontends).collect()
    }

    /// Starts everything anew, one role with a failpoint.
    pub(super) async fn open(&mut self, opening: &Opening) {
        self.store.kill_everything();
        self.store.fail_at(opening.role, &opening.failpoint);
        match self.regime {
            Regime::OneReplica => self.store.start_everything().await,
            // The catalog may die of it before anybody is ready.
            Regime::Anything => self.roles().iter().for_each(|role| self.store.start_role(role)),
        }
        self.armed.insert(opening.role.to_owned(), opening.failpoint.clone());
        *self.faults.entry(kind_of_failpoint(&opening.failpoint)).or_default() += 1;
    }

    /// Waits while the clients are at work until the opening's failpoint was reached.
    pub(super) async fn play_opening(&mut self, opening: &Opening) {
        let wound = Wound::Armed(opening.role.to_owned());
        match self.regime {
            Regime::OneReplica => {
                self.wait(opening.hold).await;
                self.mend(&wound).await;
            }
            Regime::Anything => self.wounds.push((now() + opening.hold, wound)),
        }
    }

    /// Hurts somebody, and, where at most one may be hurt at a time, waits until it is well again.
    pub(super) async fn play(&mut self, step: &Step) {
        self.wait(step.wait).await;
        let Some(wound) = self.hurt(step).await else { return };
        *self.faults.entry(step.fault.kind()).or_default() += 1;
        match self.regime {
            Regime::OneReplica => {
                self.wait(step.hold).await;
                self.mend(&wound).await;
            }
            Regime::Anything => self.wounds.push((now() + step.hold, wound)),
        }
    }

    /// Mends everything and waits until all replicas are in step and all front-ends ready. Returns
    /// how long that took.
    pub(super) async fn heal(&mut self) -> Duration {
        self.check_processes();
        for (_, wound) in std::mem::take(&mut self.wounds) {
            self.mend(&wound).await;
        }
        self.store.network.heal();
        for role in self.roles() {
            if !self.store.runs(&role) {
                self.store.start_role(&role);
            }
        }
        let healed = now();
        for frontend in 0..self.store.frontends.len() {
            self.store.await_ready(frontend).await;
        }
        self.store.await_followers().await;
        self.check_processes();
        healed.elapsed()
    }

    /// Waits, mends what is due, and fails as soon as anything is as it may not be.
    pub(super) async fn wait(&mut self, time: Duration) {
        let end = now() + time;
        loop {
            self.check_processes();
            self.memory.assert_good(self.regime == Regime::Anything);
            let time = now();
            let (due, rest) = self.wounds.drain(..).partition(|(end, _)| *end <= time);
            self.wounds = rest;
            let due: Vec<(Instant, Wound)> = due;
            for (_, wound) in due {
                self.mend(&wound).await;
            }
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            actix_web::rt::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    /// Nobody ends but who was killed, told to, or has a failpoint.
    fn check_processes(&mut self) {
        for role in self.roles() {
            if !self.armed.contains_key(&role) && !self.ending.contains(&role) {
                let end = self.store.take_end(&role);
                assert!(end.is_none(), "{role} ended by itself: {end:?}");
            }
        }
    }

    async fn hurt(&mut self, step: &Step) -> Option<Wound> {
        if let Fault::Blackout(order) = &step.fault {
            self.black_out(order).await;
            return None;
        }
        let role = self.role_of(step.victim);
        let links = || {
            let links = self.store.network.links().into_iter();
            links.filter(|(from, to)| *from == role || *to == role).collect::<Vec<_>>()
        };
        match &step.fault {
            Fault::Isolate(state) => Some(self.cut(&role, links(), *state)),
            Fault::Link(number, state) => {
                let link = links().swap_remove(number % links().len());
                Some(self.cut(&role, vec![link], *state))
            }
            // Who is down already cannot be hurt like that.
            _ if !self.store.runs(&role) || self.ending.contains(&role) => None,
            Fault::Kill => {
                self.kill(&role);
                Some(Wound::Down(role))
            }
            Fault::Failpoint(failpoint) => {
                self.kill(&role);
                self.store.fail_at(&role, failpoint);
                self.store.start_role(&role);
                self.armed.insert(role.clone(), failpoint.clone());
                Some(Wound::Armed(role))
            }
            _ if self.paused.contains(&role) => None,
            Fault::Terminate => {
                self.store.signal(&role, Signal::TERM);
                self.ending.insert(role.clone());
                Some(Wound::Ending(role))
            }
            Fault::Pause | Fault::Blackout(_) => {
                self.store.signal(&role, Signal::STOP);
                self.paused.insert(role.clone());
                Some(Wound::Paused(role))
            }
        }
    }

    /// kill -9 to everything, and a new start in some order.
    async fn black_out(&mut self, order: &[usize]) {
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

    async fn mend(&mut self, wound: &Wound) {
        match wound {
            Wound::Down(role) => {
                if !self.store.runs(role) {
                    self.store.start_role(role);
                }
            }
            Wound::Paused(role) => {
                if self.paused.remove(role) {
                    self.store.signal(role, Signal::CONT);
                }
            }
            Wound::Armed(role) => {
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
            Wound::Ending(role) => {
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
            Wound::Cut(_, links) => {
                for (from, to) in links {
                    self.store.network.set(from, to, State::OPEN);
                }
            }
        }
        let (Wound::Down(role)
        | Wound::Paused(role)
        | Wound::Armed(role)
        | Wound::Ending(role)
        | Wound::Cut(role, _)) = wound;
        if self.regime == Regime::OneReplica {
            let address = self.store.addresses[role].clone();
            eventually("the replica lives", async || {
                get(&address, "/healthz").await.is_ok_and(|(status, _)| status == 200)
            })
            .await;
        }
    }

    fn kill(&mut self, role: &str) {
        self.note_death(role);
        if self.store.runs(role) {
            self.store.kill(role);
        }
        self.paused.remove(role);
        self.armed.remove(role);
        self.ending.remove(role);
    }

    /// Notes if a role has died at its failpoint, which is the only way in which it may have ended.
    fn note_death(&mut self, role: &str) {
        let Some(failpoint) = self.armed.get(role) else { return };
        let Some(status) = self.store.take_end(role) else { return };
        let place = kind_of_failpoint(failpoint);
        if self.ending.contains(role) && status.success() {
            // It was told to end before it came there.
            return;
        }
        let by_abort = status.signal() == Some(Signal::ABORT.as_raw());
        assert!(by_abort, "{role} ended by itself, and not at {place}: {status}");
        *self.died_at.entry(place).or_default() += 1;
    }

    fn cut(&mut self, role: &str, links: Vec<(String, String)>, state: State) -> Wound {
        for (from, to) in &links {
            self.store.network.set(from, to, state);
        }
        Wound::Cut(role.to_owned(), links)
    }

    fn role_of(&self, victim: Victim) -> String {
        let leader = format!("order-{}", self.memory.leader.get());
        match victim {
            Victim::Leader => leader,
            Victim::Follower(number) => {
                let mut followers = REPLICAS.into_iter().filter(|replica| *replica != leader);
                followers.nth(number).expect("there are two").to_owned()
            }
            Victim::Catalog => "catalog".to_owned(),
            Victim::Frontend(number) => frontend_name(number + 1),
        }
    }
}
