//! The configuration as text: the resolved whole, and the table for the docs.

use std::fmt::Write as _;

use super::{
    sections::{Config, SECTIONS},
    setting::{KeyRow, LIMITS_SECTION, integer},
};
use crate::limits::LIMIT_TABLE;

const LIMITS_DOC: &str = "What every tenant may use unless its own limits say otherwise.";

/// Every key there is, in the order of the docs.
pub fn config_keys() -> impl Iterator<Item = KeyRow> + Clone {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().copied())
        .chain(LIMIT_TABLE.iter().map(KeyRow::of_limit))
}

/// The table of keys in Markdown, without those of `[limits]`, which have a table of their own.
pub fn keys_markdown() -> String {
    let mut table = String::new();
    for section in SECTIONS {
        let head = format!(
            "### `[{}]`\n\n{}\n\n| Key | Default | Allowed | What it says |\n| --- | --- | --- | --- |\n",
            section.name, section.doc
        );
        table.push_str(&head);
        for key in section.keys {
            writeln!(
                table,
                "| `{}` | {} | {} | {} |",
                key.name,
                match key.default_text().as_str() {
                    "not set" => "not set".to_owned(),
                    value => format!("`{value}`"),
                },
                key.allowed(),
                key.doc
            )
            .expect("a String takes every write");
        }
        table.push('\n');
    }
    table
}

impl Config {
    /// The resolved whole as TOML, with each key's docs, range, default and variable.
    ///
    /// Parsed again, it gives this configuration.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (section, values) in SECTIONS.iter().zip(self.sections_to_toml()) {
            write_section(&mut text, section.name, section.doc);
            for (key, value) in section.keys.iter().zip(values) {
                write_key(&mut text, key, value);
            }
        }
        write_section(&mut text, LIMITS_SECTION, LIMITS_DOC);
        for (row, value) in self.limits.rows() {
            write_key(&mut text, &KeyRow::of_limit(row), Some(integer(value)));
        }
        text
    }
}

fn write_section(text: &mut String, name: &str, doc: &str) {
    let gap = if text.is_empty() { "" } else { "\n" };
    write!(text, "{gap}# {doc}\n[{name}]\n").expect("a String takes every write");
}

fn write_key(text: &mut String, key: &KeyRow, value: Option<toml::Value>) {
    let line = match value {
        Some(value) => format!("{} = {value}", key.name),
        None => format!("# {} is not set", key.name),
    };
    write!(
        text,
        "\n# {}\n# Allowed: {}. Default: {}. Variable: {}.\n{line}\n",
        key.doc,
        key.allowed(),
        key.default_text(),
        key.variable()
    )
    .expect("a String takes every write");
}
