//! Modules written anew: bulk memory instructions that can be interrupted, and small loops that are asked less often.
//!
//! A guest is interrupted between instructions, and one `memory.fill`, `memory.copy` or `memory.init` may go over all of
//! its memory: some tens of milliseconds in which nobody can end it. So each module that has such instructions gets
//! functions of its own that do the same chunk by chunk, and calls those instead. A loop is a place where a guest can be
//! interrupted. For small ones that is too often: see [`super::unroll`].
//!
//! Takes a valid component; gives an equal one. What differs cannot be told from inside: an instruction that traps has
//! by then done part of its work, in an instance that nothing ever runs in again.

use std::collections::BTreeMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, Function, FunctionSection, Instruction, Module, TypeSection, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

use super::unroll::unroll;

/// Bytes in one step. A box that touches 500 MB of fresh memory a second takes a millisecond for it.
const CHUNK_BYTES: i32 = 512 << 10;
/// Components within components.
const DEPTH_MAX: usize = 64;

/// Section ids of a component (component model, Binary.md).
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const PREAMBLE_BYTES: usize = 8;

/// Why a component cannot be made interruptible.
#[derive(Debug, thiserror::Error)]
pub enum PaceError {
    /// It is not what the validator said.
    #[error("the component's sections cannot be read")]
    Sections,
    /// One of its modules cannot be written anew.
    #[error("a core module cannot be made interruptible: {0}")]
    Module(String),
}

impl From<ReencodeError<Infallible>> for PaceError {
    fn from(error: ReencodeError<Infallible>) -> Self {
        Self::Module(error.to_string())
    }
}

impl From<wasmparser::BinaryReaderError> for PaceError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Module(error.to_string())
    }
}

/// The component with its bulk instructions cut up and its small loops written out; `None` where it has neither, or only
/// short ones.
///
/// # Errors
/// [`PaceError`], for what should not get through validation.
pub fn pace(component: &[u8]) -> Result<Option<Vec<u8>>, PaceError> {
    sections(component, DEPTH_MAX)
}

/// Copies a component section by section, with its modules made new where they need it.
fn sections(component: &[u8], depth_left: usize) -> Result<Option<Vec<u8>>, PaceError> {
    let depth_left = depth_left.checked_sub(1).ok_or(PaceError::Sections)?;
    let (preamble, mut rest) = component
        .split_at_checked(PREAMBLE_BYTES)
        .ok_or(PaceError::Sections)?;
    let mut copy = preamble.to_vec();
    let mut changed = false;
    while let Some((id, after_id)) = rest.split_first() {
        let (length, after_length) = leb128_u32(after_id).ok_or(PaceError::Sections)?;
        let (content, after) = after_length
            .split_at_checked(length)
            .ok_or(PaceError::Sections)?;
        let new = match *id {
            CORE_MODULE => module(content)?,
            COMPONENT => sections(content, depth_left)?,
            _ => None,
        };
        changed |= new.is_some();
        let content = new.as_deref().unwrap_or(content);
        copy.push(*id);
        write_leb128_u32(&mut copy, content.len())?;
        copy.extend_from_slice(content);
        rest = after;
    }
    Ok(changed.then_some(copy))
}

fn leb128_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: u64 = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(at + 1..)?));
        }
    }
    None
}

fn write_leb128_u32(out: &mut Vec<u8>, value: usize) -> Result<(), PaceError> {
    let mut value = u32::try_from(value).map_err(|_| PaceError::Sections)?;
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
    Ok(())
}

/// An instruction to be cut up; with the same operands, on the same memories, it is the same function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bulk {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, data: u32 },
}

impl Bulk {
    fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy {
                to: dst_mem,
                from: src_mem,
            }),
            Operator::MemoryInit { data_index, mem } => Some(Self::Init {
                memory: mem,
                data: data_index,
            }),
            _ => None,
        }
    }

    fn instruction(self) -> Instruction<'static> {
        match self {
            Self::Fill { memory } => Instruction::MemoryFill(memory),
            Self::Copy { to, from } => Instruction::MemoryCopy {
                dst_mem: to,
                src_mem: from,
            },
            Self::Init { memory, data } => Instruction::MemoryInit {
                mem: memory,
                data_index: data,
            },
        }
    }
}

/// Whether an instruction after this one, which gives its length, is short.
fn gives_a_short_length(operator: Option<&Operator<'_>>) -> bool {
    matches!(operator, Some(Operator::I32Const { value }) if (0..=CHUNK_BYTES).contains(value))
}

