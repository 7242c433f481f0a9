//! What an upload is, before anything is done with it.
//!
//! Takes the bytes as they were uploaded; promises an answer or a refusal that names the reason, within the bounds of
//! [`bounds`], and that whatever is accepted is a valid component under the features this node's engine has. Never
//! compiles, never allocates in proportion to anything the bytes merely claim.
//!
//! One thing is not bounded here: wasmparser reads types nested inside types by recursion, so a few megabytes can
//! overflow a stack. [`inspect`] on bytes from outside therefore only ever runs in the compile child, whose death is
//! that refusal.

mod sniff;
mod walk;
mod wrap;

use serde::{Deserialize, Serialize};

use crate::host;
use crate::link::World;

pub use sniff::TextKind;
pub use wrap::as_component;

/// How much of anything one component may have.
pub mod bounds {
    /// Modules and components inside one another, the outermost counted.
    pub const NESTING_MAX: usize = 16;
    /// Core modules, wherever they are nested. Python guests have about 30.
    pub const CORE_MODULES_MAX: u32 = 100;
    /// Nested components, wherever they are.
    pub const COMPONENTS_MAX: u32 = 100;
    /// Functions with a body, over all core modules. A Python interpreter has some 15,000.
    pub const FUNCTIONS_MAX: u32 = 200_000;
    /// Imports, and likewise exports, of the component itself.
    pub const IMPORTS_MAX: u32 = 1_000;
    /// Bytes in one name that the component itself imports or exports.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Bytes of a parser's message that are passed on.
    pub const MESSAGE_BYTES_MAX: usize = 200;
}

/// What a valid component says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// How it can be called; `None` where it exports neither an HTTP handler nor a program's entry.
    pub world: Option<World>,
    /// What it imports, sorted.
    pub imports: Vec<String>,
    /// What it exports, sorted.
    pub exports: Vec<String>,
    /// Core modules inside.
    pub core_modules: u32,
    /// Functions with a body, over all core modules.
    pub functions: u32,
    /// The linear memory it starts with and may grow to.
    pub memory: DeclaredMemory,
    /// Bytes in custom sections: names and debug information that no request needs. 0 when stripped.
    pub custom_section_bytes: u64,
}

/// Linear memory, summed as [`DeclaredMemory::basis`] says. Imported memories count where they are defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredMemory {
    /// Bytes it has before its first instruction.
    pub initial_bytes: u64,
    /// Bytes it may grow to, if every memory has a maximum.
    pub maximum_bytes: Option<u64>,
    /// Linear memories.
    pub memories: u64,
    /// Core instances made from modules.
    pub core_instances: u64,
    /// What was summed over.
    pub basis: MemoryBasis,
}

/// What [`DeclaredMemory`] is a sum over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryBasis {
    /// Every core instance that instantiating the component makes: exact.
    Instances,
    /// Each core module once, because some instances are of modules or components known only at instantiation.
    Modules,
}

/// Why bytes are not a component that could be compiled here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum InspectError {
    /// Nothing was sent.
    #[error("the upload is empty; a WebAssembly component is expected")]
    Empty,
    /// Text of some kind.
    #[error("the upload looks like {kind}, not a WebAssembly component in binary form{}", kind.advice())]
    Text {
        /// Which kind.
        kind: TextKind,
    },
    /// Binary, and nothing known.
    #[error(
        "the upload starts with bytes {first_bytes}, not with 00 61 73 6d (\\0asm): it is not WebAssembly"
    )]
    NotWasm {
        /// The first bytes, in hexadecimal.
        first_bytes: String,
    },
    /// A core module that no adapter fits.
    #[error(
        "the upload is a core module that cannot be made a component: {message}; what can are programs for \
         wasm32-wasip1 with `_start`, and modules of a bindings generator such as those of Spin's SDKs"
    )]
    NotWrapped {
        /// The encoder's own words, one line, cut to [`bounds::MESSAGE_BYTES_MAX`].
        message: String,
    },
    /// A header from another time.
    #[error(
        "the upload has WebAssembly version {version} in layer {layer}; \
         a component has version 13 in layer 1"
    )]
    UnknownVersion {
        /// Bytes 4 and 5.
        version: u16,
        /// Bytes 6 and 7.
        layer: u16,
    },
    /// Files behind it that are none.
    #[error("{message}")]
    Files {
        /// What is wrong with them.
        message: String,
    },
    /// The bytes end inside a section.
    #[error("the component is truncated: it ends at byte {at_byte}, inside a section")]
    Truncated {
        /// Where the bytes end.
        at_byte: u64,
    },
    /// Not valid.
    #[error("the component is not valid at byte {at_byte}: {message}")]
    Invalid {
        /// Where.
        at_byte: u64,
        /// The validator's own words, one line, cut to [`bounds::MESSAGE_BYTES_MAX`].
        message: String,
    },
    /// Modules or components inside one another, or types inside types.
    #[error(
        "the component is nested too deep; at most {limit} modules and components may be inside one another"
    )]
    TooDeep {
        /// [`bounds::NESTING_MAX`].
        limit: u64,
    },
    /// More of something than is allowed.
    #[error("the component has {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// Of what, in the plural.
        what: Counted,
        /// How many, as far as was counted.
        count: u64,
        /// How many are allowed.
        limit: u64,
    },
}

/// What there can be too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counted {
    /// Core modules.
    CoreModules,
    /// Nested components.
    Components,
    /// Functions with a body.
    Functions,
    /// Imports of the component itself.
    Imports,
    /// Exports of the component itself.
    Exports,
    /// Bytes in one imported or exported name.
    NameBytes,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CoreModules => "core modules",
            Self::Components => "nested components",
            Self::Functions => "functions",
            Self::Imports => "imports",
            Self::Exports => "exports",
            Self::NameBytes => "bytes in one name",
        })
    }
}

impl Inspection {
    /// The imports that this node does not offer, by name alone; whether the types agree is known after compiling.
    #[must_use]
    pub fn imports_missing(&self) -> Vec<&str> {
        let names = self.imports.iter().map(String::as_str);
        names.filter(|name| !host::offers(name)).collect()
    }
}

/// Looks at an upload from its first byte to its last.
///
/// # Errors
/// [`InspectError`], each variant another reason. A component that imports or exports something this node does not
/// know is no error here: see [`Inspection::world`] and [`Inspection::imports_missing`].
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    walk::walk(&as_component(bytes)?)
}

/// Which world the exports are of: the newer one of two handlers, and a handler before a program.
fn world_of(exports: &[String]) -> Option<World> {
    let has = |interface: &str, line: &str| {
        exports.iter().any(|name| {
            name.split_once('@')
                .is_some_and(|(have, version)| have == interface && release_in(version, line))
        })
    };
    if has("wasi:http/handler", "0.3.") {
        Some(World::Service03)
    } else if has("wasi:http/incoming-handler", "0.2.") {
        Some(World::Proxy02)
    } else if has("wasi:cli/run", "0.2.") {
        Some(World::Command02)
    } else {
        None
    }
}

/// Whether `version` is `line` and a number: a pre-release is another interface under the same name.
fn release_in(version: &str, line: &str) -> bool {
    version
        .strip_prefix(line)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// The first line of `text`, at most `bytes_max` bytes, without control characters.
pub(super) fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for c in text.lines().next().unwrap_or_default().trim().chars() {
        if line.len() + c.len_utf8() > bytes_max {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests;
