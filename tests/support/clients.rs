//! Clients that buy toys and read toys and orders without pause while a test injects faults, and
//! record all that they see.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::eventually::eventually;
use crate::histories::ledger::Seen;
use crate::histories::{Answer, History, Purchase};
use crate::processes::{Row, TOYS, buy, get, now};

/// The pause of a client that only reads, and of one after an error: it has to observe the store,
/// not to saturate it.
const PAUSE: Duration = Duration::from_millis(10);
/// More than any test's stock.
const TOO_MANY: u64 = 1_000_001;

/// How many clients of each kind there are.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) buyers: usize,
    pub(crate) readers: usize,
    pub(crate) order_readers: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { buyers: 4, readers: 2, order_readers: 1 }
    }
}

/// Clients at work.
pub(crate) struct Clients {
    pub(crate) history: Rc<RefCell<History>>,
    frontends: Vec<String>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts the usual clients, spread over the front-ends.
    pub(crate) fn start(frontends: &[String]) -> Self {
        Self::of(Size::default(), frontends)
    }

    /// Starts clients, spread over the front-ends.
    pub(crate) fn of(size: Size, frontends: &[String]) -> Self {
        Self::resume(History::default(), size, frontends)
    }

    /// Starts clients that only buy.
    pub(crate) fn buying(count: usize, frontends: &[String]) -> Self {
        Self::of(Size { buyers: count, readers: 0, order_readers: 0 }, frontends)
    }

    /// Starts clients of a store that has a history. Errors of the past are forgiven.
    pub(crate) fn resume(mut history: History, size: Size, frontends: &[String]) -> Self {
        history.errors.clear();
        let mut clients = Self {
            history: Rc::new(RefCell::new(history)),
            frontends: frontends.to_vec(),
            stop: Rc::default(),
            tasks: Vec::new(),
        };
        (0..size.buyers).for_each(|number| clients.add(number, buy_toys));
        (0..size.readers).for_each(|number| clients.add(number, read_toys));
        (0..size.order_readers).for_each(|number| clients.add(number, read_orders));
        clients
    }

    fn add<F: Future<Output = ()> + 'static>(
        &mut self,
        number: usize,
        client: impl FnOnce(Client) -> F,
    ) {
        self.tasks.push(actix_web::rt::spawn(client(Client {
            number,
            frontend: self.frontends[number % self.frontends.len()].clone(),
            history: Rc::clone(&self.history),
            stop: Rc::clone(&self.stop),
        })));
    }

    /// Waits until this many purchases that are sent from now on were granted, without any error.
    pub(crate) async fn await_orders(&self, count: usize) {
        let since = now();
        eventually("the clients go on buying", async || {
            self.assert_no_error();
            self.history.borrow().granted_since(since) >= count
        })
        .await;
    }

    /// The same, with errors allowed.
    pub(crate) async fn await_orders_despite_errors(&self, count: usize) {
        let since = now();
        eventually("the clients buys again", async || {
            self.history.borrow().granted_since(since) >= count
        })
        .await;
    }

    /// Fails if a client saw an error.
    pub(crate) fn assert_no_error(&self) {
        let history = self.history.borrow();
        assert!(
            history.errors.is_empty() && history.violations.is_empty(),
            "clients saw {:#?} {:#?}",
            history.errors,
            history.violations
        );
    }

    /// Has the clients end when their requests are answered.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
    }

    /// Ends the clients, which have seen no error.
    pub(crate) async fn finish(self) -> History {
        let history = self.finish_despite_errors().await;
        assert!(history.errors.is_empty(), "clients saw {:#?}", history.errors);
        history
    }

    /// Ends the clients. Returns the keys of the purchases in doubt.
    pub(crate) async fn end(&mut self) -> Vec<String> {
        self.stop();
        for task in self.tasks.drain(..) {
            task.await.expect("a client does not panic");
        }
        let history = self.history.borrow();
        let in_doubt = history.purchases.iter().filter(|purchase| purchase.answer.is_none());
        in_doubt.map(|purchase| purchase.key.clone()).collect()
    }

    /// Ends the clients. Purchases in doubt are retried until they are decided.
    pub(crate) async fn finish_despite_errors(mut self) -> History {
        self.end().await;
        let mut history = self.history.take();
        for purchase in history.purchases.iter_mut().filter(|one| one.answer.is_none()) {
            eventually("a purchase in doubt is decided", async || {
                let (toy, key) = (purchase.toy, &purchase.key);
                let said = buy(&self.frontends[0], toy, purchase.quantity, key).await;
                purchase.answer = said.ok().and_then(answer_of).map(|answer| (answer, now()));
                purchase.answer.is_some()
            })
            .await;
        }
        history
    }
}

