//! What Spin's SDK 7 offers of storage and variables, call by call.

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::{Error, Store};
use spin_sdk::variables;

/// The draft that the SDK does not have, by its own generator.
mod rc {
    spin_sdk::wit_bindgen::generate!({
        runtime_path: "spin_sdk::wit_bindgen::rt",
        path: "wit",
        world: "wasi:config/host",
        generate_all,
    });
}

use rc::wasi::config::store as config;

#[http_service]
async fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let asked = req.uri().path_and_query().map(|target| target.as_str().to_owned());
    let (status, body) = match answer(&Target::new(asked)).await {
        Ok(body) => (StatusCode::OK, body),
        Err(why) => (StatusCode::IM_A_TEAPOT, why.into_bytes()),
    };
    let mut response = Response::new(bytes(body));
    *response.status_mut() = status;
    Ok(response)
}

fn bytes(body: Vec<u8>) -> String {
    String::from_utf8_lossy(&body).into_owned()
}

async fn answer(target: &Target) -> Result<Vec<u8>, String> {
    let text = |name: &str| target.text(name).unwrap_or_default();
    let key = text("key");
    if target.path() == "/variable" {
        let got = variables::get(&key).await.map_err(|error| format!("{error:?}"))?;
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
    let store = Store::open(&store).await.map_err(said)?;
    Ok(match target.path() {
        "/get" => store.get(&key).await.map_err(said)?.ok_or_else(|| "none".to_owned())?,
        "/set" => {
            store.set(&key, text("value")).await.map_err(said)?;
            b"set".to_vec()
        }
        "/delete" => {
            store.delete(&key).await.map_err(said)?;
            b"deleted".to_vec()
        }
        "/exists" => store.exists(&key).await.map_err(said)?.to_string().into_bytes(),
        "/keys" => store.get_keys().await.collect().await.map_err(said)?.join("\n").into_bytes(),
        other => return Err(format!("no {other}")),
    })
}
