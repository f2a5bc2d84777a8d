//! `/metrics` of catalogs that share a database on PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use toystore::roles::{Access, Address};
use toystore::transport::Http;
use toystore::wire::calls::Caller;

use crate::eventually::{TIME_LIMIT, eventually};
use crate::postgres;
use crate::processes::{Cluster, buy};
use crate::prometheus::{is_accepted_by_promtool, value};
use crate::shared_store::{active, await_standby};
use crate::takeover::{self, SETTINGS};

const RULES: &str = include_str!("../../eval/observe/alerts.yml");

pub(crate) async fn scraped(cluster: &Cluster, role: &str) -> String {
    let address = Address::try_from(cluster.address(role)).unwrap();
    let http = Http::new(&address, Access::default());
    let answer = http.exchange("/metrics", None, TIME_LIMIT, &Caller::default()).await;
    let (status, body) = answer.unwrap();
    assert_eq!(status, 200);
    String::from_utf8(body.to_vec()).unwrap()
}

/// Whether a metric has this value.
fn is(text: &str, metric: &str, expected: f64) -> bool {
    (value(text, metric) - expected).abs() < f64::EPSILON
}

#[actix_web::test]
async fn catalogs_that_share_a_database_tell_its_commits_its_decisions_and_its_standbys() {
    if postgres::missing().is_some() {
        return;
    }
    let servers = postgres::shared().await;
    let (mut cluster, _) = takeover::start(servers).await;
    let (first, other) = active(&cluster).await;
    let frontend = cluster.frontends[0].clone();
    let too_many = SETTINGS.initial_stock + 1;
    for (key, quantity, status) in [("a", 1, 200), ("b", too_many, 409)] {
        let (answered, body) = buy(&frontend, "Tux", quantity, key).await.unwrap();
        assert_eq!(answered, status, "{body}");
    }
    let text = eventually("the decisions are counted", async || {
        let text = scraped(&cluster, &first).await;
        text.contains("toystore_decisions_kept ").then_some(text)
    })
    .await;
    for (metric, expected) in [
        ("toystore_active", 1.0),
        ("toystore_sells", 1.0),
        ("toystore_orders", 1.0),
        ("toystore_decisions_kept", 2.0),
        ("toystore_database_jobs_waiting", 0.0),
        ("toystore_database_orders", 1.0),
        ("toystore_database_standbys", 2.0),
        ("toystore_database_standbys_required", 1.0),
    ] {
        assert!(is(&text, metric, expected), "{metric}: {text}");
    }
    assert!(value(&text, "toystore_database_commit_seconds_count") > 1.5, "{text}");
    assert!(value(&text, "toystore_decisions_kept_bytes") > 2.0);
    is_accepted_by_promtool(&text);
    // Names that only such a catalog has.
    for name in RULES.split(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
        if name.starts_with("toystore_database_standbys") {
            assert!(text.contains(&format!("\n{name} ")), "a rule names {name}: {text}");
        }
    }

    await_standby(&cluster, &other).await;
    let text = eventually("the other catalog has seen the order", async || {
        let text = scraped(&cluster, &other).await;
        is(&text, "toystore_database_orders", 1.0).then_some(text)
    })
    .await;
    for (metric, expected) in [
        ("toystore_active", 0.0),
        ("toystore_sells", 0.0),
        ("toystore_ready", 1.0),
        ("toystore_database_commit_seconds_count", 0.0),
        ("toystore_database_jobs_waiting", 0.0),
        ("toystore_database_standbys", 2.0),
    ] {
        assert!(is(&text, metric, expected), "{metric}: {text}");
    }
    assert!(!text.contains("toystore_decisions_kept"), "it does not know: {text}");
    is_accepted_by_promtool(&text);

    // The next term finds what the last one has recorded.
    cluster.kill(&first);
    eventually("the other catalog has counted them", async || {
        let text = scraped(&cluster, &other).await;
        text.contains("toystore_decisions_kept ") && is(&text, "toystore_decisions_kept", 2.0)
    })
    .await;
}
