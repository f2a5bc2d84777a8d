//! A role that starts with a `roles.toml` that disagrees with its peers' about ids says in one line
//! what disagrees, whichever two roles they are. It refuses what it cannot do then, with the
//! reason.

use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, buy, get};

/// Starts a role anew with a `roles.toml` of its own, and returns the line in which it says what
/// disagrees with `peer`'s.
async fn line_of(cluster: &mut Cluster, role: &str, text: &str, peer: &str) -> String {
    cluster.give_own_roles(role, text);
    cluster.kill(role);
    cluster.start_role(role);
    let begins = format!("roles.toml here and at {peer} disagree: ");
    let line = eventually(&format!("{role} says what disagrees with {peer}"), async || {
        let log = cluster.log(role);
        log.lines().find(|line| line.contains(&begins)).map(str::to_owned)
    })
    .await;
    assert_eq!(cluster.log(role).matches(&begins).count(), 1, "it is said once");
    assert!(
        line.contains("WARN") && line.ends_with("give all roles the same roles.toml"),
        "{line}"
    );
    line
}

/// The text of `roles.toml` in which two roles have each other's address.
fn swapped(cluster: &Cluster, one: &str, other: &str) -> String {
    let text = std::fs::read_to_string(cluster.roles()).expect("it is readable");
    let (one, other) = (cluster.address(one), cluster.address(other));
    text.replace(&one, "?").replace(&other, &one).replace('?', &other)
}

#[actix_web::test]
async fn a_front_end_says_what_disagrees_with_the_catalog_and_with_a_replica() {
    let mut cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    let text = swapped(&cluster, "frontend", "frontend-2");
    let address = cluster.address("frontend-2");
    cluster.kill("frontend-2");
    for peer in ["catalog", "order-1"] {
        let line = line_of(&mut cluster, "frontend", &text, peer).await;
        assert!(line.contains(&format!("{address} is frontend here and frontend-2 there")));
        // Each peer is told apart by a log of its own.
        std::fs::remove_file(cluster.data("frontend.log")).expect("it can be removed");
    }
}

#[actix_web::test]
async fn a_replica_says_what_disagrees_with_the_catalog_with_a_front_end_and_with_a_replica() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let text = swapped(&cluster, "order-1", "order-2");
    let address = cluster.address("order-2");
    cluster.kill("order-2");
    for peer in ["catalog", "frontend", "order-3"] {
        let line = line_of(&mut cluster, "order-1", &text, peer).await;
        assert!(line.contains(&format!("{address} is order-1 here and order-2 there")), "{line}");
        std::fs::remove_file(cluster.data("order-1.log")).expect("it can be removed");
    }
}

#[actix_web::test]
async fn a_catalog_says_which_role_its_peers_know_and_it_does_not() {
    let mut cluster = Cluster::start(Settings { frontends: 2, ..Settings::default() }).await;
    let text = std::fs::read_to_string(cluster.roles()).expect("it is readable");
    let second = format!("[[frontend]]\naddress = \"{}\"\n", cluster.address("frontend-2"));
    let line = line_of(&mut cluster, "catalog", &text.replace(&second, ""), "order-2").await;
    assert!(line.contains("disagree: frontend-2 is only there;"), "{line}");
    // The front-end that it does not know is told, too.
    eventually("the front-end says that its registration is refused", async || {
        cluster.log("frontend-2").contains("the catalog's roles.toml has no front-end 2")
    })
    .await;
}

#[actix_web::test]
async fn a_front_end_that_takes_two_replicas_for_each_other_sells_through_the_third_and_says_so() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let text = swapped(&cluster, "order-2", "order-3");
    let line = line_of(&mut cluster, "frontend", &text, "order-1").await;
    let address = cluster.address("order-2");
    assert!(line.contains(&format!("{address} is order-3 here and order-2 there")), "{line}");
    let frontend = cluster.frontends[0].clone();
    eventually("it sells through order-1", async || {
        matches!(buy(&frontend, "Tux", 1, "a").await, Ok((200, _)))
    })
    .await;
    assert_eq!(cluster.leader().await, "order-1");
    let log = cluster.log("frontend");
    for role in ["order-2", "order-3"] {
        let said = format!("another process answers at the address of {role}: ");
        assert_eq!(log.matches(&said).count(), 1, "{log}");
    }

    // Without the third, nothing is sold, and the reason is named.
    cluster.kill("order-1");
    eventually("it is not ready, and says why", async || {
        let answer = get(&frontend, "/readyz").await;
        answer.is_ok_and(|(status, body)| {
            let reason =
                "no order replica leads; another process answers as order-3: this is order-2";
            status == 503 && body.to_string().contains(reason)
        })
    })
    .await;
}
