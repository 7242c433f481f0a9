//! The child's side: one request, one component, one result.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;

use control_api::files::Index;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::{p2, p3};

use super::LISTED_NAMES_MAX;
use super::message::{Answer, Compiled, Failure, Request};
use super::pace::pace;
use crate::artifact::inspect::{InspectError, Inspection, as_component, bounds, inspect, one_line};
use crate::artifact::name::CompatHash;
use crate::confine;
use crate::engine::{EngineShape, compiler_config};
use crate::host;
use crate::link::{self, LinkReader, LinkWriter, World};

/// The whole life of a compile child: `littorald compile`, with a link as its standard input.
///
/// Answers over the link; the exit code says only whether there was one. Not for people: without a link it ends at
/// once.
#[must_use]
pub fn child_main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed("no event loop", &error),
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("compile child", &error),
    }
}

/// The parent reads standard error into its log.
fn failed(what: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{what}: {error}");
    ExitCode::FAILURE
}

async fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let watched = socket.try_clone()?;
    let (mut reader, mut writer) = link::split(socket, link::FrameBounds::COMPILE)?;
    let (request, mut files) = receive(&mut reader).await?;
    // Opened while the process may still open anything: it stays readable afterwards.
    let status = File::open("/proc/self/status")?;
    request.limits.bind()?;
    let mut in_force = confine::give_up_privileges(request.orders).map_err(io::Error::other)?;
    confine::close_files(request.orders, None, &mut in_force).map_err(io::Error::other)?;
    die_with_parent(watched)?;
    confine::filter_compile_child(request.orders, &mut in_force).map_err(io::Error::other)?;

    let output = request.shape.as_ref().and_then(|_| files.pop());
    let component = files
        .pop()
        .ok_or_else(|| io::Error::other("no component came with the request"))?;
    let bytes = read(&File::from(component), request.component_bytes)?;
    let look = || {
        check_files(&bytes)?;
        let component = as_component(&bytes)?;
        Ok((inspect(&component)?, component))
    };
    let found = catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        Err(InspectError::Invalid {
            at_byte: 0,
            message: panic_line(&*panic),
        })
    });
    let (inspection, component) = match found {
        Ok((inspection, component)) => (Ok(inspection), component),
        Err(error) => (Err(error), Cow::default()),
    };
    send(&mut writer, &Answer::Inspected(inspection.clone())).await?;
    let (Ok(inspection), Some(shape)) = (inspection, request.shape) else {
        return Ok(());
    };
    let output = output.ok_or_else(|| io::Error::other("no output came with the request"))?;
    let work = || {
        compile(
            &shape,
            &component,
            &inspection,
            output,
            request.limits.output_bytes_max,
        )
    };
    let answer = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok((compat, artifact_bytes))) => Answer::Compiled(Compiled {
            compat,
            artifact_bytes,
            cpu_ms: cpu_ms(),
            peak_rss_bytes: peak_rss_bytes(status),
        }),
        Ok(Err(failure)) => Answer::Failed(failure),
        Err(panic) => Answer::Failed(gave_up(panic_line(&*panic))),
    };
    send(&mut writer, &answer).await
}

async fn receive(reader: &mut LinkReader) -> io::Result<(Request, Vec<OwnedFd>)> {
    reader.receive().await.map_err(io::Error::other)
}

async fn send(writer: &mut LinkWriter, answer: &Answer) -> io::Result<()> {
    writer.send(answer, &[]).await.map_err(io::Error::other)
}

