//! A call to a role as a person makes it: with the secret, the role and the store that another role
//! would send along.

use std::time::Duration;

use clap::Args;
use futures_util::future::select_ok;

use super::{Cluster, RoleName, VerbError, VerbResult};
use crate::process;
use crate::roles::Roles;
use crate::transport::Http;
use crate::wire::calls::{Call as _, Caller, GetCatalogStatus};
use crate::wire::identity::{Addressee, StoreId};
use crate::wire::replication::CatalogReport;

/// For the answer: longer than a front-end takes for a purchase.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// For a catalog to say which store this is. Without it, the call names no store.
const STORE_LIMIT: Duration = Duration::from_secs(1);

/// Whom to ask for what.
#[derive(Debug, Args)]
pub struct CallArguments {
    /// The role: catalog, order-1, frontend, frontend-2, …
    role: String,
    /// The path, such as /internal/status or /cluster.
    path: String,
    /// The body; the request is a POST then, else a GET.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
}

/// Makes the call and prints the answer.
pub(super) async fn call(cluster: &Cluster, arguments: CallArguments) -> VerbResult {
    let CallArguments { role, path, data } = arguments;
    let role = cluster.role("call", RoleName { role: Some(role) })?;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(VerbError::Usage(format!(
            "{path:?} is not a path; it begins with a slash and is visible ASCII, such as \
             /internal/status"
        )));
    }
    let roles = cluster.roles.clone().join_run()?;
    let roles = roles.with_certificates(None)?;
    let store = store(&roles).await;
    let meant_for = Some(Addressee { role: role.to_string(), store });
    let caller = Caller { meant_for, ..Caller::default() };
    let http = Http::new(cluster.address_of(role), roles.access());
    let answer = http.exchange(&path, data, ANSWER_LIMIT, &caller).await;
    let (status, body) = answer.map_err(|error| {
        let address = cluster.address_of(role);
        VerbError::Problem(format!("{role} at {address} gave no answer: {error}"))
    })?;
    let end: &[u8] = if body.ends_with(b"\n") { b"" } else { b"\n" };
    process::print(&[&body, end].concat())
        .map_err(|error| VerbError::Problem(format!("cannot print the answer: {error}")))?;
    if (200..300).contains(&status) { Ok(()) } else { Err(VerbError::Reported) }
}

/// Which store this is, if a catalog says it: of several, those that stand by may not.
async fn store(roles: &Roles) -> Option<StoreId> {
    let path = format!("/internal{}", GetCatalogStatus {}.path());
    let asked = roles.catalog.roles().into_iter().filter_map(|role| roles.address_of(role));
    let asked = asked.map(|address| {
        let (catalog, path) = (Http::new(address, roles.access()), &path);
        let ask = async move {
            let report: CatalogReport = catalog.get(path, STORE_LIMIT).await.map_err(drop)?;
            report.store.ok_or(())
        };
        Box::pin(ask)
    });
    let (store, _others) = select_ok(asked).await.ok()?;
    Some(store)
}
