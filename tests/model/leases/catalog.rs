//! The catalog's steps, in the order of `catalog/tasks.rs` and `catalog/service.rs`.

use super::*;

impl Leases {
    pub(super) fn request(&self, purchase: usize) -> CommitRequest {
        let purchases = vec![Purchase {
            key: IdempotencyKey::from_random(purchase as u128),
            name: name(self.size.purchases[purchase]),
            quantity: Quantity::ONE,
            origin: RequestOrigin::default(),
            boot: None,
        }];
        CommitRequest { leader: LEADER, epoch: Epoch(1), log: Position::START, purchases }
    }

    /// Plans a job with the toys that are clear.
    pub(super) fn plan(
        &self,
        state: &State,
        job: Job,
        is_clear: impl Fn(&ToyName) -> bool,
    ) -> (Option<Verdict>, Change) {
        match job {
            Job::Restock => (None, state.catalog.stock.plan_restock(is_clear)),
            Job::Purchase(purchase) => {
                let recorded: HashMap<_, _> = state.disk.decisions.clone().into_iter().collect();
                let request = self.request(purchase);
                let stock = &state.catalog.stock;
                let plan = stock.plan_batch(&self.toy_index, &request, &recorded, is_clear);
                let plan = plan.expect("there is one leader");
                (Some(plan.verdicts[0]), plan.change)
            }
        }
    }

    /// Plans the change once more: the stock is what it was when it was planned.
    pub(super) fn change(&self, state: &State, job: Job, plan: &Plan) -> Change {
        let planned = |toy: &ToyName| plan.shelves.iter().any(|shelf| shelf.toy.name == *toy);
        let (verdict, change) = self.plan(state, job, planned);
        assert_eq!((verdict, &change.shelves), (plan.verdict, &plan.shelves), "one writer");
        change
    }

    pub(super) fn begin(&self, state: &mut State, job: Job) {
        let now = self.now(state);
        let wanted = self.plan(state, job, |_| true).1.touched();
        let catalog = &mut state.catalog;
        catalog.sessions.lock(&wanted, now);
        for session in catalog.sessions.unacknowledged(&wanted, now) {
            push(catalog, session, now);
        }
        catalog.writer = Writer::Clearing(job, wanted);
    }

    /// All toys are clear, or the grace period ends; either may happen at any time.
    pub(super) fn plan_again(&self, state: &mut State) {
        let now = self.now(state);
        let Writer::Clearing(job, wanted) = state.catalog.writer.clone() else { return };
        if state.catalog.sessions.is_worth_waiting(&wanted, now) {
            state.catalog.sessions.mark_slow(&wanted, now);
        }
        let waits = self.keeps(Rule::AcknowledgementsBeforeCommit);
        let sessions = &state.catalog.sessions;
        let (verdict, change) = self.plan(state, job, |toy| !waits || sessions.is_clear(toy, now));
        if verdict == Some(Verdict::Wait) {
            let inherited = !sessions.may_change(now);
            self.sights.note(if inherited {
                "a purchase waits after a restart"
            } else {
                "a purchase waits"
            });
        }
        let held = change.shelves.iter().any(|shelf| {
            state.frontends.iter().any(|frontend| frontend.cache.names().contains(&shelf.toy.name))
        });
        if held {
            self.sights.note("a toy changes that a front-end without a lease has cached");
        }
        let plan = Plan { verdict, shelves: change.shelves.clone() };
        let catalog = &mut state.catalog;
        if !self.keeps(Rule::LockedUntilCommitted) {
            catalog.sessions.unlock(&change.touched());
        }
        if !self.keeps(Rule::DurableBeforeVisible) {
            catalog.stock.apply(&self.toy_index, &change);
        }
        if change.is_empty() {
            self.reply(state, job, &plan);
        } else {
            catalog.writer = Writer::Planned(job, plan);
        }
    }

    pub(super) fn commit(&self, state: &mut State) {
        let Writer::Planned(job, plan) = state.catalog.writer.clone() else { return };
        let change = self.commit_of(state, job, &plan);
        for (key, decision) in change.decisions.clone() {
            let before = state.disk.decisions.insert(key, decision);
            assert!(before.is_none(), "a key is decided once");
        }
        state.disk.stock.apply(&self.toy_index, &change);
        if !self.keeps(Rule::LockedUntilPublished) {
            state.catalog.sessions.unlock(&change.touched());
        }
        state.catalog.writer = Writer::Committed(job, plan);
        if state.left.catalog_crashes == 0 && self.keeps(Rule::LockedUntilPublished) {
            self.publish(state);
        }
    }

    pub(super) fn commit_of(&self, state: &State, job: Job, plan: &Plan) -> Change {
        if self.keeps(Rule::DurableBeforeVisible) {
            return self.change(state, job, plan);
        }
        let mut before = state.clone();
        before.catalog.stock = state.disk.stock.clone();
        self.change(&before, job, plan)
    }

