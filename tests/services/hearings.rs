//! A catalog that may have gone back in time: the test plays the replicas that it hears, and a
//! front-end that relays what they said.

use std::time::Duration;

use toystore::clock;
use toystore::wire::calls::LogReport;
use toystore::wire::order::Position;
use toystore::wire::replication::{CatalogReport, CatalogStatus, ReplicaId};

use crate::eventually::eventually;
use crate::neighbours::{CatalogRole, Running, Store};

const REPLICAS: [ReplicaId; 3] = [ReplicaId(1), ReplicaId(2), ReplicaId(3)];
/// A lease, and what the catalog adds to it.
const LEASE_AT_THE_CATALOG: Duration = Duration::from_millis(1_250);

impl Running<CatalogRole> {
    /// Reports logs that end here, and returns why nothing is sold after that.
    async fn report(&self, own: Option<ReplicaId>, relayed: &[ReplicaId], end: Position) -> String {
        let report = LogReport {
            own: own.map(|replica| (replica, end)),
            relayed: relayed.iter().map(|replica| (*replica, end)).collect(),
        };
        let report: CatalogReport = self.post("/internal/report", report).await.data();
        report.stopped.unwrap_or_default()
    }
}

#[actix_web::test]
async fn a_replica_is_heard_when_it_reports_itself_and_not_when_a_front_end_relays_its_log() {
    let catalog = Store::new().run_catalog_that_hears();
    for _ in 0..2 {
        let stopped = catalog.report(None, &REPLICAS, Position::START).await;
        assert!(stopped.contains("sales wait for order-1, order-2, order-3"), "{stopped:?}");
    }
    for (replica, others) in [(1, "order-2, order-3:"), (2, "order-3:")] {
        let stopped = catalog.report(Some(ReplicaId(replica)), &[], Position::START).await;
        assert!(stopped.contains(&format!("sales wait for {others}")), "{stopped:?}");
    }
    let stopped = catalog.report(Some(ReplicaId(3)), &REPLICAS, Position::START).await;
    assert_eq!(stopped, "");
}

#[actix_web::test]
async fn what_replicas_report_counts_when_the_calls_to_the_last_run_are_over() {
    let store = Store::new();
    let catalog = store.run_catalog().led_by(3).await;
    catalog.buy("a", "Tux", 1).await;
    let CatalogStatus { journal, .. } = catalog.status().await;
    catalog.stop().await;
    // Without its marker the database may be a copy from before.
    std::fs::remove_file(store.database("catalog").with_extension("marker")).expect("it is there");
    let began = clock::now();
    let catalog = store.run_catalog_that_hears();
    eventually("all replicas are heard", async || {
        let mut stopped = String::new();
        for replica in REPLICAS {
            stopped = catalog.report(Some(replica), &[], journal).await;
        }
        stopped.is_empty()
    })
    .await;
    let took = began.elapsed();
    assert!(took >= LEASE_AT_THE_CATALOG, "sales began after {took:?}");
}
