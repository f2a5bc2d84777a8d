//! `toystore catalog --migrate` and `toystore move`, as an operator runs them.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use toystore::catalog::core::stock::{Change, RecordedDecision};
use toystore::catalog::journal::Journal;
use toystore::catalog::journal::portable::{
    ContentsSummary, DecisionsSummary, Head, KeyedDecision, PIECE, Sink as _, SourceFile, StockRow,
    TargetFile,
};
use toystore::wire::identity::StoreId;
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};

use super::opened::{INITIAL, Place, decided, sale, toys};
use crate::eventually::eventually;
use crate::postgres::{self, Servers};
use crate::takeover;

const ROLES: &str = include_str!("../../../roles.toml");
const ADDRESS: &str = "address = \"127.0.0.1:8081\"";

/// So many orders that a move of them takes seconds, and that as a whole they need more memory than
/// [`MEMORY`].
const MANY: u64 = 100_000;
/// The memory that a move may have in use besides its files, in KiB. One that holds all orders and
/// decisions of [`MANY`] at once has more.
const MEMORY: u64 = 32 * 1024;

/// A folder with a `roles.toml` for a database.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog =
            format!("database = \"{url}\"\nprocess = [{{ id = 1, address = \"127.0.0.1:8081\" }}]");
        let text = ROLES.replacen(ADDRESS, &catalog, 1);
        fs::write(folder.path().join("roles.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, None)
    }

    /// Runs it, and returns also how much memory it had in use at most (KiB).
    async fn run_watched(&self, arguments: &[&str]) -> (Output, u64) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(arguments).arg("--config").arg(self.path("roles.toml"));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", process.id());
        let mut most = 0;
        while process.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let in_use = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = in_use.and_then(|text| text.split_whitespace().next()?.parse().ok());
            most = most.max(kib.unwrap_or(0));
            actix_web::rt::time::sleep(Duration::from_millis(2)).await;
        }
        (process.wait_with_output().unwrap(), most)
    }

    /// Starts it.
    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(arguments).arg("--config").arg(self.path("roles.toml"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The files whose names say that they are not whole.
    fn partial(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_string_lossy().contains(".partial-")).collect()
    }

    fn run_with(&self, arguments: &[&str], password: Option<(&str, &str)>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(arguments).arg("--config").arg(self.path("roles.toml"));
        command.env_remove("PGPASSWORD").env_remove("PGPASSFILE").envs(password);
        command.output().unwrap()
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// An SQLite file with orders, refusals, a toy that is sold no more, and a leader.
async fn filled(path: &Path) -> Position {
    let (journal, loaded) = Journal::open(path, &toys(&["Gone", "Tux"]), INITIAL).unwrap();
    let (change, end) = sale(Position::START, &loaded.shelves[0], &["a", "b", "C", "client:ä"]);
    Journal::commit(&journal, change).await.unwrap();
    let decisions = vec![("refused".to_owned().into(), decided("Tux", None))];
    let refusal = Change { shelves: Vec::new(), after: end, orders: Vec::new(), decisions };
    Journal::commit(&journal, refusal).await.unwrap();
    let leadership = Leadership { epoch: Epoch(3), leader: Some(ReplicaId(2)) };
    journal.set_leadership(leadership).await.unwrap();
    drop(journal);
    let (journal, _) = Journal::open(path, &toys(&["Tux"]), INITIAL).unwrap();
    journal.checkpoint().await.unwrap();
    end
}

fn summary(path: &Path) -> ContentsSummary {
    SourceFile::open(path).unwrap().summary().unwrap()
}

/// An SQLite file with [`MANY`] orders and as many decisions.
fn filled_with_many(path: &Path) {
    let sold = i64::try_from(MANY).unwrap();
    let stock =
        |name: &str, counts| StockRow { name: name.into(), position: Some(0), price: 9.99, counts };
    let head = Head {
        store: StoreId::new(77).unwrap(),
        leadership: Leadership { epoch: Epoch(3), leader: Some(ReplicaId(2)) },
        stock: vec![stock("Tux", [7, sold + 7, sold, sold])],
    };
    let mut target = TargetFile::create(path).unwrap();
    let (mut journal, mut decisions) = (Position::START, DecisionsSummary::default());
    let key =
        |number: u64| IdempotencyKey::from(format!("client:a-key-of-some-length-{number:09}"));
    let numbers: Vec<u64> = (0..MANY).collect();
    for piece in numbers.chunks(usize::try_from(PIECE).unwrap()) {
        let (name, quantity) = ("Tux", Quantity::ONE);
        let order = |number: &u64| Order {
            number: OrderNumber(*number),
            name: name.into(),
            quantity,
            key: Some(key(*number)),
        };
        let orders: Vec<Order> = piece.iter().map(order).collect();
        target.take_orders(&orders).unwrap();
        journal = orders.iter().fold(journal, Position::continued_by);
        let entry = |number: &u64| -> KeyedDecision {
            let number = *number;
            let order = Some(OrderNumber(number));
            (key(number), RecordedDecision { name: name.into(), quantity, number: order })
        };
        let entries: Vec<KeyedDecision> = piece.iter().map(entry).collect();
        target.take_decisions(&entries).unwrap();
        decisions.add(&entries);
    }
    target.finish(&ContentsSummary { head, journal, decisions }).unwrap();
}

async fn servers() -> Option<&'static Servers> {
    if postgres::missing().is_some() { None } else { Some(postgres::shared().await) }
}

#[actix_web::test]
async fn a_store_moves_to_postgresql_and_back_with_all_that_it_holds() {
    let Some(servers) = servers().await else { return };
    let name = servers.new_database(0);
    let folder = Folder::new(&servers.url(&name));
    let (source, back) = (folder.path("catalog.db"), folder.path("back.db"));
    let third = folder.path("third.db");
    let end = filled(&source).await;
    let moved = folder.run(&["move", "--from", source.to_str().unwrap()]);
    assert!(moved.status.success(), "{}", said(&moved));
    let told = format!("4 orders, 5 decisions; the chain on both sides ends with {}", end.chain);
    assert!(said(&moved).contains(&told), "{}", said(&moved));

    // It is not overwritten.
    let again = folder.run(&["move", "--from", source.to_str().unwrap()]);
    assert!(!again.status.success() && said(&again).contains("holds orders"), "{}", said(&again));

    let returned = folder.run(&["move", "--to", back.to_str().unwrap()]);
    assert!(returned.status.success(), "{}", said(&returned));
    assert_eq!(summary(&back), summary(&source));
    let again = folder.run(&["move", "--to", back.to_str().unwrap()]);
    assert!(!again.status.success() && said(&again).contains("exists already"));

    // A catalog can use it, and while one rules it does not move.
    let place = Place::Postgres(servers, name.clone());
    let opened = place.open(&toys(&["Tux"])).await;
    assert_eq!(opened.loaded.journal, end);
    let refused = folder.run(&["move", "--to", third.to_str().unwrap()]);
    assert!(said(&refused).contains("catalog-1 rules"), "{}", said(&refused));
    assert!(!third.exists());
    opened.close().await;

    // A decision that was deleted by hand is found, and so is a log that was changed.
    servers.sql_in(0, &name, "DELETE FROM decisions WHERE number = 2");
    let refused = folder.run(&["move", "--to", third.to_str().unwrap()]);
    assert!(said(&refused).contains("an order has no recorded decision"), "{}", said(&refused));
    assert!(!third.exists() && folder.partial().is_empty());
    let change = "UPDATE log SET quantity = 2 WHERE number = 1";
    servers.sql_in(0, &name, change);
    let refused = folder.run(&["move", "--to", third.to_str().unwrap()]);
    assert!(said(&refused).contains("order 1 does not match its hash"), "{}", said(&refused));
}

#[actix_web::test]
async fn a_move_holds_a_part_of_the_store_in_memory_and_can_be_killed_and_repeated() {
    let Some(servers) = servers().await else { return };
    let name = servers.new_database(0);
    let folder = Folder::new(&servers.url(&name));
    let (source, back) = (folder.path("catalog.db"), folder.path("back.db"));
    filled_with_many(&source);
    let (to_postgres, to_sqlite) =
        (["move", "--from", source.to_str().unwrap()], ["move", "--to", back.to_str().unwrap()]);

    // Killed when it has written a part, it has moved nothing.
    let written = "SELECT pg_relation_size(to_regclass('decisions'))";
    kill(folder.begin(&to_postgres), "a part is written", async || {
        servers.sql_in(0, &name, written).parse::<u64>().is_ok_and(|bytes| bytes > 1 << 20)
    })
    .await;
    eventually("the server has ended its session", async || {
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
        servers.sql(0, &sessions) == "0"
    })
    .await;
    let found = "SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM decisions) + length \
                 FROM cluster";
    assert_eq!(servers.sql_in(0, &name, found), "0");
    let (moved, memory) = folder.run_watched(&to_postgres).await;
    assert!(moved.status.success(), "{}", said(&moved));
    assert!((1..=MEMORY).contains(&memory), "{memory} KiB");
    assert!(said(&moved).contains("100000 orders, 100000 decisions"), "{}", said(&moved));

    // Killed on the way back, it leaves a file whose name says that it is not whole.
    kill(folder.begin(&to_sqlite), "a part is written", async || {
        folder
            .partial()
            .iter()
            .any(|path| fs::metadata(path).is_ok_and(|file| file.len() > 1 << 22))
    })
    .await;
    assert!(!back.exists() && !folder.partial().is_empty());
    let (moved, memory) = folder.run_watched(&to_sqlite).await;
    assert!(moved.status.success(), "{}", said(&moved));
    assert!((1..=MEMORY).contains(&memory), "{memory} KiB");
    assert_eq!(summary(&back), summary(&source));
}

/// Kills a process when something is seen, which is before it ends.
async fn kill(mut process: Child, what: &str, mut is_seen: impl AsyncFnMut() -> bool) {
    eventually(what, async || {
        assert!(process.try_wait().unwrap().is_none(), "it has ended before {what}");
        is_seen().await
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
}

#[actix_web::test]
async fn commands_for_sqlite_say_what_to_do_for_a_database_on_postgresql() {
    let folder = Folder::new("postgres://toystore@127.0.0.1:1/toystore");
    for arguments in [&["repair"][..], &["rebuild", "--from", "order-1.db"]] {
        let refused = folder.run(arguments);
        let said = said(&refused);
        assert!(!refused.status.success() && said.contains("PostgreSQL's own tools"), "{said}");
    }
    let refused = folder.run(&["catalog", "--migrate"]);
    assert!(said(&refused).contains("no server is the primary"), "{}", said(&refused));
    fs::write(folder.path("roles.toml"), ROLES).unwrap();
    let refused = folder.run(&["catalog", "--migrate"]);
    assert!(said(&refused).contains("has no `database`"), "{}", said(&refused));
}

#[actix_web::test]
async fn a_password_is_from_the_environment_or_its_file_and_in_no_message() {
    const PASSWORD: &str = "correct-horse-battery";
    let Some(servers) = servers().await else { return };
    let name = servers.new_database(0);
    servers.sql(
        0,
        &format!(
            "DO $$ BEGIN CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}' IN ROLE toystore, \
             pg_read_all_stats; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        ),
    );
    let folder = Folder::new(&servers.url_as("guarded", &name));
    let file = folder.path("pgpass");
    fs::write(&file, format!("*:*:*:guarded:{PASSWORD}\n")).unwrap();
    let file = file.to_str().unwrap();
    for (given, succeeds) in [
        (None, false),
        (Some(("PGPASSWORD", "wrong-horse-battery")), false),
        // Others can read it.
        (Some(("PGPASSFILE", file)), false),
        (Some(("PGPASSWORD", PASSWORD)), true),
    ] {
        let output = folder.run_with(&["catalog", "--migrate"], given);
        assert_eq!(output.status.success(), succeeds, "{given:?}: {}", said(&output));
        assert!(!said(&output).contains("horse"), "{}", said(&output));
    }
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(file, private).unwrap();
    let output = folder.run_with(&["catalog", "--migrate"], Some(("PGPASSFILE", file)));
    assert!(output.status.success(), "{}", said(&output));
}

#[actix_web::test]
async fn nothing_is_moved_while_catalogs_run_that_no_front_end_reaches() {
    let Some(servers) = servers().await else { return };
    let (mut cluster, database) = takeover::start(servers).await;
    for frontend in ["frontend", "frontend-2"] {
        cluster.kill(frontend);
    }
    // They leave one term after the other, and for a while no catalog rules.
    eventually("a term was left", async || {
        servers.sql_in(0, &database, "SELECT holder IS NULL FROM cluster").trim() == "t"
    })
    .await;
    let file = cluster.data("moved.db");
    let moved = Command::new(env!("CARGO_BIN_EXE_toystore"))
        .args(["move", "--to", file.to_str().unwrap(), "--config"])
        .arg(cluster.roles())
        .output()
        .unwrap();
    assert!(!moved.status.success() && said(&moved).contains("stop all catalogs"), "{moved:?}");
    assert!(!file.exists());
}
