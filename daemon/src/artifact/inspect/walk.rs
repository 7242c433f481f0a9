//! One pass over the sections of a component: validates, counts, and sums up the memory it declares.

use wasmparser::{
    Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, FuncValidatorAllocations, Instance, MemoryType, Parser, Payload,
    ValidPayload, Validator, WasmFeatures,
};

use super::{
    Counted, DeclaredMemory, InspectError, Inspection, MemoryBasis, bounds, one_line, world_of,
};

/// What `engine::compiler_config` leaves switched on. A test compares the two by what they accept.
const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::CM_ASYNC)
    .difference(WasmFeatures::GC)
    .difference(WasmFeatures::GC_TYPES)
    .difference(WasmFeatures::EXCEPTIONS)
    .difference(WasmFeatures::FUNCTION_REFERENCES)
    .difference(WasmFeatures::THREADS)
    .difference(WasmFeatures::MEMORY64);

/// Bytes in a page of linear memory (WebAssembly core specification, 4.2.3).
const PAGE_BYTES: u64 = 64 << 10;

pub(super) fn walk(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut walk = Walk {
        validator: Validator::new_with_features(FEATURES),
        allocations: FuncValidatorAllocations::default(),
        frames: vec![Frame::new(parser, usize::MAX)],
        found: Found::default(),
    };
    let mut rest = bytes;
    loop {
        let frame = walk.frames.last_mut().ok_or_else(unbalanced)?;
        // A nested part that is there in full must be complete in itself; the outermost may always go on.
        let complete = frame.end_byte <= bytes.len();
        let payload = match frame.parser.parse(rest, complete).map_err(invalid)? {
            Chunk::Parsed { consumed, payload } => {
                rest = rest.get(consumed..).unwrap_or_default();
                payload
            }
            Chunk::NeedMoreData(_) if rest.is_empty() && frame.is_outermost() => {
                match frame.parser.parse(rest, true).map_err(invalid)? {
                    Chunk::Parsed { payload, .. } => payload,
                    Chunk::NeedMoreData(_) => return Err(truncated(bytes)),
                }
            }
            Chunk::NeedMoreData(_) => return Err(truncated(bytes)),
        };
        if let Some(totals) = walk.payload(&payload)? {
            return Ok(walk.found.conclude(totals));
        }
    }
}

/// Whether a core module is valid, with the bound on functions that holds for all modules of a component together.
pub(super) fn check_module(bytes: &[u8]) -> Result<(), InspectError> {
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionStart { count, .. } =
            payload.map_err(|error| ended(bytes, error))?
        {
            Found::count(
                &mut functions,
                count,
                Counted::Functions,
                bounds::FUNCTIONS_MAX,
            )?;
        }
    }
    Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map(drop)
        .map_err(|error| ended(bytes, error))
}

/// An error that is about the end of the bytes, or any other.
fn ended(bytes: &[u8], error: wasmparser::Error) -> InspectError {
    if error.message().starts_with("unexpected end") {
        truncated(bytes)
    } else {
        invalid(error)
    }
}

/// The state of one pass.
struct Walk {
    validator: Validator,
    allocations: FuncValidatorAllocations,
    /// From the outermost to the innermost; at most `NESTING_MAX`.
    frames: Vec<Frame>,
    found: Found,
}

/// A module or component that has begun and not ended.
struct Frame {
    parser: Parser,
    end_byte: usize,
    is_module: bool,
    totals: Totals,
    /// The index spaces of a component: what each module and component in them takes when instantiated once; `None`
    /// where that is known only at instantiation.
    modules: Vec<Option<Totals>>,
    components: Vec<Option<Totals>>,
}

impl Frame {
    fn new(parser: Parser, end_byte: usize) -> Self {
        Self {
            parser,
            end_byte,
            is_module: false,
            totals: Totals::default(),
            modules: Vec::new(),
            components: Vec::new(),
        }
    }

    fn is_outermost(&self) -> bool {
        self.end_byte == usize::MAX
    }
}

/// What one instantiation takes.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    initial_bytes: u64,
    maximum_bytes: u64,
    /// Memories without a maximum.
    unbounded: u64,
    memories: u64,
    core_instances: u64,
    /// Instances of something unknown: the other figures are then too low.
    unknown: bool,
}

impl Totals {
    /// Saturating: a component may instantiate a component that instantiates a component twice, and so on.
    fn add(&mut self, other: Self) {
        self.initial_bytes = self.initial_bytes.saturating_add(other.initial_bytes);
        self.maximum_bytes = self.maximum_bytes.saturating_add(other.maximum_bytes);
        self.unbounded = self.unbounded.saturating_add(other.unbounded);
        self.memories = self.memories.saturating_add(other.memories);
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.unknown |= other.unknown;
    }

