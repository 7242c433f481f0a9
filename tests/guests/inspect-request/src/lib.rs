//! Answers JSON of what the guest sees of its request: what the host kept, added, removed.

use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam, Scheme};

struct InspectRequest;

impl wasip2::exports::http::incoming_handler::Guest for InspectRequest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers: Vec<String> = request
            .headers()
            .entries()
            .iter()
            .map(|(name, value)| {
                format!("[{},{}]", json(name), json(&String::from_utf8_lossy(value)))
            })
            .collect();
        let seen = format!(
            "{{\"method\":{},\"path_with_query\":{},\"scheme\":{},\"authority\":{},\"headers\":[{}]}}\n",
            json(&method(request.method())),
            json_or_null(request.path_with_query()),
            json_or_null(request.scheme().map(scheme)),
            json_or_null(request.authority()),
            headers.join(","),
        );
        let mut body = p2::Body::start(out, 200, &[("content-type", b"application/json")]);
        if body.send(seen.as_bytes()).is_ok() {
            body.finish(None);
        }
    }
}

fn method(method: Method) -> String {
    match method {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    }
}

fn scheme(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}

fn json_or_null(text: Option<String>) -> String {
    text.map_or_else(|| "null".to_owned(), |text| json(&text))
}

/// A JSON string (RFC 8259 §7).
fn json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

wasip2::http::proxy::export!(InspectRequest);
