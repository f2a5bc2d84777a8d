//! Clients: they look, buy, ask for orders, give up and ask again, and tell the judge.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use toystore::identity::Identity;
use toystore::roles::Role;
use toystore::wire::calls::Call;
use toystore::wire::order::OrderNumber;
use toystore::wire::purchase::{Decision, IdempotencyKey, Purchase};
use toystore::wire::quantity::Quantity;

use super::judge::{self, Before};
use super::message::{Node, PlaceOrder, ShowOrder, ShowToy};
use super::scene::Scene;
use super::world::Env;

/// How long a client waits for an answer: some have no patience.
const PATIENCES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(12)];

struct Shopper {
    env: Env,
    scene: Rc<Scene>,
    number: u32,
    past: Vec<(Purchase, Decision)>,
    /// A client is no role; its calls go to the public port, which does not ask.
    own: Arc<Identity>,
}

/// Sends a client shopping; `done` counts those that are through.
pub(crate) fn start(scene: &Rc<Scene>, number: u32, actions: u64, done: &Rc<Cell<u32>>) {
    let env = Env { world: Rc::clone(&scene.world), node: Node::Shopper(number) };
    env.world.switch_on(env.node);
    let done = Rc::clone(done);
    let mut shopper = Shopper {
        env: env.clone(),
        scene: Rc::clone(scene),
        number,
        past: Vec::new(),
        own: Identity::new(Role::Frontend(0), None),
    };
    env.spawn(async move {
        for action in 0..actions {
            let pause = shopper.env.world.draw_time(Duration::ZERO..Duration::from_millis(150));
            shopper.env.sleep(pause).await;
            match shopper.env.world.draw(0..100) {
                0..45 => shopper.look().await,
                45..78 => shopper.buy(action).await,
                78..90 => shopper.find().await,
                90..97 => shopper.repeat().await,
                _ => shopper.reuse_key().await,
            }
        }
        done.set(done.get() + 1);
    });
}

impl Shopper {
    async fn look(&self) {
        let toys = &self.scene.toys;
        let toy = toys[self.draw(toys.len())].clone();
        let before = self.scene.judge.before(&self.env);
        if let Some(shown) = self.ask(ShowToy(toy.clone())).await {
            self.env.trace(|| format!("sees {toy}: {shown:?}"));
            self.scene.judge.shown(&toy, shown, &before);
        }
    }

    async fn buy(&mut self, action: u64) {
        let toy = self.scene.toys[self.draw(self.scene.toys.len())].clone();
        let purchase = Purchase {
            key: IdempotencyKey::from(format!("{}-{action}", self.number)),
            name: toy,
            quantity: Quantity::new(self.env.world.draw(1..5)).expect("more than none"),
            request_id: None,
            boot: None,
        };
        let before = self.scene.judge.before(&self.env);
        let first = self.draw(self.scene.frontends.len());
        let decision = if self.scene.frontends.len() > 1 && self.env.world.chance(150_000) {
            self.env.reached("a purchase was asked of two front-ends at once");
            let second = (first + 1) % self.scene.frontends.len();
            let both = [first, second].map(|place| self.insist(&purchase, &before, place));
            let both = futures_util::future::join_all(both).await;
            assert_eq!(both[0], both[1], "a key has one decision");
            both[0]
        } else {
            self.insist(&purchase, &before, first).await
        };
        self.past.push((purchase, decision));
    }

    /// Asks until there is a decision, under the same key: first this front-end, then any.
    async fn insist(&self, purchase: &Purchase, before: &Before, first: usize) -> Decision {
        let mut place = first;
        loop {
            if let Some(decision) = self.ask_at(place, PlaceOrder(purchase.clone())).await {
                self.env.trace(|| format!("{} is decided: {decision:?}", purchase.key));
                self.scene.judge.decided(&self.scene, purchase, decision, before);
                return decision;
            }
            let pause = self.env.world.draw_time(Duration::ZERO..Duration::from_millis(200));
            self.env.sleep(pause).await;
            place = self.draw(self.scene.frontends.len());
        }
    }

    async fn find(&self) {
        let number = OrderNumber(self.env.world.draw(0..self.scene.judge.orders() + 3));
        let before = self.scene.judge.before(&self.env);
        if let Some(order) = self.ask(ShowOrder(number)).await {
            judge::found(&self.scene, number, order.as_ref(), &before);
        }
    }

    /// A late duplicate: a purchase that was decided long ago.
    async fn repeat(&self) {
        let Some((purchase, decision)) = self.one_of_the_past() else { return };
        let enough = self.scene.judge.left_of(&purchase.name) >= purchase.quantity.get();
        let Some(again) = self.ask(PlaceOrder(purchase.clone())).await else { return };
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

    async fn reuse_key(&self) {
        let Some((mut purchase, _)) = self.one_of_the_past() else { return };
        purchase.quantity = Quantity::new(purchase.quantity.get() + 1).expect("more than none");
        if let Some(decision) = self.ask(PlaceOrder(purchase.clone())).await {
            self.env.reached("a key was used for another purchase");
            assert_eq!(decision, Decision::KeyReused, "{purchase:?}");
        }
    }

    fn one_of_the_past(&self) -> Option<(Purchase, Decision)> {
        if self.past.is_empty() {
            return None;
        }
        Some(self.past[self.draw(self.past.len())].clone())
    }

    /// Asks one of the front-ends.
    async fn ask<C: Call>(&self, call: C) -> Option<C::Answer> {
        self.ask_at(self.draw(self.scene.frontends.len()), call).await
    }

    async fn ask_at<C: Call>(&self, place: usize, call: C) -> Option<C::Answer> {
        let patience = PATIENCES[self.draw(PATIENCES.len())];
        let frontend = Node::Frontend(self.scene.frontends[place]);
        self.scene.network.peer(&self.env, frontend, &self.own).call(&call, patience).await.ok()
    }

    fn draw(&self, below: usize) -> usize {
        usize::try_from(self.env.world.draw(0..below as u64)).expect("few")
    }
}
