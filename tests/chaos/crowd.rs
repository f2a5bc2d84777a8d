//! Clients that buy, look and ask without pause while a test hurts the store.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cluster::PLENTY;
use crate::history::{Answer, History, Purchase};
use crate::ledger::Seen;
use crate::processes::{Row, TOYS, buy, eventually, get, now};

/// A client that only looks pauses for so long: it is to see the store, not to saturate it.
const GLANCE: Duration = Duration::from_millis(10);

/// How many clients do what.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) buyers: usize,
    pub(crate) readers: usize,
    pub(crate) askers: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { buyers: 4, readers: 2, askers: 1 }
    }
}

/// Clients at work.
pub(crate) struct Crowd {
    pub(crate) history: Rc<RefCell<History>>,
    frontends: Vec<String>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Sends the usual clients to front-ends, one after the other in turn.
    pub(crate) fn start(frontends: &[String]) -> Self {
        Self::of(Size::default(), frontends)
    }

    /// Sends clients to front-ends, one after the other in turn.
    pub(crate) fn of(size: Size, frontends: &[String]) -> Self {
        Self::resume(History::default(), size, frontends)
    }

    /// Sends clients to a store that has a history. Earlier troubles are over.
    pub(crate) fn resume(mut history: History, size: Size, frontends: &[String]) -> Self {
        history.troubles.clear();
        let mut crowd = Self {
            history: Rc::new(RefCell::new(history)),
            frontends: frontends.to_vec(),
            stop: Rc::default(),
            tasks: Vec::new(),
        };
        (0..size.buyers).for_each(|number| crowd.add(number, purchases));
        (0..size.readers).for_each(|number| crowd.add(number, readings));
        (0..size.askers).for_each(|number| crowd.add(number, questions));
        crowd
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

    /// Waits until so many purchases that are asked from now on were granted, without any trouble.
    pub(crate) async fn await_orders(&self, count: usize) {
        let since = now();
        eventually("the crowd goes on buying", async || {
            self.assert_no_trouble();
            self.history.borrow().granted_since(since) >= count
        })
        .await;
    }

    /// The same, whatever trouble there is.
    pub(crate) async fn await_orders_in_spite(&self, count: usize) {
        let since = now();
        eventually("the crowd buys again", async || {
            self.history.borrow().granted_since(since) >= count
        })
        .await;
    }

    /// Fails if a client was told anything but what it asked for.
    pub(crate) fn assert_no_trouble(&self) {
        let history = self.history.borrow();
        assert!(
            history.troubles.is_empty() && history.violations.is_empty(),
            "clients saw {:#?} {:#?}",
            history.troubles,
            history.violations
        );
    }

    /// Tells the clients to go home when they have what they wait for.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
    }

    /// Sends the clients home, who saw no trouble.
    pub(crate) async fn finish(self) -> History {
        let history = self.finish_in_spite().await;
        assert!(history.troubles.is_empty(), "clients saw {:#?}", history.troubles);
        history
    }

    /// Sends the clients home. What was in doubt is asked again, until it is decided.
    pub(crate) async fn finish_in_spite(self) -> History {
        self.stop();
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        let mut history = self.history.take();
        for purchase in history.purchases.iter_mut().filter(|one| one.answer.is_none()) {
            eventually("what was in doubt is decided", async || {
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

/// What the store said, or why it said nothing.
type Said = Result<(u16, serde_json::Value), String>;

/// One client.
struct Client {
    number: usize,
    frontend: String,
    history: Rc<RefCell<History>>,
    stop: Rc<Cell<bool>>,
}

impl Client {
    /// Notes an answer that is not what was asked for.
    fn note(&self, said: Said, asked: &str) {
        let mut history = self.history.borrow_mut();
        let place = &self.frontend;
        match said {
            Ok((503, body)) => history.troubles.push(format!("{asked} at {place}: 503 {body}")),
            Err(error) => history.troubles.push(format!("{asked} at {place}: {error}")),
            Ok((status, body)) => {
                history.violations.push(format!("{asked} at {place}: {status} {body}"));
            }
        }
    }
}

async fn purchases(client: Client) {
    let salt: u64 = rand::random();
    for turn in 0_usize.. {
        if client.stop.get() {
            return;
        }
        let toy = TOYS[(client.number + turn) % TOYS.len()];
        let key = format!("{salt:x}-{turn}");
        // Now and then somebody wants more than there is.
        let quantity = if (turn + 5 * client.number) % 16 == 7 { PLENTY + 1 } else { 1 };
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
            other => client.note(other, &format!("a purchase of {toy}")),
        }
    }
}

async fn readings(client: Client) {
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
            None => client.note(said, &format!("a query for {toy}")),
        }
        actix_web::rt::time::sleep(GLANCE).await;
    }
}

/// Asks for orders that somebody was told of, and for one that may not exist yet.
async fn questions(client: Client) {
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
            other => client.note(other, &format!("a query for order {number}")),
        }
        actix_web::rt::time::sleep(GLANCE).await;
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
    /// The highest number among those that clients were told lately.
    pub(crate) fn newest(&self) -> Option<u64> {
        let granted = self.purchases.iter().rev().take(64).filter_map(|one| match one.answer? {
            (Answer::Granted(number), _) => Some(number),
            (Answer::Refused, _) => None,
        });
        granted.max()
    }
}
