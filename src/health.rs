//! `/healthz` and `/readyz`, which every role has, and the probe that asks them.
//!
//! Alive means that the process answers; ready, that it can do its work. A role that is alive and
//! not ready says why.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::roles::{Access, Address, Role};
use crate::server::{self, Allow, ErrorReply};
use crate::transport::{CallError, Http};
use crate::wire::reply;
use crate::wire::term::{Duty, Term};

/// How long a probe waits for one answer.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How often [`await_ready`] asks.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// What a role that is alive or ready answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Its name, such as `order-1`.
    pub role: String,
    /// The process's id.
    pub pid: u32,
    /// Of a catalog: its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseHealth>,
}

/// The database of a catalog. Only one that several catalogs share has more than an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseHealth {
    /// Its kind: `sqlite` or `postgresql`.
    pub engine: String,
    /// Whether this catalog rules or stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<Duty>,
    /// The newest term that this catalog has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// The server that it found to be the primary: host and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// How many synchronous standbys that has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standbys: Option<u32>,
}

impl DatabaseHealth {
    /// The file of a catalog that is alone.
    #[must_use]
    pub fn sqlite() -> Self {
        let engine = "sqlite".into();
        Self { engine, duty: None, term: None, primary: None, standbys: None }
    }
}

/// A role that knows whether it can do its work.
pub trait Readiness: Send + Sync {
    /// Nothing if the role is ready; else, in a sentence, what is missing.
    ///
    /// # Errors
    ///
    /// If the role is not ready.
    fn readiness(&self) -> Result<(), String>;

    /// The catalog's database. (The other roles have none, or need not say which.)
    fn database(&self) -> Option<DatabaseHealth> {
        None
    }
}

/// Tells that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    responses((status = 200, description = "The process lives.", body = reply::Data<Health>))
)]
fn healthz(role: Role) -> HttpResponse {
    server::data(health(role, None))
}

fn health(role: Role, database: Option<DatabaseHealth>) -> Health {
    Health { role: role.to_string(), pid: std::process::id(), database }
}

/// Tells whether the role can serve or, in the error's message, why it cannot.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "The role can serve.", body = reply::Data<Health>),
        (status = 503, description = "The role cannot serve.", body = reply::Failure)
    )
)]
fn readyz(role: Role, readiness: &dyn Readiness) -> HttpResponse {
    match readiness.readiness() {
        Ok(()) => server::data(health(role, readiness.database())),
        Err(missing) => ErrorReply::Unavailable(missing).into_response(),
    }
}

/// Adds `/healthz` and `/readyz`.
pub fn routes(config: &mut ServiceConfig, role: Role, readiness: Arc<dyn Readiness>) {
    config.service(
        web::resource("/healthz")
            .route(Allow::Get.route().to(move || std::future::ready(healthz(role))))
            .default_service(Allow::Get.others()),
    );
    config.service(
        web::resource("/readyz")
            .route(Allow::Get.route().to(move || std::future::ready(readyz(role, &*readiness))))
            .default_service(Allow::Get.others()),
    );
}

impl Health {
    /// Whether the process with this id gave the answer.
    #[must_use]
    pub fn is_of(&self, pid: Pid) -> bool {
        u32::try_from(pid.as_raw_nonzero().get()) == Ok(self.pid)
    }
}

/// Asks whether the role at `address` is ready.
///
/// # Errors
///
/// If it is not, or does not answer.
pub async fn probe(address: &Address) -> Result<Health, CallError> {
    Http::new(address, Access::default()).get("/readyz", PROBE_LIMIT).await
}

/// Asks whether a process lives at `address`.
///
/// # Errors
///
/// If none answers.
pub async fn probe_alive(address: &Address) -> Result<Health, CallError> {
    Http::new(address, Access::default()).get("/healthz", PROBE_LIMIT).await
}

/// Why a role is not ready, in its own words if it answered.
#[must_use]
pub fn reason(error: CallError) -> String {
    match error {
        CallError::Refused { message, .. } => message,
        CallError::Unreachable(_) => error.to_string(),
    }
}

/// Asks until the role at `address` is ready, for at most `time_limit`.
///
/// # Errors
///
/// The last answer, if it was not ready by then.
pub async fn await_ready(address: &Address, time_limit: Duration) -> Result<Health, CallError> {
    let deadline = clock::now() + time_limit;
    loop {
        match probe(address).await {
            Ok(health) => return Ok(health),
            Err(error) if clock::now() >= deadline => return Err(error),
            Err(_not_yet) => actix_web::rt::time::sleep(PROBE_INTERVAL).await,
        }
    }
}
