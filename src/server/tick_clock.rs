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
/// Ticks of a rest: an idle connection is seen to be idle so much later at most, and closed so much
/// later again.
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
        self.tick_at(clock::now());
    }

    fn tick_at(&self, now: Instant) {
        let most = if self.pace.get() == Pace::Rest { REST + 1 } else { 2 };
        self.count(now, 1, most);
    }

    /// Whether the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.pace.get() == Pace::Stopping
    }

    /// Whether all connections rest, or there is none.
    pub(super) fn rests(&self) -> bool {
        matches!(self.pace.get(), Pace::Rest | Pace::Still)
    }

    /// Says when the next tick is due, unless the server stops.
    pub(super) fn set_pace(&self, pace: Pace) {
        if !self.is_stopping() {
            self.pace.set(pace);
        }
    }

    /// Notes that a connection does something for which it has little time.
    pub(super) fn rouse(&self) {
        if self.rests() {
            self.rouse_at(clock::now());
        }
    }

    fn rouse_at(&self, now: Instant) {
        if self.pace.get() == Pace::Rest {
            self.count(now, 0, REST + 1);
        } else {
            self.ticked.set(now);
        }
        self.pace.set(Pace::Usual);
        self.roused.notify_one();
    }

    #[cfg(test)]
    pub(super) fn pace(&self) -> Pace {
        self.pace.get()
    }

    fn count(&self, now: Instant, least: u32, most: u32) {
        let ticked = self.ticked.get();
        let passed = now.saturating_duration_since(ticked).as_millis() / u128::from(TICK_MS);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let ticks = passed.clamp(least, most);
        self.now.set(self.now.get().wrapping_add(ticks));
        // What has passed of the next tick counts with it, unless some do not count at all.
        self.ticked.set(if ticks == passed { ticked + ticks * TICK } else { now });
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

    fn clock_with(pace: Pace) -> TickClock {
        let clock = TickClock::default();
        clock.set_pace(pace);
        clock
    }

    /// The time so many ticks and so many milliseconds after the clock's last tick.
    fn after(clock: &TickClock, ticks: u32, ms: u64) -> Instant {
        clock.ticked.get() + ticks * TICK + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_rest_ends_while_it_is_awaited() {
        for pace in [Pace::Rest, Pace::Still] {
            let clock = clock_with(pace);
            let mut due = Box::pin(clock.due());
            assert_eq!((&mut due).now_or_never(), None, "{pace:?}");
            clock.rouse();
            tokio::time::timeout(8 * TICK, due).await.expect("a rest would take longer");
        }
    }

    #[test]
    fn the_ticks_of_a_rest_count_and_those_of_a_stall_do_not() {
        let clock = clock_with(Pace::Rest);
        clock.rouse_at(after(&clock, 7, 190));
        assert_eq!(clock.now(), 7, "what begins now has no age");
        clock.tick_at(after(&clock, 1, 10));
        assert_eq!(clock.now(), 8, "the rest of the eighth tick counted");
        clock.tick_at(after(&clock, 50, 0));
        assert_eq!(clock.now(), 8 + 2);
        clock.set_pace(Pace::Rest);
        clock.tick_at(after(&clock, 50, 0));
        assert_eq!(clock.now(), 10 + REST + 1);
    }

    #[test]
    fn however_often_a_clock_is_roused_time_passes() {
        let clock = clock_with(Pace::Rest);
        let began = clock.ticked.get();
        for time in 1..=20 {
            clock.set_pace(Pace::Rest);
            clock.rouse_at(began + time * Duration::from_millis(190));
        }
        assert_eq!(clock.now(), 20 * 190 / TICK_MS);
    }

    #[test]
    fn a_server_that_stops_does_not_rest() {
        let clock = clock_with(Pace::Stopping);
        clock.set_pace(Pace::Rest);
        clock.rouse();
        assert_eq!(clock.pace(), Pace::Stopping);
    }
}
