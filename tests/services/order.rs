//! An order replica alone: the test plays its front-end, and fake neighbours the catalog and the
//! other replicas. It is always replica 3; replicas 1 and 2 are down unless a test starts them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::clock;
use toystore::order::core::followers::ACKNOWLEDGEMENT_TIMEOUT;
use toystore::wire::identity::StoreId;
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, PurchaseReply, Verdict};
use toystore::wire::replication::{
    Acquisition, AppendReply, AppendRequest, Epoch, Fitness, Leadership, Nomination,
    NominationReply, OrderReply, ReplicaId, ReplicaState, ReplicaStatus,
};

use crate::eventually::eventually;
use crate::neighbours::of_order::{Catalog, CatalogState, Peer, STORE, page};
use crate::neighbours::{
    Answer, Fault, OrderRole, Received, Reply, Running, Store, end_of, finish, leading, orders,
    purchase, rows_from, sold,
};

const OUT_OF_STOCK: PurchaseReply = PurchaseReply::Decided(Decision::OutOfStock);

const fn granted(number: u64) -> PurchaseReply {
    PurchaseReply::Decided(Decision::Granted(OrderNumber(number)))
}

/// What front-ends and other replicas ask of a replica.
impl Running<OrderRole> {
    async fn nominate(&self, seen: u64) -> NominationReply {
        self.post("/internal/nominate", Nomination { seen: Epoch(seen) }).await.data()
    }

    /// Nominates it once it has caught up.
    async fn nominated(self) -> Self {
        eventually("it follows", async || self.status().await.state == ReplicaState::Follower)
            .await;
        let epoch = self.status().await.leadership.epoch;
        let reply = self.nominate(epoch.0).await;
        assert!(matches!(reply, NominationReply::Won(_)), "{reply:?}");
        self
    }

    fn buy(&self, key: &str, name: &str) -> impl Future<Output = PurchaseReply> + use<> {
        let answer = self.post("/internal/purchase", purchase(key, name, 1));
        async move { answer.await.data() }
    }

    async fn status(&self) -> ReplicaStatus {
        self.get("/internal/status").await.data()
    }

    async fn await_log(&self, log: &[Order]) {
        eventually("it has all the orders", async || self.status().await.log == end_of(log)).await;
    }

    async fn append(&self, leadership: Leadership, rows: Rows) -> AppendReply {
        let leader_length = rows.end_length();
        let request = AppendRequest { leadership, rows, leader_length, origins: Vec::new() };
        self.post("/internal/append", request).await.data()
    }

    async fn order(&self, number: u64) -> Answer {
        self.get(&format!("/internal/order/{number}")).await
    }
}

/// Buys a Tux under the key "a". The catalog decides the batch, and sends its answer when the token
/// is cancelled.
async fn buy_held_up(
    catalog: &Catalog<'_>,
    replica: &Running<OrderRole>,
) -> (rt::task::JoinHandle<PurchaseReply>, CancellationToken) {
    let release = CancellationToken::new();
    catalog.fail_next("commit", Fault::Held(release.clone()));
    let buying = rt::spawn(replica.buy("a", "Tux"));
    catalog.receives("commit", 1).await;
    (buying, release)
}

/// Well above the time that a purchase waits for a follower, on a busy machine, too; well below the
/// time limit of a message to a follower, for which no purchase may wait.
const LONG: Duration = Duration::from_millis(1_500);

/// Another replica's append of one order, in the name of a store.
async fn append_of_store(replica: &Running<OrderRole>, store: u64) -> Answer {
    let rows = Rows { after: Position::START, orders: orders(&["Tux"]) };
    let request =
        AppendRequest { leadership: leading(1, 2), rows, leader_length: 1, origins: vec![] };
    let sent = replica.request("POST", "/internal/append");
    let sent = sent.insert_header(("toystore-role", "order-3"));
    let sent = sent.insert_header(("toystore-store", StoreId::from_random(store).to_string()));
    finish(sent.send_json(&request)).await
}

#[actix_web::test]
async fn a_follower_takes_no_orders_before_it_belongs_to_their_store() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.state().is_new = true;
    let replica = store.run_order(3);
    let (status, message) = append_of_store(&replica, STORE).await.error();
    assert_eq!(status, 503);
    assert!(message.contains("does not say yet which store"), "{message}");

    catalog.state().is_new = false;
    assert_eq!(append_of_store(&replica, 2 * STORE).await.status, 421, "it asks the catalog");
    assert_eq!(replica.status().await.log, Position::START);
    assert_eq!(append_of_store(&replica, STORE).await.status, 200);
    replica.await_log(&orders(&["Tux"])).await;
}

