use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use wasm_encoder::{
    CodeSection, ComponentBuilder, ComponentExportKind, ComponentOuterAliasKind, ComponentTypeRef,
    ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType, Module,
    ModuleArg, ModuleType, TypeSection, ValType,
};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::*;
use crate::engine::{EngineShape, compiler_config};

const PAGE: u64 = 65_536;

fn guest(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/built");
    fs::read(folder.join(name)).unwrap()
}

fn memory(initial: u64, maximum: Option<u64>) -> Module {
    let mut module = Module::new();
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: initial,
        maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    module.section(&memories);
    module
}

fn instantiate(component: &mut ComponentBuilder, module: u32) {
    component.core_instantiate(None, module, [] as [(&str, ModuleArg); 0]);
}

fn instantiate_component(component: &mut ComponentBuilder, nested: u32) {
    component.instantiate(None, nested, [] as [(&str, ComponentExportKind, u32); 0]);
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(content);
    bytes
}

#[test]
fn a_guest_for_each_world_is_known_for_what_it_is() {
    let hello = inspect(&guest("hello.wasm")).unwrap();
    assert_eq!(hello.world, Some(World::Proxy02));
    assert!(
        hello
            .imports
            .iter()
            .any(|name| name.starts_with("wasi:http/types@0.2.")),
        "{:?}",
        hello.imports
    );
    assert!(hello.imports.is_sorted());
    assert_eq!(hello.imports_missing(), Vec::<&str>::new());
    assert_eq!(hello.exports.len(), 1, "{:?}", hello.exports);
    assert!(hello.functions > 50, "{}", hello.functions);
    assert_eq!(hello.memory.basis, MemoryBasis::Instances);
    assert!(
        (PAGE..4 << 20).contains(&hello.memory.initial_bytes),
        "{:?}",
        hello.memory
    );
    assert_eq!(hello.memory.maximum_bytes, None);

    let hello = inspect(&guest("hello-p3.wasm")).unwrap();
    assert_eq!(hello.world, Some(World::Service03));
    assert_eq!(hello.imports_missing(), Vec::<&str>::new());
}

