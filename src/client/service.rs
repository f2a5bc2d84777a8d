//! One client at work: where its decisions meet the network.
//!
//! First it shops, visit by visit, until it has made all its visits, the time is up or it is told
//! to stop; whatever is under way then is finished, so that no order is made without being
//! recorded. Then, when all clients have stopped shopping, it fetches every order that it made and
//! compares.

use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use tokio_util::sync::CancellationToken;

use super::http::CacheMark;
use super::remote::{Answer, Remote, Request};
use crate::client::core::receipts::{FailedCheck, Receipts, Told};
use crate::client::core::retry::{Patience, Trouble};
use crate::client::core::schedule::{End, Pace, lateness};
use crate::client::core::shopper::{Next, Shopper, Shown};
use crate::client::core::stats::{RequestType, Tally};
use crate::client::report::progress::{Watch, count};
use crate::clock;
use crate::transport::Unreachable;
use crate::wire::order::{Order, OrderNumber};
use crate::wire::reply::Receipt;
use crate::wire::toy::Toy;

/// How long a client in a closed loop rests when it reached nobody, lest it spend its visits on a
/// store that is just starting again.
const REST_WHEN_UNREACHABLE: Duration = Duration::from_millis(100);
/// So many orders in a row that could not be fetched at the end, each tried for as long as
/// [`crate::client::core::retry::DEADLINE`], show that the store is gone; the rest are not asked
/// for.
const MOST_UNFETCHED: u32 = 3;

/// One client.
pub struct Customer {
    /// Its number, from 1 on.
    pub client: u32,
    /// What it does next.
    pub shopper: Shopper,
    /// The store as it reaches it.
    pub remote: Remote,
    /// What it counts.
    pub tally: Tally,
    /// Its orders.
    pub receipts: Receipts,
    /// What it shows of its work.
    pub watch: Rc<Watch>,
}

/// When visits begin and end, the same for all clients.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// When the run began.
    pub began: Instant,
    /// How visits follow one another.
    pub pace: Pace,
    /// When it ends.
    pub end: End,
    /// How many clients there are.
    pub clients: u32,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// Whether the store could be reached at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contact {
    Answered,
    Lost,
}

/// A toy as it is asked for, and how late that was.
#[derive(Clone, Copy)]
struct Errand {
    toy: usize,
    /// How much later than due the visit began. It is added to its latencies.
    late: Duration,
}

impl Timetable {
    /// Awaits the time for a client's visit (both counted from 0). How late the visit is; `None`
    /// when there shall be no more.
    async fn await_turn(&self, client: u32, visit: u64) -> Option<Duration> {
        let elapsed = clock::now() - self.began;
        let due = self.pace.due(client, self.clients, visit);
        let over = |time| matches!(self.end, End::Time(limit) if time >= limit.get());
        if self.stop.is_cancelled() || over(elapsed) || over(due.unwrap_or_default()) {
            return None;
        }
        match due {
            None => Some(Duration::ZERO),
            Some(due) if due <= elapsed => Some(elapsed.saturating_sub(due)),
            Some(due) => {
                let rested = self.rest(due.saturating_sub(elapsed)).await;
                rested.then(|| lateness(due, clock::now() - self.began))
            }
        }
    }

    /// Rests, unless the run is ended early; then it says no.
    async fn rest(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = sleep(time) => true,
        }
    }
}

impl Customer {
    /// Shops until the end.
    pub async fn shop(&mut self, timetable: &Timetable) {
        for visit in 0.. {
            let Some(late) = timetable.await_turn(self.client - 1, visit).await else { break };
            let Some(visit) = self.shopper.next_visit() else { break };
            let errand = Errand { toy: visit.toy, late };
            let (mut contact, shown) = self.query(errand).await;
            if visit.after_query(shown) == Next::Order {
                contact = self.order(errand).await;
            }
            self.note(Tally::visited);
            count(&self.watch.visits);
            if contact == Contact::Lost && timetable.pace == Pace::Closed {
                timetable.rest(REST_WHEN_UNREACHABLE).await;
            }
        }
    }

