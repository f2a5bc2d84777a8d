//! The demo: the store runs, five clients shop, and the leader is killed and started again.

use std::future::pending;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::foreground::EndingSignals;
use super::lab::Lab;
use super::start::{POLL_INTERVAL, start_all, start_one};
use super::terminal::{complain, say};
use super::{Cluster, VerbError, VerbResult, guard, stop};
use crate::clock;
use crate::roles::{Access, Role};
use crate::transport::Http;
use crate::wire::replication::ReplicaId;

/// For a purchase, another leader, or equal databases. A front-end finds another leader within its
/// deadline for purchases.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// For one answer of the front-end.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What the clients do: enough purchases to see, and time for a change of leader.
const CLIENT: [&str; 9] = ["client", "-c", "5", "-d", "10s", "--rate", "100", "-p", "0.5"];

/// The demo's client, which ends with it.
struct Client(Option<Child>);

/// Runs the demo. Whatever happens, nothing runs at its end.
pub(super) async fn demo(cluster: &Cluster) -> VerbResult {
    cluster.refuse_if_running()?;
    let mut signals = EndingSignals::receive()?;
    let mut client = Client(None);
    // Beyond the loopback addresses, no page may kill roles.
    let lab = guard::is_on_loopback(cluster).then(|| Lab::open(cluster)).transpose()?;
    let shown = tokio::select! {
        biased; // Ctrl-C may have ended the client, too, or a role that just starts.
        () = signals.next() => Err(VerbError::Problem("the demo was ended early".to_owned())),
        ended = serve(lab.as_ref()) => ended,
        shown = show(cluster, lab.as_deref(), &mut client) => shown,
    };
    client.kill();
    say("");
    let stopped = match &lab {
        Some(lab) => lab.close(Ok(())).await,
        None => stop::down(cluster).await,
    };
    shown.and(stopped)
}

async fn serve(lab: Option<&Arc<Lab>>) -> VerbResult {
    match lab {
        Some(lab) => lab.serve(CancellationToken::new()).await,
        None => pending().await,
    }
}

async fn show(cluster: &Cluster, lab: Option<&Lab>, client: &mut Client) -> VerbResult {
    let cluster = lab.map_or(cluster, |lab| &lab.cluster);
    start_all(cluster).await?;
    say(format_args!("the store is open at {}", cluster.url()));
    if let Some(lab) = lab {
        say(format_args!("while this runs, a browser can break it:\n  {}", lab.page()));
    }
    let Some(first) = eventually(async || leader(cluster).await).await else {
        return Err(problem(format!("no leader within {} s", CHANGE_LIMIT.as_secs())));
    };
    let orders = last_orders(cluster).await;
    say("\nFive clients shop, and the leader crashes meanwhile.");
    client.start(cluster)?;
    let changed = change_leader(cluster, first, orders.as_ref()).await;
    let shopped = client.end().await;
    let compared = compare_databases(cluster).await;
    if let Ok(status) = shopped
        && !status.success()
    {
        return Err(problem(format!("the client failed ({status}); see its report")));
    }
    changed.and(compared)
}

/// Once purchases are under way, kills the leader, waits for another one, and starts the first.
async fn change_leader(
    cluster: &Cluster,
    first: ReplicaId,
    orders: Option<&Vec<Value>>,
) -> VerbResult {
    let limit = CHANGE_LIMIT.as_secs();
    let purchase = async || {
        let now = last_orders(cluster).await;
        (now.is_some() && now.as_ref() != orders).then_some(())
    };
    if eventually(purchase).await.is_none() {
        return Err(report(format!(
            "no purchase within {limit} s; if the store is sold out, wait for the next restock"
        )));
    }
    stop::kill(cluster, Role::Order(first)).await?;
    let another = async || leader(cluster).await.filter(|now| *now != first);
    let Some(next) = eventually(another).await else {
        return Err(report(format!("no other leader within {limit} s")));
    };
    say(format_args!("{} leads now", Role::Order(next)));
    start_one(cluster, Role::Order(first)).await
}

