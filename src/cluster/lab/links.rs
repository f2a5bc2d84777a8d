//! The links between roles: a proxy for each pair of which one calls the other.
//!
//! ```text
//! order-3 ── 127.0.0.1:40007 ──► proxy ──► 127.0.0.1:8081 catalog
//!            (TOYSTORE_LINKS)      │
//!                                  └─ open, slow, held or cut
//! ```
//!
//! A link is directed: from the role that calls to the role that answers. Its proxy carries the
//! calls and their answers. Clients reach front-ends directly.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use links::{Link, State, Way};
use serde::{Deserialize, Serialize};

use super::place::WayBetween;
use super::roles::LabRefusal;
use super::{Lab, listen};
use crate::cluster::terminal::say;
use crate::roles::{Role, Roles};
use crate::tls;

/// The longest delay: beyond it, every call has run out, as on a link that is held.
const LONGEST_DELAY_MS: u64 = 10_000;

/// The links of a store.
#[derive(Default)]
pub(super) struct Links(Vec<ProxiedLink>);

/// One link.
struct ProxiedLink {
    from: Role,
    to: Role,
    proxy: Link,
    /// Where it accepts connections: host and port.
    address: String,
    condition: Mutex<LinkCondition>,
}

/// What happens on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cluster) struct LinkCondition {
    pub(in crate::cluster) state: Passage,
    /// How much later bytes arrive, in both directions.
    #[serde(default)]
    pub(in crate::cluster) delay_ms: u64,
}

/// Whether anything passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cluster) enum Passage {
    /// Everything does.
    Open,
    /// Connections are accepted, and no byte passes until the link is opened again.
    Held,
    /// Connections are reset, and new ones refused.
    Cut,
}

/// A link as the page sees it.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cluster) struct LinkView {
    pub(in crate::cluster) from: String,
    pub(in crate::cluster) to: String,
    #[serde(flatten)]
    pub(in crate::cluster) condition: LinkCondition,
}

impl Links {
    /// Listens for each pair of roles of which one calls the other. A proxy has the host of the
    /// role that answers, so that this role's certificate is for it, too. The proxies run on this
    /// thread's runtime, until the links are dropped.
    pub(super) fn open(roles: &Roles) -> std::io::Result<Self> {
        let pairs = pairs(roles).into_iter().map(|(from, to)| {
            let target = roles.address_of(to).expect("both are roles of the file");
            let host = target.host();
            let listener = listen(roles, tls::bare(host.as_str()))?;
            let (proxy, work) = Link::new(listener, target.to_string(), State::OPEN)?;
            let _task = tokio::spawn(work);
            let address = format!("{}:{}", host.as_str(), proxy.address().port());
            let condition = Mutex::new(LinkCondition { state: Passage::Open, delay_ms: 0 });
            Ok(ProxiedLink { from, to, proxy, address, condition })
        });
        pairs.collect::<std::io::Result<_>>().map(Self)
    }

    /// Where each role reaches the others.
    pub(super) fn routes(&self) -> Vec<WayBetween> {
        let route = |link: &ProxiedLink| WayBetween {
            from: link.from.to_string(),
            to: link.to.to_string(),
            address: link.address.clone(),
        };
        self.0.iter().map(route).collect()
    }

    fn views(&self) -> Vec<LinkView> {
        self.0.iter().map(ProxiedLink::view).collect()
    }
}

impl ProxiedLink {
    fn view(&self) -> LinkView {
        let condition = *self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        LinkView { from: self.from.to_string(), to: self.to.to_string(), condition }
    }
}

impl Lab {
    /// Returns every link.
    pub(super) fn link_views(&self) -> Vec<LinkView> {
        self.links.views()
    }

    /// Changes what happens on a link, to connections that there are as well.
    pub(super) fn set_link(
        &self,
        from: Role,
        to: Role,
        condition: LinkCondition,
    ) -> Result<LinkView, LabRefusal> {
        if condition.delay_ms > LONGEST_DELAY_MS {
            let problem = format!("delay_ms is at most {LONGEST_DELAY_MS}");
            return Err(LabRefusal(StatusCode::BAD_REQUEST, problem));
        }
        let link = self.links.0.iter().find(|link| (link.from, link.to) == (from, to));
        let Some(link) = link else {
            let problem = format!("there is no link from {from} to {to}: {from} never calls {to}");
            return Err(LabRefusal(StatusCode::NOT_FOUND, problem));
        };
        link.proxy.set(condition.of_proxy());
        *link.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
        say(format_args!("the link from {from} to {to} is {condition}"));
        Ok(link.view())
    }
}

impl LinkCondition {
    fn of_proxy(self) -> State {
        match self.state {
            Passage::Cut => State::Cut,
            Passage::Held => State::HELD,
            Passage::Open if self.delay_ms == 0 => State::OPEN,
            Passage::Open => {
                // Half of it on the way there, so that a call takes this much longer.
                let way = Way::Late(Duration::from_millis(self.delay_ms) / 2);
                State::Up { requests: way, answers: way }
            }
        }
    }
}

impl std::fmt::Display for LinkCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.state, self.delay_ms) {
            (Passage::Cut, _) => f.write_str("cut"),
            (Passage::Held, _) => f.write_str("held"),
            (Passage::Open, 0) => f.write_str("open"),
            (Passage::Open, delay) => write!(f, "slow: {delay} ms"),
        }
    }
}

/// Which role calls which, in the course of its work.
fn pairs(roles: &Roles) -> Vec<(Role, Role)> {
    let all = roles.in_start_order();
    let calls = |from: Role, to: Role| {
        from != to && !matches!((from, to), (Role::Order(_), Role::Frontend(_)))
    };
    let pairs = all.iter().flat_map(|from| all.iter().map(|to| (*from, *to)));
    pairs.filter(|(from, to)| calls(*from, *to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_each_role_to_each_that_it_calls() {
        let text = include_str!("../../../roles.toml");
        let roles = Roles::parse(text, std::path::Path::new("roles.toml")).unwrap();
        let pairs = pairs(&roles);
        let to = |from: &str| -> Vec<String> {
            let own = pairs.iter().filter(|(one, _)| one.to_string() == from);
            own.map(|(_, to)| to.to_string()).collect()
        };
        assert_eq!(to("frontend"), ["catalog", "order-1", "order-2", "order-3"]);
        assert_eq!(to("catalog"), ["order-1", "order-2", "order-3", "frontend"]);
        assert_eq!(to("order-2"), ["catalog", "order-1", "order-3"]);
    }

    #[test]
    fn a_condition_says_what_it_does() {
        let told = |text: &str| serde_json::from_str::<LinkCondition>(text).unwrap().to_string();
        assert_eq!(told(r#"{"state":"open"}"#), "open");
        assert_eq!(told(r#"{"state":"open","delay_ms":300}"#), "slow: 300 ms");
        assert_eq!(told(r#"{"state":"held","delay_ms":0}"#), "held");
        assert_eq!(told(r#"{"state":"cut"}"#), "cut");
        for wrong in ["{}", r#"{"state":"lossy"}"#, r#"{"state":"cut","pid":1}"#] {
            assert!(serde_json::from_str::<LinkCondition>(wrong).is_err(), "{wrong}");
        }
    }
}
