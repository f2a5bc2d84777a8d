//! Answers of a peer, valid or not: a call ends with the answer or with an error.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt::System;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use toystore::identity::Identity;
use toystore::roles::{Access, Address, Role};
use toystore::transport::{CallError, Http, Peer};
use toystore::wire::calls::GetStatus;
use toystore::wire::replication::{ReplicaId, ReplicaStatus};

use crate::changes::{change, json_changes};
use crate::inputs::status;

/// A peer that answers any request with the same bytes, and closes the connection.
struct FakePeer {
    address: Address,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl FakePeer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
        let current = Arc::clone(&answer);
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                // The request is small and comes in one piece; its content does not matter.
                let _request = stream.read(&mut [0; 4_096]);
                let answer = current.lock().expect("no handler panics").clone();
                let _closed_early = stream.write_all(&answer);
            }
        });
        Self { address: Address::try_from(address).expect("an address"), answer }
    }

    fn answers(&self, system: &actix_web::rt::SystemRunner, answer: Vec<u8>) -> Answer {
        *self.answer.lock().expect("no handler panics") = answer;
        let own = Identity::new(Role::Catalog, None);
        let role = Role::Order(ReplicaId(1));
        let peer = system
            .block_on(async { Peer::new(role, Http::new(&self.address, Access::default()), &own) });
        system.block_on(peer.call(&GetStatus {}, Duration::from_secs(10)))
    }
}

type Answer = Result<ReplicaStatus, CallError>;

fn reply(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} So\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[test]
fn an_answer_is_taken_as_it_was_given() {
    let (peer, system) = (FakePeer::new(), System::new());
    proptest!(|(status in status())| {
        let answer = peer.answers(&system, reply(200, &json!({ "data": status }).to_string()));
        prop_assert_eq!(answer.expect("it is right"), status);
    });
}

#[test]
fn an_answer_that_is_changed_is_an_error_or_means_what_it_says() {
    let (peer, system) = (FakePeer::new(), System::new());
    proptest!(|(status in status(), code in 200..600_u16, changes in json_changes())| {
        let mut json = json!({ "data": status });
        change(&mut json, &changes);
        let text = json.to_string();
        match peer.answers(&system, reply(code, &text)) {
            Ok(read) => {
                prop_assert!((200..300).contains(&code));
                let said = serde_json::from_value(json["data"].take());
                prop_assert_eq!(read, said.expect("it was read"));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn bytes_that_are_not_an_answer_are_an_error() {
    let (peer, system) = (FakePeer::new(), System::new());
    let head = proptest::sample::select(vec![
        "",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "HTTP/9.9 ",
        "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ]);
    proptest!(|(head in head, rest in vec(any::<u8>(), 0..100))| {
        let answer = [head.as_bytes(), &rest].concat();
        let answer = peer.answers(&system, answer);
        prop_assert!(!answer.expect_err("it is none").to_string().is_empty());
    });
}
