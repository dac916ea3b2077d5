//! What is launched for a step, and with what.

use super::{
    argument::{Argument, Attention, MOST_TAPS, Product, Range, Rows, Turned},
    program::{self, Program, Unit},
};
use crate::kernels::{self, DeviceError, Grid, Heads, Over, Precision, Step, Then};

/// Positions of a block of a product.
const ROWS: usize = 128;

/// Positions of a block of everything that takes positions one by one.
const WARPS: usize = 4;

/// One program, run once.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Which program.
    pub program: Program,
    /// Blocks in each direction.
    pub grid: [u32; 3],
    pub(super) argument: Argument,
    /// What it cannot do with less.
    pub work: Work,
}

/// The least that a step takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Positions, and what is made of each.
    pub size: [usize; 2],
    /// Terms of a sum: of a product, or keys of a query.
    pub terms: usize,
    /// Floating-point operations of products.
    pub flops: f64,
    /// Bytes that are read and written, each once.
    pub bytes: f64,
}

impl Work {
    fn of([positions, made]: [usize; 2], terms: usize, flops: usize, bytes: usize) -> Self {
        let (flops, bytes) = (flops as f64, bytes as f64);
        Self { size: [positions, made], terms, flops, bytes }
    }
}

/// Where the things are that a list reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources {
    pub(super) memory: u64,
    pub(super) table: u64,
    /// Frames that the table has groups for.
    pub(super) frames: usize,
    /// Keys that a query of each kind sees: all, a frame's own, a caption's.
    pub(super) keys: [usize; 3],
    pub(super) unit: Unit,
}

/// A matrix on the card.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    pub(super) weights: u64,
    pub(super) offset: u64,
    pub(super) columns: usize,
    pub(super) terms: usize,
}

/// The groups of the table.
#[derive(Clone, Copy, Debug)]
struct Groups {
    first: u64,
    entries: u64,
}

impl Sources {
    /// What a step over `size` (frames, rows, columns) positions launches.
    ///
    /// # Errors
    /// When a product has more taps than programs have room for.
    pub(super) fn launch(
        &self,
        size: [usize; 3],
        step: &Step,
        weights: impl Fn(usize) -> Weights,
    ) -> Result<Launch, DeviceError> {
        let positions: usize = size.iter().product();
        let rows = |program, x: Grid, y: Grid, width: usize| {
            let rows = Rows {
                memory: self.memory,
                x: x.into(),
                y: y.into(),
                size: ints(size),
                positions: positions as i32,
                width: width as i32,
                halves: halves(y),
                scale: 0,
                shift: 0,
                eps: 0.0,
                silu: 0,
            };
            (program, rows)
        };
        let (program, rows) = match step {
            Step::Product(product) => return self.product(size, product, &weights),
            Step::Attention { .. } => return Ok(self.attention(size, step)),
            Step::Query { .. } | Step::Remember { .. } => return Ok(self.turned(size, step)),
            &Step::LayerNorm { x, y, width, scale, shift, eps } => {
                let (program, of) = rows(Program::LayerNorm, x, y, width);
                (program, Rows { scale: scale as i64, shift: shift as i64, eps, ..of })
            }
            &Step::RmsNorm { x, y, width, gain, eps, silu } => {
                let (program, of) = rows(Program::RmsNorm, x, y, width);
                (program, Rows { scale: gain as i64, eps, silu: i32::from(silu), ..of })
            }
            &Step::Copy { x, y, width } => rows(Program::Copy, x, y, width),
        };
        let width = rows.width as usize;
        let bytes = positions * width * if rows.halves == 1 { 6 } else { 8 };
        let work = Work::of([positions, width], 0, 0, bytes);
        let argument = Argument::Rows(rows);
        Ok(Launch { program, grid: blocks(positions, WARPS), argument, work })
    }

    fn product(
        &self,
        size: [usize; 3],
        product: &kernels::Product,
        weights: &impl Fn(usize) -> Weights,
    ) -> Result<Launch, DeviceError> {
        let positions: usize = size.iter().product();
        let Weights { weights, offset, columns, terms } = weights(product.matrix);
        let count = product.taps.len();
        if count > MOST_TAPS {
            let reason = format!("a product has {count} taps, expected {MOST_TAPS} at most");
            return Err(DeviceError(reason));
        }
        let mut taps = [0; MOST_TAPS];
        for (to, &tap) in taps.iter_mut().zip(&product.taps) {
            *to = tap as i64;
        }
        let depth = terms / count;
        let (then, onto, gate) = match product.then {
            Then::Plain => (0, product.y, 0),
            Then::Gelu => (1, product.y, 0),
            Then::Add(onto) => (2, onto, 0),
            Then::Gated { onto, gate } => (3, onto, gate),
            Then::Times(by) => (4, by, 0),
        };
        let argument = Product {
            memory: self.memory,
            weights,
            offset,
            x: product.x.into(),
            y: product.y.into(),
            onto: onto.into(),
            gate: gate as i64,
            size: ints(size),
            positions: positions as i32,
            columns: columns as i32,
            depth: depth as i32,
            terms: terms as i32,
            taps,
            then,
            halves: halves(product.y),
        };
        let of_block = columns_of_block(self.unit, columns);
        let piece = piece(size, product, depth);
        let [across, ..] = blocks(positions, ROWS);
        let grid = [across, columns.div_ceil(of_block) as u32, 1];
        let program = Program::Product { unit: self.unit, columns: of_block, piece };
        // What several positions see is counted once: their neighbours begin where they end.
        let far = size.iter().zip(product.x.strides).rfind(|&(&count, _)| count > 1);
        let seen = positions * far.map_or(terms, |(_, places)| terms.min(2 * places));
        let made = positions * columns * if then >= 2 { 8 } else { 4 };
        let bytes = 2 * (seen + columns * terms) + made;
        let flops = 2 * positions * columns * terms;
        let work = Work::of([positions, columns], terms, flops, bytes);
        Ok(Launch { program, grid, argument: Argument::Product(argument), work })
    }

