//! One client at work: where its decisions meet the network.
//!
//! A client first makes its iterations, until the last one, the end of the time or an interruption.
//! A request under way is always finished, so that no order is made without a record. When all
//! clients have stopped, each fetches the orders that it made and compares them with its receipts.

use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use tokio_util::sync::CancellationToken;

use super::core::live::{LiveCounts, count};
use super::core::receipts::{FailedCheck, FetchedOrder, Receipts};
use super::core::retry::{AttemptFailure, Attempts, time_limit};
use super::core::schedule::{End, Schedule, lateness};
use super::core::shopper::{NextStep, Shopper, Shown};
use super::core::stats::{NoAnswer, RequestType, Stats};
use super::remote::{HttpAnswer, Remote, Request};
use crate::clock;
use crate::wire::order::{Order, OrderNumber};
use crate::wire::purchase::PurchaseBody;
use crate::wire::reply::Receipt;
use crate::wire::toy::Toy;

/// How long a client in a closed loop pauses after a request without an answer, so that it does not
/// spend all its iterations while the store restarts.
const PAUSE_WITHOUT_ANSWER: Duration = Duration::from_millis(100);
/// After this many orders in a row that could not be fetched, each tried until
/// [`super::core::retry::DEADLINE`], the store is taken for gone, and the rest are not fetched.
const MOST_UNFETCHED: u32 = 3;

/// One client.
pub(crate) struct Customer {
    /// Its number, from 1 on.
    pub(crate) client: u32,
    /// Its choices.
    pub(crate) shopper: Shopper,
    /// Its connections.
    pub(crate) remote: Remote,
    /// Its counts.
    pub(crate) stats: Stats,
    /// Its orders.
    pub(crate) receipts: Receipts,
    /// The counts of all clients.
    pub(crate) live: Rc<LiveCounts>,
}

/// When iterations begin and end, the same for all clients.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    /// When the run began.
    pub(crate) began: Instant,
    /// When iterations begin.
    pub(crate) schedule: Schedule,
    /// When the run ends.
    pub(crate) end: End,
    /// How many clients there are.
    pub(crate) clients: u32,
    /// Interrupts the run.
    pub(crate) stop: CancellationToken,
}

/// A toy to query or order, and how much later than due the iteration began. Its latencies count
/// from when it was due.
#[derive(Clone, Copy)]
struct DueToy {
    toy: usize,
    late: Duration,
}

/// Whether a request got an answer, of whatever kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connectivity {
    Up,
    Down,
}

impl Timetable {
    /// Waits until a client's iteration is due (both counted from 0). Returns how late it begins;
    /// `None` if the run is over.
    async fn await_turn(&self, client: u32, iteration: u64) -> Option<Duration> {
        let elapsed = clock::now() - self.began;
        let due = self.schedule.due(client, self.clients, iteration);
        let over = |time| matches!(self.end, End::Time(limit) if time >= limit.get());
        if self.stop.is_cancelled() || over(elapsed) || over(due.unwrap_or_default()) {
            return None;
        }
        match due {
            None => Some(Duration::ZERO),
            Some(due) if due <= elapsed => Some(elapsed.saturating_sub(due)),
            Some(due) => {
                self.pause(due.saturating_sub(elapsed)).await?;
                Some(lateness(due, clock::now() - self.began))
            }
        }
    }

    /// Waits. `None` if the run is interrupted meanwhile.
    async fn pause(&self, time: Duration) -> Option<()> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            () = sleep(time) => Some(()),
        }
    }
}

impl Customer {
    /// Makes iterations until the run is over.
    pub(crate) async fn shop(&mut self, timetable: &Timetable) {
        for number in 0.. {
            let Some(late) = timetable.await_turn(self.client - 1, number).await else { break };
            let Some(iteration) = self.shopper.next_iteration() else { break };
            let due = DueToy { toy: iteration.toy, late };
            let (mut connectivity, shown) = self.query(due).await;
            if iteration.after_query(shown) == NextStep::Order {
                connectivity = self.order(due).await;
            }
            self.note(|stats| stats.iterations += 1);
            count(&self.live.iterations);
            if connectivity == Connectivity::Down && timetable.schedule == Schedule::ClosedLoop {
                timetable.pause(PAUSE_WITHOUT_ANSWER).await;
            }
        }
    }

