//! A client of etcd: an order as a put, or as a transaction that takes the stock, too.
//!
//! The transaction does what a shop has to do: the stock is taken by compare-and-swap, against the
//! revision at which the client knows it, and the order is put under its key, if no order has that
//! key. A client that was too late gets the stock as it is now with the refusal, and tries again.
//!
//! It is made as cheap for etcd as it can be. All clients share what each of them learns of the
//! stock, and they queue for a toy, so that none is too late because of another in this process.
//! Clients in several processes could not do so.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::spawn_local;

use crate::Problem;
use crate::loops::TOYS;
use crate::message::{Message, bytes, integer};

/// As many of a toy as are never sold out.
const AMPLE_STOCK: u64 = 1_000_000_000;
/// A transaction that is refused so often in a row has met something else than other clients.
const MOST_CONFLICTS: u64 = 1_000;

/// What the clients of this process know of the stock: a toy's quantity, and at which revision it
/// was put. Who holds the lock takes of it.
#[derive(Default)]
pub(crate) struct Shelves([Mutex<Cell<(u64, u64)>>; TOYS.len()]);

/// A connection.
pub(crate) struct Etcd {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
    /// `None` puts orders only.
    shelves: Option<Rc<Shelves>>,
}

impl Etcd {
    /// Connects to a member.
    pub(crate) async fn connect(
        address: SocketAddr,
        shelves: Option<Rc<Shelves>>,
    ) -> Result<Self, Problem> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        spawn_local(async move {
            // Requests that wait for an answer learn that the connection has ended.
            let _ended = connection.await;
        });
        Ok(Self { sender, address, shelves })
    }

    /// Puts every toy in stock.
    pub(crate) async fn stock_up(&mut self) -> Result<(), Problem> {
        let shelves = self.shelves.clone().ok_or("there are no shelves")?;
        for (toy, shelf) in shelves.0.iter().enumerate() {
            let put = put(&stock_key(toy), &AMPLE_STOCK.to_string());
            let answer = self.call("Put", &put).await?;
            shelf.lock().await.set((AMPLE_STOCK, revision(&answer)));
        }
        Ok(())
    }

    /// Orders one toy. Returns how many attempts another client was ahead of.
    pub(crate) async fn order(&mut self, toy: usize) -> Result<u64, Problem> {
        let (key, order) = (order_key(), format!(r#"{{"name":"{}","quantity":1}}"#, TOYS[toy]));
        let Some(shelves) = self.shelves.clone() else {
            self.call("Put", &put(&key, &order)).await?;
            return Ok(0);
        };
        let known = shelves.0[toy].lock().await;
        for conflicts in 0..MOST_CONFLICTS {
            let (quantity, revision_known) = known.get();
            let left = quantity.checked_sub(1).ok_or("a toy is sold out")?;
            let answer = self.call("Txn", &take(toy, revision_known, left, &key, &order)).await?;
            if integer(&answer, 2) == 1 {
                known.set((left, revision(&answer)));
                return Ok(conflicts);
            }
            // Of the only response, the range, and of that the only pair.
            let pair = bytes(bytes(bytes(&answer, 3), 1), 2);
            let quantity = std::str::from_utf8(bytes(pair, 5))?.parse()?;
            known.set((quantity, integer(pair, 3)));
        }
        Err("another client was first, again and again".into())
    }

    /// Calls a method of the service KV, and returns the answer's message.
    async fn call(&mut self, method: &str, message: &Message) -> Result<Vec<u8>, Problem> {
        let request = Request::post(format!("http://{}/etcdserverpb.KV/{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(Bytes::from(message.framed()), true)?;
        let mut answer = answer.await?.into_body();
        let mut received = Vec::new();
        while let Some(part) = answer.data().await {
            let part = part?;
            answer.flow_control().release_capacity(part.len())?;
            received.extend_from_slice(&part);
        }
        let trailers = answer.trailers().await?.unwrap_or_default();
        let field = |name: &str| {
            let value = trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            value.unwrap_or_default().into_owned()
        };
        match (field("grpc-status").as_str(), received.get(5..)) {
            ("0", Some(message)) => Ok(message.to_vec()),
            (status, _) => Err(format!("etcd: {status} {}", field("grpc-message")).into()),
        }
    }
}

/// A key that no other order has.
fn order_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("orders/{}-{number}", std::process::id())
}

fn stock_key(toy: usize) -> String {
    format!("stock/{}", TOYS[toy])
}

fn put(key: &str, value: &str) -> Message {
    Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes())
}

/// If the stock is as it was put at revision `known`, and there is no order under `key`: the stock
/// becomes `left`, and the order is put. Else the stock is read.
fn take(toy: usize, known: u64, left: u64, key: &str, order: &str) -> Message {
    const CREATED: u64 = 1;
    const MODIFIED: u64 = 2;
    let stock = stock_key(toy);
    let is_known =
        Message::default().integer(2, MODIFIED).bytes(3, stock.as_bytes()).integer(6, known);
    let is_new = Message::default().integer(2, CREATED).bytes(3, key.as_bytes()).integer(5, 0);
    let do_put = |put: &Message| Message::default().message(2, put);
    let range = Message::default().bytes(1, stock.as_bytes());
    Message::default()
        .message(1, &is_known)
        .message(1, &is_new)
        .message(2, &do_put(&put(&stock, &left.to_string())))
        .message(2, &do_put(&put(key, order)))
        .message(3, &Message::default().message(1, &range))
}

/// The revision at which an answer was given.
fn revision(answer: &[u8]) -> u64 {
    integer(bytes(answer, 1), 3)
}
