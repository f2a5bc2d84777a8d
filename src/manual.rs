//! What a shell and `man` know of the commands: completions, and manual pages.

use clap::Subcommand;
use clap_complete::Shell;
use clap_mangen::Man;

/// What to print.
#[derive(Debug, Subcommand)]
pub enum Manual {
    /// Print the completions for a shell.
    ///
    /// For bash: toystore completions bash > ~/.local/share/bash-completion/completions/toystore
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page, to be read by man.
    ///
    /// For example: toystore man up | man -l -
    Man {
        /// The command that it is about; without one, the page of toystore itself.
        command: Option<String>,
    },
}

impl Manual {
    /// Returns the text, for the program with this command line.
    ///
    /// # Errors
    ///
    /// If the program has no such command.
    pub fn text(self, mut program: clap::Command) -> Result<String, String> {
        program.build();
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = program.get_name().to_owned();
                clap_complete::generate(shell, &mut program, name, &mut text);
            }
            Self::Man { command } => {
                let command = match command {
                    None => program,
                    Some(name) => program
                        .find_subcommand(&name)
                        .cloned()
                        .ok_or_else(|| format!("no command is called {name}; try --help"))?,
                };
                Man::new(command).render(&mut text).map_err(|error| error.to_string())?;
            }
        }
        String::from_utf8(text).map_err(|error| error.to_string())
    }
}
