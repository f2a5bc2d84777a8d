//! Disks: a write survives a crash once it was synced, and may survive it if it was not. Disks are
//! slow, full, or fail.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::message::Node;
use super::world::{Env, World};

/// How long each sync takes in a steady world.
const STEADY_SYNC: Duration = Duration::from_millis(1);

/// Why a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskError {
    /// Nothing has changed.
    Full,
    /// Whether anything has changed is unknown: the process must end.
    Broken,
}

/// The condition of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    /// A sync takes up to a second.
    Slow,
    Full,
    /// The next write fails, and may have been done.
    Failing,
}

/// A disk with a database of type `D` on it.
pub(crate) struct Disk<D> {
    world: Rc<World>,
    node: Node,
    data: RefCell<D>,
    health: Cell<Health>,
    /// Whether it is syncing.
    is_busy: Cell<bool>,
    pending: RefCell<VecDeque<Pending<D>>>,
}

struct Pending<D> {
    work: Work<D>,
    /// Only a write meets a full or failing disk.
    writes: bool,
}

type Work<D> = Box<dyn FnOnce(&mut D, WriteOutcome)>;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteOutcome {
    Done,
    Refused,
    FailedAndDone,
    FailedAndNotDone,
}

impl<D: 'static> Disk<D> {
    pub(crate) fn new(world: &Rc<World>, node: Node, data: D) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            node,
            data: RefCell::new(data),
            health: Cell::new(Health::Healthy),
            is_busy: Cell::default(),
            pending: RefCell::default(),
        })
    }

    /// Reads what was synced, or survived a crash.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&D) -> T) -> T {
        read(&self.data.borrow())
    }

    /// Changes what is on it, at once and without a write.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut D) -> T) -> T {
        change(&mut self.data.borrow_mut())
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.world.trace(Node::World, || format!("makes the disk of {}: {health:?}", self.node));
        self.health.set(health);
    }

    /// Whether a write is queued.
    pub(crate) fn is_writing(&self) -> bool {
        self.pending.borrow().iter().any(|pending| pending.writes)
    }

    /// Queues a write, at once; ends when it is synced.
    pub(crate) fn write<T: 'static, W: FnOnce(&mut D) -> T + 'static>(
        self: &Rc<Self>,
        work: W,
    ) -> impl Future<Output = Result<T, DiskError>> + use<T, D, W> {
        let (done, outcome) = oneshot::channel();
        let work = move |data: &mut D, outcome| {
            let result = match outcome {
                WriteOutcome::Done => Ok(work(data)),
                WriteOutcome::FailedAndDone => {
                    work(data);
                    Err(DiskError::Broken)
                }
                WriteOutcome::FailedAndNotDone => Err(DiskError::Broken),
                WriteOutcome::Refused => Err(DiskError::Full),
            };
            let _gave_up = done.send(result);
        };
        self.queue(Pending { work: Box::new(work), writes: true });
        async move { outcome.await.unwrap_or(Err(DiskError::Broken)) }
    }

    /// Ends when all that was queued before is done. Fails if there is no room for more.
    pub(crate) fn pulse(self: &Rc<Self>) -> impl Future<Output = Result<(), DiskError>> + use<D> {
        let (done, outcome) = oneshot::channel();
        let work = move |_: &mut D, outcome| {
            let is_full = matches!(outcome, WriteOutcome::Refused);
            let _gave_up = done.send(if is_full { Err(DiskError::Full) } else { Ok(()) });
        };
        self.queue(Pending { work: Box::new(work), writes: false });
        async move { outcome.await.unwrap_or(Err(DiskError::Broken)) }
    }

    fn queue(self: &Rc<Self>, pending: Pending<D>) {
        self.pending.borrow_mut().push_back(pending);
        if !self.is_busy.replace(true) {
            let disk = Rc::clone(self);
            let generation = self.world.generation(self.node);
            self.world.spawn(Node::World, async move { disk.run(generation).await });
        }
    }

    /// Syncs one write after the other, until none is left or the machine crashes.
    async fn run(&self, generation: u64) {
        let env = Env { world: Rc::clone(&self.world), node: Node::World };
        loop {
            env.sleep(self.sync_time()).await;
            if !env.world.is_up(self.node) || env.world.generation(self.node) != generation {
                return;
            }
            self.sync_next();
            if self.pending.borrow().is_empty() {
                self.is_busy.set(false);
                return;
            }
        }
    }

    /// The machine crashes: some of what was not synced yet may be there all the same, in order.
    pub(crate) fn crash(&self) {
        let pending = self.pending.take();
        self.is_busy.set(false);
        let writes: Vec<_> = pending.into_iter().filter(|pending| pending.writes).collect();
        let kept = usize::try_from(self.world.draw(0..writes.len() as u64 + 1)).expect("few");
        for (place, write) in writes.into_iter().enumerate() {
            if place < kept {
                self.world.reached("a crash kept what was not answered yet");
                (write.work)(&mut self.data.borrow_mut(), WriteOutcome::Done);
            } else {
                self.world.reached("a crash lost what was not synced");
            }
        }
    }

    fn sync_next(&self) {
        let Some(pending) = self.pending.borrow_mut().pop_front() else { return };
        let outcome = match self.health.get() {
            Health::Full => WriteOutcome::Refused,
            _ if !pending.writes => WriteOutcome::Done,
            Health::Healthy | Health::Slow => WriteOutcome::Done,
            Health::Failing if self.world.chance(500_000) => WriteOutcome::FailedAndDone,
            Health::Failing => WriteOutcome::FailedAndNotDone,
        };
        match outcome {
            WriteOutcome::Refused if !pending.writes => {}
            WriteOutcome::Done => {}
            WriteOutcome::Refused => self.world.reached("a disk was full"),
            WriteOutcome::FailedAndDone => self.world.reached("a disk failed, and had done it"),
            WriteOutcome::FailedAndNotDone => {
                self.world.reached("a disk failed, and had not done it");
            }
        }
        (pending.work)(&mut self.data.borrow_mut(), outcome);
    }

    fn sync_time(&self) -> Duration {
        if self.world.is_steady() {
            return STEADY_SYNC;
        }
        let longest = match self.health.get() {
            Health::Slow => Duration::from_millis(900),
            Health::Full => Duration::from_millis(150),
            Health::Healthy | Health::Failing => Duration::from_millis(3),
        };
        self.world.draw_time(Duration::from_micros(200)..longest)
    }
}