#[actix_web::test]
async fn a_leader_sells_nothing_before_it_belongs_to_a_store() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.state().is_new = true;
    let replica = store.run_order(3);
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    let buying = rt::spawn(replica.buy("a", "Tux"));
    let asked = catalog.received("report").len();
    catalog.receives("report", asked + 5).await;
    assert_eq!(catalog.batches(), Vec::<Vec<String>>::new());

    catalog.state().is_new = false;
    assert_eq!(buying.await.unwrap(), granted(0));
}

#[actix_web::test]
async fn a_replica_without_a_store_fetches_no_orders() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.state().is_new = true;
    catalog.state().journal = orders(&["Tux"]);
    let replica = store.run_order(3);
    catalog.receives("report", 5).await;
    assert_eq!(catalog.received("journal").len(), 0);

    catalog.state().is_new = false;
    replica.await_log(&orders(&["Tux"])).await;
}

#[actix_web::test]
async fn a_nominee_acquires_leadership_and_then_sells() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let no_leader = PurchaseReply::NotLeader(Leadership::default());
    assert_eq!(replica.buy("a", "Tux").await, no_leader);
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)), "it leads already");
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(replica.buy("b", "Sold out").await, OUT_OF_STOCK);
    assert_eq!(replica.buy("c", "Uno").await, granted(1));

    let asked: Vec<Acquisition> = catalog.received("acquire").iter().map(Received::read).collect();
    let acquisition = Acquisition { nominee: ReplicaId(3), seen: Epoch(0), log: Position::START };
    assert_eq!(asked, [acquisition]);
    let status = replica.status().await;
    assert_eq!((status.state, status.fitness), (ReplicaState::Leader, Fitness::Ready));
    assert_eq!(status.log, end_of(&catalog.state().journal));
}

#[actix_web::test]
async fn a_nominee_that_loses_answers_who_leads() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.state().leadership = leading(4, 2);
    let replica = store.run_order(3);
    assert_eq!(replica.nominate(3).await, NominationReply::Lost(leading(4, 2)));
    assert_eq!(replica.buy("a", "Tux").await, PurchaseReply::NotLeader(leading(4, 2)));
}

#[actix_web::test]
async fn a_nominee_whose_acquisition_was_not_answered_becomes_leader_when_nominated_again() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    catalog.fail_next("acquire", Fault::Lost);
    let first = replica.nominate(0).await;
    assert!(matches!(first, NominationReply::Unable(_)), "{first:?}");
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
}

#[actix_web::test]
async fn a_nominee_whose_log_is_of_another_cluster_leads_only_once_it_has_the_right_one() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    replica.stop().await;
    let journal = orders(&["Uno", "Uno"]);
    *catalog.state() = CatalogState { journal: journal.clone(), ..CatalogState::default() };
    let replica = store.run_order(3);
    eventually("it leads", async || match replica.nominate(0).await {
        NominationReply::Won(_) => Some(()),
        NominationReply::Unable(why) => {
            assert!(why.contains("not of this cluster"), "{why}");
            None
        }
        NominationReply::Lost(leadership) => unreachable!("{leadership}"),
    })
    .await;
    replica.await_log(&journal).await;
    assert!(store.database("order-3").with_extension("db.aside-1").exists());
}

#[actix_web::test]
async fn a_nominee_sells_only_when_it_has_all_that_was_sold_before() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let sold = orders(&["Tux", "Uno", "Tux", "Uno", "Tux"]);
    let release = CancellationToken::new();
    catalog.state().journal.clone_from(&sold);
    // The journal's rows do not come before the replica has a purchase, however often it asks.
    for _ in 0..4 {
        catalog.fail_next("journal", Fault::Held(release.clone()));
    }
    let replica = store.run_order(3);
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    let buying = rt::spawn(replica.buy("a", "Yo-Yo"));
    catalog.receives("journal", 1).await;
    assert!(catalog.received("commit").is_empty());
    release.cancel();
    assert_eq!(buying.await.expect("no panic"), granted(5));
    let first: CommitRequest = catalog.received("commit")[0].read();
    assert_eq!(first.log, end_of(&sold));
}

