//! Control's side: starts a child, gives it one request, and says what became of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::message::{Answer, Compiled, Failure, Request};
use super::{CompileError, CompileLimits, Cost};
use crate::artifact::inspect::{InspectError, Inspection, bounds, one_line};
use crate::artifact::name::CompatHash;
use crate::confine::Orders;
use crate::engine::EngineShape;
use crate::link::{self, FrameError};

/// As much of a child's standard error as is kept, in bytes; the rest is read and dropped.
const STDERR_BYTES_MAX: usize = 64 << 10;

/// Starts compile children.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
    orders: Orders,
}

/// One component to compile.
pub struct CompileJob<'a> {
    /// The component, open for reading; read from its first byte whatever its position.
    pub component: &'a File,
    /// Its size.
    pub component_bytes: u64,
    /// An empty file open for writing, for the native code alone.
    pub output: &'a File,
    /// What it may cost.
    pub limits: &'a CompileLimits,
    /// The engine that is to run it.
    pub shape: &'a EngineShape,
    /// Told once what the component is, before it is compiled.
    pub on_inspected: Option<&'a mut (dyn FnMut(&Inspection) + Send)>,
}

/// A compilation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileReport {
    /// What the component is.
    pub inspection: Inspection,
    /// The engine it was compiled for.
    pub compat: CompatHash,
    /// CPU time of the child, over all threads.
    pub cpu_ms: u64,
    /// From start to answer.
    pub wall_ms: u64,
    /// The most memory the child ever had resident.
    pub peak_rss_bytes: u64,
    /// Native code, in bytes: the length of the output.
    pub artifact_bytes: u64,
}

impl Compiler {
    /// `program` is a `littorald` whose hidden subcommand `compile` runs [`super::child_main`].
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            orders: Orders::default(),
        }
    }

    /// Has the children confine themselves by other orders than the default, which is every barrier but a user.
    #[must_use]
    pub fn confined(self, orders: Orders) -> Self {
        Self { orders, ..self }
    }

    /// The program that is running, even if its file was replaced since: both sides of the link are of one build.
    #[must_use]
    pub fn of_this_program() -> Self {
        Self::new(PathBuf::from("/proc/self/exe"))
    }

    /// Tells what an upload is without compiling it: for dry runs.
    ///
    /// # Errors
    /// [`CompileError::Refused`] if it is no component that is accepted; [`CompileError::TooCostly`] and
    /// [`CompileError::Internal`]. Missing imports are no error here.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child.
    pub async fn inspect(
        &self,
        component: &File,
        component_bytes: u64,
        limits: &CompileLimits,
    ) -> Result<Inspection, CompileError> {
        let request = Request {
            limits: limits.clone(),
            orders: self.orders,
            component_bytes,
            shape: None,
        };
        let (inspection, _) = self.run(&request, &[component.as_fd()], None).await?;
        Ok(inspection)
    }

    /// Compiles one component. On success the output holds the native code, and the child is gone.
    ///
    /// # Errors
    /// [`CompileError`]; the output is then of no use.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child.
    pub async fn compile(&self, job: CompileJob<'_>) -> Result<CompileReport, CompileError> {
        let started = Instant::now();
        let request = Request {
            limits: job.limits.clone(),
            orders: self.orders,
            component_bytes: job.component_bytes,
            shape: Some(job.shape.clone()),
        };
        let files = [job.component.as_fd(), job.output.as_fd()];
        let (inspection, compiled) = self.run(&request, &files, job.on_inspected).await?;
        let compiled =
            compiled.ok_or_else(|| internal("the child ended without a result", None))?;
        let written = job
            .output
            .metadata()
            .map_err(|error| internal("the output", Some(error)))?;
        if written.len() != compiled.artifact_bytes {
            return Err(internal(
                "the output is not as long as the child says",
                None,
            ));
        }
        Ok(CompileReport {
            inspection,
            compat: compiled.compat,
            cpu_ms: compiled.cpu_ms,
            wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            peak_rss_bytes: compiled.peak_rss_bytes,
            artifact_bytes: compiled.artifact_bytes,
        })
    }

    async fn run(
        &self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        on_inspected: Option<&mut (dyn FnMut(&Inspection) + Send)>,
    ) -> Result<(Inspection, Option<Compiled>), CompileError> {
        let limits = &request.limits;
        let (mut child, socket) = self
            .start(limits)
            .map_err(|error| internal("the compile child cannot be started", Some(error)))?;
        let stderr = child.stderr.take();
        let mut conversation = Conversation::default();
        let mut kept = Vec::new();
        let work = async {
            let mut talking = pin!(conversation.hold(socket, request, files, on_inspected));
            let mut reading = pin!(keep_beginning(stderr, &mut kept));
            let mut read = false;
            let talked = loop {
                tokio::select! {
                    talked = &mut talking => break talked,
                    () = &mut reading, if !read => read = true,
                }
            };
            // A child that died without a word may have left some there.
            if talked.is_err() && !read {
                reading.await;
            }
            talked
        };
        let talked = timeout(limits.wall_max, work).await;
        // Answered, dead already, or too late: there is nothing more to wait for.
        let status = end(&mut child)
            .await
            .map_err(|error| internal("the compile child cannot be waited for", Some(error)))?;
        let stderr = String::from_utf8_lossy(&kept);
        let Ok(talked) = talked else {
            let ms_max = u64::try_from(limits.wall_max.as_millis()).unwrap_or(u64::MAX);
            return Err(CompileError::TooCostly {
                what: Cost::WallTime { ms_max },
            });
        };
        if !stderr.is_empty() {
            tracing::warn!(status = %status, stderr = %stderr.escape_debug(), "compile child wrote to standard error");
        }
        match talked {
            Ok(()) => conversation.outcome(limits),
            Err(FrameError::Closed | FrameError::Io(_)) => Err(died(
                status,
                &stderr,
                conversation.inspection.is_some(),
                limits,
            )),
            Err(error) => Err(internal(
                &format!("the child does not speak properly: {error}"),
                None,
            )),
        }
    }

    fn start(&self, limits: &CompileLimits) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.program);
        command
            .arg("compile")
            .env_clear()
            // Each further allocator arena would take memory of its own, for no speed that was measured.
            .env("MALLOC_ARENA_MAX", "2")
            .env("RAYON_NUM_THREADS", limits.threads_max.max(1).to_string())
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn()?;
        // `command` holds the child's end; dropped here, so that the child's death closes the link.
        drop(command);
        Ok((child, ours))
    }
}