    async fn query(&mut self, errand: Errand) -> (Contact, Shown) {
        let began = clock::now();
        let patience = Patience::with_a_query(self.remote.store().frontends());
        let answer = self.ask(RequestType::Query, Request::Toy(errand.toy), patience).await;
        let took = clock::now() - began + errand.late;
        let contact = Contact::of(&answer);
        let name = &self.remote.store().toys()[errand.toy];
        let toy = understand::<Toy>(&answer).and_then(|toy| {
            let asked = toy.name == *name;
            asked.then_some(toy).ok_or_else(|| "it answered with another toy".into())
        });
        let cache = answer.map_or(CacheMark::Unmarked, |answer| answer.cache);
        let toy = match toy {
            Ok(toy) => toy,
            Err(reason) => {
                self.fail(RequestType::Query, &reason);
                return (contact, Shown::Nothing);
            }
        };
        self.note(|tally| {
            tally.succeeded(RequestType::Query, took);
            let kind = match cache {
                CacheMark::Hit => RequestType::QueryHit,
                CacheMark::Miss => RequestType::QueryMiss,
                CacheMark::Unmarked => return,
            };
            tally.succeeded(kind, took);
            tally.answered(kind, 200);
        });
        (contact, Shown::Quantity(toy.quantity))
    }

    /// Orders a toy, under a key of its own. The key has nothing to do with the seed: a second run
    /// with the same seed buys anew.
    async fn order(&mut self, errand: Errand) -> Contact {
        let key = format!("{:032x}", rand::random::<u128>());
        let began = clock::now();
        let request = Request::Purchase(errand.toy, &key);
        let patience = Patience::with_an_order(self.remote.store().frontends());
        let answer = self.ask(RequestType::Order, request, patience).await;
        let took = clock::now() - began + errand.late;
        let contact = Contact::of(&answer);
        if answer.as_ref().is_ok_and(|answer| answer.status == 409) {
            self.note(|tally| {
                tally.succeeded(RequestType::OrderRefused, took);
                tally.answered(RequestType::OrderRefused, 409);
            });
            count(&self.watch.refusals);
            return contact;
        }
        match understand::<Receipt>(&answer) {
            Ok(Receipt { order_number }) => {
                self.note(|tally| tally.succeeded(RequestType::Order, took));
                let store = self.remote.store();
                let name = store.toys()[errand.toy].clone();
                self.receipts.keep(Order {
                    number: order_number,
                    name,
                    quantity: store.quantity(),
                });
                count(&self.watch.orders);
            }
            Err(reason) => {
                self.fail(RequestType::Order, &reason);
                // An answer 4xx says that nothing was bought; anything else may hide an order.
                if !answer.is_ok_and(|answer| (400..500).contains(&answer.status)) {
                    self.note(Tally::doubted);
                }
            }
        }
        contact
    }

    /// Fetches every order and compares it with its receipt; what does not match.
    pub async fn check(&mut self) -> Vec<FailedCheck> {
        let mut failures = Vec::new();
        let mut unfetched_in_a_row = 0;
        for row in 0..self.receipts.rows().len() {
            let number = self.receipts.rows()[row].order.number;
            let told = if unfetched_in_a_row < MOST_UNFETCHED {
                self.fetch(number).await
            } else {
                Told::Nothing("not asked for, as the store had stopped answering".into())
            };
            let nothing = matches!(told, Told::Nothing(_));
            unfetched_in_a_row = if nothing { unfetched_in_a_row + 1 } else { 0 };
            if let Some(problem) = self.receipts.compare(row, told) {
                let finding = self.receipts.rows()[row].finding;
                failures.push(FailedCheck { client: self.client, number, finding, problem });
            }
            count(&self.watch.checked);
        }
        failures
    }

    async fn fetch(&mut self, number: OrderNumber) -> Told {
        let began = clock::now();
        let patience = Patience::with_an_order(self.remote.store().frontends());
        let answer = self.ask(RequestType::OrderQuery, Request::Order(number), patience).await;
        let took = clock::now() - began;
        let unknown = answer.as_ref().is_ok_and(|answer| answer.status == 404);
        match understand::<Order>(&answer) {
            Ok(order) => {
                self.note(|tally| tally.succeeded(RequestType::OrderQuery, took));
                Told::Order(order)
            }
            Err(reason) => {
                self.fail(RequestType::OrderQuery, &reason);
                if unknown { Told::Unknown } else { Told::Nothing(reason) }
            }
        }
    }

