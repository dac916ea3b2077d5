//! What the taps of a kernel are in space: distances within a plane.
//!
//! | letter | means |
//! |---|---|
//! | `H`, `W` | height, width of a frame going in |
//! | `h`, `w` | height, width of a frame coming out |
//!
//! A frame is made in passes, one for every parity of its rows and columns where these differ.

use super::plane::Plane;

/// What happens to height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// As many positions out as in, a margin of zeros on all sides; sides of the kernel are odd.
    Same,
    /// Every second position, one row and column of zeros at the end; kernels of 3 x 3.
    Halve,
    /// Every position twice in both directions, then as [`Space::Same`]; kernels of 3 x 3.
    Double,
}

/// One parity of rows and columns and the taps it is made of.
#[derive(Debug)]
pub(super) struct Pass {
    /// Parity of the row and of the column.
    pub(super) parity: [usize; 2],
    pub(super) taps: Vec<Tap>,
}

/// One element of the other side a position is made of.
#[derive(Debug)]
pub(super) struct Tap {
    /// From the start of the channel, for the position zero.
    pub(super) offset: usize,
    /// The positions in the kernel whose weights are added to make the weight of this tap.
    pub(super) weights: Vec<usize>,
}

impl Space {
    pub(super) fn output_size(self, size: [usize; 2], side: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Same => assert!(side.iter().all(|side| side % 2 == 1), "a kernel has a centre"),
            Self::Halve | Self::Double => assert_eq!(side, [3, 3], "sides of the kernel"),
        }
        match self {
            Self::Same => size,
            Self::Halve => size.map(|side| {
                assert!(side % 2 == 0, "a frame of {size:?} cannot be halved");
                side / 2
            }),
            Self::Double => size.map(|side| 2 * side),
        }
    }

    /// The plane of frames going in.
    pub(super) fn input_plane(self, size: [usize; 2], side: [usize; 2]) -> Plane {
        let [rows, columns] = side;
        match self {
            Self::Same | Self::Double => {
                let margin = [rows / 2, columns / 2];
                Plane::new(size, 1, margin, margin)
            }
            Self::Halve => Plane::new(size, 2, [0, 0], [1, 1]),
        }
    }

    /// The plane of frames coming out; its rows have the pitch of those going in.
    pub(super) fn output_plane(self, size: [usize; 2], side: [usize; 2]) -> Plane {
        let size_out = self.output_size(size, side);
        match self {
            Self::Same => self.input_plane(size, side),
            Self::Halve => Plane::new(size_out, 1, [1, 1], [0, 0]),
            Self::Double => Plane::new(size_out, 2, [1, 1], [1, 1]),
        }
    }

    /// How outgoing frames are made of incoming ones.
    pub(super) fn forward(self, size: [usize; 2], side: [usize; 2]) -> Vec<Pass> {
        let plane = self.input_plane(size, side);
        match self {
            Self::Same => one_pass(side, |[row, column]| row * plane.pitch + column),
            Self::Halve => one_pass(side, |tap| {
                let [row, column] = tap.map(|tap| tap / 2);
                plane.parity(tap.map(|tap| tap % 2)) + row * plane.pitch + column
            }),
            Self::Double => parities()
                .map(|parity| {
                    let taps = parities().map(|near| {
                        let [row, column] = [parity[0] + near[0], parity[1] + near[1]];
                        Tap { offset: row * plane.pitch + column, weights: shared(parity, near) }
                    });
                    Pass { parity, taps: taps.collect() }
                })
                .collect(),
        }
    }

    /// How derivatives by incoming frames are made of those by outgoing ones.
    pub(super) fn backward(self, size: [usize; 2], side: [usize; 2]) -> Vec<Pass> {
        let plane = self.output_plane(size, side);
        let [rows, columns] = side;
        match self {
            Self::Same => one_pass(side, |[row, column]| {
                (rows - 1 - row) * plane.pitch + columns - 1 - column
            }),
            Self::Halve => parities()
                .map(|parity| {
                    let taps = kernel(side).filter(|tap| tap.map(|tap| tap % 2) == parity);
                    let taps = taps.map(|[row, column]| Tap {
                        offset: (1 - row / 2) * plane.pitch + 1 - column / 2,
                        weights: vec![row * columns + column],
                    });
                    Pass { parity, taps: taps.collect() }
                })
                .collect(),
            Self::Double => {
                let taps = parities().flat_map(|parity| {
                    parities().map(move |near| {
                        let row = 2 - parity[0] - near[0];
                        let column = 2 - parity[1] - near[1];
                        let offset = plane.parity(parity) + row * plane.pitch + column;
                        Tap { offset, weights: shared(parity, near) }
                    })
                });
                vec![Pass { parity: [0, 0], taps: taps.collect() }]
            }
        }
    }
}

/// A single pass over all taps of a kernel.
fn one_pass(side: [usize; 2], offset: impl Fn([usize; 2]) -> usize) -> Vec<Pass> {
    let [_, columns] = side;
    let taps = kernel(side).map(|[row, column]| Tap {
        offset: offset([row, column]),
        weights: vec![row * columns + column],
    });
    vec![Pass { parity: [0, 0], taps: taps.collect() }]
}

/// Rows and columns of a kernel.
fn kernel([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
}

/// Parities of rows and columns; equally, the first and the second of two neighbours.
fn parities() -> impl Iterator<Item = [usize; 2]> {
    kernel([2, 2])
}

/// The taps of a 3 x 3 kernel that meet the same position of a doubled frame, seen from a parity.
fn shared(parity: [usize; 2], near: [usize; 2]) -> Vec<usize> {
    let meet = |parity, near| match (parity, near) {
        (0, 0) => 0..1,
        (0, _) => 1..3,
        (_, 0) => 0..2,
        _ => 2..3,
    };
    let rows = meet(parity[0], near[0]);
    rows.flat_map(|row| meet(parity[1], near[1]).map(move |column| 3 * row + column)).collect()
}
