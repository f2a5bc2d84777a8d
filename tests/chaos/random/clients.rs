//! Clients whose every choice is drawn from a seed, and which record all that they see.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::task::JoinHandle;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::record::Tally;
use super::schedule::Size;
use crate::clients::{answer_of, order_of};
use crate::eventually::eventually;
use crate::histories::ledger::Seen;
use crate::histories::{Answer, History, Purchase};
use crate::processes::{TOYS, buy, get, now};

/// What the clients of a run share.
pub(super) struct Results {
    pub(super) history: RefCell<History>,
    pub(super) tally: RefCell<Tally>,
    /// The leader, according to the front-end that was asked last.
    pub(super) leader: Cell<u64>,
    /// The same of the catalog that rules, if there are several.
    pub(super) ruler: Cell<u64>,
    /// The leader of each epoch, according to any front-end at any time.
    leaders: RefCell<BTreeMap<u64, u64>>,
    /// How many selections there were before the catalog's disk was lost.
    selections_before: Cell<u64>,
    /// How many queries each front-end answered from its cache, according to its last answer, and
    /// before it was restarted.
    hits: RefCell<BTreeMap<String, (u64, u64)>>,
    /// A front-end that there is for a while.
    pub(super) second_frontend: RefCell<Option<String>>,
    /// A front-end whose catalog is another one than the replicas'. Its toys are that catalog's.
    pub(super) apart: RefCell<Option<String>>,
    /// Whether the catalog may forget in this round that it refused a purchase.
    pub(super) forgets_refusals: Cell<bool>,
    initial_stock: u64,
}

/// The clients of one round.
pub(super) struct Clients {
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

/// One of them.
struct Client {
    name: String,
    random: ChaCha8Rng,
    frontends: Vec<String>,
    results: Rc<Results>,
    stop: Rc<Cell<bool>>,
    /// Where in the history its purchases are.
    bought: Vec<usize>,
}

/// The status and the body of an answer, or why there is none.
type Said = Result<(u16, Value), String>;

impl Results {
    pub(super) fn new(initial_stock: u64) -> Self {
        Self {
            history: RefCell::default(),
            tally: RefCell::default(),
            leader: Cell::new(3),
            ruler: Cell::new(1),
            leaders: RefCell::default(),
            selections_before: Cell::default(),
            hits: RefCell::default(),
            second_frontend: RefCell::default(),
            apart: RefCell::default(),
            forgets_refusals: Cell::default(),
            initial_stock,
        }
    }

    /// How many selections there were, according to the front-ends.
    pub(super) fn selections(&self) -> u64 {
        self.selections_before.get() + epochs(&self.leaders.borrow())
    }

    /// Notes that the catalog starts with a journal of so many orders, after its disk was lost.
    pub(super) fn resumes_journal(&self, time: Instant, length: usize) {
        self.history.borrow_mut().resumes_journal(time, length);
        let selections = epochs(&self.leaders.take());
        self.selections_before.set(self.selections_before.get() + selections);
    }

    /// How many queries were answered from caches, according to the front-ends.
    pub(super) fn cache_hits(&self) -> u64 {
        self.hits.borrow().values().map(|(newest, before)| newest + before).sum()
    }

    /// Fails if a client saw what a correct store never shows, or, unless there may be errors, an
    /// error.
    pub(super) fn assert_no_violation(&self, may_have_troubles: bool) {
        let history = self.history.borrow();
        let (errors, violations) = (&history.errors, &history.violations);
        assert!(violations.is_empty(), "clients saw {violations:#?}");
        assert!(may_have_troubles || errors.is_empty(), "clients saw {errors:#?}");
    }

    /// Counts a request, its status and how long it took.
    fn note(&self, operation: &str, asked: Instant, said: &Said) {
        let status = said.as_ref().map_or(None, |(status, _)| Some(*status));
        self.tally.borrow_mut().count(operation, status, asked.elapsed());
    }

