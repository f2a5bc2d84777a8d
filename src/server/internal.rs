//! The paths between roles, which are under `/internal` and carry the cluster's secret.

use std::rc::Rc;

use actix_web::guard::{self, GuardContext};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpRequest};
use subtle::ConstantTimeEq as _;

use super::call_table::CallTable;
use super::methods::Allow;
use super::reply::{ErrorReply, data, timed};
use super::socket::Socket;
use super::{origin, site};
use crate::roles::Secret;
use crate::transport::{MEANT_FOR_ROLE, MEANT_FOR_STORE, MESSAGE};
use crate::wire::calls::{Call, Caller, Endpoints, MessageTag, Method, Refusal};
use crate::wire::identity::{Addressee, StoreId};
use crate::wire::timing::TimingNote;

/// Where the paths between roles begin.
pub(super) const INTERNAL: &str = "/internal";

/// The calls between roles: `register` adds calls, which are answered as frames and under
/// `/internal` to callers with the secret, and 403 to others.
pub fn internal(
    config: &mut ServiceConfig,
    calls: &mut CallTable,
    secret: Option<&Secret>,
    register: impl FnOnce(&mut InternalEndpoints<'_>),
) {
    calls.guard(secret);
    let is_guarded = secret.is_some();
    let expected = secret.map(|secret| format!("Bearer {}", secret.reveal()));
    config.service(
        web::scope(INTERNAL)
            .guard(guard::fn_guard(move |context| is_trusted(context, expected.as_deref())))
            .configure(|config| register(&mut InternalEndpoints { config, calls, is_guarded })),
    );
    config.service(
        web::scope(INTERNAL)
            .default_service(web::to(async || ErrorReply::Forbidden.into_response())),
    );
}

/// Answers calls that come as frames, and those that come as HTTP requests.
pub struct InternalEndpoints<'a> {
    config: &'a mut ServiceConfig,
    calls: &'a mut CallTable,
    /// Whether its callers have the secret.
    is_guarded: bool,
}

impl Endpoints for InternalEndpoints<'_> {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        self.calls.on(state, answer.clone());
        let state = state.clone();
        let is_guarded = self.is_guarded;
        let respond = move |request: HttpRequest, call: C| {
            let socket = request.conn_data::<Rc<Socket>>();
            if is_guarded && let Some(socket) = socket {
                socket.note_role();
            }
            let is_refused = socket.is_some_and(|socket| socket.refuses_calls());
            let origin = origin::passed_on(request.headers());
            let meant_for = meant_for(request.headers());
            let message = message(request.headers());
            let timing = TimingNote::default();
            let caller = Caller { origin, meant_for, message, timing: timing.clone() };
            let answered = (!is_refused).then(|| answer(state.clone(), call, caller));
            async move {
                let Some(answered) = answered else { return ErrorReply::NeedsTls.into_response() };
                match answered.await {
                    Ok(answer) => timed(data(answer), timing.get()),
                    Err(refusal) => ErrorReply::from(refusal).into_response(),
                }
            }
        };
        let (allow, route) = match C::METHOD {
            Method::Get => (
                Allow::Get,
                Allow::Get
                    .route()
                    .to(move |request, call: web::Path<C>| respond(request, call.into_inner())),
            ),
            Method::Post => (
                Allow::Post,
                Allow::Post.route().to(move |request, (_, call): (SameSite, web::Json<C>)| {
                    respond(request, call.into_inner())
                }),
            ),
        };
        self.config.service(web::resource(C::PATH).route(route).default_service(allow.others()));
    }
}

/// Whom a call says it is meant for.
fn meant_for(headers: &HeaderMap) -> Option<Addressee> {
    let role = headers.get(MEANT_FOR_ROLE)?.to_str().ok()?.to_owned();
    let store = headers.get(MEANT_FOR_STORE).and_then(|store| StoreId::parse(store.to_str().ok()?));
    Some(Addressee { role, store })
}

/// What a call says of itself.
fn message(headers: &HeaderMap) -> Option<MessageTag> {
    MessageTag::parse(headers.get(MESSAGE)?.to_str().ok()?)
}

/// A request that no page of another site sent.
struct SameSite;

impl FromRequest for SameSite {
    type Error = ErrorReply;
    type Future = std::future::Ready<Result<Self, ErrorReply>>;

    fn from_request(request: &HttpRequest, _payload: &mut actix_web::dev::Payload) -> Self::Future {
        std::future::ready(site::refuse_other_sites(request).map(|()| Self))
    }
}

/// Compares in constant time, so that the time an answer takes tells nothing of the secret.
fn is_trusted(context: &GuardContext<'_>, expected: Option<&str>) -> bool {
    let Some(expected) = expected else { return true };
    let given = context.head().headers().get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    given.ct_eq(expected.as_bytes()).into()
}
