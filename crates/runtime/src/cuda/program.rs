//! Programs of the card: which text, compiled for which sizes.

use std::fmt::Write as _;

/// The widest head.
pub(super) const MOST_WIDTH: usize = 512;

/// Halves of a step of a product; rows of weights are whole steps.
pub(super) const TERMS: usize = 64;

/// Bytes that a multiprocessor of Hopper has for the blocks on it, less what one takes for itself.
const SHARED: usize = 227 * 1024;

/// What multiplies tiles of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// `mma.sync`, which every card since Ampere has.
    Warp,
    /// `wgmma`, Hopper's own.
    Group,
}

/// A text of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Rows,
    Product,
    Attention,
}

/// A program and the sizes it is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// The norm of tokens.
    LayerNorm,
    /// The root-mean-square norm.
    RmsNorm,
    /// A copy.
    Copy,
    /// Queries of heads of this width.
    Query(usize),
    /// Keys and values of heads of this width.
    Remember(usize),
    /// A product.
    Product {
        /// What multiplies.
        unit: Unit,
        /// Values that a block makes of a position: a multiple of 32.
        columns: usize,
        /// Bytes that lie together for certain in what is read: 4, 8 or 16.
        piece: usize,
    },
    /// Attention.
    Attention {
        /// What multiplies.
        unit: Unit,
        /// Of a head.
        width: usize,
        /// Whether distances add to scores.
        bias: bool,
    },
}

/// Halves that a head of this width takes in a page.
pub(super) fn room_of(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Values of a head that a block of attention makes: all of them, or an equal part.
pub(super) fn shown_of(width: usize) -> usize {
    let room = room_of(width);
    (1..=room / 16)
        .map(|parts| room / parts)
        .find(|&part| part <= 128 && part.is_multiple_of(16) && room.is_multiple_of(part))
        .unwrap_or(16)
}

impl Program {
    /// What it is called in its text.
    #[must_use]
    pub fn entry(&self) -> &'static str {
        match self {
            Self::LayerNorm => "layer_norm",
            Self::RmsNorm => "rms_norm",
            Self::Copy => "copy",
            Self::Query(_) => "query",
            Self::Remember(_) => "remember",
            Self::Product { .. } => "product",
            Self::Attention { .. } => "attention",
        }
    }

    fn source(&self) -> Source {
        match self {
            Self::Product { .. } => Source::Product,
            Self::Attention { .. } => Source::Attention,
            _ => Source::Rows,
        }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        match *self {
            Self::Product { .. } => 256,
            Self::Attention { width, .. } => 2 * queries_of(width) as u32,
            _ => 128,
        }
    }

    /// Bytes of shared memory of a block.
    #[must_use]
    pub fn shared(&self) -> u32 {
        let bytes = match *self {
            Self::Product { unit, columns, .. } => stages(unit, columns) * stage(columns),
            Self::Attention { unit: Unit::Group, width, .. } => {
                2 * room_of(width) * (queries_of(width) + 3 * 2 * keys_of(Unit::Group, width))
            }
            Self::Attention { unit: Unit::Warp, width, .. } => {
                let (key, value) = (2 * room_of(width) + 16, 2 * shown_of(width) + 16);
                queries_of(width) * key + 2 * keys_of(Unit::Warp, width) * (key + value)
            }
            _ => 0,
        };
        bytes as u32
    }

    /// Names and numbers that its text is compiled with.
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        match *self {
            Self::Query(width) | Self::Remember(width) => {
                vec![("WIDTH", width), ("ROOM", room_of(width))]
            }
            Self::Product { unit, columns, piece } => vec![
                ("COLUMNS", columns),
                ("PIECE", piece),
                ("WIDE", usize::from(unit == Unit::Group)),
                ("STAGES", stages(unit, columns)),
            ],
            Self::Attention { unit, width, bias } => vec![
                ("WIDTH", width),
                ("ROOM", room_of(width)),
                ("SHOWN", shown_of(width)),
                ("QUERIES", queries_of(width)),
                ("KEYS", keys_of(unit, width)),
                ("WIDE", usize::from(unit == Unit::Group)),
                ("BIAS", usize::from(bias)),
            ],
            _ => Vec::new(),
        }
    }

    /// The whole text, for the card or, `emulated`, for a processor.
    pub(super) fn text(&self, emulated: bool) -> String {
        let mut text = String::new();
        for (name, value) in self.sizes() {
            writeln!(text, "#define {name} {value}").expect("a string takes all");
        }
        if emulated {
            text.push_str("#define EMULATED\n");
        }
        let of = match self.source() {
            Source::Rows => include_str!("source/rows.cu"),
            Source::Product => include_str!("source/product.cu"),
            Source::Attention => include_str!("source/attention.cu"),
        };
        let common = include_str!("source/card.cuh")
            .replace("#include \"emulated.h\"", include_str!("source/emulated.h"));
        let mut own = String::new();
        if !emulated {
            match *self {
                Self::Product { unit: Unit::Group, columns, .. } => own = multiply(columns),
                Self::Attention { unit: unit @ Unit::Group, width, .. } => {
                    own = multiply(keys_of(unit, width)) + &weigh(shown_of(width));
                }
                _ => {}
            }
        }
        text.push_str(&of.replace("#include \"card.cuh\"", &(common + &own)));
        text
    }
}

