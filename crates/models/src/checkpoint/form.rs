//! How the values of a tensor are written down, and how they become f32.
//!
//! Most tensors are number after number. The files of llama.cpp also have rows of blocks in which
//! a few numbers share a scale: weights in a quarter of the space or less, which are computed with
//! like all others.
//!
//! Source of the blocks: the description of GGUF, and the structures that ggml writes.

use std::fmt;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Numbers that one thread unpacks at once.
const AT_ONCE: usize = 1 << 14;

/// How the values of a tensor are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Number after number.
    Plain(Dtype),
    /// Blocks of numbers with a common scale.
    Blocks(Block),
}

/// Blocks of llama.cpp. Every scale in them is an f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// 32 numbers: a scale, then a signed byte each.
    Q8_0,
    /// 32 numbers: a scale, then half a byte each, eight standing for zero.
    Q4_0,
    /// 256 numbers in eight parts: scale and offset of all, of every part, half a byte each.
    Q4K,
    /// As [`Self::Q4K`], with a fifth bit for every number.
    Q5K,
    /// 256 numbers in sixteen parts: six bits each, a signed scale for every part, a scale of all.
    Q6K,
}

/// Appends the values that some bytes stand for.
type Unpack = fn(&[u8], &mut Vec<f32>);

impl Form {
    /// Numbers and bytes of the smallest piece that can be read on its own; nothing where numbers
    /// are no whole bytes.
    pub(super) fn unit(self) -> Option<(usize, usize)> {
        match self {
            Self::Plain(dtype) => {
                dtype.bitsize().is_multiple_of(8).then(|| (1, dtype.bitsize() / 8))
            }
            Self::Blocks(block) => Some(block.unit()),
        }
    }

    /// Bytes of so many numbers; where there are more than can be counted, the most.
    pub(super) fn bytes(self, elements: usize) -> u64 {
        match (self, self.unit()) {
            (_, Some((numbers, bytes))) => {
                ((elements / numbers.max(1)) as u64).saturating_mul(bytes as u64)
            }
            (Self::Plain(dtype), None) => {
                (elements as u64).saturating_mul(dtype.bitsize() as u64) / 8
            }
            (Self::Blocks(_), None) => 0,
        }
    }

    /// Whether its values can become f32.
    pub(super) fn is_float(self) -> bool {
        !matches!(self, Self::Plain(dtype) if plain(dtype).is_none())
    }

    /// Append the values that whole units stand for; nothing where they are no floats.
    pub(super) fn unpack(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::Plain(dtype) => {
                if let Some(unpack) = plain(dtype) {
                    unpack(bytes, values);
                }
            }
            Self::Blocks(block) => {
                let (_, size) = block.unit();
                bytes.chunks_exact(size).for_each(|bytes| block.unpack(bytes, values));
            }
        }
    }

    /// The values that whole units stand for, with all threads.
    pub(super) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let (numbers, size) = self.unit().unwrap_or((1, 1));
        let (numbers, size) = (numbers.max(1), size.max(1));
        let units = (AT_ONCE / numbers).max(1);
        let mut values = vec![0.0; bytes.len() / size * numbers];
        let pieces = values.par_chunks_mut(units * numbers).zip(bytes.par_chunks(units * size));
        pieces.for_each_init(Vec::new, |unpacked, (values, bytes)| {
            unpacked.clear();
            self.unpack(bytes, unpacked);
            values.copy_from_slice(&unpacked[..values.len()]);
        });
        values
    }

    /// The dtype, where it is one of safetensors.
    pub(super) fn dtype(self) -> Option<Dtype> {
        match self {
            Self::Plain(dtype) => Some(dtype),
            Self::Blocks(_) => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => dtype.fmt(f),
            Self::Blocks(Block::Q8_0) => f.write_str("Q8_0"),
            Self::Blocks(Block::Q4_0) => f.write_str("Q4_0"),
            Self::Blocks(Block::Q4K) => f.write_str("Q4_K"),
            Self::Blocks(Block::Q5K) => f.write_str("Q5_K"),
            Self::Blocks(Block::Q6K) => f.write_str("Q6_K"),
        }
    }
}

