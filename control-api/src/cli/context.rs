//! What every command needs: the client, and standard output.

use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::failure::Failure;
use super::output::Output;
use crate::client::{Client, ClientError};
use crate::view::{Page, PageRequest};

/// Items asked for at a time where all of them are wanted.
const PAGE: usize = 500;
/// Largest token file that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Context {
    admin: String,
    token: Option<String>,
    token_file: Option<PathBuf>,
    pub(super) output: Output,
}

impl Context {
    /// The token comes from the file on the command line, else from `LITTORAL_TOKEN`, else from the file that
    /// `LITTORAL_TOKEN_FILE` names; there is no option for the token itself, which others could read in the process list.
    pub(super) fn new(admin: String, token_file: Option<PathBuf>, output: Output) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let token = match &token_file {
            Some(_) => None,
            None => variable("LITTORAL_TOKEN").map(|token| token.to_string_lossy().into_owned()),
        };
        Self {
            admin,
            token,
            token_file: token_file.or_else(|| variable("LITTORAL_TOKEN_FILE").map(PathBuf::from)),
            output,
        }
    }

    /// A client with the token, where there is one.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(path)) => {
                let failed = |source: Box<dyn std::error::Error + Send + Sync>| Failure::Local {
                    what: format!("the token file {} cannot be read", path.display()),
                    source,
                };
                let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
                if text.len() > TOKEN_BYTES_MAX {
                    return Err(failed("it is too large to hold a token".into()));
                }
                Some(text.trim().to_owned())
            }
            (None, None) => None,
        };
        Ok(Client::new(&self.admin, token)?)
    }

    /// Whether results are for people.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.output, Output::Text)
    }

    /// Shows a result: the value for programs, the text for people.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Json => {
                let mut json = serde_json::to_vec_pretty(value)
                    .map_err(|error| Failure::local("the result cannot be written", error))?;
                json.push(b'\n');
                self.raw(&json)
            }
            Output::Text => self.raw(text().as_bytes()),
        }
    }

    /// Writes to standard output and flushes it.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => Failure::ReaderGone,
                _ => Failure::local("standard output cannot be written", error),
            })
    }
}

/// Ends once nobody can read standard output any more; never, where the system cannot tell, as with a file.
///
/// Writing shows it too, but only where there is something to write, and not to a pipe whose other end some process
/// still holds for a moment: one that was forked meanwhile and has not begun its own program yet.
pub(super) async fn reader_gone() {
    let watched = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        // Not made non-blocking: others may share it.
        .and_then(pipe::Sender::from_owned_fd_unchecked);
    if let Ok(stdout) = watched
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Every item of a list, page by page; at most `most`.
pub(super) async fn all<T>(
    most: usize,
    fetch: impl AsyncFn(PageRequest) -> Result<Page<T>, ClientError>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut after = None;
    while items.len() < most {
        let limit = PAGE.min(most - items.len());
        let page = fetch(PageRequest { after, limit }).await?;
        items.extend(page.items);
        match page.next_after {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(items)
}
