//! Which faults there are, when and for how long, drawn from a seed.
//!
//! A schedule names roles by what they do (the leader, some follower), as the leader is not known
//! beforehand. Times are as exact as the operating system's, so the same seed injects the same
//! faults, and yet no two runs are the same.

use std::time::Duration;

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use toystore::failpoint;

use super::databases::DatabaseFault;
use super::machines::{MachineFault, Replacement};
use crate::processes::{REPLICAS, Settings};
use crate::proxies::State;

/// Which rounds and clients a seed draws: to be counted up when they change, as records name seeds.
pub(super) const EDITION: u32 = 3;

/// How many front-ends there are.
pub(super) const FRONTENDS: usize = 2;

/// Where the catalog has its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Engine {
    #[default]
    Sqlite,
    /// Two catalogs share a database, which is on three servers.
    Postgres,
}

/// Which faults there may be in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Regime {
    /// At most one replica at a time fails; no client may see an error.
    OneReplica,
    /// Any fault of any role. Clients may be answered 503, and never anything wrong.
    Anything,
}

/// Faults one after the other or at once; then the store is repaired and checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Round {
    pub(super) regime: Regime,
    /// The store is first restarted, with a failpoint in one role.
    pub(super) fresh_start: Option<FreshStart>,
    pub(super) steps: Vec<Step>,
    /// How long it goes on with the faults that are still active.
    pub(super) rest: Duration,
    pub(super) clients: Size,
}

/// A restart of everything.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FreshStart {
    pub(super) role: &'static str,
    pub(super) failpoint: String,
    /// How long the failpoint may take to be reached.
    pub(super) hold: Duration,
}

/// How many clients of each kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) buyers: usize,
    pub(super) readers: usize,
    pub(super) order_readers: usize,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// After the step before has begun, or, where one fault excludes another, has ended.
    pub(super) wait: Duration,
    pub(super) target: Target,
    pub(super) fault: Fault,
    pub(super) hold: Duration,
}

/// The role that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The leader at that time.
    Leader,
    /// One of the other replicas.
    Follower(usize),
    /// The one that there is, or the one that rules.
    Catalog,
    /// The one that stands by.
    OtherCatalog,
    Frontend(usize),
    /// Of the catalogs.
    Database,
}

/// How it fails, and how that is repaired.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// kill -9, and a restart.
    Kill,
    /// SIGTERM, which ends it in order, and a restart.
    Terminate,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// All its links.
    Isolate(State),
    /// One of its links, drawn by this number.
    Link(usize, State),
    /// The links to and from all roles, or servers, of a kind.
    CutFrom(Peers, State),
    /// kill -9, and a restart with a failpoint; then one without.
    Failpoint(String),
    /// kill -9 to everything, and a restart in some order.
    Blackout(Vec<usize>),
    /// Its disk is lost, its machine is cloned, or its address changes hands; and an operator
    /// repairs that.
    Machine(MachineFault),
    /// Of the servers that the catalogs' database is on.
    Database(DatabaseFault),
}

/// Those that a catalog can be cut off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    Database,
    FrontEnds,
}

/// Draws rounds, for ever.
pub(super) struct Schedule {
    random: ChaCha8Rng,
    count: usize,
    engine: Engine,
}