#[actix_web::test]
async fn a_leader_that_comes_back_leads_again_only_if_it_nominated_again() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    replica.stop().await;

    let replica = store.run_order(3);
    eventually("it hears who leads", async || replica.status().await.leadership == leading(1, 3))
        .await;
    assert_eq!(replica.buy("b", "Tux").await, PurchaseReply::NotLeader(leading(1, 3)));
    assert_eq!(replica.nominate(1).await, NominationReply::Won(leading(2, 3)));
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.state().journal.len(), 2);
}

#[actix_web::test]
async fn a_purchase_is_answered_only_when_a_live_follower_has_it() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let followers = [Peer::at(&store.orders[0]), Peer::at(&store.orders[1])];
    let replica = store.run_order(3).nominated().await;
    join_all(followers.iter().map(Peer::await_live)).await;

    let (release, before) = (CancellationToken::new(), followers[0].received("append").len());
    // The message with the row is held up, and so is a heartbeat that may come before it.
    for _ in 0..3 {
        followers[0].fail_next("append", Fault::Held(release.clone()));
    }
    let buying = rt::spawn(replica.buy("a", "Tux"));
    let bought_at = clock::now();
    replica.await_log(&sold(&[("Tux", "a")])).await;
    followers[0].receives("append", before + 1).await;
    eventually("the other follower has it", async || followers[1].log().len() == 1).await;
    // A machine that was too busy to come here in time proves nothing.
    let in_time = bought_at.elapsed() < ACKNOWLEDGEMENT_TIMEOUT / 2;
    assert!(!in_time || !buying.is_finished(), "it was answered without the first follower");
    release.cancel();
    assert_eq!(buying.await.expect("no panic"), granted(0));
    assert!(!in_time || followers[0].log().len() == 1);
}

#[actix_web::test]
async fn a_follower_that_hangs_delays_a_purchase_by_the_acknowledgement_timeout_and_then_none() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    follower.await_live().await;
    follower.ignore("append");
    let asked = clock::now();
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert!(asked.elapsed() < LONG, "{:?}", asked.elapsed());
    // If purchases went on waiting for it, each of these would take the acknowledgement timeout; a
    // busy machine slows some of them, not all.
    let mut quickest = LONG;
    for number in 1..=5 {
        let asked = clock::now();
        assert_eq!(replica.buy(&number.to_string(), "Tux").await, granted(number));
        quickest = quickest.min(asked.elapsed());
    }
    assert!(quickest < ACKNOWLEDGEMENT_TIMEOUT, "{quickest:?}");
}

#[actix_web::test]
async fn a_follower_that_hangs_while_nothing_is_sold_is_waited_for_no_longer() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    follower.await_live().await;
    follower.ignore("append");
    let before = follower.received("append").len();
    follower.receives("append", before + 1).await;
    let asked = clock::now();
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert!(asked.elapsed() < LONG, "{:?}", asked.elapsed());
}

#[actix_web::test]
async fn a_follower_that_comes_back_is_sent_all_that_it_missed() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    follower.await_live().await;
    follower.kill().await;
    for key in ["a", "b", "c"] {
        let asked = clock::now();
        replica.buy(key, "Tux").await;
        assert!(asked.elapsed() < LONG, "{:?}", asked.elapsed());
    }
    follower.start();
    eventually("the follower has everything", async || follower.log() == catalog.state().journal)
        .await;
}

#[actix_web::test]
async fn purchases_that_arrive_while_a_batch_is_at_the_catalog_come_together_in_the_next() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.fail_next("commit", Fault::Delayed(Duration::from_millis(300)));
    let first = rt::spawn(replica.buy("first", "Tux"));
    catalog.receives("commit", 1).await;
    let others = (0..20).map(|number| rt::spawn(replica.buy(&format!("{number}"), "Tux")));
    let others: Vec<_> = others.collect();

    assert_eq!(first.await.expect("no panic"), granted(0));
    let mut numbers: Vec<_> = join_all(others)
        .await
        .into_iter()
        .map(|reply| match reply.expect("no panic") {
            PurchaseReply::Decided(Decision::Granted(OrderNumber(number))) => number,
            other @ (PurchaseReply::Decided(_) | PurchaseReply::NotLeader(_)) => {
                unreachable!("{other:?}")
            }
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let sizes: Vec<usize> = catalog.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes[0], 1);
    // A busy machine may bring some of them late.
    assert!(sizes.len() <= 5, "{sizes:?}");
}

