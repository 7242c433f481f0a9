//! Which components are in memory.
//!
//! A registered module costs a table entry until its first request; that request asks control for the artifact's open
//! file, and all that come meanwhile wait for the same load. Beyond the bounds some are dropped, by a policy of its own
//! room; requests under way keep what they hold.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc};
use wasmtime::Engine;
use wasmtime::component::Linker;

use super::instance::Loaded;
use super::policy::Policy;
use crate::host::{Files, GuestState};
use crate::link::{ArtifactName, Supplied, World};
use crate::quota::Refusal;

/// What a loaded component takes beside its file, in bytes: wasmtime's records of it and what links it to the host
/// (80 to 90 KiB measured).
const LINKED_BYTES: u64 = 96 << 10;
/// After a load failed, requests are refused for this long before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The components of one worker.
pub struct Resident {
    engine: Engine,
    linker: Linker<GuestState>,
    needs: mpsc::UnboundedSender<ArtifactName>,
    slots: Mutex<HashMap<ArtifactName, Arc<Slot>>>,
    policy: Mutex<Policy>,
    figures: Figures,
}

/// How much may be in memory.
#[derive(Debug, Clone, Copy)]
pub struct ResidentBounds {
    /// Components.
    pub components_max: usize,
    /// Their files' and records' bytes together. A component that is larger by itself is kept alone.
    pub bytes_max: u64,
}

#[derive(Default)]
struct Figures {
    loads: AtomicU64,
    evictions: AtomicU64,
    load_us: Mutex<Vec<u64>>,
}

/// One component's place, loaded or not; routes hold it.
pub struct Slot {
    name: ArtifactName,
    world: World,
    loaded: ArcSwapOption<Loaded>,
    /// Whether a request used it since the policy last looked; not by the one that it was loaded for.
    pub(super) used: AtomicBool,
    /// Seconds since it was used, as [`Resident::second_passed`] counts them.
    pub(super) idle_s: AtomicU32,
    /// What it takes while it is loaded.
    pub(super) bytes: AtomicU64,
    loading: Mutex<Loading>,
    changed: Notify,
}

enum Loading {
    Idle,
    Asked,
    Failed { at: Instant },
}

impl Slot {
    pub(super) fn new(name: ArtifactName, world: World) -> Self {
        Self {
            name,
            world,
            loaded: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            idle_s: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            loading: Mutex::new(Loading::Idle),
            changed: Notify::new(),
        }
    }

    pub(super) fn name(&self) -> ArtifactName {
        self.name
    }

    pub(super) fn world(&self) -> World {
        self.world
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The component, if it is in memory: no lock, no wait.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Loaded>> {
        let loaded = self.loaded.load_full()?;
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(loaded)
    }

    /// Whether the component is in memory.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load().is_some()
    }
}

impl Resident {
    /// An empty set; artifacts that are needed are asked for through `needs`, each once until it is answered.
    #[must_use]
    pub fn new(
        engine: Engine,
        linker: Linker<GuestState>,
        needs: mpsc::UnboundedSender<ArtifactName>,
        bounds: ResidentBounds,
    ) -> Self {
        Self {
            engine,
            linker,
            needs,
            slots: Mutex::default(),
            policy: Mutex::new(Policy::new(bounds)),
            figures: Figures::default(),
        }
    }