/// The status and the body of an answer, or why there is none.
type Said = Result<(u16, serde_json::Value), String>;

/// One client.
struct Client {
    number: usize,
    frontend: String,
    history: Rc<RefCell<History>>,
    stop: Rc<Cell<bool>>,
}

impl Client {
    /// Records an error, and pauses.
    async fn failed(&self, said: Said, asked: &str) {
        self.record_failure(said, asked);
        actix_web::rt::time::sleep(PAUSE).await;
    }

    fn record_failure(&self, said: Said, asked: &str) {
        let mut history = self.history.borrow_mut();
        let place = &self.frontend;
        match said {
            Ok((503, body)) => history.errors.push(format!("{asked} at {place}: 503 {body}")),
            Err(error) => history.errors.push(format!("{asked} at {place}: {error}")),
            Ok((status, body)) => {
                history.violations.push(format!("{asked} at {place}: {status} {body}"));
            }
        }
    }
}

async fn buy_toys(client: Client) {
    let salt: u64 = rand::random();
    for turn in 0_usize.. {
        if client.stop.get() {
            return;
        }
        let toy = TOYS[(client.number + turn) % TOYS.len()];
        let key = format!("{salt:x}-{turn}");
        // Some purchases are of more than there is.
        let quantity = if (turn + 5 * client.number) % 16 == 7 { TOO_MANY } else { 1 };
        let asked = now();
        let place = {
            let mut history = client.history.borrow_mut();
            let key = key.clone();
            history.purchases.push(Purchase { key, toy, quantity, asked, answer: None });
            history.purchases.len() - 1
        };
        let said = buy(&client.frontend, toy, quantity, &key).await;
        match said {
            Ok(said) if answer_of(said.clone()).is_some() => {
                let answer = answer_of(said).expect("it is one");
                client.history.borrow_mut().answered(place, answer, now());
            }
            other => client.failed(other, &format!("a purchase of {toy}")).await,
        }
    }
}

async fn read_toys(client: Client) {
    for turn in 0_usize.. {
        if client.stop.get() {
            return;
        }
        let toy = TOYS[(client.number + turn) % TOYS.len()];
        let path = format!("/products/{}", utf8_percent_encode(toy, NON_ALPHANUMERIC));
        let began = now();
        let said = get(&client.frontend, &path).await;
        let quantity = match &said {
            Ok((200, body)) => body["data"]["quantity"].as_u64(),
            Ok(_) | Err(_) => None,
        };
        match quantity {
            Some(quantity) => {
                client.history.borrow_mut().saw(Seen::Quantity(toy, quantity), began, now());
            }
            None => client.failed(said, &format!("a query for {toy}")).await,
        }
        actix_web::rt::time::sleep(PAUSE).await;
    }
}

/// Asks for orders that clients have placed, and for one that may not exist yet.
async fn read_orders(client: Client) {
    for turn in 0_u64.. {
        if client.stop.get() {
            return;
        }
        let newest = client.history.borrow().newest();
        let number = match newest {
            // Any number of those that exist, the newest more often.
            Some(newest) if turn % 3 != 2 => newest - (turn * turn) % (newest + 1) / 2,
            Some(newest) => newest + 1,
            None => 0,
        };
        let asked = now();
        let said = get(&client.frontend, &format!("/orders/{number}")).await;
        match said {
            Ok((200, body)) if order_of(&body).is_some() => {
                let order = order_of(&body).map(Seen::Order).expect("it is one");
                client.history.borrow_mut().saw(order, asked, now());
            }
            Ok((404, _)) => {
                client.history.borrow_mut().saw(Seen::Absence(number), asked, now());
            }
            other => client.failed(other, &format!("a query for order {number}")).await,
        }
        actix_web::rt::time::sleep(PAUSE).await;
    }
}

/// The decision on a purchase, if an answer is one.
pub(crate) fn answer_of((status, body): (u16, serde_json::Value)) -> Option<Answer> {
    match status {
        200 => body["data"]["order_number"].as_u64().map(Answer::Granted),
        409 => Some(Answer::Refused),
        _ => None,
    }
}

/// The order that an answer shows.
pub(crate) fn order_of(body: &serde_json::Value) -> Option<Row> {
    let order = &body["data"];
    let name = order["name"].as_str()?.to_owned();
    Some((order["number"].as_u64()?, name, order["quantity"].as_u64()?))
}

impl History {
    /// The highest number among the latest answers.
    pub(crate) fn newest(&self) -> Option<u64> {
        let granted = self.purchases.iter().rev().take(64).filter_map(|one| match one.answer? {
            (Answer::Granted(number), _) => Some(number),
            (Answer::Refused, _) => None,
        });
        granted.max()
    }
}