#[actix_web::test]
async fn a_key_that_comes_twice_at_a_time_goes_to_the_catalog_once() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.fail_next("commit", Fault::Delayed(Duration::from_millis(300)));
    let first = rt::spawn(replica.buy("a", "Tux"));
    catalog.receives("commit", 1).await;
    let second = rt::spawn(replica.buy("a", "Tux"));
    let reused = PurchaseReply::Decided(Decision::KeyReused);
    assert_eq!(replica.buy("a", "Uno").await, reused, "with another purchase");
    assert_eq!(first.await.expect("no panic"), granted(0));
    assert_eq!(second.await.expect("no panic"), granted(0));
    // Once; or again, if the machine was too busy to bring the answer within the time limit.
    let batches = catalog.batches();
    assert!(batches.iter().all(|batch| *batch == ["a"]), "{batches:?}");
    assert_eq!(catalog.state().journal, sold(&[("Tux", "a")]));
}

#[actix_web::test]
async fn a_batch_whose_answer_is_lost_is_asked_again_with_the_same_keys() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.fail_next("commit", Fault::Lost);
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.batches(), [["a"], ["a"]]);
    assert_eq!(catalog.state().journal, sold(&[("Tux", "a")]));
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
}

#[actix_web::test]
async fn a_purchase_that_is_to_wait_is_asked_again_until_it_is_decided() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    let locked = Arc::new(Mutex::new(5));
    let locks = Arc::clone(&locked);
    catalog.on_state("commit", move |state, request| {
        let request: CommitRequest = request.read();
        let mut locked = locks.lock().expect("no handler panics");
        if *locked == 0 {
            return Reply::data(state.commit(&request));
        }
        *locked -= 1;
        let verdicts = request.purchases.iter().map(|_| Verdict::Wait).collect();
        let rows = page(&state.journal, request.log.length);
        Reply::data(CommitReply::Decided { verdicts, rows })
    });
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.batches(), vec![["a"]; 6]);
}

#[actix_web::test]
async fn the_waiters_of_a_leader_that_the_catalog_deposes_are_sent_to_the_next() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.answer("commit", CommitReply::Deposed(leading(2, 2)));
    let (at_catalog, release) = buy_held_up(&catalog, &replica).await;
    let gathering = rt::spawn(replica.buy("b", "Tux"));
    release.cancel();
    for reply in [at_catalog, gathering] {
        assert_eq!(reply.await.expect("no panic"), PurchaseReply::NotLeader(leading(2, 2)));
    }
    assert_eq!(catalog.received("commit").len(), 1);
}

#[actix_web::test]
async fn the_waiters_of_a_leader_that_hears_of_a_newer_one_are_sent_there_at_once() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.ignore("commit");
    let waiting = rt::spawn(replica.buy("a", "Tux"));
    catalog.receives("commit", 1).await;
    catalog.state().leadership = leading(2, 1);
    // What the notice says makes it ask the catalog, whose record counts.
    let notice = replica.post("/internal/leader", leading(7, 2)).await;
    assert_eq!(notice.status, 200);
    assert_eq!(waiting.await.expect("no panic"), PurchaseReply::NotLeader(leading(2, 1)));
    // A notice of an earlier epoch changes nothing.
    replica.post("/internal/leader", leading(1, 3)).await;
    assert_eq!(replica.status().await.leadership, leading(2, 1));
}

#[actix_web::test]
async fn a_leader_that_leads_anew_before_it_heard_that_it_was_deposed_sells_on() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    let (waiting, release) = buy_held_up(&catalog, &replica).await;
    // Another replica led meanwhile and is gone, and this one has not heard of it.
    catalog.ignore("report");
    catalog.state().leadership = leading(2, 2);
    assert_eq!(replica.nominate(2).await, NominationReply::Won(leading(3, 3)));
    // The answer to the earlier epoch's batch comes now. Its waiters have to ask again.
    release.cancel();
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
    assert_eq!(waiting.await.expect("no panic"), PurchaseReply::NotLeader(leading(3, 3)));
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
}

#[actix_web::test]
async fn a_late_answer_that_it_was_deposed_does_not_end_a_later_leadership() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.on_state("commit", |state, request| {
        let request: CommitRequest = request.read();
        Reply::data(match request.epoch {
            Epoch(1) => CommitReply::Deposed(leading(2, 2)),
            Epoch(_) => state.commit(&request),
        })
    });
    let (waiting, release) = buy_held_up(&catalog, &replica).await;
    catalog.ignore("report");
    catalog.state().leadership = leading(2, 2);
    assert_eq!(replica.nominate(2).await, NominationReply::Won(leading(3, 3)));
    release.cancel();
    assert_eq!(waiting.await.expect("no panic"), PurchaseReply::NotLeader(leading(3, 3)));
    // No batch is sent before the earlier one's answer is here, so this comes after that.
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(replica.status().await.state, ReplicaState::Leader);
}

