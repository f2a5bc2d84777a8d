//! What the steps of the model mean, for the [lessons](super::lessons).

use super::super::lessons::Told;
use super::super::lessons::scene::{Facts, Message, Scene, capital};
use super::*;

const READERS: [&str; 4] = ["reader-1", "reader-2", "reader-3", "reader-4"];
const CATALOG: &str = "catalog";
const BUYER: &str = "buyer";

/// Who asked what, and which messages are under way.
#[derive(Default)]
pub(in super::super) struct Memory {
    readers: usize,
    /// Reads that are under way: the reader, and the message between front-end and catalog.
    reads: Vec<(Read, usize, Message)>,
    /// What each reader was told at last.
    told: BTreeMap<usize, String>,
    bought: BTreeMap<usize, &'static str>,
    calls: BTreeMap<usize, Message>,
    pushes: BTreeMap<SessionId, Message>,
    /// Sessions, by their front-ends.
    sessions: BTreeMap<SessionId, usize>,
}

impl Memory {
    fn new_reader(&mut self) -> usize {
        self.readers += 1;
        self.readers - 1
    }

    fn take(&mut self, read: Read) -> (usize, Message) {
        let place = self.reads.iter().position(|(other, ..)| *other == read);
        let (_, reader, message) = self.reads.remove(place.expect("a read that was told"));
        (reader, message)
    }

    fn frontend_of(&self, session: SessionId) -> usize {
        self.sessions.get(&session).copied().unwrap_or_default()
    }
}

/// The node of a front-end.
fn node(frontend: usize) -> &'static str {
    ["frontend", "frontend-2"][frontend]
}

fn person(frontend: usize) -> String {
    format!("front-end {}", frontend + 1)
}

fn reader(number: usize) -> String {
    format!("reader {}", number + 1)
}

impl Leases {
    fn left(&self, version: Version) -> u64 {
        // Each purchase is of one, and nothing is restocked in a lesson.
        self.size.stock - version.0
    }

    fn tell_read(&self, memory: &mut Memory, states: (&State, &State), at: usize, s: &mut Scene) {
        let (before, after) = states;
        let number = memory.new_reader();
        let (who, asked) = (READERS[number], format!("GET {}", name(0)));
        s.deliver(who, node(at), asked);
        let frontend = capital(&person(at));
        if after.reads.len() == before.reads.len() {
            let mut cache = before.frontends[at].cache.clone();
            let Lookup::Hit(version, _) = cache.look_up(name(0).as_str(), self.base) else {
                unreachable!("it was answered from the cache")
            };
            let left = self.left(version);
            s.local(node(at), "hit");
            s.deliver(node(at), who, format!("{left} left (hit)"));
            memory.told.insert(number, format!("{left} left"));
            s.say(format!(
                "{} asks {} for Tux: a hit, {left} left.",
                capital(&reader(number)),
                person(at)
            ));
            if !before.frontends[at].cache.has_lease(self.now(before)) {
                s.say(format!("{frontend} has no lease."));
            }
            if memory.bought.contains_key(&0) && before.disk.stock.shelves()[0].version == version {
                s.say("That is right: nothing has been sold yet.");
            }
            return;
        }
        s.local(node(at), "miss");
        let message = s.send(node(at), CATALOG, "Tux?");
        let read = after.reads.iter().find(|read| !before.reads.contains(read));
        let read = read.or_else(|| after.reads.iter().find(|read| read.frontend == at));
        let read = *read.expect("it is under way");
        memory.reads.push((read, number, message));
        let why = match (read.session, before.frontends[at].cache.names().is_empty()) {
            (Some(_), _) | (None, true) => "it is not cached",
            (None, false) => "its lease is over",
        };
        s.say(format!(
            "{} asks {} for Tux: a miss, since {why}. {frontend} asks the catalog.",
            capital(&reader(number)),
            person(at)
        ));
    }

