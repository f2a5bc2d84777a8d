//! What a service needs of the machine that it runs on: a clock, timers, tasks, random numbers.
//!
//! A service asks a [`Runtime`] for these, a [`Peer`](crate::transport::Peer) for other roles, and
//! its own storage for its database; it has no other contact with the world. So the simulator runs
//! the very services that the executable runs, tasks included, in one thread and in simulated time.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, LocalBoxFuture, select};

use crate::{alarm, clock};

/// The machine, as a service sees it.
pub trait Runtime: Send + Sync {
    /// Returns the time, on a clock that never jumps.
    fn now(&self) -> Instant;

    /// Returns a future that ends after `duration`.
    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()>;

    /// Returns a future that ends after `duration` or a little less, for a task that rests before
    /// it looks at something again. It wakes an idle process up less often than
    /// [`sleep`](Self::sleep), which takes less time where many are short.
    fn rest(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        self.sleep(duration)
    }

    /// Runs a task beside the present one, on the same thread.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);

    /// Draws a number, each with the same probability.
    fn random(&self) -> u64;
}

/// How long a process that has just started asks often.
const START_PERIOD: Duration = Duration::from_secs(2);
/// The pause between two questions while it does.
const START_PAUSE: Duration = Duration::from_millis(10);

/// The pauses of a task that looks at something for ever. It looks at multiples of its interval
/// since its start, as the others do that started with it, so that an idle process wakes up once
/// for all of them:
///
/// ```text
///                each by itself               at the same times
/// self-check     |200 ms|200 ms|              |200 ms|200 ms|
/// catching up       |200 ms|200 ms|           |200 ms|200 ms|
/// wakes up       ^  ^   ^  ^   ^  ^           ^      ^      ^
/// ```
///
/// One that takes so long that hardly any of an interval is left rests for the next one, too.
///
/// Roles that start together are there within some milliseconds of each other, so a task that asks
/// its neighbours does so often at first, until it has found what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    interval: Duration,
    start: Instant,
}

impl Pauses {
    /// Pauses of `interval`, for a task that begins now.
    #[must_use]
    pub fn new(runtime: &dyn Runtime, interval: Duration) -> Self {
        Self { interval, start: runtime.now() }
    }

    /// Returns how often the task looks after its start.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns the pause before the next question to a neighbour, who may have to be found first.
    #[must_use]
    pub fn next(&self, now: Instant, has_found: bool) -> Duration {
        let asks_often = !has_found && self.asks_often(now);
        if asks_often { START_PAUSE.min(self.interval) } else { self.rest(now) }
    }

    /// Returns the pause before the next look: from an eighth of the interval to nine eighths, so
    /// that a question that was not answered in time is soon asked again.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Duration {
        let running = now.saturating_duration_since(self.start).as_nanos();
        let late = running % self.interval.as_nanos().max(1);
        let late = Duration::from_nanos(u64::try_from(late).unwrap_or_default());
        let rest = self.interval.saturating_sub(late);
        if rest < self.interval / 8 { rest + self.interval } else { rest }
    }

    /// Returns whether the task may still ask often.
    #[must_use]
    pub fn asks_often(&self, now: Instant) -> bool {
        now < self.start + START_PERIOD
    }
}

/// Returns the interval of what is asked of each of `count` neighbours, or by each of them: so long
/// that all together ask as often as one alone does, every `interval`, but at most `longest`. An
/// idle store of many replicas has hardly more to do than one of two.
#[must_use]
pub fn shared_out(interval: Duration, count: usize, longest: Duration) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    interval.saturating_mul(count).clamp(interval, longest.max(interval))
}

/// The time that was given has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl dyn Runtime {
    /// Sleeps until `time`.
    pub async fn sleep_until(&self, time: Instant) {
        self.sleep(time.saturating_duration_since(self.now())).await;
    }

    /// Awaits `future` for at most `limit`.
    ///
    /// # Errors
    ///
    /// If it takes longer.
    pub async fn timeout<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        first(future, self.sleep(limit)).await
    }

    /// Rests for `duration`, or until `event`.
    ///
    /// # Errors
    ///
    /// If there was none.
    pub async fn rest_or<T>(
        &self,
        duration: Duration,
        event: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        first(event, self.rest(duration)).await
    }
}

async fn first<T>(
    future: impl Future<Output = T>,
    end: LocalBoxFuture<'static, ()>,
) -> Result<T, Elapsed> {
    match select(pin!(future), end).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

/// The operating system's clock and timers, and tasks on the current thread of actix's runtime.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Runtime for System {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(actix_web::rt::time::sleep(duration))
    }

    fn rest(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(alarm::rest_until(clock::now() + duration))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        drop(actix_web::rt::spawn(task));
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_asks_often_at_its_start_until_it_has_found_what_it_needs() {
        let interval = Duration::from_millis(200);
        let pauses = Pauses::new(&System, interval);
        let start = pauses.start;
        assert_eq!(pauses.next(start, false), START_PAUSE);
        assert_eq!(pauses.next(start, true), interval);
        assert_eq!(pauses.next(start + START_PERIOD, false), interval, "it is not there");
    }

    #[test]
    fn tasks_that_began_together_ask_at_the_same_times_however_long_an_answer_takes() {
        let ms = Duration::from_millis;
        let pauses = Pauses { interval: ms(200), start: System.now() };
        let rest = |at| pauses.rest(pauses.start + ms(at));
        assert_eq!([2_000, 2_001, 2_099].map(rest), [200, 199, 101].map(ms));
        assert_eq!([2_100, 2_175].map(rest), [100, 25].map(ms), "what was not answered");
        assert_eq!([2_176, 2_199].map(rest), [224, 201].map(ms), "never too soon");
    }

    #[test]
    fn several_neighbours_are_asked_less_often_each_up_to_a_limit() {
        let ms = Duration::from_millis;
        let intervals = [0, 1, 2, 3, 19, 1_000].map(|count| shared_out(ms(100), count, ms(400)));
        assert_eq!(intervals, [100, 100, 200, 300, 400, 400].map(ms));
        assert_eq!(shared_out(ms(100), 19, ms(50)), ms(100), "never more often than usual");
    }
}
