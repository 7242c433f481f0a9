//! What Spin's SDK 5 offers of storage and variables, call by call.

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::key_value::{Error, Store};
use spin_sdk::wit::wasi::config::store as config;
use spin_sdk::{http_component, variables};

#[http_component]
fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let target = Target::new(req.path_and_query().map(str::to_owned));
    let (status, body) = match answer(&target, req.body()) {
        Ok(body) => (200, body),
        Err(why) => (418, why.into_bytes()),
    };
    Ok(Response::new(status, body))
}

fn answer(target: &Target, body: &[u8]) -> Result<Vec<u8>, String> {
    let text = |name: &str| target.text(name).unwrap_or_default();
    let key = text("key");
    if target.path() == "/variable" {
        let got = variables::get(&key).map_err(|error| format!("{error:?}"))?;
        return Ok(got.into_bytes());
    }
    if target.path() == "/read" {
        return std::fs::read(&key).map_err(|error| error.to_string());
    }
    if target.path() == "/config" {
        let got = config::get(&key).map_err(|error| format!("{error:?}"))?;
        return got.map(String::into_bytes).ok_or_else(|| "none".to_owned());
    }
    if target.path() == "/configs" {
        let all = config::get_all().map_err(|error| format!("{error:?}"))?;
        let lines: Vec<_> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return Ok(lines.join("\n").into_bytes());
    }
    let store = target.text("store").unwrap_or_else(|| "default".to_owned());
    let said = |error: Error| format!("{error:?}");
    if target.path() == "/open" {
        // All of them at once.
        let stores: Result<Vec<_>, _> = (0..target.number("times", 1)).map(|_| Store::open(&store)).collect();
        return stores.map(|stores| stores.len().to_string().into_bytes()).map_err(said);
    }
    let store = Store::open(&store).map_err(said)?;
    Ok(match target.path() {
        "/get" => {
            let mut got = None;
            for _ in 0..target.number("times", 1) {
                got = store.get(&key).map_err(said)?;
            }
            got.ok_or_else(|| "none".to_owned())?
        }
        "/set" => {
            let value = target.text("value").map_or_else(|| body.to_vec(), String::into_bytes);
            for time in 0..target.number("times", 1) {
                let key = if time == 0 { key.clone() } else { format!("{key}{time}") };
                store.set(&key, &value).map_err(said)?;
            }
            b"set".to_vec()
        }
        "/delete" => {
            store.delete(&key).map_err(said)?;
            b"deleted".to_vec()
        }
        "/exists" => store.exists(&key).map_err(said)?.to_string().into_bytes(),
        "/keys" => store.get_keys().map_err(said)?.join("\n").into_bytes(),
        other => return Err(format!("no {other}")),
    })
}