/// What a module has, as far as new functions need to know.
#[derive(Default)]
struct Pacer {
    types: u32,
    functions: u32,
    /// The function that stands for each.
    stand_ins: BTreeMap<Bulk, u32>,
    /// Whether a loop was written out.
    unrolled: bool,
}

impl Pacer {
    fn of(module: &[u8]) -> Result<Self, PaceError> {
        let mut pacer = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        let count = group?.into_types().len();
                        pacer.types += u32::try_from(count).unwrap_or(u32::MAX);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                            pacer.functions += 1;
                        }
                    }
                }
                Payload::FunctionSection(functions) => pacer.functions += functions.count(),
                Payload::CodeSectionEntry(body) => pacer.look_at(&body)?,
                _ => {}
            }
        }
        let first = pacer.functions;
        for (stand_in, number) in pacer.stand_ins.values_mut().zip(first..) {
            *stand_in = number;
        }
        Ok(pacer)
    }

    fn look_at(&mut self, body: &FunctionBody<'_>) -> Result<(), PaceError> {
        let mut before = None;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            if let Some(bulk) = Bulk::of(&operator)
                && !gives_a_short_length(before.as_ref())
            {
                self.stand_ins.insert(bulk, 0);
            }
            before = Some(operator);
        }
        Ok(())
    }
}

/// The same for a module by itself.
///
/// # Errors
/// [`PaceError::Module`]
pub fn module(module: &[u8]) -> Result<Option<Vec<u8>>, PaceError> {
    let mut pacer = Pacer::of(module)?;
    let mut new = Module::new();
    pacer.parse_core_module(&mut new, Parser::new(0), module)?;
    let changed = pacer.unrolled || !pacer.stand_ins.is_empty();
    Ok(changed.then(|| new.finish()))
}

impl Reencode for Pacer {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), ReencodeError<Infallible>> {
        utils::parse_type_section(self, types, section)?;
        if !self.stand_ins.is_empty() {
            types.ty().function([ValType::I32; 3], []);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), ReencodeError<Infallible>> {
        utils::parse_function_section(self, functions, section)?;
        for _ in &self.stand_ins {
            functions.function(self.types);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), ReencodeError<Infallible>> {
        utils::parse_code_section(self, code, section)?;
        for bulk in self.stand_ins.keys() {
            code.function(&stand_in(*bulk));
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), ReencodeError<Infallible>> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut before = None;
        let mut instructions = Vec::new();
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            let stand_in = Bulk::of(&operator)
                .filter(|_| !gives_a_short_length(before.as_ref()))
                .and_then(|bulk| self.stand_ins.get(&bulk));
            let instruction = match stand_in {
                Some(number) => Instruction::Call(*number),
                None => self.instruction(operator.clone())?,
            };
            instructions.push(instruction);
            before = Some(operator);
        }
        if let Some(unrolled) = unroll(&instructions) {
            self.unrolled = true;
            instructions = unrolled;
        }
        for instruction in &instructions {
            function.instruction(instruction);
        }
        code.function(&function);
        Ok(())
    }
}

/// Locals of a stand-in: the instruction's own operands.
const TO: u32 = 0;
/// The source of a copy or an initialisation, the value of a fill.
const FROM: u32 = 1;
const LENGTH: u32 = 2;

fn stand_in(bulk: Bulk) -> Function {
    let mut function = Function::new([]);
    // What would go over the end of the address space is left to the instruction, to trap as a whole.
    end_wraps(&mut function, TO);
    if matches!(bulk, Bulk::Copy { .. }) {
        end_wraps(&mut function, FROM);
        function.instruction(&Instruction::I32Or);
    }
    function
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::LocalGet(TO))
        .instruction(&Instruction::LocalGet(FROM))
        .instruction(&Instruction::LocalGet(LENGTH))
        .instruction(&bulk.instruction())
        .instruction(&Instruction::Return)
        .instruction(&Instruction::End);
    if let Bulk::Copy { .. } = bulk {
        // Towards higher addresses from the end, so that no chunk overwrites what is still to be copied.
        function
            .instruction(&Instruction::LocalGet(TO))
            .instruction(&Instruction::LocalGet(FROM))
            .instruction(&Instruction::I32GtU)
            .instruction(&Instruction::If(BlockType::Empty));
        chunks(&mut function, bulk, Step::Down);
        function.instruction(&Instruction::Else);
        chunks(&mut function, bulk, Step::Up);
        function.instruction(&Instruction::End);
    } else {
        chunks(&mut function, bulk, Step::Up);
    }
    function
        .instruction(&Instruction::LocalGet(TO))
        .instruction(&Instruction::LocalGet(FROM))
        .instruction(&Instruction::LocalGet(LENGTH))
        .instruction(&bulk.instruction())
        .instruction(&Instruction::End);
    function
}

