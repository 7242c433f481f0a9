//! One side of a comparison: a server that runs, and what it uses.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use littoral_tests::measure::{Usage, tree, usage};
use littoral_tests::{Process, Tenant, TestEdge};
use serde_json::json;

use crate::bare;
use crate::install::Peers;

/// An interpreter compiles for the better part of a minute.
const READY_MAX: Duration = Duration::from_secs(180);
/// Ends what it starts when this bench is gone, however that came about.
pub(crate) const WITH_US: [&str; 4] = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"];

/// Who serves, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A fresh instance for every request.
    Littoral,
    /// The same with one thread that serves.
    LittoralOneThread,
    /// And with two.
    LittoralTwoThreads,
    /// Instances used again.
    LittoralReuse,
    Bare,
    /// One instance a request, where the default of 0.3 would be more.
    Wasmtime,
    /// The same with its pool as well set up as its flags allow.
    WasmtimeTuned,
    /// Instances used 128 times.
    WasmtimeReuse,
    Workerd,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Littoral => "Littoral",
            Self::LittoralOneThread => "Littoral, 1 thread",
            Self::LittoralTwoThreads => "Littoral, 2 threads",
            Self::LittoralReuse => "Littoral, reuse",
            Self::Bare => "bare hyper",
            Self::Wasmtime => "wasmtime serve",
            Self::WasmtimeTuned => "wasmtime serve, tuned pool",
            Self::WasmtimeReuse => "wasmtime serve, reuse 128",
            Self::Workerd => "workerd",
        }
    }
}

/// What is served.
#[derive(Clone)]
pub(crate) struct Guest {
    /// The component.
    pub(crate) component: Bytes,
    /// Whether it is one of `wasi:http` 0.3.
    pub(crate) p3: bool,
    /// The same as a JavaScript module, where there is one.
    pub(crate) script: Option<&'static str>,
}

enum Running {
    Node(Box<TestEdge>),
    Process(Process),
}

/// A server that runs. Ends when dropped.
pub(crate) struct Side {
    pub(crate) who: Who,
    pub(crate) address: SocketAddr,
    /// From nothing to where it listens: a start, or with Littoral a start, an upload and a route.
    pub(crate) prepared: Duration,
    running: Running,
    _home: tempfile::TempDir,
}

/// What requests to every side carry: only Littoral looks at it.
pub(crate) const HOST: &str = "guest.bench.test";

impl Side {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// Why this side is left out.
    pub(crate) async fn start(who: Who, guest: &Guest, peers: &Peers) -> Result<Self, String> {
        let home = tempfile::tempdir().expect("a temporary folder");
        let began = Instant::now();
        let (running, address) = match who {
            Who::Littoral
            | Who::LittoralOneThread
            | Who::LittoralTwoThreads
            | Who::LittoralReuse => littoral(who, guest).await?,
            Who::Bare => bare_hyper(home.path())?,
            Who::Wasmtime | Who::WasmtimeTuned | Who::WasmtimeReuse => {
                wasmtime(who, guest, peers.wasmtime.as_deref()?, home.path())?
            }
            Who::Workerd => workerd(guest, peers.workerd.as_deref()?, home.path())?,
        };
        Ok(Self {
            who,
            address,
            prepared: began.elapsed(),
            running,
            _home: home,
        })
    }

    /// What all of its processes use.
    pub(crate) fn usage(&self) -> Usage {
        usage(&self.pids())
    }

    fn pids(&self) -> Vec<u32> {
        match &self.running {
            Running::Node(edge) => tree(edge.pid()),
            Running::Process(process) => tree(process.pid()),
        }
    }
}

/// Limits that do not come into play: what is compared is the way of a request, not what a tenant may use.
pub(crate) fn limits() -> serde_json::Value {
    json!({
        "concurrent_requests_max": 1000,
        "waiting_requests_max": 1000,
        "waiting_ms_max": 10_000,
        "connections_max": 100_000,
        "requests_per_s_max": 1_000_000,
        "requests_burst_max": 1_000_000,
        "memory_mib_max": 16_384,
        "request_kib_per_s_max": 100_000_000,
        "response_kib_per_s_max": 100_000_000,
        "request_cpu_ms_max": 10_000,
        "instance_memory_mib_max": 128,
        "component_kib_max": 65_536,
    })
}

/// Has a module's instances used again.
///
/// # Errors
/// Why that cannot be.
pub(crate) async fn set_reuse(tenant: &Tenant, module: &str) -> Result<(), String> {
    let how = serde_json::json!({ "mode": "reuse", "requests_max": 128 });
    let set = tenant.instances(module, how).await;
    set.map(drop).map_err(|error| error.to_string())
}

async fn littoral(who: Who, guest: &Guest) -> Result<(Running, SocketAddr), String> {
    let threads = match who {
        Who::LittoralOneThread => 1,
        Who::LittoralTwoThreads => 2,
        // One a core.
        _ => 0,
    };
    let edge = TestEdge::build()
        .set("http.threads", threads)
        .under(&WITH_US)
        // A Python component is 18 MiB and compiles for half a minute.
        .set("compile.memory_mib_max", 8192)
        .set("compile.cpu_ms_max", 600_000)
        .set("compile.wall_ms_max", 600_000)
        .set("compile.artifact_mib_max", 512)
        .start()
        .await;
    let tenant = edge.tenant_limited("bench", limits()).await;
    let uploaded = tenant.upload("guest", 1, guest.component.clone()).await;
    uploaded.map_err(|refused| refused.to_string())?;
    if who == Who::LittoralReuse {
        set_reuse(&tenant, "guest").await?;
    }
    let routed = tenant.route(&format!("{HOST}/"), "guest", None).await;
    routed.map_err(|refused| refused.to_string())?;
    let address = edge.http();
    Ok((Running::Node(Box::new(edge)), address))
}

