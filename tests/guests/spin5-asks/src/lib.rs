//! What Spin's SDK 5 offers of databases elsewhere, call by call.

mod pg2;
mod pg3;
mod pg4;

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::redis::{Connection, RedisParameter};

#[http_component]
fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let target = Target::new(req.path_and_query().map(str::to_owned));
    let (status, body) = match answer(&target) {
        Ok(lines) => (200, lines.join("\n")),
        Err(why) => (418, why),
    };
    Ok(Response::new(status, body))
}

fn answer(target: &Target) -> Result<Vec<String>, String> {
    let text = |name: &str| target.text(name).unwrap_or_default();
    let (address, script) = (text("address"), text("do"));
    let times = target.number("open", 1);
    match target.path() {
        "/redis" => {
            // All of them at once; the last is asked.
            let opened: Result<Vec<_>, _> = (0..times).map(|_| Connection::open(&address)).collect();
            let opened = opened.map_err(|error| format!("{error:?}"))?;
            Ok(script.lines().map(|line| redis(&opened[opened.len() - 1], line)).collect())
        }
        "/pg2" => pg2::answer(&address, &script),
        "/pg3" => pg3::answer(&address, &script),
        "/pg4" => pg4::answer(&address, &script),
        other => Err(format!("no {other}")),
    }
}

fn redis(connection: &Connection, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let key = words.get(1).copied().unwrap_or_default();
    let value = words.get(2).copied().unwrap_or_default();
    let rest = |from: usize| -> Vec<String> { words.iter().skip(from).map(|word| word.to_string()).collect() };
    match words[0] {
        "publish" => format!("{:?}", connection.publish(key, &value.as_bytes().to_vec())),
        "get" => format!("{:?}", connection.get(key).map(|got| got.map(|got| String::from_utf8(got)))),
        "set" => format!("{:?}", connection.set(key, &value.as_bytes().to_vec())),
        "fill" => format!("{:?}", connection.set(key, &vec![b'x'; value.parse().unwrap_or(0)])),
        "incr" => format!("{:?}", connection.incr(key)),
        "del" => format!("{:?}", connection.del(&rest(1))),
        "sadd" => format!("{:?}", connection.sadd(key, &rest(2))),
        "smembers" => format!("{:?}", connection.smembers(key)),
        "srem" => format!("{:?}", connection.srem(key, &rest(2))),
        "execute" => {
            let arguments = words.iter().skip(2).map(|word| match word.strip_prefix("i:") {
                Some(number) => RedisParameter::Int64(number.parse().unwrap_or(0)),
                None => RedisParameter::Binary(word.as_bytes().to_vec()),
            });
            format!("{:?}", connection.execute(key, &arguments.collect::<Vec<_>>()))
        }
        other => format!("no {other}"),
    }
}

/// What can be given to a statement: `kind:value`.
pub(crate) fn numbers<T: std::str::FromStr + Copy + Default>(text: &str) -> Vec<T> {
    text.split(',').map(|number| number.trim().parse().unwrap_or_default()).collect()
}
