//! The upload call: bytes from a file or from memory, streamed, counted as they go.

use std::path::PathBuf;

use bytes::Bytes;
use edge_config::{ModuleName, TenantName};
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use reqwest::{Body, RequestBuilder};
use tokio_util::io::ReaderStream;

use super::request::conditional;
use super::{Client, ClientError};
use crate::statement;
use crate::view::{Job, ModuleVersion, Precondition, Revised, UploadDryRun};

/// Bytes read from the file, and counted, at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a component's bytes come from.
#[derive(Debug, Clone)]
pub enum Component {
    /// A file, streamed.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
}

/// An upload to be made.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The tenant.
    pub tenant: TenantName,
    /// The module.
    pub module: ModuleName,
    /// The signed statement; a dry run can do without.
    pub statement: Option<String>,
    /// The bytes.
    pub component: Component,
    /// What must hold of the module.
    pub precondition: Precondition,
    /// Whether to be answered as soon as the bytes are in.
    pub respond_async: bool,
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadAnswer {
    /// Accepted, compiled and durable.
    Done {
        /// The version.
        version: Revised<ModuleVersion>,
        /// Whether this upload made it; if not, the same one had been accepted before.
        created: bool,
    },
    /// The bytes are in; poll the job.
    Accepted(Job),
}

impl Client {
    /// Uploads a component. `progress` is called with the bytes sent so far, and at last with all of them.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::File`] where the component cannot be read.
    pub async fn upload(
        &self,
        upload: &UploadRequest,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<UploadAnswer, ClientError> {
        let mut request = self.upload_request(upload, progress).await?;
        if upload.respond_async {
            request = request.header("prefer", "respond-async");
        }
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(UploadAnswer::Accepted(self.json(answer).await?)),
            status => Ok(UploadAnswer::Done {
                version: self.revised(answer).await?,
                created: status == StatusCode::CREATED,
            }),
        }
    }

    /// What an upload would do.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload_dry_run(
        &self,
        upload: &UploadRequest,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<UploadDryRun, ClientError> {
        let request = self
            .upload_request(upload, progress)
            .await?
            .query(&[("dry_run", "true")]);
        let answer = self.send(request).await?;
        self.json(answer).await
    }

    async fn upload_request(
        &self,
        upload: &UploadRequest,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<RequestBuilder, ClientError> {
        let path = [
            "v1",
            "tenants",
            upload.tenant.as_ref(),
            "modules",
            upload.module.as_ref(),
        ];
        let mut request = self
            .open_ended(Method::PUT, &path)?
            .header(CONTENT_TYPE, "application/wasm");
        if let Some(text) = &upload.statement {
            request = request.header(statement::HEADER, text);
        }
        request = conditional(request, upload.precondition);
        let mut sent_bytes = 0;
        let mut count = move |chunk: &Bytes| {
            sent_bytes += chunk.len() as u64;
            progress(sent_bytes);
        };
        let (length_bytes, body) = match &upload.component {
            Component::Bytes(bytes) => {
                let mut rest = bytes.clone();
                let chunks = std::iter::from_fn(move || {
                    let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                    (!chunk.is_empty()).then_some(Ok::<_, std::io::Error>(chunk))
                });
                let stream = futures_util::stream::iter(chunks).inspect(move |chunk| {
                    let _ = chunk.as_ref().map(&mut count);
                });
                (bytes.len() as u64, Body::wrap_stream(stream))
            }
            Component::File(path) => {
                let unreadable = |source| ClientError::File {
                    path: path.clone(),
                    source,
                };
                let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
                let length_bytes = file.metadata().await.map_err(unreadable)?.len();
                let stream = ReaderStream::with_capacity(file, CHUNK_BYTES).inspect(move |chunk| {
                    let _ = chunk.as_ref().map(&mut count);
                });
                (length_bytes, Body::wrap_stream(stream))
            }
        };
        Ok(request.header(CONTENT_LENGTH, length_bytes).body(body))
    }
}
