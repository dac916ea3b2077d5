//! Random damage to bytes, for tests of whatever reads bytes from elsewhere.
//!
//! `FUZZ_INPUTS=10000000 cargo test fuzz` tries that many inputs on every reader; without it, as
//! many as take a moment. An input's number is all that decides what it is.

/// Inputs for every reader, where nothing else is said.
const INPUTS: u64 = 5_000;

/// How many inputs a test should try.
///
/// # Panics
/// When `FUZZ_INPUTS` is no number.
pub fn inputs() -> u64 {
    let asked = std::env::var("FUZZ_INPUTS").ok();
    asked.map_or(INPUTS, |asked| asked.parse().expect("FUZZ_INPUTS is a number"))
}

/// Random numbers of one input (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of the input with this number.
    pub const fn of(input: u64) -> Self {
        Self(input << 20)
    }

    /// The next number below `end`; 0 where nothing is below.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

/// Bytes that are often at the edge of something.
const EDGES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'.', b'R', b'9', b'"', b'{', b'\\', b'\n'];

/// Some bytes with up to eight changes, all of them before `end`.
pub fn damaged(whole: &[u8], end: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + dice.below(8) {
        let place = dice.below(end.min(bytes.len()));
        match dice.below(8) {
            0 => bytes.truncate(dice.below(bytes.len())),
            1 => bytes.insert(place, dice.below(256) as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(place)),
            3 => {
                let length = dice.below(16).min(bytes.len() - place.min(bytes.len()));
                let from = dice.below(bytes.len() + 1 - length);
                bytes.copy_within(from..from + length, place);
            }
            4 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1),
            5 => bytes.iter_mut().skip(place).take(4).for_each(|byte| *byte = 0xff),
            6 => {
                let edge = EDGES[dice.below(EDGES.len())];
                bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = edge);
            }
            _ => {
                let value = dice.below(256) as u8;
                bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = value);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
