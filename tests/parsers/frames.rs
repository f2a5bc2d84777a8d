//! Frames between roles: whatever follows the preface, a server goes on, and a caller has an answer
//! or an error.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt::System;
use actix_web::rt::task::spawn_blocking;
use actix_web::web::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use tokio_util::codec::Decoder as _;
use toystore::identity::Identity;
use toystore::roles::{Access, Address, Role};
use toystore::transport::{CallError, Http, LARGEST_MESSAGE, Peer};
use toystore::wire::calls::{Caller, GetStatus, MessageTag, PATHS};
use toystore::wire::frame::{self, AnswerHead, CallHead, Hello, PREFACE, Welcome};
use toystore::wire::identity::{Addressee, StoreId};
use toystore::wire::replication::{ReplicaId, ReplicaStatus};
use toystore::wire::timing::ServerTiming;
use toystore::wire::trace::{RequestOrigin, TraceContext};

use crate::changes::{change, json_changes};
use crate::inputs::{commit_request, purchase, status};
use crate::neighbours::Store;
use crate::properties::http;

/// Whom a call is for and by.
fn caller() -> impl Strategy<Value = Caller> {
    let id = option::of(("[ -~]{1,255}", any::<bool>()));
    let trace = option::of((any::<u128>(), any::<u64>()));
    let role = option::of(("[a-z0-9-]{0,12}", option::of(any::<u64>())));
    let message = option::of(("[a-z0-9-]{0,12}", any::<u64>()));
    (id, trace, role, message).prop_map(|(id, trace, role, message)| Caller {
        origin: RequestOrigin {
            is_named_by_client: id.as_ref().is_some_and(|(_, is_named)| *is_named),
            request_id: id.map(|(id, _)| id),
            trace: trace.map(|(trace, span)| TraceContext::from_random(trace, span)),
        },
        meant_for: role
            .map(|(role, store)| Addressee { role, store: store.map(StoreId::from_random) }),
        message: message.map(|(from, id)| MessageTag { from, id }),
        ..Caller::default()
    })
}

/// The path of a call, or of none.
fn path() -> impl Strategy<Value = String> {
    let known: Vec<_> =
        PATHS.iter().map(|path| path.trim_start_matches("/internal").to_owned()).collect();
    prop_oneof![5 => proptest::sample::select(known), 1 => "[!-~]{0,20}"]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        purchase().prop_map(|it| json!(it)),
        commit_request().prop_map(|it| json!(it)),
        Just(json!({})),
        any::<u64>().prop_map(|number| json!({ "number": number, "from": number })),
    ];
    let changed = (message, option::of(json_changes())).prop_map(|(mut json, changes)| {
        change(&mut json, &changes.unwrap_or_default());
        json.to_string().into_bytes()
    });
    prop_oneof![5 => changed, 1 => vec(any::<u8>(), 0..100)]
}

/// A connection's bytes, as a caller sends them.
fn calls() -> impl Strategy<Value = Vec<u8>> {
    let calls = vec((any::<u64>(), path(), caller(), body()), 0..4);
    (option::of(prop_oneof![Just("a-secret-of-the-test".to_owned()), "[ -~]{0,20}"]), calls)
        .prop_map(|(secret, calls)| {
            let mut bytes = BytesMut::from(PREFACE);
            frame::write(&mut bytes, &Hello { secret: secret.map(Cow::Owned) }, |_| {});
            for (id, path, caller, body) in calls {
                frame::write(&mut bytes, &CallHead::new(id, &path, &caller), |buffer| {
                    buffer.extend_from_slice(&body);
                });
            }
            bytes.to_vec()
        })
}

/// Changes some bytes: what arrives then is cut off, too long, or of another version.
fn garbled(bytes: impl Strategy<Value = Vec<u8>>, from: usize) -> impl Strategy<Value = Vec<u8>> {
    (bytes, vec((any::<Index>(), any::<u8>(), 0..3_u8), 0..4)).prop_map(
        move |(mut bytes, changes)| {
            for (place, byte, kind) in changes {
                let place = from + place.index((bytes.len() - from).max(1));
                match kind {
                    _ if place >= bytes.len() => bytes.push(byte),
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => bytes.truncate(place.max(1)),
                }
            }
            bytes
        },
    )
}

#[test]
fn frames_are_read_as_they_were_written_however_they_are_cut() {
    let frames = vec((any::<u64>(), path(), caller(), body()), 1..5);
    proptest!(|(frames in frames, cuts in vec(1..40_usize, 1..20))| {
        let mut whole = BytesMut::new();
        for (id, path, caller, body) in &frames {
            frame::write(&mut whole, &CallHead::new(*id, path, caller), |buffer| {
                buffer.extend_from_slice(body);
            });
        }
        let (mut codec, mut read, mut found) =
            (frame::codec(LARGEST_MESSAGE), BytesMut::new(), Vec::new());
        for cut in cuts.into_iter().cycle() {
            if whole.is_empty() {
                break;
            }
            read.extend_from_slice(&whole.split_to(cut.min(whole.len())));
            while let Some(frame) = codec.decode(&mut read).expect("it is a frame") {
                let (head, body) = frame::read::<CallHead<'_>>(&frame).expect("it has a head");
                found.push((head.id, head.path.to_string(), head.caller(), body.to_vec()));
            }
        }
        prop_assert_eq!(found, frames);
    });
}