impl Schedule {
    pub(super) fn new(seed: u64, engine: Engine) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), count: 0, engine }
    }

    /// The settings of the store; drawn before all rounds.
    pub(super) fn settings(&mut self) -> Settings {
        let random = &mut self.random;
        Settings {
            frontends: FRONTENDS,
            // A cache of two toys out of five replaces all the time.
            capacity: *[2, 1_000].choose(random).expect("there are some"),
            // Few enough that toys are sold out, and restocked, again and again.
            initial_stock: random.random_range(30..=200),
            restock_interval_ms: random.random_range(200..=1_000),
            ..Settings::default()
        }
    }

    pub(super) fn round(&mut self) -> Round {
        // On SQLite, in two of three rounds one replica at a time fails: most is promised there. On
        // PostgreSQL the faults of the others are of interest.
        let is_second = self.count % 3 == 1;
        let is_any = is_second == (self.engine == Engine::Sqlite);
        let regime = if is_any { Regime::Anything } else { Regime::OneReplica };
        self.count += 1;
        let clients = Size {
            buyers: self.random.random_range(2..=6),
            // Where the catalog may be out of reach, most readers wait for what no cache holds, and
            // the others have to see whether what a cache holds is old.
            readers: match regime {
                Regime::OneReplica => self.random.random_range(2..=4),
                Regime::Anything => self.random.random_range(8..=16),
            },
            order_readers: self.random.random_range(1..=2),
        };
        let fresh_start = self.random.random_bool(0.4).then(|| self.fresh_start(regime));
        let (mut steps, rest): (Vec<Step>, Duration) = match regime {
            Regime::OneReplica => {
                let count = self.random.random_range(3..=6);
                let steps = (0..count).map(|_| self.one_replica()).collect();
                (steps, Duration::ZERO)
            }
            Regime::Anything => {
                let count = self.random.random_range(4..=9);
                let steps = (0..count).map(|_| match self.engine {
                    Engine::Sqlite => self.anything(),
                    Engine::Postgres => self.anything_of_several(),
                });
                let steps = steps.collect();
                (steps, self.ms(0..=5_000))
            }
        };
        // One in a round: the store has its orders on several disks, and may lose one of them.
        if self.random.random_bool(0.6) {
            let place = self.random.random_range(0..=steps.len());
            steps.insert(place, self.machine(regime));
        }
        Round { regime, fresh_start, steps, rest, clients }
    }

    /// After a restart of everything the highest id leads; only so can a leader have a failpoint.
    fn fresh_start(&mut self, regime: Regime) -> FreshStart {
        let catalog = if self.engine == Engine::Sqlite { "catalog" } else { "catalog-1" };
        let role = match regime {
            Regime::OneReplica => "order-3",
            Regime::Anything => *["order-3", catalog].choose(&mut self.random).expect("two"),
        };
        let places = if role == "order-3" { LEADER } else { CATALOG };
        FreshStart { role, failpoint: self.failpoint(places, 60), hold: self.ms(1_000..=5_000) }
    }

    fn one_replica(&mut self) -> Step {
        let target = self.replica();
        let fault = self.fault(target);
        // A failpoint must be reached first.
        let has_failpoint = matches!(fault, Fault::Failpoint(_));
        let hold = if has_failpoint { self.ms(1_500..=5_000) } else { self.ms(100..=4_000) };
        Step { wait: self.ms(0..=1_500), target, fault, hold }
    }

    fn anything(&mut self) -> Step {
        let target = match self.random.random_range(0..10) {
            0..4 => self.replica(),
            4..7 => Target::Catalog,
            _ => self.frontend(),
        };
        let fault = if self.random.random_bool(0.08) {
            let mut order: Vec<usize> = (0..1 + REPLICAS.len() + FRONTENDS).collect();
            order.shuffle(&mut self.random);
            Fault::Blackout(order)
        } else {
            self.fault(target)
        };
        // Often longer than a lease, and now and then than a client waits for its answer.
        let longest = if self.random.random_bool(0.1) { 13_000 } else { 5_000 };
        Step { wait: self.ms(0..=2_000), target, fault, hold: self.ms(50..=longest) }
    }

    /// The same where two catalogs share a database.
    fn anything_of_several(&mut self) -> Step {
        let (target, fault) = match self.random.random_range(0..14) {
            0..3 => {
                let replica = self.replica();
                (replica, self.fault(replica))
            }
            3 => {
                let frontend = self.frontend();
                (frontend, self.fault(frontend))
            }
            4..9 => {
                let rules = self.random.random_bool(0.8);
                let target = if rules { Target::Catalog } else { Target::OtherCatalog };
                (target, self.fault_of_several())
            }
            9..13 => {
                let fault = *DatabaseFault::ALL.choose(&mut self.random).expect("some");
                (Target::Database, Fault::Database(fault))
            }
            _ => {
                let mut order: Vec<usize> = (0..2 + REPLICAS.len() + FRONTENDS).collect();
                order.shuffle(&mut self.random);
                (Target::Catalog, Fault::Blackout(order))
            }
        };
        Step { wait: self.ms(0..=2_000), target, fault, hold: self.ms(50..=6_000) }
    }

    /// A fault of one of two catalogs.
    fn fault_of_several(&mut self) -> Fault {
        match self.random.random_range(0..12) {
            0..2 => Fault::Kill,
            2 => Fault::Terminate,
            3..5 => Fault::Pause,
            5 => Fault::Isolate(self.state()),
            6..8 => Fault::CutFrom(Peers::Database, self.state()),
            8..10 => Fault::CutFrom(Peers::FrontEnds, self.state()),
            10 => Fault::Link(self.random.random_range(0..1_000), self.state()),
            _ => Fault::Failpoint(self.failpoint(CATALOG, 30)),
        }
    }

    /// A fault of a machine; of a replica's alone, where no client may see an error.
    fn machine(&mut self, regime: Regime) -> Step {
        let replacement =
            *[Replacement::Empty, Replacement::Backup].choose(&mut self.random).expect("two");
        let kinds = if regime == Regime::OneReplica { 0..3 } else { 0..10 };
        let kind = match (self.engine, self.random.random_range(kinds)) {
            // A catalog on PostgreSQL has no disk, and no copy of it has another database.
            (Engine::Postgres, 3..6 | 9) => 0,
            (_, kind) => kind,
        };
        let (target, fault) = match kind {
            0..2 => (self.replica(), MachineFault::DiskLost(replacement)),
            2 => (self.replica(), MachineFault::Cloned),
            3..6 => (Target::Catalog, MachineFault::DiskLost(replacement)),
            6 => (self.frontend(), MachineFault::Cloned),
            7 => (self.frontend(), MachineFault::Swapped),
            8 => (self.replica(), MachineFault::Swapped),
            _ => (Target::Catalog, MachineFault::Moved),
        };
        let hold = self.ms(500..=6_000);
        Step { wait: self.ms(0..=1_500), target, fault: Fault::Machine(fault), hold }
    }

    fn frontend(&mut self) -> Target {
        Target::Frontend(self.random.random_range(0..FRONTENDS))
    }

    fn replica(&mut self) -> Target {
        if self.random.random_bool(0.5) {
            Target::Leader
        } else {
            Target::Follower(self.random.random_range(0..REPLICAS.len() - 1))
        }
    }

    fn fault(&mut self, target: Target) -> Fault {
        let kind = match target {
            // Nothing of a front-end is on a disk, so there are no steps to die between; but it
            // holds toys, which are the harder to change the less it can be reached.
            Target::Frontend(_) => self.random.random_range(2..14),
            Target::Leader | Target::Follower(_) | Target::Catalog => {
                self.random.random_range(0..12)
            }
            Target::OtherCatalog | Target::Database => {
                unreachable!("their faults are drawn elsewhere")
            }
        };
        match kind {
            0..3 => Fault::Kill,
            3 => Fault::Terminate,
            4..6 => Fault::Pause,
            6..8 => Fault::Isolate(self.state()),
            8..10 => Fault::Link(self.random.random_range(0..1_000), self.state()),
            _ => match target {
                Target::Leader | Target::Follower(_) => {
                    Fault::Failpoint(self.failpoint(FOLLOWER, 30))
                }
                Target::Catalog => Fault::Failpoint(self.failpoint(CATALOG, 30)),
                Target::Frontend(_) | Target::OtherCatalog | Target::Database => {
                    Fault::Isolate(self.state())
                }
            },
        }
    }

    fn state(&mut self) -> State {
        match self.random.random_range(0..6) {
            0..2 => State::Cut,
            2 => State::HELD,
            3 => State::REQUESTS_HELD,
            4 => State::ANSWERS_HELD,
            _ => State::late(self.ms(20..=900)),
        }
    }

    /// One of `places`, passed up to `most` times; then the role dies there, or stops for a while,
    /// or its disk hangs or is full.
    fn failpoint(&mut self, places: &[&str], most: u32) -> String {
        let passes = self.random.random_range(0..=most);
        let pause = self.random.random_range(300..=3_000);
        match self.random.random_range(0..8) {
            0 => format!("disk-hangs={passes}*off->1*sleep({pause})->off"),
            1 => format!("disk-full={passes}*off->{}*return->off", 1 + pause / 50),
            kind => {
                let place = places.choose(&mut self.random).expect("there are some");
                // These are reached once or twice in a process's life.
                let passes = if ONCE.contains(place) { passes % 2 } else { passes };
                match kind {
                    2 => format!("{place}={passes}*off->1*sleep({pause})->off"),
                    _ => format!("{place}={passes}*off->return"),
                }
            }
        }
    }

    fn ms(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}

