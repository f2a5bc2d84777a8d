//! The world that a simulation runs in: time that jumps from event to event, tasks that run one at
//! a time in an order drawn from the seed, and machines that crash, stall, and have inexact clocks.
//!
//! Everything random comes from one generator, so that a seed replays a run exactly.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::events::Events;
use super::machine;
use super::message::Node;
use super::paths::Paths;

/// Clocks run this much too slow or too fast at most, in millionths. Two clocks then differ by less
/// than the share of a lease that the catalog adds.
const MOST_DRIFT: i64 = 100_000;

/// How often a machine that reads its clock stalls just then, in millionths.
const STALLS: u64 = 200;
/// The time that a read of a database takes at most, unless it takes as long as a stall.
const MOMENT: Duration = Duration::from_micros(50);
/// Longer than a lease, so that one may end within a stall.
const LONGEST_STALL: Duration = Duration::from_millis(1_500);

/// One simulated world.
pub(crate) struct World {
    /// Since the beginning.
    time: Cell<Duration>,
    pub(crate) seed: u64,
    /// What exact clocks show at the beginning.
    beginning: Instant,
    random: RefCell<ChaCha8Rng>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    next_task: Cell<u64>,
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BinaryHeap<Timer>>,
    machines: RefCell<BTreeMap<Node, Machine>>,
    pub(crate) paths: RefCell<Paths>,
    trace: Option<RefCell<Vec<String>>>,
    /// What happens, if it is recorded.
    pub(crate) recorded: RefCell<Option<Events>>,
    pub(crate) events: Cell<u64>,
    timing: Timing,
    /// Called with a machine after each step of it.
    observer: RefCell<Option<Observer>>,
    /// Called with each line that a service logs.
    listener: RefCell<Option<Listener>>,
}

/// How long things take, and which of several comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Random.
    Random,
    /// Each kind of thing takes a fixed time, and what is ready first comes first.
    Steady,
}

type Observer = Rc<dyn Fn(Node)>;
type Listener = Rc<dyn Fn(&str)>;

struct Task {
    owner: Node,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<TaskWaker>,
}

/// Wakes a task, once until it is polled.
struct TaskWaker {
    task: u64,
    is_woken: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

struct Machine {
    is_up: bool,
    is_paused: bool,
    /// Counts its starts.
    generation: u64,
    /// How many millionths its clock is too fast.
    drift: i64,
    /// Until when the machine is stalled, in the middle of a step.
    stalled_until: Duration,
    /// Tasks that were woken while the machine was paused or stalled.
    parked: Vec<u64>,
}

struct Timer {
    due: Duration,
    number: u64,
    waker: Waker,
}

impl World {
    pub(crate) fn new(seed: u64, beginning: Instant, traces: bool, timing: Timing) -> Rc<Self> {
        Rc::new(Self {
            time: Cell::new(Duration::ZERO),
            seed,
            beginning,
            random: RefCell::new(ChaCha8Rng::seed_from_u64(seed)),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            ready: Arc::default(),
            timers: RefCell::default(),
            machines: RefCell::default(),
            paths: RefCell::default(),
            trace: traces.then(RefCell::default),
            recorded: RefCell::default(),
            events: Cell::new(0),
            timing,
            observer: RefCell::default(),
            listener: RefCell::default(),
        })
    }

    pub(crate) fn is_steady(&self) -> bool {
        self.timing == Timing::Steady
    }

    pub(crate) fn time(&self) -> Duration {
        self.time.get()
    }

    /// Draws from a range.
    pub(crate) fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.borrow_mut().random_range(range)
    }

    /// True so many times in a million.
    pub(crate) fn chance(&self, millionths: u64) -> bool {
        self.draw(0..1_000_000) < millionths
    }

    pub(crate) fn draw_time(&self, range: std::ops::Range<Duration>) -> Duration {
        Duration::from_micros(self.draw(micros(range.start)..micros(range.end)))
    }

