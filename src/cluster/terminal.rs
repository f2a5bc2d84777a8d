//! What the verbs print: lines, and colours on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints a line on standard output. Output that cannot be written must not stop a verb halfway.
pub(super) fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints a line on standard error.
pub(super) fn note(line: impl Display) {
    let _closed = writeln!(io::stderr().lock(), "{line}");
}

/// Prints an error on standard error, and goes on.
pub(super) fn complain(problem: impl Display) {
    note(format_args!("toystore: {problem}"));
}

/// The colours of the terminal's palette.
#[derive(Clone, Copy, Debug)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// Whether standard output shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Palette {
    Colours,
    Plain,
}

impl Palette {
    /// Colours on a terminal, unless the environment's `NO_COLOR` is set.
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !refused { Self::Colours } else { Self::Plain }
    }

    /// The text in a colour, or as it is.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\x1b[{}m{text}\x1b[0m", colour.code()),
        }
    }
}

impl Colour {
    fn code(self) -> u8 {
        match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Blue => 34,
            Self::Magenta => 35,
            Self::Cyan => 36,
        }
    }
}
