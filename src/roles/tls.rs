//! `[tls]` in `roles.toml`: which files, and what a process has read of them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Role, Roles, RolesError, Secret};
use crate::tls::{TlsClient, TlsError, TlsFiles, TlsServer};

/// TLS between roles.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The files that `roles.toml` names.
    pub files: TlsFiles,
    client: Option<TlsClient>,
    server: Option<TlsServer>,
}

/// The table as it is written. Its paths are relative to the file's folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    #[serde(default = "default_authority")]
    authority: PathBuf,
    #[serde(default = "default_certificate")]
    certificate: PathBuf,
    #[serde(default = "default_key")]
    key: PathBuf,
}

/// What a caller shows of itself, and demands of the role that it calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// The store's secret.
    pub secret: Option<&'a Secret>,
    /// Whose certificates it takes. Without it, calls go in plain.
    pub tls: Option<&'a TlsClient>,
}

impl TlsTable {
    pub(super) fn in_folder(self, folder: &Path) -> Tls {
        let files = TlsFiles {
            authority: folder.join(self.authority),
            certificate: folder.join(self.certificate),
            key: folder.join(self.key),
        };
        Tls { files, client: None, server: None }
    }
}

impl Tls {
    /// What an empty `[tls]` means: files in the folder `tls` beside `roles.toml`.
    #[must_use]
    pub fn by_default(roles: &Roles) -> Self {
        let (authority, certificate, key) =
            (default_authority(), default_certificate(), default_key());
        TlsTable { authority, certificate, key }.in_folder(&roles.folder)
    }
}

impl Roles {
    /// Returns the roles as the process of `role` has them: it joins the run, and has certificates.
    ///
    /// # Errors
    ///
    /// If the run's secret or a certificate cannot be read.
    pub fn of_process(self, role: Role) -> Result<Self, RolesError> {
        self.join_run()?.with_certificates(Some(role))
    }

    /// Returns the roles with the certificates that a process needs: to call roles and, if it is
    /// one, to be called.
    ///
    /// # Errors
    ///
    /// If a file is missing or of no use.
    pub fn with_certificates(mut self, own: Option<Role>) -> Result<Self, RolesError> {
        let host = own.and_then(|role| self.address_of(role)).map(super::Address::host);
        if let Some(tls) = &mut self.tls {
            let failed = |TlsError { path, problem }| RolesError { path, problem };
            tls.client = Some(tls.files.client().map_err(failed)?);
            let server = host.map(|host| tls.files.server(host.as_str())).transpose();
            tls.server = server.map_err(failed)?;
        }
        Ok(self)
    }

    /// What this process shows and demands when it calls a role.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        let tls = self.tls.as_ref().and_then(|tls| tls.client.as_ref());
        Access { secret: self.secret.as_ref(), tls }
    }

    /// How this process is called, if it is a role and there is TLS.
    #[must_use]
    pub fn tls_server(&self) -> Option<&TlsServer> {
        self.tls.as_ref()?.server.as_ref()
    }
}

fn default_authority() -> PathBuf {
    "tls/authority.pem".into()
}

fn default_certificate() -> PathBuf {
    "tls/{host}.pem".into()
}

fn default_key() -> PathBuf {
    "tls/{host}.key".into()
}