#[test]
fn bytes_that_are_no_head_are_an_error() {
    proptest!(|(bytes in vec(any::<u8>(), 0..60))| {
        if let Ok((head, body)) = frame::read::<CallHead<'_>>(&bytes) {
            prop_assert!(body.len() <= bytes.len());
            prop_assert_eq!(CallHead::new(head.id, &head.path, &head.caller()).id, head.id);
        }
        if let Ok((_, body)) = frame::read::<AnswerHead>(&bytes) {
            prop_assert!(body.len() < bytes.len());
        }
        let _any_of_both = frame::read::<Hello<'_>>(&bytes).is_ok();
        let _as_well = frame::read::<Welcome>(&bytes).is_ok();
    });
    let mut too_long = BytesMut::from(&b"\x00\x40\x00\x01"[..]);
    assert!(frame::codec(LARGEST_MESSAGE).decode(&mut too_long).is_err());
}

fn goes_on(address: SocketAddr) {
    proptest!(|(bytes in prop_oneof![calls(), garbled(calls(), 0), garbled(calls(), 12)])| {
        http::bytes(address, &bytes);
    });
    http::lives(address);
    let answer = http::send(address, b"TOYSTORE/3\r\n\0\0\0\x01\0").expect("it is answered");
    assert_eq!(answer.status, 400, "a version that it does not know is no HTTP");
}

#[actix_web::test]
async fn a_role_goes_on_whatever_comes_as_frames() {
    let store = Store { secret: Some("a-secret-of-the-test"), ..Store::new() };
    let open = Store::new();
    let catalog = open.run_catalog().ready().await;
    let (replica, guarded) = (open.run_order(1), store.run_order(2));
    let addresses = [catalog.address, replica.address, guarded.address];
    let tried = spawn_blocking(move || addresses.map(goes_on));
    tried.await.expect("it holds");
    catalog.stop().await;
    replica.stop().await;
    guarded.stop().await;
}

/// A peer that takes a connection and a call, and then sends the same bytes to every caller.
struct FakeServer {
    address: Address,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl FakeServer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
        let current = Arc::clone(&answer);
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _first = stream.read(&mut [0; 4_096]);
                let answer = current.lock().expect("no handler panics").clone();
                let _closed_early = stream.write_all(&answer);
            }
        });
        Self { address: Address::try_from(address).expect("an address"), answer }
    }

    fn answers(
        &self,
        system: &actix_web::rt::SystemRunner,
        answer: Vec<u8>,
    ) -> Result<ReplicaStatus, CallError> {
        *self.answer.lock().expect("no handler panics") = answer;
        let own = Identity::new(Role::Catalog, None);
        system.block_on(async {
            let (role, address) = (Role::Order(ReplicaId(1)), &self.address);
            let peer = Peer::framed(
                role,
                address,
                Access::default(),
                Http::new(address, Access::default()),
                &own,
            );
            peer.call(&GetStatus {}, Duration::from_secs(10)).await
        })
    }
}

fn welcome_and_answer(id: u64, code: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame::write(&mut bytes, &Welcome::Accepted, |_| {});
    let head = AnswerHead { id, status: code, timing: ServerTiming::default() };
    frame::write(&mut bytes, &head, |buffer| buffer.extend_from_slice(body));
    bytes.to_vec()
}

#[test]
fn a_caller_has_an_answer_or_an_error_whatever_comes_as_frames() {
    let (server, system) = (FakeServer::new(), System::new());
    let answer = (status(), json_changes(), 0..2_u64, prop_oneof![Just(200), 0..600_u16]);
    let bytes = answer.prop_map(|(status, changes, id, code)| {
        let mut json = json!(status);
        change(&mut json, &changes);
        welcome_and_answer(id, code, json.to_string().as_bytes())
    });
    proptest!(|(answer in garbled(bytes, 0))| {
        if let Err(error) = server.answers(&system, answer) {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    });
}

#[test]
fn an_answer_that_is_a_frame_is_taken_as_it_was_given() {
    let (server, system) = (FakeServer::new(), System::new());
    proptest!(|(status in status())| {
        let answer = welcome_and_answer(0, 200, json!(status).to_string().as_bytes());
        prop_assert_eq!(server.answers(&system, answer).expect("it is right"), status);
    });
}
