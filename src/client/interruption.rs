//! How a run is ended before its time: by Ctrl-C, or by SIGTERM, as `timeout` sends it.
//!
//! ```text
//! shopping ── 1st signal ─► what is under way is finished; orders are checked; the report
//!                            └── 2nd signal ─► the process ends at once
//! ```

use std::future::pending;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use actix_web::rt::task::JoinHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Notes when the shopping was ended early, if it was.
#[derive(Debug)]
pub struct Interruption {
    stop: CancellationToken,
    came: JoinHandle<Instant>,
}

impl Interruption {
    /// Notes when `stop` is cancelled, from now on.
    #[must_use]
    pub fn of(stop: &CancellationToken) -> Self {
        let cancelled = stop.clone();
        let came = actix_web::rt::spawn(async move {
            cancelled.cancelled().await;
            clock::now()
        });
        Self { stop: stop.clone(), came }
    }

    /// How long after `began` the shopping was ended, if it has been by now. What comes later does
    /// not count.
    pub async fn after(self, began: Instant) -> Option<Duration> {
        if !self.stop.is_cancelled() {
            self.came.abort();
            return None;
        }
        self.came.await.ok().map(|came| came - began)
    }
}

/// Ends the shopping (`stop`) at the first signal, and returns at the second.
pub async fn interrupted_twice(stop: &CancellationToken) {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(mut interrupts), Ok(mut terminations)] = signals else {
        // Without the means to hear of them, signals do what they do to any program.
        return pending().await;
    };
    either(&mut interrupts, &mut terminations).await;
    stop.cancel();
    // If standard error is gone, there is nobody to be told.
    writeln!(io::stderr(), "ending: orders are still checked; a second Ctrl-C ends at once").ok();
    either(&mut interrupts, &mut terminations).await;
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