    fn turned(&self, size: [usize; 3], step: &Step) -> Launch {
        let (x, heads, turn, factor, layer, program): (_, Heads, _, _, _, fn(usize) -> Program) =
            match *step {
                // Attention takes powers of two.
                Step::Query { q, heads, turn, factor } => {
                    (q, heads, turn, factor * std::f32::consts::LOG2_E, 0, Program::Query)
                }
                Step::Remember { kv, heads, turn, layer } => {
                    (kv, heads, turn, 1.0, layer, Program::Remember)
                }
                _ => unreachable!("only queries and keys are turned"),
            };
        let positions: usize = size.iter().product();
        let Groups { first: groups, entries } = self.groups(Over::OwnFrame);
        let rotation = turn.and_then(|turn| turn.rotation);
        let argument = Turned {
            memory: self.memory,
            x: x.into(),
            size: ints(size),
            positions: positions as i32,
            heads: heads.count as i32,
            norms: i32::from(turn.is_some()),
            rotates: i32::from(rotation.is_some()),
            gain: turn.map_or(0, |turn| turn.gain as i64),
            rotation: rotation.map_or_else(Default::default, Into::into),
            eps: turn.map_or(0.0, |turn| turn.eps),
            factor,
            groups,
            entries,
            layer: layer as i32,
        };
        let program = program(heads.width);
        let work = Work::of([positions, heads.total()], 0, 0, positions * heads.total() * 12);
        let argument = Argument::Turned(argument);
        Launch { program, grid: blocks(positions, WARPS), argument, work }
    }

    fn attention(&self, size: [usize; 3], step: &Step) -> Launch {
        let &Step::Attention { q, y, heads, layer, over, bias } = step else {
            unreachable!("only attention is asked of it")
        };
        let [frames, rows, columns] = size;
        let (groups_of, of_group) = match over {
            Over::All => (1, frames * rows * columns),
            Over::OwnFrame | Over::Caption => (frames, rows * columns),
        };
        let Groups { first: groups, entries } = self.groups(over);
        let argument = Attention {
            memory: self.memory,
            q: q.into(),
            y: y.into(),
            size: ints(size),
            of_group: of_group as i32,
            heads: heads.count as i32,
            groups,
            entries,
            layer: layer as i32,
            halves: halves(y),
            bias: bias.map_or(0, |bias| bias.at(0, 0) as i64),
            of_head: bias.map_or(0, |bias| bias.each() as i64),
        };
        let [across, ..] = blocks(of_group, program::queries_of(heads.width));
        let parts = program::room_of(heads.width) / program::shown_of(heads.width);
        let grid = [across, (heads.count * parts) as u32, groups_of as u32];
        let unit = program::unit_of_attention(self.unit, heads.width, bias.is_some());
        let program = Program::Attention { unit, width: heads.width, bias: bias.is_some() };
        let positions: usize = size.iter().product();
        let keys = self.keys[over as usize];
        let (flops, total) = (4 * positions * keys * heads.total(), heads.total());
        let bytes = 4 * total * (positions + groups_of * keys);
        let work = Work::of([positions, total], keys, flops, bytes);
        Launch { program, grid, argument: Argument::Attention(argument), work }
    }

    /// Where the groups of a kind stand in the table, and its pages.
    fn groups(&self, over: Over) -> Groups {
        let before = match over {
            Over::All => 0,
            Over::OwnFrame => 1,
            Over::Caption => 1 + self.frames,
        };
        let at = |groups: usize| self.table + (groups * size_of::<Range>()) as u64;
        Groups { first: at(before), entries: at(1 + 2 * self.frames) }
    }
}

fn ints(size: [usize; 3]) -> [i32; 3] {
    size.map(|count| count as i32)
}

fn halves(grid: Grid) -> i32 {
    i32::from(grid.precision == Precision::Bf16)
}

/// Blocks of `each` that hold `count`.
fn blocks(count: usize, each: usize) -> [u32; 3] {
    [count.div_ceil(each) as u32, 1, 1]
}

/// Values that a block makes of a position: few of them idle, and as many as pay.
fn columns_of_block(unit: Unit, columns: usize) -> usize {
    let most = match unit {
        Unit::Warp => 128,
        Unit::Group => 256,
    };
    [256, 192, 128, 96, 64]
        .into_iter()
        .find(|&of| of <= most && columns.is_multiple_of(of))
        .unwrap_or(if columns <= 32 {
            32
        } else if columns <= 64 {
            64
        } else {
            128
        })
}

/// Bytes that lie together for certain wherever positions look.
fn piece(size: [usize; 3], product: &kernels::Product, depth: usize) -> usize {
    let moved = size.iter().zip(product.x.strides).filter(|&(&count, _)| count > 1);
    let places = moved.map(|(_, stride)| stride).chain(product.taps.iter().copied());
    let ways = places.chain([product.x.start]).map(|place| 4 * place).chain([2 * depth]);
    [16, 8]
        .into_iter()
        .find(|piece| ways.clone().all(|way| way.is_multiple_of(*piece)))
        .unwrap_or(4)
}
