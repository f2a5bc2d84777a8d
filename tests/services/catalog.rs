//! The catalog alone: the test plays its leader and a front-end, and a fake neighbour receives the
//! invalidations that are sent to that front-end.

use std::time::Duration;

use futures_util::join;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::catalog::core::sessions::LEASE;
use toystore::clock;
use toystore::wire::lease::{
    Fill, FillReply, FillRequest, Invalidation, Registered, Registration, Renewal, RenewalReply,
    SessionId, Version,
};
use toystore::wire::order::{OrderNumber, Position, Rows};
use toystore::wire::purchase::{CommitReply, CommitRequest, Decision, Purchase, Verdict};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, CatalogStatus, Epoch, Leadership, OrderReply, ReplicaId,
};
use toystore::wire::toy::Toy;

use crate::eventually::eventually;
use crate::neighbours::{
    CatalogRole, Fault, Neighbour, Port, Running, Store, end_of, finish, orders, purchase, sold,
};

const GRANTED_0: Verdict = granted(0);
const GRANTED_1: Verdict = granted(1);
const OUT_OF_STOCK: Verdict = Verdict::Decided(Decision::OutOfStock);
/// Well above what a purchase takes that need not wait, well below a lease.
const SOON: Duration = Duration::from_millis(500);

const fn granted(number: u64) -> Verdict {
    Verdict::Decided(Decision::Granted(OrderNumber(number)))
}

/// What a leader, a front-end and a reader ask of the catalog.
impl Running<CatalogRole> {
    pub(crate) async fn led_by(self, replica: u32) -> Self {
        let status = self.status().await;
        let acquisition = Acquisition {
            nominee: ReplicaId(replica),
            seen: status.leadership.epoch,
            log: status.journal,
        };
        let won = self.acquire(acquisition).await;
        assert!(matches!(won, AcquisitionReply::Won { .. }), "{won:?}");
        self
    }

    async fn acquire(&self, acquisition: Acquisition) -> AcquisitionReply {
        self.post("/internal/acquire", acquisition).await.data()
    }

    pub(crate) async fn status(&self) -> CatalogStatus {
        self.get("/internal/catalog-status").await.data()
    }

    async fn commit(&self, request: CommitRequest) -> CommitReply {
        self.post("/internal/commit", request).await.data()
    }

    /// Sends a batch in the name of the leader.
    async fn sell(&self, purchases: Vec<Purchase>) -> (Vec<Verdict>, Rows) {
        let CatalogStatus { leadership, journal } = self.status().await;
        let leader = leadership.leader.expect("a replica leads");
        let request = CommitRequest { leader, epoch: leadership.epoch, log: journal, purchases };
        match self.commit(request).await {
            CommitReply::Decided { verdicts, rows } => (verdicts, rows),
            CommitReply::Deposed(other) => unreachable!("deposed: {other}"),
        }
    }

    pub(crate) async fn buy(&self, key: &str, name: &str, quantity: u64) -> Verdict {
        self.sell(vec![purchase(key, name, quantity)]).await.0[0]
    }

    /// Sends a purchase again while the answer is to wait, as a leader does.
    async fn buy_when_clear(&self, key: &str, name: &str, quantity: u64) -> Verdict {
        eventually("the toy is clear", async || {
            Some(self.buy(key, name, quantity).await).filter(|verdict| *verdict != Verdict::Wait)
        })
        .await
    }

    async fn toys(&self) -> Vec<Toy> {
        self.get("/internal/toys").await.data()
    }

    async fn quantities(&self) -> Vec<u64> {
        self.toys().await.iter().map(|toy| toy.quantity).collect()
    }

    async fn register(&self, previous: Option<SessionId>) -> SessionId {
        let registration = Registration { frontend: 1, previous };
        let registered: Registered = self.post("/internal/register", registration).await.data();
        registered.session
    }

    async fn renew(&self, session: SessionId) -> RenewalReply {
        self.post("/internal/renew", Renewal { session }).await.data()
    }

