//! Where a laboratory is, in a file of the data folder, for the other commands of this store.
//!
//! `toystore link` asks the laboratory through it. A role that another terminal starts learns from
//! it where its links are, so that they can be cut as those of the others.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::roles::{LINKS, Role, Roles};

/// The file's name in the data folder.
const FILE_NAME: &str = "lab.json";
/// Only the user who runs the store may read the token.
const MODE: u32 = 0o600;
/// A laboratory on this machine accepts at once.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// Where a laboratory is, and what its roles are told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cluster) struct LabPlace {
    pub(in crate::cluster) address: SocketAddr,
    pub(in crate::cluster) token: String,
    routes: Vec<WayBetween>,
}

/// Where a role reaches another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WayBetween {
    pub(super) from: String,
    pub(super) to: String,
    /// Host and port.
    pub(super) address: String,
}

impl LabPlace {
    pub(super) fn new(address: SocketAddr, token: &str, routes: Vec<WayBetween>) -> Self {
        Self { address, token: token.to_owned(), routes }
    }

    /// Finds the laboratory of a store, if one runs.
    pub(in crate::cluster) fn find(roles: &Roles) -> Option<Self> {
        let text = std::fs::read_to_string(file(roles)).ok()?;
        let place: Self = serde_json::from_str(&text).ok()?;
        // One that was killed leaves its file.
        TcpStream::connect_timeout(&place.address, CONNECT_LIMIT).ok()?;
        Some(place)
    }

    /// The environment of a role's process.
    pub(in crate::cluster) fn variables(&self, role: Role) -> Vec<(&'static str, String)> {
        let name = role.to_string();
        let own = self.routes.iter().filter(|route| route.from == name);
        let links: Vec<String> = own.map(|it| format!("{}={}", it.to, it.address)).collect();
        let mut variables = vec![(LINKS, links.join(","))];
        if let Role::Frontend(_) = role {
            variables.push((super::ADDRESS, self.address.to_string()));
        }
        variables
    }

    pub(super) fn write(&self, roles: &Roles) -> io::Result<()> {
        std::fs::create_dir_all(&roles.data_dir)?;
        remove(roles);
        let text = serde_json::to_string(self).expect("a place can be written as JSON");
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(MODE).open(file(roles))?;
        file.write_all(text.as_bytes())
    }
}

/// Removes the file, if there is one.
pub(super) fn remove(roles: &Roles) {
    let _missing = std::fs::remove_file(file(roles));
}

fn file(roles: &Roles) -> PathBuf {
    roles.data_dir.join(FILE_NAME)
}
