//! What a store did for a client's request: `GET /trace`, collected from all roles.
//!
//! | request | answer |
//! |---|---|
//! | `GET /trace` | the last requests that this front-end was asked |
//! | `GET /trace?last=<number>` | the events of the last requests |
//! | `GET /trace/<id>` | those of one: an `X-Request-Id`, or a trace's 32 digits |
//!
//! Anyone who may shop may ask: events tell no more than orders, toys and `/cluster` do. They hold
//! no idempotency key, and no request id, which is its client's: a request is found by the id that
//! is asked for, and listed by its trace. Collecting costs each role a few milliseconds, so that
//! one is under way at a time, and the next one begins a moment later. To look through the last
//! requests takes as long as some ten queries of toys, and has a [ration](crate::server::Ration)
//! of the front-end's time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::remote::Remote;
use super::routes::rest_of_path;
use super::service::Service;
use crate::clock::micros;
use crate::events::collect::{Collected, put_together};
use crate::roles::{Role, Roles};
use crate::server::{self, Allow, ErrorReply};
use crate::wire::event::{EventLog, EventsHeader, TraceEvent};
use crate::wire::recording::{AskedRequest, EventsQuery};
use crate::wire::reply::Failure;
use crate::wire::trace::TraceId;

/// The most requests whose events are collected together.
const MOST_REQUESTS: usize = 50;
/// How long a request for a trace waits for another one to be collected.
const COLLECTION_LIMIT: Duration = Duration::from_secs(2);
/// How long after a collection the next one may begin: asking without end takes a small share of
/// each role's time.
const PAUSE: Duration = Duration::from_millis(50);
/// Events of no request are shown from so long before a request until so long after it.
const MARGIN: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct LastRequests {
    requests: Vec<AskedRequest>,
}

/// A trace, in the shape that all answers have.
#[derive(Serialize)]
struct CollectedTrace {
    header: EventsHeader,
    events: Vec<TraceEvent>,
}

/// The part of the time in which events of no request matter: from an age until an age.
struct Window {
    from_us: u64,
    to_us: u64,
}

pub(super) fn configure(config: &mut ServiceConfig, roles: &Roles) {
    config.app_data(Data::new(roles.clone()));
    config
        .service(
            web::resource("/trace")
                .route(Allow::Get.route().to(last))
                .default_service(Allow::Get.others()),
        )
        .service(server::below("/trace", Allow::Get, web::to(one)));
}

/// Shows what the store did for the last requests; without `last`, which requests those are.
#[utoipa::path(
    get,
    path = "/trace",
    tag = "operations",
    params((
        "last" = Option<usize>,
        Query,
        description = "How many requests.",
        minimum = 1,
        maximum = 50,
        example = 1
    )),
    responses(
        (status = 200, description = "The events, or the requests.", body = serde_json::Value),
        (status = 400, description = "There is no such number.", body = Failure),
        (status = 404, description = "Nothing is recorded.", body = Failure),
        (status = 503, description = "Other traces are being collected.", body = Failure)
    )
)]
pub(super) async fn last(
    request: HttpRequest,
    service: Data<Arc<Service>>,
    remote: Data<Remote>,
    roles: Data<Roles>,
) -> Result<HttpResponse, ErrorReply> {
    let (recorder, views) = (service.identity.recorder(), &service.views);
    check_recording(&service)?;
    let most = match request.query_string() {
        "" => {
            let list = || recorder.last_asked(MOST_REQUESTS);
            return Ok(server::data(LastRequests { requests: views.spend(list).await? }));
        }
        query => query.strip_prefix("last=").and_then(|number| number.parse().ok()),
    };
    let Some(most) = most.filter(|most| (1..=MOST_REQUESTS).contains(most)) else {
        let problem = format!("ask for last=N, where N is from 1 to {MOST_REQUESTS}");
        return Err(ErrorReply::BadRequest(problem));
    };
    let asked = views.spend(|| recorder.last_asked(most)).await?;
    let log = collect(&service, &remote, &roles, &asked).await?;
    Ok(server::data(CollectedTrace { header: log.header, events: log.events }))
}

/// Shows what the store did for one request.
#[utoipa::path(
    get,
    path = "/trace/{request_id}",
    tag = "operations",
    params(("request_id" = String, Path, description = "The request's `X-Request-Id`.")),
    responses(
        (status = 200, description = "The events.", body = serde_json::Value),
        (status = 400, description = "The path is not UTF-8.", body = Failure),
        (status = 404, description = "No events of this request are kept.", body = Failure),
        (status = 503, description = "Other traces are being collected.", body = Failure)
    )
)]
pub(super) async fn one(
    request: HttpRequest,
    service: Data<Arc<Service>>,
    remote: Data<Remote>,
    roles: Data<Roles>,
) -> Result<HttpResponse, ErrorReply> {
    check_recording(&service)?;
    let id = rest_of_path(&request)?;
    let recorder = service.identity.recorder();
    let found = match service.views.spend(|| recorder.asked_under(&id)).await? {
        Some(asked) => Some(asked),
        None => asked_elsewhere(&service, &remote, &roles, &id).await,
    };
    let asked = found.ok_or(ErrorReply::NotFound("no events of this request are kept"))?;
    let log = collect(&service, &remote, &roles, &[asked]).await?;
    Ok(server::data(CollectedTrace { header: log.header, events: log.events }))
}

