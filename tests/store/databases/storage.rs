//! What every storage of the catalog must do, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use toystore::catalog::core::stock::RecordedDecision;
use toystore::catalog::journal::marker::Past;
use toystore::wire::lease::SessionId;
use toystore::wire::order::Position;
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::toy::Price;

use super::opened::{INITIAL, Opened, Place, decided, sale, toy, toys};

/// Makes a test for each engine of a function over a place.
macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(super::Place::sqlite()).await;
            })*
        }

        mod on_postgres {
            $(#[actix_web::test]
            async fn $name() {
                let Some(place) = super::Place::postgres().await else { return };
                super::$name(place).await;
            })*
        }
    };
}

on_both_engines! {
    a_new_store_has_its_toys_and_no_orders_and_is_in_doubt
    a_change_is_whole_after_the_next_start
    a_key_that_was_decided_is_found_and_no_other
    rows_are_read_from_any_number_on
    a_leadership_is_remembered
    sessions_begin_and_end
    whether_replicas_must_be_heard_is_remembered
    a_toy_keeps_its_stock_while_it_is_not_sold
    calls_take_effect_in_the_order_in_which_they_are_made
    a_batch_of_the_largest_size_is_committed_at_once
    names_and_keys_may_have_all_that_is_allowed
}

async fn a_new_store_has_its_toys_and_no_orders_and_is_in_doubt(place: Place) {
    let opened = place.open(&toys(&["Tux", "Uno"])).await;
    let shelves: Vec<_> = opened.loaded.shelves.iter().map(|shelf| shelf.toy.clone()).collect();
    assert_eq!(shelves, [toy("Tux", 1599, INITIAL), toy("Uno", 1599, INITIAL)]);
    assert_eq!(opened.loaded.journal, Position::START);
    assert_eq!(opened.loaded.leadership, Leadership::default());
    assert_eq!(opened.loaded.past, Past::InDoubt);
    let store = opened.loaded.store;
    opened.close().await;
    assert_eq!(place.open(&toys(&["Tux"])).await.loaded.store, store);
}

async fn a_change_is_whole_after_the_next_start(place: Place) {
    let opened = place.open(&toys(&["Tux", "Uno"])).await;
    let (change, end) = sale(Position::START, &opened.loaded.shelves[1], &["a", "b"]);
    opened.storage.commit(change.clone()).await.unwrap();
    opened.close().await;
    let opened = place.open(&toys(&["Tux", "Uno"])).await;
    assert_eq!(opened.loaded.journal, end);
    assert_eq!(opened.loaded.shelves[1], change.shelves[0]);
    assert_eq!(opened.loaded.shelves[0].toy, toy("Tux", 1599, INITIAL));
    let rows = opened.storage.rows(0, 10).await.unwrap().unwrap();
    assert_eq!((rows.after, rows.orders), (Position::START, change.orders));
}

async fn a_key_that_was_decided_is_found_and_no_other(place: Place) {
    let opened = place.open(&toys(&["Tux"])).await;
    let (mut change, _) = sale(Position::START, &opened.loaded.shelves[0], &["granted"]);
    change.decisions.push(("refused".to_owned().into(), decided("Tux", None)));
    opened.storage.commit(change).await.unwrap();
    let known = recorded(&opened, &["granted", "refused", "grante", "h", "z"]).await;
    let (granted, refused) = (decided("Tux", Some(0)), decided("Tux", None));
    assert_eq!(known, [Some(granted), Some(refused), None, None, None]);
    assert!(opened.storage.recorded(Vec::new()).await.unwrap().is_empty());
}

async fn rows_are_read_from_any_number_on(place: Place) {
    let opened = place.open(&toys(&["Tux"])).await;
    assert_eq!(opened.storage.rows(0, 5).await.unwrap().unwrap().after, Position::START);
    assert_eq!(opened.storage.rows(1, 5).await.unwrap(), None);
    let (change, end) = sale(Position::START, &opened.loaded.shelves[0], &["a", "b", "c"]);
    opened.storage.commit(change.clone()).await.unwrap();
    let second = opened.storage.rows(1, 1).await.unwrap().unwrap();
    assert_eq!(second.orders, change.orders[1..2]);
    assert_eq!(second.after, Position::START.continued_by(&change.orders[0]));
    let none = opened.storage.rows(3, 5).await.unwrap().unwrap();
    assert_eq!((none.after, none.orders.len()), (end, 0));
    assert_eq!(opened.storage.rows(4, 5).await.unwrap(), None);
    assert_eq!(opened.storage.rows(u64::MAX, 5).await.unwrap(), None);
}

async fn a_leadership_is_remembered(place: Place) {
    let opened = place.open(&toys(&["Tux"])).await;
    let leadership = Leadership { epoch: Epoch(7), leader: Some(ReplicaId(u32::MAX)) };
    opened.storage.set_leadership(leadership).await.unwrap();
    opened.close().await;
    assert_eq!(place.open(&toys(&["Tux"])).await.loaded.leadership, leadership);
}

