//! The password for the database: from `PGPASSWORD`, or from the file that `PGPASSFILE` names.
//!
//! The file is libpq's: a line for each server, `host:port:database:user:password`, in which `*`
//! stands for anything, and `\:` and `\\` for a colon and a backslash. The first line that fits
//! counts. A file that others can read is not used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::roles::{Address, DatabaseUrl};
use crate::storage::StorageError;

/// The permissions of the file's group and of others.
const OF_OTHERS: u32 = 0o077;

/// Where the password is from. Its contents are never logged.
pub(super) enum Passwords {
    /// `PGPASSWORD`, for all servers.
    Given(String),
    /// The text of the file of `PGPASSFILE`.
    File(String),
    /// None: the server asks for none.
    Absent,
}

impl Passwords {
    /// Reads the environment.
    pub(super) fn of_environment() -> Result<Self, StorageError> {
        if let Ok(password) = std::env::var("PGPASSWORD") {
            return Ok(Self::Given(password));
        }
        match std::env::var_os("PGPASSFILE") {
            Some(path) => Self::of_file(Path::new(&path)),
            None => Ok(Self::Absent),
        }
    }

    fn of_file(path: &Path) -> Result<Self, StorageError> {
        let failed = |problem: String| {
            StorageError::Unusable(format!("the file of PGPASSFILE, {}, {problem}", path.display()))
        };
        let permissions = fs::metadata(path)
            .map_err(|error| failed(format!("cannot be read: {error}")))?
            .permissions();
        if permissions.mode() & OF_OTHERS != 0 {
            return Err(failed("can be read by others; give it mode 0600".into()));
        }
        let text =
            fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        Ok(Self::File(text))
    }

    /// Returns the password for a server of `url`.
    pub(super) fn password_for(&self, url: &DatabaseUrl, server: &Address) -> Option<String> {
        let text = match self {
            Self::Given(password) => return Some(password.clone()),
            Self::File(text) => text,
            Self::Absent => return None,
        };
        let (host, port) = host_and_port(server);
        let wanted = [host, port, url.name(), url.user()];
        text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let fields = fields(line);
            let [of_line @ .., password] = fields.as_slice() else { return None };
            let fits = of_line.len() == wanted.len()
                && of_line.iter().zip(wanted).all(|(field, value)| field == "*" || field == value);
            fits.then(|| password.clone())
        })
    }
}

/// A server's host, an IPv6 address without its brackets, and its port.
pub(super) fn host_and_port(server: &Address) -> (&str, &str) {
    let (host, port) = server.split();
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// The fields of a line. The last one is all that follows the fourth colon.
fn fields(line: &str) -> Vec<String> {
    const BEFORE_PASSWORD: usize = 4;
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() <= BEFORE_PASSWORD => fields.push(String::new()),
            '\\' => last(&mut fields).extend(characters.next()),
            other => last(&mut fields).push(other),
        }
    }
    fields
}

fn last(fields: &mut [String]) -> &mut String {
    fields.last_mut().expect("there is a first field")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, server: &str) -> Option<String> {
        let url = DatabaseUrl::try_from("postgres://toystore@db,[::1]:5501/toys".to_owned());
        let server = Address::try_from(server.to_owned()).unwrap();
        Passwords::File(text.into()).password_for(&url.unwrap(), &server)
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# a comment\nother:*:*:*:no\ndb:5432:toys:toystore:with:colon\n*:*:*:*:any";
        assert_eq!(password(text, "db:5432").as_deref(), Some("with:colon"));
        assert_eq!(password(text, "[::1]:5501").as_deref(), Some("any"));
        assert_eq!(password("\\:\\:1:5501:toys:*:a\\\\b", "[::1]:5501").as_deref(), Some("a\\b"));
        assert_eq!(password("db:5433:toys:toystore:no\ndb:5432:toys", "db:5432"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        fs::write(&path, "*:*:*:*:secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Passwords::of_file(&path).err().unwrap().to_string();
        assert!(refused.contains("mode 0600") && !refused.contains("secret"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Passwords::of_file(&path).is_ok());
    }
}