    /// A front-end asks for a toy, and holds it if it may.
    async fn fill(&self, name: &str, session: Option<SessionId>) -> Fill {
        let request = FillRequest { name: name.into(), session };
        match self.post("/internal/toy", request).await.data() {
            FillReply::Found(fill) => fill,
            FillReply::Unknown => unreachable!("there is a {name}"),
        }
    }

    async fn session_that_holds(&self, name: &str) -> SessionId {
        let session = self.register(None).await;
        assert_eq!(self.fill(name, Some(session)).await.cacheable_under, Some(session));
        session
    }
}

fn frontend_at(port: &Port) -> Neighbour<'_> {
    let frontend = Neighbour::at(port);
    frontend.answer("invalidate", ());
    frontend
}

#[actix_web::test]
async fn it_starts_with_the_toys_of_the_file_in_its_order() {
    let catalog = Store::new().run_catalog();
    let toys: Value = catalog.get("/internal/toys").await.data();
    let expected = json!([
        {"name": "Tux", "price": 15.99, "quantity": 100},
        {"name": "Uno", "price": 9.99, "quantity": 100},
        {"name": "Yo-Yo", "price": 8.4, "quantity": 100},
    ]);
    assert_eq!(toys, expected);
    let start = CatalogStatus { leadership: Leadership::default(), journal: Position::START };
    assert_eq!(catalog.status().await, start);
}

#[actix_web::test]
async fn orders_are_numbered_from_0_on_and_come_back_as_rows_of_the_journal() {
    let catalog = Store::new().run_catalog().led_by(3).await;
    let batch = vec![purchase("a", "Tux", 1), purchase("b", "Uno", 1)];
    let (verdicts, rows) = catalog.sell(batch).await;
    assert_eq!(verdicts, [GRANTED_0, GRANTED_1]);
    let journal = sold(&[("Tux", "a"), ("Uno", "b"), ("Tux", "c")]);
    assert_eq!(rows, Rows { after: Position::START, orders: journal[..2].to_vec() });

    let (verdicts, rows) = catalog.sell(vec![purchase("c", "Tux", 1)]).await;
    assert_eq!(verdicts, [granted(2)]);
    assert_eq!(rows, Rows { after: end_of(&journal[..2]), orders: journal[2..].to_vec() });
    assert_eq!(catalog.quantities().await, [98, 99, 100]);
    assert_eq!(catalog.status().await.journal, end_of(&journal));
}

#[actix_web::test]
async fn a_leader_that_is_behind_gets_all_the_rows_that_it_lacks() {
    let all = sold(&[("Tux", "a"), ("Tux", "b"), ("Uno", "c")]);
    let catalog = Store::new().run_catalog().led_by(3).await;
    for key in ["a", "b"] {
        catalog.buy(key, "Tux", 1).await;
    }
    let behind = CommitRequest {
        leader: ReplicaId(3),
        epoch: Epoch(1),
        log: Position::START,
        purchases: vec![purchase("c", "Uno", 1)],
    };
    let CommitReply::Decided { rows, .. } = catalog.commit(behind).await else { unreachable!() };
    assert_eq!(rows, Rows { after: Position::START, orders: all.clone() });
    let rest: Rows = catalog.get("/internal/journal/2").await.data();
    assert_eq!(rest.orders, all[2..]);
    let nothing: Rows = catalog.get("/internal/journal/3").await.data();
    assert_eq!(nothing, Rows::none(end_of(&all)));
    let (code, message) = catalog.get("/internal/journal/4").await.error();
    assert_eq!(code, 503);
    assert!(message.contains("longer than the journal"), "{message}");
}

