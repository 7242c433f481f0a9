//! From a verified file to a component that can be instantiated: the worker's side.
//!
//! Takes a descriptor that control passed over the link; promises that what is mapped is that very file; never opens
//! a path, never compiles.

use std::os::fd::{AsRawFd, OwnedFd};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps an artifact that control verified and passed.
///
/// `file` may be closed afterwards: the mapping keeps the file.
///
/// # Errors
/// If the file cannot be mapped, or was compiled for another engine.
#[allow(
    unsafe_code,
    reason = "mapping native code is what this room is for; wasmtime cannot check it"
)]
pub fn load(engine: &Engine, file: OwnedFd) -> wasmtime::Result<Component> {
    // The link by descriptor leads to the open file itself, whatever happened to its name since.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the bytes must be what wasmtime of this version compiled, and must not change while mapped.
    // Control computed an HMAC over all of them, with a key that exists nowhere else, right after its compile child
    // wrote them (`cache::ArtifactCache::commit`), and checked it on this open file before it passed it
    // (`cache::ArtifactCache::open_verified`), together with the engine's compatibility hash. Nobody writes them
    // afterwards: the file was made by control alone, is opened for writing by nobody, has mode 0400 and a single
    // name, and lies in a folder that only control's user may change. The worker has no write access to it.
    let component = unsafe { Component::deserialize_file(engine, &path) };
    drop(file);
    component
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use edge_config::Digest;
    use wasmtime::Engine;

    use super::*;
    use crate::artifact::cache::{ArtifactCache, ArtifactKey, CacheBounds};
    use crate::artifact::name::CompatHash;
    use crate::engine::{EngineShape, compiler_config, runtime_config};
    use crate::host;

    #[test]
    fn a_stored_artifact_with_its_trailer_loads_and_links() {
        let shape = EngineShape::fit(4, 16 << 20, 1 << 47, false).unwrap();
        let compiler = Engine::new(&compiler_config(&shape)).unwrap();
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/built/hello.wasm");
        let native = compiler
            .precompile_component(&std::fs::read(guest).unwrap())
            .unwrap();

        let dir = tempfile::tempdir().unwrap();
        let key = ArtifactKey::open_or_create(&dir.path().join("keys")).unwrap();
        let bounds = CacheBounds {
            total_bytes_max: 10 << 20,
            artifact_bytes_max: 10 << 20,
            artifacts_max: 10,
        };
        let compat = CompatHash::of(&compiler);
        let cache =
            ArtifactCache::open(&dir.path().join("artifacts"), key, compat, bounds).unwrap();
        let mut draft = cache.begin().unwrap();
        draft.write_all(&native).unwrap();
        let component = Digest::from_bytes([1; 32]);
        let stored = cache
            .commit(&draft, native.len() as u64, &component, &|_| true)
            .unwrap();
        let file = cache.open_verified(&stored.name, &component).unwrap();

        let engine = Engine::new(&runtime_config(&shape)).unwrap();
        let loaded = load(&engine, file.into()).unwrap();
        host::linker(&engine)
            .unwrap()
            .instantiate_pre(&loaded)
            .unwrap();
    }
}