    fn tell_served(
        &self,
        memory: &mut Memory,
        states: (&State, &State),
        read: Read,
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (number, message) = memory.take(read);
        s.receive(&message);
        let same = |other: &&Read| {
            other.frontend == read.frontend && other.floor == read.floor && other.answer.is_some()
        };
        let answered = after.reads.iter().find(|it| same(it) && !before.reads.contains(it));
        let answered = *answered.or_else(|| after.reads.iter().find(same)).expect("it was served");
        let (version, holder) = answered.answer.expect("it was served");
        let left = self.left(version);
        let may = if holder.is_some() { "cacheable" } else { "not cacheable" };
        let answer =
            s.send(CATALOG, node(read.frontend), format!("{left} left, v{}, {may}", version.0));
        memory.reads.push((answered, number, answer));
        let whom = person(read.frontend);
        s.say(match (holder, read.session) {
            (Some(_), _) => {
                format!("The catalog answers {left}, and notes that {whom} holds Tux from now on.")
            }
            (None, None) => {
                format!("The catalog answers {left}: {whom} has no lease, so it may not cache it.")
            }
            (None, Some(_)) if is_locked(after) => {
                format!("The catalog answers {left}, not to be cached: Tux is locked.")
            }
            (None, Some(session)) => {
                let renewed = after.catalog.sessions.clone().renew(session, self.now(after));
                let why = if renewed == RenewalReply::Expired {
                    "that session has ended"
                } else {
                    "it did not acknowledge in time, so it may hold nothing for 10 s"
                };
                format!("The catalog answers {left}, but {whom} may not cache it: {why}.")
            }
        });
    }

    fn tell_stored(
        &self,
        memory: &mut Memory,
        states: (&State, &State),
        read: Read,
        s: &mut Scene,
    ) {
        let (before, after) = states;
        let (number, message) = memory.take(read);
        let at = read.frontend;
        s.receive(&message);
        let (version, holder) = read.answer.expect("it was served");
        let left = self.left(version);
        let (old, new) = (&before.frontends[at].cache, &after.frontends[at].cache);
        let stored = old != new;
        s.local(node(at), if stored { "store" } else { "not stored" });
        s.deliver(node(at), READERS[number], format!("{left} left (miss)"));
        memory.told.insert(number, format!("{left} left"));
        let (frontend, who) = (capital(&person(at)), reader(number));
        s.say(if stored {
            format!("{frontend} gets the answer, stores it (Tux: {left}) and shows it to {who}.")
        } else {
            let why = match holder {
                None => "the catalog did not allow it",
                Some(session) if old.session() != Some(session) => {
                    "it was asked under an earlier session"
                }
                Some(_) => "an invalidation has announced a newer version",
            };
            format!("{frontend} shows {left} to {who}, and does not store it: {why}.")
        });
    }

    fn tell_begun(memory: &mut Memory, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        memory.bought.insert(0, "waits for an answer");
        s.deliver(BUYER, CATALOG, "buy 1 Tux");
        s.local(CATALOG, "lock Tux");
        s.say("A purchase of 1 Tux reaches the catalog, which locks Tux.");
        let new =
            after.catalog.pushes.iter().filter(|(id, _)| !before.catalog.pushes.contains_key(id));
        let mut told = Vec::new();
        for (session, (frontend, toys, _)) in new {
            let text = format!("drop Tux, v{} comes", toys[0].1.0);
            memory.pushes.insert(*session, s.send(CATALOG, node(*frontend), text));
            told.push(person(*frontend));
        }
        if told.is_empty() {
            s.say("It knows of no front-end that holds Tux.");
        } else {
            s.say(format!("It tells {} to drop it.", told.join(" and ")));
        }
    }

    fn tell_planned(&self, memory: &mut Memory, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        let sessions = &before.catalog.sessions;
        let now = self.now(before);
        if matches!(after.catalog.writer, Writer::Idle) {
            memory.bought.insert(0, "has to wait");
            s.deliver(CATALOG, BUYER, "wait");
            s.say(if sessions.may_change(now) {
                "A holder has not acknowledged, and its lease may still run: \
                 the catalog changes nothing yet. The purchase waits and will be sent again."
            } else {
                "Front-ends may still serve what they cached before the catalog's restart: \
                 the catalog changes nothing yet. The purchase waits and will be sent again."
            });
            return;
        }
        s.local(CATALOG, "plan order 0");
        s.say(if sessions.is_clear(&name(0), now) {
            "The catalog waits for no front-end: Tux may change."
        } else {
            "The catalog does not wait for acknowledgements: it goes on to commit."
        });
        if !self.keeps(Rule::LockedUntilCommitted) {
            s.say("It unlocks Tux.");
        }
        if !self.keeps(Rule::DurableBeforeVisible) {
            let left = self.left(after.catalog.stock.shelves()[0].version);
            s.say(format!("It shows readers {left} already; nothing is on disk."));
        }
    }