    async fn query(&mut self, due: DueToy) -> (Connectivity, Shown) {
        let began = clock::now();
        let store = self.remote.store.clone();
        let (attempts, name) = (Attempts::of_query(store.frontends.len()), &store.toys[due.toy]);
        let answer = self.ask(RequestType::Query, Request::Toy(name), attempts).await;
        let took = clock::now() - began + due.late;
        let connectivity = Connectivity::of(&answer);
        let toy = data_of::<Toy>(&answer).and_then(|toy| {
            let same = toy.name == *name;
            same.then_some(toy).ok_or_else(|| "it answered with another toy".into())
        });
        let toy = match toy {
            Ok(toy) => toy,
            Err(reason) => {
                self.fail(RequestType::Query, &reason);
                return (connectivity, Shown::Nothing);
            }
        };
        let cached = answer.ok().and_then(|answer| answer.cached);
        self.note(|stats| {
            stats.succeeded(RequestType::Query, took);
            if let Some(kind) = cached {
                stats.succeeded(kind, took);
                stats.answered(kind, 200);
            }
        });
        (connectivity, Shown::Quantity(toy.quantity))
    }

    /// Orders a toy under a fresh key. The key does not depend on the seed: a second run with the
    /// same seed makes new orders.
    async fn order(&mut self, due: DueToy) -> Connectivity {
        let key = format!("{:032x}", rand::random::<u128>());
        let store = &self.remote.store;
        let (name, quantity) = (store.toys[due.toy].clone(), store.quantity);
        let body = PurchaseBody { name, quantity };
        let began = clock::now();
        let attempts = Attempts::of_order(store.frontends.len());
        let answer = self.ask(RequestType::Order, Request::Purchase(&body, &key), attempts).await;
        let took = clock::now() - began + due.late;
        let connectivity = Connectivity::of(&answer);
        if answer.as_ref().is_ok_and(|answer| answer.status == 409) {
            self.note(|stats| {
                stats.succeeded(RequestType::OrderRefused, took);
                stats.answered(RequestType::OrderRefused, 409);
            });
            count(&self.live.refusals);
            return connectivity;
        }
        match data_of::<Receipt>(&answer) {
            Ok(Receipt { order_number: number }) => {
                let timing = answer.map(|answer| answer.timing).unwrap_or_default();
                self.note(|stats| {
                    stats.succeeded(RequestType::Order, took);
                    stats.timed(timing);
                });
                self.receipts.keep(Order { number, name: body.name, quantity, key: None });
                count(&self.live.orders);
            }
            Err(reason) => {
                self.fail(RequestType::Order, &reason);
                // An answer 4xx says that nothing was bought; after any other, an order may exist.
                if !answer.is_ok_and(|answer| (400..500).contains(&answer.status)) {
                    self.note(|stats| stats.orders_in_doubt += 1);
                }
            }
        }
        connectivity
    }

    /// Fetches every order and compares it with its receipt. Returns the checks that failed.
    pub(crate) async fn check(&mut self) -> Vec<FailedCheck> {
        let mut failures = Vec::new();
        let mut unfetched_in_a_row = 0;
        for row in 0..self.receipts.rows.len() {
            let number = self.receipts.rows[row].order.number;
            let fetched = if unfetched_in_a_row < MOST_UNFETCHED {
                self.fetch(number).await
            } else {
                FetchedOrder::Failed("not tried, because the store had stopped answering".into())
            };
            let failed = matches!(fetched, FetchedOrder::Failed(_));
            unfetched_in_a_row = if failed { unfetched_in_a_row + 1 } else { 0 };
            if let Some(problem) = self.receipts.compare(row, fetched) {
                let finding = self.receipts.rows[row].finding;
                failures.push(FailedCheck { client: self.client, number, finding, problem });
            }
            count(&self.live.checked);
        }
        failures
    }

    async fn fetch(&mut self, number: OrderNumber) -> FetchedOrder {
        let began = clock::now();
        let attempts = Attempts::of_order(self.remote.store.frontends.len());
        let answer = self.ask(RequestType::OrderQuery, Request::Order(number), attempts).await;
        let took = clock::now() - began;
        match data_of::<Order>(&answer) {
            Ok(order) => {
                self.note(|stats| stats.succeeded(RequestType::OrderQuery, took));
                FetchedOrder::Order(order)
            }
            Err(reason) => {
                self.fail(RequestType::OrderQuery, &reason);
                let unknown = answer.is_ok_and(|answer| answer.status == 404);
                if unknown { FetchedOrder::Unknown } else { FetchedOrder::Failed(reason) }
            }
        }
    }

