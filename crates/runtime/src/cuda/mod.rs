//! Kernels on an NVIDIA card: every step of a list is one launch of a program.
//!
//! [`plan`] says what is launched, and with what, without touching a card; [`Card`] is what carries
//! it out: [`Driver`] a card there is, [`Emulated`] a processor that runs the very same programs,
//! slowly, for tests and for machines without a card. Sums are f32, what is multiplied is bf16.
//!
//! The programs lie in `source/`, as text: they are compiled when they are first needed, for the
//! card and the sizes at hand, and kept on disk.

mod argument;
mod card;
mod compile;
mod driver;
mod dry;
mod emulated;
mod plan;
mod program;

use std::{ops::Range, sync::Arc};

use self::{
    argument::{Entry, Range as Group},
    card::Room,
    plan::Sources,
};
use crate::kernels::{
    DeviceError, Keeping, Kernels, Meets, PageShape, Precision, Section, Sight, rounded,
};

pub use self::{
    card::Card,
    compile::{Compiled, Compiler, Resources},
    driver::Driver,
    dry::Dry,
    emulated::Emulated,
    plan::{Launch, Work},
    program::{Program, Unit},
};

/// An NVIDIA card. Clones share its order of work.
#[derive(Debug)]
pub struct Cuda<C: Card> {
    card: Arc<C>,
    unit: Unit,
}

impl<C: Card> Clone for Cuda<C> {
    fn clone(&self) -> Self {
        Self { card: self.card.clone(), unit: self.unit }
    }
}

impl Cuda<Driver> {
    /// The card of this number, the first one being 0.
    ///
    /// # Errors
    /// When there is no card, no driver or no compiler for its programs, or the card is too old.
    pub fn open(number: u32) -> Result<Self, DeviceError> {
        let card = Arc::new(Driver::open(number)?);
        let unit = card.unit();
        Ok(Self { card, unit })
    }
}

impl<C: Card> Cuda<C> {
    /// Programs for this unit of matrices on a card that was opened before.
    pub fn on(card: Arc<C>, unit: Unit) -> Self {
        Self { card, unit }
    }

    /// The card.
    pub fn card(&self) -> &C {
        &self.card
    }

    fn room(&self, bytes: usize) -> Result<Room<C>, DeviceError> {
        Room::new(&self.card, bytes)
    }
}

/// A matrix of weights: `[N, K]` in bf16, rows of whole steps, and offsets.
#[derive(Debug)]
pub struct Matrix<C: Card> {
    weights: Room<C>,
    offset: Room<C>,
    /// `N`.
    columns: usize,
    /// Halves of a row that mean something.
    terms: usize,
}

/// The memory of a pass, the table of the pages that it sees, and the lists that it is for.
#[derive(Debug)]
pub struct Memory<C: Card> {
    values: Room<C>,
    table: Table<C>,
    lists: Vec<List<C>>,
}

/// A list that was run on a memory. Lists live as long as the memories they are run on.
#[derive(Debug)]
struct List<C: Card> {
    /// Where the list begins, and where the table was.
    key: (usize, u64),
    /// From the second time on.
    graph: Option<C::Graph>,
}

/// Where pages are, as programs read it.
#[derive(Debug)]
struct Table<C: Card> {
    room: Option<Room<C>>,
    /// What stands there.
    bytes: Vec<u8>,
    next: Vec<u8>,
}

/// Keys, then values, of every layer: a row for every token, heads beside each other, each rounded
/// up to whole steps.
#[derive(Debug)]
pub struct Page<C: Card> {
    values: Room<C>,
    tokens: usize,
}

impl<C: Card> Kernels for Cuda<C> {
    type Matrix = Matrix<C>;
    type Memory = Memory<C>;
    type Page = Page<C>;

    fn precision(&self) -> Precision {
        Precision::Bf16
    }

    fn keeping(&self) -> Keeping {
        Keeping::Whole
    }

