//! What can keep prun from starting, said so that the user can mend it.

use std::borrow::Cow;
use std::fmt;

/// One failure: what was being done, to what, why it was refused, and what to do.
#[derive(Debug)]
pub struct Failure {
    doing: &'static str,
    what: String,
    why: std::io::Error,
    hint: Option<Cow<'static, str>>,
    status: u8,
}

/// Exit status when prun itself could not start.
pub const CANNOT_START: u8 = 125;
/// Exit status when the command cannot be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// Exit status when the command is not found.
pub const NOT_FOUND: u8 = 127;

impl Failure {
    /// `doing` completes "cannot …"; `what` is the path, option or call it was done to.
    pub fn new(doing: &'static str, what: &str, why: impl Into<std::io::Error>) -> Self {
        Self { doing, what: what.to_owned(), why: why.into(), hint: None, status: CANNOT_START }
    }

    /// Says what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends prun with another status than [`CANNOT_START`].
    #[must_use]
    pub fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// What prun exits with.
    pub fn exit_status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.doing)?;
        if !self.what.is_empty() {
            write!(f, " '{}'", self.what)?;
        }
        write!(f, ": {}", self.why)?;
        match &self.hint {
            Some(hint) => write!(f, "\n      {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