    /// Records an error or a violation.
    fn record_failure(&self, what: &str, frontend: &str, said: &Said) {
        let mut history = self.history.borrow_mut();
        match said {
            Ok((503, body)) => history.errors.push(format!("{what} at {frontend}: 503 {body}")),
            Err(error) => history.errors.push(format!("{what} at {frontend}: {error}")),
            Ok((status, body)) => {
                history.violations.push(format!("{what} at {frontend}: {status} {body}"));
            }
        }
    }

    /// Sends a purchase, maybe as a retry. Returns whether it is decided.
    async fn buy(&self, operation: &str, place: usize, frontend: &str) -> bool {
        let (toy, quantity, key) = {
            let history = self.history.borrow();
            let purchase = &history.purchases[place];
            (purchase.toy, purchase.quantity, purchase.key.clone())
        };
        let asked = now();
        let said = buy(frontend, toy, quantity, &key).await;
        self.note(operation, asked, &said);
        if let Some(answer) = said.as_ref().ok().and_then(|said| answer_of(said.clone())) {
            self.history.borrow_mut().answered(place, answer, now());
            return true;
        }
        self.record_failure(&format!("purchase {key} of {quantity} {toy}"), frontend, &said);
        false
    }

    /// Retries the purchases in doubt until they are decided.
    pub(super) async fn retry_in_doubt(&self, frontend: &str) {
        let in_doubt = |history: &History| {
            let purchases = history.purchases.iter().enumerate();
            purchases.filter(|(_, one)| one.answer.is_none()).map(|(place, _)| place).collect()
        };
        let in_doubt: Vec<usize> = in_doubt(&self.history.borrow());
        for place in in_doubt {
            eventually("a purchase in doubt is decided", async || {
                self.buy("purchase in doubt", place, frontend).await
            })
            .await;
        }
    }
}

impl Clients {
    /// Sends clients to the front-ends. Who they are is drawn from a seed, too.
    pub(super) fn start(
        size: Size,
        (seed, round): (u64, usize),
        frontends: &[String],
        results: &Rc<Results>,
    ) -> Self {
        let mut clients = Self { stop: Rc::default(), tasks: Vec::new() };
        let mut add = |kind: &str, number: usize| {
            let name = format!("{kind}-{round}-{number}");
            let client = Client {
                random: ChaCha8Rng::seed_from_u64(seed ^ hash(&name)),
                name,
                frontends: frontends.to_vec(),
                results: Rc::clone(results),
                stop: Rc::clone(&clients.stop),
                bought: Vec::new(),
            };
            clients.tasks.push(match kind {
                "buyer" => actix_web::rt::spawn(client.purchases()),
                "reader" => actix_web::rt::spawn(client.read_toys()),
                "asker" => actix_web::rt::spawn(client.read_orders()),
                _ => actix_web::rt::spawn(client.watch()),
            });
        };
        (0..size.buyers).for_each(|number| add("buyer", number));
        (0..size.readers).for_each(|number| add("reader", number));
        (0..size.order_readers).for_each(|number| add("asker", number));
        add("watcher", 0);
        clients
    }

    /// Sends them home when they have what they wait for.
    pub(super) async fn finish(self) {
        self.stop.set(true);
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
    }
}

/// How many epochs there were from the first to the last that was seen.
fn epochs(leaders: &BTreeMap<u64, u64>) -> u64 {
    let (first, last) = (leaders.keys().next(), leaders.keys().last());
    last.zip(first).map_or(0, |(last, first)| last - first + 1)
}

/// FNV-1a: the same in every run, as a seed must be.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Client {
    async fn pause(&mut self, most_ms: u64) {
        let pause = Duration::from_millis(self.random.random_range(0..=most_ms));
        actix_web::rt::time::sleep(pause).await;
    }

    fn frontend(&mut self) -> String {
        self.frontends().choose(&mut self.random).expect("there are some").clone()
    }

    /// All front-ends that there are now.
    fn frontends(&self) -> Vec<String> {
        let second = self.results.second_frontend.borrow().clone();
        self.frontends.iter().cloned().chain(second).collect()
    }