    /// Sends a request as often as it takes and as `patience` allows; what it came to.
    async fn ask(
        &mut self,
        kind: RequestType,
        request: Request<'_>,
        mut patience: Patience,
    ) -> Result<Answer, Unreachable> {
        let began = clock::now();
        let mut elapsed = Duration::ZERO;
        loop {
            let answer = self.remote.send(request, patience.time_limit(elapsed)).await;
            match &answer {
                Ok(answer) => self.note(|tally| tally.answered(kind, answer.status)),
                Err(how) => self.note(|tally| tally.unanswered(kind, how)),
            }
            let Some(trouble) = trouble_with(&answer) else { return answer };
            self.remote.move_on();
            elapsed = clock::now() - began;
            let Some(rest) = patience.after(trouble, elapsed) else { return answer };
            if !rest.is_zero() {
                sleep(rest).await;
                elapsed += rest;
            }
            self.note(|tally| tally.retried(kind));
        }
    }

    fn fail(&mut self, kind: RequestType, reason: &str) {
        self.note(|tally| tally.failed(kind, reason));
        count(&self.watch.errors);
    }

    /// Counts in the client's own tally and, if there is a time series, in the one of the interval.
    fn note(&mut self, note: impl Fn(&mut Tally)) {
        note(&mut self.tally);
        if let Some(interval) = &self.watch.interval {
            note(&mut interval.borrow_mut());
        }
    }
}

impl Contact {
    fn of(answer: &Result<Answer, Unreachable>) -> Self {
        match answer {
            Ok(_) => Self::Answered,
            Err(_) => Self::Lost,
        }
    }
}

/// What an answer says; else the reason why it says nothing.
fn understand<T: serde::de::DeserializeOwned>(
    answer: &Result<Answer, Unreachable>,
) -> Result<T, String> {
    answer.as_ref().map_err(Unreachable::to_string)?.data()
}

/// Whether asking again may help: without an answer, or if the store, or what stands before it,
/// says that it cannot answer now.
fn trouble_with(answer: &Result<Answer, Unreachable>) -> Option<Trouble> {
    match answer {
        Err(_) => Some(Trouble::Unreachable),
        Ok(answer) => matches!(answer.status, 502..=504).then_some(Trouble::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run at ten visits a second, for ten seconds, that began so long ago.
    fn open_loop(ago: Duration) -> Timetable {
        Timetable {
            began: clock::now().checked_sub(ago).unwrap(),
            pace: Pace::Open("10".parse().unwrap()),
            end: End::Time("10".parse().unwrap()),
            clients: 1,
            stop: CancellationToken::new(),
        }
    }

    #[actix_web::test]
    async fn a_visit_that_begins_late_is_charged_for_it() {
        let late = open_loop(Duration::from_secs(5)).await_turn(0, 20).await.unwrap();
        assert!((3_000..4_000).contains(&late.as_millis()), "{late:?} instead of 3 s");
    }

    #[actix_web::test]
    async fn a_client_that_waited_for_its_visit_is_not_late() {
        let timetable = open_loop(Duration::from_secs(5));
        let due = Duration::from_millis(5_100);
        let late = timetable.await_turn(0, 51).await.unwrap();
        // Not that a busy machine could not be late; but then it is by what it says.
        let began = clock::now() - timetable.began;
        assert!(began >= due && late <= began.saturating_sub(due), "{late:?} late at {began:?}");
    }

    #[actix_web::test]
    async fn in_a_closed_loop_no_visit_is_late() {
        let timetable = Timetable { pace: Pace::Closed, ..open_loop(Duration::from_secs(5)) };
        assert_eq!(timetable.await_turn(0, 20).await, Some(Duration::ZERO));
    }

    #[actix_web::test]
    async fn no_visit_begins_that_would_be_due_after_the_end() {
        assert_eq!(open_loop(Duration::from_secs(5)).await_turn(0, 100).await, None);
        assert_eq!(open_loop(Duration::from_secs(10)).await_turn(0, 20).await, None);
    }

    #[actix_web::test]
    async fn whoever_waits_for_a_visit_leaves_at_once_when_told_to() {
        let timetable = open_loop(Duration::ZERO);
        let leaving = async { timetable.stop.cancel() };
        let waiting = timetable.await_turn(0, 99);
        let (turn, ()) = tokio::join!(waiting, leaving);
        assert_eq!(turn, None);
        assert!(clock::now() - timetable.began < Duration::from_secs(9));
    }
}
