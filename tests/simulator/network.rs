//! The network: messages are late, lost, repeated and overtaken, and links are cut, one way too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::message::{Failure, Node, Reply, Request};
use super::world::{Env, World};

/// How a network behaves, in millionths of its messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// So late that whoever waited has given up.
    pub(crate) very_late: u64,
    /// Ordinary messages take up to so long.
    pub(crate) slowness: Duration,
}

type Answering = Pin<Box<dyn Future<Output = Reply>>>;
type Process = Rc<dyn Fn(Request) -> Answering>;

/// All links.
pub(crate) struct Network {
    world: Rc<World>,
    pub(crate) weather: Cell<Weather>,
    /// Directions in which nothing gets through.
    cuts: RefCell<BTreeSet<(Node, Node)>>,
    processes: RefCell<BTreeMap<Node, Process>>,
    /// Those who wait for what is lost wait until their patience ends.
    limbo: RefCell<Vec<Answers>>,
}

/// Where the first answer goes.
type Answers = Rc<RefCell<Option<oneshot::Sender<Result<Reply, Failure>>>>>;

impl Network {
    pub(crate) fn new(world: &Rc<World>) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            weather: Cell::default(),
            cuts: RefCell::default(),
            processes: RefCell::default(),
            limbo: RefCell::default(),
        })
    }

    /// From now on `node` answers by this.
    pub(crate) fn listen<F>(&self, node: Node, answer: impl Fn(Request) -> F + 'static)
    where
        F: Future<Output = Reply> + 'static,
    {
        let process: Process = Rc::new(move |request| Box::pin(answer(request)) as Answering);
        self.processes.borrow_mut().insert(node, process);
    }

    pub(crate) fn cut(&self, from: Node, to: Node) {
        self.world.trace(Node::Fate, || format!("cuts {from} -> {to}"));
        self.cuts.borrow_mut().insert((from, to));
    }

    pub(crate) fn mend(&self, from: Node, to: Node) {
        self.world.trace(Node::Fate, || format!("mends {from} -> {to}"));
        self.cuts.borrow_mut().remove(&(from, to));
    }

    pub(crate) fn heal(&self) {
        self.cuts.borrow_mut().clear();
        self.weather.set(Weather { slowness: Duration::from_millis(1), ..Weather::default() });
    }

    /// Asks, and waits for the answer, at most so long by the asking machine's clock.
    pub(crate) async fn call(
        self: &Rc<Self>,
        env: &Env,
        to: Node,
        request: Request,
        limit: Duration,
    ) -> Result<Reply, Failure> {
        let (answer, answered) = oneshot::channel();
        let answers: Answers = Rc::new(RefCell::new(Some(answer)));
        let repeated = self.world.chance(self.weather.get().repeated);
        if repeated {
            self.world.reached("a message was delivered twice");
        }
        for _ in 0..=u32::from(repeated) {
            self.send(env.node, to, request.clone(), Rc::clone(&answers));
        }
        drop(answers);
        let asked = env.world.time();
        let outcome = match env.timeout(limit, answered).await {
            Some(Ok(Ok(Reply::Unavailable))) => Err(Failure::Unavailable),
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => Err(Failure::NoAnswer),
        };
        if let Err(failure) = outcome {
            let took = env.world.time().saturating_sub(asked);
            env.trace(|| format!("asks {to} in vain: {failure:?} after {took:?}"));
        }
        outcome
    }

    fn send(self: &Rc<Self>, from: Node, to: Node, request: Request, answers: Answers) {
        let network = Rc::clone(self);
        self.world.spawn(Node::Fate, async move {
            if !network.travels(from, to).await {
                network.limbo.borrow_mut().push(answers);
                return;
            }
            if !network.world.is_up(to) {
                network.answer(to, from, Err(Failure::NobodyListens), answers).await;
                return;
            }
            let process = Rc::clone(&network.processes.borrow()[&to]);
            let world = Rc::clone(&network.world);
            // If the machine crashes, this ends, and with it the connection.
            world.spawn(to, async move {
                let reply = process(request).await;
                let answering = Rc::clone(&network);
                network.world.spawn(Node::Fate, async move {
                    answering.answer(to, from, Ok(reply), answers).await;
                });
            });
        });
    }

    async fn answer(&self, from: Node, to: Node, reply: Result<Reply, Failure>, answers: Answers) {
        if !self.travels(from, to).await {
            self.limbo.borrow_mut().push(answers);
            return;
        }
        if let Some(first) = answers.borrow_mut().take() {
            let _unheard = first.send(reply);
        }
    }

    /// Whether a message arrives; ends when it does, or would have.
    async fn travels(&self, from: Node, to: Node) -> bool {
        let weather = self.weather.get();
        let mut delay = self.world.draw_time(Duration::from_micros(50)..weather.slowness);
        if self.world.chance(weather.very_late) {
            delay = self.world.draw_time(Duration::from_millis(300)..Duration::from_secs(8));
            self.world.reached("a message was very late");
        }
        let sent_into_a_cut = self.is_cut(from, to);
        self.env().sleep(delay).await;
        if sent_into_a_cut || self.is_cut(from, to) {
            self.world.reached("a message ran into a cut");
            return false;
        }
        if self.world.chance(weather.lost) {
            self.world.reached("a message was lost");
            return false;
        }
        true
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts.borrow().contains(&(from, to))
    }

    fn env(&self) -> Env {
        Env { world: Rc::clone(&self.world), node: Node::Fate }
    }
}
