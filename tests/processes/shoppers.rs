//! Shoppers that buy without pause while a test hurts the store, and remember all that they were
//! told.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use actix_web::rt::task::JoinHandle;

use super::{Row, TOYS, buy, eventually};

/// What the shoppers were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Order numbers, with what was bought.
    pub(crate) orders: RefCell<Vec<Row>>,
    /// Refusals for lack of stock.
    pub(crate) refusals: Cell<u64>,
    /// Everything else, with the purchase's key: nothing, if the store is good.
    pub(crate) errors: RefCell<Vec<(String, String)>>,
}

/// Shoppers at work.
pub(crate) struct Shoppers {
    pub(crate) told: Rc<Told>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Shoppers {
    /// Sends shoppers to front-ends, one after the other in turn.
    pub(crate) fn start(count: usize, frontends: &[String]) -> Self {
        let told = Rc::new(Told::default());
        let stop = Rc::new(Cell::new(false));
        let tasks = (0..count).map(|number| {
            let frontend = frontends[number % frontends.len()].clone();
            actix_web::rt::spawn(shop(frontend, number, Rc::clone(&told), Rc::clone(&stop)))
        });
        Self { told: Rc::clone(&told), stop: Rc::clone(&stop), tasks: tasks.collect() }
    }

    /// Waits until so many more orders were made.
    pub(crate) async fn await_orders(&self, count: usize) {
        let goal = self.told.orders.borrow().len() + count;
        eventually("the shoppers go on buying", async || {
            self.told.orders.borrow().len() >= goal || !self.told.errors.borrow().is_empty()
        })
        .await;
        self.assert_no_error();
    }

    /// Sends the shoppers home; each finishes what it asked for.
    pub(crate) async fn finish(self) -> Rc<Told> {
        self.stop.set(true);
        for task in self.tasks {
            task.await.expect("a shopper does not panic");
        }
        self.told
    }

    /// Fails if a shopper was told anything but a number or a refusal.
    pub(crate) fn assert_no_error(&self) {
        let errors = self.told.errors.borrow();
        assert!(errors.is_empty(), "a shopper saw {errors:?}");
    }
}

impl Told {
    /// Fails unless every order that a shopper was told of is in the journal as it was bought, and
    /// nobody else has its number.
    pub(crate) fn assert_all_in(&self, journal: &[Row]) {
        let errors = self.errors.borrow();
        assert!(errors.is_empty(), "a shopper saw {errors:?}");
        let mut numbers = HashSet::new();
        for order in self.orders.borrow().iter() {
            let number = usize::try_from(order.0).expect("few orders");
            assert_eq!(journal.get(number), Some(order), "an acknowledged order is kept");
            assert!(numbers.insert(order.0), "number {} was told twice", order.0);
        }
    }
}

async fn shop(frontend: String, shopper: usize, told: Rc<Told>, stop: Rc<Cell<bool>>) {
    let salt: u64 = rand::random();
    for turn in 0_usize.. {
        if stop.get() {
            return;
        }
        let toy = TOYS[(shopper + turn) % TOYS.len()];
        let key = format!("{salt:x}-{shopper}-{turn}");
        match buy(&frontend, toy, 1, &key).await {
            Ok((200, body)) => {
                let number = body["data"]["order_number"].as_u64().expect("an order has a number");
                told.orders.borrow_mut().push((number, toy.to_owned(), 1));
            }
            Ok((409, _)) => told.refusals.set(told.refusals.get() + 1),
            other => {
                told.errors.borrow_mut().push((key, format!("{other:?}")));
                return;
            }
        }
    }
}
