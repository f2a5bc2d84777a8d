//! The secret of a run, which guards the calls between roles where `roles.toml` has none.
//!
//! The verbs that start roles make it, in a file beside the databases that only this user can read.
//! Every role that starts with this data folder uses it, however it is started, so that a role can
//! join a run that is under way. It is removed when the run ends.
//!
//! ```text
//! toystore up ──► run.secret ──► every role of this data folder
//! toystore call ──────┘
//! toystore down ──► no role runs ──► removed
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::{Roles, RolesError, Secret, SecretOrigin};

/// The file's name in the data folder.
const FILE_NAME: &str = "run.secret";
/// Only the user who runs the store may read it.
const MODE: u32 = 0o600;
/// What must not be set in its mode: others may read, write or execute it.
const OPEN_TO_OTHERS: u32 = 0o077;
/// The secret's length, in hexadecimal digits.
const DIGITS: usize = 64;

impl Roles {
    /// Returns the path of the run's secret.
    #[must_use]
    pub fn run_secret_file(&self) -> PathBuf {
        self.data_dir.join(FILE_NAME)
    }

    /// Returns the roles as a process has them that joins the run: guarded by the run's secret, if
    /// there is one and `roles.toml` has none.
    ///
    /// # Errors
    ///
    /// If there is one, and it cannot be read.
    pub fn join_run(mut self) -> Result<Self, RolesError> {
        if self.secret.is_some() {
            return Ok(self);
        }
        let path = self.run_secret_file();
        let failed = |problem| RolesError { path: path.clone(), problem };
        let text = match File::open(&path).and_then(|file| locked_text(&file)) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => return Ok(self),
            Err(error) => {
                return Err(failed(format!(
                    "the secret of the run cannot be read: {error}; start every role as the same \
                     user, or set `secret` in roles.toml"
                )));
            }
        };
        let Some(secret) = parse(&text) else {
            let problem = "this is no secret of a run; stop every role and remove the file";
            return Err(failed(problem.to_owned()));
        };
        self.secret = Some(secret);
        Ok(self)
    }

    /// Makes the secret of a run in the data folder, which must exist. One that is there stays.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn make_run_secret(&self) -> io::Result<()> {
        let path = self.run_secret_file();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let mut file = options.open(&path)?;
        // Two terminals may start roles at the same time.
        file.lock()?;
        let mut text = String::new();
        let _length = file.read_to_string(&mut text)?;
        if parse(&text).is_some() {
            return Ok(());
        }
        let digits = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{digits}\n").as_bytes()));
        if written.is_err() {
            // A part of a secret is of no use. The error that counts is the first.
            let _removed = std::fs::remove_file(&path);
        }
        written
    }

    /// Ends the run: removes its secret, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove_run_secret(&self) -> io::Result<()> {
        match std::fs::remove_file(self.run_secret_file()) {
            Err(error) if !is_missing(&error) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether other users of this machine can read the run's secret, as on a file system without
    /// permissions.
    #[must_use]
    pub fn run_secret_is_open(&self) -> bool {
        std::fs::metadata(self.run_secret_file())
            .is_ok_and(|metadata| metadata.permissions().mode() & OPEN_TO_OTHERS != 0)
    }
}

/// There is no such file, or its folder is none.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The file's text, once the process that makes it has finished.
fn locked_text(file: &File) -> io::Result<String> {
    file.lock_shared()?;
    let mut text = String::new();
    let most = u64::try_from(DIGITS + 2).expect("it is small");
    let _length = file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Option<Secret> {
    let digits = text.strip_suffix('\n')?;
    let is_secret = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_secret.then(|| Secret { text: digits.to_owned(), origin: SecretOrigin::Run })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(folder: &std::path::Path) -> Roles {
        let text = include_str!("../../roles.toml");
        std::fs::create_dir_all(folder.join("data")).unwrap();
        Roles::parse(text, &folder.join("roles.toml")).unwrap()
    }

    #[test]
    fn a_run_has_one_secret_which_only_its_user_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let roles = roles(folder.path());
        assert_eq!(roles.clone().join_run().unwrap().secret, None);
        roles.make_run_secret().unwrap();
        let first = roles.clone().join_run().unwrap().secret.unwrap();
        assert_eq!((first.reveal().len(), first.origin()), (DIGITS, SecretOrigin::Run));
        assert!(!roles.run_secret_is_open());
        roles.make_run_secret().unwrap();
        assert_eq!(roles.clone().join_run().unwrap().secret.unwrap(), first, "it stays");
        roles.remove_run_secret().unwrap();
        roles.remove_run_secret().unwrap();
        roles.make_run_secret().unwrap();
        assert_ne!(roles.join_run().unwrap().secret.unwrap(), first, "each run has its own");
    }

    #[test]
    fn the_secret_of_roles_toml_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut roles = roles(folder.path());
        roles.make_run_secret().unwrap();
        let text =
            format!("secret = \"correct-horse-battery\"\n{}", include_str!("../../roles.toml"));
        let guarded = Roles::parse(&text, &folder.path().join("roles.toml")).unwrap();
        roles.secret.clone_from(&guarded.secret);
        let secret = roles.join_run().unwrap().secret.unwrap();
        assert_eq!(
            (secret.reveal(), secret.origin()),
            ("correct-horse-battery", SecretOrigin::File)
        );
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused_and_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let roles = roles(folder.path());
        for text in ["", "short\n", &"g".repeat(DIGITS), &"0".repeat(2 * DIGITS)] {
            std::fs::write(roles.run_secret_file(), text).unwrap();
            let problem = roles.clone().join_run().unwrap_err().to_string();
            assert!(problem.contains("run.secret") && problem.contains("remove"), "{problem}");
        }
        roles.make_run_secret().unwrap();
        assert!(roles.join_run().unwrap().secret.is_some());
    }
}