fn check_recording(service: &Service) -> Result<(), ErrorReply> {
    if service.identity.recorder().is_on() {
        return Ok(());
    }
    Err(ErrorReply::NotFound("nothing is recorded: roles.toml has `events = 0` in [trace]"))
}

/// Asks the other front-ends for a request.
async fn asked_elsewhere(
    service: &Service,
    remote: &Remote,
    roles: &Roles,
    id: &str,
) -> Option<AskedRequest> {
    let query = EventsQuery {
        traces: Vec::new(),
        request: Some(id.to_owned()),
        from_age_us: 0,
        to_age_us: 0,
    };
    let others = others(service, roles).filter(|role| matches!(role, Role::Frontend(_)));
    let answers = others.map(|role| remote.events(role, &query));
    let answers = futures_util::future::join_all(answers).await;
    answers.into_iter().flatten().find_map(|answer| answer.asked)
}

/// Collects the events of some requests from all roles.
pub(super) async fn collect(
    service: &Arc<Service>,
    remote: &Remote,
    roles: &Roles,
    asked: &[AskedRequest],
) -> Result<EventLog, ErrorReply> {
    let began = service.runtime.now();
    let turn = Arc::clone(&service.collecting).acquire_owned();
    let Ok(Ok(turn)) = service.runtime.timeout(COLLECTION_LIMIT, turn).await else {
        let problem = "other traces are being collected; retry in a moment";
        return Err(ErrorReply::Unavailable(problem.into()));
    };
    let traces: Vec<TraceId> = asked.iter().map(|asked| asked.trace).collect();
    // A role counts back from when it is asked, and the requests grow older meanwhile.
    let query = || {
        let window = Window::of(asked, service.runtime.now().saturating_duration_since(began));
        EventsQuery {
            traces: traces.clone(),
            request: None,
            from_age_us: window.from_us,
            to_age_us: window.to_us,
        }
    };
    let beginning = service.runtime.now();
    let since = |time: Instant| micros(time.saturating_duration_since(beginning));
    let answers = others(service, roles).map(async |role| {
        let asked_us = since(service.runtime.now());
        let answer = remote.events(role, &query()).await;
        (role, answer, asked_us, since(service.runtime.now()))
    });
    let answers = futures_util::future::join_all(answers).await;
    let now = since(service.runtime.now());
    let own = service.identity.recorder().events(&query());
    let mut collected = vec![Collected { from: own, asked_us: now, answered_us: now }];
    let mut missing = Vec::new();
    for (role, answer, asked_us, answered_us) in answers {
        match answer {
            Some(from) => collected.push(Collected { from, asked_us, answered_us }),
            None => missing.push(role.to_string()),
        }
    }
    let runtime = Arc::clone(&service.runtime);
    service.runtime.spawn(Box::pin(async move {
        runtime.sleep(PAUSE).await;
        drop(turn);
    }));
    Ok(put_together(collected, lanes(roles), missing, &traces))
}

/// All roles but this one.
fn others(service: &Service, roles: &Roles) -> impl Iterator<Item = Role> {
    let own = service.identity.role();
    roles.in_start_order().into_iter().filter(move |role| *role != own)
}

/// The roles in the order of a diagram's lanes: as a request meets them.
fn lanes(roles: &Roles) -> Vec<String> {
    let frontends = roles.frontends.iter().map(|frontend| Role::Frontend(frontend.id));
    let orders = roles.orders.iter().map(|order| Role::Order(order.id));
    let all = frontends.chain(roles.catalog.roles()).chain(orders);
    all.map(|role| role.to_string()).collect()
}

impl Window {
    /// The time of these requests, whose ages are as old as `waited`.
    fn of(asked: &[AskedRequest], waited: Duration) -> Self {
        let (margin, waited) = (micros(MARGIN), micros(waited));
        let oldest = asked.iter().map(|asked| asked.age_us).max().unwrap_or_default();
        let end = |asked: &AskedRequest| match asked.took_us {
            Some(took) => (asked.age_us.saturating_sub(took) + waited).saturating_sub(margin),
            // A cached read took no time; another one is still under way.
            None if asked.status.is_some() => (asked.age_us + waited).saturating_sub(margin),
            None => 0,
        };
        let newest = asked.iter().map(end).min().unwrap_or_default();
        Self { from_us: oldest + waited + margin, to_us: newest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(age_us: u64, took_us: Option<u64>, status: Option<u16>) -> AskedRequest {
        let trace = TraceId::from_random(1);
        AskedRequest { trace, name: String::new(), text: String::new(), age_us, took_us, status }
    }

    #[test]
    fn a_window_covers_all_requests_with_a_margin() {
        let margin = micros(MARGIN);
        let waited = Duration::from_micros(7);
        let window = Window::of(
            &[asked(900_000, Some(100_000), Some(200)), asked(500_000, None, Some(200))],
            waited,
        );
        assert_eq!((window.from_us, window.to_us), (900_007 + margin, 500_007 - margin));
        let waited = Duration::from_secs(1);
        let under_way = Window::of(&[asked(900_000, None, None)], waited);
        assert_eq!(under_way.to_us, 0);
    }
}
