//! The table `[catalog]`: with an `address` for a catalog on SQLite, or with `database` and a
//! `[[catalog.process]]` for each catalog on PostgreSQL.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::file::Validator;
use super::{Address, CatalogProcess, DatabaseUrl, Engine, PostgresSettings, ToyRole};
use crate::wire::term::CatalogId;

/// The most synchronous standbys: far more than anyone has.
const MOST_STANDBYS: u32 = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogTable {
    pub(super) address: Option<Spanned<Address>>,
    pub(super) database: Option<Spanned<DatabaseUrl>>,
    pub(super) standbys: Option<Spanned<u32>>,
    pub(super) process: Option<Spanned<Vec<ProcessTable>>>,
    #[serde(default = "default_restock_interval_ms")]
    pub(super) restock_interval_ms: Spanned<u64>,
    #[serde(default = "default_initial_stock")]
    pub(super) initial_stock: Spanned<u64>,
    pub(super) toys: Spanned<Vec<Spanned<ToyRole>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessTable {
    id: Spanned<u32>,
    pub(super) address: Spanned<Address>,
}

impl Validator<'_> {
    /// Where the catalog keeps its state. The table begins at `at`.
    pub(super) fn engine(
        &self,
        at: usize,
        table: &CatalogTable,
        folder: &Path,
    ) -> Result<Engine, String> {
        let CatalogTable { address, database, standbys, process, .. } = table;
        let Some(database) = database else {
            let without = "only with `database`; allowed without it: `address`, \
                           `restock_interval_ms`, `initial_stock`, `toys`";
            return match (standbys, process, address) {
                (Some(standbys), ..) => self.fail(standbys, format!("standbys: {without}")),
                (_, Some(process), _) => {
                    self.fail(process, format!("[[catalog.process]]: {without}"))
                }
                (None, None, Some(address)) => {
                    Ok(Engine::Sqlite { address: address.get_ref().clone() })
                }
                (None, None, None) => {
                    Err(format!("line {}: missing key `address`", self.line_at(at)))
                }
            };
        };
        if let Some(address) = address {
            let problem = "address: not with `database`; write it in a [[catalog.process]]; \
                           allowed with it: `standbys`, `process`, `restock_interval_ms`, \
                           `initial_stock`, `toys`";
            return self.fail(address, problem);
        }
        let standbys = standbys.clone().unwrap_or(Spanned::new(0..0, 1));
        if *standbys.get_ref() > MOST_STANDBYS {
            let problem =
                format!("standbys is {}; it must be from 0 to {MOST_STANDBYS}", standbys.get_ref());
            return self.fail(&standbys, problem);
        }
        let tables = process.as_ref().map_or(&[][..], |tables| tables.get_ref());
        self.ids("[[catalog.process]]", database, tables.iter().map(|process| &process.id))?;
        let process = |table: &ProcessTable| CatalogProcess {
            id: CatalogId(*table.id.get_ref()),
            address: table.address.get_ref().clone(),
        };
        let mut processes: Vec<CatalogProcess> = tables.iter().map(process).collect();
        processes.sort_by_key(|process| process.id);
        let database = database.get_ref().clone().in_folder(folder);
        Ok(Engine::Postgres(PostgresSettings {
            database,
            standbys: standbys.into_inner(),
            processes,
        }))
    }
}

fn default_restock_interval_ms() -> Spanned<u64> {
    Spanned::new(0..0, 10_000)
}

fn default_initial_stock() -> Spanned<u64> {
    Spanned::new(0..0, 100)
}
