//! wasmtime's configuration, made in one place for the process that compiles and the one that runs.
//!
//! Whatever changes here changes `precompile_compatibility_hash`, and with it every artifact's name: nothing compiled
//! under another configuration is ever mapped.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::shape::{EngineShape, Kept, STACKS_PER_INSTANCE, TABLES_PER_INSTANCE};

/// Stack for wasm frames, in bytes; overflowing it traps.
const WASM_STACK_BYTES: usize = 512 << 10;
/// The whole stack of a guest's fiber, in bytes. What lies above the wasm part is for host functions called from
/// there, whose overflow would end the process: hence the wide margin.
pub(super) const FIBER_STACK_BYTES: usize = 1 << 20;
/// The upper end of a stack, where every guest writes, in bytes: zeroed by writing after each guest, so that the next
/// one takes no page faults. What lies below is given back to the kernel, which zeroes it. With 32 KiB an instance took
/// 0.5 us longer to make and drop than without zeroing (15.0 against 14.4 us, on a two-core x86_64), with nothing kept
/// 4 us.
const KEPT_STACK_BYTES: u64 = 32 << 10;
/// Core instances one component may have: what tools make out of one guest and its adapters, with room.
pub(crate) const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
/// Linear memories one component may have.
pub(crate) const MEMORIES_PER_COMPONENT: u32 = 8;
/// Tables one component may have.
const TABLES_PER_COMPONENT: u32 = 16;
/// Elements in one table: function pointers of the largest interpreters in use stay below 30,000.
pub(super) const TABLE_ELEMENTS: usize = 65_536;
/// The host's own record of one core instance, in bytes; grows with its functions and globals.
const CORE_INSTANCE_BYTES: usize = 1 << 20;
/// Memory of an ended instance that stays with its slot, in bytes, so that the next one takes no page faults.
const KEPT_MEMORY_BYTES: u64 = 2 << 20;
/// The same for tables.
const KEPT_TABLE_BYTES: u64 = 128 << 10;
/// What is of use; what this box can spare is in the shape.
pub(super) const KEPT_AT_MOST: Kept = Kept {
    memory_bytes: KEPT_MEMORY_BYTES,
    table_bytes: KEPT_TABLE_BYTES,
    stack_bytes: KEPT_STACK_BYTES,
};

/// For the process that turns components into artifacts: it never runs any, so its pool is empty. The pool is there for
/// its bounds: what would not fit an instance of the process that runs artifacts is refused here, at upload.
#[must_use]
pub fn compiler_config(shape: &EngineShape) -> Config {
    let mut pool = bounds(shape);
    pool.total_component_instances(0)
        .total_core_instances(0)
        .total_memories(0)
        // The total is looked at as well: as many as one component may have.
        .total_tables(TABLES_PER_COMPONENT)
        .total_stacks(0);
    let mut config = shared(shape);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// For the process that runs artifacts: it cannot compile.
#[must_use]
pub fn runtime_config(shape: &EngineShape) -> Config {
    let mut pool = bounds(shape);
    let instances = shape.instances_max;
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .total_stacks(instances.saturating_mul(STACKS_PER_INSTANCE))
        .max_unused_warm_slots(shape.warm_slots)
        .linear_memory_keep_resident(to_usize(shape.kept.memory_bytes))
        .table_keep_resident(to_usize(shape.kept.table_bytes))
        .async_stack_keep_resident(to_usize(shape.kept.stack_bytes))
        .pagemap_scan(if shape.pagemap_scan {
            Enabled::Auto
        } else {
            Enabled::No
        });
    let mut config = shared(shape);
    config.enable_compiler(false);
    // What a guest, or the host on its behalf, left on a stack is gone before the next guest is put on it.
    config.async_stack_zeroing(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// What one instance may have at most.
fn bounds(shape: &EngineShape) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_memories_per_module(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_tables_per_module(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .max_core_instance_size(CORE_INSTANCE_BYTES)
        .max_component_instance_size(CORE_INSTANCE_BYTES)
        .max_memory_size(to_usize(shape.memory_bytes_max));
    // The `gc` feature is compiled in (RUSTSEC-2026-0570) while the proposal is off: no heap is ever needed.
    pool.total_gc_heaps(0);
    pool
}

fn shared(shape: &EngineShape) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_gc(false)
        // No collector is compiled in. References to host objects and exceptions would need one, and no toolchain
        // for components emits either.
        .gc_support(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_memory64(false)
        // Without it nothing stops a busy loop.
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_reservation(shape.memory_reservation_bytes)
        .memory_guard_size(shape.memory_guard_bytes)
        // A memory that never moves lets compiled code keep its base and, in compact slots, its bound in a register.
        .memory_may_move(false)
        // A seventh of every artifact, of use only with debug information that tenants do not upload.
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
