//! An order replica, played alone: the test is its front-end, and neighbours are the catalog and
//! the other replicas. It is replica 3 always; the doors of 1 and 2 are closed unless a test says
//! otherwise.

#[path = "order/cast.rs"]
mod cast;
mod neighbours;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt;
use cast::{Catalog, Ledger, Peer, page};
use futures_util::future::join_all;
use neighbours::{
    Answer, Fate, Heard, Reply, Running, Store, end_of, eventually, finish, orders, purchase,
    rows_from,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::clock;
use toystore::order::core::followers::ACKNOWLEDGEMENT_TIMEOUT;
use toystore::wire::order::{Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, PurchaseReply, Verdict};
use toystore::wire::replication::{
    Acquisition, AppendReply, AppendRequest, Epoch, Fitness, Leadership, Nomination,
    NominationReply, OrderReply, ReplicaId, ReplicaState, ReplicaStatus,
};

const OUT_OF_STOCK: PurchaseReply = PurchaseReply::Decided(Decision::OutOfStock);

const fn granted(number: u64) -> PurchaseReply {
    PurchaseReply::Decided(Decision::Granted(OrderNumber(number)))
}

const fn leading(epoch: u64, replica: u32) -> Leadership {
    Leadership { epoch: Epoch(epoch), leader: Some(ReplicaId(replica)) }
}

/// What front-ends and other replicas ask of a replica.
impl Running {
    async fn nominate(&self, seen: u64) -> NominationReply {
        self.post("/internal/nominate", Nomination { seen: Epoch(seen) }).await.data()
    }

    /// Nominates it once it has caught up.
    async fn nominated(self) -> Self {
        eventually("it follows", async || {
            (self.status().await.state == ReplicaState::Follower).then_some(())
        })
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

    async fn has(&self, log: &[Order]) {
        eventually("it has all the orders", async || {
            (self.status().await.log == end_of(log)).then_some(())
        })
        .await;
    }

    async fn append(&self, leadership: Leadership, rows: Rows) -> AppendReply {
        let leader_length = rows.end_length();
        let request = AppendRequest { leadership, rows, leader_length, request_ids: Vec::new() };
        self.post("/internal/append", request).await.data()
    }

    async fn order(&self, number: u64) -> Answer {
        self.get(&format!("/internal/order/{number}")).await
    }
}

/// Well beyond the patience on a busy machine, and well within the time that a message to a
/// follower may take: whoever waits for that waits too long.
const LONG: std::time::Duration = std::time::Duration::from_millis(1_500);

#[actix_web::test]
async fn a_nominee_acquires_leadership_and_then_sells() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let nobody = PurchaseReply::NotLeader(Leadership::default());
    assert_eq!(replica.buy("a", "Tux").await, nobody);
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)), "it leads already");
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(replica.buy("b", "Sold out").await, OUT_OF_STOCK);
    assert_eq!(replica.buy("c", "Uno").await, granted(1));

    let asked: Vec<Acquisition> = catalog.heard("acquire").iter().map(Heard::read).collect();
    let acquisition = Acquisition { nominee: ReplicaId(3), seen: Epoch(0), log: Position::START };
    assert_eq!(asked, [acquisition]);
    let status = replica.status().await;
    assert_eq!((status.state, status.fitness), (ReplicaState::Leader, Fitness::Ready));
    assert_eq!(status.log, end_of(&catalog.ledger().journal));
}

#[actix_web::test]
async fn a_nominee_that_loses_tells_who_leads() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    catalog.ledger().leadership = leading(4, 2);
    let replica = store.run_order(3);
    assert_eq!(replica.nominate(3).await, NominationReply::Lost(leading(4, 2)));
    assert_eq!(replica.buy("a", "Tux").await, PurchaseReply::NotLeader(leading(4, 2)));
}

#[actix_web::test]
async fn a_nominee_that_did_not_hear_of_its_victory_takes_office_when_asked_again() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    catalog.next("acquire", Fate::Lost);
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
    *catalog.ledger() = Ledger { journal: journal.clone(), ..Ledger::default() };
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
    replica.has(&journal).await;
    assert!(store.database("order-3").with_extension("db.aside-1").exists());
}

