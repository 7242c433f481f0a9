//! Why an outgoing request came to nothing: for the guest, for its tenant's log, and for metrics.

use std::error::Error as _;

use wasmtime_wasi_http::Error;

use crate::link::services::{Fault, Unconnected};
use crate::quota::Outcome;

/// Each way in which one fails.
#[derive(Debug, thiserror::Error)]
pub(in crate::host) enum Failure {
    /// Not a URI that leads anywhere, or not a request that is made here.
    #[error("{0}")]
    Invalid(String),
    /// Not that method.
    #[error("the method CONNECT makes a tunnel, which is not offered")]
    Tunnel,
    /// More than one request's guest may make.
    #[error("the guest made {0} outgoing requests; allowed in one request: {0}")]
    TooMany(u64),
    /// More than the tenant's guests may make at a time.
    #[error("the tenant's guests have {0} outgoing requests under way; allowed at once: {0}")]
    TooManyAtOnce(u64),
    /// There is no connection.
    #[error(transparent)]
    Unconnected(#[from] Unconnected),
    /// The node cannot.
    #[error(transparent)]
    Unavailable(#[from] Fault),
    /// The other side is not whom it should be.
    #[error("its certificate is refused: {0}")]
    Certificate(String),
    /// It does not speak TLS as it should.
    #[error("TLS fails: {0}")]
    Tls(String),
    /// It closed the connection.
    #[error("the connection ended before the answer did: {0}")]
    BrokenOff(String),
    /// The guest's own body ended in an error.
    #[error("the guest broke its request's body off")]
    GuestBrokeOff,
    /// What came is not HTTP.
    #[error("what came is not HTTP/1.1: {0}")]
    NotHttp(String),
    /// The answer's header.
    #[error("the answer's header has more than {0} bytes, or too many fields")]
    HeaderTooLarge(usize),
    /// The request's body.
    #[error("the request's body has more than {0} bytes")]
    SentTooLarge(u64),
    /// The answer's body.
    #[error("the answer's body has more than {0} bytes")]
    ReceivedTooLarge(u64),
    /// The answer did not begin.
    #[error("no answer within {0} ms")]
    NoAnswer(u64),
    /// The answer did not end.
    #[error("the answer did not end within {0} ms")]
    NoEnd(u64),
    /// The answer stood still for as long as the guest said.
    #[error("nothing came for {0} ms, the guest's own limit")]
    StoodStill(u64),
}

impl Failure {
    /// What went wrong on a connection.
    pub(super) fn on_wire(error: &hyper::Error, header_bytes_max: usize) -> Self {
        let text = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if error.is_parse_too_large() {
            Self::HeaderTooLarge(header_bytes_max)
        } else if error.is_parse() {
            Self::NotHttp(text)
        } else if error.is_user() {
            Self::GuestBrokeOff
        } else {
            Self::BrokenOff(text)
        }
    }

    /// What went wrong with TLS.
    pub(in crate::host) fn in_tls(error: &std::io::Error) -> Self {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        match cause {
            Some(tokio_rustls::rustls::Error::InvalidCertificate(why)) => {
                Self::Certificate(format!("{why:?}"))
            }
            _ => Self::Tls(error.to_string()),
        }
    }

    /// As metrics have it.
    pub(in crate::host) fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Tunnel | Self::GuestBrokeOff => Outcome::Invalid,
            Self::TooMany(_) | Self::TooManyAtOnce(_) => Outcome::Limit,
            Self::Unconnected(why) => match why {
                Unconnected::NotGranted(_) => Outcome::Denied,
                Unconnected::NoSuchName(_) => Outcome::Dns,
                Unconnected::Prohibited(_) => Outcome::Prohibited,
                Unconnected::Refused(_) | Unconnected::Unreachable(_) => Outcome::Unreachable,
                Unconnected::TimedOut(_) => Outcome::Timeout,
                Unconnected::TooMany(_) => Outcome::Unavailable,
            },
            Self::Unavailable(_) => Outcome::Unavailable,
            Self::Certificate(_) | Self::Tls(_) => Outcome::Tls,
            Self::BrokenOff(_) => Outcome::BrokenOff,
            Self::NotHttp(_) => Outcome::Protocol,
            Self::HeaderTooLarge(_) | Self::SentTooLarge(_) | Self::ReceivedTooLarge(_) => {
                Outcome::TooLarge
            }
            Self::NoAnswer(_) | Self::NoEnd(_) | Self::StoodStill(_) => Outcome::Timeout,
        }
    }

    /// As `wasi:http` has it. What the guest is told says no more of the network behind the node than it must.
    pub(in crate::host) fn code(&self) -> Error {
        match self {
            Self::Invalid(_) => Error::HttpRequestUriInvalid,
            Self::Tunnel => Error::HttpRequestMethodInvalid,
            Self::TooMany(_) => Error::HttpRequestDenied,
            Self::TooManyAtOnce(_) => Error::ConnectionLimitReached,
            Self::Unconnected(why) => match why {
                Unconnected::NotGranted(_) => Error::HttpRequestDenied,
                Unconnected::NoSuchName(_) => Error::DnsError {
                    rcode: None,
                    info_code: None,
                },
                Unconnected::Prohibited(_) => Error::DestinationIpProhibited,
                Unconnected::Refused(_) => Error::ConnectionRefused,
                Unconnected::Unreachable(_) => Error::DestinationUnavailable,
                Unconnected::TimedOut(_) => Error::ConnectionTimeout,
                Unconnected::TooMany(_) => Error::ConnectionLimitReached,
            },
            Self::Unavailable(_) => Error::DestinationUnavailable,
            Self::Certificate(_) => Error::TlsCertificateError,
            Self::Tls(_) => Error::TlsProtocolError,
            Self::BrokenOff(_) | Self::GuestBrokeOff => Error::ConnectionTerminated,
            Self::NotHttp(_) => Error::HttpProtocolError,
            Self::HeaderTooLarge(bytes) => {
                Error::HttpResponseHeaderSectionSize(u32::try_from(*bytes).ok())
            }
            Self::SentTooLarge(bytes) => Error::HttpRequestBodySize(Some(*bytes)),
            Self::ReceivedTooLarge(bytes) => Error::HttpResponseBodySize(Some(*bytes)),
            Self::NoAnswer(_) | Self::NoEnd(_) => Error::HttpResponseTimeout,
            Self::StoodStill(_) => Error::ConnectionReadTimeout,
        }
    }
}
