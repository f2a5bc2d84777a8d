//! A timer that counts microseconds.
//!
//! tokio's timers count milliseconds, which is more than the delay between two machines of one data
//! centre. The kernel's `timerfd` is exact. It becomes readable when the time has come, so tokio
//! can await it like the end of a pipe.

use std::io;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

/// One timer, for one task.
pub(crate) struct Timer(Receiver);

impl Timer {
    /// Creates a timer. Must be called on a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Unchecked, since it is no pipe. What tokio asks of the descriptor, it has: it does not
        // block, and epoll reports when it is readable.
        Receiver::from_owned_fd_unchecked(descriptor).map(Self)
    }

    /// Waits until `due`. Returns at once if that has passed.
    pub(crate) async fn sleep_until(&mut self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        // The kernel tells how often the timer has expired.
        self.0.read_u64_le().await.map(drop)
    }
}
