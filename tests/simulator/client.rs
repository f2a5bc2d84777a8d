//! Clients: they read toys, buy, read orders, give up and retry; the judge checks each answer.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use toystore::identity::Identity;
use toystore::wire::calls::Call;
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::trace::RequestOrigin;

use super::cluster::Cluster;
use super::events;
use super::judge::{self, Before, Era};
use super::message::{Node, PlaceOrder, ShowOrder, ShowToy};
use super::world::Env;

/// How long a client waits for an answer; some give up early.
const TIME_LIMITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(12)];

struct Client {
    env: Env,
    cluster: Rc<Cluster>,
    number: u32,
    past: Vec<(Purchase, Decision, Era)>,
    /// A client is no role; the public port does not ask whom a call is meant for.
    own: Arc<Identity>,
}

/// Starts a client; `done` counts those that have finished.
pub(crate) fn start(cluster: &Rc<Cluster>, number: u32, actions: u64, done: &Rc<Cell<u32>>) {
    let env = Env { world: Rc::clone(&cluster.world), node: Node::Client(number) };
    env.world.switch_on(env.node);
    let done = Rc::clone(done);
    let mut client = Client::new(env.clone(), cluster, number);
    env.spawn(async move {
        for action in 0..actions {
            let pause = client.env.world.draw_time(Duration::ZERO..Duration::from_millis(150));
            client.env.sleep(pause).await;
            match client.env.world.draw(0..100) {
                0..45 => client.look().await,
                45..78 => client.buy(action).await,
                78..90 => client.find().await,
                90..97 => client.repeat().await,
                _ => client.reuse_key().await,
            }
        }
        done.set(done.get() + 1);
    });
}

/// Starts a client that checks, after all faults, that a front-end sells a toy, and shows the toy
/// and the order.
pub(crate) fn start_final_check(cluster: &Rc<Cluster>, place: usize, done: &Rc<Cell<u32>>) {
    let env = Env { world: Rc::clone(&cluster.world), node: Node::Client(1) };
    let done = Rc::clone(done);
    let client = Client::new(env.clone(), cluster, 1);
    env.spawn(async move {
        client.check_service(place).await;
        done.set(done.get() + 1);
    });
}

impl Client {
    fn new(env: Env, cluster: &Rc<Cluster>, number: u32) -> Self {
        let own = events::identity(&env.world, env.node, None);
        Self { env, cluster: Rc::clone(cluster), number, past: Vec::new(), own }
    }

    async fn check_service(&self, place: usize) {
        let toy = self.cluster.toys[0].clone();
        let purchase = Purchase {
            key: IdempotencyKey::from(format!("final-{place}")),
            name: toy.clone(),
            quantity: Quantity::ONE,
            origin: RequestOrigin::default(),
            boot: None,
        };
        let before = self.cluster.judge.before(&self.env);
        let decision = self.retry_at(place, PlaceOrder(purchase.clone())).await;
        self.cluster.judge.decided(&self.cluster, &purchase, decision, &before);
        let before = self.cluster.judge.before(&self.env);
        let shown = self.retry_at(place, ShowToy(toy.clone())).await;
        self.cluster.judge.shown(self.env.world.time(), &toy, shown, &before);
        if let Decision::Granted(number) = decision {
            let before = self.cluster.judge.before(&self.env);
            let order = self.retry_at(place, ShowOrder(number)).await;
            judge::found(&self.cluster, number, order.as_ref(), &before);
        }
    }

