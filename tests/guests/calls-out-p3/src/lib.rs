//! Requests the URL that the query names, and relays what comes back, as a service of WASI 0.3. `times` asks as often,
//! one after the other, and relays the last answer; `post` sends a body of so many KiB with each.

use p3::{Body, End};
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::rt::async_support::{FutureReader, StreamReader, StreamResult};
use wasip3::{wit_future, wit_stream};

const PIECE_BYTES_MAX: usize = 64 * 1024;

struct CallsOut;

impl wasip3::exports::http::handler::Guest for CallsOut {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = p3::target(&request);
        let Some(url) = target.text("url") else {
            return Ok(p3::answer(400, "name a URL: /?url=http://host:port/path\n"));
        };
        let mut last = None;
        for _ in 0..target.number("times", 1).max(1) {
            let Some(request) = request_of(&url, target.number("post", 0)) else {
                let why = "a URL starts with http:// or https:// and a host\n";
                return Ok(p3::answer(400, why));
            };
            match client::send(request).await {
                Ok(response) => last = Some(relay(response)),
                Err(code) => return Ok(p3::answer(502, &format!("{}\n", name(&code)))),
            }
        }
        let Some((response, incoming, trailers, body)) = last else {
            return Ok(p3::answer(500, "nothing was asked\n"));
        };
        wasip3::spawn(copy(incoming, trailers, body));
        Ok(response)
    }
}

fn request_of(url: &str, post_kib: u64) -> Option<Request> {
    let (scheme, rest) = match url.split_once("://")? {
        ("http", rest) => (Scheme::Http, rest),
        ("https", rest) => (Scheme::Https, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let contents = (post_kib > 0).then(|| {
        let (mut body, body_read) = wit_stream::new();
        wasip3::spawn(async move {
            for _ in 0..post_kib {
                if !body.write_all(vec![b'x'; 1024]).await.is_empty() {
                    return; // The other side is gone.
                }
            }
        });
        body_read
    });
    let posts = contents.is_some();
    let (request, _sent) = Request::new(Fields::new(), contents, no_trailers, None);
    if posts {
        request.set_method(&Method::Post).ok()?;
    }
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request
        .set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
        .ok()?;
    Some(request)
}

fn relay(response: Response) -> (Response, StreamReader<u8>, FutureReader<End>, Body) {
    let headers = Fields::new();
    let types = response.get_headers().get("content-type");
    headers.set("content-type", &types).expect("a valid header");
    let status = response.get_status_code();
    let (_, no_trouble) = wit_future::new(|| Ok(()));
    let (incoming, trailers) = Response::consume_body(response, no_trouble);
    let (answer, body) = p3::start(status, headers);
    (answer, incoming, trailers, body)
}

async fn copy(mut incoming: StreamReader<u8>, trailers: FutureReader<End>, mut body: Body) {
    loop {
        let (progress, piece) = incoming.read(Vec::with_capacity(PIECE_BYTES_MAX)).await;
        if progress == StreamResult::Dropped {
            break;
        }
        if body.send(piece).await.is_err() {
            return; // The client is gone.
        }
    }
    drop(incoming);
    body.finish(trailers.await).await;
}

/// The code's name as in Rust's bindings, such as `ConnectionRefused`, with its details.
fn name(code: &ErrorCode) -> String {
    format!("{code:?}").replace("ErrorCode::", "")
}

wasip3::http::service::export!(CallsOut);