/// Queries of a block of attention.
pub(super) fn queries_of(width: usize) -> usize {
    if room_of(width) > 256 { 64 } else { 128 }
}

/// Keys that a block of attention sees at a time.
fn keys_of(unit: Unit, width: usize) -> usize {
    match (unit, room_of(width)) {
        (Unit::Group, _) => 128,
        (Unit::Warp, 385..) => 32,
        (Unit::Warp, _) => 64,
    }
}

/// The unit that attention of heads of this width uses, where there is this one. Nothing can be added
/// to what `wgmma` sums while more of it is on its way.
pub(super) fn unit_of_attention(unit: Unit, width: usize, bias: bool) -> Unit {
    if matches!(room_of(width), 64 | 128) && !bias { unit } else { Unit::Warp }
}

/// Bytes of a step of a product.
fn stage(columns: usize) -> usize {
    (128 + columns) * 2 * TERMS
}

/// Steps of a product that there is room for. Blocks that are not wide leave room for a second one.
fn stages(unit: Unit, columns: usize) -> usize {
    let room = match unit {
        Unit::Warp => 99 * 1024,
        Unit::Group if columns <= 128 => SHARED / 2,
        Unit::Group => SHARED,
    };
    (room / stage(columns)).clamp(3, 6)
}

/// `sums [64, columns] += a [64, 16] × b [columns, 16]`, by four warps: one instruction, with all
/// its registers by name.
fn multiply(columns: usize) -> String {
    let [registers, sums] = names(columns / 2);
    let count = columns / 2;
    format!(
        "template <int COUNT> DEVICE void multiply(float (&sums)[COUNT / 2], u64 a, u64 b) {{\n    \
         asm volatile(\"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16 \"\n        \
         \"{{{registers}}}, %{count}, %{}, 1, 1, 1, 0, 0;\"\n        \
         : {sums}\n        : \"l\"(a), \"l\"(b));\n}}\n",
        count + 1
    )
}

/// The same with `a` in registers, and columns of `b` for rows.
fn weigh(columns: usize) -> String {
    let [registers, sums] = names(columns / 2);
    let count = columns / 2;
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index| count + index);
    format!(
        "template <int COUNT>\nDEVICE void weigh(float (&sums)[COUNT / 2], const u32 (&a)[4], u64 b) {{\n    \
         asm volatile(\"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16 \"\n        \
         \"{{{registers}}}, {{%{a}, %{b}, %{c}, %{d}}}, %{e}, 1, 1, 1, 1;\"\n        \
         : {sums}\n        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"l\"(b));\n}}\n"
    )
}

/// Registers of an instruction, and the sums that they are.
fn names(count: usize) -> [String; 2] {
    let list = |name: &dyn Fn(usize) -> String| (0..count).map(name).collect::<Vec<_>>().join(", ");
    [list(&|index| format!("%{index}")), list(&|index| format!("\"+f\"(sums[{index}])"))]
}