    /// Sends a request, with retries. Returns the last attempt's answer.
    async fn ask(
        &mut self,
        kind: RequestType,
        request: Request<'_>,
        mut attempts: Attempts,
    ) -> Result<HttpAnswer, NoAnswer> {
        let began = clock::now();
        let mut elapsed = Duration::ZERO;
        loop {
            let answer = self.remote.send(request, time_limit(elapsed)).await;
            match &answer {
                Ok(answer) => self.note(|stats| stats.answered(kind, answer.status)),
                Err(reason) => self.note(|stats| stats.unanswered(kind, reason)),
            }
            let Some(failure) = failure_of(&answer) else { return answer };
            self.remote.move_on();
            elapsed = clock::now() - began;
            let Some(backoff) = attempts.after(failure, elapsed) else { return answer };
            if !backoff.is_zero() {
                sleep(backoff).await;
                elapsed += backoff;
            }
            self.note(|stats| stats.retried(kind));
        }
    }

    fn fail(&mut self, kind: RequestType, reason: &str) {
        self.note(|stats| stats.failed(kind, reason));
        count(&self.live.errors);
    }

    /// Counts in the client's own statistics and, if there is a time series, in its interval.
    fn note(&mut self, note: impl Fn(&mut Stats)) {
        note(&mut self.stats);
        if let Some(interval) = &self.live.interval {
            note(&mut interval.borrow_mut());
        }
    }
}

impl Connectivity {
    fn of(answer: &Result<HttpAnswer, NoAnswer>) -> Self {
        if answer.is_ok() { Self::Up } else { Self::Down }
    }
}

/// The data of an answer, or the reason why there is none.
fn data_of<T: serde::de::DeserializeOwned>(
    answer: &Result<HttpAnswer, NoAnswer>,
) -> Result<T, String> {
    answer.as_ref().map_err(NoAnswer::to_string)?.data()
}

/// Whether an attempt failed in a way that a retry may help against: without an answer, or if the
/// store, or a proxy before it, says that it cannot answer now.
fn failure_of(answer: &Result<HttpAnswer, NoAnswer>) -> Option<AttemptFailure> {
    match answer {
        Err(_) => Some(AttemptFailure::NoAnswer),
        Ok(answer) => matches!(answer.status, 502..=504).then_some(AttemptFailure::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten seconds at ten iterations per second that began `ago`.
    fn open_loop(ago: Duration) -> Timetable {
        Timetable {
            began: clock::now().checked_sub(ago).unwrap(),
            schedule: Schedule::OpenLoop("10".parse().unwrap()),
            end: End::Time("10".parse().unwrap()),
            clients: 1,
            stop: CancellationToken::new(),
        }
    }

    #[actix_web::test]
    async fn the_lateness_of_an_iteration_is_returned() {
        let late = open_loop(Duration::from_secs(5)).await_turn(0, 20).await.unwrap();
        assert!((3_000..4_000).contains(&late.as_millis()), "{late:?} instead of 3 s");
    }

    #[actix_web::test]
    async fn a_client_that_waited_for_its_iteration_is_not_late() {
        let timetable = open_loop(Duration::from_secs(5));
        let due = Duration::from_millis(5_100);
        let late = timetable.await_turn(0, 51).await.unwrap();
        // On a busy machine it may be late, but then by no more than this.
        let began = clock::now() - timetable.began;
        assert!(began >= due && late <= began.saturating_sub(due), "{late:?} late at {began:?}");
    }

    #[actix_web::test]
    async fn in_a_closed_loop_no_iteration_is_late() {
        let timetable =
            Timetable { schedule: Schedule::ClosedLoop, ..open_loop(Duration::from_secs(5)) };
        assert_eq!(timetable.await_turn(0, 20).await, Some(Duration::ZERO));
    }

    #[actix_web::test]
    async fn no_iteration_begins_that_would_be_due_after_the_end() {
        assert_eq!(open_loop(Duration::from_secs(5)).await_turn(0, 100).await, None);
        assert_eq!(open_loop(Duration::from_secs(10)).await_turn(0, 20).await, None);
    }

    #[actix_web::test]
    async fn an_interruption_ends_the_wait_for_an_iteration_at_once() {
        let timetable = open_loop(Duration::ZERO);
        let interruption = async { timetable.stop.cancel() };
        let waiting = timetable.await_turn(0, 99);
        let (due, ()) = tokio::join!(waiting, interruption);
        assert_eq!(due, None);
        assert!(clock::now() - timetable.began < Duration::from_secs(9));
    }
}
