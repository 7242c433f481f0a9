//! A plain program as the server of one request, in the manner of CGI (RFC 3875).
//!
//! The request is in its environment and standard input, its answer on standard output: a head of fields, an empty line,
//! a body, which is sent on as it comes. Without a head that RFC 3875 §6.2 would take (it names `Content-Type`, `Status`
//! or `Location`), all that is written is the body of a 200 in plain text, so that a program which only prints is one.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, request};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi_http::{Error, WasiBody};

use super::instance::Head;
use crate::host::{GuestState, Program, ProgramInput, ProgramOutput, Written};

/// A head is at most this long, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The field that says what a program's answer is; not one of HTTP's.
const STATUS: HeaderName = HeaderName::from_static("status");
/// The request field that would become `HTTP_PROXY`, which many programs take for their configuration.
const PROXY: HeaderName = HeaderName::from_static("proxy");
/// Where the gateway says which part of the path chose the module, and which is left.
const COMPONENT_ROUTE: &str = "spin-component-route";
const PATH_INFO: &str = "spin-path-info";
const CLIENT_ADDR: &str = "spin-client-addr";

/// Runs the program for one request.
///
/// # Errors
/// Traps, an exit status other than 0, and a head that is none.
pub(super) async fn serve(
    store: &mut Store<GuestState>,
    command: &Command,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let (parts, body) = request.into_parts();
    let (output, written) = ProgramOutput::new();
    store.data_mut().run_program(Program {
        environment: environment(&parts),
        arguments: vec!["program".to_owned()],
        input: ProgramInput::new(body),
        output,
    });
    let mut answering = pin!(answer(written.clone(), head));
    let mut answered = false;
    let run = command.wasi_cli_run();
    let mut running = pin!(run.call_run(&mut *store));
    let ended = std::future::poll_fn(|cx| {
        let ended = running.as_mut().poll(cx);
        // After the program, whose first words may be there now.
        if !answered && let Poll::Ready(outcome) = answering.as_mut().poll(cx) {
            answered = true;
            // Nobody reads what a program writes behind a head that is none: it would wait for ever.
            outcome?;
        }
        ended.map(Ok::<_, wasmtime::Error>)
    })
    .await?;
    written.end();
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(())) => wasmtime::bail!("the program ended with an error"),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(0)) => {}
            Some(I32Exit(status)) => wasmtime::bail!("the program exited with status {status}"),
            None => return Err(error),
        },
    }
    if answered { Ok(()) } else { answering.await }
}

/// Sends the answer's head as soon as it is there, with the body to come.
async fn answer(written: Written, head: oneshot::Sender<Head>) -> wasmtime::Result<()> {
    let mut read = BytesMut::new();
    let found = loop {
        match look(&read)? {
            Look::Head(found) => break found,
            Look::Unfinished => {}
        }
        match std::future::poll_fn(|cx| written.poll_next(cx)).await {
            Some(piece) => read.extend_from_slice(&piece),
            // Nothing at all is no answer.
            None if read.is_empty() => return Ok(()),
            None => break Found::plain(),
        }
    };
    let body = ProgramBody {
        first: read.split_off(found.bytes).freeze(),
        written,
    };
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = found.status;
    *response.headers_mut() = found.fields;
    // Nobody waits any more once the client is gone; the guest is ended by then or will be.
    drop(head.send(Ok(response)));
    Ok(())
}

/// What the beginning of the output is.
enum Look {
    Head(Found),
    /// It can still become one.
    Unfinished,
}

/// An answer's head.
struct Found {
    status: StatusCode,
    fields: HeaderMap,
    /// Its length: the body follows.
    bytes: usize,
}

impl Found {
    /// That of an output which has none.
    fn plain() -> Self {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        Self {
            status: StatusCode::OK,
            fields: HeaderMap::from_iter([(CONTENT_TYPE, text)]),
            bytes: 0,
        }
    }
}

/// Reads a head (RFC 3875 §6.3), lines of which may end with a line feed alone.
fn look(written: &[u8]) -> wasmtime::Result<Look> {
    let (mut fields, mut bytes) = (HeaderMap::new(), 0);
    let mut wrong = None;
    loop {
        let rest = written.get(bytes..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            if written.len() > HEAD_BYTES_MAX {
                if !is_head(&fields) {
                    return Ok(Look::Head(Found::plain()));
                }
                wasmtime::bail!("the program's head is longer than {HEAD_BYTES_MAX} bytes");
            }
            // What can be no field is no head: the body need not wait for the end of the line.
            let may_be = bytes > 0 || may_be_field(rest);
            return Ok(if may_be {
                Look::Unfinished
            } else {
                Look::Head(Found::plain())
            });
        };
        let line = rest.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        bytes += end + 1;
        if line.is_empty() {
            break;
        }
        match field(line) {
            Some((name, value)) => {
                fields.append(name, value);
            }
            None if !is_head(&fields) => return Ok(Look::Head(Found::plain())),
            None => {
                wrong.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
            }
        }
    }
    if !is_head(&fields) {
        return Ok(Look::Head(Found::plain()));
    }
    if let Some(line) = wrong {
        wasmtime::bail!("the program's head has a line that is no field: {line:?}");
    }
    let status = match fields.remove(STATUS) {
        Some(value) => status(&value)?,
        // RFC 3875 §6.2.3 has the server go there itself where it is a path; a client that is told finds it as well.
        None if fields.contains_key(LOCATION) => StatusCode::FOUND,
        None => StatusCode::OK,
    };
    Ok(Look::Head(Found {
        status,
        fields,
        bytes,
    }))
}

