//! A TCP proxy for one link between two processes, which a test or an experiment can slow down,
//! hold up or cut, in either direction, at any time.
//!
//! A link is directed, from the process that asks to the process that answers. Each direction of
//! each connection is a queue: one half reads and notes when the bytes are due at the other end,
//! the other half waits and writes. Bytes are therefore late, but a link carries as many as without a
//! delay.
//!
//! Bytes that are *held* are not lost: they arrive when the link is opened again, as after TCP's
//! retransmissions when a network partition ends. That is harsher than dropping them, because a
//! request from before the partition may take effect after it.

mod relay;
mod timer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Existing connections are reset, and new ones are refused.
    Cut,
    /// Connections are accepted.
    Up {
        /// What happens to bytes on their way to the process that answers.
        requests: Way,
        /// What happens to bytes on their way back.
        answers: Way,
    },
}

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    Open,
    /// They wait until the direction is no longer held.
    Held,
    /// They arrive this much later.
    Late(Duration),
}

impl State {
    /// Everything passes.
    pub const OPEN: Self = Self::Up { requests: Way::Open, answers: Way::Open };
    /// A black hole: connections are accepted, but no byte passes.
    pub const HELD: Self = Self::Up { requests: Way::Held, answers: Way::Held };
    /// Requests do not arrive.
    pub const REQUESTS_HELD: Self = Self::Up { requests: Way::Held, answers: Way::Open };
    /// Requests arrive and take effect, but their answers do not arrive.
    pub const ANSWERS_HELD: Self = Self::Up { requests: Way::Open, answers: Way::Held };

    /// A peer that is slow to answer: its answers arrive this much later.
    #[must_use]
    pub const fn late(delay: Duration) -> Self {
        Self::Up { requests: Way::Open, answers: Way::Late(delay) }
    }

    /// A peer that is far away: bytes arrive this much later in both directions.
    #[must_use]
    pub const fn distant(delay: Duration) -> Self {
        Self::Up { requests: Way::Late(delay), answers: Way::Late(delay) }
    }
}

/// The handle of a link. The link ends when its handle is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Link {
    /// Creates a link from a listener to `target`. The returned future does the work; run it on a
    /// tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// If the listener cannot be made non-blocking or has no address.
    pub fn new(
        listener: std::net::TcpListener,
        target: String,
        state: State,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (sender, receiver) = watch::channel(state);
        Ok((Self { address, state: sender }, serve(address, listener, target, receiver)))
    }

    /// Returns the address at which the link accepts connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens on the link, also to connections that exist already.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

/// The pause before another attempt to listen or to accept. After a cut, the kernel may take a
/// moment to free the port.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Serves a link until its handle is dropped.
async fn serve(
    address: SocketAddr,
    listener: std::net::TcpListener,
    target: String,
    mut state: watch::Receiver<State>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    loop {
        let is_cut = *state.borrow_and_update() == State::Cut;
        if is_cut {
            listener = None;
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            client = accept(&mut listener, address), if !is_cut => {
                tokio::spawn(relay::relay(client, target.clone(), state.clone()));
            }
        }
    }
}

/// Accepts the next connection; listens first if the link was cut before.
async fn accept(listener: &mut Option<TcpListener>, address: SocketAddr) -> TcpStream {
    loop {
        if listener.is_none() {
            *listener = TcpListener::bind(address).await.ok();
        }
        if let Some(open) = listener
            && let Ok((client, _)) = open.accept().await
        {
            return client;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