    fn tell_committed(&self, memory: &mut Memory, after: &State, s: &mut Scene) {
        let left = self.left(after.disk.stock.shelves()[0].version);
        s.local(CATALOG, "commit order 0");
        s.say(format!("The catalog commits order 0: on disk, {left} are left."));
        if matches!(after.catalog.writer, Writer::Idle) {
            self.tell_published(memory, after, "It", s);
        } else if !self.keeps(Rule::LockedUntilPublished) {
            s.say("It unlocks Tux before it has published the new quantity.");
        } else {
            s.say("Readers do not see it yet.");
        }
    }

    fn tell_published(&self, memory: &mut Memory, after: &State, who: &str, s: &mut Scene) {
        let left = self.left(after.catalog.stock.shelves()[0].version);
        memory.bought.insert(0, "order 0");
        s.local(CATALOG, "publish, unlock");
        s.deliver(CATALOG, BUYER, "order 0");
        s.say(format!(
            "{who} publishes {left} left, unlocks Tux and answers: the buyer has order 0."
        ));
    }

    fn tell_asked(memory: &mut Memory, after: &State, at: usize, s: &mut Scene) {
        let Some((question, ..)) = after.frontends[at].call else { return };
        let frontend = capital(&person(at));
        let text = match question {
            Question::Register(_) => {
                s.say(format!("{frontend} registers with an empty cache."));
                "register"
            }
            Question::Renew(_) => {
                s.say(format!("{frontend} asks to renew its lease."));
                "renew"
            }
        };
        memory.calls.insert(at, s.send(node(at), CATALOG, text));
    }

    fn tell_answered(&self, memory: &mut Memory, after: &State, at: usize, s: &mut Scene) {
        let Some((_, _, phase)) = after.frontends[at].call else { return };
        let who = person(at);
        if let Some(call) = memory.calls.remove(&at) {
            s.receive(&call);
        }
        let text = match phase {
            Phase::Renewed => {
                s.say(format!("The catalog renews the lease of {who}, and counts it from now."));
                "renewed"
            }
            Phase::Expired => {
                s.say(format!("The catalog tells {who} that its session has ended."));
                "session ended"
            }
            Phase::Registered(session) => {
                memory.sessions.insert(session, at);
                s.local(CATALOG, "new session");
                s.say(format!("The catalog begins a session for {who}."));
                if !self.keeps(Rule::SessionDurableBeforeAnswer) {
                    s.say("It answers before the session is on disk.");
                }
                "session begins"
            }
            Phase::Storing(session) => {
                memory.sessions.insert(session, at);
                s.local(CATALOG, "new session");
                s.say(format!(
                    "The catalog begins a session for {who}, and writes it to its disk."
                ));
                return;
            }
            Phase::Asked => return,
        };
        memory.calls.insert(at, s.send(CATALOG, node(at), text));
    }

    fn tell_session_stored(memory: &mut Memory, after: &State, session: SessionId, s: &mut Scene) {
        let at = memory.frontend_of(session);
        s.local(CATALOG, "session on disk");
        s.say("The session is on the catalog's disk.");
        if matches!(after.frontends[at].call, Some((_, _, Phase::Registered(_)))) {
            memory.calls.insert(at, s.send(CATALOG, node(at), "session begins"));
            s.say(format!("Now {} is told.", person(at)));
        }
    }

    fn tell_heard(&self, memory: &mut Memory, states: (&State, &State), at: usize, s: &mut Scene) {
        let (before, after) = states;
        let frontend = capital(&person(at));
        if let Some(call) = memory.calls.remove(&at) {
            s.receive(&call);
        }
        let Some((_, sent, phase)) = before.frontends[at].call else { return };
        let runs = after.frontends[at].cache.has_lease(self.now(after));
        s.say(match phase {
            Phase::Expired => format!("{frontend} empties its cache."),
            Phase::Registered(_) => format!("{frontend} has a session and a lease."),
            Phase::Renewed | Phase::Asked | Phase::Storing(_)
                if !self.keeps(Rule::LeaseFromSending) =>
            {
                format!("{frontend} hears that its lease was renewed, and counts it from now.")
            }
            Phase::Renewed | Phase::Asked | Phase::Storing(_) => {
                let ago = (self.now(before) - sent).as_secs_f64();
                let so = if runs { "it runs" } else { "it is over already" };
                format!("{frontend} counts the lease from when it asked, {ago} s ago: {so}.")
            }
        });
        s.local(node(at), if runs { "lease runs" } else { "no lease" });
    }

    fn tell_tick(&self, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        s.say("Half a second passes.");
        for at in 0..2 {
            let ran = before.frontends[at].cache.has_lease(self.now(before));
            if ran && !after.frontends[at].cache.has_lease(self.now(after)) {
                s.timer(node(at), "lease is over");
                s.say(format!("The lease of {} is over.", person(at)));
            }
        }
        s.timer(CATALOG, "0.5 s");
    }