#[actix_web::test]
async fn a_nominee_sells_only_when_it_has_all_that_was_sold_before() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let sold = orders(&["Tux", "Uno", "Tux", "Uno", "Tux"]);
    let gate = CancellationToken::new();
    catalog.ledger().journal.clone_from(&sold);
    // The journal's rows do not come before the replica has a purchase, however often it asks.
    for _ in 0..4 {
        catalog.next("journal", Fate::Held(gate.clone()));
    }
    let replica = store.run_order(3);
    assert_eq!(replica.nominate(0).await, NominationReply::Won(leading(1, 3)));
    let buying = rt::spawn(replica.buy("a", "Yo-Yo"));
    catalog.hears("journal", 1).await;
    assert!(catalog.heard("commit").is_empty());
    gate.cancel();
    assert_eq!(buying.await.expect("no panic"), granted(5));
    let first: CommitRequest = catalog.heard("commit")[0].read();
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
    eventually("it hears who leads", async || {
        (replica.status().await.leadership == leading(1, 3)).then_some(())
    })
    .await;
    assert_eq!(replica.buy("b", "Tux").await, PurchaseReply::NotLeader(leading(1, 3)));
    assert_eq!(replica.nominate(1).await, NominationReply::Won(leading(2, 3)));
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.ledger().journal.len(), 2);
}

#[actix_web::test]
async fn a_purchase_is_answered_only_when_a_live_follower_has_it() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let followers = [Peer::at(&store.orders[0]), Peer::at(&store.orders[1])];
    let replica = store.run_order(3).nominated().await;
    join_all(followers.iter().map(Peer::is_live)).await;

    let (gate, before) = (CancellationToken::new(), followers[0].heard("append").len());
    // Whichever message has the row, and whatever sign of life comes before it, waits.
    for _ in 0..3 {
        followers[0].next("append", Fate::Held(gate.clone()));
    }
    let buying = rt::spawn(replica.buy("a", "Tux"));
    let bought_at = clock::now();
    replica.has(&orders(&["Tux"])).await;
    followers[0].hears("append", before + 1).await;
    eventually("the other follower has it", async || (followers[1].log().len() == 1).then_some(()))
        .await;
    // A machine that was too busy to come here in time proves nothing.
    let in_time = bought_at.elapsed() < ACKNOWLEDGEMENT_TIMEOUT / 2;
    assert!(!in_time || !buying.is_finished(), "answered without the first follower");
    gate.cancel();
    assert_eq!(buying.await.expect("no panic"), granted(0));
    assert!(!in_time || followers[0].log().len() == 1);
}

#[actix_web::test]
async fn a_follower_that_hangs_holds_up_a_purchase_no_longer_than_the_patience_and_then_none() {
    let store = Store::new();
    let _catalog = Catalog::at(&store.catalog);
    let follower = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    follower.is_live().await;
    follower.ignores("append");
    let asked = clock::now();
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert!(asked.elapsed() < LONG, "{:?}", asked.elapsed());
    // If purchases went on waiting for it, none of these would be quicker than the patience; a
    // machine that is busy slows some of them, not all.
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
    follower.is_live().await;
    follower.ignores("append");
    let heard = follower.heard("append").len();
    follower.hears("append", heard + 1).await;
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
    follower.is_live().await;
    follower.dies().await;
    for key in ["a", "b", "c"] {
        let asked = clock::now();
        replica.buy(key, "Tux").await;
        assert!(asked.elapsed() < LONG, "{:?}", asked.elapsed());
    }
    follower.lives();
    eventually("the follower has everything", async || {
        (follower.log() == catalog.ledger().journal).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn purchases_that_arrive_while_a_batch_is_at_the_catalog_come_together_in_the_next() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.next("commit", Fate::Delayed(Duration::from_millis(300)));
    let first = rt::spawn(replica.buy("first", "Tux"));
    catalog.hears("commit", 1).await;
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
    catalog.next("commit", Fate::Delayed(Duration::from_millis(300)));
    let first = rt::spawn(replica.buy("a", "Tux"));
    catalog.hears("commit", 1).await;
    let second = rt::spawn(replica.buy("a", "Tux"));
    let reused = PurchaseReply::Decided(Decision::KeyReused);
    assert_eq!(replica.buy("a", "Uno").await, reused, "with another purchase");
    assert_eq!(first.await.expect("no panic"), granted(0));
    assert_eq!(second.await.expect("no panic"), granted(0));
    // Once; or again, if the machine was too busy to bring the answer within the time limit.
    let batches = catalog.batches();
    assert!(batches.iter().all(|batch| *batch == ["a"]), "{batches:?}");
    assert_eq!(catalog.ledger().journal, orders(&["Tux"]));
}

#[actix_web::test]
async fn a_batch_whose_answer_is_lost_is_asked_again_with_the_same_keys() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.next("commit", Fate::Lost);
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.batches(), [["a"], ["a"]]);
    assert_eq!(catalog.ledger().journal, orders(&["Tux"]));
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
}