#[actix_web::test]
async fn an_order_is_found_or_known_not_to_exist() {
    let catalog = Store::new().run_catalog().led_by(3).await;
    catalog.buy("a", "Tux", 1).await;
    let found: OrderReply = catalog.get("/internal/order/0").await.data();
    assert_eq!(found, OrderReply::Found(sold(&[("Tux", "a")]).remove(0)));
    for number in ["1", "18446744073709551615"] {
        let unknown: OrderReply = catalog.get(&format!("/internal/order/{number}")).await.data();
        assert_eq!(unknown, OrderReply::Unknown);
    }
}

#[actix_web::test]
async fn a_key_that_comes_again_gets_its_first_answer_also_after_a_restart() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    assert_eq!(catalog.buy("b", "Tux", 100).await, OUT_OF_STOCK);
    assert_eq!(catalog.buy("c", "Tux", 1).await, GRANTED_1);
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    catalog.stop().await;

    let catalog = store.run_catalog();
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    assert_eq!(catalog.buy("b", "Tux", 100).await, OUT_OF_STOCK);
    assert_eq!(catalog.quantities().await, [98, 100, 100]);
}

#[actix_web::test]
async fn a_key_that_comes_with_another_purchase_is_refused() {
    let catalog = Store::new().run_catalog().led_by(3).await;
    catalog.buy("sold", "Tux", 1).await;
    catalog.buy("refused", "Tux", 1_000).await;
    let reused = Verdict::Decided(Decision::KeyReused);
    for (key, name, quantity) in
        [("sold", "Tux", 2), ("sold", "Uno", 1), ("refused", "Tux", 1), ("refused", "Uno", 1_000)]
    {
        assert_eq!(catalog.buy(key, name, quantity).await, reused, "{key} {name} {quantity}");
    }
    let batch = vec![purchase("new", "Tux", 1), purchase("new", "Uno", 1)];
    assert_eq!(catalog.sell(batch).await.0, [GRANTED_1, reused]);
}

#[actix_web::test]
async fn a_toy_that_is_not_sold_here_is_refused_and_may_come_later() {
    let mut store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    let unknown = Verdict::Decided(Decision::UnknownToy);
    assert_eq!(catalog.buy("a", "LEGO", 1).await, unknown);
    let request = FillRequest { name: "LEGO".into(), session: None };
    let reply: FillReply = catalog.post("/internal/toy", request).await.data();
    assert_eq!(reply, FillReply::Unknown);
    catalog.stop().await;

    store.toys.push(("LEGO", "39.99"));
    assert_eq!(store.run_catalog().buy("a", "LEGO", 1).await, GRANTED_0);
}

#[actix_web::test]
async fn a_purchase_that_was_refused_stays_refused_after_a_restock() {
    let store = Store { initial_stock: 2, restock_interval_ms: 100, ..Store::new() };
    let catalog = store.run_catalog().led_by(3).await;
    assert_eq!(catalog.buy("first", "Tux", 1).await, GRANTED_0);
    assert_eq!(catalog.buy("late", "Tux", 2).await, OUT_OF_STOCK);
    assert_eq!(catalog.buy("second", "Tux", 1).await, GRANTED_1);
    eventually("a restock", async || catalog.quantities().await == [2, 2, 2]).await;
    assert_eq!(catalog.buy("late", "Tux", 2).await, OUT_OF_STOCK);
    assert_eq!(catalog.buy("new", "Tux", 2).await, granted(2));
}

#[actix_web::test]
async fn only_what_is_sold_out_is_restocked() {
    let store = Store { initial_stock: 5, restock_interval_ms: 100, ..Store::new() };
    let catalog = store.run_catalog().led_by(3).await;
    for (key, name, quantity) in [("a", "Tux", 4), ("b", "Uno", 5), ("c", "Yo-Yo", 1)] {
        catalog.buy(key, name, quantity).await;
    }
    for round in 0..3 {
        eventually("a restock of Uno", async || catalog.quantities().await == [1, 5, 4]).await;
        catalog.buy(&format!("again-{round}"), "Uno", 5).await;
    }
}