/// What a child said so far.
#[derive(Default)]
struct Conversation {
    inspection: Option<Inspection>,
    refused: Option<InspectError>,
    compiled: Option<Compiled>,
    failure: Option<Failure>,
}

impl Conversation {
    /// Sends the request and listens to the last answer.
    async fn hold(
        &mut self,
        socket: UnixStream,
        request: &Request,
        files: &[BorrowedFd<'_>],
        mut on_inspected: Option<&mut (dyn FnMut(&Inspection) + Send)>,
    ) -> Result<(), FrameError> {
        let (mut reader, mut writer) = link::split(socket, link::FrameBounds::COMPILE)?;
        writer.send(request, files).await?;
        loop {
            let (answer, _) = reader.receive::<Answer>().await?;
            match answer {
                Answer::Inspected(Ok(inspection)) => {
                    if let Some(tell) = on_inspected.take() {
                        tell(&inspection);
                    }
                    self.inspection = Some(inspection);
                    if request.shape.is_some() {
                        continue;
                    }
                }
                Answer::Inspected(Err(refused)) => self.refused = Some(refused),
                Answer::Compiled(compiled) => self.compiled = Some(compiled),
                Answer::Failed(failure) => self.failure = Some(failure),
            }
            return Ok(());
        }
    }

    fn outcome(
        self,
        limits: &CompileLimits,
    ) -> Result<(Inspection, Option<Compiled>), CompileError> {
        if let Some(refused) = self.refused {
            return Err(CompileError::Refused(refused));
        }
        if let Some(failure) = self.failure {
            return Err(told(failure, limits));
        }
        let inspection = self
            .inspection
            .ok_or_else(|| internal("the child ended without an inspection", None))?;
        Ok((inspection, self.compiled))
    }
}

fn told(failure: Failure, limits: &CompileLimits) -> CompileError {
    match failure {
        Failure::ImportsNotOffered(names) => CompileError::ImportsNotOffered { names },
        Failure::ExportsNotServed(names) => CompileError::ExportsNotServed { names },
        Failure::DoesNotLink(message) => CompileError::DoesNotLink { message },
        Failure::DoesNotCompile(message) => CompileError::DoesNotCompile { message },
        Failure::OutOfMemory => out_of_memory(limits),
        Failure::OutputTooLarge => CompileError::TooCostly {
            what: Cost::Output {
                bytes_max: limits.output_bytes_max,
            },
        },
        Failure::Internal(message) => internal(&message, None),
    }
}

/// What a death without a word was about.
fn died(status: ExitStatus, stderr: &str, inspected: bool, limits: &CompileLimits) -> CompileError {
    let signal = status.signal().and_then(Signal::from_named_raw);
    let what = match signal {
        Some(Signal::XCPU) => Cost::CpuTime {
            s_max: limits.cpu_s_max,
        },
        Some(Signal::XFSZ) => Cost::Output {
            bytes_max: limits.output_bytes_max,
        },
        // The standard library's words when an allocation fails, and when a thread finds no room to handle signals in.
        Some(Signal::ABORT)
            if stderr.contains("memory allocation of")
                || stderr.contains("failed to allocate an alternative stack") =>
        {
            return out_of_memory(limits);
        }
        Some(Signal::ABORT | Signal::SEGV)
            if stderr.contains("overflowed its stack") && !inspected =>
        {
            return CompileError::Refused(InspectError::TooDeep {
                limit: bounds::NESTING_MAX as u64,
            });
        }
        // Not by us, or there would be an answer: the kernel's out-of-memory killer, to whom the child is the first
        // choice.
        Some(Signal::KILL) => return out_of_memory(limits),
        Some(_) => {
            return CompileError::DoesNotCompile {
                message: format!("the code generator crashed ({status})"),
            };
        }
        None => {
            let last = stderr.lines().last().unwrap_or("without a word");
            let last = one_line(last, bounds::MESSAGE_BYTES_MAX);
            return internal(&format!("the compile child ended ({status}): {last}"), None);
        }
    };
    CompileError::TooCostly { what }
}

fn out_of_memory(limits: &CompileLimits) -> CompileError {
    CompileError::TooCostly {
        what: Cost::Memory {
            bytes_max: limits.memory_bytes_max,
        },
    }
}

fn internal(message: &str, source: Option<io::Error>) -> CompileError {
    CompileError::Internal {
        message: message.to_owned(),
        source,
    }
}

/// Kills the child if it still lives, and waits until it is gone.
async fn end(child: &mut Child) -> io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.start_kill()?;
    child.wait().await
}

