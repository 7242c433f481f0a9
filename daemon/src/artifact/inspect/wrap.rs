//! Core modules made into components: what Spin's SDKs up to 5 leave behind, and plain programs.
//!
//! A module for `wasm32-wasip1` calls functions of WASI preview 1. Bytecode Alliance's adapters turn those into calls of
//! WASI 0.2: one for programs, whose `_start` becomes `wasi:cli/run`, and one for libraries, whose exports are described
//! in a custom section by their bindings generator. The adapter is of the same release as the engine, so that an
//! artifact's name, which holds that release, stands for both.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{ExternalKind, Parser, Payload};
use wit_component::ComponentEncoder;

use super::sniff::Kind;
use super::{InspectError, bounds, one_line, sniff, walk};

/// What a program's entry is called.
const START: &str = "_start";

/// An upload as a component: itself, or what was made around a core module.
///
/// # Errors
/// [`InspectError::Invalid`] and [`InspectError::Truncated`] with places in the module as it was uploaded,
/// [`InspectError::NotWrapped`] for a module that is valid and cannot be made a component, and what is told of bytes
/// that are neither.
pub fn as_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, InspectError> {
    match sniff::header(bytes)? {
        Kind::Component => Ok(Cow::Borrowed(bytes)),
        Kind::CoreModule => wrapped(bytes).map(Cow::Owned),
    }
}

fn wrapped(bytes: &[u8]) -> Result<Vec<u8>, InspectError> {
    walk::check_module(bytes)?;
    let adapter = if exports_start(bytes) {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let component = ComponentEncoder::default()
        // What comes out is looked at as any upload is.
        .validate(false)
        .module(bytes)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode());
    component.map_err(|error| InspectError::NotWrapped {
        message: one_line(&format!("{error:#}"), bounds::MESSAGE_BYTES_MAX),
    })
}

/// Whether a module is a program. Looks at the export section alone, which a valid module has once.
fn exports_start(bytes: &[u8]) -> bool {
    Parser::new(0)
        .parse_all(bytes)
        .filter_map(Result::ok)
        .find_map(|payload| match payload {
            Payload::ExportSection(exports) => Some(exports),
            _ => None,
        })
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|export| export.name == START && export.kind == ExternalKind::Func)
}
