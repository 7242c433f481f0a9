//! Uploads that answer later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use control_api::error::{PlaneError, Problem};
use control_api::view::{Job, JobState, ModuleVersion, Written};
use edge_config::{ModuleName, TenantName};

/// Jobs under way, and finished ones for a while: together at most so many, the oldest finished ones forgotten first.
/// Those under way are bounded by the compiler's queue.
pub(super) struct Jobs {
    jobs: Mutex<Table>,
    kept_max: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Arc<Entry>>,
    finished: VecDeque<String>,
}

struct Entry {
    tenant: TenantName,
    module: ModuleName,
    version: u64,
    progress: Mutex<Progress>,
}

/// Where a job stands, as its own task says.
pub(super) enum Progress {
    /// Waiting; the closure gives the position.
    Queued(Box<dyn Fn() -> u64 + Send>),
    /// Being compiled.
    Compiling(Instant),
    /// Over.
    Finished(Box<Result<(ModuleVersion, Written), Problem>>),
}

/// The job's own end.
#[derive(Clone)]
pub(super) struct JobHandle {
    id: String,
    entry: Arc<Entry>,
}

impl Jobs {
    pub(super) fn new(kept_max: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            kept_max,
        }
    }

    /// Begins a job with an unguessable id.
    pub(super) fn begin(
        &self,
        id: String,
        tenant: TenantName,
        module: ModuleName,
        version: u64,
    ) -> JobHandle {
        let entry = Arc::new(Entry {
            tenant,
            module,
            version,
            progress: Mutex::new(Progress::Queued(Box::new(|| 1))),
        });
        let mut table = self.lock();
        table.entries.insert(id.clone(), Arc::clone(&entry));
        table.forget_beyond(self.kept_max);
        JobHandle { id, entry }
    }

    /// Ends a job, and forgets the oldest finished ones beyond the bound.
    pub(super) fn finish(
        &self,
        job: &JobHandle,
        outcome: Result<(ModuleVersion, Written), Problem>,
    ) {
        job.set(Progress::Finished(Box::new(outcome)));
        let mut table = self.lock();
        table.finished.push_back(job.id.clone());
        table.forget_beyond(self.kept_max);
    }

    /// A job of this tenant.
    ///
    /// # Errors
    /// [`PlaneError::JobNotFound`], also for another tenant's.
    pub(super) fn get(&self, tenant: &TenantName, id: &str) -> Result<Job, PlaneError> {
        let entry = self.lock().entries.get(id).cloned();
        match entry.filter(|entry| entry.tenant == *tenant) {
            Some(entry) => Ok(JobHandle {
                id: id.to_owned(),
                entry,
            }
            .view()),
            None => Err(PlaneError::JobNotFound { job: id.to_owned() }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_beyond(&mut self, kept_max: usize) {
        while self.entries.len() > kept_max {
            let Some(oldest) = self.finished.pop_front() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

impl JobHandle {
    pub(super) fn set(&self, progress: Progress) {
        *self
            .entry
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = progress;
    }

    pub(super) fn view(&self) -> Job {
        let progress = self
            .entry
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let state = match &*progress {
            Progress::Queued(position) => JobState::Queued {
                position: position().max(1),
            },
            Progress::Compiling(since) => JobState::Compiling {
                running_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            Progress::Finished(outcome) => match &**outcome {
                Ok((version, written)) => JobState::Done {
                    version: Box::new(version.clone()),
                    written: *written,
                },
                Err(problem) => JobState::Failed {
                    problem: Box::new(problem.clone()),
                },
            },
        };
        Job {
            id: self.id.clone(),
            module: self.entry.module.clone(),
            version: self.entry.version,
            state,
        }
    }
}
