//! What `toystore link` does: it asks the laboratory of a running store to cut, hold, slow or mend
//! a link between two roles.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::lab::links::{LinkCondition, LinkView, Passage};
use super::lab::place::LabPlace;
use super::terminal::say;
use super::{Cluster, RoleName, VerbError, VerbResult};
use crate::wire::reply::{Data, Failure};

/// A laboratory only turns a switch.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Which link, and what is to happen on it.
#[derive(Debug, Args)]
pub struct LinkArguments {
    /// The role that calls.
    #[arg(requires = "to")]
    from: Option<String>,
    /// The role that answers.
    #[arg(requires = "state")]
    to: Option<String>,
    /// What is to happen.
    state: Option<LinkState>,
    /// How much longer calls take on a slow link.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    delay_ms: u64,
}

/// What is to happen on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LinkState {
    /// Connections are reset, and new ones refused, as by a firewall.
    Cut,
    /// Connections are accepted, and nothing arrives until the link is mended.
    Hold,
    /// Calls take longer.
    Slow,
    /// Everything passes.
    Mend,
}

#[derive(Deserialize)]
struct LabLinks {
    links: Vec<LinkView>,
}

/// Changes a link, or lists all.
pub(super) async fn link(cluster: &Cluster, arguments: &LinkArguments) -> VerbResult {
    let Some(place) = LabPlace::find(&cluster.roles) else {
        let up = cluster.invocation.verb("up --lab");
        let problem =
            "no laboratory runs for this store, so there are no links to change; run the store by";
        return Err(VerbError::Problem(format!("{problem} {up}")));
    };
    let LinkArguments { from: Some(from), to: Some(to), state: Some(state), delay_ms } = arguments
    else {
        let links: LabLinks = ask(&place, "/lab", None).await?;
        links.links.iter().for_each(show);
        return Ok(());
    };
    let role = |name: &String| cluster.role("link", RoleName { role: Some(name.clone()) });
    let path = format!("/lab/links/{}/{}", role(from)?, role(to)?);
    show(&ask(&place, &path, Some(state.condition(*delay_ms))).await?);
    Ok(())
}

impl LinkState {
    fn condition(self, delay_ms: u64) -> LinkCondition {
        let (state, delay_ms) = match self {
            Self::Cut => (Passage::Cut, 0),
            Self::Hold => (Passage::Held, 0),
            Self::Slow => (Passage::Open, delay_ms),
            Self::Mend => (Passage::Open, 0),
        };
        LinkCondition { state, delay_ms }
    }
}

fn show(link: &LinkView) {
    say(format_args!("{:<12} -> {:<12} {}", link.from, link.to, link.condition));
}

/// Asks the laboratory as its page does.
async fn ask<A: DeserializeOwned>(
    place: &LabPlace,
    path: &str,
    body: Option<LinkCondition>,
) -> Result<A, VerbError> {
    let failed = |error: &dyn std::fmt::Display| {
        VerbError::Problem(format!("the laboratory at {} gave no answer: {error}", place.address))
    };
    let url = format!("http://{}{path}", place.address);
    let client = awc::Client::new();
    let request = if body.is_some() { client.post(url) } else { client.get(url) };
    let request = request.timeout(ANSWER_LIMIT).insert_header((super::lab::TOKEN, &*place.token));
    let sending = match body {
        Some(body) => request.send_json(&body),
        None => request.send(),
    };
    let mut response = sending.await.map_err(|error| failed(&error))?;
    let body = response.body().await.map_err(|error| failed(&error))?;
    if !response.status().is_success() {
        let said = serde_json::from_slice::<Failure>(&body);
        let said = said.map_or_else(|_| response.status().to_string(), |it| it.error.message);
        return Err(VerbError::Problem(said));
    }
    let answer: Data<A> = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    Ok(answer.data)
}
