//! Two catalogs on PostgreSQL: the one that rules is cut off from the database, from the other
//! roles, or from both, and the other one rules.
//!
//! No client sees an error, no stock is shown that is older than another client has seen, and no
//! order is lost or doubled.

use crate::clients::Clients;
use crate::postgres;
use crate::processes::{Settings, frontend_name};
use crate::proxied_store::{Store, database_name, settings};
use crate::proxies::State;
use crate::shared_store::{active, await_another_than, await_standby, copy_database};

/// How many servers the database has.
const SERVERS: usize = 3;

/// How a link fails, in turn: connections are reset; no byte arrives; answers do not arrive.
const CUTS: [State; 3] = [State::Cut, State::HELD, State::ANSWERS_HELD];

/// The other ends of the links that fail.
#[derive(Clone, Copy)]
enum CutFrom {
    Database,
    FrontEnds,
    Both,
}

/// Cuts off the catalog that rules, in each way in turn, while clients shop.
async fn cut_off(from: CutFrom) {
    if postgres::missing().is_some() {
        return;
    }
    let servers = postgres::shared().await;
    let database = servers.new_database(0);
    let store =
        Store::open_sharing(Settings { frontends: 2, ..settings() }, servers, &database).await;
    let clients = Clients::start(&store.frontends);
    for state in CUTS {
        clients.await_orders(20).await;
        let (first, other) = active(&store).await;
        if matches!(from, CutFrom::Database | CutFrom::Both) {
            for number in 0..SERVERS {
                store.network.set(&first, &database_name(number), state);
            }
        }
        if matches!(from, CutFrom::FrontEnds | CutFrom::Both) {
            for frontend in [1, 2].map(frontend_name) {
                store.network.set(&frontend, &first, state);
                store.network.set(&first, &frontend, state);
            }
        }
        await_another_than(&store, &first).await;
        clients.await_orders(50).await;
        // What waited on its way arrives now.
        store.network.heal();
        await_standby(&store, &first).await;
        clients.await_orders(50).await;
        assert_eq!(active(&store).await.0, other, "{state:?}: it rules again");
    }
    let history = clients.finish().await;
    copy_database(&store, servers, 0, &database);
    history.check(&store).await;
}

#[actix_web::test]
async fn no_client_notices_that_the_catalog_is_cut_off_from_the_database() {
    cut_off(CutFrom::Database).await;
}

#[actix_web::test]
async fn no_client_notices_that_the_catalog_is_cut_off_from_the_front_ends() {
    cut_off(CutFrom::FrontEnds).await;
}

#[actix_web::test]
async fn no_client_notices_that_the_catalog_is_cut_off_from_the_database_and_the_front_ends() {
    cut_off(CutFrom::Both).await;
}
