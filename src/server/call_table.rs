//! The answers to calls that arrive as frames: the same as those of the paths under `/internal`,
//! since a service [registers](super::internal()) both at once.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use actix_web::ResponseError as _;
use bytes::{BufMut as _, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use subtle::ConstantTimeEq as _;

use super::body;
use super::internal::INTERNAL;
use super::reply::ErrorReply;
use crate::metrics::RequestsOfThread;
use crate::roles::Secret;
use crate::wire::calls::{Call, Caller, Endpoints, Refusal};
use crate::wire::frame::{Hello, Welcome};
use crate::wire::timing::{ServerTiming, TimingNote};

/// How one thread answers calls, and to whom.
pub struct CallTable {
    pub(super) secret: Option<Secret>,
    pub(super) calls: HashMap<&'static str, (usize, Answerer)>,
    pub(super) requests: Arc<RequestsOfThread>,
}

pub(super) type Answerer = Box<dyn Fn(&[u8], Caller) -> LocalBoxFuture<'static, FramedAnswer>>;

/// An answer on its way to a caller.
pub(super) struct FramedAnswer {
    pub(super) status: u16,
    pub(super) body: BytesMut,
    pub(super) timing: ServerTiming,
}

impl CallTable {
    /// No calls yet. They are counted among the `requests`.
    pub(super) fn new(requests: Arc<RequestsOfThread>) -> Self {
        Self { secret: None, calls: HashMap::new(), requests }
    }

    /// Answers only callers with this secret, if there is one.
    pub(super) fn guard(&mut self, secret: Option<&Secret>) {
        self.secret = secret.cloned();
    }

    /// Whether any call is answered.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Compares in constant time, so that the time an answer takes tells nothing of the secret.
    pub(super) fn greet(&self, hello: &Hello<'_>, needs_tls: bool) -> Welcome {
        if needs_tls {
            return Welcome::Refused { status: 403, message: ErrorReply::NeedsTls.to_string() };
        }
        let Some(expected) = &self.secret else { return Welcome::Accepted };
        let given = hello.secret.as_deref().unwrap_or_default();
        if given.as_bytes().ct_eq(expected.reveal().as_bytes()).into() {
            return Welcome::Accepted;
        }
        Welcome::Refused { status: 403, message: ErrorReply::Forbidden.to_string() }
    }
}

impl Endpoints for CallTable {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        let state = state.clone();
        let answerer =
            move |body: &[u8], caller: Caller| -> LocalBoxFuture<'static, FramedAnswer> {
                let call = match serde_json::from_slice::<C>(body) {
                    Ok(call) => call,
                    Err(error) => {
                        let error = ErrorReply::BadRequest(body::invalid(&error));
                        return Box::pin(ready(FramedAnswer::refusal(&error)));
                    }
                };
                let timing = caller.timing.clone();
                // No async block, which would keep the answer's future twice.
                Box::pin(answer(state.clone(), call, caller).map(move |answer| match answer {
                    Ok(answer) => FramedAnswer::new(&answer, &timing),
                    Err(refusal) => FramedAnswer::refusal(&refusal.into()),
                }))
            };
        let route = self.requests.route_of(&format!("{INTERNAL}{}", C::PATH));
        self.calls.insert(C::PATH, (route, Box::new(answerer)));
    }
}

impl FramedAnswer {
    fn new(answer: &impl serde::Serialize, timing: &TimingNote) -> Self {
        let mut body = BytesMut::new().writer();
        serde_json::to_writer(&mut body, answer).expect("answers can be written as JSON");
        Self { status: 200, body: body.into_inner(), timing: timing.get() }
    }

    pub(super) fn refusal(error: &ErrorReply) -> Self {
        let (status, body) = (error.status_code().as_u16(), BytesMut::from(&*error.to_json()));
        Self { status, body, timing: ServerTiming::default() }
    }
}
