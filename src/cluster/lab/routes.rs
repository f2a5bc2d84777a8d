//! The laboratory's endpoints, and who may use them.
//!
//! | request | answer |
//! |---|---|
//! | `GET /lab` | the roles, the links, and whether a load runs |
//! | `POST /lab/roles/<role>/<kill\|stop\|continue\|start>` | the role, once that is done |
//! | `POST /lab/links/<from>/<to>` with `{"state":"open\|held\|cut","delay_ms":0}` | the link |
//! | `GET /lab/load?after=<ms>` | the load: counts, and the samples after a time |
//! | `POST /lab/load` with `{"probability":0.2,"rate":50,"clients":5,"seed":7}` | the load begins |
//! | `DELETE /lab/load` | the load ends |

use std::sync::Arc;

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::Lab;
use super::links::LinkView;
use super::roles::{LabRefusal, RoleVerb, SupervisedRole};
use crate::cluster::Cluster;
use crate::roles::Role;
use crate::server::{self, ErrorReply};
use crate::wire::reply::{Failure, Problem};

/// The header with the token of the run.
const TOKEN: HeaderName = HeaderName::from_static(super::TOKEN);
/// What a browser sends with every request that a page makes.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("x-toystore-lab, content-type");

/// What `GET /lab` answers.
#[derive(Serialize)]
struct LabView {
    roles: Vec<SupervisedRole>,
    links: Vec<LinkView>,
    load: LoadState,
}

#[derive(Serialize)]
struct LoadState {
    running: bool,
}

pub(super) fn configure(config: &mut ServiceConfig, lab: &Arc<Lab>) {
    config.app_data(Data::from(Arc::clone(lab)));
    for path in ["/lab", "/lab/{rest:.*}"] {
        config.service(web::resource(path).to(answer));
    }
}

/// Answers a request, in a way that a page of this store's front-ends may read.
async fn answer(request: HttpRequest, payload: web::Payload, lab: Data<Lab>) -> HttpResponse {
    let origin = match origin_of(request.headers(), &lab.cluster) {
        Ok(origin) => origin,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else if has_token(request.headers(), &lab.token) {
        carry_out(&request, payload, &lab).await.unwrap_or_else(LabRefusal::into_response)
    } else {
        let problem = "this needs the token of the run, which is in the address that `toystore up \
                       --lab` prints: open that";
        LabRefusal(StatusCode::FORBIDDEN, problem.to_owned()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

async fn carry_out(
    request: &HttpRequest,
    payload: web::Payload,
    lab: &Lab,
) -> Result<HttpResponse, LabRefusal> {
    let rest: Vec<&str> = request.path().split('/').skip(2).collect();
    match (request.method(), &rest[..]) {
        (&Method::GET, []) => {
            let load = LoadState { running: lab.is_loaded() };
            Ok(server::data(LabView { roles: lab.roles(), links: lab.link_views(), load }))
        }
        (&Method::POST, ["roles", role, verb]) => {
            let verb: RoleVerb = verb.parse()?;
            Ok(server::data(lab.carry_out(role_of(role)?, verb).await?))
        }
        (&Method::POST, ["links", from, to]) => {
            let (from, to) = (role_of(from)?, role_of(to)?);
            match server::read_json(request, payload).await {
                Ok(condition) => Ok(server::data(lab.set_link(from, to, condition)?)),
                Err(error) => Ok(error.into_response()),
            }
        }
        (&Method::GET, ["load"]) => Ok(server::data(lab.view_of_load(after(request)?))),
        (&Method::POST, ["load"]) => match server::read_json(request, payload).await {
            Ok(wanted) => Ok(server::data(lab.begin_load(wanted)?)),
            Err(error) => Ok(error.into_response()),
        },
        (&Method::DELETE, ["load"]) => Ok(server::data(lab.end_load())),
        (_, [] | ["load"] | ["roles" | "links", _, _]) => {
            let problem = "this path has another method";
            Err(LabRefusal(StatusCode::METHOD_NOT_ALLOWED, problem.to_owned()))
        }
        _ => Ok(ErrorReply::NotFound("no such path").into_response()),
    }
}

fn role_of(name: &str) -> Result<Role, LabRefusal> {
    name.parse().map_err(|problem| LabRefusal(StatusCode::NOT_FOUND, problem))
}

/// The time after which samples are wanted.
fn after(request: &HttpRequest) -> Result<u64, LabRefusal> {
    let query = request.query_string();
    if query.is_empty() {
        return Ok(0);
    }
    query.strip_prefix("after=").and_then(|after| after.parse().ok()).ok_or_else(|| {
        let problem = "write ?after= and a whole number of milliseconds";
        LabRefusal(StatusCode::BAD_REQUEST, problem.to_owned())
    })
}

/// The page that a request is from, which must be one of this store's front-ends; `None` if it is
/// from a program.
fn origin_of(headers: &HeaderMap, cluster: &Cluster) -> Result<Option<HeaderValue>, LabRefusal> {
    const SCHEMES: [(&str, &str); 2] = [("http", ":80"), ("https", ":443")];
    let mut origins = headers.get_all(ORIGIN);
    let schemes = if cluster.roles.tls.is_some() { &SCHEMES[..] } else { &SCHEMES[..1] };
    let is_own = |origin: &HeaderValue| {
        let frontends = cluster.roles.frontend_addresses();
        frontends.iter().any(|address| {
            schemes.iter().any(|(scheme, default_port)| {
                let address = address.as_str();
                let host = address.strip_suffix(default_port).unwrap_or(address);
                origin.as_bytes().eq_ignore_ascii_case(format!("{scheme}://{host}").as_bytes())
            })
        })
    };
    match (origins.next(), origins.next()) {
        (None, _) if !headers.contains_key(FETCH_SITE) => Ok(None),
        (Some(origin), None) if is_own(origin) => Ok(Some(origin.clone())),
        _ => Err(LabRefusal(
            StatusCode::FORBIDDEN,
            "only the page of this store's front-ends may use the laboratory".to_owned(),
        )),
    }
}

/// Compares in constant time, so that the time an answer takes tells nothing of the token.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(TOKEN).map_or(&b""[..], HeaderValue::as_bytes);
    given.ct_eq(token.as_bytes()).into()
}

fn preflight() -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    response
}

impl LabRefusal {
    fn into_response(self) -> HttpResponse {
        let Self(status, message) = self;
        let error = Problem { code: status.as_u16(), message, who_rules: None };
        let body = serde_json::to_vec(&Failure { error });
        server::json(status, body.expect("an error can be written as JSON").into())
    }
}
