//! `toystore catalog --migrate` and `toystore move`, as an operator runs them.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use toystore::catalog::core::stock::Change;
use toystore::catalog::journal::Journal;
use toystore::catalog::journal::portable;
use toystore::wire::order::Position;
use toystore::wire::purchase::Decision;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};

use super::opened::{INITIAL, Place, purchase, sale, toys};
use crate::postgres::{self, Servers};

const ROLES: &str = include_str!("../../../roles.toml");
const ADDRESS: &str = "address = \"127.0.0.1:8081\"";

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
    let decisions = vec![(purchase("refused", "Tux"), Decision::OutOfStock)];
    let refusal = Change { shelves: Vec::new(), after: end, orders: Vec::new(), decisions };
    Journal::commit(&journal, refusal).await.unwrap();
    let leadership = Leadership { epoch: Epoch(3), leader: Some(ReplicaId(2)) };
    journal.set_leadership(leadership).await.unwrap();
    drop(journal);
    let (journal, _) = Journal::open(path, &toys(&["Tux"]), INITIAL).unwrap();
    journal.checkpoint().await.unwrap();
    end
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
    assert_eq!(portable::read(&back).unwrap(), portable::read(&source).unwrap());
    let again = folder.run(&["move", "--to", back.to_str().unwrap()]);
    assert!(!again.status.success() && said(&again).contains("exists already"));

    // A catalog can use it, and while one rules it does not move.
    let place = Place::Postgres(servers, name.clone());
    let opened = place.open(&toys(&["Tux"])).await;
    assert_eq!(opened.loaded.journal, end);
    let refused = folder.run(&["move", "--to", folder.path("third.db").to_str().unwrap()]);
    assert!(said(&refused).contains("catalog-1 rules"), "{}", said(&refused));
    assert!(!folder.path("third.db").exists());
    opened.close().await;

    // A log that was changed by hand is found.
    let change = "UPDATE log SET quantity = 2 WHERE number = 1";
    servers.sql_in(0, &name, change);
    let refused = folder.run(&["move", "--to", folder.path("third.db").to_str().unwrap()]);
    assert!(said(&refused).contains("order 1 does not match its hash"), "{}", said(&refused));
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