    fn add_memory(&mut self, memory: &MemoryType) {
        let page_bytes = memory
            .page_size_log2
            .and_then(|log2| 1_u64.checked_shl(log2))
            .unwrap_or(PAGE_BYTES);
        self.add(Self {
            initial_bytes: memory.initial.saturating_mul(page_bytes),
            maximum_bytes: memory.maximum.unwrap_or(0).saturating_mul(page_bytes),
            unbounded: u64::from(memory.maximum.is_none()),
            memories: 1,
            core_instances: 0,
            unknown: false,
        });
    }

    fn add_instance_of(&mut self, definition: Option<Totals>) {
        match definition {
            Some(totals) => self.add(totals),
            None => self.unknown = true,
        }
    }
}

/// What was counted over the whole file.
#[derive(Default)]
struct Found {
    imports: Vec<String>,
    exports: Vec<String>,
    core_modules: u32,
    components: u32,
    functions: u32,
    custom_section_bytes: u64,
    /// Each core module once.
    all_modules: Totals,
}

impl Found {
    fn count(have: &mut u32, more: u32, what: Counted, limit: u32) -> Result<(), InspectError> {
        *have = have.saturating_add(more);
        if *have > limit {
            return Err(InspectError::TooMany {
                what,
                count: u64::from(*have),
                limit: u64::from(limit),
            });
        }
        Ok(())
    }

    fn conclude(mut self, outermost: Totals) -> Inspection {
        self.imports.sort_unstable();
        self.exports.sort_unstable();
        let (totals, basis) = if outermost.unknown {
            (self.all_modules, MemoryBasis::Modules)
        } else {
            (outermost, MemoryBasis::Instances)
        };
        Inspection {
            world: world_of(&self.exports),
            imports: self.imports,
            exports: self.exports,
            core_modules: self.core_modules,
            functions: self.functions,
            memory: DeclaredMemory {
                initial_bytes: totals.initial_bytes,
                maximum_bytes: (totals.unbounded == 0).then_some(totals.maximum_bytes),
                memories: totals.memories,
                core_instances: totals.core_instances,
                basis,
            },
            custom_section_bytes: self.custom_section_bytes,
        }
    }
}

impl Walk {
    /// Takes one payload; the outermost totals once the component is complete.
    fn payload(&mut self, payload: &Payload<'_>) -> Result<Option<Totals>, InspectError> {
        self.bound(payload)?;
        match self.validator.payload(payload).map_err(invalid)? {
            ValidPayload::Ok => self.tally(payload)?,
            ValidPayload::Parser(parser) => self.enter(parser, payload)?,
            ValidPayload::Func(function, body) => {
                let allocations = std::mem::take(&mut self.allocations);
                let mut validator = function.into_validator(allocations);
                validator.validate(&body).map_err(invalid)?;
                self.allocations = validator.into_allocations();
            }
            ValidPayload::End(_) => return self.leave(),
        }
        Ok(None)
    }

