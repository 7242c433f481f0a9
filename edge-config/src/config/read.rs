//! From text and environment to what was written.
//!
//! Takes the file's text and the variables. Promises every key that could be read, and an error
//! for everything else there was.

use std::{collections::BTreeMap, ffi::OsString};

use super::{
    error::{ConfigError, Hint},
    render::config_keys,
    sections::{RawConfig, SECTIONS},
    setting::{Input, KeyRow, LIMITS_SECTION, VARIABLE_PREFIX, Written, Wrong},
    suggest::nearest,
};
use crate::quote::Quoted;

/// The longest text that is read as a configuration.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Variables that start like overrides and belong to the command line.
pub const COMMAND_LINE_VARIABLES: &[&str] = &[
    "LITTORAL_ADMIN",
    "LITTORAL_TOKEN",
    "LITTORAL_TOKEN_FILE",
    "LITTORAL_CONFIG",
    "LITTORAL_CA_FILE",
    "LITTORAL_CLIENT_FILE",
];

/// What was found in text and environment.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) raw: RawConfig,
    pub(super) errors: Vec<ConfigError>,
    /// The variable that each overridden key came from, by the key's path.
    pub(super) from_environment: BTreeMap<String, String>,
}

impl Reading {
    pub(super) fn of<K, V>(text: &str, environment: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut reading = Self::default();
        reading.read_text(text);
        for (name, value) in environment {
            // A name that is not UTF-8 is none of ours, whatever it starts with.
            if let Ok(name) = name.into().into_string()
                && name.starts_with(VARIABLE_PREFIX)
                && !COMMAND_LINE_VARIABLES.contains(&name.as_str())
            {
                reading.read_variable(name, value.into());
            }
        }
        reading
    }

    fn read_text(&mut self, text: &str) {
        if text.len() > CONFIG_BYTES_MAX {
            self.errors.push(ConfigError::TooLong {
                bytes: text.len(),
                bytes_max: CONFIG_BYTES_MAX,
            });
            return;
        }
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.errors.push(syntax_error(text, &error));
                return;
            }
        };
        for (section, value) in &table {
            self.read_section(section, value);
        }
    }

    fn read_section(&mut self, section: &str, value: &toml::Value) {
        if !section_names().any(|name| name == section) {
            let hint = match nearest(section, section_names()) {
                Some(name) => Hint::DidYouMean(format!("[{name}]")),
                None => Hint::Known(bracketed(section_names())),
            };
            self.errors.push(ConfigError::UnknownKey {
                path: Quoted::new(section),
                hint,
            });
            return;
        }
        let toml::Value::Table(keys) = value else {
            self.errors.push(ConfigError::NotASection {
                section: section.to_owned(),
                value: Quoted::bare(&value.to_string()),
            });
            return;
        };
        for (key, value) in keys {
            match config_keys().find(|row| row.section == section && row.name == key) {
                Some(row) => {
                    if let Err(wrong) = put(&mut self.raw, &row, Input::Toml(value)) {
                        self.errors.push(row.error(wrong));
                    }
                }
                None => self.errors.push(ConfigError::UnknownKey {
                    path: Quoted::new(&format!("{section}.{key}")),
                    hint: hint_for_key(section, key),
                }),
            }
        }
    }

    fn read_variable(&mut self, name: String, value: OsString) {
        let Some(row) = config_keys().find(|row| row.variable() == name) else {
            self.errors.push(ConfigError::UnknownVariable {
                name: Quoted::new(&name),
                hint: hint_for_variable(&name),
            });
            return;
        };
        let path = row.path();
        // The variable wins: what the file said about this key, right or wrong, is of no effect.
        self.errors.retain(|error| !error.concerns(&path));
        let read = match value.to_str() {
            Some(text) => put(&mut self.raw, &row, Input::Variable(text)),
            None => Err(Wrong::text(&value.to_string_lossy(), "is not UTF-8")),
        };
        match read {
            Ok(()) => {
                self.from_environment.insert(path, name);
            }
            Err(wrong) => {
                let mut error = row.error(wrong);
                if let ConfigError::Value { variable, .. } = &mut error {
                    *variable = Some(name);
                }
                self.errors.push(error);
            }
        }
    }
}

fn put(raw: &mut RawConfig, row: &KeyRow, input: Input<'_>) -> Result<(), Wrong> {
    if row.section == LIMITS_SECTION {
        let value = u64::read(input)?;
        raw.limits.set(row.name, Some(value));
        return Ok(());
    }
    raw.put(row.section, row.name, input)
        .expect("the row was made by the same macro as the field")
}

fn section_names() -> impl Iterator<Item = &'static str> + Clone {
    SECTIONS
        .iter()
        .map(|section| section.name)
        .chain([LIMITS_SECTION])
}

fn bracketed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("[{name}]")).collect();
    names.join(", ")
}

/// A near key of the same section, else the same or a near key of another one, else all there are.
fn hint_for_key(section: &str, key: &str) -> Hint {
    let own = config_keys()
        .filter(|row| row.section == section)
        .map(|row| row.name);
    if let Some(name) = nearest(key, own.clone()) {
        return Hint::DidYouMean(format!("{section}.{name}"));
    }
    let everywhere = config_keys().map(|row| row.name);
    let elsewhere =
        nearest(key, everywhere).and_then(|name| config_keys().find(|row| row.name == name));
    match elsewhere {
        Some(row) => Hint::DidYouMean(row.path()),
        None => Hint::Known(own.collect::<Vec<_>>().join(", ")),
    }
}

fn hint_for_variable(name: &str) -> Hint {
    let variables: Vec<_> = config_keys()
        .map(|row| row.variable().to_ascii_lowercase())
        .collect();
    let known = variables.iter().map(String::as_str);
    match nearest(name, known) {
        Some(name) => Hint::DidYouMean(name.to_ascii_uppercase()),
        None => Hint::Known(format!(
            "{VARIABLE_PREFIX}<SECTION>_<KEY> for each key of the configuration, and {}",
            COMMAND_LINE_VARIABLES.join(", ")
        )),
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigError::Syntax {
        line: before.matches('\n').count() + 1,
        column: before
            .get(line_start..)
            .map_or(0, |line| line.chars().count())
            + 1,
        message: error.message().to_owned(),
    }
}
