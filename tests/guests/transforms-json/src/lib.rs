//! Reads a JSON document, computes a little, and answers another of about the same size: what many
//! small services do all day.

use serde::{Deserialize, Serialize};
use wasip2::http::types::{IncomingBody, IncomingRequest, ResponseOutparam};
use wasip2::io::streams::StreamError;

/// More than this at once is not asked for.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Order {
    items: Vec<Item>,
}

#[derive(Deserialize, Serialize)]
struct Item {
    name: String,
    count: u32,
    price: f64,
    tags: Vec<String>,
    #[serde(skip_deserializing)]
    total: f64,
}

#[derive(Serialize)]
struct Invoice {
    total: f64,
    items: Vec<Item>,
}

struct TransformsJson;

impl wasip2::exports::http::incoming_handler::Guest for TransformsJson {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let incoming = request.consume().expect("the body is taken once");
        let Some(body) = read(&incoming) else {
            return p2::answer(out, 400, "the body broke off\n");
        };
        let order: Order = match serde_json::from_slice(&body) {
            Ok(order) => order,
            Err(error) => return p2::answer(out, 400, &format!("{error}\n")),
        };
        let invoice = serde_json::to_vec(&invoice(order)).expect("names are strings");
        let json = ("content-type", "application/json".as_bytes());
        let mut body = p2::Body::start(out, 200, &[json]);
        if body.send(&invoice).is_ok() {
            body.finish(None);
        }
    }
}

fn read(incoming: &IncomingBody) -> Option<Vec<u8>> {
    let stream = incoming.stream().expect("the stream is taken once");
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(PIECE_BYTES_MAX) {
            Ok(piece) => body.extend(piece),
            Err(StreamError::Closed) => return Some(body),
            Err(StreamError::LastOperationFailed(_)) => return None,
        }
    }
}

fn invoice(order: Order) -> Invoice {
    let mut items = order.items;
    for item in &mut items {
        item.total = f64::from(item.count) * item.price;
        item.name = item.name.to_uppercase();
    }
    items.sort_by(|one, other| one.name.cmp(&other.name));
    Invoice {
        total: items.iter().map(|item| item.total).sum(),
        items,
    }
}

wasip2::http::proxy::export!(TransformsJson);
