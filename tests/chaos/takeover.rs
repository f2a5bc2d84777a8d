//! Two catalogs on PostgreSQL: the one that rules is cut off from the database, from the other
//! roles, or from both, and the other one rules; or both are cut off in turn, and one is mended.
//!
//! No client sees an error, no stock is shown that is older than another client has seen, and no
//! order is lost or doubled.

use crate::clients::Clients;
use crate::eventually::eventually;
use crate::postgres::{self, Servers};
use crate::processes::{Settings, frontend_name};
use crate::proxied_store::{Store, database_name, settings};
use crate::proxies::State;
use crate::shared_store::{active, await_another_than, await_standby, copy_database, ruler};

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

/// Starts a store with two catalogs. Returns it with its database's servers and name.
async fn open() -> Option<(Store, &'static Servers, String)> {
    if postgres::missing().is_some() {
        return None;
    }
    let servers = postgres::shared().await;
    let database = servers.new_database(0);
    let settings = Settings { frontends: 2, ..settings() };
    Some((Store::open_sharing(settings, servers, &database).await, servers, database))
}

/// Sets the links between a catalog and the database, the front-ends or both.
fn set_links(store: &Store, catalog: &str, from: CutFrom, state: State) {
    if matches!(from, CutFrom::Database | CutFrom::Both) {
        for number in 0..SERVERS {
            store.network.set(catalog, &database_name(number), state);
        }
    }
    if matches!(from, CutFrom::FrontEnds | CutFrom::Both) {
        for frontend in [1, 2].map(frontend_name) {
            store.network.set(&frontend, catalog, state);
            store.network.set(catalog, &frontend, state);
        }
    }
}

/// Cuts off the catalog that rules, in each way in turn, while clients shop.
async fn cut_off(from: CutFrom) {
    let Some((store, servers, database)) = open().await else { return };
    let clients = Clients::start(&store.frontends);
    for state in CUTS {
        clients.await_orders(20).await;
        let (first, other) = active(&store).await;
        set_links(&store, &first, from, state);
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

/// Cuts off the catalog that rules, then the one that follows it as well, and mends one of them,
/// while clients shop. Meanwhile they see errors: no catalog can serve.
async fn cut_off_in_turn(from: CutFrom) {
    let Some((store, servers, database)) = open().await else { return };
    let clients = Clients::start(&store.frontends);
    for is_first_mended in [true, false] {
        clients.await_orders_despite_errors(20).await;
        let (first, other) = active(&store).await;
        set_links(&store, &first, from, State::Cut);
        await_another_than(&store, &first).await;
        clients.await_orders_despite_errors(20).await;
        set_links(&store, &other, from, State::Cut);
        eventually("no catalog rules according to a front-end", async || {
            ruler(&store, 0).await.is_none() && ruler(&store, 1).await.is_none()
        })
        .await;
        let (mended, cut_off) = if is_first_mended { (first, other) } else { (other, first) };
        set_links(&store, &mended, from, State::OPEN);
        await_another_than(&store, &cut_off).await;
        clients.await_orders_despite_errors(50).await;
        store.network.heal();
        await_standby(&store, &cut_off).await;
        clients.await_orders_despite_errors(50).await;
        assert_eq!(active(&store).await.0, mended, "the catalog that is reached keeps its term");
    }
    let history = clients.finish_despite_errors().await;
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

#[actix_web::test]
async fn a_store_sells_again_when_one_of_two_catalogs_that_lost_the_database_is_mended() {
    cut_off_in_turn(CutFrom::Database).await;
}

#[actix_web::test]
async fn a_store_sells_again_when_one_of_two_catalogs_that_lost_the_front_ends_is_mended() {
    cut_off_in_turn(CutFrom::FrontEnds).await;
}

#[actix_web::test]
async fn a_store_sells_again_when_one_of_two_catalogs_that_lost_both_is_mended() {
    cut_off_in_turn(CutFrom::Both).await;
}
