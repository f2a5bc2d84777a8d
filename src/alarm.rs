//! Rests of tasks that look at something every some hundred milliseconds, for ever.
//!
//! Tokio keeps a timer that is due in more than 64 ms in a slot of 64 ms, and wakes its thread up
//! at the beginning of the slot to look at it again (a hierarchical timing wheel: Varghese and
//! Lauck, 1987). An idle role has little else to do, and would wake up nearly twice as often:
//!
//! ```text
//! slots of 64 ms     |              |              |
//! tokio, 100 ms      ───────────────▲───────▲         wakes up twice
//! this, 100 ms       ───────────────────────▲         once
//! ```
//!
//! So each thread has one timer of the kernel, which is set to the next of these rests to end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock;

/// What would end within this time ends too, so that the thread wakes up once for tasks that began
/// to rest one after the other.
const SLACK: Duration = Duration::from_millis(2);

thread_local! {
    static OF_THREAD: RefCell<Option<Rc<Alarm>>> = const { RefCell::new(None) };
}

/// The timer of one thread. It is always set to the earliest of `rests`, or has gone off for it.
struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// When each rest ends, and which one it is.
    rests: RefCell<BTreeSet<(Instant, u64)>>,
    /// How many have begun, which tells them apart.
    begun: Cell<u64>,
}

/// A rest that has not ended.
struct Resting {
    alarm: Rc<Alarm>,
    end: (Instant, u64),
}

/// Rests until `time`, or up to 2 ms less.
pub(super) async fn rest_until(time: Instant) {
    // The thread's timer may be of a runtime that has ended, or there was no file left for one.
    if rest(time).await.is_err() {
        OF_THREAD.set(None);
        tokio::time::sleep_until(time.into()).await;
    }
}

async fn rest(time: Instant) -> io::Result<()> {
    let rest = Resting::begin(Alarm::of_thread()?, time)?;
    while clock::now() + SLACK < time {
        rest.alarm.timer.readable().await?.clear_ready();
    }
    Ok(())
}

impl Alarm {
    fn of_thread() -> io::Result<Rc<Self>> {
        if let Some(alarm) = OF_THREAD.with_borrow(Clone::clone) {
            return Ok(alarm);
        }
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; it asks for what `OwnedFd` ensures"
        )]
        let timer = AsyncFd::new(timer)?;
        let alarm = Rc::new(Self { timer, rests: RefCell::default(), begun: Cell::default() });
        OF_THREAD.set(Some(Rc::clone(&alarm)));
        Ok(alarm)
    }

    /// Sets it to the earliest rest. To be called whenever that may have become another one.
    fn set(&self) -> io::Result<()> {
        let Some((time, _)) = self.rests.borrow().first().copied() else { return Ok(()) };
        // Zero would disarm it.
        let left = time.saturating_duration_since(clock::now()).max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval, it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl Resting {
    fn begin(alarm: Rc<Alarm>, time: Instant) -> io::Result<Self> {
        let end = (time, alarm.begun.get());
        alarm.begun.set(end.1 + 1);
        alarm.rests.borrow_mut().insert(end);
        let rest = Self { alarm, end };
        let is_first = rest.alarm.rests.borrow().first() == Some(&end);
        if is_first {
            rest.alarm.set()?;
        }
        Ok(rest)
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        let mut rests = self.alarm.rests.borrow_mut();
        let was_first = rests.first() == Some(&self.end);
        rests.remove(&self.end);
        drop(rests);
        if was_first {
            // It cannot fail: it has not when the rest began.
            let _set = self.alarm.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    async fn in_time<T>(rests: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), rests).await.expect("some never end")
    }

    #[actix_web::test]
    async fn each_rest_ends_at_its_time_in_whatever_order_they_began() {
        let ms = Duration::from_millis;
        let began = clock::now();
        let rests = [90, 30, 150, 60, 30].map(|length| async move {
            rest_until(began + ms(length)).await;
            (length, clock::now())
        });
        for (length, ended) in in_time(futures_util::future::join_all(rests)).await {
            assert!(ended + SLACK >= began + ms(length), "{length} ms");
        }
    }

    #[actix_web::test]
    async fn every_rest_ends_though_others_begin_and_are_broken_off() {
        let rests = (0..1_000).map(|_| {
            actix_web::rt::spawn(async {
                for _ in 0..4 {
                    let ms = |most| Duration::from_millis(rand::random_range(0..most));
                    let rest = rest_until(clock::now() + ms(50));
                    let _either = tokio::time::timeout(ms(100), rest).await;
                }
            })
        });
        in_time(futures_util::future::join_all(rests)).await;
    }

    #[actix_web::test]
    async fn a_rest_that_is_broken_off_does_not_keep_the_others() {
        let ms = Duration::from_millis;
        let began = clock::now();
        let long = rest_until(began + ms(60));
        let short = tokio::time::timeout(ms(5), rest_until(began + ms(30)));
        let (ended, ()) = in_time(futures_util::future::join(short, long)).await;
        assert!(ended.is_err(), "it is broken off");
        assert!(clock::now() + SLACK >= began + ms(60));
    }

    #[test]
    fn a_thread_may_have_one_runtime_after_another() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let time = clock::now() + Duration::from_millis(10);
            runtime.unwrap().block_on(in_time(rest_until(time)));
            assert!(clock::now() + SLACK >= time);
        }
    }

    #[actix_web::test]
    async fn a_rest_that_begins_later_may_end_earlier() {
        let long = std::pin::pin!(rest_until(clock::now() + Duration::from_secs(3_600)));
        let short = std::pin::pin!(rest_until(clock::now() + Duration::from_millis(30)));
        let first = in_time(futures_util::future::select(long, short)).await;
        assert!(matches!(first, futures_util::future::Either::Right(_)));
    }
}