/// Whether these are the fields of an answer (RFC 3875 §6.2), and not lines of prose that look like some.
fn is_head(fields: &HeaderMap) -> bool {
    [CONTENT_TYPE, LOCATION, STATUS]
        .iter()
        .any(|name| fields.contains_key(name))
}

/// Whether an unfinished line can become a field: it is the beginning of a name, or has one before a colon.
fn may_be_field(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    name.len() <= 256
        && (name.is_empty() && line.is_empty() || HeaderName::from_bytes(name).is_ok())
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    Some((
        HeaderName::from_bytes(name).ok()?,
        HeaderValue::from_bytes(value).ok()?,
    ))
}

/// Three digits, and perhaps words (RFC 3875 §6.3.3).
fn status(value: &HeaderValue) -> wasmtime::Result<StatusCode> {
    let digits = value.as_bytes().split(|byte| *byte == b' ').next();
    let status = digits.and_then(|digits| StatusCode::from_bytes(digits).ok());
    match status.filter(|status| (200..=599).contains(&status.as_u16())) {
        Some(status) => Ok(status),
        None => wasmtime::bail!(
            "the program's `Status` is {value:?}; allowed: 200 to 599, and words after it"
        ),
    }
}

/// A program's answer after its head.
struct ProgramBody {
    /// What came with the head.
    first: Bytes,
    written: Written,
}

impl Body for ProgramBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = if self.first.is_empty() {
            ready!(self.written.poll_next(cx))
        } else {
            Some(std::mem::take(&mut self.first))
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The request's meta-variables (RFC 3875 §4.1), and `REQUEST_URI`, which is in no standard and used by all.
fn environment(parts: &request::Parts) -> Vec<(String, String)> {
    let text = |name: &str| {
        let value = parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authority = parts.uri.authority();
    let host = authority.map_or_else(|| text(HOST.as_str()), |authority| authority.host());
    let is_https = parts.uri.scheme_str() == Some("https");
    let port = authority
        .and_then(|authority| authority.port_u16())
        .unwrap_or(if is_https { 443 } else { 80 });
    // `address:port`, of which only the first is asked for.
    let client = text(CLIENT_ADDR);
    let client = client
        .rsplit_once(':')
        .map_or(client, |(address, _)| address);
    let path_info = percent_decode_str(text(PATH_INFO)).decode_utf8_lossy();
    let protocol = match parts.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    };
    let mut variables: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        (
            "SERVER_SOFTWARE",
            concat!("littoral/", env!("CARGO_PKG_VERSION")),
        ),
        ("SERVER_PROTOCOL", protocol),
        ("SERVER_NAME", host),
        ("SERVER_PORT", &port.to_string()),
        ("REQUEST_METHOD", parts.method.as_str()),
        (
            "REQUEST_URI",
            parts
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str()),
        ),
        ("SCRIPT_NAME", text(COMPONENT_ROUTE)),
        ("PATH_INFO", &path_info),
        ("QUERY_STRING", parts.uri.query().unwrap_or_default()),
        ("REMOTE_ADDR", client.trim_matches(['[', ']'])),
        ("REMOTE_HOST", client.trim_matches(['[', ']'])),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if is_https {
        variables.push(("HTTPS".to_owned(), "on".to_owned()));
    }
    for (variable, name) in [
        ("CONTENT_TYPE", CONTENT_TYPE),
        ("CONTENT_LENGTH", CONTENT_LENGTH),
    ] {
        if parts.headers.contains_key(&name) {
            variables.push((variable.to_owned(), text(name.as_str()).to_owned()));
        }
    }
    for name in parts.headers.keys() {
        if [CONTENT_TYPE, CONTENT_LENGTH, PROXY].contains(name)
            || name.as_str().starts_with("spin-")
        {
            continue;
        }
        let values = parts.headers.get_all(name).iter();
        let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        let variable = name.as_str().to_ascii_uppercase().replace('-', "_");
        variables.push((format!("HTTP_{variable}"), values.join(", ")));
    }
    variables
}

#[cfg(test)]
mod tests;
