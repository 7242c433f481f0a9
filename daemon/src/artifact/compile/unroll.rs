//! Small loops, written out several times.
//!
//! At the head of every loop compiled code looks whether it is to be interrupted. That is a load and a comparison, and
//! on x86_64 more: the call that follows once in two milliseconds leaves five registers to all that lives across it, and
//! what does not fit them goes through memory in every turn. A product of matrices took 4.7 times as long with the
//! check as without (`tests/performance/results/compute.md`). So the body of a loop that is small and has no loop
//! within is repeated, and only every few turns begin at the head:
//!
//! ```text
//! loop $head (result R)              loop $head (result R)
//!   BODY                               block $exit (result R)
//! end                                    block $again
//!                                          BODY      ;; to go on is to leave $again
//!                                          br $exit  ;; to fall off the end is to leave the loop
//!                                        end
//!                                        BODY        ;; to go on is to go to $head
//!                                      end
//!                                    end
//! ```
//!
//! Takes the instructions of one valid function, gives others that do the same. What a loop does between two checks
//! stays below [`INSTRUCTIONS_MAX`] instructions, none of which takes long.

use wasm_encoder::{BlockType, Instruction};

/// A body is repeated at most so many times.
const TURNS_MAX: usize = 4;
/// And only as far as all its turns together stay within so many instructions.
const INSTRUCTIONS_MAX: usize = 128;
/// An instruction is small, but for a table of labels: of a loop with a larger one than this nothing is repeated.
const LABELS_MAX: usize = 32;
/// A function grows by its own length and this at most, in instructions.
const GROWTH_MIN: usize = 256;

/// The innermost loop that is open, as long as nothing within it speaks against writing it out.
struct Candidate {
    /// Blocks that were open before it.
    depth: usize,
    /// Where it begins in the output.
    start: usize,
}

/// Writes out the small loops of a function; `None` where it has none.
pub(super) fn unroll<'a>(instructions: &[Instruction<'a>]) -> Option<Vec<Instruction<'a>>> {
    let length_max = instructions.len() * 2 + GROWTH_MIN;
    let mut out = Vec::with_capacity(instructions.len());
    let mut depth = 0_usize;
    let mut candidate = None;
    let mut changed = false;
    for (at, instruction) in instructions.iter().enumerate() {
        match instruction {
            Instruction::Loop(results) => {
                // It also ends what the loop around it was. One of another type may take what is on the stack.
                candidate = match results {
                    BlockType::Empty | BlockType::Result(_) => Some(Candidate {
                        depth,
                        start: out.len(),
                    }),
                    BlockType::FunctionType(_) => None,
                };
                depth += 1;
            }
            Instruction::Block(_) | Instruction::If(_) => depth += 1,
            Instruction::End => {
                depth = depth.saturating_sub(1);
                if let Some(Candidate { start, .. }) = candidate.take_if(|open| open.depth == depth)
                {
                    let left = instructions.len() - at;
                    let room = length_max.saturating_sub(out.len() + left);
                    changed |= repeat(&mut out, start, room);
                }
            }
            other if !is_small(other) => candidate = None,
            _ => {}
        }
        out.push(instruction.clone());
    }
    changed.then_some(out)
}

/// Whether it can be repeated: what calls has checks of its own, what goes over memory takes long, and of those with
/// labels only the ones that every engine has are known here.
fn is_small(instruction: &Instruction<'_>) -> bool {
    if let Instruction::BrTable(labels, _) = instruction {
        return labels.len() <= LABELS_MAX;
    }
    !matches!(
        instruction,
        Instruction::Call(_)
            | Instruction::CallIndirect { .. }
            | Instruction::CallRef(_)
            | Instruction::ReturnCall(_)
            | Instruction::ReturnCallIndirect { .. }
            | Instruction::ReturnCallRef(_)
            | Instruction::MemoryGrow(_)
            | Instruction::MemoryFill(_)
            | Instruction::MemoryCopy { .. }
            | Instruction::MemoryInit { .. }
            | Instruction::TableGrow(_)
            | Instruction::TableFill(_)
            | Instruction::TableCopy { .. }
            | Instruction::TableInit { .. }
            | Instruction::Try(_)
            | Instruction::Delegate(_)
            | Instruction::Catch(_)
            | Instruction::CatchAll
            | Instruction::Rethrow(_)
            | Instruction::TryTable(..)
            | Instruction::BrOnNull(_)
            | Instruction::BrOnNonNull(_)
            | Instruction::BrOnCast { .. }
            | Instruction::BrOnCastFail { .. }
    )
}