    /// Refuses what exceeds a bound before the validator spends anything on it.
    fn bound(&mut self, payload: &Payload<'_>) -> Result<(), InspectError> {
        let found = &mut self.found;
        match payload {
            Payload::ModuleSection { .. } => Found::count(
                &mut found.core_modules,
                1,
                Counted::CoreModules,
                bounds::CORE_MODULES_MAX,
            ),
            Payload::ComponentSection { .. } => Found::count(
                &mut found.components,
                1,
                Counted::Components,
                bounds::COMPONENTS_MAX,
            ),
            Payload::FunctionSection(section) => Found::count(
                &mut found.functions,
                section.count(),
                Counted::Functions,
                bounds::FUNCTIONS_MAX,
            ),
            Payload::ComponentImportSection(section) if self.frames.len() == 1 => {
                let mut count = u32::try_from(found.imports.len()).unwrap_or(u32::MAX);
                Found::count(
                    &mut count,
                    section.count(),
                    Counted::Imports,
                    bounds::IMPORTS_MAX,
                )
            }
            Payload::ComponentExportSection(section) if self.frames.len() == 1 => {
                let mut count = u32::try_from(found.exports.len()).unwrap_or(u32::MAX);
                Found::count(
                    &mut count,
                    section.count(),
                    Counted::Exports,
                    bounds::IMPORTS_MAX,
                )
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, parser: Parser, payload: &Payload<'_>) -> Result<(), InspectError> {
        let (Payload::ModuleSection {
            unchecked_range, ..
        }
        | Payload::ComponentSection {
            unchecked_range, ..
        }) = payload
        else {
            return Err(unbalanced());
        };
        if self.frames.len() >= bounds::NESTING_MAX {
            return Err(InspectError::TooDeep {
                limit: bounds::NESTING_MAX as u64,
            });
        }
        self.frames.push(Frame::new(parser, unchecked_range.end));
        Ok(())
    }

    /// The innermost module or component is complete.
    fn leave(&mut self) -> Result<Option<Totals>, InspectError> {
        let mut done = self.frames.pop().ok_or_else(unbalanced)?;
        let Some(outer) = self.frames.last_mut() else {
            return Ok(Some(done.totals));
        };
        if done.is_module {
            self.found.all_modules.add(done.totals);
            self.found.all_modules.core_instances += 1;
            done.totals.core_instances = 1;
            outer.modules.push(Some(done.totals));
        } else {
            let known = !done.totals.unknown;
            outer.components.push(known.then_some(done.totals));
        }
        Ok(None)
    }

    fn tally(&mut self, payload: &Payload<'_>) -> Result<(), InspectError> {
        let outermost = self.frames.len() == 1;
        match payload {
            Payload::Version { encoding, .. } => {
                self.frame()?.is_module = *encoding == Encoding::Module;
            }
            Payload::CustomSection(section) => {
                let bytes = section.range().len() as u64;
                self.found.custom_section_bytes =
                    self.found.custom_section_bytes.saturating_add(bytes);
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let memory = memory.map_err(invalid)?;
                    self.frame()?.totals.add_memory(&memory);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import.map_err(invalid)?;
                    self.import(import.ty)?;
                    if outermost {
                        self.found.imports.push(bounded_name(import.name.name)?);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.map_err(invalid)?;
                    self.redefine(export.kind, export.index)?;
                    if outermost {
                        self.found.exports.push(bounded_name(export.name.name)?);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias.map_err(invalid)?)?;
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance.map_err(invalid)? {
                        let frame = self.frame()?;
                        let module = at(&frame.modules, module_index);
                        frame.totals.add_instance_of(module);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance.map_err(invalid)?
                    {
                        let frame = self.frame()?;
                        let component = at(&frame.components, component_index);
                        frame.totals.add_instance_of(component);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<&mut Frame, InspectError> {
        self.frames.last_mut().ok_or_else(unbalanced)
    }

    /// What comes from outside is known only at instantiation.
    fn import(&mut self, ty: ComponentTypeRef) -> Result<(), InspectError> {
        let frame = self.frame()?;
        match ty {
            ComponentTypeRef::Module(_) => frame.modules.push(None),
            ComponentTypeRef::Component(_) => frame.components.push(None),
            _ => {}
        }
        Ok(())
    }

    /// An export gives what it exports a new index too.
    fn redefine(&mut self, kind: ComponentExternalKind, index: u32) -> Result<(), InspectError> {
        let frame = self.frame()?;
        match kind {
            ComponentExternalKind::Module => frame.modules.push(at(&frame.modules, index)),
            ComponentExternalKind::Component => frame.components.push(at(&frame.components, index)),
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), InspectError> {
        match *alias {
            // Which definition an instance exports depends on how it came about: not followed.
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module,
                ..
            } => self.frame()?.modules.push(None),
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Component,
                ..
            } => self.frame()?.components.push(None),
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::CoreModule,
                count,
                index,
            } => {
                let module = self
                    .outer(count)
                    .and_then(|frame| at(&frame.modules, index));
                self.frame()?.modules.push(module);
            }
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Component,
                count,
                index,
            } => {
                let component = self
                    .outer(count)
                    .and_then(|frame| at(&frame.components, index));
                self.frame()?.components.push(component);
            }
            _ => {}
        }
        Ok(())
    }

    /// The frame `count` levels out, 0 for the innermost.
    fn outer(&self, count: u32) -> Option<&Frame> {
        let count = usize::try_from(count).ok()?;
        self.frames.iter().rev().nth(count)
    }
}

fn at(definitions: &[Option<Totals>], index: u32) -> Option<Totals> {
    let index = usize::try_from(index).ok()?;
    definitions.get(index).copied().flatten()
}

fn bounded_name(name: &str) -> Result<String, InspectError> {
    if name.len() > bounds::NAME_BYTES_MAX {
        return Err(InspectError::TooMany {
            what: Counted::NameBytes,
            count: name.len() as u64,
            limit: bounds::NAME_BYTES_MAX as u64,
        });
    }
    Ok(name.to_owned())
}

fn invalid(error: wasmparser::Error) -> InspectError {
    InspectError::Invalid {
        at_byte: error.offset() as u64,
        message: one_line(error.message(), bounds::MESSAGE_BYTES_MAX),
    }
}

fn truncated(bytes: &[u8]) -> InspectError {
    InspectError::Truncated {
        at_byte: bytes.len() as u64,
    }
}

/// The parser and this walk disagree on where parts begin and end: a bug, told as a refusal.
fn unbalanced() -> InspectError {
    InspectError::Invalid {
        at_byte: 0,
        message: "sections do not nest".to_owned(),
    }
}