    /// Asks one front-end until it answers.
    async fn retry_at<C: Call>(&self, place: usize, call: C) -> C::Answer {
        loop {
            if let Some(answer) = self.ask_at(place, call.clone()).await {
                return answer;
            }
            self.env.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn look(&self) {
        let toys = &self.cluster.toys;
        let toy = toys[self.draw(toys.len())].clone();
        let before = self.cluster.judge.before(&self.env);
        if let Some(shown) = self.ask(ShowToy(toy.clone())).await {
            self.env.trace(|| format!("sees {toy}: {shown:?}"));
            self.cluster.judge.shown(self.env.world.time(), &toy, shown, &before);
        }
    }

    async fn buy(&mut self, action: u64) {
        let toy = self.cluster.toys[self.draw(self.cluster.toys.len())].clone();
        let purchase = Purchase {
            key: IdempotencyKey::from(format!("{}-{action}", self.number)),
            name: toy,
            quantity: Quantity::new(self.env.world.draw(1..5)).expect("more than none"),
            origin: RequestOrigin::default(),
            boot: None,
        };
        let before = self.cluster.judge.before(&self.env);
        let first = self.draw(self.cluster.frontends.len());
        let decision = if self.cluster.frontends.len() > 1 && self.env.world.chance(150_000) {
            self.env.reached("a purchase was asked of two front-ends at once");
            let second = (first + 1) % self.cluster.frontends.len();
            let both = [first, second].map(|place| self.insist(&purchase, &before, place));
            let both = futures_util::future::join_all(both).await;
            let is_one = both[0] == both[1];
            let forgotten =
                both.iter().find(|one| self.cluster.judge.may_be_forgotten(**one, before.era));
            assert!(is_one || forgotten.is_some(), "a key has one decision: {both:?}");
            *both.iter().find(|one| **one != Decision::OutOfStock).unwrap_or(&both[0])
        } else {
            self.insist(&purchase, &before, first).await
        };
        self.past.push((purchase, decision, before.era));
    }

    /// Retries under the same key until there is a decision: first at this front-end, then at any.
    async fn insist(&self, purchase: &Purchase, before: &Before, first: usize) -> Decision {
        let mut place = first;
        loop {
            if let Some(decision) = self.ask_at(place, PlaceOrder(purchase.clone())).await {
                self.env.trace(|| format!("{} is decided: {decision:?}", purchase.key));
                self.cluster.judge.decided(&self.cluster, purchase, decision, before);
                return decision;
            }
            let pause = self.env.world.draw_time(Duration::ZERO..Duration::from_millis(200));
            self.env.sleep(pause).await;
            place = self.draw(self.cluster.frontends.len());
        }
    }

    async fn find(&self) {
        let number = OrderNumber(self.env.world.draw(0..self.cluster.judge.orders() + 3));
        let before = self.cluster.judge.before(&self.env);
        if let Some(order) = self.ask(ShowOrder(number)).await {
            judge::found(&self.cluster, number, order.as_ref(), &before);
        }
    }

    /// A late duplicate: a purchase that was decided long ago.
    async fn repeat(&self) {
        let Some((purchase, decision, era)) = self.one_of_the_past() else { return };
        let before = self.cluster.judge.before(&self.env);
        let enough = self.cluster.judge.left_of(&purchase.name) >= purchase.quantity.get();
        let Some(again) = self.ask(PlaceOrder(purchase.clone())).await else { return };
        if again != decision && self.cluster.judge.may_be_forgotten(decision, era) {
            self.cluster.judge.decided(&self.cluster, &purchase, again, &before);
            return;
        }
        assert_eq!(again, decision, "{} is answered as it was decided", purchase.key);
        match decision {
            Decision::OutOfStock if enough => {
                self.env.reached("a refusal was repeated after a restock");
            }
            Decision::Granted(_) => {
                self.env.reached("an order was repeated long after it was granted");
            }
            Decision::OutOfStock
            | Decision::UnknownToy
            | Decision::KeyReused
            | Decision::OtherCatalog => {}
        }
    }

    async fn reuse_key(&mut self) {
        if self.past.is_empty() {
            return;
        }
        let place = self.draw(self.past.len());
        let (mut purchase, decision, era) = self.past[place].clone();
        if self.cluster.judge.may_be_forgotten(decision, era) {
            return;
        }
        purchase.quantity = Quantity::new(purchase.quantity.get() + 1).expect("more than none");
        let before = self.cluster.judge.before(&self.env);
        let Some(answer) = self.ask(PlaceOrder(purchase.clone())).await else { return };
        if answer != Decision::KeyReused && self.cluster.judge.may_be_forgotten(decision, era) {
            // The journal was restored while this call was on its way: the key is this one's now.
            self.cluster.judge.decided(&self.cluster, &purchase, answer, &before);
            self.past[place] = (purchase, answer, before.era);
            return;
        }
        self.env.reached("a key was used for another purchase");
        assert_eq!(answer, Decision::KeyReused, "{purchase:?}");
    }

    fn one_of_the_past(&self) -> Option<(Purchase, Decision, Era)> {
        if self.past.is_empty() {
            return None;
        }
        Some(self.past[self.draw(self.past.len())].clone())
    }

    /// Asks one of the front-ends.
    async fn ask<C: Call>(&self, call: C) -> Option<C::Answer> {
        self.ask_at(self.draw(self.cluster.frontends.len()), call).await
    }

    async fn ask_at<C: Call>(&self, place: usize, call: C) -> Option<C::Answer> {
        let limit = TIME_LIMITS[self.draw(TIME_LIMITS.len())];
        let frontend = Node::Frontend(self.cluster.frontends[place]);
        self.cluster.network.peer(&self.env, frontend, &self.own).call(&call, limit).await.ok()
    }

    fn draw(&self, below: usize) -> usize {
        usize::try_from(self.env.world.draw(0..below as u64)).expect("few")
    }
}
