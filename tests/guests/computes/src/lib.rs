//! Loops of the kinds that checks of bounds and interruptions cost most and least: each export does its work once over
//! the state that `make` made, and gives a number that depends on all of it.

const CELLS: usize = 1 << 17;
const SIDE: usize = 96;
const RECORDS: usize = 1 << 14;

/// What loops go over: 1 MiB of numbers, matrices, records.
pub struct State {
    cells: Box<[u64; CELLS]>,
    next: Box<[u32; CELLS]>,
    left: Box<[[f32; SIDE]; SIDE]>,
    right: Box<[[f32; SIDE]; SIDE]>,
    product: Box<[[f32; SIDE]; SIDE]>,
    records: Box<[Record; RECORDS]>,
}

/// Fields of one object, which compiled code reaches by one address and different offsets.
#[derive(Clone, Copy)]
struct Record {
    age: u32,
    count: u32,
    sum: u64,
    low: u32,
    high: u32,
    last: u64,
}

fn step(state: u64) -> u64 {
    let mut x = state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

#[unsafe(no_mangle)]
extern "C" fn make() -> *mut State {
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let mut next: Box<[u32; CELLS]> = vec![0; CELLS].try_into().expect("as many");
    for (index, cell) in next.iter_mut().enumerate() {
        *cell = u32::try_from(index).expect("few");
    }
    // One cycle through all of them (Sattolo, 1986).
    for index in (1..CELLS).rev() {
        random = step(random);
        next.swap(index, random as usize % index);
    }
    let mut cells: Box<[u64; CELLS]> = vec![0; CELLS].try_into().expect("as many");
    for cell in cells.iter_mut() {
        random = step(random);
        *cell = random;
    }
    let matrix = |from: f32| {
        let mut rows: Box<[[f32; SIDE]; SIDE]> = vec![[from; SIDE]; SIDE].try_into().expect("as many");
        for (index, row) in rows.iter_mut().enumerate() {
            row[index] += 1.0;
        }
        rows
    };
    let record = Record {
        age: 1,
        count: 0,
        sum: 0,
        low: u32::MAX,
        high: 0,
        last: 0,
    };
    Box::into_raw(Box::new(State {
        cells,
        next,
        left: matrix(0.5),
        right: matrix(0.25),
        product: matrix(0.0),
        records: vec![record; RECORDS].try_into().ok().expect("as many"),
    }))
}

/// The state behind the pointer that `make` gave.
fn state<'a>(at: *mut State) -> &'a mut State {
    // SAFETY: the host hands back what `make` gave, one call at a time.
    unsafe { &mut *at }
}

#[unsafe(no_mangle)]
extern "C" fn reads_in_order(at: *mut State) -> u64 {
    let cells = &state(at).cells;
    cells.iter().fold(0, |sum, cell| sum ^ cell.rotate_left(7))
}

#[unsafe(no_mangle)]
extern "C" fn writes_in_order(at: *mut State) -> u64 {
    let cells = &mut state(at).cells;
    for cell in cells.iter_mut() {
        *cell = cell.wrapping_mul(3) ^ 0x55;
    }
    cells[CELLS - 1]
}

#[unsafe(no_mangle)]
extern "C" fn writes_anywhere(at: *mut State) -> u64 {
    let cells = &mut state(at).cells;
    let mut random = 88_172_645_463_325_252;
    for _ in 0..CELLS {
        random = step(random);
        let cell = &mut cells[random as usize % CELLS];
        *cell = cell.wrapping_add(random);
    }
    cells[0]
}

#[unsafe(no_mangle)]
extern "C" fn follows_links(at: *mut State) -> u64 {
    let next = &state(at).next;
    let mut index = 0;
    for _ in 0..CELLS {
        index = next[index as usize % CELLS];
    }
    u64::from(index)
}

#[unsafe(no_mangle)]
extern "C" fn multiplies_matrices(at: *mut State) -> u64 {
    let state = state(at);
    for (row, out) in state.left.iter().zip(state.product.iter_mut()) {
        for (column, out) in out.iter_mut().enumerate() {
            let mut sum = 0.0;
            for (value, other) in row.iter().zip(state.right.iter()) {
                sum += value * other[column];
            }
            *out = sum;
        }
    }
    u64::from(state.product[SIDE - 1][SIDE - 1].to_bits())
}

#[unsafe(no_mangle)]
extern "C" fn hashes_bytes(at: *mut State) -> u64 {
    // FNV-1a: one multiplication a byte, each waiting for the one before.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for cell in state(at).cells.iter().take(CELLS / 8) {
        for byte in cell.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash
}

#[unsafe(no_mangle)]
extern "C" fn updates_fields(at: *mut State) -> u64 {
    let records = &mut state(at).records;
    for (index, record) in records.iter_mut().enumerate() {
        let value = record.age.wrapping_mul(1_664_525).wrapping_add(index as u32);
        record.age = value;
        record.count += 1;
        record.sum = record.sum.wrapping_add(u64::from(value));
        record.low = record.low.min(value);
        record.high = record.high.max(value);
        record.last = u64::from(value) ^ record.sum;
    }
    records[RECORDS - 1].last
}

#[unsafe(no_mangle)]
extern "C" fn calls_itself(at: *mut State) -> u64 {
    fn fibonacci(n: u64) -> u64 {
        if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
    }
    let _ = at;
    fibonacci(core::hint::black_box(22))
}