#[actix_web::test]
async fn a_follower_takes_rows_that_continue_its_log_and_skips_those_that_repeat_it() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let log = orders(&["Tux", "Uno", "Yo-Yo", "Tux"]);
    let two = leading(1, 2);
    let synced = |length| AppendReply::Synced { length };
    assert_eq!(replica.append(two, Rows::none(Position::START)).await, synced(0));
    assert_eq!(replica.append(two, rows_from(&log[..2], 0)).await, synced(2));
    assert_eq!(replica.append(two, rows_from(&log[..2], 0)).await, synced(2));
    assert_eq!(replica.append(two, rows_from(&log[..3], 1)).await, synced(3));
    let gap = AppendReply::Gap { length: 3 };
    assert_eq!(replica.append(two, rows_from(&orders(&["Tux"; 6]), 5)).await, gap);
    assert_eq!(
        replica.append(two, rows_from(&orders(&["Uno"; 5]), 0)).await,
        AppendReply::Diverged
    );
    assert_eq!(replica.append(two, rows_from(&log, 3)).await, synced(4));
    assert_eq!(replica.status().await.log, end_of(&log));
}

#[actix_web::test]
async fn a_leader_of_an_earlier_epoch_is_not_followed() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let log = orders(&["Tux"]);
    catalog.state().leadership = leading(2, 1);
    assert_eq!(replica.append(leading(2, 1), Rows::none(Position::START)).await, {
        AppendReply::Synced { length: 0 }
    });
    eventually("it has asked the catalog", async || {
        replica.status().await.leadership == leading(2, 1)
    })
    .await;
    let stale = replica.append(leading(1, 2), rows_from(&log, 0)).await;
    assert_eq!(stale, AppendReply::Stale(leading(2, 1)));
    assert_eq!(replica.status().await.log, Position::START);
}

#[actix_web::test]
async fn a_replica_asks_its_peers_first_for_what_it_missed_and_then_the_journal() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let peer = Peer::at(&store.orders[1]);
    let sold = orders(&["Tux", "Uno", "Tux", "Uno", "Tux"]);
    peer.set_log(sold[..4].to_vec());
    catalog.state().journal.clone_from(&sold);
    let replica = store.run_order(3);
    replica.await_log(&sold).await;
    assert_eq!(peer.received("rows")[0].number(), 0);
    assert_eq!(catalog.received("journal")[0].number(), 4);
    eventually("it follows", async || replica.status().await.state == ReplicaState::Follower).await;
    replica.stop().await;

    // After a crash it asks from where its own database ends.
    let longer = orders(&["Tux", "Uno", "Tux", "Uno", "Tux", "Yo-Yo"]);
    peer.set_log(longer.clone());
    catalog.state().journal.clone_from(&longer);
    let before = peer.received("rows").len();
    store.run_order(3).await_log(&longer).await;
    assert_eq!(peer.received("rows")[before].number(), 5);
}

#[actix_web::test]
async fn a_replica_that_missed_very_much_fetches_it_in_pages() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let sold = orders(&vec!["Tux"; 2_300]);
    catalog.state().journal.clone_from(&sold);
    let replica = store.run_order(3);
    replica.await_log(&sold).await;
    let asked: Vec<u64> = catalog.received("journal").iter().map(Received::number).collect();
    assert_eq!(asked[..3], [0, 1_000, 2_000]);
}

#[actix_web::test]
async fn a_peer_that_hangs_does_not_keep_a_replica_from_catching_up() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let peer = Peer::at(&store.orders[0]);
    peer.hang();
    catalog.state().journal = orders(&["Tux"]);
    store.run_order(3).await_log(&orders(&["Tux"])).await;
}

#[actix_web::test]
async fn a_replica_gives_peers_what_it_has() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let log = orders(&["Tux", "Uno", "Yo-Yo"]);
    replica.append(leading(1, 2), rows_from(&log, 0)).await;
    for from in 0..=3 {
        let rows: Rows = replica.get(&format!("/internal/rows/{from}")).await.data();
        assert_eq!(rows, rows_from(&log, from));
    }
    let beyond: Rows = replica.get("/internal/rows/9").await.data();
    assert_eq!(beyond, Rows::none(end_of(&log)));
}