#[actix_web::test]
async fn a_purchase_that_is_to_wait_is_asked_again_until_it_is_decided() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    let locked = Arc::new(Mutex::new(5));
    let locks = Arc::clone(&locked);
    catalog.plays("commit", move |ledger, heard| {
        let request: CommitRequest = heard.read();
        let mut locked = locks.lock().expect("no test panics in it");
        if *locked == 0 {
            return Reply::data(ledger.commit(&request));
        }
        *locked -= 1;
        let verdicts = request.purchases.iter().map(|_| Verdict::Wait).collect();
        let rows = page(&ledger.journal, request.log.length);
        Reply::data(CommitReply::Decided { verdicts, rows })
    });
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
    assert_eq!(catalog.batches(), vec![["a"]; 6]);
}

#[actix_web::test]
async fn whoever_waits_for_a_leader_that_the_catalog_deposes_is_sent_to_the_next() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.says("commit", CommitReply::Deposed(leading(2, 2)));
    let gate = CancellationToken::new();
    catalog.next("commit", Fate::Held(gate.clone()));
    let at_catalog = rt::spawn(replica.buy("a", "Tux"));
    catalog.hears("commit", 1).await;
    let gathering = rt::spawn(replica.buy("b", "Tux"));
    gate.cancel();
    for reply in [at_catalog, gathering] {
        assert_eq!(reply.await.expect("no panic"), PurchaseReply::NotLeader(leading(2, 2)));
    }
    assert_eq!(catalog.heard("commit").len(), 1);
}

#[actix_web::test]
async fn whoever_waits_for_a_leader_that_hears_of_a_newer_one_is_sent_there_at_once() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.ignores("commit");
    let waiting = rt::spawn(replica.buy("a", "Tux"));
    catalog.hears("commit", 1).await;
    let told = replica.post("/internal/leader", leading(2, 1)).await;
    assert_eq!(told.status, 200);
    assert_eq!(waiting.await.expect("no panic"), PurchaseReply::NotLeader(leading(2, 1)));
    // Old news changes nothing.
    replica.post("/internal/leader", leading(1, 3)).await;
    assert_eq!(replica.status().await.leadership, leading(2, 1));
}

#[actix_web::test]
async fn a_leader_that_leads_anew_before_it_heard_that_it_was_deposed_sells_on() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    let gate = CancellationToken::new();
    catalog.next("commit", Fate::Held(gate.clone()));
    let waiting = rt::spawn(replica.buy("a", "Tux"));
    catalog.hears("commit", 1).await;
    // Another one led meanwhile and is gone, and nobody has told this one.
    catalog.ignores("catalog-status");
    catalog.ledger().leadership = leading(2, 2);
    assert_eq!(replica.nominate(2).await, NominationReply::Won(leading(3, 3)));
    // The answer to the earlier epoch's batch comes now. Who waits for it is to ask again.
    gate.cancel();
    assert_eq!(replica.buy("b", "Tux").await, granted(1));
    assert_eq!(waiting.await.expect("no panic"), PurchaseReply::NotLeader(leading(3, 3)));
    assert_eq!(replica.buy("a", "Tux").await, granted(0));
}

#[actix_web::test]
async fn a_late_word_that_it_was_deposed_does_not_end_a_later_office() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.plays("commit", |ledger, heard| {
        let request: CommitRequest = heard.read();
        Reply::data(match request.epoch {
            Epoch(1) => CommitReply::Deposed(leading(2, 2)),
            Epoch(_) => ledger.commit(&request),
        })
    });
    let gate = CancellationToken::new();
    catalog.next("commit", Fate::Held(gate.clone()));
    let waiting = rt::spawn(replica.buy("a", "Tux"));
    catalog.hears("commit", 1).await;
    catalog.ignores("catalog-status");
    catalog.ledger().leadership = leading(2, 2);
    assert_eq!(replica.nominate(2).await, NominationReply::Won(leading(3, 3)));
    gate.cancel();
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
    let _catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3);
    let log = orders(&["Tux"]);
    assert_eq!(replica.append(leading(2, 1), Rows::none(Position::START)).await, {
        AppendReply::Synced { length: 0 }
    });
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
    peer.has(sold[..4].to_vec());
    catalog.ledger().journal.clone_from(&sold);
    let replica = store.run_order(3);
    replica.has(&sold).await;
    assert_eq!(peer.heard("rows")[0].number(), 0);
    assert_eq!(catalog.heard("journal")[0].number(), 4);
    eventually("it follows", async || {
        (replica.status().await.state == ReplicaState::Follower).then_some(())
    })
    .await;
    replica.stop().await;

    // After a crash it asks from where its own database ends.
    let longer = orders(&["Tux", "Uno", "Tux", "Uno", "Tux", "Yo-Yo"]);
    peer.has(longer.clone());
    catalog.ledger().journal.clone_from(&longer);
    let before = peer.heard("rows").len();
    store.run_order(3).has(&longer).await;
    assert_eq!(peer.heard("rows")[before].number(), 5);
}