fn process(program: &Path, arguments: &[&str], stdout: Stdio, log: &Path) -> Process {
    let program = program.to_str().expect("a plain name");
    let command: Vec<&str> = WITH_US
        .into_iter()
        .chain([program])
        .chain(arguments.iter().copied())
        .collect();
    let (first, rest) = command.split_first().expect("not empty");
    Process::start(Path::new(first), rest, &[], stdout, log)
}

fn bare_hyper(home: &Path) -> Result<(Running, SocketAddr), String> {
    use std::io::{BufRead as _, BufReader};
    let bench = std::env::current_exe().expect("a bench knows its own path");
    let log = home.join("log");
    let mut process = process(&bench, &[bare::ARGUMENT], Stdio::piped(), &log);
    let mut line = String::new();
    let read = BufReader::new(process.stdout()).read_line(&mut line);
    read.map_err(|error| error.to_string())?;
    let address = line.trim().parse().map_err(|_| process.log_tail())?;
    Ok((Running::Process(process), address))
}

/// The flags of `wasmtime serve`.
pub(crate) fn flags(who: Who, p3: bool) -> Vec<&'static str> {
    // Rust's standard library imports wasi:cli. What was compiled for an earlier run would make this one's start another.
    let mut flags = vec!["-Scli", "-Ccache=n"];
    if p3 {
        flags.extend(["-Sp3", "-Wcomponent-model-async"]);
    }
    match who {
        Who::WasmtimeTuned => flags.extend(TUNED),
        Who::WasmtimeReuse => flags.extend(["--max-instance-reuse-count", "128"]),
        _ => {}
    }
    if who != Who::WasmtimeReuse {
        flags.extend(["--max-instance-reuse-count", "1"]);
    }
    flags
}

/// What keeps pages in their places. Flags of the compiler changed nothing when they were tried, and without
/// `-Wconcurrency-support` it answers every request 500.
const TUNED: [&str; 7] = [
    "-Opooling-allocator=y",
    "-Opooling-memory-keep-resident=2097152",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-pagemap-scan=y",
    "-Opooling-async-stack-keep-resident=131072",
    "-Opooling-decommit-batch-size=64",
    "-Opooling-max-unused-warm-slots=1000",
];

fn wasmtime(
    who: Who,
    guest: &Guest,
    program: &Path,
    home: &Path,
) -> Result<(Running, SocketAddr), String> {
    let component = home.join("guest.wasm");
    std::fs::write(&component, &guest.component).expect("the folder is ours");
    let component = component.to_str().expect("a plain name");
    let mut arguments = vec!["serve", "--addr", "127.0.0.1:0"];
    arguments.extend(flags(who, guest.p3));
    arguments.push(component);
    let mut process = process(program, &arguments, Stdio::null(), &home.join("log"));
    let address = listening(&mut process)?;
    Ok((Running::Process(process), address))
}

/// Where `wasmtime serve` serves, once it says so.
pub(crate) fn listening(process: &mut Process) -> Result<SocketAddr, String> {
    let address = until(|| {
        if process.ended().is_some() {
            return Some(None);
        }
        let log = process.log();
        let (_, after) = log.split_once("http://")?;
        // The line may not be whole yet.
        let (address, _) = after.split_once('/')?;
        Some(address.parse().ok())
    });
    address.flatten().ok_or_else(|| process.log_tail())
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    while began.elapsed() < READY_MAX {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    None
}

fn workerd(guest: &Guest, program: &Path, home: &Path) -> Result<(Running, SocketAddr), String> {
    let script = guest.script.ok_or("no such program in JavaScript here")?;
    std::fs::write(home.join("guest.js"), script).expect("the folder is ours");
    // It says nothing of a port that the kernel chose. Another process could take this one meanwhile: then it ends.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.map_err(|error| error.to_string())?;
    let config = home.join("config.capnp");
    let text = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n\
         services = [(name = \"main\", worker = .guest)],\n\
         sockets = [(name = \"http\", address = \"{address}\", http = (), service = \"main\")]);\n\
         const guest :Workerd.Worker = (\n\
         modules = [(name = \"guest\", esModule = embed \"guest.js\")],\n\
         compatibilityDate = \"2026-01-01\");\n"
    );
    std::fs::write(&config, text).expect("the folder is ours");
    let config = config.to_str().expect("a plain name");
    let log = home.join("log");
    let mut process = process(program, &["serve", config], Stdio::null(), &log);
    let up = until(|| {
        let ended = process.ended().is_some();
        (ended || TcpStream::connect(address).is_ok()).then_some(!ended)
    });
    match up {
        Some(true) => Ok((Running::Process(process), address)),
        _ => Err(process.log_tail()),
    }
}