#[actix_web::test]
async fn an_order_in_its_log_is_shown_without_the_catalog() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    replica.buy("a", "Tux").await;
    catalog.kill().await;
    let found: OrderReply = replica.order(0).await.data();
    assert_eq!(found, OrderReply::Found(sold(&[("Tux", "a")]).remove(0)));
    // Whether there is an order that it lacks, it cannot tell now: that is no 404.
    assert_eq!(replica.order(1).await.error().0, 503);
}

#[actix_web::test]
async fn an_order_that_its_log_lacks_is_looked_up_at_the_catalog() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.state().journal = orders(&["Tux"]);
    let found: OrderReply = replica.order(0).await.data();
    assert_eq!(found, OrderReply::Found(orders(&["Tux"]).remove(0)));
    let unknown: OrderReply = replica.order(1).await.data();
    assert_eq!(unknown, OrderReply::Unknown);
    catalog.hang();
    assert_eq!(replica.order(1).await.error().0, 503);
}

#[actix_web::test]
async fn rows_survive_a_restart_without_any_neighbour() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let log = orders(&["Tux", "Uno"]);
    let synced = AppendReply::Synced { length: 2 };
    assert_eq!(replica.append(leading(1, 2), rows_from(&log, 0)).await, synced);
    replica.stop().await;
    catalog.kill().await;

    let replica = store.run_order(3);
    let status = replica.status().await;
    assert_eq!((status.log, status.state), (end_of(&log), ReplicaState::Syncing));
    let found: OrderReply = replica.order(1).await.data();
    assert_eq!(found, OrderReply::Found(log[1].clone()));
}

#[actix_web::test]
async fn a_replica_that_does_not_reach_the_catalog_is_not_fit_to_lead() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).ready().await;
    assert_eq!(replica.status().await.fitness, Fitness::Ready);
    catalog.hang();
    eventually("it is unfit", async || replica.status().await.fitness == Fitness::Unfit).await;
    assert_eq!(replica.get("/readyz").await.error().0, 503);
    let health: Value = replica.get("/healthz").await.data();
    assert_eq!(health, json!({"role": "order-3", "pid": std::process::id()}));
    let reply = replica.nominate(0).await;
    assert!(matches!(reply, NominationReply::Unable(_)), "{reply:?}");
}

#[actix_web::test]
async fn the_secret_is_required_of_callers_and_sent_to_neighbours() {
    let store = Store { secret: Some("correct-horse-battery"), ..Store::new() };
    let catalog = Catalog::at(&store.catalog);
    let peer = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    replica.buy("a", "Tux").await;
    peer.receives("append", 1).await;
    for request in catalog.all_received().iter().chain(&peer.all_received()) {
        assert_eq!(request.headers["authorization"], "Bearer correct-horse-battery");
    }
    let stranger = awc::Client::default();
    let url = format!("http://{}/internal/status", replica.address);
    assert_eq!(finish(stranger.get(url).force_close().send()).await.error().0, 403);
}

#[actix_web::test]
async fn an_unknown_path_or_a_malformed_body_is_answered_with_an_error_as_json() {
    let replica = Store::new().run_order(3);
    for path in ["/", "/internal/nothing", "/internal/rows/x", "/internal/order/-1"] {
        assert_eq!(replica.get(path).await.error().0, 404, "{path}");
    }
    let zero = json!({"key": "a", "name": "Tux", "quantity": 0});
    for body in [json!(null), json!([]), json!({"key": "a"}), zero] {
        assert_eq!(replica.post("/internal/purchase", body).await.error().0, 400);
    }
    let refused = finish(replica.request("POST", "/healthz").send()).await;
    assert_eq!((refused.error().0, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[actix_web::test]
async fn a_database_that_was_tampered_with_is_set_aside_and_filled_anew() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let journal = orders(&["Tux", "Tux"]);
    replica.append(leading(1, 2), rows_from(&journal, 0)).await;
    replica.stop().await;
    store.tamper("order-3", "UPDATE log SET name = 'Uno' WHERE number = 1");
    let replica = store.run_order(3);
    replica.append(leading(1, 2), rows_from(&journal, 0)).await;
    assert_eq!(
        replica.get("/internal/order/1").await.data::<OrderReply>(),
        OrderReply::Found(journal[1].clone())
    );
    let aside = store.database("order-3").with_extension("db.aside-1");
    assert!(aside.exists(), "{} is kept", aside.display());
}
