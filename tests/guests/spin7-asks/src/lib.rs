//! What Spin's SDK 7 offers of databases elsewhere, call by call.

mod pg;

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response, StatusCode};
use spin_sdk::http_service;
use spin_sdk::redis::{Connection, RedisParameter};

#[http_service]
async fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let asked = req.uri().path_and_query().map(|target| target.as_str().to_owned());
    let (status, body) = match answer(&Target::new(asked)).await {
        Ok(lines) => (StatusCode::OK, lines.join("\n")),
        Err(why) => (StatusCode::IM_A_TEAPOT, why),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

async fn answer(target: &Target) -> Result<Vec<String>, String> {
    let text = |name: &str| target.text(name).unwrap_or_default();
    let (address, script) = (text("address"), text("do"));
    match target.path() {
        "/redis" => {
            let mut opened = Vec::new();
            for _ in 0..target.number("open", 1) {
                // All of them at once; the last is asked.
                opened.push(Connection::open(&address).await.map_err(|error| format!("{error:?}"))?);
            }
            let connection = &opened[opened.len() - 1];
            if let Some(line) = target.text("together") {
                return Ok(together(connection, &line).await);
            }
            let mut said = Vec::new();
            for line in script.lines() {
                said.push(redis(connection, line).await);
            }
            Ok(said)
        }
        "/pg" => pg::answer(&address, &script, None).await,
        "/pg-options" => pg::answer(&address, &script, Some(text("ca"))).await,
        other => Err(format!("no {other}")),
    }
}

/// The same four times at once, of one connection.
async fn together(connection: &Connection, line: &str) -> Vec<String> {
    let mut all: Vec<_> = (0..4).map(|_| Box::pin(redis(connection, line))).collect();
    let mut said = Vec::new();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                said.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    said
}

async fn redis(connection: &Connection, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let key = words.get(1).copied().unwrap_or_default();
    let value = words.get(2).copied().unwrap_or_default();
    let rest = |from: usize| words.iter().skip(from).copied();
    match words[0] {
        "publish" => format!("{:?}", connection.publish(key, value).await),
        "get" => format!("{:?}", connection.get(key).await.map(|got| got.map(|got| String::from_utf8(got)))),
        "set" => format!("{:?}", connection.set(key, value).await),
        "fill" => format!("{:?}", connection.set(key, vec![b'x'; value.parse().unwrap_or(0)]).await),
        "incr" => format!("{:?}", connection.incr(key).await),
        "del" => format!("{:?}", connection.del(rest(1)).await),
        "sadd" => format!("{:?}", connection.sadd(key, rest(2)).await),
        "smembers" => format!("{:?}", connection.smembers(key).await),
        "srem" => format!("{:?}", connection.srem(key, rest(2)).await),
        "execute" => {
            let arguments = rest(2).map(|word| match word.strip_prefix("i:") {
                Some(number) => RedisParameter::Int64(number.parse().unwrap_or(0)),
                None => RedisParameter::Binary(word.as_bytes().to_vec()),
            });
            format!("{:?}", connection.execute(key, arguments).await)
        }
        other => format!("no {other}"),
    }
}