impl Block {
    /// Numbers and bytes of a block.
    fn unit(self) -> (usize, usize) {
        match self {
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Append the numbers of one block.
    fn unpack(self, block: &[u8], values: &mut Vec<f32>) {
        let scale = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        match self {
            Self::Q8_0 => {
                let scale = scale(0);
                let numbers = block[2..].iter().map(|&byte| f32::from(byte.cast_signed()));
                values.extend(numbers.map(|number| number * scale));
            }
            Self::Q4_0 => {
                let scale = scale(0);
                let (low, high) = (block[2..].iter().map(|b| b & 15), block[2..].iter());
                let numbers = low.chain(high.map(|b| b >> 4));
                values.extend(numbers.map(|number| (f32::from(number) - 8.0) * scale));
            }
            Self::Q4K => {
                let (parts, bits) = (parts([scale(0), scale(2)], &block[4..16]), &block[16..]);
                values.extend(in_parts(bits, |_, _| 0).zip(parts.iter()).flat_map(part_values));
            }
            Self::Q5K => {
                let (parts, fifth) = (parts([scale(0), scale(2)], &block[4..16]), &block[16..48]);
                let fifth = |part: usize, at: usize| (fifth[at] >> part & 1) << 4;
                let bits = &block[48..];
                values.extend(in_parts(bits, fifth).zip(parts.iter()).flat_map(part_values));
            }
            Self::Q6K => six_bits(block, scale(208), values),
        }
    }
}

/// How values of one of the three float dtypes become f32.
fn plain(dtype: Dtype) -> Option<Unpack> {
    match dtype {
        Dtype::F32 => Some(|bytes, values| {
            values.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
        }),
        Dtype::F16 => Some(|bytes, values| {
            values.extend(bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
        }),
        Dtype::BF16 => Some(|bytes, values| {
            let halves = bytes.as_chunks::<2>().0.iter();
            values.extend(halves.map(|b| bf16::from_le_bytes(*b).to_f32()));
        }),
        _ => None,
    }
}

/// Scale and offset of the eight parts of a block: six bits each, packed into twelve bytes, the
/// upper two bits of the last four parts above the six of the first four.
fn parts([scale, offset]: [f32; 2], packed: &[u8]) -> [[f32; 2]; 8] {
    std::array::from_fn(|part| {
        let [factor, shift] = match part {
            0..4 => [packed[part] & 63, packed[part + 4] & 63],
            _ => {
                let (low, upper) = (packed[part + 4], [packed[part - 4], packed[part]]);
                [low & 15 | upper[0] >> 6 << 4, low >> 4 | upper[1] >> 6 << 4]
            }
        };
        [scale * f32::from(factor), offset * f32::from(shift)]
    })
}

/// The numbers of every part of a block of half bytes: two parts share 32 bytes, the first has the
/// lower halves. `more` adds the bits that are kept elsewhere, by part and place.
fn in_parts(bits: &[u8], more: impl Fn(usize, usize) -> u8) -> impl Iterator<Item = [u8; 32]> {
    (0..8).map(move |part| {
        let bytes = &bits[part / 2 * 32..];
        std::array::from_fn(|at| (bytes[at] >> (part % 2 * 4) & 15) | more(part, at))
    })
}

fn part_values((numbers, &[scale, offset]): ([u8; 32], &[f32; 2])) -> [f32; 32] {
    numbers.map(|number| scale * f32::from(number) - offset)
}

/// The numbers of a block of six bits each: four bits in 128 bytes, two in 64, scales in 16.
fn six_bits(block: &[u8], scale: f32, values: &mut Vec<f32>) {
    for half in 0..2 {
        let (low, high) = (&block[half * 64..], &block[128 + half * 32..]);
        let scales = &block[192 + half * 8..];
        for part in 0..4 {
            for at in 0..32 {
                let low = low[part % 2 * 32 + at] >> (part / 2 * 4) & 15;
                let high = high[at] >> (part * 2) & 3;
                let factor = f32::from(scales[part * 2 + at / 16].cast_signed());
                values.push(scale * factor * (f32::from(low | high << 4) - 32.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(form: Form, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::new();
        form.unpack(bytes, &mut values);
        values
    }

    #[test]
    fn a_block_of_half_bytes_is_its_lower_halves_and_then_its_upper_ones() {
        let scale = f16::from_f32(0.5).to_le_bytes();
        let bytes: Vec<u8> =
            scale.into_iter().chain((0..16).map(|at| at | (15 - at) << 4)).collect();
        let found = values(Form::Blocks(Block::Q4_0), &bytes);
        let expected: Vec<_> =
            (0..16).chain((0..16).rev()).map(|q| (q as f32 - 8.0) / 2.0).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_form_counts_the_bytes_it_reads() {
        for (form, elements) in [
            (Form::Plain(Dtype::BF16), 256),
            (Form::Blocks(Block::Q8_0), 256),
            (Form::Blocks(Block::Q4_0), 256),
            (Form::Blocks(Block::Q4K), 512),
            (Form::Blocks(Block::Q5K), 512),
            (Form::Blocks(Block::Q6K), 512),
        ] {
            let bytes = vec![1; form.bytes(elements) as usize];
            let one_by_one = values(form, &bytes);
            assert_eq!(one_by_one.len(), elements, "{form}");
            let many = bytes.repeat(100);
            assert!(form.values(&many) == one_by_one.repeat(100), "{form}");
        }
    }
}