    fn toy(&mut self) -> &'static str {
        TOYS.choose(&mut self.random).expect("there are some")
    }

    async fn purchases(mut self) {
        for turn in 0_usize.. {
            if self.stop.get() {
                return;
            }
            let key = format!("{}-{turn}", self.name);
            let toy = self.toy();
            let quantity = match self.random.random_range(0..24) {
                // More than there ever is.
                0 => self.results.initial_stock + 1,
                1..5 => self.random.random_range(2..=6),
                _ => 1,
            };
            let place = {
                let mut history = self.results.history.borrow_mut();
                let asked = now();
                history.purchases.push(Purchase { key, toy, quantity, asked, answer: None });
                history.purchases.len() - 1
            };
            self.purchase(place).await;
            self.bought.push(place);
            if self.random.random_bool(0.08) {
                self.repeat().await;
            }
            self.pause(30).await;
        }
    }

    /// One purchase: once, or twice at the same time; and again, or not, if it is in doubt.
    async fn purchase(&mut self, place: usize) {
        let results = Rc::clone(&self.results);
        if self.random.random_bool(0.1) {
            let mut frontends = self.frontends();
            frontends.shuffle(&mut self.random);
            let twins = frontends.iter().take(2);
            let twins = twins.map(|frontend| results.buy("twin purchase", place, frontend));
            futures_util::future::join_all(twins).await;
            return;
        }
        let frontend = self.frontend();
        let mut is_decided = results.buy("purchase", place, &frontend).await;
        let retries = if self.random.random_bool(0.6) { 4 } else { 0 };
        for _ in 0..retries {
            if is_decided || self.stop.get() {
                return;
            }
            self.pause(500).await;
            let frontend = self.frontend();
            is_decided = results.buy("purchase again", place, &frontend).await;
        }
    }

    /// Sends an earlier purchase again, decided or in doubt; or another purchase under the key of
    /// one that is decided.
    async fn repeat(&mut self) {
        let place = *self.bought.choose(&mut self.random).expect("something was bought");
        let frontend = self.frontend();
        let results = Rc::clone(&self.results);
        let (key, toy, quantity, is_decided) = {
            let history = results.history.borrow();
            let one = &history.purchases[place];
            let may_be_forgotten = matches!(one.answer, Some((Answer::Refused, _)))
                && (results.forgets_refusals.get() || history.may_be_forgotten(one));
            let is_decided = one.answer.is_some() && !may_be_forgotten;
            (one.key.clone(), one.toy, one.quantity, is_decided)
        };
        if !is_decided || self.random.random_bool(0.7) {
            results.buy("purchase repeated", place, &frontend).await;
            return;
        }
        let asked = now();
        let said = buy(&frontend, toy, quantity + 1, &key).await;
        results.note("key reused", asked, &said);
        if !matches!(said, Ok((422, _))) {
            results.record_failure(&format!("another purchase under {key}"), &frontend, &said);
        }
    }

    /// Reads toys; often the same toy at every front-end, one after the other without a pause,
    /// since an old quantity is shown only for a moment.
    async fn read_toys(mut self) {
        while !self.stop.get() {
            let mut frontends = self.frontends();
            frontends.shuffle(&mut self.random);
            let count = self.random.random_range(1..=frontends.len());
            let is_for_all = self.random.random_bool(0.15);
            let toy = self.toy();
            for frontend in &frontends[..count] {
                if is_for_all {
                    self.results
                        .ask("query for all", frontend, "/products", shelves_of, None)
                        .await;
                } else {
                    let path = format!("/products/{}", utf8_percent_encode(toy, NON_ALPHANUMERIC));
                    let seen = |body: &Value| {
                        let quantity = body["data"]["quantity"].as_u64()?;
                        (body["data"]["name"] == toy).then_some(Seen::Quantity(toy, quantity))
                    };
                    self.results.ask("query", frontend, &path, seen, None).await;
                }
            }
            self.pause(20).await;
        }
    }

    /// Reads orders that clients have placed, and some that may not exist yet.
    async fn read_orders(mut self) {
        while !self.stop.get() {
            let newest = self.results.history.borrow().newest().unwrap_or_default();
            let number = match self.random.random_range(0..4) {
                0 => self.random.random_range(0..=newest),
                1..3 => newest.saturating_sub(self.random.random_range(0..4)),
                _ => newest + self.random.random_range(1..=4),
            };
            let frontend = self.frontend();
            let path = format!("/orders/{number}");
            let seen = |body: &Value| {
                order_of(body).filter(|(shown, ..)| *shown == number).map(Seen::Order)
            };
            let absence = Some(Seen::Absence(number));
            self.results.ask("order query", &frontend, &path, seen, absence).await;
            self.pause(20).await;
        }
    }

    /// Watches the leader: in each epoch one replica, according to all front-ends.
    async fn watch(mut self) {
        while !self.stop.get() {
            let frontend = self.frontend();
            let asked = now();
            let said = get(&frontend, "/cluster").await;
            self.results.note("cluster", asked, &said);
            match said {
                Ok((200, body)) => {
                    self.results.note_leader(&body["data"]);
                    if let Some(ruler) = body["data"]["catalog"]["active"].as_u64() {
                        self.results.ruler.set(ruler);
                    }
                    self.results.note_hits(frontend, &body["data"]["cache"]);
                }
                other => self.results.record_failure("the cluster's state", &frontend, &other),
            }
            self.pause(200).await;
        }
    }
}