/// Repeats the body of the loop that begins at `start` and whose end comes next; `false` where it stays as it is.
fn repeat(out: &mut Vec<Instruction<'_>>, start: usize, room: usize) -> bool {
    let body = out.split_off(start + 1);
    let turns = (INSTRUCTIONS_MAX / body.len().max(1)).min(TURNS_MAX);
    let results = match out.last() {
        Some(Instruction::Loop(results)) => *results,
        _ => BlockType::Empty,
    };
    // Each turn but the last has three instructions besides, and the exit two.
    let more = (body.len() + 3) * turns.saturating_sub(1) + 2;
    if turns < 2 || more > room || !goes_on(&body) {
        out.extend(body);
        return false;
    }
    out.push(Instruction::Block(results));
    for _ in 1..turns {
        out.push(Instruction::Block(BlockType::Empty));
        // Two blocks more than before stand between the body and what is outside, of which the inner one ends where the
        // loop went on.
        relabelled(out, &body, 0, 2);
        out.push(Instruction::Br(1));
        out.push(Instruction::End);
    }
    relabelled(out, &body, 1, 1);
    out.push(Instruction::End);
    true
}

/// Whether a body goes on with the next turn at all.
fn goes_on(body: &[Instruction<'_>]) -> bool {
    let mut depth = 0_u32;
    body.iter().any(|instruction| {
        match instruction {
            Instruction::Block(_) | Instruction::If(_) => depth += 1,
            Instruction::End => depth = depth.saturating_sub(1),
            Instruction::Br(label) | Instruction::BrIf(label) => return *label == depth,
            Instruction::BrTable(labels, other) => {
                return *other == depth || labels.contains(&depth);
            }
            _ => {}
        }
        false
    })
}

/// Appends a body whose branches to the loop lead `on` labels further out, and those to what is around it `out_by`.
fn relabelled<'a>(out: &mut Vec<Instruction<'a>>, body: &[Instruction<'a>], on: u32, out_by: u32) {
    let mut depth = 0_u32;
    for instruction in body {
        let to = |label: u32| match label.cmp(&depth) {
            std::cmp::Ordering::Less => label,
            std::cmp::Ordering::Equal => label + on,
            std::cmp::Ordering::Greater => label + out_by,
        };
        out.push(match instruction {
            Instruction::Br(label) => Instruction::Br(to(*label)),
            Instruction::BrIf(label) => Instruction::BrIf(to(*label)),
            Instruction::BrTable(labels, other) => {
                Instruction::BrTable(labels.iter().map(|label| to(*label)).collect(), to(*other))
            }
            other => other.clone(),
        });
        match instruction {
            Instruction::Block(_) | Instruction::If(_) => depth += 1,
            Instruction::End => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wasm_encoder::{
        CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, TypeSection,
        ValType,
    };
    use wasmtime::{Engine, Instance, Store};

    use super::*;

    /// Turns that are left; the function's operand.
    const LEFT: u32 = 0;
    /// What a run comes to.
    const SUM: u32 = 1;

    /// What a loop's body is made of.
    #[derive(Debug, Clone)]
    enum Statement {
        /// The sum is mixed with a number.
        Mix(i32),
        /// What is in the one block or the other, by a bit of the sum.
        Either(u32, Vec<Statement>, Vec<Statement>),
        /// A block.
        Within(Vec<Statement>),
        /// A branch by a bit of the sum to a label, counted from here and taken modulo those there are.
        Go(u32, u32),
        /// A branch by the sum's lowest bits to one of these.
        Choose(Vec<u32>, u32),
    }

    fn statements() -> impl Strategy<Value = Vec<Statement>> {
        let leaf = prop_oneof![
            3 => any::<i32>().prop_map(Statement::Mix),
            2 => (0u32..8, 0u32..6).prop_map(|(bit, label)| Statement::Go(bit, label)),
            1 => (prop::collection::vec(0u32..6, 0..4), 0u32..6)
                .prop_map(|(labels, other)| Statement::Choose(labels, other)),
        ];
        let statement = leaf.prop_recursive(3, 24, 4, |inner| {
            let list = prop::collection::vec(inner, 0..4);
            prop_oneof![
                (0u32..8, list.clone(), list.clone())
                    .prop_map(|(bit, one, other)| Statement::Either(bit, one, other)),
                list.prop_map(Statement::Within),
            ]
        });
        prop::collection::vec(statement, 0..6)
    }

    fn bit_of_sum(out: &mut Vec<Instruction<'static>>, bit: u32) {
        out.extend([
            Instruction::LocalGet(SUM),
            Instruction::I32Const(i32::try_from(bit).unwrap()),
            Instruction::I32ShrU,
            Instruction::I32Const(1),
            Instruction::I32And,
        ]);
    }

    /// `labels` is how many there are: the loop, the two blocks around it, and what was opened since.
    fn write(out: &mut Vec<Instruction<'static>>, statements: &[Statement], labels: u32) {
        for statement in statements {
            match statement {
                Statement::Mix(number) => out.extend([
                    Instruction::LocalGet(SUM),
                    Instruction::I32Const(31),
                    Instruction::I32Mul,
                    Instruction::I32Const(*number),
                    Instruction::I32Xor,
                    Instruction::LocalSet(SUM),
                ]),
                Statement::Either(bit, one, other) => {
                    bit_of_sum(out, *bit);
                    out.push(Instruction::If(BlockType::Empty));
                    write(out, one, labels + 1);
                    out.push(Instruction::Else);
                    write(out, other, labels + 1);
                    out.push(Instruction::End);
                }
                Statement::Within(inner) => {
                    out.push(Instruction::Block(BlockType::Empty));
                    write(out, inner, labels + 1);
                    out.push(Instruction::End);
                }
                Statement::Go(bit, label) => {
                    bit_of_sum(out, *bit);
                    out.push(Instruction::BrIf(label % labels));
                }
                Statement::Choose(some, other) => {
                    out.extend([
                        Instruction::LocalGet(SUM),
                        Instruction::I32Const(3),
                        Instruction::I32And,
                        Instruction::BrTable(
                            some.iter().map(|label| label % labels).collect(),
                            other % labels,
                        ),
                    ]);
                }
            }
        }
    }

    /// Two blocks, a loop in them, and in it what was made up, after a count that ends it.
    fn body(statements: &[Statement], goes_on: bool) -> Vec<Instruction<'static>> {
        let mut out = vec![
            Instruction::Block(BlockType::Empty),
            Instruction::Block(BlockType::Empty),
            Instruction::Loop(BlockType::Empty),
            Instruction::LocalGet(LEFT),
            Instruction::I32Eqz,
            Instruction::BrIf(1),
            Instruction::LocalGet(LEFT),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalSet(LEFT),
        ];
        write(&mut out, statements, 3);
        if goes_on {
            out.push(Instruction::Br(0));
        }
        out.extend([
            Instruction::End,
            Instruction::LocalGet(SUM),
            Instruction::I32Const(7),
            Instruction::I32Add,
            Instruction::LocalSet(SUM),
            Instruction::End,
            Instruction::LocalGet(SUM),
            Instruction::I32Const(5),
            Instruction::I32Xor,
            Instruction::LocalSet(SUM),
            Instruction::End,
            Instruction::LocalGet(SUM),
            Instruction::LocalGet(LEFT),
            Instruction::I32Add,
            Instruction::End,
        ]);
        out
    }

    fn run(engine: &Engine, instructions: &[Instruction<'_>], turns: i32) -> i32 {
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], [ValType::I32]);
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut exports = ExportSection::new();
        exports.export("run", ExportKind::Func, 0);
        let mut function = Function::new([(1, ValType::I32)]);
        for instruction in instructions {
            function.instruction(instruction);
        }
        let mut code = CodeSection::new();
        code.function(&function);
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&exports)
            .section(&code);
        let module = wasmtime::Module::new(engine, module.finish()).unwrap();
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance
            .get_typed_func::<i32, i32>(&mut store, "run")
            .unwrap();
        run.call(&mut store, turns).unwrap()
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

    fn loops(instructions: &[Instruction<'_>]) -> usize {
        let is_loop = |instruction: &&Instruction<'_>| matches!(instruction, Instruction::Loop(_));
        instructions.iter().filter(is_loop).count()
    }

    #[test]
    fn a_small_loop_is_written_out_four_times_with_one_head() {
        let plain = body(&[Statement::Mix(3)], true);
        let unrolled = unroll(&plain).unwrap();
        assert_eq!(loops(&unrolled), 1);
        let counts = |list: &[Instruction<'_>]| {
            let eqz = list.iter().filter(|i| matches!(i, Instruction::I32Eqz));
            eqz.count()
        };
        assert_eq!((counts(&plain), counts(&unrolled)), (1, TURNS_MAX));
    }

    #[test]
    fn a_loop_with_a_result_keeps_it() {
        let plain = [
            Instruction::Loop(BlockType::Result(ValType::I32)),
            Instruction::LocalGet(LEFT),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalTee(LEFT),
            Instruction::BrIf(0),
            Instruction::LocalGet(LEFT),
            Instruction::I32Const(40),
            Instruction::I32Add,
            Instruction::End,
            Instruction::End,
        ];
        let unrolled = unroll(&plain).unwrap();
        let engine = engine();
        for turns in 1..12 {
            assert_eq!(run(&engine, &unrolled, turns), 40);
        }
    }

    #[test]
    fn what_is_large_or_calls_or_has_loops_within_stays_as_it_is() {
        let large = vec![Statement::Mix(3); INSTRUCTIONS_MAX / 6];
        assert!(unroll(&body(&large, true)).is_none());
        // It never goes on: it is no loop.
        assert!(unroll(&body(&[Statement::Mix(3)], false)).is_none());
        let with = |instruction: Instruction<'static>| {
            let mut plain = body(&[], true);
            plain.splice(3..3, [instruction]);
            unroll(&plain)
        };
        assert!(with(Instruction::Nop).is_some());
        assert!(with(Instruction::Call(0)).is_none());
        assert!(with(Instruction::MemoryGrow(0)).is_none());
        let table = |labels| with(Instruction::BrTable(vec![1; labels].into(), 1));
        assert!(table(LABELS_MAX).is_some() && table(LABELS_MAX + 1).is_none());
        let inner = body(&[], true);
        let mut outer = body(&[], true);
        outer.splice(3..3, inner[..inner.len() - 1].iter().cloned());
        // The inner one is written out, around it there is one loop as before.
        assert_eq!(loops(&unroll(&outer).unwrap()), 2);
    }

    #[test]
    fn a_function_does_not_grow_beyond_its_bound() {
        let mut plain: Vec<_> = (0..1_000)
            .flat_map(|_| {
                let one = body(&[], true);
                one[..one.len() - 4].to_vec()
            })
            .collect();
        plain.extend([Instruction::LocalGet(SUM), Instruction::End]);
        let unrolled = unroll(&plain).unwrap();
        assert!(unrolled.len() <= plain.len() * 2 + GROWTH_MIN);
        assert!(unrolled.len() > plain.len());
        assert_eq!(run(&engine(), &unrolled, 9), run(&engine(), &plain, 9));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_does_what_it_did(statements in statements(), goes_on: bool, turns in 0i32..12) {
            let plain = body(&statements, goes_on);
            if let Some(unrolled) = unroll(&plain) {
                let engine = engine();
                prop_assert_eq!(run(&engine, &unrolled, turns), run(&engine, &plain, turns));
            }
        }
    }
}