    /// The place of a component, the same for every route that serves it, whoever's they are.
    #[must_use]
    pub fn slot(&self, name: ArtifactName, world: World) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            slots
                .entry(name)
                .or_insert_with(|| Arc::new(Slot::new(name, world))),
        )
    }

    /// Loads a component before anybody asks for it, if nothing has to give way for it.
    pub fn warm(&self, slot: &Slot) {
        if slot.is_loaded() || !self.policy().has_room() {
            return;
        }
        let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*loading, Loading::Idle) && self.needs.send(slot.name).is_ok() {
            *loading = Loading::Asked;
        }
    }

    /// Forgets components that no route serves any more.
    pub fn forget_unrouted(&self) {
        let mut policy = self.policy();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // One count is the map's, one the policy's where it is loaded.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 + usize::from(slot.is_loaded()));
        // Their components go with them.
        drop(policy.remove_unless(|slot| slots.contains_key(&slot.name)));
    }

    /// To be called once a second: counts how long each component has not been used.
    pub fn second_passed(&self) {
        self.policy().second_passed();
    }

    /// Drops what was not used for at least `idle_s` seconds, its code and the memory that stood ready for its
    /// instances. What serves a request goes with the request.
    pub fn drop_idle(&self, idle_s: u32) {
        let out = self.policy().remove_unless(|slot| {
            slot.used.load(Ordering::Relaxed) || slot.idle_s.load(Ordering::Relaxed) < idle_s
        });
        self.evict(&out);
    }

    fn evict(&self, out: &[Arc<Slot>]) {
        for slot in out {
            slot.loaded.store(None);
        }
        self.figures
            .evictions
            .fetch_add(out.len() as u64, Ordering::Relaxed);
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for components before any request does, at most `most`.
    pub fn ask_ahead(&self, most: usize) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values().take(most) {
            let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*loading, Loading::Idle)
                && !slot.is_loaded()
                && self.needs.send(slot.name).is_ok()
            {
                *loading = Loading::Asked;
            }
        }
    }

    /// Whether components that were asked for have not come yet.
    #[must_use]
    pub fn awaits(&self) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| {
            let loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            matches!(*loading, Loading::Asked)
        })
    }

    /// The component, loading it first where it is not in memory.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it cannot be loaded, or was found so within the last second.
    ///
    /// # Cancel safety
    /// May be dropped: the load goes on for whoever comes next.
    pub async fn load(&self, slot: &Slot) -> Result<Arc<Loaded>, Refusal> {
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Not `get`: the first use of a component says nothing about whether there will be another.
            if let Some(loaded) = slot.loaded.load_full() {
                return Ok(loaded);
            }
            {
                let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
                match &*loading {
                    Loading::Failed { at } if at.elapsed() < RETRY_AFTER => {
                        return Err(Refusal::Unavailable);
                    }
                    Loading::Asked => {}
                    Loading::Idle | Loading::Failed { .. } => {
                        self.needs
                            .send(slot.name)
                            .map_err(|_| Refusal::Unavailable)?;
                        *loading = Loading::Asked;
                    }
                }
            }
            changed.await;
        }
    }

    /// Takes the answer to a need: maps and links the artifact, wakes who waits. Blocks for some tenths of a
    /// millisecond.
    ///
    /// # Errors
    /// Why the component is not in memory now; waiting requests are refused.
    pub fn arrived(
        &self,
        name: ArtifactName,
        supplied: Result<Supplied, String>,
    ) -> Result<(), String> {
        let slot = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(&name).cloned()
        };
        // Every route to it went away meanwhile.
        let Some(slot) = slot else { return Ok(()) };
        let outcome = supplied.and_then(|supplied| self.map(&slot, supplied));
        {
            let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            *loading = match &outcome {
                Ok(()) => Loading::Idle,
                Err(_) => Loading::Failed { at: Instant::now() },
            };
        }
        slot.changed.notify_waiters();
        if outcome.is_ok() {
            let out = self.policy().insert(slot);
            self.evict(&out);
        }
        outcome
    }

    fn map(&self, slot: &Slot, supplied: Supplied) -> Result<(), String> {
        let began = Instant::now();
        let Supplied {
            artifact: file,
            upload,
        } = supplied;
        let files = match upload.map(Files::of).transpose() {
            Ok(files) => files.flatten().map(Arc::new),
            Err(error) => return Err(error.to_string()),
        };
        let file_bytes = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_size);
        let file_bytes = u64::try_from(file_bytes).unwrap_or(0);
        let index_bytes = files.as_ref().map_or(0, |files| files.index_bytes());
        let bytes = file_bytes
            .saturating_add(LINKED_BYTES)
            .saturating_add(index_bytes);
        slot.bytes.store(bytes, Ordering::Relaxed);
        let component =
            crate::artifact::load(&self.engine, file).map_err(|error| format!("{error:#}"))?;
        let loaded = Loaded::link(&self.linker, &component, slot.world, files)
            .map_err(|error| format!("{error:#}"))?;
        slot.loaded.store(Some(Arc::new(loaded)));
        slot.idle_s.store(0, Ordering::Relaxed);
        self.figures.loads.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut load_us = self
            .figures
            .load_us
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Bounded: a report takes them every second, and more would say nothing new.
        if load_us.len() < 4096 {
            load_us.push(took);
        }
        Ok(())
    }

    /// How many components are in memory.
    #[must_use]
    pub fn count(&self) -> usize {
        self.policy().len()
    }

    /// What they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.policy().bytes()
    }

    /// `(loads, evictions, microseconds of each load)` since the last call.
    #[must_use]
    pub fn take_figures(&self) -> (u64, u64, Vec<u64>) {
        let load_us = std::mem::take(
            &mut *self
                .figures
                .load_us
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        (
            self.figures.loads.swap(0, Ordering::Relaxed),
            self.figures.evictions.swap(0, Ordering::Relaxed),
            load_us,
        )
    }
}
