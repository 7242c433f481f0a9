//! Writes valid components of `wasi:http/proxy` 0.2 whose functions are small but cost a
//! compiler very much.
//!
//! Each function has many loops, one within the other; the innermost changes every local and
//! then goes on at the head of any loop. So every local can have another value at every head:
//! a compiler that gives each its own name (SSA) has locals times loops of them to keep and to
//! place in registers, while the code has but locals plus loops instructions.

use wasm_encoder::{
    Alias, BlockType, CanonicalFunctionSection, CodeSection, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentInstanceSection,
    ComponentTypeRef, ComponentTypeSection, ComponentValType, ExportKind, ExportSection, Function,
    FunctionSection, InstanceSection, InstanceType, Module, ModuleArg, ModuleSection, TypeBounds,
    TypeSection, ValType,
};

/// How much a bomb weighs. Memory grows with `locals * loops`, time with its square, and both
/// are paid for each function.
pub struct Weight {
    pub functions: u32,
    pub locals: u32,
    pub loops: u32,
}

/// The component, as bytes.
pub fn component(weight: &Weight) -> Vec<u8> {
    wrap(&module(weight)).finish()
}

/// The first function is the handler; nothing calls the others, and all are compiled.
fn module(weight: &Weight) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], []);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for number in 0..weight.functions {
        functions.function(0);
        code.function(&function(weight, number));
    }
    let mut exports = ExportSection::new();
    exports.export("handle", ExportKind::Func, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&exports)
        .section(&code);
    module
}

/// One function; `number` is a constant in it, so that none equals another.
fn function(weight: &Weight, number: u32) -> Function {
    // Locals 0 and 1 are the parameters.
    let locals = 2..2 + weight.locals;
    let mut function = Function::new([(weight.locals, ValType::I32)]);
    let mut code = function.instructions();
    code.i32_const(number.cast_signed()).local_set(2);
    for _ in 0..weight.loops {
        code.loop_(BlockType::Empty);
    }
    for local in locals.clone() {
        code.local_get(local)
            .local_get(0)
            .i32_add()
            .local_set(local);
    }
    code.local_get(1)
        .br_table((0..weight.loops).collect::<Vec<_>>(), 0);
    for _ in 0..weight.loops {
        code.end();
    }
    code.end();
    function
}

/// Wraps the module as `wasi:http/incoming-handler`, with nothing else in it.
fn wrap(module: &Module) -> Component {
    let mut component = Component::new();

    // Type 0, instance 0: of wasi:http/types, the two resources that a handler takes.
    let mut http = InstanceType::new();
    for resource in ["incoming-request", "response-outparam"] {
        http.export(resource, ComponentTypeRef::Type(TypeBounds::SubResource));
    }
    let mut types = ComponentTypeSection::new();
    types.instance(&http);
    component.section(&types);
    let mut imports = ComponentImportSection::new();
    imports.import("wasi:http/types@0.2.12", ComponentTypeRef::Instance(0));
    component.section(&imports);

    // Types 1 and 2: the resources. Types 3 and 4: owned handles to them. Type 5: the handler.
    let mut aliases = ComponentAliasSection::new();
    for name in ["incoming-request", "response-outparam"] {
        let kind = ComponentExportKind::Type;
        aliases.alias(Alias::InstanceExport {
            instance: 0,
            kind,
            name,
        });
    }
    component.section(&aliases);
    let mut types = ComponentTypeSection::new();
    types.defined_type().own(1);
    types.defined_type().own(2);
    let parameters = [("request", 3), ("response-out", 4)];
    types
        .function()
        .params(parameters.map(|(name, index)| (name, ComponentValType::Type(index))))
        .result(None);
    component.section(&types);

    // The module, its one instance, and its function lifted to the handler's type.
    component.section(&ModuleSection(module));
    let mut instances = InstanceSection::new();
    instances.instantiate(0, Vec::<(&str, ModuleArg)>::new());
    component.section(&instances);
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport {
        instance: 0,
        kind: ExportKind::Func,
        name: "handle",
    });
    component.section(&aliases);
    let mut canonicals = CanonicalFunctionSection::new();
    canonicals.lift(0, 5, []);
    component.section(&canonicals);

    // Instance 1, exported: the interface of an incoming handler.
    let mut instances = ComponentInstanceSection::new();
    instances.export_items([("handle", ComponentExportKind::Func, 0)]);
    component.section(&instances);
    let mut exports = ComponentExportSection::new();
    exports.export(
        "wasi:http/incoming-handler@0.2.12",
        ComponentExportKind::Instance,
        1,
        None,
    );
    component.section(&exports);
    component
}