/// Whether `address + length` is more than 32 bits.
fn end_wraps(function: &mut Function, address: u32) {
    function
        .instruction(&Instruction::LocalGet(address))
        .instruction(&Instruction::LocalGet(LENGTH))
        .instruction(&Instruction::I32Add)
        .instruction(&Instruction::LocalGet(address))
        .instruction(&Instruction::I32LtU);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Up,
    Down,
}

/// Whole chunks while more than one is left; the last is left to what follows.
fn chunks(function: &mut Function, bulk: Bulk, step: Step) {
    function
        .instruction(&Instruction::Block(BlockType::Empty))
        .instruction(&Instruction::Loop(BlockType::Empty))
        .instruction(&Instruction::LocalGet(LENGTH))
        .instruction(&Instruction::I32Const(CHUNK_BYTES))
        .instruction(&Instruction::I32LeU)
        .instruction(&Instruction::BrIf(1))
        .instruction(&Instruction::LocalGet(LENGTH))
        .instruction(&Instruction::I32Const(CHUNK_BYTES))
        .instruction(&Instruction::I32Sub)
        .instruction(&Instruction::LocalSet(LENGTH));
    for operand in [TO, FROM] {
        function.instruction(&Instruction::LocalGet(operand));
        if step == Step::Down {
            function
                .instruction(&Instruction::LocalGet(LENGTH))
                .instruction(&Instruction::I32Add);
        }
    }
    function
        .instruction(&Instruction::I32Const(CHUNK_BYTES))
        .instruction(&bulk.instruction());
    if step == Step::Up {
        let is_fill = matches!(bulk, Bulk::Fill { .. });
        for operand in [TO, FROM].into_iter().take(if is_fill { 1 } else { 2 }) {
            function
                .instruction(&Instruction::LocalGet(operand))
                .instruction(&Instruction::I32Const(CHUNK_BYTES))
                .instruction(&Instruction::I32Add)
                .instruction(&Instruction::LocalSet(operand));
        }
    }
    function
        .instruction(&Instruction::Br(0))
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wasm_encoder::{
        DataCountSection, DataSection, ExportKind, ExportSection, MemorySection, MemoryType,
    };
    use wasmtime::{Engine, Instance, Memory, Store, TypedFunc};

    use super::*;

    const MEMORY_BYTES: usize = 4 << 20;
    const DATA_BYTES: usize = 3 << 20;

    /// A module that exports its memory and one function for each instruction.
    fn bulk_module(lengths: Option<i32>) -> Vec<u8> {
        let bulks = [
            Bulk::Fill { memory: 0 },
            Bulk::Copy { to: 0, from: 0 },
            Bulk::Init { memory: 0, data: 0 },
        ];
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32; 3], []);
        let (mut functions, mut code, mut exports) = (
            FunctionSection::new(),
            CodeSection::new(),
            ExportSection::new(),
        );
        for (number, (bulk, name)) in (0..).zip(bulks.into_iter().zip(["fill", "copy", "init"])) {
            functions.function(0);
            exports.export(name, ExportKind::Func, number);
            let mut function = Function::new([]);
            for operand in 0..2 {
                function.instruction(&Instruction::LocalGet(operand));
            }
            function.instruction(&match lengths {
                Some(length) => Instruction::I32Const(length),
                None => Instruction::LocalGet(2),
            });
            function.instruction(&bulk.instruction());
            function.instruction(&Instruction::End);
            code.function(&function);
        }
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: (MEMORY_BYTES >> 16) as u64,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        exports.export("memory", ExportKind::Memory, 0);
        let mut data = DataSection::new();
        data.passive((0..251u8).cycle().take(DATA_BYTES).collect::<Vec<_>>());
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&memories)
            .section(&exports)
            .section(&DataCountSection { count: 1 })
            .section(&code)
            .section(&data);
        module.finish()
    }

    fn engine() -> Engine {
        let mut config = wasmtime::Config::new();
        config
            .gc_support(false)
            .wasm_gc(false)
            .wasm_exceptions(false)
            .wasm_function_references(false);
        Engine::new(&config).unwrap()
    }

    struct Running {
        store: Store<()>,
        memory: Memory,
        functions: [TypedFunc<(u32, u32, u32), ()>; 3],
    }

    impl Running {
        fn new(engine: &Engine, module: &[u8]) -> Self {
            let module = wasmtime::Module::new(engine, module).unwrap();
            let mut store = Store::new(engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            for (byte, value) in memory
                .data_mut(&mut store)
                .iter_mut()
                .zip((0..249u8).cycle())
            {
                *byte = value;
            }
            let functions = ["fill", "copy", "init"]
                .map(|name| instance.get_typed_func(&mut store, name).unwrap());
            Self {
                store,
                memory,
                functions,
            }
        }

        fn call(&mut self, which: usize, operands: (u32, u32, u32)) -> bool {
            self.functions[which]
                .call(&mut self.store, operands)
                .is_ok()
        }
    }

    #[test]
    fn short_lengths_known_beforehand_stay_as_they_are() {
        assert_eq!(module(&bulk_module(Some(64))).unwrap(), None);
        assert!(
            module(&bulk_module(Some(CHUNK_BYTES + 1)))
                .unwrap()
                .is_some()
        );
        // Beyond what is signed: a length of nearly 4 GiB.
        assert!(module(&bulk_module(Some(-1))).unwrap().is_some());
    }

    #[test]
    fn nothing_is_written_where_an_end_wraps() {
        let paced = module(&bulk_module(None)).unwrap().unwrap();
        let engine = engine();
        let wraps = u32::MAX - 100;
        for (which, operands) in [
            (0, (wraps, 0, 1 << 20)),
            (1, (wraps, 0, 1 << 20)),
            (1, (0, wraps, 1 << 20)),
            (2, (wraps, 0, 1 << 20)),
        ] {
            let mut running = Running::new(&engine, &paced);
            let before = running.memory.data(&running.store).to_vec();
            assert!(!running.call(which, operands), "{which} {operands:?}");
            assert!(running.memory.data(&running.store) == before);
        }
    }

    #[test]
    fn a_component_keeps_what_is_not_a_module() {
        let mut inner = wasm_encoder::Component::new();
        inner.section(&wasm_encoder::ModuleSection(&{
            let mut module = Module::new();
            module.section(&TypeSection::new());
            module
        }));
        let untouched = inner.finish();
        assert!(pace(&untouched).unwrap().is_none());

        let nested = |module: &[u8]| {
            let module = wasm_encoder::RawSection {
                id: CORE_MODULE,
                data: module,
            };
            let custom = wasm_encoder::CustomSection {
                name: "kept".into(),
                data: b"as it is".into(),
            };
            let mut inner = wasm_encoder::Component::new();
            inner.section(&custom).section(&module);
            let inner = inner.finish();
            let component = wasm_encoder::RawSection {
                id: COMPONENT,
                data: &inner,
            };
            let mut outer = wasm_encoder::Component::new();
            outer.section(&custom).section(&component).section(&custom);
            outer.finish()
        };
        let plain = bulk_module(None);
        let paced = module(&plain).unwrap().unwrap();
        assert!(pace(&nested(&plain)).unwrap() == Some(nested(&paced)));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error_and_no_panic() {
        let component = {
            let mut component = wasm_encoder::Component::new();
            component.section(&wasm_encoder::RawSection {
                id: CORE_MODULE,
                data: &bulk_module(None)[..200],
            });
            component.finish()
        };
        for length in 0..component.len() {
            let _ = pace(&component[..length]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the operands, traps included: the same outcome, and after one that is no trap the same memory.
        #[test]
        fn it_does_what_the_instruction_does(
            which in 0usize..3,
            to in 0u32..5 << 20,
            from in 0u32..5 << 20,
            length in prop_oneof![0u32..100, 0u32..4 << 20, CHUNK_BYTES.cast_unsigned() - 2..CHUNK_BYTES.cast_unsigned() + 2],
        ) {
            let engine = engine();
            let plain = bulk_module(None);
            let paced = module(&plain).unwrap().unwrap();
            let mut one = Running::new(&engine, &plain);
            let mut other = Running::new(&engine, &paced);
            let done = one.call(which, (to, from, length));
            prop_assert_eq!(other.call(which, (to, from, length)), done);
            if done {
                prop_assert!(one.memory.data(&one.store) == other.memory.data(&other.store));
            }
        }
    }
}