    fn tell_catalog_crash(
        &self,
        memory: &mut Memory,
        before: &State,
        after: &State,
        s: &mut Scene,
    ) {
        s.crash(CATALOG);
        s.start(CATALOG);
        memory.pushes.clear();
        if after.purchases[0] == Asked::Open && memory.bought.contains_key(&0) {
            memory.bought.insert(0, "has no answer");
        }
        s.say("The catalog crashes and starts again: it knows what is on its disk, and no more.");
        if before.catalog.stock != after.catalog.stock {
            let left = self.left(after.catalog.stock.shelves()[0].version);
            s.say(format!("So {left} are left again."));
        }
    }

    fn facts_of_frontend(&self, state: &State, at: usize) -> BTreeMap<&'static str, String> {
        let frontend = &state.frontends[at];
        let mut cache = frontend.cache.clone();
        let cached = if cache.names().is_empty() {
            "nothing".into()
        } else {
            match self.cached(&mut cache) {
                Some(version) => format!("Tux: {}", self.left(version)),
                None => "Tux".into(),
            }
        };
        let lease = match frontend.cache.session() {
            None => "no session",
            Some(_) if frontend.cache.has_lease(self.now(state)) => "runs",
            Some(_) => "over",
        };
        let mut facts = BTreeMap::from([("cache", cached), ("lease", lease.into())]);
        if let Some(floor) = floor(&frontend.cache) {
            facts.insert("floor", format!("v{floor}"));
        }
        facts
    }

    /// The cached version, whether or not the lease runs.
    fn cached(&self, cache: &mut Cache<Version>) -> Option<Version> {
        let long_ago = self.base;
        match cache.look_up(name(0).as_str(), long_ago) {
            Lookup::Hit(version, _) => Some(version),
            Lookup::Miss(_) | Lookup::Unknown(_) => None,
        }
    }
}

/// The version below which a front-end stores no answer, if an invalidation has set one.
fn floor(cache: &Cache<Version>) -> Option<u64> {
    let session = cache.session()?;
    let mut cache = cache.clone();
    // Without the entry, only the floor stands in the way.
    cache.invalidate(session, &[(name(0), Version(0))]);
    let first = (0..10).find(|version| {
        cache.clone().store(session, &name(0), Version(*version), Version(*version))
    });
    first.filter(|version| *version > 0)
}

fn is_locked(state: &State) -> bool {
    let mut unlocked = state.catalog.sessions.clone();
    unlocked.unlock(&[(name(0), Version(0))]);
    unlocked != state.catalog.sessions
}

/// The sessions that the catalog counts as holders of Tux.
fn holders(state: &State, now: Instant) -> BTreeSet<SessionId> {
    let mut sessions = state.catalog.sessions.clone();
    let toys = [(name(0), Version(u64::MAX))];
    if !is_locked(state) {
        sessions.lock(&toys, now);
    }
    sessions.unacknowledged(&toys, now)
}

impl Told for Leases {
    type Memory = Memory;