/// Reads to the end, keeps the beginning.
async fn keep_beginning(stderr: Option<ChildStderr>, kept: &mut Vec<u8>) {
    if let Some(mut stderr) = stderr {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            let room = STDERR_BYTES_MAX.saturating_sub(kept.len());
            kept.extend(buffer.iter().take(count.min(room)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    use super::*;

    const LIMITS: CompileLimits = CompileLimits {
        cpu_s_max: 7,
        wall_max: Duration::from_secs(60),
        memory_bytes_max: 1 << 20,
        output_bytes_max: 1 << 16,
        threads_max: 1,
        niceness: 10,
    };

    fn after(signal: i32, stderr: &str, inspected: bool) -> String {
        died(ExitStatus::from_raw(signal), stderr, inspected, &LIMITS).to_string()
    }

    #[test]
    fn a_death_is_told_by_its_signal_and_its_last_words() {
        let memory = out_of_memory(&LIMITS).to_string();
        for words in [
            "memory allocation of 4096 bytes failed",
            "thread panicked: failed to allocate an alternative stack: Cannot allocate memory",
        ] {
            assert_eq!(after(6, words, true), memory, "{words}");
        }
        assert_eq!(after(9, "", true), memory);
        assert!(after(24, "", true).contains('7'), "CPU time");
        let deep = "thread 'main' has overflowed its stack";
        assert_ne!(after(6, deep, false), after(6, deep, true));
        // Any other death is the code generator's.
        let crash = after(6, "something else", true);
        assert!(crash.contains("crashed"), "{crash}");
    }
}