#[test]
fn every_test_guest_is_what_its_manifest_says() {
    let manifest = String::from_utf8(guest("../manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let guests = manifest["guests"].as_array().unwrap();
    assert!(guests.len() > 15);
    for each in guests {
        let name = each["name"].as_str().unwrap();
        let inspected = inspect(&guest(&format!("{name}.wasm")));
        let world = match each["interface"].as_str().unwrap() {
            "wasi:http/proxy@0.2" => Some(World::Proxy02),
            "wasi:http/service@0.3" => Some(World::Service03),
            "wasi:cli/command@0.2" => Some(World::Command02),
            _ => None,
        };
        let inspected = inspected.unwrap();
        assert_eq!(inspected.world, world, "{name}");
        let missing = inspected.imports_missing();
        let unwanted: fn(&str) -> bool = match name {
            "wants-unknown" => |name| name == "acme:nothing/here@1.2.3",
            _ => |_| false,
        };
        assert_eq!(
            missing.is_empty(),
            name != "wants-unknown",
            "{name}: {missing:?}"
        );
        assert!(
            missing.iter().all(|name| unwanted(name)),
            "{name}: {missing:?}"
        );
    }
}

#[test]
fn the_world_is_told_by_release_versions_only() {
    let world = |exports: &[&str]| {
        let exports: Vec<String> = exports.iter().map(|name| (*name).to_owned()).collect();
        world_of(&exports)
    };
    assert_eq!(
        world(&["wasi:http/incoming-handler@0.2.0"]),
        Some(World::Proxy02)
    );
    assert_eq!(
        world(&["wasi:http/incoming-handler@0.2.12"]),
        Some(World::Proxy02)
    );
    assert_eq!(world(&["wasi:http/handler@0.3.0"]), Some(World::Service03));
    assert_eq!(
        world(&[
            "wasi:http/handler@0.3.0",
            "wasi:http/incoming-handler@0.2.0"
        ]),
        Some(World::Service03)
    );
    assert_eq!(world(&["wasi:http/handler@0.3.0-rc-2026-03-15"]), None);
    assert_eq!(world(&["wasi:http/incoming-handler@0.2.x"]), None);
    assert_eq!(world(&["wasi:http/incoming-handler@0.20.0"]), None);
    assert_eq!(world(&["wasi:http/incoming-handler"]), None);
    assert_eq!(world(&["wasi:cli/run@0.2.0"]), Some(World::Command02));
    assert_eq!(
        world(&["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.0"]),
        Some(World::Proxy02)
    );
    assert_eq!(world(&["wasi:cli/run@0.2.0-rc-2023-11-10"]), None);
    assert_eq!(world(&[]), None);
}

#[test]
fn each_thing_that_is_not_a_component_is_called_by_its_name() {
    let text = |kind| Err(InspectError::Text { kind });
    let cases: [(&[u8], Result<(), InspectError>); 16] = [
        (b"", Err(InspectError::Empty)),
        (b"<!DOCTYPE html><p>Sign in", text(TextKind::Html)),
        (b"\n  <HTML>", text(TextKind::Html)),
        (b"{\"error\":404}", text(TextKind::Json)),
        (b"[1, 2]", text(TextKind::Json)),
        (b"(component)", text(TextKind::Wat)),
        (b";; a comment\n(module)", text(TextKind::Wat)),
        ("\u{feff}(module)".as_bytes(), text(TextKind::Wat)),
        (b"hello", text(TextKind::Plain)),
        ("caf\u{e9}".as_bytes(), text(TextKind::Plain)),
        (
            b"\x7fELF\x02\x01\x01\x00\x00",
            Err(InspectError::NotWasm {
                first_bytes: "7f 45 4c 46 02 01 01 00".to_owned(),
            }),
        ),
        (b"\0as", Err(InspectError::Truncated { at_byte: 3 })),
        (
            b"\0asm\x0d\0\x01",
            Err(InspectError::Truncated { at_byte: 7 }),
        ),
        (
            b"\0asm\x01\0\0\0\x01\x04",
            Err(InspectError::Truncated { at_byte: 10 }),
        ),
        (
            b"\0asm\x0c\0\x01\0",
            Err(InspectError::UnknownVersion {
                version: 12,
                layer: 1,
            }),
        ),
        (b"\0asm\x0d\0\x01\0", Ok(())),
    ];
    for (bytes, expected) in cases {
        assert_eq!(inspect(bytes).map(drop), expected, "{bytes:?}");
    }
    // A core module with an import that no adapter has.
    let imports_env = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01x\0\0";
    let message = inspect(imports_env).unwrap_err().to_string();
    assert!(
        message.contains("env") && message.contains("wasm32-wasip1"),
        "{message}"
    );
}

#[test]
fn text_that_is_cut_inside_a_character_is_still_text() {
    let mut text = "a".repeat(511);
    text.push('\u{e9}');
    text.push_str(&"b".repeat(100));
    assert_eq!(
        inspect(text.as_bytes()),
        Err(InspectError::Text {
            kind: TextKind::Plain
        })
    );
}

#[test]
fn a_component_cut_anywhere_is_truncated_or_lacks_its_exports() {
    let hello = guest("hello.wasm");
    let mut whole_sections = 0;
    for length in (8..hello.len()).step_by(61) {
        match inspect(&hello[..length]) {
            Err(InspectError::Truncated { at_byte }) => assert_eq!(at_byte, length as u64),
            Ok(cut) => {
                assert_eq!(cut.world, None, "cut at {length}");
                whole_sections += 1;
            }
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
    assert!(
        whole_sections < 20,
        "{whole_sections} cuts between sections"
    );
}

#[test]
fn an_invalid_body_is_refused_with_its_place_and_one_line() {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    module.section(&types);
    let mut functions = FunctionSection::new();
    functions.function(0);
    module.section(&functions);
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    module.section(&code);
    let mut component = ComponentBuilder::default();
    component.core_module(None, &module);
    match inspect(&component.finish()) {
        Err(InspectError::Invalid { at_byte, message }) => {
            assert!(at_byte > 8, "{at_byte}");
            assert!(message.contains("type mismatch"), "{message}");
            assert!(message.len() <= bounds::MESSAGE_BYTES_MAX);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_is_summed_over_what_is_really_instantiated() {
    let mut nested = ComponentBuilder::default();
    let two_pages = nested.alias(
        None,
        wasm_encoder::Alias::Outer {
            kind: ComponentOuterAliasKind::CoreModule,
            count: 1,
            index: 0,
        },
    );
    instantiate(&mut nested, two_pages);
    instantiate(&mut nested, two_pages);

    let mut component = ComponentBuilder::default();
    let two_pages = component.core_module(None, &memory(2, Some(5)));
    component.core_module(None, &memory(1000, None));
    instantiate(&mut component, two_pages);
    let nested = component.component(None, nested);
    let exported = component.export("again", ComponentExportKind::Component, nested, None);
    instantiate_component(&mut component, nested);
    instantiate_component(&mut component, exported);

    let found = inspect(&component.finish()).unwrap();
    assert_eq!(
        found.memory,
        DeclaredMemory {
            initial_bytes: 5 * 2 * PAGE,
            maximum_bytes: Some(5 * 5 * PAGE),
            memories: 5,
            core_instances: 5,
            basis: MemoryBasis::Instances,
        }
    );
    assert_eq!(found.core_modules, 2);
}

#[test]
fn one_memory_without_a_maximum_leaves_the_sum_without_one() {
    let mut component = ComponentBuilder::default();
    let bounded = component.core_module(None, &memory(1, Some(1)));
    let unbounded = component.core_module(None, &memory(1, None));
    instantiate(&mut component, bounded);
    instantiate(&mut component, unbounded);
    let found = inspect(&component.finish()).unwrap();
    assert_eq!(found.memory.maximum_bytes, None);
    assert_eq!(found.memory.initial_bytes, 2 * PAGE);
}

#[test]
fn where_a_module_comes_from_outside_each_module_counts_once_and_that_is_said() {
    let mut component = ComponentBuilder::default();
    component.core_module(None, &memory(3, Some(4)));
    let (_, encoder) = component.core_type(None);
    encoder.module(&ModuleType::new());
    let imported = component.import("outside", ComponentTypeRef::Module(0));
    instantiate(&mut component, imported);
    let found = inspect(&component.finish()).unwrap();
    assert_eq!(found.memory.basis, MemoryBasis::Modules);
    assert_eq!(found.memory.initial_bytes, 3 * PAGE);
    assert_eq!(found.imports, ["outside"]);
    assert_eq!(found.imports_missing(), ["outside"]);
}

#[test]
fn instances_of_instances_of_instances_are_counted_without_being_made() {
    let mut component = ComponentBuilder::default();
    component.core_module(None, &memory(1, Some(1)));
    let mut level = ComponentBuilder::default();
    let page = level.alias(
        None,
        wasm_encoder::Alias::Outer {
            kind: ComponentOuterAliasKind::CoreModule,
            count: 1,
            index: 0,
        },
    );
    instantiate(&mut level, page);
    component.component(None, level);
    for previous in 0..40 {
        let mut level = ComponentBuilder::default();
        let inner = level.alias(
            None,
            wasm_encoder::Alias::Outer {
                kind: ComponentOuterAliasKind::Component,
                count: 1,
                index: previous,
            },
        );
        for _ in 0..10 {
            instantiate_component(&mut level, inner);
        }
        component.component(None, level);
    }
    instantiate_component(&mut component, 40);
    let found = inspect(&component.finish()).unwrap();
    assert_eq!(found.memory.initial_bytes, u64::MAX);
    assert_eq!(found.memory.memories, u64::MAX);
}

#[test]
fn each_bound_is_a_refusal_of_its_own() {
    let refused = |component: ComponentBuilder| inspect(&component.finish()).unwrap_err();

    let mut component = ComponentBuilder::default();
    for _ in 0..=bounds::CORE_MODULES_MAX {
        component.core_module(None, &Module::new());
    }
    assert_eq!(
        refused(component),
        InspectError::TooMany {
            what: Counted::CoreModules,
            count: 101,
            limit: 100
        }
    );

    let mut component = ComponentBuilder::default();
    for _ in 0..=bounds::COMPONENTS_MAX {
        component.component(None, ComponentBuilder::default());
    }
    assert!(matches!(
        refused(component),
        InspectError::TooMany {
            what: Counted::Components,
            ..
        }
    ));

    let nested = |levels: usize| {
        let mut component = ComponentBuilder::default();
        for _ in 1..levels {
            let mut outer = ComponentBuilder::default();
            outer.component(None, component);
            component = outer;
        }
        inspect(&component.finish())
    };
    assert!(nested(bounds::NESTING_MAX).is_ok());
    assert_eq!(
        nested(bounds::NESTING_MAX + 1),
        Err(InspectError::TooDeep { limit: 16 })
    );

    let importing = |count: u32| {
        let mut component = ComponentBuilder::default();
        component.type_instance(None, &wasm_encoder::InstanceType::new());
        for i in 0..count {
            component.import(format!("a:b/c{i}").as_str(), ComponentTypeRef::Instance(0));
        }
        inspect(&component.finish())
    };
    assert_eq!(importing(1_000).unwrap().imports.len(), 1_000);
    assert_eq!(
        importing(1_001),
        Err(InspectError::TooMany {
            what: Counted::Imports,
            count: 1_001,
            limit: 1_000
        })
    );

    let mut component = ComponentBuilder::default();
    component.type_instance(None, &wasm_encoder::InstanceType::new());
    let name = format!("a:b/{}", "c".repeat(253));
    component.import(name.as_str(), ComponentTypeRef::Instance(0));
    assert_eq!(
        refused(component),
        InspectError::TooMany {
            what: Counted::NameBytes,
            count: 257,
            limit: 256
        }
    );

    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    module.section(&types);
    let mut functions = FunctionSection::new();
    for _ in 0..=bounds::FUNCTIONS_MAX {
        functions.function(0);
    }
    module.section(&functions);
    let mut component = ComponentBuilder::default();
    component.core_module(None, &module);
    assert_eq!(
        refused(component),
        InspectError::TooMany {
            what: Counted::Functions,
            count: 200_001,
            limit: 200_000
        }
    );
}

#[test]
fn bytes_in_custom_sections_are_counted_wherever_they_are() {
    let mut module = Module::new();
    module.section(&wasm_encoder::CustomSection {
        name: "name".into(),
        data: (&[0; 1000]).into(),
    });
    let mut component = ComponentBuilder::default();
    component.core_module(None, &module);
    let plain = inspect(&component.finish()).unwrap();
    assert!(
        (1000..1100).contains(&plain.custom_section_bytes),
        "{}",
        plain.custom_section_bytes
    );
}

/// A component around one module, exporting nothing.
fn around(module: &Module) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    component.core_module(None, module);
    component.finish()
}

#[test]
fn what_is_accepted_is_what_the_engine_accepts() {
    use wasm_encoder::{HeapType, Instruction, RefType, StorageType};
    let shape = EngineShape::fit(10, 1 << 20, 1 << 47, false).unwrap();
    let engine = Engine::new(&compiler_config(&shape)).unwrap();
    let body = |results: Vec<ValType>, instructions: &[Instruction<'_>]| {
        let mut module = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([], results);
        module.section(&types);
        let mut functions = FunctionSection::new();
        functions.function(0);
        module.section(&functions);
        let mut code = CodeSection::new();
        let mut body = Function::new([]);
        for instruction in instructions {
            body.instruction(instruction);
        }
        body.instruction(&Instruction::End);
        code.function(&body);
        module.section(&code);
        let mut exports = ExportSection::new();
        exports.export("f", ExportKind::Func, 0);
        module
    };
    let memories = |kinds: &[(bool, bool)]| {
        let mut module = Module::new();
        let mut memories = MemorySection::new();
        for &(memory64, shared) in kinds {
            memories.memory(MemoryType {
                minimum: 1,
                maximum: Some(1),
                memory64,
                shared,
                page_size_log2: None,
            });
        }
        module.section(&memories);
        module
    };
    let mut gc_struct = Module::new();
    let mut types = TypeSection::new();
    types.ty().struct_([wasm_encoder::FieldType {
        element_type: StorageType::I8,
        mutable: true,
    }]);
    gc_struct.section(&types);
    let mut tag = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    tag.section(&types);
    let mut tags = wasm_encoder::TagSection::new();
    tags.tag(wasm_encoder::TagType {
        kind: wasm_encoder::TagKind::Exception,
        func_type_idx: 0,
    });
    tag.section(&tags);
    let typed_reference = ValType::Ref(RefType {
        nullable: true,
        heap_type: HeapType::Concrete(0),
    });
    let cases = [
        ("gc", gc_struct, false),
        (
            "typed references",
            body(
                vec![typed_reference],
                &[Instruction::RefNull(HeapType::Concrete(0))],
            ),
            false,
        ),
        ("memory64", memories(&[(true, false)]), false),
        ("threads", memories(&[(false, true)]), false),
        (
            "wide arithmetic",
            body(
                vec![],
                &[
                    Instruction::I64Const(1),
                    Instruction::I64Const(1),
                    Instruction::I64MulWideU,
                    Instruction::Drop,
                    Instruction::Drop,
                ],
            ),
            false,
        ),
        ("exceptions", tag, false),
        (
            "multi-memory",
            memories(&[(false, false), (false, false)]),
            true,
        ),
        (
            "tail calls",
            body(vec![], &[Instruction::ReturnCall(0)]),
            true,
        ),
        (
            "simd",
            body(vec![ValType::V128], &[Instruction::V128Const(1)]),
            true,
        ),
        (
            "externref",
            body(
                vec![ValType::EXTERNREF],
                &[Instruction::RefNull(HeapType::EXTERN)],
            ),
            false,
        ),
        (
            "funcref",
            body(
                vec![ValType::FUNCREF],
                &[Instruction::RefNull(HeapType::FUNC)],
            ),
            true,
        ),
    ];
    for (what, module, accepted) in cases {
        let bytes = around(&module);
        let inspected = inspect(&bytes);
        let compiled = Component::from_binary(&engine, &bytes);
        assert_eq!(
            inspected.is_ok(),
            compiled.is_ok(),
            "{what}: {inspected:?}, {:?}",
            compiled.err()
        );
        assert_eq!(inspected.is_ok(), accepted, "{what}: {inspected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = inspect(&bytes);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.extend(bytes);
        if let Ok(found) = inspect(&component) {
            prop_assert!(found.imports.len() <= 1_000);
        }
    }

    #[test]
    fn arbitrary_sections_are_answered(
        sections in prop::collection::vec((0_u8..14, prop::collection::vec(0_u8..32, 0..60)), 0..12),
    ) {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        for (id, content) in sections {
            component.extend(section(id, &content));
        }
        let _ = inspect(&component);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_components_are_answered(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        p3 in any::<bool>(),
    ) {
        let mut bytes = guest(if p3 { "hello-p3.wasm" } else { "hello.wasm" });
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(InspectError::Invalid { message, at_byte }) = inspect(&bytes) {
            prop_assert!(!message.is_empty() && !message.contains('\n'));
            prop_assert!(at_byte <= bytes.len() as u64);
        }
        let length = cut.index(bytes.len());
        let _ = inspect(&bytes[..length]);
    }
}