/// Ends this process as soon as the other end of the link closes, whatever the code generator is busy with.
fn die_with_parent(socket: UnixStream) -> io::Result<()> {
    let watch = move || {
        // The parent sends nothing after its request, so anything to read is the end. An error cannot be waited on.
        let mut watched = [PollFd::new(&socket, PollFlags::IN | PollFlags::RDHUP)];
        while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
        let _ = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new()
        .name("watch-parent".to_owned())
        .stack_size(64 << 10)
        .spawn(watch)
        .map(drop)
}

/// From the first byte, wherever another process that shares the descriptor may have read to.
fn read(component: &File, component_bytes: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(component_bytes).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    component.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether the files behind a component, where there are some, are what a worker takes.
fn check_files(bytes: &[u8]) -> Result<(), InspectError> {
    let read_at = |buffer: &mut [u8], at: u64| {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let end = at.saturating_add(buffer.len());
        let found = bytes.get(at..end);
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    match Index::read(bytes.len() as u64, read_at) {
        Ok(_) => Ok(()),
        Err(error) => Err(InspectError::Files {
            message: one_line(&error.to_string(), bounds::MESSAGE_BYTES_MAX),
        }),
    }
}

fn compile(
    shape: &EngineShape,
    bytes: &[u8],
    inspection: &Inspection,
    output: OwnedFd,
    output_bytes_max: u64,
) -> Result<(CompatHash, u64), Failure> {
    let missing = inspection.imports_missing();
    if !missing.is_empty() {
        return Err(Failure::ImportsNotOffered(listed(missing)));
    }
    let Some(world) = inspection.world else {
        let exports = inspection.exports.iter().map(String::as_str);
        return Err(Failure::ExportsNotServed(listed(exports)));
    };
    let engine = Engine::new(&compiler_config(shape))
        .map_err(|error| or_out_of_memory(&error, Failure::Internal))?;
    // Compiled and loaded in one go: what is written below is byte for byte what `Engine::precompile_component` gives
    // for the paced component, and nothing has to be trusted to be loaded for the checks.
    let paced = pace(bytes).map_err(|error| Failure::DoesNotCompile(error.to_string()))?;
    let component = Component::from_binary(&engine, paced.as_deref().unwrap_or(bytes))
        .map_err(|error| or_out_of_memory(&error, Failure::DoesNotCompile))?;
    check_link(&engine, &component, world)
        .map_err(|error| or_out_of_memory(&error, Failure::DoesNotLink))?;
    let artifact = component
        .serialize()
        .map_err(|error| or_out_of_memory(&error, Failure::Internal))?;
    let artifact_bytes = artifact.len() as u64;
    if artifact_bytes > output_bytes_max {
        return Err(Failure::OutputTooLarge);
    }
    File::from(output)
        .write_all(&artifact)
        .map_err(|error| Failure::Internal(format!("writing the artifact: {error}")))?;
    Ok((CompatHash::of(&engine), artifact_bytes))
}

/// Whether every import is there with the right type, and every export that the world needs.
fn check_link(engine: &Engine, component: &Component, world: World) -> wasmtime::Result<()> {
    let pre = host::linker(engine)?.instantiate_pre(component)?;
    match world {
        World::Proxy02 => p2::bindings::ProxyPre::new(pre).map(drop),
        World::Service03 => p3::bindings::ServicePre::new(pre).map(drop),
        World::Command02 => CommandPre::new(pre).map(drop),
    }
}

fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names = names.into_iter().take(LISTED_NAMES_MAX);
    names.map(str::to_owned).collect()
}

fn or_out_of_memory(error: &wasmtime::Error, otherwise: fn(String) -> Failure) -> Failure {
    let no_memory = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<wasmtime::OutOfMemory>()
            || cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
            || cause.downcast_ref() == Some(&rustix::io::Errno::NOMEM)
    };
    if error.chain().any(no_memory) {
        Failure::OutOfMemory
    } else {
        otherwise(line_of(error))
    }
}

/// An error and its causes in one line.
fn line_of(error: &wasmtime::Error) -> String {
    one_line(&format!("{error:#}"), bounds::MESSAGE_BYTES_MAX)
}

/// A panic in the code generator.
fn gave_up(line: String) -> Failure {
    // Its threads found no room for their stacks.
    if line.contains("ThreadPoolBuildError") {
        Failure::OutOfMemory
    } else {
        Failure::DoesNotCompile(line)
    }
}

fn panic_line(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let text = one_line(text, bounds::MESSAGE_BYTES_MAX);
    format!("the code generator gave up: {text}")
}

/// CPU time of this process so far, over all threads.
fn cpu_ms() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let ms = time.tv_sec.saturating_mul(1000) + time.tv_nsec / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

/// The most memory that was ever resident (`VmHWM`, proc_pid_status(5)); 0 if the kernel does not say.
fn peak_rss_bytes(mut status: File) -> u64 {
    let mut text = String::new();
    if status.read_to_string(&mut text).is_err() {
        return 0;
    }
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}
