//! Where results go.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of results, which is checked in.
pub fn folder() -> PathBuf {
    // A benchmark under way can be pointed elsewhere, to try something without changing what is checked in.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("performance/results");
    std::env::var_os("RESULTS").map_or(here, PathBuf::from)
}

/// Writes one of them.
pub fn write(name: &str, text: &str) {
    let path = folder().join(name);
    let parent = path.parent().expect("a folder");
    std::fs::create_dir_all(parent).expect("the folder can be made");
    std::fs::write(&path, text).expect("the folder can be written");
    println!("wrote {}", path.display());
}

/// Writes figures without the single rounds, which are in the raw file of the sitting.
pub fn write_figures(name: &str, figures: &mut Value) {
    without_rounds(figures);
    let pretty = serde_json::to_string_pretty(figures).expect("figures are JSON");
    write(name, &format!("{pretty}\n"));
}

fn without_rounds(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("rounds");
            fields.values_mut().for_each(without_rounds);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rounds),
        _ => {}
    }
}

/// Machine and versions as a list in Markdown.
pub fn facts(machine: &Value, versions: &Value) -> String {
    let fields = [machine, versions].into_iter().filter_map(Value::as_object);
    let lines = fields.flatten().map(|(name, value)| {
        let text = value.as_str().map_or(value.to_string(), str::to_owned);
        format!("- {}: {text}\n", name.replace('_', " "))
    });
    lines.collect()
}

/// A table in Markdown.
#[derive(Debug, Default)]
pub struct Table(String);

impl Table {
    /// With these columns.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(columns.iter().map(ToString::to_string));
        table.row(columns.iter().map(|_| "---".to_owned()));
        table
    }

    /// One row more.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        for cell in cells {
            let _ = write!(self.0, "| {cell} ");
        }
        self.0.push_str("|\n");
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}
