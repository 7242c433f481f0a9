//! What an artifact is called: by all that it depends on.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256};
use edge_config::Digest;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use crate::engine::{EngineShape, compiler_config};
use crate::link::ArtifactName;

/// The wasmtime that compiles here. A test holds it against the lock file: a bump changes every name, and with it
/// invalidates every artifact.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// The number is raised whenever a component is compiled in another way than before.
const NAME_DOMAIN: &[u8] = b"littoral artifact name 2\0";
const HASH_DOMAIN: &[u8] = b"littoral engine compatibility 1\0";

/// Everything about an engine that native code depends on: CPU features, memory layout, tunables, wasmtime's version.
///
/// Stable on one node and one build only, which is all that is asked: another build recompiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CompatHash(pub [u8; 32]);

impl CompatHash {
    /// Of an engine that can compile.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let mut hasher = ShaHasher(Context::new(&SHA256));
        hasher.write(HASH_DOMAIN);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(finish(hasher.0))
    }

    /// Of the engine that the compile child will have for `shape`. Takes some milliseconds and is computed once, at
    /// start.
    ///
    /// # Errors
    /// If wasmtime refuses the configuration on this CPU.
    pub fn for_shape(shape: &EngineShape) -> wasmtime::Result<Self> {
        Ok(Self::of(&Engine::new(&compiler_config(shape))?))
    }
}

/// The name of the artifact for one component under one engine.
#[must_use]
pub fn artifact_name(component: &Digest, compat: &CompatHash) -> ArtifactName {
    let mut context = Context::new(&SHA256);
    context.update(NAME_DOMAIN);
    context.update(component.as_bytes());
    context.update(&compat.0);
    context.update(WASMTIME_VERSION.as_bytes());
    ArtifactName(finish(context))
}

/// Feeds whatever is hashed to SHA-256. Lengths are not added: what [`Hash`] writes delimits itself.
struct ShaHasher(Context);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the 256 bits are taken instead.
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        let (words, _) = digest.as_ref().as_chunks::<8>();
        words.first().map_or(0, |word| u64::from_le_bytes(*word))
    }
}

fn finish(context: Context) -> [u8; 32] {
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn shape(memory_bytes_max: u64, address_bits: u32) -> EngineShape {
        EngineShape::fit(100, memory_bytes_max, 1 << address_bits, false).unwrap()
    }

    #[test]
    fn the_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, after) = lock
            .split_once("name = \"wasmtime\"\nversion = \"")
            .unwrap();
        let (version, _) = after.split_once('"').unwrap();
        assert_eq!(version, WASMTIME_VERSION);
    }

    #[test]
    fn a_name_depends_on_the_component_and_on_the_layout_and_on_nothing_else() {
        let guarded = CompatHash::for_shape(&shape(64 * MIB, 47)).unwrap();
        let again = CompatHash::for_shape(&shape(32 * MIB, 47)).unwrap();
        let compact = CompatHash::for_shape(&shape(64 * MIB, 39)).unwrap();
        assert_eq!(guarded, again, "the pool's sizes are not in the code");
        assert_ne!(guarded, compact, "the guards are");
        let (a, b) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        assert_eq!(artifact_name(&a, &guarded), artifact_name(&a, &again));
        assert_ne!(artifact_name(&a, &guarded), artifact_name(&b, &guarded));
        assert_ne!(artifact_name(&a, &guarded), artifact_name(&a, &compact));
    }
}
