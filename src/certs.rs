//! `toystore certs`: a small authority and certificates, to try TLS between roles.
//!
//! A store that is more than a trial has an authority of its own already, or should: this one's key
//! lies in a file, and what it signs is never revoked.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::roles::{Address, Roles, Tls};

/// What `toystore certs --help` says.
pub const ABOUT: &str = "\
Make certificates, to try TLS between roles

An authority signs one certificate for each host that roles.toml names. The files are those that \
[tls] in roles.toml names, by default in the folder `tls` beside it; what is there stays. A host \
needs the authority's certificate, and the two files with its own name.";
/// How long certificates are valid: longer than any trial lasts.
const YEARS: i32 = 10;
/// Only the user who runs a role reads its key.
const KEY_MODE: u32 = 0o600;
/// A certificate is no secret.
const CERTIFICATE_MODE: u32 = 0o644;

/// Why there are no certificates.
#[derive(Debug)]
pub enum CertsError {
    /// A file cannot be written or read.
    File(PathBuf, io::Error),
    /// A file is no key, or no certificate can be made of what `roles.toml` says.
    Unusable(PathBuf, rcgen::Error),
}

/// Makes what is missing of the authority's and the hosts' files. Returns what was done.
///
/// # Errors
///
/// If a file cannot be written, or the authority's key is none.
pub fn make(roles: &Roles) -> Result<String, CertsError> {
    let tls = roles.tls.clone().unwrap_or_else(|| Tls::by_default(roles));
    let mut done = Vec::new();
    let authority = authority(&tls, &mut done)?;
    let addresses = roles.in_start_order().into_iter().filter_map(|role| roles.address_of(role));
    let hosts: BTreeSet<String> =
        addresses.map(Address::host).map(|host| host.as_str().to_owned()).collect();
    for host in &hosts {
        let (certificate, key) = tls.files.of_host(host);
        if certificate.exists() && key.exists() {
            done.push(format!("{} is there already", certificate.display()));
            continue;
        }
        let name = host.trim_matches(['[', ']']).to_owned();
        let unusable = |error| CertsError::Unusable(certificate.clone(), error);
        let pair = KeyPair::generate().map_err(unusable)?;
        let mut params = CertificateParams::new([name]).map_err(unusable)?;
        params.distinguished_name.push(DnType::CommonName, format!("toystore on {host}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity();
        let signed = params.signed_by(&pair, &authority).map_err(unusable)?;
        write(&key, KEY_MODE, &pair.serialize_pem())?;
        write(&certificate, CERTIFICATE_MODE, &signed.pem())?;
        done.push(format!("made {} and {}", certificate.display(), key.display()));
    }
    done.push(
        "Each host needs the authority's certificate, and the certificate and the key with its \
         name. Keep the authority's key to yourself."
            .to_owned(),
    );
    if roles.tls.is_none() {
        done.push("To use them, add a line to every role's roles.toml: [tls]".to_owned());
    }
    Ok(done.join("\n") + "\n")
}

/// The authority, which is made if there is none.
fn authority(tls: &Tls, done: &mut Vec<String>) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let certificate = &tls.files.authority;
    let key = certificate.with_extension("key");
    let unusable = |error| CertsError::Unusable(key.clone(), error);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "toystore authority for a trial");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = validity();
    if certificate.exists() {
        let text =
            std::fs::read_to_string(&key).map_err(|error| CertsError::File(key.clone(), error))?;
        let pair = KeyPair::from_pem(&text).map_err(unusable)?;
        done.push(format!("{} is there already", certificate.display()));
        return Ok(Issuer::new(params, pair));
    }
    let pair = KeyPair::generate().map_err(unusable)?;
    let signed = params.self_signed(&pair).map_err(unusable)?;
    write(&key, KEY_MODE, &pair.serialize_pem())?;
    write(certificate, CERTIFICATE_MODE, &signed.pem())?;
    done.push(format!("made {} and {}", certificate.display(), key.display()));
    Ok(Issuer::new(params, pair))
}

/// From yesterday, as clocks differ, and for [`YEARS`].
fn validity() -> (time::OffsetDateTime, time::OffsetDateTime) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let yesterday = today.yesterday().unwrap_or(today);
    let month = u8::try_from(yesterday.month()).expect("there are twelve");
    let day = u8::try_from(yesterday.day()).expect("a month has no more than 31");
    let year = i32::from(yesterday.year());
    // Not every year has a 29th of February.
    (date_time_ymd(year, month, day), date_time_ymd(year + YEARS, month, day.min(28)))
}

/// Writes a file that appears whole. One that is there is replaced.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), CertsError> {
    let written = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let partial = path.with_extension("partial");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    written().map_err(|error| CertsError::File(path.to_owned(), error))
}

impl fmt::Display for CertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(
                f,
                "{} cannot be used: {error}; name files in [tls] of roles.toml that can be read \
                 and written here",
                path.display()
            ),
            Self::Unusable(path, error) => write!(
                f,
                "{} cannot be used: {error}; remove it, and the authority's certificate if it is \
                 the authority's key, to have a new one made",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CertsError {}