#[actix_web::test]
async fn a_replica_that_missed_very_much_fetches_it_in_pages() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let sold = orders(&vec!["Tux"; 2_300]);
    catalog.ledger().journal.clone_from(&sold);
    let replica = store.run_order(3);
    replica.has(&sold).await;
    let asked: Vec<u64> = catalog.heard("journal").iter().map(Heard::number).collect();
    assert_eq!(asked[..3], [0, 1_000, 2_000]);
}

#[actix_web::test]
async fn a_peer_that_hangs_does_not_keep_a_replica_from_catching_up() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let peer = Peer::at(&store.orders[0]);
    peer.hangs();
    catalog.ledger().journal = orders(&["Tux"]);
    store.run_order(3).has(&orders(&["Tux"])).await;
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
async fn an_order_that_is_here_is_told_without_the_catalog() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    replica.buy("a", "Tux").await;
    catalog.dies().await;
    let found: OrderReply = replica.order(0).await.data();
    assert_eq!(found, OrderReply::Found(orders(&["Tux"]).remove(0)));
    // Of one that is not here, nobody knows now: that is not "there is no such order".
    assert_eq!(replica.order(1).await.error().0, 503);
}

#[actix_web::test]
async fn an_order_that_is_not_here_is_asked_for_at_the_catalog() {
    let store = Store::new();
    let catalog = Catalog::at(&store.catalog);
    let replica = store.run_order(3).nominated().await;
    catalog.ledger().journal = orders(&["Tux"]);
    let found: OrderReply = replica.order(0).await.data();
    assert_eq!(found, OrderReply::Found(orders(&["Tux"]).remove(0)));
    let unknown: OrderReply = replica.order(1).await.data();
    assert_eq!(unknown, OrderReply::Unknown);
    catalog.hangs();
    assert_eq!(replica.order(1).await.error().0, 503);
}

#[actix_web::test]
async fn rows_survive_a_restart_with_nobody_to_ask() {
    let store = Store::new();
    let replica = store.run_order(3);
    let log = orders(&["Tux", "Uno"]);
    let synced = AppendReply::Synced { length: 2 };
    assert_eq!(replica.append(leading(1, 2), rows_from(&log, 0)).await, synced);
    replica.stop().await;

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
    catalog.hangs();
    eventually("it knows", async || {
        (replica.status().await.fitness == Fitness::Unfit).then_some(())
    })
    .await;
    assert_eq!(replica.get("/readyz").await.error().0, 503);
    let health: Value = replica.get("/healthz").await.data();
    assert_eq!(health, json!({"role": "order-3", "pid": std::process::id()}));
    let reply = replica.nominate(0).await;
    assert!(matches!(reply, NominationReply::Unable(_)), "{reply:?}");
}

#[actix_web::test]
async fn the_secret_is_asked_of_callers_and_shown_to_neighbours() {
    let store = Store { secret: Some("correct-horse-battery"), ..Store::new() };
    let catalog = Catalog::at(&store.catalog);
    let peer = Peer::at(&store.orders[1]);
    let replica = store.run_order(3).nominated().await;
    replica.buy("a", "Tux").await;
    peer.hears("append", 1).await;
    for heard in catalog.heard_at_all().iter().chain(&peer.heard_at_all()) {
        assert_eq!(heard.headers["authorization"], "Bearer correct-horse-battery");
    }
    let stranger = awc::Client::default();
    let url = format!("http://{}/internal/status", replica.address);
    assert_eq!(finish(stranger.get(url).force_close().send()).await.error().0, 403);
}

#[actix_web::test]
async fn what_it_does_not_understand_is_answered_with_an_error_as_everything_is() {
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