async fn sessions_begin_and_end(place: Place) {
    let session = |serial| SessionId { boot: u64::MAX >> 1, serial };
    let opened = place.open(&toys(&["Tux"])).await;
    for serial in 1..=3 {
        opened.storage.note_sessions(Some(session(serial)), Vec::new()).await.unwrap();
    }
    // One that is known begins again, and one that is unknown ends.
    let gone = vec![session(1), session(9)];
    opened.storage.note_sessions(Some(session(2)), gone).await.unwrap();
    opened.close().await;
    let mut sessions = place.open(&toys(&["Tux"])).await.loaded.sessions;
    sessions.sort_by_key(|session| session.serial);
    assert_eq!(sessions, [session(2), session(3)]);
}

async fn whether_replicas_must_be_heard_is_remembered(place: Place) {
    for past in [Past::Continued, Past::InDoubt] {
        let opened = place.open(&toys(&["Tux"])).await;
        opened.storage.set_past(past).await.unwrap();
        opened.close().await;
        let opened = place.open(&toys(&["Tux"])).await;
        assert_eq!(opened.loaded.past, past);
        opened.close().await;
    }
}

async fn a_toy_keeps_its_stock_while_it_is_not_sold(place: Place) {
    let opened = place.open(&toys(&["Tux", "Uno"])).await;
    let (change, _) = sale(Position::START, &opened.loaded.shelves[0], &["a"]);
    opened.storage.commit(change).await.unwrap();
    opened.close().await;
    let opened = place.open(&toys(&["Yo-Yo", "Uno"])).await;
    let names = |opened: &Opened| -> Vec<String> {
        opened.loaded.shelves.iter().map(|shelf| shelf.toy.name.to_string()).collect()
    };
    assert_eq!(names(&opened), ["Yo-Yo", "Uno"]);
    opened.close().await;
    let mut dearer = toys(&["Uno", "Tux"]);
    dearer[1].price = Price::from_cents(1);
    let opened = place.open(&dearer).await;
    assert_eq!(opened.loaded.shelves[1].toy, toy("Tux", 1, INITIAL - 1));
}

async fn calls_take_effect_in_the_order_in_which_they_are_made(place: Place) {
    let opened = place.open(&toys(&["Tux"])).await;
    let (first, middle) = sale(Position::START, &opened.loaded.shelves[0], &["a"]);
    let (second, end) = sale(middle, &first.shelves[0], &["b"]);
    let first = opened.storage.commit(first);
    let second = opened.storage.commit(second);
    // Polled in the opposite order.
    second.await.unwrap();
    first.await.unwrap();
    opened.close().await;
    assert_eq!(place.open(&toys(&["Tux"])).await.loaded.journal, end);
}

async fn a_batch_of_the_largest_size_is_committed_at_once(place: Place) {
    let opened = place.open(&toys(&["Tux"])).await;
    let mut shelf = opened.loaded.shelves[0].clone();
    (shelf.stocked, shelf.toy.quantity) = (1_000, 1_000);
    let keys: Vec<String> = (0..256).map(|number| format!("{number:0>255}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (change, end) = sale(Position::START, &shelf, &keys);
    opened.storage.commit(change).await.unwrap();
    assert_eq!(recorded(&opened, &keys).await.iter().flatten().count(), 256);
    opened.close().await;
    assert_eq!(place.open(&toys(&["Tux"])).await.loaded.journal, end);
}

async fn names_and_keys_may_have_all_that_is_allowed(place: Place) {
    let names = ["Rubik's \"Cube\"; --", "tüx", "TÜX", "\u{1f427}", "{a,b}", "NULL", "\\N"];
    let opened = place.open(&toys(&names)).await;
    let mut end = Position::START;
    for (shelf, name) in opened.loaded.shelves.iter().zip(names) {
        assert_eq!(shelf.toy.name.as_str(), name);
        let key = format!("client:{{\"\\{}'", end.length);
        let (change, next) = sale(end, shelf, &[&key]);
        opened.storage.commit(change).await.unwrap();
        assert_eq!(recorded(&opened, &[&key]).await, [Some(decided(name, Some(end.length)))]);
        end = next;
    }
    let rows = opened.storage.rows(0, 10).await.unwrap().unwrap();
    assert_eq!(rows.orders.iter().fold(Position::START, Position::continued_by), end);
}

/// What is recorded under each of `keys`.
async fn recorded(opened: &Opened, keys: &[&str]) -> Vec<Option<RecordedDecision>> {
    let keys: Vec<IdempotencyKey> = keys.iter().map(|key| (*key).to_owned().into()).collect();
    let found = opened.storage.recorded(keys.clone()).await.unwrap();
    keys.iter().map(|key| found.get(key).cloned()).collect()
}
