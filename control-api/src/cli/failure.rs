//! What went wrong, for people and for programs, and the exit code it becomes.

use std::io::Write as _;

use serde_json::json;

use super::output::{Output, plain};
use crate::client::ClientError;
use crate::error::Problem;
use crate::keypair::KeyFileError;

/// The exit codes of `littoral`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Done.
    Done = 0,
    /// Refused by the node.
    Refused = 1,
    /// Wrong usage; nothing was asked of the node.
    Usage = 2,
    /// The node does not answer.
    Unreachable = 3,
    /// A local file or key cannot be used.
    Local = 4,
    /// Something answered that is no Littoral node.
    Unexpected = 5,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// A call failed.
    Client(ClientError),
    /// A job that was waited for ended in a problem.
    Job(Box<Problem>),
    /// Arguments that do not go together, beyond what parsing can tell.
    Usage(String),
    /// A file, a key, the terminal.
    Local {
        /// What cannot be done.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A dry run whose answer, printed already, is that the real thing would be refused.
    WouldBeRefused,
    /// Whoever read our standard output has left: nothing more to do, and no fault.
    ReaderGone,
}

impl Failure {
    pub(super) fn local(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Failure::Local {
            what: what.into(),
            source: source.into(),
        }
    }

    pub(super) fn status(&self) -> ExitStatus {
        match self {
            Failure::Client(error) => match error {
                ClientError::Problem(_) => ExitStatus::Refused,
                ClientError::Address { .. } | ClientError::Token => ExitStatus::Usage,
                ClientError::Unreachable { .. } => ExitStatus::Unreachable,
                ClientError::Unexpected { .. } => ExitStatus::Unexpected,
                ClientError::File { .. } => ExitStatus::Local,
            },
            Failure::Job(_) | Failure::WouldBeRefused => ExitStatus::Refused,
            Failure::Usage(_) => ExitStatus::Usage,
            Failure::Local { .. } => ExitStatus::Local,
            Failure::ReaderGone => ExitStatus::Done,
        }
    }

    pub(super) fn problem(&self) -> Option<&Problem> {
        match self {
            Failure::Client(error) => error.problem(),
            Failure::Job(problem) => Some(problem),
            _ => None,
        }
    }

    /// Title, detail and request id on standard error; as JSON where that is wanted.
    pub(super) fn print(&self, output: Output) {
        if matches!(self, Failure::WouldBeRefused) {
            return;
        }
        let text = match (output, self.problem()) {
            (Output::Json, Some(problem)) => json!(problem).to_string(),
            (Output::Json, None) => json!({
                "title": self.title(),
                "detail": self.chain(),
                "exit_code": self.status() as u8,
            })
            .to_string(),
            (Output::Text, Some(problem)) => format!(
                "littoral: {}\n  {}\n  request id: {}",
                plain(&problem.title),
                plain(&problem.detail),
                plain(&problem.request_id)
            ),
            (Output::Text, None) => {
                format!("littoral: {}\n  {}", self.title(), plain(&self.chain()))
            }
        };
        // Where standard error is gone as well, the exit code still tells.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    fn title(&self) -> &'static str {
        match self.status() {
            ExitStatus::Done => "Done",
            ExitStatus::Refused => "The node refused",
            ExitStatus::Usage => "Wrong usage",
            ExitStatus::Unreachable => "The node does not answer",
            ExitStatus::Local => "A local file or key cannot be used",
            ExitStatus::Unexpected => "Something answered that is no Littoral node",
        }
    }

    pub(super) fn chain(&self) -> String {
        let (mut text, mut source): (String, Option<&dyn std::error::Error>) = match self {
            Failure::Client(error) => (error.to_string(), std::error::Error::source(error)),
            Failure::Job(problem) => (problem.detail.clone(), None),
            Failure::Usage(why) => (why.clone(), None),
            Failure::Local { what, source } => (what.clone(), Some(source.as_ref())),
            Failure::WouldBeRefused | Failure::ReaderGone => (String::new(), None),
        };
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Client(error)
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Failure::local("the key cannot be used", error)
    }
}
