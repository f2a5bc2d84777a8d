//! Why a call brought no answer.

use std::fmt;

use crate::wire::term::WhoRules;

/// How a connection broke that its peer has closed.
pub(super) const CLOSED: &str = "it closed the connection before it answered";

/// Why a call brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// Whether the call had an effect is unknown: the peer is down, cut off or too slow.
    Unreachable(Unreachable),
    /// The peer answered that it will not.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The peer's sentence.
        message: String,
    },
}

/// How a peer failed to answer.
#[derive(Debug)]
pub enum Unreachable {
    /// The connection was refused: the process is down, and the call certainly had no effect.
    ConnectionRefused,
    /// It did not answer in time.
    Silent,
    /// What is at its address did not prove by TLS that it is a role of this store.
    Uncertified(String),
    /// The connection broke, or the answer made no sense.
    Broken(String),
    /// It is one of several catalogs, and does not rule.
    NotRuling(WhoRules),
}

impl CallError {
    /// No answer that can be used, and why: the connection broke, no process could be asked, or the
    /// answer is well-formed and cannot be one to what was asked.
    #[must_use]
    pub fn broken(why: impl Into<String>) -> Self {
        Self::Unreachable(Unreachable::Broken(why.into()))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(how) => how.fmt(f),
            Self::Refused { status, message } => write!(f, "it answered {status}: {message}"),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionRefused => f.write_str("the connection was refused"),
            Self::Silent => f.write_str("it did not answer in time"),
            Self::Uncertified(why) => write!(
                f,
                "it did not prove by TLS that it is what [tls] in roles.toml trusts: {why}"
            ),
            Self::Broken(how) => f.write_str(how),
            Self::NotRuling(who_rules) => who_rules.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}
