//! One request and its answer: headers, bounds, problems.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ANSWER_MS_MAX, Client, ClientError, Put};
use crate::error::Problem;
use crate::problem::MEDIA_TYPE;
use crate::view::{PageRequest, Precondition, Revised};

/// Largest answer that is read: a page of 1000 modules with all their versions stays below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Client {
    /// The URL of these path segments; each is percent-encoded, slashes in it included.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("`new` refuses addresses without a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    /// A request with the token and no deadline, for uploads and streams.
    pub(super) fn open_ended(
        &self,
        method: Method,
        segments: &[&str],
    ) -> Result<RequestBuilder, ClientError> {
        let mut request = self.http.request(method, self.url(segments));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    pub(super) fn request(
        &self,
        method: Method,
        segments: &[&str],
    ) -> Result<RequestBuilder, ClientError> {
        Ok(self
            .open_ended(method, segments)?
            .timeout(Duration::from_millis(ANSWER_MS_MAX)))
    }

    /// Sends; every status that is no success becomes a problem.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request
            .send()
            .await
            .map_err(|source| self.unreachable(source))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let is_problem = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == MEDIA_TYPE);
        if !is_problem {
            return Err(self.unexpected(status, "it is no problem document"));
        }
        let body = self.body(answer).await?;
        let problem: Problem = serde_json::from_slice(&body)
            .map_err(|error| self.unexpected(status, &error.to_string()))?;
        Err(ClientError::Problem(Box::new(problem)))
    }

    pub(super) async fn body(&self, mut answer: Response) -> Result<Vec<u8>, ClientError> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|source| self.unreachable(source))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.unexpected(
                    status,
                    &format!("it is longer than {ANSWER_BYTES_MAX} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        answer: Response,
    ) -> Result<T, ClientError> {
        let status = answer.status();
        let body = self.body(answer).await?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(status, &error.to_string()))
    }

    pub(super) async fn revised<T: DeserializeOwned>(
        &self,
        answer: Response,
    ) -> Result<Revised<T>, ClientError> {
        let status = answer.status();
        let revision = answer
            .headers()
            .get(ETAG)
            .and_then(|value| value.to_str().ok())
            .and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
            .ok_or_else(|| self.unexpected(status, "it has no revision in `ETag`"))?;
        Ok(Revised {
            revision,
            value: self.json(answer).await?,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
    ) -> Result<T, ClientError> {
        let answer = self.send(self.request(Method::GET, segments)?).await?;
        self.json(answer).await
    }

    pub(super) async fn get_text(&self, segments: &[&str]) -> Result<String, ClientError> {
        let answer = self.send(self.request(Method::GET, segments)?).await?;
        let status = answer.status();
        String::from_utf8(self.body(answer).await?)
            .map_err(|_| self.unexpected(status, "it is not UTF-8"))
    }

    pub(super) async fn get_revised<T: DeserializeOwned>(
        &self,
        segments: &[&str],
    ) -> Result<Revised<T>, ClientError> {
        let answer = self.send(self.request(Method::GET, segments)?).await?;
        self.revised(answer).await
    }

    pub(super) async fn get_page<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        page: &PageRequest,
    ) -> Result<T, ClientError> {
        let mut request = self
            .request(Method::GET, segments)?
            .query(&[("limit", page.limit)]);
        if let Some(after) = &page.after {
            request = request.query(&[("after", after)]);
        }
        let answer = self.send(request).await?;
        self.json(answer).await
    }

    pub(super) async fn put_json<B: Serialize, T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &B,
        precondition: Precondition,
    ) -> Result<Put<T>, ClientError> {
        let request = self.request(Method::PUT, segments)?.json(body);
        let answer = self.send(conditional(request, precondition)).await?;
        let created = answer.status() == StatusCode::CREATED;
        Ok(Put {
            resource: self.revised(answer).await?,
            created,
        })
    }

    pub(super) async fn delete(
        &self,
        segments: &[&str],
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, segments)?;
        self.send(conditional(request, precondition)).await?;
        Ok(())
    }

    pub(super) fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            admin: self.admin.clone(),
            source: source.without_url(),
        }
    }

    pub(super) fn unexpected(&self, status: StatusCode, why: &str) -> ClientError {
        ClientError::Unexpected {
            admin: self.admin.clone(),
            status: status.as_u16(),
            why: why.to_owned(),
        }
    }
}

pub(super) fn conditional(request: RequestBuilder, precondition: Precondition) -> RequestBuilder {
    match precondition {
        Precondition::None => request,
        Precondition::Absent => request.header(IF_NONE_MATCH, "*"),
        Precondition::Revision(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
    }
}