/// Places that a catalog passes.
const CATALOG: &[&str] = &[
    failpoint::CATALOG_BEFORE_COMMIT,
    failpoint::CATALOG_COMMITTED,
    failpoint::CATALOG_PUBLISHED,
    failpoint::CATALOG_ACQUIRED,
];
/// Places that a leader passes.
const LEADER: &[&str] = &[failpoint::LEADER_SOLD, failpoint::LEADER_APPENDED];
/// Places that a replica passes that has just come back.
const FOLLOWER: &[&str] = &[failpoint::FOLLOWER_SYNCED, failpoint::CATCHING_UP];
/// Places that are rarely passed.
const ONCE: &[&str] = &[failpoint::CATALOG_ACQUIRED, failpoint::CATCHING_UP];

#[test]
fn the_same_seed_draws_the_same_rounds_and_another_seed_others() {
    let rounds = |seed| {
        let mut schedule = Schedule::new(seed, Engine::Sqlite);
        (0..20).map(|_| schedule.round()).collect::<Vec<_>>()
    };
    assert_eq!(rounds(1), rounds(1));
    assert_ne!(rounds(1), rounds(2));
}

#[test]
fn every_kind_of_fault_is_drawn_and_only_replicas_fail_where_no_client_may_see_an_error() {
    let mut schedule = Schedule::new(1, Engine::Sqlite);
    let rounds: Vec<Round> = (0..200).map(|_| schedule.round()).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for round in &rounds {
        for Step { target, fault, .. } in &round.steps {
            kinds.insert(fault.kind(*target));
            let is_replica = matches!(target, Target::Leader | Target::Follower(_));
            let is_blackout = matches!(fault, Fault::Blackout(_));
            assert!(round.regime == Regime::Anything || is_replica && !is_blackout);
        }
        let fresh_start = round.fresh_start.iter();
        assert!(
            round.regime == Regime::Anything || fresh_start.clone().all(|o| o.role == "order-3")
        );
        kinds.extend(fresh_start.map(|fresh_start| kind_of_failpoint(&fresh_start.failpoint)));
    }
    let places = [CATALOG, LEADER, FOLLOWER].concat();
    let of_machines = [
        "replica's disk emptied",
        "replica restored",
        "replica cloned",
        "catalog rebuilt",
        "catalog restored",
        "catalog moved",
        "front-end cloned",
        "front-ends swapped",
        "replicas swapped",
    ];
    let others = ["kill", "terminate", "pause", "isolate", "link", "blackout", "late link"];
    for kind in others.into_iter().chain(of_machines) {
        assert!(kinds.contains(kind), "{kind} is missing: {kinds:?}");
    }
    for place in places.into_iter().chain([failpoint::DISK_HANGS, failpoint::DISK_FULL]) {
        assert!(kinds.contains(place), "{place} is missing: {kinds:?}");
    }
}

