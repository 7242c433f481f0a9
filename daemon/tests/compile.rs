//! The compile child as control uses it: the real binary, its limits, and what each failure is called.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests, where a panic is the failure"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use littorald::artifact::compile::{
    CompileError, CompileJob, CompileLimits, CompileReport, Compiler, Cost, pace,
};
use littorald::artifact::inspect::{InspectError, Inspection};
use littorald::artifact::name::CompatHash;
use littorald::engine::{EngineShape, compiler_config};
use littorald::link::World;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wasm_encoder::{
    BlockType, CodeSection, ComponentBuilder, ComponentExportKind, ComponentTypeRef, Function,
    FunctionSection, InstanceType, Instruction, Module, PrimitiveValType, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;

fn limits() -> CompileLimits {
    CompileLimits {
        cpu_s_max: 30,
        wall_max: Duration::from_secs(120),
        memory_bytes_max: 512 << 20,
        output_bytes_max: 16 << 20,
        threads_max: 2,
        niceness: 0,
    }
}

fn shape() -> EngineShape {
    EngineShape::fit(10, 16 << 20, 1 << 47, false).unwrap()
}

fn compiler() -> Compiler {
    Compiler::new(PathBuf::from(env!("CARGO_BIN_EXE_littorald")))
}

fn guest(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/built");
    fs::read(folder.join(name)).unwrap()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

struct Outcome {
    report: Result<CompileReport, CompileError>,
    inspected: Vec<Inspection>,
    output: File,
}

async fn compile_with(bytes: &[u8], limits: &CompileLimits) -> Outcome {
    let output = tempfile::tempfile().unwrap();
    let mut inspected = Vec::new();
    let report = compiler()
        .compile(CompileJob {
            component: &file_of(bytes),
            component_bytes: bytes.len() as u64,
            output: &output,
            limits,
            shape: &shape(),
            on_inspected: Some(&mut |inspection| inspected.push(inspection.clone())),
        })
        .await;
    Outcome {
        report,
        inspected,
        output,
    }
}

async fn error_of(bytes: &[u8], limits: &CompileLimits) -> CompileError {
    compile_with(bytes, limits).await.report.unwrap_err()
}

fn read_all(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[tokio::test]
async fn a_guest_for_each_world_becomes_the_native_code_that_wasmtime_makes_of_it() {
    for (name, world) in [
        ("hello.wasm", World::Proxy02),
        ("hello-p3.wasm", World::Service03),
    ] {
        let bytes = guest(name);
        let outcome = compile_with(&bytes, &limits()).await;
        let report = outcome.report.unwrap();
        assert_eq!(report.inspection.world, Some(world));
        assert_eq!(outcome.inspected, std::slice::from_ref(&report.inspection));
        assert_eq!(report.compat, CompatHash::for_shape(&shape()).unwrap());
        let native = read_all(&outcome.output);
        assert_eq!(native.len() as u64, report.artifact_bytes);
        assert!(
            report.cpu_ms > 0 && report.peak_rss_bytes > 1 << 20,
            "{report:?}"
        );
        let here = Engine::new(&compiler_config(&shape())).unwrap();
        let paced = pace(&bytes).unwrap();
        assert!(
            native
                == here
                    .precompile_component(paced.as_deref().unwrap_or(&bytes))
                    .unwrap(),
            "{name} differs"
        );
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_a_component_is_even_where_it_would_not_run() {
    let bytes = importing("acme:nothing/here@1.2.3", |_| {});
    let inspection = compiler()
        .inspect(&file_of(&bytes), bytes.len() as u64, &limits())
        .await
        .unwrap();
    assert_eq!(inspection.imports_missing(), ["acme:nothing/here@1.2.3"]);
    assert_eq!(inspection.world, Some(World::Proxy02));
    let text = compiler()
        .inspect(&file_of(b"{}"), 2, &limits())
        .await
        .unwrap_err();
    assert!(
        matches!(text, CompileError::Refused(InspectError::Text { .. })),
        "{text:?}"
    );
}

#[tokio::test]
async fn what_is_no_component_is_refused_before_anything_is_compiled() {
    for (bytes, expected) in [
        (&b""[..], InspectError::Empty),
        (
            b"\0asm\x01\0\0\0\x01\x04",
            InspectError::Truncated { at_byte: 10 },
        ),
        (
            &guest("hello.wasm")[..30_000],
            InspectError::Truncated { at_byte: 30_000 },
        ),
    ] {
        match error_of(bytes, &limits()).await {
            CompileError::Refused(refused) => assert_eq!(refused, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// A component that claims to be a guest, with an empty handler, and that imports `name`.
fn importing(name: &str, exports: impl FnOnce(&mut InstanceType)) -> Vec<u8> {
    let mut instance = InstanceType::new();
    exports(&mut instance);
    let mut component = ComponentBuilder::default();
    let ty = component.type_instance(None, &instance);
    component.import(name, ComponentTypeRef::Instance(ty));
    let empty = component.type_instance(None, &InstanceType::new());
    let empty = component.import(
        "wasi:random/insecure-seed@0.2.0",
        ComponentTypeRef::Instance(empty),
    );
    component.export(
        "wasi:http/incoming-handler@0.2.0",
        ComponentExportKind::Instance,
        empty,
        None,
    );
    component.finish()
}

#[tokio::test]
async fn an_import_that_is_not_offered_is_named() {
    match error_of(&importing("acme:sockets/tcp@0.2.0", |_| {}), &limits()).await {
        CompileError::ImportsNotOffered { names } => assert_eq!(names, ["acme:sockets/tcp@0.2.0"]),
        other => panic!("{other:?}"),
    }
}

/// A component that exports an interface of that name, with nothing in it.
fn exporting_nothing(name: &str) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    let ty = component.type_instance(None, &InstanceType::new());
    let empty = component.import("wasi:random/insecure@0.2.0", ComponentTypeRef::Instance(ty));
    component.export(name, ComponentExportKind::Instance, empty, None);
    component.finish()
}

#[tokio::test]
async fn a_component_without_a_handler_is_told_what_it_has_instead() {
    let name = "acme:tools/run@0.2.0";
    match error_of(&exporting_nothing(name), &limits()).await {
        CompileError::ExportsNotServed { names } => assert_eq!(names, [name]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_import_of_another_type_and_an_export_of_another_type_do_not_link() {
    let wrong_import = importing("wasi:random/insecure@0.2.0", |instance| {
        instance
            .ty()
            .function()
            .params([("len", PrimitiveValType::S8)])
            .result(None);
        instance.export("get-insecure-random-u64", ComponentTypeRef::Func(0));
    });
    let wrong_export = importing("wasi:random/insecure@0.2.0", |_| {});
    for (bytes, word) in [
        (wrong_import, "get-insecure-random-u64"),
        (wrong_export, "handle"),
        (exporting_nothing("wasi:cli/run@0.2.0"), "run"),
    ] {
        match error_of(&bytes, &limits()).await {
            CompileError::DoesNotLink { message } => {
                assert!(message.contains(word), "{message}");
                assert!(!message.contains('\n') && message.len() <= 200, "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The hello guest with one more core module, instantiated: valid, called like the guest, and as costly as the module.
fn hello_with(module: &Module) -> Vec<u8> {
    let mut bytes = guest("hello.wasm");
    let mut depth = 0_u32;
    let mut modules = 0_u32;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => {
                modules += u32::from(depth == 0);
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let mut appended = wasm_encoder::Component::new();
    appended.section(&wasm_encoder::ModuleSection(module));
    let mut instances = wasm_encoder::InstanceSection::new();
    instances.instantiate(modules, [] as [(&str, wasm_encoder::ModuleArg); 0]);
    appended.section(&instances);
    bytes.extend(&appended.finish()[8..]);
    bytes
}

/// `functions` functions that each set `locals` variables in `loops` nested loops: every variable needs a value at
/// every loop, and the register allocator looks at all of them everywhere.
fn bomb(functions: u32, locals: u32, loops: u32) -> Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    module.section(&types);
    let mut declared = FunctionSection::new();
    let mut code = CodeSection::new();
    for _ in 0..functions {
        declared.function(0);
        let mut body = Function::new([(locals, ValType::I64)]);
        for _ in 0..loops {
            body.instruction(&Instruction::Loop(BlockType::Empty));
        }
        for local in 0..locals {
            body.instruction(&Instruction::LocalGet(local));
            body.instruction(&Instruction::LocalGet((local * 7 + 1) % locals));
            body.instruction(&Instruction::I64Add);
            body.instruction(&Instruction::LocalSet(local));
        }
        for depth in 0..loops {
            body.instruction(&Instruction::LocalGet(depth % locals));
            body.instruction(&Instruction::I32WrapI64);
            body.instruction(&Instruction::BrIf(0));
            body.instruction(&Instruction::End);
        }
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    module.section(&declared);
    module.section(&code);
    hello_with(&module)
}

#[tokio::test]
async fn a_small_addition_to_hello_still_compiles() {
    let outcome = compile_with(&bomb(2, 3, 2), &limits()).await;
    outcome.report.unwrap();
}

/// Not a test: the next one runs it in a process of its own, whose memory nothing else uses.
#[tokio::test]
#[ignore = "run by a_bomb_ends_at_its_cpu_time_while_the_parent_does_other_things_and_does_not_grow"]
async fn bomb_with_a_cpu_limit() {
    let bytes = bomb(60, 1_000, 100);
    let before = peak_rss_bytes();
    let limits = CompileLimits {
        cpu_s_max: 1,
        memory_bytes_max: 2 << 30,
        ..limits()
    };
    let mut ticks = 0_u32;
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let work = error_of(&bytes, &limits);
    tokio::pin!(work);
    let error = loop {
        tokio::select! {
            error = &mut work => break error,
            _ = interval.tick() => ticks += 1,
        }
    };
    assert!(
        matches!(
            error,
            CompileError::TooCostly {
                what: Cost::CpuTime { s_max: 1 }
            }
        ),
        "{error:?}"
    );
    assert!(ticks > 20, "{ticks} turns of the event loop in a second");
    let growth = peak_rss_bytes().saturating_sub(before);
    assert!(growth < 4 << 20, "grew by {growth} bytes");
}

#[test]
fn a_bomb_ends_at_its_cpu_time_while_the_parent_does_other_things_and_does_not_grow() {
    let output = alone("bomb_with_a_cpu_limit").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// One of the tests here that are not tests, to be run in a process of its own.
fn alone(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored"]);
    command
}

#[tokio::test]
async fn a_bomb_ends_at_its_memory() {
    let limits = CompileLimits {
        memory_bytes_max: 64 << 20,
        ..limits()
    };
    let error = error_of(&bomb(4, 4_000, 400), &limits).await;
    assert!(
        matches!(error, CompileError::TooCostly { what: Cost::Memory { bytes_max } } if bytes_max == 64 << 20),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_bombs_among_the_test_guests_end_as_what_they_are() {
    let limits = CompileLimits {
        memory_bytes_max: 96 << 20,
        ..limits()
    };
    let greedy = error_of(&guest("compile-bomb.wasm"), &limits).await;
    assert!(
        matches!(
            greedy,
            CompileError::TooCostly {
                what: Cost::Memory { .. }
            }
        ),
        "{greedy:?}"
    );
    let limits = CompileLimits {
        cpu_s_max: 1,
        memory_bytes_max: 1 << 30,
        ..limits
    };
    let slow = error_of(&guest("compile-bomb-slow.wasm"), &limits).await;
    assert!(
        matches!(
            slow,
            CompileError::TooCostly {
                what: Cost::CpuTime { s_max: 1 }
            }
        ),
        "{slow:?}"
    );
}

/// A module of one function.
fn module_of(locals: u32, body: impl FnOnce(&mut Function)) -> Module {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    module.section(&types);
    let mut declared = FunctionSection::new();
    declared.function(0);
    module.section(&declared);
    let mut function = Function::new([(locals, ValType::I32)]);
    body(&mut function);
    function.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&function);
    module.section(&code);
    module
}

#[tokio::test]
async fn code_of_odd_shapes_ends_in_an_answer_about_the_component() {
    let limits = CompileLimits {
        cpu_s_max: 3,
        memory_bytes_max: 256 << 20,
        ..limits()
    };
    let deep_blocks = module_of(0, |body| {
        for _ in 0..200_000 {
            body.instruction(&Instruction::Block(BlockType::Empty));
        }
        for _ in 0..200_000 {
            body.instruction(&Instruction::End);
        }
    });
    let deep_ifs = module_of(1, |body| {
        for _ in 0..50_000 {
            body.instruction(&Instruction::LocalGet(0));
            body.instruction(&Instruction::If(BlockType::Empty));
        }
        for _ in 0..50_000 {
            body.instruction(&Instruction::Else);
            body.instruction(&Instruction::End);
        }
    });
    let deep_stack = module_of(1, |body| {
        for _ in 0..500_000 {
            body.instruction(&Instruction::LocalGet(0));
        }
        for _ in 0..499_999 {
            body.instruction(&Instruction::I32Add);
        }
        body.instruction(&Instruction::LocalSet(0));
    });
    let wide_table = module_of(1, |body| {
        body.instruction(&Instruction::Block(BlockType::Empty));
        body.instruction(&Instruction::LocalGet(0));
        body.instruction(&Instruction::BrTable(vec![0; 60_000].into(), 0));
        body.instruction(&Instruction::End);
    });
    let many_locals = module_of(50_000, |body| {
        for local in 0..50_000 {
            body.instruction(&Instruction::LocalGet((local * 31 + 7) % 50_000));
            body.instruction(&Instruction::LocalSet(local));
        }
    });
    for (what, module) in [
        ("deep blocks", deep_blocks),
        ("deep ifs", deep_ifs),
        ("deep stack", deep_stack),
        ("wide table", wide_table),
        ("many locals", many_locals),
    ] {
        let report = compile_with(&hello_with(&module), &limits).await.report;
        assert!(
            matches!(
                report,
                Ok(_) | Err(CompileError::TooCostly { .. } | CompileError::Refused(_))
            ),
            "{what}: {report:?}"
        );
    }
}

#[tokio::test]
async fn however_little_memory_there_is_memory_is_what_the_refusal_names() {
    let bytes = guest("hello.wasm");
    let mut refused = 0;
    for memory_mib_max in 1..32 {
        let limits = CompileLimits {
            memory_bytes_max: memory_mib_max << 20,
            ..limits()
        };
        match compile_with(&bytes, &limits).await.report {
            Ok(_) => {}
            Err(CompileError::TooCostly {
                what: Cost::Memory { .. },
            }) => refused += 1,
            Err(other) => panic!("{memory_mib_max} MiB: {other:?}"),
        }
    }
    assert!((1..31).contains(&refused), "{refused} of 31 refused");
}

#[tokio::test]
async fn a_bomb_ends_at_its_wall_clock() {
    let limits = CompileLimits {
        wall_max: Duration::from_millis(300),
        ..limits()
    };
    let error = error_of(&bomb(60, 1_000, 100), &limits).await;
    assert!(
        matches!(
            error,
            CompileError::TooCostly {
                what: Cost::WallTime { ms_max: 300 }
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn native_code_larger_than_allowed_is_not_written() {
    let limits = CompileLimits {
        output_bytes_max: 50_000,
        ..limits()
    };
    let outcome = compile_with(&guest("hello.wasm"), &limits).await;
    let error = outcome.report.unwrap_err();
    assert!(
        matches!(
            error,
            CompileError::TooCostly {
                what: Cost::Output { bytes_max: 50_000 }
            }
        ),
        "{error:?}"
    );
    assert_eq!(outcome.output.metadata().unwrap().len(), 0);
}

#[tokio::test]
async fn types_nested_without_end_end_the_child_and_are_called_too_deep() {
    // Instance types that declare an instance type that declares one, each with the length of its content unspoken.
    const LEVELS: usize = 1_000_000;
    let mut content = vec![1];
    content.extend([0x42, 0x01, 0x01].repeat(LEVELS));
    content.extend([0x42, 0x00]);
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::RawSection {
        id: 7,
        data: &content,
    });
    let bytes = component.finish();
    let error = error_of(&bytes, &limits()).await;
    assert!(
        matches!(error, CompileError::Refused(InspectError::TooDeep { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_this_nodes_own_fault() {
    let bytes = guest("hello.wasm");
    let nowhere = Compiler::new(PathBuf::from("/nowhere/littorald"));
    let error = nowhere
        .inspect(&file_of(&bytes), bytes.len() as u64, &limits())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CompileError::Internal {
                source: Some(_),
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn the_subcommand_is_of_no_use_to_people() {
    let status = Command::new(env!("CARGO_BIN_EXE_littorald"))
        .arg("compile")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

/// Not a test: the parent that the next one kills.
#[tokio::test]
#[ignore = "run by the_child_stands_back_for_others_and_dies_with_its_parent"]
async fn parent_to_be_killed() {
    let limits = CompileLimits {
        niceness: 10,
        ..limits()
    };
    let _ = error_of(&bomb(60, 1_000, 100), &limits).await;
}

#[test]
fn the_child_stands_back_for_others_and_dies_with_its_parent() {
    let mut parent = alone("parent_to_be_killed")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // As far behind its parent as it was told, and no further than there is.
    let own = niceness(i32::try_from(parent.id()).unwrap()).unwrap();
    let wanted = (own + 10).min(19);
    let mut child = None;
    while child.is_none_or(|child| niceness(child) != Some(wanted)) {
        assert!(
            parent.try_wait().unwrap().is_none(),
            "the parent ended by itself; its child's niceness was never {wanted}"
        );
        child = child_of(parent.id());
        std::thread::yield_now();
    }
    let child = pidfd_open(Pid::from_raw(child.unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let mut ended = [PollFd::new(&child, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(
        poll(&mut ended, Some(&patience)).unwrap(),
        1,
        "the child lives on"
    );
}

/// A compile child of process `pid` that has begun.
fn child_of(pid: u32) -> Option<i32> {
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let children = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        for child in children.split_whitespace() {
            // Its thread that watches us is there.
            let threads = fs::read_dir(format!("/proc/{child}/task")).ok()?.count();
            if threads > 1 {
                return child.parse().ok();
            }
        }
    }
    None
}

/// How far a process stands back, proc(5).
fn niceness(pid: i32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; 16 numbers come between it and the niceness.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(16)?.parse().ok()
}

fn peak_rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}
