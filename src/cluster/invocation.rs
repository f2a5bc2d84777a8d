//! How a person gives commands for this store from here: the text of hints such as
//! `ROLES=/srv/toys.toml ./run.sh down`.

use std::path::{Path, PathBuf};

/// The environment variable by which `run.sh` says where it is.
pub(super) const FRONT_DOOR: &str = "TOYSTORE_RUN_SH";

/// The words around a verb.
#[derive(Clone)]
pub(super) struct Invocation {
    /// Before the verb: the program, or `run.sh` and its settings.
    before: String,
    /// After it: the `--config` of a program that is called directly.
    after: String,
    /// The program itself, for `client`.
    program: String,
    /// The `--config` that the program needs.
    config: String,
}

impl Invocation {
    /// For the `roles.toml` at this canonical path.
    pub(super) fn for_config(config: &Path) -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let is_local = here.canonicalize().is_ok_and(|here| here.join("roles.toml") == config);
        let config_flag =
            if is_local { String::new() } else { format!(" --config {}", quoted(config)) };
        let program = quoted(called.strip_prefix(&here).unwrap_or(&called));
        let Some(run_sh) = std::env::var_os(FRONT_DOOR).map(PathBuf::from) else {
            let after = config_flag.clone();
            return Self { before: program.clone(), after, program, config: config_flag };
        };
        let repository = run_sh.parent().unwrap_or(Path::new(""));
        let mut before = String::new();
        if repository.join("roles.toml").canonicalize().ok().as_deref() != Some(config) {
            before = format!("ROLES={} ", quoted(config));
        }
        let is_beside = here.canonicalize().is_ok_and(|here| here == repository);
        before += &if is_beside { "./run.sh".to_owned() } else { quoted(&run_sh) };
        Self { before, after: String::new(), program, config: config_flag }
    }

    /// The command for a verb, such as `./run.sh down`.
    pub(super) fn verb(&self, verb: &str) -> String {
        format!("{} {verb}{}", self.before, self.after)
    }

    /// The command for the client with these arguments.
    pub(super) fn client(&self, arguments: &str) -> String {
        format!("{} client {arguments}{}", self.program, self.config)
    }
}

/// The path as one word of a shell's command.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted(Path::new("/srv/toys.toml")), "/srv/toys.toml");
        assert_eq!(quoted(Path::new("/a folder/roles.toml")), "'/a folder/roles.toml'");
        assert_eq!(quoted(Path::new("/it's/x")), r"'/it'\''s/x'");
    }
}