    /// Writes a line of the trace, if one is kept.
    pub(crate) fn trace(&self, who: Node, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let time = self.time.get();
            let line =
                format!("{:>3}.{:06} {who:<12} {}", time.as_secs(), time.subsec_micros(), what());
            trace.borrow_mut().push(line);
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// From now on `observer` is called with a machine after each step of it, and `listener` with
    /// each line that is logged.
    pub(crate) fn observe(
        &self,
        observer: impl Fn(Node) + 'static,
        listener: impl Fn(&str) + 'static,
    ) {
        *self.observer.borrow_mut() = Some(Rc::new(observer));
        *self.listener.borrow_mut() = Some(Rc::new(listener));
    }

    /// Ends the observation, which holds what it observes.
    pub(crate) fn stop_observing(&self) {
        let observer = self.observer.take();
        let listener = self.listener.take();
        drop((observer, listener));
    }

    /// Takes a line that a service logs.
    pub(crate) fn logged(&self, node: Node, record: &log::Record<'_>) {
        let line = record.args().to_string();
        self.trace(node, || line.clone());
        let listener = self.listener.borrow().clone();
        if let Some(listener) = listener {
            listener(&line);
        }
    }

    /// Notes that a rare path was reached.
    pub(crate) fn reached(&self, path: &'static str) {
        self.paths.borrow_mut().reached(path);
    }

    /// A machine, off for now, with a clock of its own.
    pub(crate) fn add_machine(&self, node: Node, drifts: bool) {
        let drift = i64::try_from(self.draw(0..2 * MOST_DRIFT as u64)).expect("small") - MOST_DRIFT;
        let drift = if drifts { drift } else { 0 };
        let off = Machine {
            is_up: false,
            is_paused: false,
            generation: 0,
            drift,
            stalled_until: Duration::ZERO,
            parked: Vec::new(),
        };
        self.machines.borrow_mut().insert(node, off);
    }

    pub(crate) fn is_up(&self, node: Node) -> bool {
        self.machines.borrow()[&node].is_up
    }

    pub(crate) fn is_paused(&self, node: Node) -> bool {
        self.machines.borrow()[&node].is_paused
    }

    pub(crate) fn generation(&self, node: Node) -> u64 {
        self.machines.borrow()[&node].generation
    }

    pub(crate) fn switch_on(&self, node: Node) {
        let mut machines = self.machines.borrow_mut();
        let machine = machines.get_mut(&node).expect("a machine");
        machine.is_up = true;
        machine.generation += 1;
    }

    /// Ends all that runs on a machine.
    pub(crate) fn crash(&self, node: Node) {
        {
            let mut machines = self.machines.borrow_mut();
            let machine = machines.get_mut(&node).expect("a machine");
            machine.is_up = false;
            machine.is_paused = false;
            machine.stalled_until = Duration::ZERO;
            machine.parked.clear();
        }
        let ended: Vec<Task> = {
            let mut tasks = self.tasks.borrow_mut();
            let ids: Vec<u64> =
                tasks.iter().filter(|(_, task)| task.owner == node).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| tasks.remove(id)).collect()
        };
        // What is dropped may wake others, who must find the tasks gone.
        drop(ended);
    }

    pub(crate) fn pause(&self, node: Node) {
        self.machines.borrow_mut().get_mut(&node).expect("a machine").is_paused = true;
    }

    pub(crate) fn resume(&self, node: Node) {
        let mut machines = self.machines.borrow_mut();
        let machine = machines.get_mut(&node).expect("a machine");
        machine.is_paused = false;
        if machine.stalled_until <= self.time.get() {
            self.ready.lock().expect("one thread").append(&mut machine.parked);
        }
    }

    /// The same in a steady world, where what came last is done first: an operating system may
    /// let any thread go on first.
    pub(crate) fn resume_newest_first(&self, node: Node) {
        let mut machines = self.machines.borrow_mut();
        machines.get_mut(&node).expect("a machine").parked.reverse();
        drop(machines);
        self.resume(node);
    }

    /// Stalls the machine now and then, as when the operating system gives the processor to other
    /// processes between two instructions: the rest of the step sees the time after the stall, and
    /// the next step comes then.
    fn may_stall(self: &Rc<Self>, node: Node) {
        if self.is_steady() || !self.chance(STALLS) {
            return;
        }
        let until = self.time.get() + self.draw_time(Duration::ZERO..LONGEST_STALL);
        self.trace(node, || format!("stalls until {until:?}"));
        self.machines.borrow_mut().get_mut(&node).expect("a machine").stalled_until = until;
        let world = Rc::clone(self);
        let env = Env { world: Rc::clone(self), node: Node::World };
        self.spawn(Node::World, async move {
            env.sleep(until.saturating_sub(world.time())).await;
            let mut machines = world.machines.borrow_mut();
            let machine = machines.get_mut(&node).expect("a machine");
            if !machine.is_paused && machine.stalled_until <= world.time() {
                world.ready.lock().expect("one thread").append(&mut machine.parked);
            }
        });
    }

    /// How long a machine stalls from now on.
    pub(crate) fn stall_left(&self, node: Node) -> Duration {
        self.machines.borrow()[&node].stalled_until.saturating_sub(self.time.get())
    }

    /// What a machine's clock shows.
    pub(crate) fn clock(&self, node: Node) -> Instant {
        let machines = self.machines.borrow();
        let Machine { drift, stalled_until, .. } = machines[&node];
        let time = self.time.get().max(stalled_until);
        let micros = i64::try_from(time.as_micros()).expect("short");
        let shown = micros + micros / 1_000_000 * drift + micros % 1_000_000 * drift / 1_000_000;
        self.beginning + Duration::from_micros(shown.try_into().expect("after the beginning"))
    }

