//! TLS between roles: what `[tls]` in `roles.toml` names, as rustls takes it.
//!
//! An authority of the store's own signs a certificate for each host. A caller checks that what
//! answers at an address has a certificate for the host of this address; then it shows the secret.
//! So the secret, and all calls between roles, are safe from those who read or change the network.
//!
//! ```text
//! caller                                  role at catalog.example:8081
//!   |--- hello --------------------------------►|
//!   |◄-- certificate of catalog.example --------|
//!   |    (signed by the authority? for this host? else no call is made)
//!   |=== secret, calls and answers =============|
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What stands for a role's host in the names of files.
pub const HOST: &str = "{host}";

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The certificate of a role's host; [`HOST`] stands for it.
    pub certificate: PathBuf,
    /// The key of that certificate, likewise.
    pub key: PathBuf,
}

/// How a role, or a person's command, calls roles.
#[derive(Clone)]
pub struct TlsClient(pub Arc<ClientConfig>);

/// How a role is called.
#[derive(Clone)]
pub struct TlsServer(pub Arc<ServerConfig>);

/// Why there can be no TLS. The message says what to do.
#[derive(Debug)]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

impl TlsFiles {
    /// Returns the certificate of `host` and its key.
    #[must_use]
    pub fn of_host(&self, host: &str) -> (PathBuf, PathBuf) {
        // A host in brackets is an IPv6 address; not every file system takes its colons.
        let name = bare(host).replace(':', "_");
        let of = |path: &Path| PathBuf::from(path.to_string_lossy().replace(HOST, &name));
        (of(&self.certificate), of(&self.key))
    }

    /// Checks that a caller would take a certificate for that of `host`.
    ///
    /// # Errors
    ///
    /// If the authority's certificate is missing or is none, or did not sign it.
    pub fn check(&self, certificate: &CertificateDer<'_>, host: &str) -> Result<(), TlsError> {
        let path = &self.authority;
        let not_taken = |error: &dyn fmt::Display| TlsError::new(path, error);
        let name = server_name(host).ok_or_else(|| not_taken(&"no certificate has this name"))?;
        let authorities = Arc::new(self.authorities()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(authorities, provider());
        let verifier = verifier.build().map_err(|error| not_taken(&error))?;
        let taken = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
        taken.map(drop).map_err(|error| not_taken(&error))
    }

    /// Reads what a caller needs.
    ///
    /// # Errors
    ///
    /// If the authority's certificate is missing or is none.
    ///
    /// # Panics
    ///
    /// Never: ring has what the protocol's versions need.
    pub fn client(&self) -> Result<TlsClient, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what these versions need")
            .with_root_certificates(self.authorities()?)
            .with_no_client_auth();
        Ok(TlsClient(Arc::new(config)))
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let path = &self.authority;
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(path)? {
            authorities.add(certificate).map_err(|error| TlsError::new(path, error))?;
        }
        Ok(authorities)
    }

    /// Reads what a role on `host` needs.
    ///
    /// # Errors
    ///
    /// If the host's certificate or key is missing, or they do not belong together.
    ///
    /// # Panics
    ///
    /// Never, as above.
    pub fn server(&self, host: &str) -> Result<TlsServer, TlsError> {
        let (certificate, key) = self.of_host(host);
        let chain = certificates(&certificate)?;
        let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| unread(&key, &error))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what these versions need")
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| TlsError::new(&key, error))?;
        Ok(TlsServer(Arc::new(config)))
    }
}

/// Returns a host without the brackets that an IPv6 address has before a port.
#[must_use]
pub fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// The name by which the certificate of a host is checked. `None` if no certificate can have it.
#[must_use]
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(bare(host).to_owned()).ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unread(path, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| unread(path, &error))?;
    if found.is_empty() {
        return Err(TlsError::new(path, "it has no certificate"));
    }
    Ok(found)
}

fn unread(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::new(path, in_words(error))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are of malformed text")]
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(cause) => cause.to_string(),
        pem::Error::NoItemsFound => "it has no certificate or key in PEM format".to_owned(),
        other => format!("it is no PEM file: {other}"),
    }
}

impl TlsError {
    fn new(path: &Path, problem: impl fmt::Display) -> Self {
        let problem = format!(
            "this file, which [tls] in roles.toml names, cannot be used: {problem}; `toystore \
             certs` makes certificates for a trial"
        );
        Self { path: path.to_owned(), problem }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer")
    }
}