impl Results {
    /// Reads something, and records what was seen.
    async fn ask(
        &self,
        operation: &str,
        frontend: &str,
        path: &str,
        seen: impl Fn(&Value) -> Option<Seen>,
        absence: Option<Seen>,
    ) {
        let is_apart = || self.apart.borrow().as_deref() == Some(frontend);
        let (asked, was_apart) = (now(), is_apart());
        let said = get(frontend, path).await;
        self.note(operation, asked, &said);
        let shown = match &said {
            Ok((200, body)) => seen(body),
            Ok((404, _)) => absence,
            Ok(_) | Err(_) => None,
        };
        match shown {
            Some(Seen::Quantity(..) | Seen::Shelves(_)) if was_apart || is_apart() => {}
            Some(shown) => self.history.borrow_mut().saw(shown, asked, now()),
            None => self.record_failure(&format!("GET {path}"), frontend, &said),
        }
    }

    fn note_hits(&self, frontend: String, cache: &Value) {
        let hits = cache["hits"].as_u64().unwrap_or_default();
        let mut all = self.hits.borrow_mut();
        let (newest, before) = all.entry(frontend).or_default();
        if hits < *newest {
            *before += *newest;
        }
        *newest = hits;
    }

    fn note_leader(&self, cluster: &Value) {
        let (Some(epoch), Some(leader)) = (cluster["epoch"].as_u64(), cluster["leader"].as_u64())
        else {
            return;
        };
        let replicas = cluster["replicas"].as_array();
        let says_so = replicas
            .into_iter()
            .flatten()
            .any(|replica| replica["id"].as_u64() == Some(leader) && replica["state"] == "leader");
        // A catalog that was restored from before an epoch gives it again. What front-ends knew of
        // the one before is forgotten when its leader does not lead any more.
        if !says_so || self.history.borrow().is_resuming(now()) {
            return;
        }
        let first = *self.leaders.borrow_mut().entry(epoch).or_insert(leader);
        if first != leader {
            let violation = format!("in epoch {epoch} {first} led, and so did {leader}");
            self.history.borrow_mut().violations.push(violation);
        }
        self.leader.set(leader);
    }
}

/// All toys, which are listed in the order of `roles.toml`.
fn shelves_of(body: &Value) -> Option<Seen> {
    let toys = body["data"].as_array()?;
    let names = toys.iter().map(|toy| toy["name"].as_str());
    if !names.eq(TOYS.map(Some)) {
        return None;
    }
    let quantities: Option<Vec<u64>> = toys.iter().map(|toy| toy["quantity"].as_u64()).collect();
    Some(Seen::Shelves(quantities?.try_into().ok()?))
}
