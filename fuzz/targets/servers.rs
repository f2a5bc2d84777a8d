//! Bytes, sent to the roles of a whole store that runs in this process. The first byte says to
//! which role.
//!
//! The store keeps what it was told, so an input that ends it may do so only after others. What it
//! panics over is printed; to find out which inputs it takes, run the corpus again.

#![no_main]

#[path = "../../tests/parsers/properties/mod.rs"]
mod properties;

use std::net::{SocketAddr, TcpListener};
use std::sync::LazyLock;

use actix_web::rt::System;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use toystore::process::RoleError;
use toystore::roles::{Role, Roles};
use toystore::wire::replication::ReplicaId;

struct Store {
    /// The front-end, the catalog, and the one replica.
    doors: [SocketAddr; 3],
    /// The databases, which go when the process does in order.
    _folder: TempDir,
}

static STORE: LazyLock<Store> = LazyLock::new(Store::open);

impl Store {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let doors =
            listeners.each_ref().map(|listener| listener.local_addr().expect("it is bound"));
        let [frontend, catalog, order] = doors;
        let text = format!(
            "data_dir = \"data\"\nhosts = [\"store\"]\n[[frontend]]\naddress = \"{frontend}\"\n[catalog]\n\
             address = \"{catalog}\"\ninitial_stock = 1000000\n\
             toys = [{{ name = \"Tux\", price = 15.99 }}, {{ name = \"Yo-Yo\", price = 8.40 }}]\n\
             [[order]]\nid = 1\naddress = \"{order}\"\n"
        );
        let place = folder.path().join("roles.toml");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        let roles = Roles::parse(&text, &place).expect("it is right");
        let [frontend, catalog, order] = listeners;
        let own = (roles.clone(), roles.clone());
        run(async move || {
            toystore::catalog::run(catalog, &roles, Role::Catalog, &[], CancellationToken::new())
                .await
        });
        run(async move || {
            toystore::order::run(order, &own.0, ReplicaId(1), CancellationToken::new()).await
        });
        run(async move || {
            toystore::frontend::run(frontend, &own.1, 1, CancellationToken::new()).await
        });
        let store = Self { doors, _folder: folder };
        store.await_ready();
        store
    }

    fn await_ready(&self) {
        let ready = b"GET /readyz HTTP/1.1\r\nHost: store\r\n\r\n";
        let answers = std::iter::repeat_with(|| properties::http::send(self.doors[0], ready));
        let mut answers = answers.map(|answer| answer.map(|answer| answer.status));
        assert!(answers.any(|status| status == Some(200)));
    }
}

/// Runs a role on a thread of its own. It is not told to end.
fn run(role: impl AsyncFnOnce() -> Result<(), RoleError> + Send + 'static) {
    std::thread::spawn(move || {
        let end = System::new().block_on(role());
        unreachable!("it ends: {end:?}");
    });
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let door = STORE.doors[usize::from(*first) % STORE.doors.len()];
    properties::http::bytes(door, rest);
    properties::http::lives(door);
});
