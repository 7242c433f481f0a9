//! From nothing to an answer. A peer that runs one application is started for it; Littoral has the module on disk, not in
//! memory, and is asked for it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use littoral_tests::measure::{Line, Plot, Scale, Table, each_once, number, percentile};
use littoral_tests::{Process, TestEdge, component, with_section};
use serde_json::json;

use crate::install::Peers;
use crate::report::Part;
use crate::scenarios::HELLO_JS;
use crate::side::{self, Guest, HOST, Side, WITH_US, Who};

pub(crate) const NAME: &str = "cold-start";

/// Each start's way to its first answer, in microseconds, sorted.
type Times = Vec<u32>;

pub(crate) async fn measure(peers: &Peers) -> Part {
    println!("\n## {NAME}");
    let starts = number("STARTS", 21);
    let mut found: Vec<(&str, Result<Times, String>)> = vec![(
        "Littoral, first request to a module on disk",
        Ok(littoral(number("MODULES", 200) as usize).await),
    )];
    let wasmtime = peers.wasmtime.as_deref().map_err(ToString::to_string);
    for (name, compiled) in [
        ("wasmtime serve hello.wasm", false),
        ("wasmtime serve hello.cwasm", true),
    ] {
        let times = wasmtime
            .clone()
            .and_then(|program| wasmtime_starts(program, compiled, starts));
        found.push((name, times));
    }
    found.push(("workerd serve", workerd_starts(peers, starts).await));
    report(&found)
}

fn report(found: &[(&str, Result<Times, String>)]) -> Part {
    let ms = |times: &Times, share: f64| f64::from(percentile(times, share)) / 1000.0;
    let first = found.first().and_then(|(_, times)| times.as_ref().ok());
    let ours = first.map_or(f64::NAN, |times| ms(times, 0.5));
    let mut table = Table::new(&["from", "times", "p50", "p99", "Littoral's p50 to this"]);
    let (mut lines, mut figures) = (Vec::new(), Vec::new());
    for (name, times) in found {
        match times {
            Ok(times) => {
                table.row([
                    (*name).to_owned(),
                    times.len().to_string(),
                    format!("{:.2} ms", ms(times, 0.5)),
                    format!("{:.2} ms", ms(times, 0.99)),
                    format!("{:.4}", ours / ms(times, 0.5)),
                ]);
                let steps = (0..=100).map(|step| f64::from(step) / 100.0);
                lines.push(Line {
                    name: (*name).replace(
                        "Littoral, first request to a module on disk",
                        "Littoral, first request",
                    ),
                    points: steps
                        .map(|share| (ms(times, share), share * 100.0))
                        .collect(),
                });
                figures.push(json!({ "of": name, "p50_ms": ms(times, 0.5), "p99_ms": ms(times, 0.99), "rounds": times }));
            }
            Err(reason) => {
                table.row([
                    format!("{name}: left out, {reason}"),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
                figures.push(json!({ "of": name, "left_out": reason }));
            }
        }
    }
    print!("{}", table.text());
    let plot = Plot {
        title: "From nothing to the first answer",
        x: ("ms", Scale::Tens),
        y: ("% answered by then", Scale::Even),
        lines,
    };
    Part {
        name: NAME,
        text: table.text().to_owned(),
        json: figures.into(),
        picture: Some(plot.svg()),
    }
}

/// Modules that the node has on disk, each asked once over one connection.
async fn littoral(modules: usize) -> Times {
    let mut edge = TestEdge::build()
        .under(&WITH_US)
        .set("limits.modules_max", modules + 1)
        .set("limits.routes_max", modules + 1)
        .start()
        .await;
    let tenant = edge.tenant("cold").await;
    let hello = component("hello");
    let mut requests = Vec::new();
    for number in 0..=modules {
        let (name, host) = (format!("m{number}"), format!("m{number}.cold.test"));
        tenant.version(&name, 1, with_section(&hello, &name)).await;
        let routed = tenant.route(&format!("{host}/"), &name, None).await;
        routed.expect("the route is free");
        requests.push(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes());
    }
    edge.restart().await;
    // The first pays for what a worker does once.
    let warm = requests.split_off(modules);
    each_once(edge.http(), &warm);
    each_once(edge.http(), &requests)
}

fn wasmtime_starts(program: &Path, compiled: bool, starts: u32) -> Result<Times, String> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let path = home.path().join("hello.wasm");
    std::fs::write(&path, component("hello")).expect("the folder is ours");
    let mut path = path.display().to_string();
    let mut arguments = vec!["serve", "--addr", "127.0.0.1:0"];
    arguments.extend(side::flags(Who::Wasmtime, false));
    if compiled {
        let to = home.path().join("hello.cwasm").display().to_string();
        let done = Command::new(program)
            .args(["compile", &path, "-o", &to])
            .status();
        if !done.is_ok_and(|status| status.success()) {
            return Err("it does not compile".to_owned());
        }
        path = to;
        arguments.push("--allow-precompiled");
    }
    arguments.push(&path);
    let one = |number: u32| {
        let home = home.path().join(number.to_string());
        std::fs::create_dir(&home).expect("the folder is ours");
        let began = Instant::now();
        // Not by way of another program, as elsewhere: that would count.
        let log = home.join("log");
        let mut process = Process::start(program, &arguments, &[], Stdio::null(), &log);
        let address = side::listening(&mut process)?;
        ask(address)?;
        Ok(micros(began))
    };
    sorted((0..starts).map(one))
}

async fn workerd_starts(peers: &Peers, starts: u32) -> Result<Times, String> {
    let guest = Guest {
        component: component("hello"),
        p3: false,
        script: Some(HELLO_JS),
    };
    let mut times = Vec::new();
    for _ in 0..starts {
        let began = Instant::now();
        let side = Side::start(Who::Workerd, &guest, peers).await?;
        ask(side.address)?;
        times.push(Ok(micros(began)));
    }
    sorted(times)
}

fn micros(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)
}

fn sorted(times: impl IntoIterator<Item = Result<u32, String>>) -> Result<Times, String> {
    let mut times: Times = times.into_iter().collect::<Result<_, _>>()?;
    times.sort_unstable();
    Ok(times)
}

/// One request on a connection of its own.
fn ask(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(answer)
    }
}
