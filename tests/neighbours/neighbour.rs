//! A neighbour of the role under test: a real HTTP server that answers what the test wants, and
//! writes down what it hears.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toystore::clock;

use super::{Door, eventually};

/// A neighbour at a door. Its paths are `/internal/<topic>/<rest>`; it answers 404 to topics that
/// it was told nothing about.
pub(crate) struct Neighbour<'a> {
    door: &'a Door,
    server: Mutex<Option<ServerHandle>>,
    stage: Arc<Stage>,
}

/// A request that a neighbour heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    /// What follows the topic in the path: `5` of `/internal/rows/5`.
    pub(crate) rest: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

/// What a neighbour answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// `{"data": …}`.
    Data(Value),
    /// `{"error": …}` with this status.
    Refusal(u16),
    /// Nothing, ever.
    Silence,
}

/// What becomes of an answer on its way.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// The connection breaks before the answer is there. What it tells of has happened.
    Lost,
    /// It does not leave before this is cancelled.
    Held(CancellationToken),
    /// It takes so long.
    Delayed(Duration),
}

type Script = Arc<dyn Fn(&Heard) -> Reply + Send + Sync>;

#[derive(Default)]
struct Stage(Mutex<Play>);

#[derive(Default)]
struct Play {
    scripts: HashMap<String, Script>,
    fates: HashMap<String, VecDeque<Fate>>,
    heard: Vec<Heard>,
    hangs: bool,
}

impl<'a> Neighbour<'a> {
    /// A neighbour that listens.
    pub(crate) fn at(door: &'a Door) -> Self {
        let neighbour =
            Self { door, server: Mutex::default(), stage: Arc::new(Stage(Mutex::default())) };
        neighbour.lives();
        neighbour
    }

    /// What it answers to a topic from now on.
    pub(crate) fn on(&self, topic: &str, script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) {
        self.stage.lock().scripts.insert(topic.to_owned(), Arc::new(script));
    }

    /// It answers a topic with the same data always.
    pub(crate) fn says(&self, topic: &str, data: impl Serialize) {
        let reply = Reply::data(data);
        self.on(topic, move |_| reply.clone());
    }

    /// It never answers a topic again.
    pub(crate) fn ignores(&self, topic: &str) {
        self.on(topic, |_| Reply::Silence);
    }

    /// What becomes of its next answer to a topic (of the one after that, if this is said twice).
    pub(crate) fn next(&self, topic: &str, fate: Fate) {
        self.stage.lock().fates.entry(topic.to_owned()).or_default().push_back(fate);
    }

    /// What it has heard of a topic, in order.
    pub(crate) fn heard(&self, topic: &str) -> Vec<Heard> {
        let play = self.stage.lock();
        play.heard.iter().filter(|heard| heard.topic == topic).cloned().collect()
    }

    /// All that it has heard.
    pub(crate) fn heard_at_all(&self) -> Vec<Heard> {
        self.stage.lock().heard.clone()
    }

    /// Waits until it has heard of a topic so often.
    pub(crate) async fn hears(&self, topic: &str, times: usize) -> Vec<Heard> {
        eventually(&format!("{topic} is heard {times} times"), async || {
            Some(self.heard(topic)).filter(|heard| heard.len() >= times)
        })
        .await
    }

    /// Accepts connections and requests and answers nothing, as a process that was stopped.
    pub(crate) fn hangs(&self) {
        self.stage.lock().hangs = true;
    }

    /// Ends; connections break, and new ones are refused, as with a process that was killed.
    pub(crate) async fn dies(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        server.expect("only the living die").stop(false).await;
        self.door.close();
    }

    /// Listens.
    pub(crate) fn lives(&self) {
        let stage = Data::from(Arc::clone(&self.stage));
        let listener = self.door.listen();
        let server = HttpServer::new(move || {
            let any_size = web::PayloadConfig::new(usize::MAX);
            App::new().app_data(stage.clone()).app_data(any_size).default_service(web::to(hear))
        });
        let server = server.workers(1).disable_signals().listen(listener).expect("it listens");
        let server = server.run();
        let handle = server.handle();
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        actix_web::rt::spawn(server);
    }
}

impl Heard {
    /// The body, read.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("a role sends what the contract says")
    }

    /// What follows the topic, as a number.
    pub(crate) fn number(&self) -> u64 {
        self.rest.parse().expect("a number follows the topic")
    }
}

impl Reply {
    pub(crate) fn data(data: impl Serialize) -> Self {
        Self::Data(serde_json::to_value(data).expect("wire types can be written"))
    }
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn hear(stage: Data<Stage>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let path = request.path().strip_prefix("/internal/").unwrap_or(request.path());
    let (topic, rest) = path.split_once('/').unwrap_or((path, ""));
    let headers = request.headers().iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let heard = Heard {
        topic: topic.to_owned(),
        rest: rest.to_owned(),
        headers: headers.collect(),
        body,
        at: clock::now(),
    };
    let (script, fate, hangs) = {
        let mut play = stage.lock();
        play.heard.push(heard.clone());
        let fate = play.fates.get_mut(topic).and_then(VecDeque::pop_front);
        (play.scripts.get(topic).cloned(), fate, play.hangs)
    };
    if hangs {
        return std::future::pending().await;
    }
    let reply = script.map_or(Reply::Refusal(404), |script| script(&heard));
    match fate {
        None => {}
        Some(Fate::Held(gate)) => gate.cancelled().await,
        Some(Fate::Delayed(delay)) => actix_web::rt::time::sleep(delay).await,
        Some(Fate::Lost) => {
            let broken = Err::<Bytes, _>(std::io::Error::other("the connection breaks here"));
            return HttpResponse::Ok().streaming(futures_util::stream::iter([broken]));
        }
    }
    match reply {
        Reply::Data(data) => HttpResponse::Ok().json(json!({ "data": data })),
        Reply::Refusal(status) => {
            let status = status.try_into().expect("a status");
            HttpResponse::build(status).json(
                json!({ "error": { "code": status.as_u16(), "message": "as the test says" } }),
            )
        }
        Reply::Silence => std::future::pending().await,
    }
}
