//! The front-ends' steps, in the order of `frontend/service.rs` and `frontend/tasks.rs`.

use super::*;

impl Leases {
    pub(super) fn read(&self, state: &mut State, frontend: usize, toy: usize) {
        state.left.reads -= 1;
        let now = self.now(state);
        let counts = self.keeps(Rule::HitsWithinLease);
        let cache = &mut state.frontends[frontend].cache;
        let session = match cache.look_up(name(toy).as_str(), if counts { now } else { self.base })
        {
            Lookup::Hit(version, _) => {
                self.sights.note("a read is answered from the cache");
                let old = cache.session().is_some_and(|session| session.boot < state.catalog.boot);
                if old {
                    self.sights.note("a hit under a session of before the catalog's restart");
                }
                Self::finish(state, toy, state.shown[toy], version);
                return;
            }
            Lookup::Miss(session) => session,
            Lookup::Unknown(_) => unreachable!("all toys are in the catalog"),
        };
        let floor = state.shown[toy];
        state.reads.push(Read { frontend, toy, floor, session, answer: None });
        state.reads.sort();
    }

    pub(super) fn finish(state: &mut State, toy: usize, floor: Version, version: Version) {
        state.stale |= version < floor;
        state.shown[toy] = state.shown[toy].max(version);
    }

    pub(super) fn store(&self, state: &mut State, read: Read) {
        let Some((version, holder)) = read.answer else { return };
        replace(&mut state.reads, read, None);
        let cache = &mut state.frontends[read.frontend].cache;
        let holder = if self.keeps(Rule::HoldersOnly) { holder } else { holder.or(read.session) };
        let holder =
            if self.keeps(Rule::SessionOfFills) { holder } else { holder.and(cache.session()) };
        if let Some(session) = holder {
            let floored = self.keeps(Rule::FloorOfFills);
            let shown = if floored { version } else { Version(u64::MAX) };
            let current = cache.session();
            if !cache.store(session, &name(read.toy), shown, version) {
                let overtaken = current == Some(session);
                self.sights.note(if overtaken {
                    "an answer arrives after the invalidation that overtook it"
                } else {
                    "an answer arrives after its session"
                });
            }
        }
        Self::finish(state, read.toy, read.floor, version);
    }

    /// A renewal at the time of the last one would change nothing.
    pub(super) fn may_ask(&self, state: &State, frontend: &FrontEnd) -> bool {
        let soon = self.now(state) + Duration::from_millis(LEASE_MS - 1);
        match frontend.cache.session() {
            Some(_) => state.left.renewals > 0 && !frontend.cache.has_lease(soon),
            None => state.left.sessions > 0,
        }
    }

    pub(super) fn ask(&self, state: &mut State, number: usize) {
        let now = self.now(state);
        let frontend = &mut state.frontends[number];
        let question = match frontend.cache.session() {
            Some(session) => {
                state.left.renewals -= 1;
                Question::Renew(session)
            }
            None => Question::Register(frontend.previous),
        };
        frontend.call = Some((question, now, Phase::Asked));
    }

    /// A front-end receives the answer to its call.
    pub(super) fn hear(&self, state: &mut State, number: usize) {
        let now = self.now(state);
        let frontend = &mut state.frontends[number];
        let Some((question, sent, phase)) = frontend.call.take() else { return };
        let since = if self.keeps(Rule::LeaseFromSending) { sent } else { now };
        let lease_end = since + Duration::from_millis(LEASE_MS);
        match (question, phase) {
            (_, Phase::Registered(session)) => {
                let toys = (0..self.size.toys).map(name);
                frontend.cache.begin_session(session, lease_end, toys);
                frontend.previous = None;
                self.sights.note("a front-end registers anew");
            }
            (Question::Renew(session), Phase::Renewed) => {
                frontend.cache.renew_session(session, lease_end);
            }
            (_, Phase::Expired) => {
                frontend.previous = frontend.cache.end_session();
                self.sights.note("a session expires");
            }
            (Question::Register(_), Phase::Renewed) | (_, Phase::Asked | Phase::Storing(_)) => {
                unreachable!("this answers another call")
            }
        }
    }

    pub(super) fn crash_frontend(state: &mut State, number: usize) {
        state.left.frontend_crashes -= 1;
        give_up(state, number);
        state.frontends[number] = FrontEnd { cache: Cache::new(10), previous: None, call: None };
        state.reads.retain(|read| read.frontend != number);
    }
}

pub(super) fn give_up(state: &mut State, number: usize) {
    // A late renewal does less than one in time; a late registration could do harm.
    if let Some((question @ Question::Register(_), _, Phase::Asked)) =
        state.frontends[number].call.take()
    {
        state.strays.insert((number, question));
    }
}

pub(super) fn replace(reads: &mut Vec<Read>, old: Read, new: Option<Read>) {
    let place = reads.iter().position(|read| *read == old).expect("a read that is under way");
    reads.remove(place);
    reads.extend(new);
    reads.sort();
}
