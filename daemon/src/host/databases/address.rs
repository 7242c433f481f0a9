//! What is common to the addresses of all kinds of servers.

use std::net::IpAddr;

use edge_config::{Hostname, OutboundPattern};
use percent_encoding::percent_decode_str;
use url::Url;

use super::failure::Failure;
use super::session::Place;

/// Most bytes of an address.
const BYTES_MAX: usize = 4096;

/// The URL of a server, whose scheme must be one of these.
///
/// # Errors
/// [`Failure::Address`].
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<Url, Failure> {
    bounded(text)?;
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !schemes.contains(&url.scheme()) {
        return Err(invalid(&format!(
            "its scheme is {:?}; allowed: {}",
            url.scheme(),
            schemes.join(", ")
        )));
    }
    if url.fragment().is_some() {
        return Err(invalid("it has a part after '#'"));
    }
    Ok(url)
}

/// Refuses what is longer than any address.
///
/// # Errors
/// [`Failure::Address`].
pub(super) fn bounded(text: &str) -> Result<(), Failure> {
    if text.len() > BYTES_MAX {
        let bytes = text.len();
        return Err(invalid(&format!(
            "it has {bytes} bytes; allowed: {BYTES_MAX}"
        )));
    }
    Ok(())
}

/// Where a server of this host is.
///
/// # Errors
/// [`Failure::Address`].
pub(super) fn place(
    schemes: &'static [&'static str],
    host: &str,
    port: Option<u16>,
) -> Result<Place, Failure> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host
            .parse::<Hostname>()
            .map_err(|error| invalid(&error.to_string()))?
            .to_string(),
    };
    let own = schemes
        .first()
        .and_then(|scheme| OutboundPattern::default_port(scheme));
    let port = port.or(own).filter(|port| *port > 0);
    let port = port.ok_or_else(|| invalid("its port is none; allowed: 1 to 65535"))?;
    Ok(Place {
        schemes,
        host,
        port,
    })
}

/// A part of a URL as it was before it was written into one.
///
/// # Errors
/// [`Failure::Address`].
pub(super) fn decoded(part: &str, what: &str) -> Result<String, Failure> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| invalid(&format!("its {what} is not UTF-8")))?;
    if text.contains('\0') {
        return Err(invalid(&format!("its {what} has a zero byte")));
    }
    Ok(text.into_owned())
}

/// Why it is no address.
pub(super) fn invalid(why: &str) -> Failure {
    Failure::Address(why.to_owned())
}
