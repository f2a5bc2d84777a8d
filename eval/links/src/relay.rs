//! One connection through a link: two queues of bytes, one for each direction.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::timer::Timer;
use crate::{State, Way};

/// Reads that may be under way in one direction of one connection. At 16 KiB each, that is far more
/// than the processes here send while they wait for an answer.
const MOST_UNDER_WAY: usize = 1_024;
const READ_BYTES: usize = 16 << 10;

/// What was read, and when it is due at the other end.
struct Piece {
    due: Instant,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// The sender closed its direction.
    End,
    /// The connection broke.
    Broken(io::Error),
}

/// Passes one connection on until both sides have closed it, it breaks, or the link is cut.
pub(crate) async fn relay(client: TcpStream, target: String, state: watch::Receiver<State>) {
    let distance = *state.borrow();
    let Ok(server) = connect(target, distance).await else {
        // Without this, the client would see an orderly close instead of a reset.
        let _closed_already = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _closed_already = stream.set_nodelay(true);
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = pass(&mut from_client, &mut to_server, &state, |state| match state {
        State::Cut => Way::Held,
        State::Up { requests, .. } => requests,
    });
    let answers = pass(&mut from_server, &mut to_client, &state, |state| match state {
        State::Cut => Way::Held,
        State::Up { answers, .. } => answers,
    });
    let mut watched = state.clone();
    let is_cut = tokio::select! {
        _closed = async { tokio::try_join!(requests, answers) } => false,
        _cut = watched.wait_for(|state| *state == State::Cut) => true,
    };
    if is_cut {
        for (reader, writer) in [(from_client, to_client), (from_server, to_server)] {
            let _closed_already = reader.as_ref().set_zero_linger();
            // Dropped, it would end its direction in order, and the reset would come too late.
            writer.forget();
        }
    }
}

/// Connects to the target. Over a distance, a connection takes a round trip to be established or to
/// be refused; the client must not see that earlier. Late answers alone are no distance.
async fn connect(target: String, state: State) -> io::Result<TcpStream> {
    if let State::Up { requests: Way::Late(there), answers: Way::Late(back) } = state {
        Timer::new()?.sleep_until(Instant::now() + there + back).await?;
    }
    TcpStream::connect(target).await
}

/// Passes one direction on until it is closed, or fails as soon as the connection is known to be
/// broken at the receiving end.
async fn pass(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    state: &watch::Receiver<State>,
    way: impl Fn(State) -> Way,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(MOST_UNDER_WAY);
    let read = async {
        read_pieces(from, sender, || match way(*state.borrow()) {
            Way::Late(delay) => delay,
            Way::Open | Way::Held => Duration::ZERO,
        })
        .await;
        Ok(())
    };
    let write = write_pieces(to, receiver, state.clone(), |state| way(state) == Way::Held);
    tokio::try_join!(read, write).map(drop)
}

/// Reads until the connection is closed or broken.
async fn read_pieces(
    from: &mut OwnedReadHalf,
    sender: mpsc::Sender<Piece>,
    delay: impl Fn() -> Duration,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let content = match from.read(&mut buffer).await {
            Ok(0) => Content::End,
            Ok(length) => Content::Bytes(buffer[..length].to_vec()),
            Err(error) => Content::Broken(error),
        };
        let is_last = !matches!(content, Content::Bytes(_));
        let piece = Piece { due: Instant::now() + delay(), content };
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Writes each piece when it is due and its direction is not held.
async fn write_pieces(
    to: &mut OwnedWriteHalf,
    mut receiver: mpsc::Receiver<Piece>,
    mut state: watch::Receiver<State>,
    is_held: impl Fn(State) -> bool,
) -> io::Result<()> {
    let mut timer = Timer::new()?;
    while let Some(piece) = receiver.recv().await {
        timer.sleep_until(piece.due).await?;
        while is_held(*state.borrow_and_update()) {
            state.changed().await.map_err(io::Error::other)?;
        }
        match piece.content {
            Content::Bytes(bytes) => to.write_all(&bytes).await?,
            Content::End => to.shutdown().await?,
            Content::Broken(error) => return Err(error),
        }
    }
    Ok(())
}