#[test]
fn every_fault_of_several_catalogs_and_of_their_database_is_drawn() {
    let mut schedule = Schedule::new(1, Engine::Postgres);
    let rounds = (0..200).map(|_| schedule.round());
    let steps: Vec<Step> = rounds.flat_map(|round| round.steps).collect();
    let kinds: std::collections::BTreeSet<String> =
        steps.iter().map(|step| step.fault.kind(step.target)).collect();
    let cuts = ["cut from the database", "cut from the front-ends", "blackout", "isolate"];
    let of_database = DatabaseFault::ALL.map(DatabaseFault::kind);
    for kind in cuts.into_iter().chain(of_database) {
        assert!(kinds.contains(kind), "{kind} is missing: {kinds:?}");
    }
    for step in &steps {
        let loses_disk = matches!(step.fault, Fault::Machine(MachineFault::DiskLost(_)));
        assert!(!loses_disk || step.target != Target::Catalog);
    }
    for other in [Target::Catalog, Target::OtherCatalog] {
        assert!(steps.iter().any(|step| step.target == other && step.fault == Fault::Kill));
    }
}

/// A failpoint's place.
pub(super) fn kind_of_failpoint(failpoint: &str) -> String {
    failpoint.split('=').next().expect("a first part").to_owned()
}

impl Fault {
    /// What to count it as, at this role.
    pub(super) fn kind(&self, target: Target) -> String {
        let is_late = |state: &State| {
            matches!(state, State::Up { answers: crate::proxies::Way::Late(_), .. })
        };
        match self {
            Self::Kill => "kill".to_owned(),
            Self::Terminate => "terminate".to_owned(),
            Self::Pause => "pause".to_owned(),
            Self::Isolate(state) if is_late(state) => "late links".to_owned(),
            Self::Isolate(_) => "isolate".to_owned(),
            Self::Link(_, state) if is_late(state) => "late link".to_owned(),
            Self::Link(..) => "link".to_owned(),
            Self::Failpoint(failpoint) => kind_of_failpoint(failpoint),
            Self::Blackout(_) => "blackout".to_owned(),
            Self::Machine(fault) => fault.kind(target).to_owned(),
            Self::CutFrom(Peers::Database, _) => "cut from the database".to_owned(),
            Self::CutFrom(Peers::FrontEnds, _) => "cut from the front-ends".to_owned(),
            Self::Database(fault) => fault.kind().to_owned(),
        }
    }
}