    fn most_width(&self) -> usize {
        program::MOST_WIDTH
    }

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(Self { card: Arc::new(self.card.beside()?), unit: self.unit })
    }

    fn finish(&self) -> Result<(), DeviceError> {
        self.card.finish()
    }

    fn matrix(
        &self,
        weight: &[f32],
        offset: &[f32],
        meets: Meets,
    ) -> Result<Matrix<C>, DeviceError> {
        let (columns, channels) = (offset.len(), meets.channels().max(1));
        let of_row = weight.len() / columns.max(1);
        let terms = of_row / channels * 2 * Precision::Bf16.places(channels);
        let pitch = terms.next_multiple_of(program::TERMS);
        let mut halves = vec![0u16; columns * pitch];
        for (row, to) in weight.chunks_exact(of_row.max(1)).zip(halves.chunks_exact_mut(pitch)) {
            let each = 2 * Precision::Bf16.places(channels);
            for (values, to) in row.chunks_exact(channels).zip(to.chunks_exact_mut(each)) {
                values.iter().zip(to).for_each(|(&value, to)| *to = rounded(value));
            }
        }
        let weights = self.room(2 * halves.len())?;
        weights.write(0, bytes_of(&halves))?;
        let room = self.room(size_of_val(offset))?;
        room.write(0, bytes_of(offset))?;
        Ok(Matrix { weights, offset: room, columns, terms })
    }

    fn memory(&self, len: usize) -> Result<Memory<C>, DeviceError> {
        let values = self.room(4 * len)?;
        values.zero(0..4 * len)?;
        let table = Table { room: None, bytes: Vec::new(), next: Vec::new() };
        Ok(Memory { values, table, lists: Vec::new() })
    }

    fn upload(
        &self,
        memory: &mut Memory<C>,
        start: usize,
        values: &[f32],
    ) -> Result<(), DeviceError> {
        memory.values.write(4 * start, bytes_of(values))
    }

    fn download(
        &self,
        memory: &Memory<C>,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<(), DeviceError> {
        debug_assert_eq!(range.len(), to.len(), "as many values as places");
        memory.values.read(4 * range.start, bytes_of_mut(to))
    }

    fn shift(
        &self,
        memory: &mut Memory<C>,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), DeviceError> {
        memory.values.shift(4 * from.start..4 * from.end, 4 * to)
    }

    fn clear(&self, memory: &mut Memory<C>, range: Range<usize>) -> Result<(), DeviceError> {
        memory.values.zero(4 * range.start..4 * range.end)
    }

    fn page(&self, shape: PageShape) -> Result<Page<C>, DeviceError> {
        let PageShape { tokens, layers, heads, width } = shape;
        let bytes = 2 * layers * 2 * tokens * heads * program::room_of(width);
        let values = self.room(bytes)?;
        values.zero(0..bytes)?;
        Ok(Page { values, tokens })
    }

    fn run(
        &self,
        list: &[Section],
        matrices: &[Matrix<C>],
        memory: &mut Memory<C>,
        sight: Sight<'_, Page<C>>,
    ) -> Result<(), DeviceError> {
        let frames = list.iter().map(|section| section.size[0]).max().unwrap_or(0);
        let table = memory.table.show(&self.card, &sight, frames)?;
        let tokens = |pages: &[Arc<Page<C>>]| pages.iter().map(|page| page.tokens).sum::<usize>();
        let first = |pages: &[Arc<Page<C>>]| pages.first().map_or(0, |page| page.tokens);
        let all = sight.past.into_iter().map(tokens).sum::<usize>() + tokens(sight.own);
        let keys = [all, first(sight.own), first(sight.captions)];
        let start = memory.values.start();
        let sources = Sources { memory: start, table, frames, keys, unit: self.unit };
        let key = (list.as_ptr() as usize, table);
        let launches = || self.launches(&sources, list, matrices);
        let Some(known) = memory.lists.iter_mut().find(|known| known.key == key) else {
            memory.lists.push(List { key, graph: None });
            return launches()?.iter().try_for_each(|launch| self.card.launch(launch));
        };
        if known.graph.is_none() {
            known.graph = Some(self.card.record(launches()?)?);
        }
        known.graph.iter().try_for_each(|graph| self.card.repeat(graph))
    }
}

impl<C: Card> Cuda<C> {
    /// What every step of a list launches.
    fn launches(
        &self,
        sources: &Sources,
        list: &[Section],
        matrices: &[Matrix<C>],
    ) -> Result<Vec<Launch>, DeviceError> {
        let weights = |index: usize| {
            let Matrix { weights, offset, columns, terms } = &matrices[index];
            plan::Weights {
                weights: weights.start(),
                offset: offset.start(),
                columns: *columns,
                terms: *terms,
            }
        };
        let steps = list.iter().flat_map(|section| {
            section.steps.iter().map(|step| sources.launch(section.size, step, weights))
        });
        steps.collect()
    }
}

impl<C: Card> Table<C> {
    /// Write the groups of all pages, of every frame's own, and of every frame's caption, then the
    /// pages; where it all begins.
    fn show(
        &mut self,
        card: &Arc<C>,
        sight: &Sight<'_, Page<C>>,
        frames: usize,
    ) -> Result<u64, DeviceError> {
        let Sight { past: [earlier, local], own, captions, caption_of } = *sight;
        let pages = || earlier.iter().chain(local).chain(own).chain(captions);
        let before = earlier.len() + local.len();
        let seen = before + own.len();
        self.next.clear();
        let mut group = |first: usize, count: usize| {
            let group = Group { first: first as u32, count: count as u32 };
            self.next.extend_from_slice(bytes_of(std::slice::from_ref(&group)));
        };
        group(0, seen);
        (0..frames).for_each(|frame| group(before + frame, 1));
        let caption = |frame: usize| caption_of.get(frame).copied().unwrap_or(0);
        (0..frames).for_each(|frame| group(seen + caption(frame), 1));
        for page in pages() {
            let entry = Entry { page: page.values.start(), tokens: page.tokens as u64 };
            self.next.extend_from_slice(bytes_of(std::slice::from_ref(&entry)));
        }
        let room = match &mut self.room {
            Some(room) if room.len() >= self.next.len() => room,
            room => {
                self.bytes.clear();
                // Room for some more, so that a growing story does not move it every time.
                room.insert(Room::new(card, 2 * self.next.len())?)
            }
        };
        if self.next != self.bytes {
            room.write(0, &self.next)?;
            std::mem::swap(&mut self.next, &mut self.bytes);
        }
        Ok(room.start())
    }
}

/// What can be read byte by byte.
trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for u16 {}
impl Plain for Group {}
impl Plain for Entry {}

fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    #[expect(unsafe_code, reason = "values go to another memory byte by byte")]
    // SAFETY: plain values have no bytes that were never written, and bytes need no alignment.
    unsafe {
        std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values))
    }
}

fn bytes_of_mut(values: &mut [f32]) -> &mut [u8] {
    #[expect(unsafe_code, reason = "values come from another memory byte by byte")]
    // SAFETY: any bytes make an f32, and bytes need no alignment.
    unsafe {
        std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values))
    }
}
