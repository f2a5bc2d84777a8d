//! A port that belongs to one role of a test's store, whether or not anything listens there.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// A reserved port. While nothing listens, connections are refused, as those to a process that was
/// killed.
pub(crate) struct Port {
    address: SocketAddr,
    reserved: Cell<Option<TcpSocket>>,
}

impl Port {
    pub(super) fn new() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = Self::bind(any_port).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Self { address, reserved: Cell::new(Some(socket)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        // An earlier listener may have left connections in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address).map(|()| socket)
    }

    /// Listens; also again, after an earlier listener has ended.
    pub(crate) fn listen(&self) -> TcpListener {
        let socket = self.reserved.take().map_or_else(|| Self::bind(self.address), Ok);
        let listener = socket.and_then(|socket| socket.listen(1_024)).expect("the port is free");
        listener.into_std().expect("it is a listener")
    }

    /// Reserves the port again, after its listener has ended.
    pub(super) fn close(&self) {
        self.reserved.set(Some(Self::bind(self.address).expect("the port is free")));
    }
}
