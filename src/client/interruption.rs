//! How a run is interrupted: by Ctrl-C, or by SIGTERM, which `timeout` sends.
//!
//! ```text
//! shopping ── 1st signal ─► requests under way end; orders are checked; the report is written
//!                            └── 2nd signal ─► the process ends at once
//! ```

use std::future::pending;
use std::io::{self, Write as _};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Ends the shopping (`stop`) at the first signal, and returns at the second.
pub(super) async fn interrupted_twice(stop: &CancellationToken) {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(mut interrupts), Ok(mut terminations)] = signals else {
        // Without handlers, signals end the process.
        return pending().await;
    };
    either(&mut interrupts, &mut terminations).await;
    stop.cancel();
    // If standard error is closed, there is no place for the message.
    writeln!(
        io::stderr(),
        "ending: the orders are still checked; a second Ctrl-C ends the client at once"
    )
    .ok();
    either(&mut interrupts, &mut terminations).await;
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
