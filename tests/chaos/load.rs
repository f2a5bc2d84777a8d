//! As much work as the machine can do is no failure.

use std::time::Duration;

use crate::clients::{Clients, Size};
use crate::processes::{Settings, now};
use crate::proxied_store::{Store, settings};

/// How long the store is kept busy.
const OBSERVATION: Duration = Duration::from_secs(6);

#[actix_web::test]
async fn saturating_load_selects_no_new_leader_and_drops_no_session() {
    let store = Store::open_alone(Settings { frontends: 2, ..settings() }).await;
    let leadership = store.leadership(0).await;
    let clients = Clients::of(Size { buyers: 64, readers: 32, order_readers: 8 }, &store.frontends);
    let end = now() + OBSERVATION;
    while now() < end {
        clients.await_orders(100).await;
    }
    assert_eq!(store.leadership(0).await, leadership);
    let history = clients.finish().await;
    for frontend in ["frontend", "frontend-2"] {
        assert_eq!(store.count_in_log(frontend, "with the catalog begins"), 1, "{frontend}");
        assert_eq!(store.count_in_log(frontend, "has run out"), 0, "{frontend}");
    }
    for replica in ["order-1", "order-2", "order-3"] {
        assert_eq!(store.count_in_log(replica, "is slow"), 0, "{replica} saw a slow follower");
    }
    history.check(&store).await;
}