#[actix_web::test]
async fn a_leader_of_an_earlier_epoch_is_deposed_and_sells_nothing() {
    let catalog = Store::new().run_catalog().led_by(3).await.led_by(2).await;
    let now = Leadership { epoch: Epoch(2), leader: Some(ReplicaId(2)) };
    for (leader, epoch) in [(3, 1), (3, 2), (2, 1), (2, 3)] {
        let request = CommitRequest {
            leader: ReplicaId(leader),
            epoch: Epoch(epoch),
            log: Position::START,
            purchases: vec![purchase("a", "Tux", 1)],
        };
        assert_eq!(catalog.commit(request).await, CommitReply::Deposed(now), "{leader} {epoch}");
    }
    assert_eq!(catalog.quantities().await, [100, 100, 100]);
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
}

#[actix_web::test]
async fn of_two_nominees_that_end_the_same_epoch_one_wins_and_the_other_hears_who() {
    let catalog = Store::new().run_catalog();
    let ask = |id| Acquisition { nominee: ReplicaId(id), seen: Epoch(0), log: Position::START };
    let (two, three) = join!(catalog.acquire(ask(2)), catalog.acquire(ask(3)));
    let leadership = catalog.status().await.leadership;
    assert_eq!(leadership.epoch, Epoch(1));
    let won = AcquisitionReply::Won { leadership, journal: Position::START };
    let lost = AcquisitionReply::Lost(CatalogStatus { leadership, journal: Position::START });
    match leadership.leader {
        Some(ReplicaId(2)) => assert_eq!((two, three), (won, lost)),
        Some(ReplicaId(3)) => assert_eq!((two, three), (lost, won)),
        other => unreachable!("{other:?} leads"),
    }
}

#[actix_web::test]
async fn a_nominee_whose_log_is_not_of_this_cluster_cannot_lead() {
    let catalog = Store::new().run_catalog().led_by(3).await;
    catalog.buy("a", "Tux", 1).await;
    let journal = end_of(&sold(&[("Tux", "a")]));
    for foreign in [end_of(&orders(&["Uno"])), end_of(&orders(&["Tux", "Tux"]))] {
        let ask = Acquisition { nominee: ReplicaId(2), seen: Epoch(1), log: foreign };
        assert_eq!(catalog.acquire(ask).await, AcquisitionReply::Foreign { journal });
    }
    assert_eq!(catalog.status().await.leadership.leader, Some(ReplicaId(3)));
}

#[actix_web::test]
async fn stock_journal_and_leadership_survive_a_restart() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await.led_by(1).await;
    catalog.buy("a", "Tux", 60).await;
    catalog.buy("b", "Uno", 1).await;
    let (status, toys) = (catalog.status().await, catalog.toys().await);
    assert_eq!(status.journal.length, 2);
    catalog.stop().await;

    let catalog = store.run_catalog();
    assert_eq!(catalog.status().await, status);
    assert_eq!(catalog.toys().await, toys);
    assert_eq!(catalog.buy("c", "Tux", 41).await, OUT_OF_STOCK);
    assert_eq!(catalog.buy("d", "Tux", 40).await, granted(2));
}

#[actix_web::test]
async fn toys_that_leave_the_file_come_back_with_the_stock_that_they_had() {
    let mut store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    catalog.buy("a", "Tux", 30).await;
    catalog.stop().await;

    store.toys = vec![("LEGO", "39.99"), ("Uno", "9.99")];
    let catalog = store.run_catalog();
    let names: Vec<String> = catalog.toys().await.iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["LEGO", "Uno"]);
    assert_eq!(catalog.buy("a", "Tux", 30).await, GRANTED_0);
    assert_eq!(catalog.buy("b", "Tux", 1).await, Verdict::Decided(Decision::UnknownToy));
    catalog.stop().await;

    store.toys.push(("Tux", "15.99"));
    assert_eq!(store.run_catalog().quantities().await, [100, 100, 70]);
}

