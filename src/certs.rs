//! `toystore certs`: a small authority and certificates, to try TLS between roles.
//!
//! A store that is more than a trial has an authority of its own already, or should: this one's key
//! lies in a file, and what it signs is never revoked.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::tls::{self, HOST, TlsError, TlsFiles};

/// What `toystore certs --help` says.
pub const ABOUT: &str = "\
Make certificates, to try TLS between roles

An authority signs one certificate for each host that roles.toml names, or one for all hosts if \
the names of the files have no {host}. The files are those that [tls] in roles.toml names, by \
default in the folder `tls` beside it; what is there stays, and an authority that is there signs \
what is missing. A host needs the authority's certificate, and the two files with its own name.";
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
    /// Of a certificate and its key, only the first of these files is there.
    Half(PathBuf, PathBuf),
    /// A certificate, and a key that is another one's.
    NotItsKey(PathBuf, PathBuf),
    /// Callers would not take a certificate that the authority signs here.
    NotTaken(TlsError),
    /// The name of one of these files has `{host}`, and that of the other has not.
    Names(PathBuf, PathBuf),
}

/// A certificate, its key, and the hosts that it is for.
struct HostFiles {
    certificate: PathBuf,
    key: PathBuf,
    hosts: BTreeSet<String>,
}

/// Makes what is missing of the authority's and the hosts' files. Returns what was done.
///
/// # Errors
///
/// If a file cannot be written, the authority's key is not that of its certificate, or only one
/// file of a certificate and its key is there. That is found before anything is written.
pub fn make(roles: &Roles) -> Result<String, CertsError> {
    let tls = roles.tls.clone().unwrap_or_else(|| Tls::by_default(roles));
    let certificate = tls.files.authority.clone();
    let key = certificate.with_extension("key");
    let (there, missing) = files_of_hosts(roles, &tls)?;
    // Its key may be kept elsewhere while it has nothing to sign.
    let has_authority = certificate.exists() && missing.is_empty() || is_there(&certificate, &key)?;
    let mut done = Vec::new();
    if has_authority {
        done.push(format!("{} is there already", certificate.display()));
    }
    for HostFiles { certificate, .. } in &there {
        done.push(format!("{} is there already", certificate.display()));
    }
    if !has_authority || !missing.is_empty() {
        let authority = if has_authority {
            read_authority(certificate, key)?
        } else {
            done.push(made(&certificate, &key));
            make_authority(&certificate, &key)?
        };
        for files in &missing {
            sign(files, &authority, &tls.files)?;
            done.push(made(&files.certificate, &files.key));
        }
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

fn made(certificate: &Path, key: &Path) -> String {
    format!("made {} and {}", certificate.display(), key.display())
}

/// Whether a certificate and its key are there. One without the other is an error: to replace it
/// could take away what is in use.
fn is_there(certificate: &Path, key: &Path) -> Result<bool, CertsError> {
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(CertsError::Half(certificate.to_owned(), key.to_owned())),
        (false, true) => Err(CertsError::Half(key.to_owned(), certificate.to_owned())),
    }
}

/// Returns the files of all hosts: those that are there, and those that are missing. Names without
/// `{host}` stand for one certificate of all hosts.
fn files_of_hosts(
    roles: &Roles,
    tls: &Tls,
) -> Result<(Vec<HostFiles>, Vec<HostFiles>), CertsError> {
    let mut files: BTreeMap<(PathBuf, PathBuf), BTreeSet<String>> = BTreeMap::new();
    let addresses = roles.in_start_order().into_iter().filter_map(|role| roles.address_of(role));
    for host in addresses.map(Address::host) {
        let hosts = files.entry(tls.files.of_host(host.as_str())).or_default();
        hosts.insert(host.as_str().to_owned());
    }
    let has_host = |path: &Path| path.to_string_lossy().contains(HOST);
    if has_host(&tls.files.certificate) != has_host(&tls.files.key) {
        return Err(CertsError::Names(tls.files.certificate.clone(), tls.files.key.clone()));
    }
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for ((certificate, key), hosts) in files {
        let is_there = is_there(&certificate, &key)?;
        let files = HostFiles { certificate, key, hosts };
        if is_there { there.push(files) } else { missing.push(files) }
    }
    Ok((there, missing))
}

/// Makes a certificate for hosts.
fn sign(
    files: &HostFiles,
    authority: &Issuer<'_, KeyPair>,
    tls: &TlsFiles,
) -> Result<(), CertsError> {
    let HostFiles { certificate, key, hosts } = files;
    let unusable = |error| CertsError::Unusable(certificate.clone(), error);
    let names: Vec<_> = hosts.iter().map(|it| tls::bare(it).to_owned()).collect();
    let pair = KeyPair::generate().map_err(unusable)?;
    let owner = match &names[..] {
        [name] => format!("toystore on {name}"),
        _ => "toystore".to_owned(),
    };
    let mut params = CertificateParams::new(names).map_err(unusable)?;
    params.distinguished_name.push(DnType::CommonName, owner);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = validity();
    let signed = params.signed_by(&pair, authority).map_err(unusable)?;
    // Not every authority's name can be written anew as it is.
    hosts.iter().try_for_each(|it| tls.check(signed.der(), it)).map_err(CertsError::NotTaken)?;
    write(key, KEY_MODE, &pair.serialize_pem())?;
    write(certificate, CERTIFICATE_MODE, &signed.pem())
}

/// The authority that is there. It signs under the name that its certificate has.
fn read_authority(
    certificate: PathBuf,
    key: PathBuf,
) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let text = std::fs::read_to_string(&key);
    let text = text.map_err(|error| CertsError::File(key.clone(), error))?;
    let pair = KeyPair::from_pem(&text);
    let pair = pair.map_err(|error| CertsError::Unusable(key.clone(), error))?;
    let files = TlsFiles { authority: certificate.clone(), certificate, key };
    if files.server("").is_err() {
        return Err(CertsError::NotItsKey(files.certificate, files.key));
    }
    let text = std::fs::read_to_string(&files.certificate);
    let text = text.map_err(|error| CertsError::File(files.certificate.clone(), error))?;
    let issuer = Issuer::from_ca_cert_pem(&text, pair);
    issuer.map_err(|error| CertsError::Unusable(files.certificate, error))
}

fn make_authority(certificate: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let unusable = |error| CertsError::Unusable(key.to_owned(), error);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "toystore authority for a trial");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = validity();
    let pair = KeyPair::generate().map_err(unusable)?;
    let signed = params.self_signed(&pair).map_err(unusable)?;
    write(key, KEY_MODE, &pair.serialize_pem())?;
    write(certificate, CERTIFICATE_MODE, &signed.pem())?;
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
            Self::Half(there, missing) => write!(
                f,
                "{} is there, and {}, which belongs to it, is missing; put it back, or remove the \
                 first to have both made",
                there.display(),
                missing.display()
            ),
            Self::NotItsKey(certificate, key) => write!(
                f,
                "{} is not the key of {}; put the authority's key there",
                key.display(),
                certificate.display()
            ),
            Self::NotTaken(TlsError { path, problem }) => write!(
                f,
                "certificates that are signed here are not taken for those of {}: {problem}; have \
                 the authority's own tools sign a certificate for each host",
                path.display()
            ),
            Self::Names(certificate, key) => write!(
                f,
                "[tls] in roles.toml names {} and {}, of which one has {HOST}; write it in both, \
                 or in neither for one certificate of all hosts",
                certificate.display(),
                key.display()
            ),
        }
    }
}

impl std::error::Error for CertsError {}