    pub(super) fn publish(&self, state: &mut State) {
        let Writer::Committed(job, plan) = state.catalog.writer.clone() else { return };
        state.catalog.stock = state.disk.stock.clone();
        let touched: Toys =
            plan.shelves.iter().map(|shelf| (shelf.toy.name.clone(), shelf.version)).collect();
        state.catalog.sessions.unlock(&touched);
        self.reply(state, job, &plan);
    }

    pub(super) fn reply(&self, state: &mut State, job: Job, plan: &Plan) {
        if let (Job::Purchase(purchase), Some(Verdict::Decided(decision))) = (job, plan.verdict) {
            let version = state.catalog.stock.shelves()[self.size.purchases[purchase]].version;
            // The sooner a client sees it, the more the others must see: no need to delay it.
            state.purchases[purchase] = Asked::Answered(decision);
            let shown = &mut state.shown[self.size.purchases[purchase]];
            *shown = version.max(*shown);
            if decision == Decision::OutOfStock {
                self.sights.note("a purchase is refused");
            }
        } else if !plan.shelves.is_empty() {
            self.sights.note("a toy is restocked");
        }
        state.catalog.writer = Writer::Idle;
    }

    pub(super) fn serve(&self, state: &mut State, read: Read) {
        let now = self.now(state);
        let catalog = &mut state.catalog;
        let toy = name(read.toy);
        let holder = read.session.and_then(|id| catalog.sessions.hold(id, &toy, now));
        if read.session.is_some() && holder.is_none() {
            self.sights.note("an answer that may not be cached");
        }
        let version = catalog.stock.shelves()[read.toy].version;
        replace(&mut state.reads, read, Some(Read { answer: Some((version, holder)), ..read }));
    }

    /// A call arrives at the catalog. Returns what the answer will be.
    pub(super) fn arrive(&self, state: &mut State, number: usize, question: Question) -> Phase {
        let now = self.now(state);
        let catalog = &mut state.catalog;
        match question {
            Question::Renew(session) => match catalog.sessions.renew(session, now) {
                RenewalReply::Renewed { .. } => Phase::Renewed,
                RenewalReply::Expired => Phase::Expired,
            },
            Question::Register(previous) => {
                state.left.sessions -= 1;
                let frontend = u32::try_from(number).expect("a small number");
                let session = catalog.sessions.register(frontend, previous, now);
                catalog.storing.insert(session, previous);
                let phase = if self.keeps(Rule::SessionDurableBeforeAnswer) {
                    Phase::Storing(session)
                } else {
                    Phase::Registered(session)
                };
                if state.left.catalog_crashes == 0 {
                    // Without a crash to come, it makes no difference whether it is on disk.
                    Self::store_session(state, session);
                    return Phase::Registered(session);
                }
                phase
            }
        }
    }

    pub(super) fn store_session(state: &mut State, session: SessionId) {
        let Some(previous) = state.catalog.storing.remove(&session) else { return };
        state.disk.sessions.retain(|other| Some(*other) != previous);
        state.disk.sessions.insert(session);
        for (_, _, phase) in state.frontends.iter_mut().filter_map(|f| f.call.as_mut()) {
            if *phase == Phase::Storing(session) {
                *phase = Phase::Registered(session);
            }
        }
    }

    pub(super) fn crash_catalog(&self, state: &mut State) {
        let now = self.now(state);
        state.left.catalog_crashes -= 1;
        if matches!(state.catalog.writer, Writer::Committed(..)) {
            self.sights.note("the catalog crashes between commit and publication");
        }
        let boot = state.catalog.boot + 1;
        let waits = self.keeps(Rule::RestartWaitsForSessions);
        let inherited = state.disk.sessions.iter().copied().filter(|_| waits);
        state.catalog = Catalog {
            boot,
            stock: state.disk.stock.clone(),
            sessions: Sessions::new(boot, inherited, now),
            writer: Writer::Idle,
            pushes: BTreeMap::new(),
            storing: BTreeMap::new(),
        };
        for frontend in &mut state.frontends {
            if matches!(frontend.call, Some((_, _, Phase::Storing(_)))) {
                frontend.call = None;
            }
        }
    }
}

/// Pushes to `session` what it has yet to acknowledge, unless a push is under way already.
pub(super) fn push(catalog: &mut Catalog, session: SessionId, now: Instant) {
    if !catalog.pushes.contains_key(&session)
        && let Some(push) = catalog.sessions.push_for(session, now)
    {
        let frontend = usize::try_from(push.frontend).expect("a small number");
        catalog.pushes.insert(session, (frontend, push.toys, Pushed::Sent));
    }
}
