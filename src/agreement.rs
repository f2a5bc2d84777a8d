//! Whether the `roles.toml` of this process agrees with those of its peers about who is where.
//!
//! A call that reaches another process than it was meant for is refused (see
//! [`identity`](crate::identity)). That tells the caller; but the process whose file is wrong may
//! be the one that is called, and it would only notice that no calls arrive. So each process asks
//! all others at its start for what their files say, and logs what disagrees:
//!
//! ```text
//! front-end 2: roles.toml here and at the catalog disagree: 127.0.0.1:8080 is frontend-2 here and
//!              frontend there; …
//! ```
//!
//! Two files may have different addresses for one role: an address is where *this* machine reaches
//! it. They disagree if one address stands for two roles, or if one of them lacks a role.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;
use crate::roles::{Role, Roles};
use crate::shutdown::Shutdown;
use crate::transport::{CallError, MISDIRECTED, Peer};
use crate::wire::calls::GetRoles;
use crate::wire::identity::ListedRole;

/// A list of some roles, from memory.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The pause before a peer that did not answer is asked again: it may be started later.
const PAUSE: Duration = Duration::from_secs(1);

/// Has this process say what its `roles.toml` says, and compare it with those of its peers, each of
/// which is asked until it has answered once.
pub fn start(
    roles: &Roles,
    identity: &Arc<Identity>,
    connect: impl Fn(Role) -> Peer,
    shutdown: &Shutdown,
) {
    identity.set_listed(listed(roles));
    for role in roles.in_start_order().into_iter().filter(|role| *role != identity.role()) {
        let (peer, identity) = (connect(role), Arc::clone(identity));
        shutdown.spawn("the comparison of roles.toml", async move {
            if let Some(theirs) = ask(&peer).await {
                let disagreements = disagreements(&identity.listed(), &theirs);
                if !disagreements.is_empty() {
                    log::warn!(
                        "roles.toml here and at {role} disagree: {}; give all roles the same \
                         roles.toml",
                        disagreements.join(", ")
                    );
                }
            }
        });
    }
}

/// Asks a peer for what its file says, until it answers. `None` if it does not say.
async fn ask(peer: &Peer) -> Option<Vec<ListedRole>> {
    loop {
        match peer.call(&GetRoles {}, TIMEOUT).await {
            Ok(theirs) => return Some(theirs),
            // The peer itself may come to this address later.
            Err(CallError::Unreachable(_) | CallError::Refused { status: MISDIRECTED, .. }) => {}
            Err(CallError::Refused { .. }) => return None,
        }
        actix_web::rt::time::sleep(PAUSE).await;
    }
}

fn listed(roles: &Roles) -> Vec<ListedRole> {
    let all = roles.in_start_order().into_iter();
    let listed = all.filter_map(|role| {
        let address = roles.address_of(role)?.to_string();
        Some(ListedRole { role: role.to_string(), address })
    });
    listed.collect()
}

/// What two files disagree about.
fn disagreements(ours: &[ListedRole], theirs: &[ListedRole]) -> Vec<String> {
    let two_roles = ours.iter().filter_map(|here| {
        let there = theirs.iter().find(|there| there.address == here.address)?;
        let differs = here.role != there.role;
        differs.then(|| format!("{} is {} here and {} there", here.address, here.role, there.role))
    });
    let lacks = |list: &[ListedRole], role: &str| list.iter().all(|listed| listed.role != role);
    let here_only = ours.iter().filter(|here| lacks(theirs, &here.role));
    let there_only = theirs.iter().filter(|there| lacks(ours, &there.role));
    two_roles
        .chain(here_only.map(|here| format!("{} is only here", here.role)))
        .chain(there_only.map(|there| format!("{} is only there", there.role)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(roles: &[(&str, &str)]) -> Vec<ListedRole> {
        let listed = |(role, address): &(&str, &str)| ListedRole {
            role: (*role).to_owned(),
            address: (*address).to_owned(),
        };
        roles.iter().map(listed).collect()
    }

    #[test]
    fn files_disagree_about_who_is_where_and_not_about_how_to_get_there() {
        let here = list(&[("catalog", "h:1"), ("order-1", "h:2"), ("order-2", "h:3")]);
        assert_eq!(disagreements(&here, &here), Vec::<String>::new());
        let elsewhere = list(&[("catalog", "proxy:1"), ("order-1", "i:7"), ("order-2", "h:9")]);
        assert_eq!(disagreements(&here, &elsewhere), Vec::<String>::new());
        let swapped = list(&[("catalog", "h:1"), ("order-1", "h:3"), ("order-2", "h:2")]);
        assert_eq!(
            disagreements(&here, &swapped),
            ["h:2 is order-1 here and order-2 there", "h:3 is order-2 here and order-1 there"]
        );
        let fewer = list(&[("catalog", "h:1"), ("order-1", "h:2"), ("order-9", "h:4")]);
        assert_eq!(disagreements(&here, &fewer), ["order-2 is only here", "order-9 is only there"]);
    }
}