    const NODES: &'static [(&'static str, &'static str)] = &[
        (READERS[0], "reader 1"),
        (READERS[1], "reader 2"),
        (READERS[2], "reader 3"),
        (READERS[3], "reader 4"),
        ("frontend", "front-end 1"),
        ("frontend-2", "front-end 2"),
        (CATALOG, "catalog"),
        (BUYER, "buyer"),
    ];

    fn tell(&self, memory: &mut Memory, step: &Step, states: (&State, &State), s: &mut Scene) {
        let (before, after) = states;
        for (at, frontend) in before.frontends.iter().enumerate() {
            memory.sessions.extend(frontend.cache.session().map(|session| (session, at)));
        }
        match step {
            Step::Tick => self.tell_tick(states, s),
            Step::Read { frontend, .. } => self.tell_read(memory, states, *frontend, s),
            Step::Serve(read) => self.tell_served(memory, states, *read, s),
            Step::Store(read) => self.tell_stored(memory, states, *read, s),
            Step::Ask(at) => Self::tell_asked(memory, after, *at, s),
            Step::Answer(at) => self.tell_answered(memory, after, *at, s),
            Step::StoreSession(session) => Self::tell_session_stored(memory, after, *session, s),
            Step::Hear(at) => self.tell_heard(memory, states, *at, s),
            Step::Begin(_) => Self::tell_begun(memory, states, s),
            Step::PlanAgain => self.tell_planned(memory, states, s),
            Step::Commit => self.tell_committed(memory, after, s),
            Step::Publish => self.tell_published(memory, after, "The catalog", s),
            Step::TakePush(session) => {
                let at = memory.frontend_of(*session);
                let Some(push) = memory.pushes.remove(session) else { return };
                s.receive(&push);
                let drops = before.frontends[at].cache != after.frontends[at].cache;
                let frontend = capital(&person(at));
                let had = !before.frontends[at].cache.names().is_empty();
                s.local(node(at), if drops && had { "drop Tux" } else { "nothing to drop" });
                s.say(match (drops, had) {
                    (true, true) => format!("{frontend} drops Tux and acknowledges."),
                    (true, false) => format!(
                        "The invalidation reaches {}, which has not stored Tux yet: it notes that \
                         version 1 comes, and acknowledges.",
                        person(at)
                    ),
                    (false, _) => format!("{frontend} acknowledges the invalidation at once."),
                });
                memory.pushes.insert(*session, s.send(node(at), CATALOG, "dropped"));
            }
            Step::TakeAcknowledgement(session) => {
                let Some(push) = memory.pushes.remove(session) else { return };
                s.receive(&push);
                s.say("The acknowledgement reaches the catalog.");
            }
            Step::CrashCatalog => self.tell_catalog_crash(memory, before, after, s),
            Step::CrashFrontEnd(at) => {
                s.crash(node(*at));
                s.start(node(*at));
                memory.reads.retain(|(read, ..)| read.frontend != *at);
                s.say(format!("{} crashes and starts again, empty.", capital(&person(*at))));
            }
            Step::GiveUp(at) => {
                s.timer(node(*at), "gives up");
                s.say(format!("{} waits no longer for an answer.", capital(&person(*at))));
            }
            Step::ArriveLate(..) | Step::Sweep => s.say("A late message arrives."),
        }
    }

    fn facts(&self, memory: &Memory, state: &State) -> Facts {
        let now = self.now(state);
        let shown = &state.catalog.stock.shelves()[0];
        let mut sessions: BTreeMap<SessionId, usize> = memory.sessions.clone();
        for (at, frontend) in state.frontends.iter().enumerate() {
            sessions.extend(frontend.cache.session().map(|session| (session, at)));
        }
        let holders: Vec<String> = holders(state, now)
            .iter()
            .filter_map(|session| sessions.get(session).map(|at| person(*at)))
            .collect();
        let catalog = BTreeMap::from([
            ("shows", format!("Tux: {} (v{})", self.left(shown.version), shown.version.0)),
            ("on disk", format!("Tux: {}", self.left(state.disk.stock.shelves()[0].version))),
            (
                "held by",
                if holders.is_empty() { "no front-end".into() } else { holders.join(", ") },
            ),
            ("locked", if is_locked(state) { "Tux".into() } else { "no".into() }),
        ]);
        let mut facts = Facts::from([(CATALOG, catalog)]);
        for at in 0..2 {
            facts.insert(node(at), self.facts_of_frontend(state, at));
        }
        for (number, told) in &memory.told {
            facts.insert(READERS[*number], BTreeMap::from([("was told", told.clone())]));
        }
        for told in memory.bought.values() {
            facts.insert(BUYER, BTreeMap::from([("purchase", (*told).to_owned())]));
        }
        facts
    }

    fn are_alike(one: &Step, other: &Step) -> bool {
        match (one, other) {
            (Step::Serve(one), Step::Serve(other)) | (Step::Store(one), Step::Store(other)) => {
                one.frontend == other.frontend
            }
            (Step::Begin(_), Step::Begin(_)) => true,
            _ => false,
        }
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let answered = |asked: &Asked| matches!(asked, Asked::Answered(_));
        state.reads.is_empty()
            && state.purchases.iter().all(answered)
            && state.catalog.writer == Writer::Idle
    }

    fn goes_on(step: &Step) -> bool {
        match step {
            Step::Tick
            | Step::Serve(_)
            | Step::Store(_)
            | Step::Answer(_)
            | Step::Ask(_)
            | Step::StoreSession(_)
            | Step::Hear(_)
            | Step::Begin(_)
            | Step::PlanAgain
            | Step::Commit
            | Step::Publish
            | Step::TakePush(_)
            | Step::TakeAcknowledgement(_) => true,
            Step::Read { .. }
            | Step::GiveUp(_)
            | Step::ArriveLate(..)
            | Step::Sweep
            | Step::CrashCatalog
            | Step::CrashFrontEnd(_) => false,
        }
    }
}
