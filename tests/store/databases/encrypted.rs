//! TLS between a catalog and its database.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::path::PathBuf;
use std::process::{Command, Output};

use toystore::catalog::postgres::Database;
use toystore::catalog::shared::SharedDatabase as _;
use toystore::roles::{DatabaseUrl, PostgresSettings};
use toystore::wire::term::CatalogId;

use super::opened::{INITIAL, toys};
use crate::postgres;

const ROLES: &str = include_str!("../../../roles.toml");

/// A folder with a `roles.toml` for a database, and certificates for the host that it is on.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(host: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("roles.toml"), ROLES.replace("127.0.0.1", host)).unwrap();
        let made = folder.run(&["certs"]);
        assert!(made.status.success(), "{made:?}");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The URL of a database whose servers have to show a certificate of this folder's authority.
    fn verifying(&self, url: &str) -> String {
        format!(
            "{url}?sslmode=verify-full&sslrootcert={}",
            self.path("tls/authority.pem").display()
        )
    }

    /// Has the catalog use the database at `url`.
    fn use_database(&self, url: &str) {
        // The first one is a front-end's.
        let address = "address = \"127.0.0.1:8081\"";
        let process = "process = [{ id = 1, address = \"127.0.0.1:8081\" }]";
        let text = ROLES.replacen(address, &format!("database = \"{url}\"\n{process}"), 1);
        std::fs::write(self.path("roles.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(arguments).arg("--config").arg(self.path("roles.toml")).output().unwrap()
    }
}

#[actix_web::test]
async fn a_catalog_reaches_its_database_over_tls_and_refuses_a_server_that_it_cannot_verify() {
    if postgres::missing().is_some() {
        return;
    }
    let servers = postgres::shared().await;
    let name = servers.new_database(0);
    let (ours, another) = (Folder::new(&servers.host()), Folder::new(&servers.host()));
    let file = |ending: &str| ours.path(&format!("tls/{}.{ending}", servers.host()));
    servers.encrypt(0, &file("pem"), &file("key")).await;

    let url = ours.verifying(&servers.url(&name));
    ours.use_database(&url);
    let migrated = ours.run(&["catalog", "--migrate"]);
    assert!(migrated.status.success(), "{migrated:?}");
    let database = DatabaseUrl::try_from(url).unwrap();
    let settings = PostgresSettings { database, standbys: 1, processes: Vec::new() };
    let database = Database::new(&settings, CatalogId(1), &toys(&["Tux"]), INITIAL).unwrap();
    let seen = database.observe().await.unwrap();
    let tenure = database.claim(seen.beat).await.unwrap().expect("no one else claims");
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl
         JOIN pg_stat_activity USING (pid) WHERE datname = '{name}'"
    );
    let sessions = servers.sql(0, &sql);
    let (all, encrypted) = sessions.split_once('\t').unwrap();
    assert!(all == encrypted && all != "0", "{sessions}");
    tenure.leave().await.unwrap();

    another.use_database(&another.verifying(&servers.url(&name)));
    let refused = another.run(&["catalog", "--migrate"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("certificate"), "{said}");
}
