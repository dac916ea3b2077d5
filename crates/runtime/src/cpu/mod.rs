//! Kernels on the CPU: lists run in tasks on the threads there are, with the widest vectors.

mod attention;
mod floats;
mod halves;
mod math;
mod matrix;
mod page;
mod product;
mod queries;
mod rows;
mod softmax;
mod task;
mod tile;
mod winograd;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use self::{floats::Floats, halves::Multiply, matrix::Form, task::Task};
use crate::kernels::{
    DeviceError, Keeping, Kernels, Meets, PageShape, Precision, Section, Sight, Step,
};

pub use self::{matrix::Matrix, page::Page};

/// The vectors of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vectors {
    /// Values of one.
    lanes: usize,
    /// Most of them in a panel.
    most: usize,
    /// Rows of a tile of so many.
    rows: usize,
    /// Most of them in a panel for the tallest tiles.
    most_of_tall: usize,
}

/// The processor this runs on.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    arch: Arch,
    vectors: Vectors,
    multiply: Multiply,
    keeping: Keeping,
}

impl Cpu {
    /// With the widest vectors there are.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Arch::new())
    }

    /// The same in another precision. bf16 is multiplied by instructions of its own where there are
    /// any, and widened to f32 on the way elsewhere.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        let multiply = match precision {
            Precision::F32 => Multiply::Singles,
            Precision::Bf16 => self.halves(),
        };
        Self { multiply, ..self }
    }

    /// The same with the weights that tokens meet kept in another way. Bytes are widened panel by
    /// panel, as products need them.
    #[must_use]
    pub fn keep(self, keeping: Keeping) -> Self {
        Self { keeping, ..self }
    }

    /// How this processor multiplies bf16.
    fn halves(self) -> Multiply {
        #[cfg(target_arch = "x86_64")]
        if matches!(self.arch, Arch::V4(_)) && is_x86_feature_detected!("avx512bf16") {
            return Multiply::Pairs;
        }
        Multiply::Widened
    }

    /// With every kind of vectors that this processor has, the portable kind first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut kinds = vec![Self::on(Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            kinds.push(Self::on(Arch::V3(simd)));
        }
        let widest = Self::new();
        if kinds.iter().all(|kind| kind.vectors != widest.vectors) {
            kinds.push(widest);
        }
        kinds
    }

    fn on(arch: Arch) -> Self {
        struct Find;
        impl WithSimd for Find {
            type Output = Vectors;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Vectors {
                Vectors {
                    lanes: S::F32_LANES,
                    most: tile::vectors::<S>(),
                    rows: tile::rows::<S>(tile::vectors::<S>()),
                    most_of_tall: tile::vectors_of_tall::<S>(),
                }
            }
        }
        let vectors = arch.dispatch(Find);
        Self { arch, vectors, multiply: Multiply::Singles, keeping: Keeping::Whole }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Tokens of a task at most: what it reads and makes should stay in the second-level cache.
const MOST_TOKENS: usize = 192;

/// Tasks for every thread where positions are pixels.
const TASKS: usize = 4;

/// Rows of a strip of squares.
const STRIP: usize = 2;

/// Lines (rows of columns) of a task: as many as the threads call for, whatever comes out being
/// the same. Pixels come in whole strips, tokens in the lowest of full tiles.
fn lines(section: &Section, threads: usize, rows_of_tile: usize) -> usize {
    let [frames, rows, columns] = section.size;
    let all = frames * rows;
    if columns > 1 {
        return all.div_ceil(threads * TASKS).max(1).next_multiple_of(STRIP);
    }
    all.div_ceil(threads).next_multiple_of(rows_of_tile).min(MOST_TOKENS)
}

/// The memory of a pass.
#[derive(Debug)]
pub struct Memory {
    values: Floats,
    /// What threads need while they work.
    scratch: Floats,
}

impl Memory {
    /// Room for each of the threads to run a list in; the first run makes it. Its places for one.
    fn make_scratch(&mut self, list: &[Section], matrices: &[Matrix], threads: usize) -> usize {
        let steps = list.iter().flat_map(|section| &section.steps);
        let places = steps.filter_map(|step| match step {
            Step::Product(product) => {
                let matrix = &matrices[product.matrix];
                Some(winograd::scratch(matrix).max(product::scratch(matrix)))
            }
            Step::Attention { heads, .. } => Some(attention::scratch(heads.width)),
            _ => None,
        });
        let most = places.max().unwrap_or(0);
        if self.scratch.as_slice().len() < threads * most {
            self.scratch = Floats::zeros(threads * most);
        }
        most
    }
}

impl Kernels for Cpu {
    type Matrix = Matrix;
    type Memory = Memory;
    type Page = Page;

    fn precision(&self) -> Precision {
        self.multiply.precision()
    }

    fn keeping(&self) -> Keeping {
        self.keeping
    }

    fn most_width(&self) -> usize {
        attention::MOST_WIDTH
    }

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(*self)
    }

    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn matrix(&self, weight: &[f32], offset: &[f32], meets: Meets) -> Result<Matrix, DeviceError> {
        let form = Form { meets, precision: self.precision(), keeping: self.keeping };
        Ok(Matrix::new(weight, offset, form, self.vectors))
    }

    fn memory(&self, len: usize) -> Result<Memory, DeviceError> {
        Ok(Memory { values: Floats::zeros(len), scratch: Floats::zeros(0) })
    }

    fn upload(&self, memory: &mut Memory, start: usize, values: &[f32]) -> Result<(), DeviceError> {
        memory.values.as_mut_slice()[start..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn download(
        &self,
        memory: &Memory,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<(), DeviceError> {
        to.copy_from_slice(&memory.values.as_slice()[range]);
        Ok(())
    }

    fn shift(&self, memory: &mut Memory, from: Range<usize>, to: usize) -> Result<(), DeviceError> {
        memory.values.as_mut_slice().copy_within(from, to);
        Ok(())
    }

    fn clear(&self, memory: &mut Memory, range: Range<usize>) -> Result<(), DeviceError> {
        memory.values.as_mut_slice()[range].fill(0.0);
        Ok(())
    }

    fn page(&self, shape: PageShape) -> Result<Page, DeviceError> {
        Ok(Page::new(shape, self.precision(), self.vectors))
    }

    fn run(
        &self,
        list: &[Section],
        matrices: &[Matrix],
        memory: &mut Memory,
        sight: Sight<'_, Page>,
    ) -> Result<(), DeviceError> {
        let threads = rayon::current_num_threads();
        let places = memory.make_scratch(list, matrices, threads);
        let (sight, cells, scratch) = (&sight, memory.values.cells(), memory.scratch.cells());
        for section in list {
            let [frames, rows, _] = section.size;
            let squares = section.steps.iter().any(
                |step| matches!(step, Step::Product(product) if matrices[product.matrix].squares()),
            );
            let strip = if squares { STRIP } else { rows };
            let (all, each) = (frames * rows, lines(section, threads, self.vectors.rows));
            let task = |index: usize| {
                let lines = index * each..all.min((index + 1) * each);
                let multiply = self.multiply;
                // A thread runs one task of this list at a time.
                let scratch = scratch.from(places * rayon::current_thread_index().unwrap_or(0));
                let task =
                    Task { section, matrices, cells, scratch, sight, strip, lines, multiply };
                self.arch.dispatch(task);
            };
            match all.div_ceil(each) {
                1 => task(0),
                tasks => (0..tasks).into_par_iter().with_max_len(1).for_each(task),
            }
        }
        Ok(())
    }
}
