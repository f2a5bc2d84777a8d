//! The clients: they buy, ask again, and ask for orders.

use super::properties::{DURABLE, FOUND, ONE_ANSWER, ORDERED};
use super::*;

impl Purchases {
    pub(super) fn asking(&self, state: &State, steps: &mut Vec<Step>) {
        let tries = usize::from(self.size.left.tries);
        let members = || state.members.iter().enumerate();
        for (client, one) in state.clients.iter().enumerate().filter(|(_, one)| one.tries < tries) {
            // Clients that want the same are alike: they begin in turn.
            let alike = |other: &usize| self.size.wants[*other] == self.size.wants[client];
            let mut before = (0..client).filter(alike);
            if one.tries > 0 || before.all(|other| state.clients[other].tries > 0) {
                let chosen = members().filter(|(_, one)| one.core.has_acquired());
                steps.extend(chosen.map(|(member, _)| Step::Ask { client, member }));
            }
        }
        if state.left.queries > 0 {
            for number in 0..state.clients.len() {
                steps.extend(members().map(|(member, _)| Step::Query { number, member }));
            }
        }
        if state.query.is_some() {
            steps.push(Step::AnswerQuery);
        }
    }

    pub(super) fn purchase(&self, (client, attempt): Waiter) -> Purchase {
        let key = if self.keeps(Rule::RetriesKeepTheirKey) { 0 } else { attempt };
        Purchase {
            key: self.keys[client][key].clone(),
            name: TOY.into(),
            quantity: quantity(self.wanted((client, attempt))),
            origin: RequestOrigin::default(),
            boot: None,
        }
    }

    pub(super) fn wanted(&self, (client, attempt): Waiter) -> u64 {
        self.size.wants[client] + if attempt > 0 { self.size.rises } else { 0 }
    }

    pub(super) fn ask(&self, state: &mut State, client: usize, member: usize) {
        let one = &mut state.clients[client];
        let attempt = one.tries;
        one.tries += 1;
        if one.answers[0].is_some() {
            self.sights.note("a duplicate arrives after the answer");
        }
        let waiter = (client, attempt);
        let mut purchase = self.purchase(waiter);
        if !self.keeps(Rule::KeysAreJoined) {
            // As if it were another key: the leader does not notice that it is in flight.
            purchase.key = self.keys[client][attempt].clone();
        }
        state.members[member].waiting.insert(waiter);
        let admitted =
            self.call(state, member, |core| core.purchase(purchase, waiter, self.base, |_| false));
        admitted.expect("there are few");
    }

    /// Answers leave a leader. Whether they arrive does not matter: they might.
    pub(super) fn answer(
        &self,
        state: &mut State,
        member: usize,
        waiter: Waiter,
        decision: Decision,
    ) {
        self.hear_answer(state, waiter, decision);
        let Decision::Granted(number) = decision else { return };
        let number = usize::try_from(number.0).expect("a small number");
        let order = state.disk.journal.get(number);
        let holds =
            |member: &usize| order.is_some() && state.members[*member].disk().get(number) == order;
        let live = &state.members[member].live;
        // That a log is foreign is noticed when rows come to its end, and no sooner.
        let foreign = |other: &usize| state.members[*other].rows == [Self::foreign_order()];
        let durable = holds(&member) && live.iter().all(|one| holds(one) || foreign(one));
        self.sights.note(if live.is_empty() {
            "an order is acknowledged by a leader alone"
        } else {
            "an order is acknowledged with a live follower"
        });
        let asked_for = quantity(self.wanted(waiter));
        if !durable {
            state.broken = Some(DURABLE);
        } else if order.is_some_and(|order| order.quantity != asked_for) {
            state.broken = Some(ORDERED);
        }
    }

    fn hear_answer(&self, state: &mut State, (client, attempt): Waiter, decision: Decision) {
        if decision == Decision::KeyReused {
            // Says nothing of the purchase that the key belongs to.
            self.sights.note("a key is used for something else");
            return;
        }
        if decision == Decision::OutOfStock {
            self.sights.note("a purchase is refused");
        }
        let other = usize::from(attempt > 0 && self.size.rises > 0);
        let before = state.clients[client].answers[other].replace(decision);
        if before.is_some_and(|before| before != decision) {
            state.broken = Some(ONE_ANSWER);
        }
    }

    /// A client asks a replica for an order. A replica that lacks it asks the catalog.
    pub(super) fn query(&self, state: &mut State, number: usize, member: usize) {
        state.left.queries -= 1;
        let one = &state.members[member];
        let own = one.disk().get(number);
        let granted = Some(Decision::Granted(OrderNumber(number as u64)));
        let existed = number < length_of(state.stock.status().journal)
            || state.clients.iter().any(|one| one.answers.contains(&granted));
        match own {
            Some(own) => {
                self.sights.note("a replica has an order that is asked for");
                // Only a leader is asked, which none becomes whose log is foreign.
                let wrong = state.disk.journal.get(number) != Some(own);
                if wrong && (one.core.has_acquired() || !self.size.foreign) {
                    state.broken = Some(FOUND);
                }
            }
            None if self.keeps(Rule::AbsenceIsConfirmed) => {
                state.query = Some(Query { number, existed });
            }
            None if existed => state.broken = Some(FOUND),
            None => {}
        }
    }

    pub(super) fn answer_query(&self, state: &mut State) {
        let Some(Query { number, existed }) = state.query.take() else { return };
        let found = number < length_of(state.stock.status().journal);
        self.sights.note(match (found, existed) {
            (true, true) => "the catalog has an order that a replica lacks",
            (true, false) => "an order comes to be while it is asked for",
            (false, _) => "there is no order with a number",
        });
        if existed && (!found || number >= state.disk.journal.len()) {
            state.broken = Some(FOUND);
        }
    }
}