#[actix_web::test]
async fn a_price_that_changes_in_the_file_changes_here_and_the_stock_stays() {
    let mut store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    catalog.buy("a", "Tux", 1).await;
    catalog.stop().await;

    store.toys[0] = ("Tux", "12.5");
    store.initial_stock = 7;
    let toys: Value = store.run_catalog().get("/internal/toys").await.data();
    assert_eq!(toys[0], json!({"name": "Tux", "price": 12.5, "quantity": 99}));
}

#[actix_web::test]
async fn a_holder_is_sent_an_invalidation_before_the_purchase_is_answered() {
    let store = Store::new();
    let frontend = frontend_at(&store.frontends[0]);
    let catalog = store.run_catalog().led_by(3).await;
    let session = catalog.session_that_holds("Tux").await;
    frontend.fail_next("invalidate", Fault::Delayed(Duration::from_millis(5)));
    assert_eq!(catalog.buy_when_clear("a", "Tux", 1).await, GRANTED_0);

    let sent = frontend.received("invalidate");
    assert_eq!(sent.len(), 1);
    let toys = vec![("Tux".into(), Version(1))];
    assert_eq!(sent[0].read::<Invalidation>(), Invalidation { session, toys, origins: Vec::new() });
    // It holds nothing any more, and no further invalidation is sent.
    assert_eq!(catalog.buy("b", "Tux", 1).await, GRANTED_1);
    assert_eq!(frontend.received("invalidate").len(), 1);
}

#[actix_web::test]
async fn a_restock_is_sent_to_holders_too() {
    let store = Store { initial_stock: 1, restock_interval_ms: 100, ..Store::new() };
    let frontend = frontend_at(&store.frontends[0]);
    let catalog = store.run_catalog().led_by(3).await;
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    let session = catalog.register(None).await;
    let held = catalog.fill("Tux", Some(session)).await;
    eventually("a restock", async || catalog.quantities().await[0] == 1).await;
    // If it came before the fill, or was under way then, there was nothing to invalidate.
    let sent = frontend.received("invalidate").len();
    let is_holder = held.toy.quantity == 0 && held.cacheable_under.is_some();
    assert_eq!(sent, usize::from(is_holder));
}

#[actix_web::test]
async fn a_refusal_drops_nothing() {
    let store = Store::new();
    let frontend = frontend_at(&store.frontends[0]);
    let catalog = store.run_catalog().led_by(3).await;
    catalog.session_that_holds("Tux").await;
    assert_eq!(catalog.buy("a", "Tux", 101).await, OUT_OF_STOCK);
    assert_eq!(catalog.buy("b", "Uno", 1).await, GRANTED_0);
    assert!(frontend.received("invalidate").is_empty());
}

#[actix_web::test]
async fn until_its_holder_has_dropped_it_a_toy_is_not_sold_and_its_old_quantity_not_cacheable() {
    let store = Store::new();
    let frontend = frontend_at(&store.frontends[0]);
    let catalog = store.run_catalog().led_by(3).await;
    let session = catalog.session_that_holds("Tux").await;
    let release = CancellationToken::new();
    frontend.fail_next("invalidate", Fault::Held(release.clone()));

    // The toys of the same batch that no front-end holds are sold at once.
    let batch = vec![purchase("a", "Tux", 1), purchase("b", "Uno", 1)];
    assert_eq!(catalog.sell(batch).await.0, [Verdict::Wait, GRANTED_0]);
    let fill = catalog.fill("Tux", Some(session)).await;
    assert_eq!((fill.toy.quantity, fill.version, fill.cacheable_under), (100, Version(0), None));

    release.cancel();
    assert_eq!(catalog.buy_when_clear("a", "Tux", 1).await, GRANTED_1);
    let fill = catalog.fill("Tux", Some(session)).await;
    assert_eq!((fill.toy.quantity, fill.version), (99, Version(1)));
    assert_eq!(fill.cacheable_under, Some(session));
}

