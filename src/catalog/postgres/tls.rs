//! TLS to the database, by rustls.

#[cfg(feature = "tls")]
use std::path::{Path, PathBuf};
#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use rustls::pki_types::CertificateDer;
#[cfg(feature = "tls")]
use rustls::pki_types::pem::PemObject as _;
#[cfg(feature = "tls")]
use rustls::{ClientConfig, RootCertStore};
#[cfg(feature = "tls")]
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::roles::DatabaseTls;
use crate::storage::StorageError;

/// Where Debian and its relatives keep the certificates of the authorities that the system trusts.
#[cfg(feature = "tls")]
const OF_THE_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whether connections are encrypted.
pub(super) enum Encryption {
    Off,
    #[cfg(feature = "tls")]
    On(MakeRustlsConnect),
}

#[cfg(feature = "tls")]
impl Encryption {
    pub(super) fn new(settings: &DatabaseTls) -> Result<Self, StorageError> {
        let DatabaseTls::VerifyFull { authorities } = settings else { return Ok(Self::Off) };
        let path = authorities.clone().unwrap_or_else(|| PathBuf::from(OF_THE_SYSTEM));
        let roots = read(&path).map_err(|problem| {
            StorageError::Unusable(format!(
                "the authorities' certificates in {} cannot be used: {problem}; name their file \
                 with sslrootcert in the URL of `database`",
                path.display()
            ))
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StorageError::Unusable(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::On(MakeRustlsConnect::new(config)))
    }
}

#[cfg(feature = "tls")]
fn read(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in found {
        let certificate = certificate.map_err(|error| error.to_string())?;
        // Among those of a system there may be one that rustls does not know.
        let _unknown = roots.add(certificate);
    }
    if roots.is_empty() { Err("there is none".into()) } else { Ok(roots) }
}

#[cfg(not(feature = "tls"))]
impl Encryption {
    pub(super) fn new(settings: &DatabaseTls) -> Result<Self, StorageError> {
        match settings {
            DatabaseTls::Disabled => Ok(Self::Off),
            DatabaseTls::VerifyFull { .. } => Err(StorageError::Unusable(
                "this executable was built without TLS; build it with the feature `tls`, or take \
                 sslmode out of the URL of `database`"
                    .into(),
            )),
        }
    }
}
