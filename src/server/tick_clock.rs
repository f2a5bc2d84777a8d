//! The clock by which a thread's connections are too slow.
//!
//! It ticks every [`TICK_MS`] while a connection could soon be. While all of them rest, as those of
//! an idle store do, each tick would wake the thread for nothing. So the clock rests, too, and what
//! a connection does next rouses it:
//!
//! ```text
//! connection   idle            a head arrives in part     it is late
//! clock        |    rests    │ roused |  |  |  |  |  |  |  |
//! ticks        0             │ 9      10 11 12 13 …
//! ```
//!
//! The ticks that have passed by then count, so that no connection looks older than it is.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::TICK_MS;
use crate::clock;

const TICK: Duration = Duration::from_millis(TICK_MS as u64);
/// Ticks of a rest: an idle connection is closed so much later at most.
const REST: u32 = 10;
/// The pause between two ticks while the server stops.
const STOP_PAUSE: Duration = Duration::from_millis(100);

/// One thread's clock.
pub(super) struct TickClock {
    /// Ticks so far.
    now: Cell<u32>,
    /// When the last one was.
    ticked: Cell<Instant>,
    pace: Cell<Pace>,
    roused: Notify,
}

/// When the next tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// After [`TICK_MS`].
    Usual,
    /// After [`REST`] times that, unless something happens.
    Rest,
    /// Not before something happens: there is no connection.
    Still,
    /// Sooner than usual: the server stops.
    Stopping,
}

impl TickClock {
    /// Returns the time, in ticks.
    pub(super) fn now(&self) -> u32 {
        self.now.get()
    }

    /// Waits until a tick is due.
    pub(super) async fn due(&self) {
        loop {
            let pause = match self.pace.get() {
                Pace::Usual => TICK,
                Pace::Rest => REST * TICK,
                Pace::Stopping => STOP_PAUSE,
                Pace::Still => {
                    self.roused.notified().await;
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until((self.ticked.get() + pause).into()) => return,
                () = self.roused.notified() => {}
            }
        }
    }

    /// Ticks. What a busy machine has missed counts, but not a long stall, in which clients could
    /// not be heard.
    pub(super) fn tick(&self) {
        let most = if self.pace.get() == Pace::Rest { REST + 1 } else { 2 };
        self.count(1, most);
    }

    /// Says when the next tick is due, unless the server stops.
    pub(super) fn set_pace(&self, pace: Pace) {
        if self.pace.get() != Pace::Stopping {
            self.pace.set(pace);
        }
    }

    /// Notes that a connection does something for which it has little time.
    pub(super) fn rouse(&self) {
        match self.pace.get() {
            Pace::Usual | Pace::Stopping => return,
            Pace::Rest => self.count(0, REST + 1),
            Pace::Still => self.ticked.set(clock::now()),
        }
        self.pace.set(Pace::Usual);
        self.roused.notify_one();
    }

    #[cfg(test)]
    pub(super) fn pace(&self) -> Pace {
        self.pace.get()
    }

    fn count(&self, least: u32, most: u32) {
        let now = clock::now();
        let passed = (now - self.ticked.replace(now)).as_millis() / u128::from(TICK_MS);
        let ticks = u32::try_from(passed).unwrap_or(u32::MAX).clamp(least, most);
        self.now.set(self.now.get().wrapping_add(ticks));
    }
}

impl Default for TickClock {
    fn default() -> Self {
        let (now, ticked) = (Cell::default(), Cell::new(clock::now()));
        Self { now, ticked, pace: Cell::new(Pace::Still), roused: Notify::new() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn at_rest(pace: Pace) -> TickClock {
        let clock = TickClock::default();
        clock.set_pace(pace);
        clock
    }

    fn passed(clock: &TickClock, ticks: u32) {
        clock.ticked.set(clock::now().checked_sub(ticks * TICK).unwrap());
    }

    #[tokio::test]
    async fn a_tick_is_due_soon_as_soon_as_something_happens() {
        for pace in [Pace::Rest, Pace::Still] {
            let clock = at_rest(pace);
            passed(&clock, REST - 1);
            assert_eq!(clock.due().now_or_never(), None, "{pace:?}");
            clock.rouse();
            assert_eq!(clock.due().now_or_never(), None, "not before it could be late");
            passed(&clock, 1);
            tokio::time::timeout(TICK / 2, clock.due()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_rest_ends_while_it_is_awaited() {
        let clock = at_rest(Pace::Rest);
        let mut due = Box::pin(clock.due());
        assert_eq!((&mut due).now_or_never(), None);
        clock.rouse();
        tokio::time::timeout(5 * TICK, due).await.expect("the rest would take longer");
    }

    #[test]
    fn the_ticks_of_a_rest_count_and_those_of_a_stall_do_not() {
        let clock = at_rest(Pace::Rest);
        passed(&clock, 7);
        clock.rouse();
        assert_eq!(clock.now(), 7, "what begins now has no age");
        passed(&clock, 50);
        clock.tick();
        assert_eq!(clock.now(), 7 + 2);
        clock.set_pace(Pace::Rest);
        passed(&clock, 50);
        clock.tick();
        assert_eq!(clock.now(), 9 + REST + 1);
    }

    #[test]
    fn a_server_that_stops_does_not_rest() {
        let clock = at_rest(Pace::Stopping);
        clock.set_pace(Pace::Rest);
        clock.rouse();
        assert_eq!(clock.pace(), Pace::Stopping);
    }
}
