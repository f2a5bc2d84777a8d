//! A TCP proxy for each link between two roles, so that a test can cut it, hold it up or slow it
//! down, in either direction, at any time.
//!
//! A link is directed, from the role that asks to the role that answers. What is *held* is not
//! lost: it arrives late, when the link is healed, as TCP's retransmissions do after a partition.
//! That is harsher than to drop it, because a request from before the cut may take effect after it.
//!
//! The proxies of one store run on a thread of their own, and end with it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Connections are refused, and those there were are reset.
    Cut,
    /// Connections are accepted.
    Up {
        /// What becomes of the bytes of him who asks.
        requests: Way,
        /// What becomes of the bytes of him who answers.
        answers: Way,
    },
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They pass.
    Open,
    /// They arrive when the link is healed.
    Held,
    /// They arrive so much later.
    Late(Duration),
}

impl State {
    pub(crate) const OPEN: Self = Self::Up { requests: Way::Open, answers: Way::Open };
    /// A black hole: connections are accepted, and nothing comes of them.
    pub(crate) const HELD: Self = Self::Up { requests: Way::Held, answers: Way::Held };
    /// One way only: requests do not arrive.
    pub(crate) const REQUESTS_HELD: Self = Self::Up { requests: Way::Held, answers: Way::Open };
    /// The other way only: requests arrive and take effect, and nobody hears of it.
    pub(crate) const ANSWERS_HELD: Self = Self::Up { requests: Way::Open, answers: Way::Held };

    /// Answers arrive so much later.
    pub(crate) fn late(delay: Duration) -> Self {
        Self::Up { requests: Way::Open, answers: Way::Late(delay) }
    }
}

/// The links of one store, each named by who asks and who answers.
pub(crate) struct Network {
    links: BTreeMap<(String, String), Link>,
    thread: Option<JoinHandle<()>>,
}

struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Network {
    /// Proxies on `host`, each from one name to another at an address.
    pub(crate) fn new(host: IpAddr, links: Vec<(String, String, String)>) -> Self {
        let mut servers = Vec::new();
        let mut ends = BTreeMap::new();
        for (from, to, target) in links {
            let listener = std::net::TcpListener::bind((host, 0)).expect("there are free ports");
            listener.set_nonblocking(true).expect("a socket can be made so");
            let address = listener.local_addr().expect("it is bound");
            let (state, watched) = watch::channel(State::OPEN);
            servers.push((listener, target, watched));
            ends.insert((from, to), Link { address, state });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let links = servers.into_iter().map(|(listener, target, watched)| {
                    let listener = TcpListener::from_std(listener).expect("it does not block");
                    serve(listener, target, watched)
                });
                futures_util::future::join_all(links).await;
            });
        });
        Self { links: ends, thread: Some(thread) }
    }

    /// Where `from` reaches `to`.
    pub(crate) fn address(&self, from: &str, to: &str) -> Option<String> {
        let link = self.links.get(&(from.to_owned(), to.to_owned()));
        link.map(|link| link.address.to_string())
    }

    /// Changes what happens on a link, to connections that there are as well.
    pub(crate) fn set(&self, from: &str, to: &str, state: State) {
        let link = self.links.get(&(from.to_owned(), to.to_owned()));
        link.unwrap_or_else(|| panic!("{from} never asks {to}")).state.send_replace(state);
    }

    /// Changes what happens on all links to and from a role.
    pub(crate) fn isolate(&self, role: &str, state: State) {
        for ((from, to), link) in &self.links {
            if from == role || to == role {
                link.state.send_replace(state);
            }
        }
    }

    /// Opens all links.
    pub(crate) fn heal(&self) {
        for link in self.links.values() {
            link.state.send_replace(State::OPEN);
        }
    }

    /// All links.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        self.links.keys().cloned().collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A link whose state nobody can change any more ends.
        self.links.clear();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|end| end.is_ok()));
    }
}

/// Serves one link until nobody can change its state any more.
async fn serve(listener: TcpListener, target: String, mut state: watch::Receiver<State>) {
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        let is_cut = *state.borrow_and_update() == State::Cut;
        if is_cut {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None if is_cut => std::future::pending().await,
                // The port is not free again yet.
                None => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Err(io::ErrorKind::AddrInUse.into())
                }
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            connection = accepted => if let Ok((client, _)) = connection {
                tokio::spawn(relay(client, target.clone(), state.clone()));
            }
        }
    }
}

/// Passes one connection on, until both sides have ended it or the link is cut.
async fn relay(client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(target).await else {
        // Without this the connection would end in order instead of being reset.
        let _ended_already = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _ended_already = stream.set_nodelay(true);
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = pump(&mut from_client, &mut to_server, state.clone(), |state| match state {
        State::Cut => Way::Held,
        State::Up { requests, .. } => requests,
    });
    let answers = pump(&mut from_server, &mut to_client, state.clone(), |state| match state {
        State::Cut => Way::Held,
        State::Up { answers, .. } => answers,
    });
    let is_cut = tokio::select! {
        _ended = async { tokio::try_join!(requests, answers) } => false,
        _cut = state.wait_for(|state| *state == State::Cut) => true,
    };
    if is_cut {
        let _ended_already = from_client.as_ref().set_zero_linger();
        let _ended_already = from_server.as_ref().set_zero_linger();
    }
}

async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    way: impl Fn(State) -> Way,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = read(from, &mut buffer).await?;
        loop {
            let way = way(*state.borrow_and_update());
            match way {
                Way::Open => break,
                Way::Late(delay) => {
                    tokio::time::sleep(delay).await;
                    break;
                }
                Way::Held => state.changed().await.map_err(io::Error::other)?,
            }
        }
        if length == 0 {
            return poll_fn(|context| Pin::new(&mut *to).poll_shutdown(context)).await;
        }
        write_all(to, &buffer[..length]).await?;
    }
}

async fn read(from: &mut OwnedReadHalf, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = ReadBuf::new(buffer);
    poll_fn(|context| Pin::new(&mut *from).poll_read(context, &mut filled)).await?;
    Ok(filled.filled().len())
}

async fn write_all(to: &mut OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| match Pin::new(&mut *to).poll_write(context, bytes) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            outcome @ (Poll::Ready(_) | Poll::Pending) => outcome,
        })
        .await?;
        bytes = &bytes[written..];
    }
    Ok(())
}
