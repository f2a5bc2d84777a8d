//! The role under test, and what a test asks of it over HTTP.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use toystore::process::RoleError;

use crate::eventually::{TIME_LIMIT, eventually};

/// A running role of kind `R`: [`CatalogRole`], [`OrderRole`] or [`FrontendRole`]. The kind keeps
/// apart what the tests of each service ask of it.
pub(crate) struct Running<R> {
    server: Server,
    stop: CancellationToken,
    end: Option<oneshot::Receiver<Result<(), RoleError>>>,
    _folder: Rc<TempDir>,
    kind: PhantomData<R>,
}

pub(crate) enum CatalogRole {}
pub(crate) enum OrderRole {}
pub(crate) enum FrontendRole {}

/// Where a role is reached, and with which secret.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    client: awc::Client,
    secret: Option<&'static str>,
}

/// What a role answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl<R> Running<R> {
    pub(super) fn new(
        address: SocketAddr,
        secret: Option<&'static str>,
        stop: CancellationToken,
        end: oneshot::Receiver<Result<(), RoleError>>,
        folder: Rc<TempDir>,
    ) -> Self {
        // Longer than any deadline of a role.
        let client = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        let server = Server { address, client, secret };
        Self { server, stop, end: Some(end), _folder: folder, kind: PhantomData }
    }

    /// Waits until the role says that it can serve.
    pub(crate) async fn ready(self) -> Self {
        eventually("the role is ready", async || self.get("/readyz").await.status == 200).await;
        self
    }

    /// Ends the role in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await.expect("the role ends in order");
    }

    /// Waits for the role to end by itself.
    pub(crate) async fn ended(mut self) -> Result<(), RoleError> {
        let end = self.end.take().expect("a role ends once");
        let end = actix_web::rt::time::timeout(TIME_LIMIT, end).await;
        end.expect("the role ends in time").expect("it does not panic")
    }
}

impl<R> Deref for Running<R> {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl<R> Drop for Running<R> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(crate) fn get(&self, path: &str) -> impl Future<Output = Answer> + use<> {
        finish(self.request("GET", path).send())
    }

    pub(crate) fn post<B: Serialize>(
        &self,
        path: &str,
        body: B,
    ) -> impl Future<Output = Answer> + use<B> {
        finish(self.request("POST", path).send_json(&body))
    }

    /// A request of any kind, not sent yet; [`finish`] gets its answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let secret = self.secret.map(|secret| ("authorization", format!("Bearer {secret}")));
        // The connection is closed after each request, so that a role that stops need not wait for
        // the client.
        let request = request.force_close();
        match secret {
            Some(secret) => request.insert_header(secret),
            None => request,
        }
    }
}

/// Awaits an answer, the body included.
pub(crate) async fn finish(sending: awc::SendClientRequest) -> Answer {
    let mut response = sending.await.expect("the role answers");
    let body = response.body().await.expect("the answer is complete");
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

impl Answer {
    /// The answer's `data`; it must have gone well.
    pub(crate) fn data<T: DeserializeOwned>(self) -> T {
        assert_eq!(self.status, 200, "{:?}", self.body);
        let data = self.json()["data"].take();
        serde_json::from_value(data).expect("the data are what the contract says")
    }

    /// The answer's `error`, whose code is the status and whose message says something.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["error"]["code"], self.status, "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{json}");
        let message = json["error"]["message"].as_str().expect("an error has a message");
        assert!(!message.is_empty());
        (self.status, message.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| unreachable!("{error}: {:?}, {}", self.body, self.status))
    }

    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        let value = self.headers.get(HeaderName::from_static(name)).map(HeaderValue::to_str)?;
        Some(value.expect("headers are ASCII"))
    }
}
