//! A machine as the production's services see it: its clock, timers, tasks and log.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use send_wrapper::SendWrapper;
use toystore::runtime::Runtime;

use super::message::Node;
use super::world::{Env, World};

/// A machine of the simulation. (Services are shared between threads in production, so what they
/// hold must be `Send`; a simulation has one thread.)
pub(crate) struct Machine(SendWrapper<Env>);

impl Machine {
    pub(crate) fn new(env: &Env) -> Self {
        Self(SendWrapper::new(env.clone()))
    }
}

impl Runtime for Machine {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(self.0.sleep(duration))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn random(&self) -> u64 {
        if self.0.world.is_steady() { 2 } else { self.0.world.draw(0..u64::MAX) }
    }
}

thread_local! {
    /// The world of this thread's simulation, and the machine whose task runs.
    static RUNNING: RefCell<Option<(Rc<World>, Node)>> = const { RefCell::new(None) };
}

/// Marks whose task runs, so that what the services log can be told apart.
pub(crate) fn set_running(running: Option<(Rc<World>, Node)>) {
    let before = RUNNING.with_borrow_mut(|place| std::mem::replace(place, running));
    drop(before);
}

/// Takes what the services log into the trace of their world.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        RUNNING.with_borrow(|running| {
            if let Some((world, node)) = running {
                world.logged(*node, record);
            }
        });
    }

    fn flush(&self) {}
}

/// Has all that services log from now on go to their worlds.
pub(crate) fn take_logs() {
    static LOGGER: Logger = Logger;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