    /// How long a duration on a machine's clock takes in the world's time.
    fn true_length(&self, node: Node, duration: Duration) -> Duration {
        let drift = self.machines.borrow()[&node].drift;
        let shown = i128::try_from(duration.as_micros()).expect("short");
        let micros = shown * 1_000_000 / i128::from(1_000_000 + drift);
        // A timer never rings early.
        Duration::from_micros(u64::try_from(micros).expect("positive") + 1)
    }

    pub(crate) fn spawn(&self, owner: Node, future: impl Future<Output = ()> + 'static) {
        let id = self.next_task.replace(self.next_task.get() + 1);
        let waker = Arc::new(TaskWaker {
            task: id,
            is_woken: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        waker.wake_by_ref();
        let task = Task { owner, future: Some(Box::pin(future)), waker };
        self.tasks.borrow_mut().insert(id, task);
    }

    /// Runs until nothing is left to do, or until `end`.
    pub(crate) fn run_until(self: &Rc<Self>, end: Duration) {
        loop {
            while let Some(id) = self.draw_ready() {
                self.poll(id);
            }
            let Some(timer) = self.timers.borrow_mut().pop() else { return };
            if timer.due > end {
                self.time.set(end);
                self.timers.borrow_mut().push(timer);
                return;
            }
            self.time.set(self.time.get().max(timer.due));
            timer.waker.wake();
        }
    }

    /// One of the tasks that can go on.
    fn draw_ready(&self) -> Option<u64> {
        let mut ready = self.ready.lock().expect("one thread");
        let count = ready.len();
        match count {
            0 => None,
            1 => ready.pop(),
            _ if self.is_steady() => Some(ready.remove(0)),
            _ => Some(ready.swap_remove(usize::try_from(self.draw(0..count as u64)).ok()?)),
        }
    }

    fn poll(self: &Rc<Self>, id: u64) {
        let (mut future, waker, owner) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            if let Some(machine) = self.machines.borrow_mut().get_mut(&task.owner)
                && (machine.is_paused || self.time.get() < machine.stalled_until)
            {
                machine.parked.push(id);
                return;
            }
            let Some(future) = task.future.take() else { return };
            (future, Arc::clone(&task.waker), task.owner)
        };
        self.events.set(self.events.get() + 1);
        waker.is_woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(waker);
        machine::set_running(Some((Rc::clone(self), owner)));
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        machine::set_running(None);
        match outcome {
            Poll::Ready(()) => {
                let ended = self.tasks.borrow_mut().remove(&id);
                drop((ended, future));
            }
            Poll::Pending => {
                // A task that crashed its own machine is gone.
                if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
                    task.future = Some(future);
                }
            }
        }
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer(owner);
        }
    }

    fn wake_at(&self, due: Duration, waker: Waker) {
        let number = self.next_task.replace(self.next_task.get() + 1);
        self.timers.borrow_mut().push(Timer { due, number, waker });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("short")
}

/// The world as seen from one machine.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) world: Rc<World>,
    pub(crate) node: Node,
}

impl Env {
    pub(crate) fn now(&self) -> Instant {
        self.world.may_stall(self.node);
        self.world.clock(self.node)
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.world.spawn(self.node, future);
    }

    /// Sleeps, by this machine's clock.
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        let due = self.world.time() + self.world.true_length(self.node, duration);
        Sleep { world: Rc::clone(&self.world), due, is_set: false }
    }

    /// Awaits `future` for at most `limit`. `None` if it takes longer.
    pub(crate) async fn timeout<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        use futures_util::future::{Either, select};
        let future = std::pin::pin!(future);
        match select(future, self.sleep(limit)).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(((), _)) => None,
        }
    }

    /// A moment in which others may run; now and then a long one.
    pub(crate) async fn moment(&self) {
        if self.world.is_steady() {
            return self.sleep(MOMENT).await;
        }
        let longest = if self.world.chance(2_000) { LONGEST_STALL } else { MOMENT };
        self.sleep(self.world.draw_time(Duration::ZERO..longest)).await;
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        self.world.trace(self.node, what);
    }

    pub(crate) fn reached(&self, path: &'static str) {
        self.trace(|| format!("({path})"));
        self.world.reached(path);
    }
}

/// Ends when its time has come.
pub(crate) struct Sleep {
    world: Rc<World>,
    due: Duration,
    is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.time() >= self.due {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut self.is_set, true) {
            self.world.wake_at(self.due, context.waker().clone());
        }
        Poll::Pending
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            self.ready.lock().expect("one thread").push(self.task);
        }
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The heap gives the greatest first, and that is the earliest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}