#[actix_web::test]
async fn a_holder_that_does_not_answer_delays_its_toy_by_a_lease_and_other_toys_not_at_all() {
    let store = Store::new();
    let frontend = Neighbour::at(&store.frontends[0]);
    frontend.hang();
    let catalog = store.run_catalog().led_by(3).await;
    let asked = clock::now();
    let session = catalog.session_that_holds("Tux").await;
    assert_eq!(catalog.buy("a", "Tux", 1).await, Verdict::Wait);
    assert!(asked.elapsed() < LEASE, "a purchase that has to wait is answered so at once");
    let before = clock::now();
    assert_eq!(catalog.buy("b", "Uno", 1).await, GRANTED_0);
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());

    assert_eq!(catalog.buy_when_clear("a", "Tux", 1).await, GRANTED_1);
    let waited = asked.elapsed();
    assert!((LEASE..LEASE * 2).contains(&waited), "{waited:?}");
    assert_eq!(catalog.renew(session).await, RenewalReply::Expired);
}

#[actix_web::test]
async fn a_session_that_does_not_acknowledge_is_not_renewed_for_ever() {
    let store = Store::new();
    // It reaches the catalog and cannot be reached: nothing listens on its port.
    let catalog = store.run_catalog().led_by(3).await;
    let session = catalog.session_that_holds("Tux").await;
    let asked = clock::now();
    assert_eq!(catalog.buy("a", "Tux", 1).await, Verdict::Wait);
    eventually("the session is not renewed", async || {
        catalog.renew(session).await == RenewalReply::Expired
    })
    .await;
    let next = catalog.register(Some(session)).await;
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    assert!(asked.elapsed() < LEASE * 2, "{:?}", asked.elapsed());
    assert!(matches!(catalog.renew(next).await, RenewalReply::Renewed { .. }));
}

#[actix_web::test]
async fn a_session_that_has_expired_is_answered_so_and_holds_nothing() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    let registered = clock::now();
    let session = catalog.session_that_holds("Tux").await;
    eventually("the session ends", async || {
        catalog.fill("Uno", Some(session)).await.cacheable_under.is_none()
    })
    .await;
    assert!(registered.elapsed() >= LEASE);
    assert_eq!(catalog.renew(session).await, RenewalReply::Expired);
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    let never_begun = SessionId { boot: 77, serial: 0 };
    assert_eq!(catalog.renew(never_begun).await, RenewalReply::Expired);
}

#[actix_web::test]
async fn after_a_restart_nothing_is_sold_until_the_earlier_session_has_registered_anew() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    let session = catalog.session_that_holds("Tux").await;
    catalog.stop().await;

    let catalog = store.run_catalog();
    let started = clock::now();
    for (key, name) in [("a", "Tux"), ("b", "Uno")] {
        assert_eq!(catalog.buy(key, name, 1).await, Verdict::Wait);
    }
    assert_eq!(catalog.renew(session).await, RenewalReply::Expired);
    let next = catalog.register(Some(session)).await;
    assert_ne!(next, session);
    assert_eq!(catalog.buy("a", "Tux", 1).await, GRANTED_0);
    assert!(started.elapsed() < LEASE, "that was a lease, not the registration");
}

