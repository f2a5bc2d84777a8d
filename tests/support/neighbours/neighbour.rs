//! A fake neighbour of the role under test: a real HTTP server that answers what the test says, and
//! records what it receives.

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

use super::Port;
use crate::eventually::eventually;

/// A fake neighbour. Its paths are `/internal/<topic>/<rest>`; it answers 404 to topics for which
/// the test has given no answer.
pub(crate) struct Neighbour<'a> {
    port: &'a Port,
    server: Mutex<Option<ServerHandle>>,
    state: Arc<Mutex<State>>,
}

/// A request that a neighbour received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
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
    None,
}

/// What goes wrong with an answer. The request has been carried out.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection breaks before the answer is complete.
    Lost,
    /// The answer is sent when this is cancelled.
    Held(CancellationToken),
    /// The answer is sent after this time.
    Delayed(Duration),
}

type Handler = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

#[derive(Default)]
struct State {
    handlers: HashMap<String, Handler>,
    /// What goes wrong with the next answers to a topic, in order.
    faults: HashMap<String, VecDeque<Fault>>,
    received: Vec<Received>,
    hangs: bool,
}

impl<'a> Neighbour<'a> {
    /// A neighbour that listens.
    pub(crate) fn at(port: &'a Port) -> Self {
        let neighbour = Self { port, server: Mutex::default(), state: Arc::default() };
        neighbour.start();
        neighbour
    }

    /// Answers a topic in this way from now on.
    pub(crate) fn on(
        &self,
        topic: &str,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) {
        self.lock().handlers.insert(topic.to_owned(), Arc::new(handler));
    }

    /// Answers a topic with these data from now on.
    pub(crate) fn answer(&self, topic: &str, data: impl Serialize) {
        let reply = Reply::data(data);
        self.on(topic, move |_| reply.clone());
    }

    /// Leaves a topic unanswered from now on.
    pub(crate) fn ignore(&self, topic: &str) {
        self.on(topic, |_| Reply::None);
    }

    /// What goes wrong with the next answer to a topic; a second call is for the one after that.
    pub(crate) fn fail_next(&self, topic: &str, fault: Fault) {
        self.lock().faults.entry(topic.to_owned()).or_default().push_back(fault);
    }

    /// The requests that it has received for a topic, in order.
    pub(crate) fn received(&self, topic: &str) -> Vec<Received> {
        let state = self.lock();
        state.received.iter().filter(|request| request.topic == topic).cloned().collect()
    }

    /// All requests that it has received.
    pub(crate) fn all_received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// Waits until it has received this many requests for a topic.
    pub(crate) async fn receives(&self, topic: &str, count: usize) -> Vec<Received> {
        eventually(&format!("there are {count} requests for {topic}"), async || {
            Some(self.received(topic)).filter(|received| received.len() >= count)
        })
        .await
    }

    /// Accepts connections and requests and answers nothing, as a process that was stopped.
    pub(crate) fn hang(&self) {
        self.lock().hangs = true;
    }

    /// Ends; connections break, and new ones are refused, as with a process that was killed.
    pub(crate) async fn kill(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        server.expect("it runs").stop(false).await;
        self.port.close();
    }

    /// Listens, at first or after it was killed.
    pub(crate) fn start(&self) {
        let state = Data::from(Arc::clone(&self.state));
        let listener = self.port.listen();
        let server = HttpServer::new(move || {
            let any_size = web::PayloadConfig::new(usize::MAX);
            App::new().app_data(state.clone()).app_data(any_size).default_service(web::to(receive))
        });
        let server = server.workers(1).disable_signals().listen(listener).expect("it listens");
        let server = server.run();
        let handle = server.handle();
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        actix_web::rt::spawn(server);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Received {
    /// The body, parsed.
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

/// Locks; a test that has panicked has failed for that reason, and not for this one.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(state: Data<Mutex<State>>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let path = request.path().strip_prefix("/internal/").unwrap_or(request.path());
    let (topic, rest) = path.split_once('/').unwrap_or((path, ""));
    let headers = request.headers().iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let received = Received {
        topic: topic.to_owned(),
        rest: rest.to_owned(),
        headers: headers.collect(),
        body,
        at: clock::now(),
    };
    let (handler, fault, hangs) = {
        let mut state = lock(&state);
        state.received.push(received.clone());
        let fault = state.faults.get_mut(topic).and_then(VecDeque::pop_front);
        (state.handlers.get(topic).cloned(), fault, state.hangs)
    };
    if hangs {
        return std::future::pending().await;
    }
    let reply = handler.map_or(Reply::Refusal(404), |handler| handler(&received));
    match fault {
        None => {}
        Some(Fault::Held(release)) => release.cancelled().await,
        Some(Fault::Delayed(delay)) => actix_web::rt::time::sleep(delay).await,
        Some(Fault::Lost) => {
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
        Reply::None => std::future::pending().await,
    }
}
