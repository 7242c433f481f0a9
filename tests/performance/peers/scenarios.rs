//! The guests that are compared, and with whom.

use littoral_tests::component;
use littoral_tests::measure::number;

use crate::drive::Question;
use crate::install::{self, Peers};
use crate::scenario::Scenario;
use crate::side::{Guest, Who};

const RATIOS: &[(Who, Who)] = &[
    (Who::Littoral, Who::Wasmtime),
    (Who::Littoral, Who::WasmtimeTuned),
    (Who::Littoral, Who::Bare),
    (Who::LittoralReuse, Who::WasmtimeReuse),
    (Who::LittoralReuse, Who::Bare),
];

const EVERYBODY: &[Who] = &[
    Who::Littoral,
    Who::LittoralReuse,
    Who::Bare,
    Who::Wasmtime,
    Who::WasmtimeTuned,
    Who::WasmtimeReuse,
    Who::Workerd,
];

/// The limit answers a hello and nothing else.
const WITHOUT_BARE: &[Who] = &[
    Who::Littoral,
    Who::LittoralReuse,
    Who::Wasmtime,
    Who::WasmtimeTuned,
    Who::WasmtimeReuse,
    Who::Workerd,
];

pub(crate) const HELLO_JS: &str = "export default { async fetch() {
    return new Response('Hello from the edge!\\n', { headers: { 'content-type': 'text/plain' } });
} };";

/// What `transforms-json` does.
const TRANSFORMS_JS: &str = "export default { async fetch(request) {
    const items = (await request.json()).items;
    for (const item of items) {
        item.total = item.count * item.price;
        item.name = item.name.toUpperCase();
    }
    items.sort((one, other) => one.name < other.name ? -1 : 1);
    const total = items.reduce((sum, item) => sum + item.total, 0);
    return Response.json({ total, items });
} };";

const ECHO_JS: &str =
    "export default { async fetch(request) { return new Response(request.body); } };";

/// An echo is of this size.
const ECHO_BYTES: usize = 1 << 20;
const ITEMS: usize = 110;

/// Every comparison of throughput and latency.
pub(crate) fn all(peers: &Peers) -> Vec<Scenario> {
    let connections = number("CONNECTIONS", 64) as usize;
    let hello = Scenario {
        name: "hello-0.2",
        guest: Guest {
            component: component("hello"),
            p3: false,
            script: Some(HELLO_JS),
        },
        question: Question::default(),
        sides: EVERYBODY,
        ratios: RATIOS,
        pace_of: Who::Wasmtime,
        connections,
        curve: true,
    };
    let hello_p3 = Scenario {
        name: "hello-0.3",
        guest: Guest {
            component: component("hello-p3"),
            p3: true,
            script: None,
        },
        ..hello.clone()
    };
    let json = Scenario {
        name: "json-10-kib",
        guest: Guest {
            component: component("transforms-json"),
            p3: false,
            script: Some(TRANSFORMS_JS),
        },
        question: Question {
            body: order(),
            content_type: "application/json",
        },
        sides: WITHOUT_BARE,
        curve: false,
        ..hello.clone()
    };
    let echo = Scenario {
        name: "echo-1-mib",
        guest: Guest {
            component: component("echo"),
            p3: false,
            script: Some(ECHO_JS),
        },
        question: Question {
            body: "e".repeat(ECHO_BYTES),
            content_type: "text/plain",
        },
        connections: 16,
        ..json.clone()
    };
    let mut scenarios = vec![hello, hello_p3, json.clone(), echo];
    match python(peers) {
        Ok(component) => scenarios.push(Scenario {
            name: "python",
            guest: Guest {
                component: component.into(),
                p3: false,
                script: None,
            },
            question: Question::default(),
            sides: &[Who::Littoral, Who::LittoralReuse, Who::Wasmtime],
            ratios: &[
                (Who::Littoral, Who::Wasmtime),
                (Who::LittoralReuse, Who::Wasmtime),
            ],
            // Each instance has tens of MiB.
            connections: 16,
            ..json
        }),
        Err(reason) => println!("the Python component is left out: {reason}"),
    }
    scenarios
}

/// A document of some 10 KiB.
fn order() -> String {
    let items: Vec<_> = (0..ITEMS)
        .map(|item| {
            serde_json::json!({
                "name": format!("item {}", (item * 7919) % 1000),
                "count": item % 9 + 1,
                "price": f64::from(u32::try_from(item).unwrap_or(0)) * 1.25,
                "tags": ["a tag of it", "another tag"],
            })
        })
        .collect();
    serde_json::json!({ "items": items }).to_string()
}

/// A program of a few lines and the interpreter for it, 18 MiB: too much to be checked in, so built here.
fn python(peers: &Peers) -> Result<Vec<u8>, String> {
    let componentize = peers.componentize_py.as_deref()?;
    let folder = install::folder().join("python-app");
    let built = folder.join("python.wasm");
    let source = include_str!("python.py");
    let app = folder.join("app.py");
    if std::fs::read_to_string(&app).is_ok_and(|text| text == source)
        && let Ok(component) = std::fs::read(&built)
    {
        return Ok(component);
    }
    let _ = std::fs::remove_file(&built);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    std::fs::write(&app, source).map_err(|error| error.to_string())?;
    let wit = install::wit()?;
    install::run(
        componentize,
        &[
            "-d",
            &wit,
            "-w",
            "wasmtime:wasi-http/bindings",
            "componentize",
            "app",
            "-o",
            "python.wasm",
        ],
        &folder,
    )?;
    std::fs::read(built).map_err(|error| error.to_string())
}
