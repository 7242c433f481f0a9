//! What `wasi:keyvalue@0.2.0-draft` offers, call by call.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "keeps", generate_all });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

struct Keeps;

impl wasip2::exports::http::incoming_handler::Guest for Keeps {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        match answer(&target) {
            Ok(text) => p2::answer(out, 200, &text),
            Err(why) => p2::answer(out, 418, &why),
        }
    }
}

fn answer(target: &p2::Target) -> Result<String, String> {
    let text = |name: &str| target.text(name).unwrap_or_default();
    let said = |error: store::Error| format!("{error:?}");
    let key = text("key");
    let name = target.text("store").unwrap_or_else(|| "default".to_owned());
    let bucket = store::open(&name).map_err(said)?;
    let shown = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    Ok(match target.path() {
        "/get" => bucket.get(&key).map_err(said)?.map_or_else(|| "none".to_owned(), shown),
        "/set" => {
            bucket.set(&key, text("value").as_bytes()).map_err(said)?;
            "set".to_owned()
        }
        "/exists" => bucket.exists(&key).map_err(said)?.to_string(),
        "/delete" => {
            bucket.delete(&key).map_err(said)?;
            "deleted".to_owned()
        }
        "/many" => {
            let pairs = [("m1".to_owned(), b"1".to_vec()), ("m2".to_owned(), b"2".to_vec())];
            batch::set_many(&bucket, &pairs).map_err(said)?;
            let keys = ["m1".to_owned(), "none".to_owned(), "m2".to_owned()];
            let got = batch::get_many(&bucket, &keys).map_err(said)?;
            batch::delete_many(&bucket, &keys).map_err(said)?;
            format!("{got:?}")
        }
        "/keys" => bucket.list_keys(None).map_err(said)?.keys.join(" "),
        "/increment" => {
            let delta = target.number("delta", 1);
            atomics::increment(&bucket, &key, delta).map_err(said)?.to_string()
        }
        other => return Err(format!("no {other}")),
    })
}

wasip2::http::proxy::export!(Keeps);