#[actix_web::test]
async fn after_a_restart_nothing_is_sold_until_the_earlier_sessions_must_have_run_out() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    catalog.session_that_holds("Tux").await;
    catalog.stop().await;

    let started = clock::now();
    let catalog = store.run_catalog();
    assert_eq!(catalog.buy_when_clear("a", "Tux", 1).await, GRANTED_0);
    assert!((LEASE..LEASE * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[actix_web::test]
async fn with_a_secret_callers_without_it_are_refused() {
    let store = Store { secret: Some("correct-horse-battery"), ..Store::new() };
    let catalog = store.run_catalog();
    assert_eq!(catalog.get("/internal/catalog-status").await.status, 200);
    for (header, value) in [
        ("x-nothing", ""),
        ("authorization", ""),
        ("authorization", "correct-horse-battery"),
        ("authorization", "Bearer correct-horse-batterz"),
        ("authorization", "Bearer correct-horse-battery2"),
    ] {
        for path in ["/internal/catalog-status", "/internal/toys", "/internal/no-such-path"] {
            let url = format!("http://{}{path}", catalog.address);
            let request = awc::Client::default().get(url).insert_header((header, value));
            assert_eq!(finish(request.force_close().send()).await.error().0, 403, "{value}");
        }
    }
    let open = awc::Client::default().get(format!("http://{}/healthz", catalog.address));
    assert_eq!(finish(open.send()).await.status, 200);
}

#[actix_web::test]
async fn it_says_that_it_is_alive_and_ready() {
    let catalog = Store::new().run_catalog();
    for path in ["/healthz", "/readyz"] {
        let health: Value = catalog.get(path).await.data();
        let mut expected = json!({"role": "catalog", "pid": std::process::id()});
        if path == "/readyz" {
            expected["database"] = json!({"engine": "sqlite"});
        }
        assert_eq!(health, expected);
        let head = finish(catalog.request("HEAD", path).send()).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        let refused = finish(catalog.request("DELETE", path).send()).await;
        assert_eq!(refused.error().0, 405);
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
}

#[actix_web::test]
async fn an_unknown_path_or_a_malformed_body_is_answered_with_an_error_as_json() {
    let catalog = Store::new().run_catalog();
    for path in ["/", "/nothing", "/internal", "/internal/nothing", "/internal/commit/7"] {
        assert_eq!(catalog.get(path).await.error().0, 404, "{path}");
    }
    for (method, path) in [("GET", "/internal/commit"), ("DELETE", "/internal/toys")] {
        let (code, _) = finish(catalog.request(method, path).send()).await.error();
        assert!([404, 405].contains(&code), "{method} {path}: {code}");
    }
    for path in ["/internal/journal/x", "/internal/order/-1", "/internal/order/1e3"] {
        let (code, _) = catalog.get(path).await.error();
        assert!([400, 404].contains(&code), "{path}: {code}");
    }
    for body in [json!(null), json!({}), json!({"leader": 3, "epoch": 1, "purchases": []})] {
        assert_eq!(catalog.post("/internal/commit", body).await.error().0, 400);
    }
}

#[actix_web::test]
async fn a_database_that_was_tampered_with_is_refused_with_the_reason() {
    for (sql, reason) in [
        ("UPDATE log SET quantity = 2 WHERE number = 1", "order 1 does not match its hash"),
        ("UPDATE log SET name = 'Uno' WHERE number = 0", "order 0 does not match its hash"),
        ("DELETE FROM log WHERE number = 0", "order 0 is missing"),
        ("INSERT INTO log VALUES (3, 'Tux', 1, zeroblob(16), NULL)", "order 2 is missing"),
        ("UPDATE stock SET sold = 7, quantity = 93 WHERE name = 'Tux'", "add up to 2"),
        ("UPDATE stock SET sold = 1, quantity = 99 WHERE name = 'Uno'", "add up to 0"),
    ] {
        let store = Store::new();
        let catalog = store.run_catalog().led_by(3).await;
        catalog.sell(vec![purchase("a", "Tux", 1), purchase("b", "Tux", 1)]).await;
        catalog.stop().await;
        store.tamper("catalog", sql);
        let error = store.run_catalog().ended().await.expect_err(sql).to_string();
        assert!(error.contains(reason), "{sql}: {error}");
        assert!(error.contains("catalog.db"), "{error}");
    }
}

#[actix_web::test]
async fn a_file_that_is_no_database_is_refused() {
    let store = Store::new();
    store.roles();
    std::fs::write(store.database("catalog"), "toys ".repeat(1_000)).expect("it is written");
    let error = store.run_catalog().ended().await.expect_err("it is no database").to_string();
    assert!(error.contains("is damaged"), "{error}");
}
