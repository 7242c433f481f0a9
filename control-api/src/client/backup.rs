//! Taking a backup.

use http::Method;
use reqwest::Response;

use super::{Client, ClientError};
use crate::view::BackupWrite;

/// An archive as it comes.
#[derive(Debug)]
pub struct BackupDownload {
    client: Client,
    answer: Response,
}

impl BackupDownload {
    /// The next bytes; `None` where the node sends no more. Whether the archive is whole is for its reader to say
    /// ([`crate::archive`]).
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where the connection breaks.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, ClientError> {
        let chunk = self.answer.chunk().await;
        chunk.map_err(|source| self.client.unreachable(source))
    }
}

impl Client {
    /// The whole node as an archive, while it serves.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self, write: &BackupWrite) -> Result<BackupDownload, ClientError> {
        let request = self.open_ended(Method::POST, &["v1", "backup"])?;
        let answer = self.send(request.json(write)).await?;
        Ok(BackupDownload {
            client: self.clone(),
            answer,
        })
    }
}