impl Client {
    fn start(&mut self, cluster: &Cluster) -> VerbResult {
        let start = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(CLIENT).arg("--config").arg(&cluster.config).stdin(Stdio::null());
            command.spawn()
        };
        let child =
            start().map_err(|error| problem(format!("cannot start the client: {error}")))?;
        self.0 = Some(child);
        Ok(())
    }

    /// Waits until the client has ended.
    async fn end(&mut self) -> Result<ExitStatus, VerbError> {
        loop {
            let child = self.0.as_mut().ok_or(VerbError::Reported)?;
            let status = child.try_wait().map_err(|error| problem(error.to_string()))?;
            if let Some(status) = status {
                self.0 = None;
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends a client that still shops. Asked to stop, it would first check its orders, in a store
    /// that closes.
    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Which replica leads, as the front-end knows it.
async fn leader(cluster: &Cluster) -> Option<ReplicaId> {
    let id = view(cluster).await?.get("leader")?.as_u64()?;
    Some(ReplicaId(u32::try_from(id).ok()?))
}

/// The number of each replica's last order, as the front-end knows it.
async fn last_orders(cluster: &Cluster) -> Option<Vec<Value>> {
    let view = view(cluster).await?;
    let replicas = view.get("replicas")?.as_array()?.iter();
    Some(replicas.filter_map(|replica| replica.get("last_order").cloned()).collect())
}

async fn view(cluster: &Cluster) -> Option<Value> {
    let frontend = Http::new(cluster.address_of(Role::Frontend(1)), Access::default());
    frontend.get("/cluster", ANSWER_LIMIT).await.ok()
}

/// A replica that was down may still be catching up when the clients are done.
async fn compare_databases(cluster: &Cluster) -> VerbResult {
    if sqlite3(&["-version".into()]).is_none() {
        say("\nThe replicas' databases are not compared: that needs sqlite3. Get it with\n  \
             sudo apt-get install -y sqlite3");
        return Ok(());
    }
    let equal = async || {
        let orders: Option<Vec<String>> =
            cluster.roles.orders.iter().map(|order| orders_of(cluster, order.id)).collect();
        orders.filter(|orders| orders.windows(2).all(|pair| pair[0] == pair[1]))
    };
    let Some(orders) = eventually(equal).await else {
        return Err(report("the replicas' databases differ; compare their tables `orders`".into()));
    };
    say("\nAll replicas have the same orders:");
    for (order, text) in cluster.roles.orders.iter().zip(orders) {
        let (count, checksum) = (text.lines().count(), checksum(&text));
        say(format_args!("  {}: {count} orders, checksum {checksum}", Role::Order(order.id)));
    }
    Ok(())
}

/// All orders of a replica's database, as text.
fn orders_of(cluster: &Cluster, id: ReplicaId) -> Option<String> {
    let path = cluster.roles.file_of(Role::Order(id), "db");
    let query = "SELECT number, name, quantity FROM orders ORDER BY number";
    sqlite3(&["-readonly".into(), path, query.into()])
}

fn sqlite3(arguments: &[PathBuf]) -> Option<String> {
    let output = Command::new("sqlite3").args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first digits of the text's SHA-256: enough to see that two texts differ.
fn checksum(text: &str) -> String {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(text));
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// Asks until there is an answer, for at most [`CHANGE_LIMIT`].
async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> Option<T> {
    let deadline = clock::now() + CHANGE_LIMIT;
    loop {
        let answer = ask().await;
        if answer.is_some() || clock::now() >= deadline {
            return answer;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn problem(text: String) -> VerbError {
    VerbError::Problem(text)
}

/// Says what went wrong where it goes wrong: the demo goes on after it.
fn report(text: String) -> VerbError {
    complain(text);
    VerbError::Reported
}
