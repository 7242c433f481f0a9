//! What a sitting leaves behind: tables, figures, pictures, and every round.

use littoral_tests::measure::{self, number};
use serde_json::{Value, json};

use crate::compared::Compared;
use crate::install::{Peers, version};

/// One part of the report.
pub(crate) struct Part {
    /// What results are called.
    pub(crate) name: &'static str,
    /// Markdown.
    pub(crate) text: String,
    /// The same in figures, rounds too.
    pub(crate) json: Value,
    /// A picture, as SVG.
    pub(crate) picture: Option<String>,
}

impl From<Compared> for Part {
    fn from(compared: Compared) -> Self {
        Self {
            name: compared.name,
            text: compared.table(),
            json: compared.json(),
            picture: compared.picture(),
        }
    }
}

const HEAD: &str = "\
Each side serves the same guest on the same machine and is asked from it, in rounds in which all have their turn: medians, with
the least and the most. Requests a second are a closed loop of `wrk`; latency is an open loop at one rate for all sides, half of
what plain `wasmtime serve` takes, counted from when a request was due. CPU by request is the time of all the server's
processes; RSS their resident memory together, at the end of a round. What takes the cores of load generator and server
together is compared by CPU rather than by requests. `wasmtime serve` uses each instance once where it does not say otherwise,
as Littoral does; bare hyper answers by itself, without a guest, and is the limit.
";

/// Writes it all; only what a whole sitting found replaces what is checked in.
pub(crate) fn write(
    machine: &Value,
    peers: &Peers,
    left_out: &[&str],
    parts: &[Part],
    whole: bool,
) {
    let versions = json!({
        "wasmtime": peers.wasmtime.as_deref().map_or_else(|reason| reason.clone(), version),
        "workerd": peers.workerd.as_deref().map_or_else(|reason| reason.clone(), version),
        "componentize-py": peers.componentize_py.as_deref().map_or_else(|reason| reason.clone(), version),
        "wrk": peers.wrk.as_deref().map_or_else(|| "not installed".to_owned(), version),
    });
    let figures: serde_json::Map<String, Value> = parts
        .iter()
        .map(|part| (part.name.to_owned(), part.json.clone()))
        .collect();
    let mut all = json!({
        "machine": machine,
        "versions": versions,
        "rounds": number("ROUNDS", 5),
        "seconds": number("SECONDS", 5),
        "left_out": left_out,
        "parts": figures,
    });
    let raw = format!("raw/peers-{}.json", measure::stamp());
    measure::write(&raw, &format!("{all}\n"));
    if !whole {
        return println!("a part only: peers.md and peers.json are left as they were");
    }
    measure::write_figures("peers.json", &mut all);
    let mut text = format!("# Littoral and its peers\n\n`just bench-peers`. {HEAD}\n");
    text.push_str(&measure::facts(machine, &versions));
    for part in parts {
        text.push_str(&format!("\n## {}\n\n", part.name));
        if let Some(svg) = &part.picture {
            let file = format!("{}.svg", part.name);
            measure::write(&file, svg);
            text.push_str(&format!("![{}]({file})\n\n", part.name));
        }
        text.push_str(&part.text);
    }
    text.push_str("\n## Left out\n\n");
    for line in left_out {
        text.push_str(&format!("- {line}\n"));
    }
    measure::write("peers.md", &text);
}
