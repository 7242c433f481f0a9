//! The first bytes of an upload: what people send instead of a component.

use serde::{Deserialize, Serialize};

use super::InspectError;

const MAGIC: [u8; 4] = *b"\0asm";
/// Version and layer of the two binary formats (Component Model, Binary.md, "Component Definitions").
const CORE_MODULE: (u16, u16) = (1, 0);
const COMPONENT: (u16, u16) = (13, 1);
/// As many bytes as are looked at to tell text from binary.
const SNIFFED_BYTES: usize = 512;

/// Which text was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKind {
    /// A page, such as an error page or a login form.
    Html,
    /// An object or an array.
    Json,
    /// WebAssembly in text form.
    Wat,
    /// Anything else.
    Plain,
}

impl std::fmt::Display for TextKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Html => "an HTML page",
            Self::Json => "JSON",
            Self::Wat => "WebAssembly text",
            Self::Plain => "text",
        })
    }
}

impl TextKind {
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Wat => "; turn it into one with `wasm-tools parse`",
            Self::Html | Self::Json | Self::Plain => "",
        }
    }
}

/// What WebAssembly there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A component.
    Component,
    /// A core module.
    CoreModule,
}

/// Accepts bytes that begin as a component or a core module does.
pub(super) fn header(bytes: &[u8]) -> Result<Kind, InspectError> {
    if bytes.is_empty() {
        return Err(InspectError::Empty);
    }
    let Some(rest) = bytes.strip_prefix(&MAGIC) else {
        return Err(foreign(bytes));
    };
    let &[v0, v1, l0, l1, ..] = rest else {
        return Err(InspectError::Truncated {
            at_byte: bytes.len() as u64,
        });
    };
    let (version, layer) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([l0, l1]));
    match (version, layer) {
        COMPONENT => Ok(Kind::Component),
        CORE_MODULE => Ok(Kind::CoreModule),
        _ => Err(InspectError::UnknownVersion { version, layer }),
    }
}

fn foreign(bytes: &[u8]) -> InspectError {
    if MAGIC.starts_with(bytes) {
        return InspectError::Truncated {
            at_byte: bytes.len() as u64,
        };
    }
    if let Some(text) = as_text(bytes) {
        return InspectError::Text {
            kind: text_kind(text),
        };
    }
    let first = bytes.iter().take(8);
    let first_bytes: Vec<String> = first.map(|byte| format!("{byte:02x}")).collect();
    InspectError::NotWasm {
        first_bytes: first_bytes.join(" "),
    }
}

/// The beginning as text, if it is text: UTF-8 without control characters other than white space.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let head = bytes.get(..SNIFFED_BYTES).unwrap_or(bytes);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character cut in two by the look at the beginning only.
        Err(error) if error.error_len().is_none() && head.len() < bytes.len() => {
            let valid = head.get(..error.valid_up_to())?;
            std::str::from_utf8(valid).ok()?
        }
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    text.chars().all(printable).then_some(text)
}

fn text_kind(text: &str) -> TextKind {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let starts = |prefix: &str| {
        text.get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    if starts("<!doctype") || starts("<html") || starts("<head") || starts("<body") {
        TextKind::Html
    } else if text.starts_with(['{', '[']) {
        TextKind::Json
    } else if text.starts_with(";;")
        || text.starts_with("(;")
        || starts("(module")
        || starts("(component")
    {
        TextKind::Wat
    } else {
        TextKind::Plain
    }
}
