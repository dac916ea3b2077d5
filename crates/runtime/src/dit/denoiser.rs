//! The engine's view of the transformer.

use std::sync::Arc;

use shotstream_engine::network::{Denoiser, Latents, Memory, NetworkError, StoryDenoiser};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};

use super::{Cache, Dit, Embedding, TextCache, Workspace, angles, lists::Lists};
use crate::{
    check,
    kernels::{DeviceError, Kernels, Sight},
};

/// What a pass is run on.
struct Asked<'a, K: Kernels> {
    latents: &'a Latents,
    timestep: f32,
    slots: &'a [FrameSlot],
    texts: &'a [TextCache<K>],
    /// Whether slots say which of the texts is theirs; otherwise all have the first.
    several: bool,
    past: [&'a [Arc<K::Page>]; 2],
}

impl<K: Kernels> Asked<'_, K> {
    /// Which text every frame has.
    fn captions(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().map(|slot| if self.several { slot.caption } else { 0 })
    }
}

impl<K: Kernels> Dit<K> {
    /// The lists of a pass that can be run.
    fn checked(
        &self,
        what: &'static str,
        asked: &Asked<'_, K>,
    ) -> Result<Arc<Lists<K>>, NetworkError> {
        let found = asked.latents.shape;
        let [frames, _, height, width] = found;
        let ([p, q], [channels, _]) = (self.sizes.patch, self.sizes.channels);
        let whole = |size: usize, patch: usize| size.max(1).next_multiple_of(patch);
        let expected = [frames.max(1), channels, whole(height, p), whole(width, q)];
        check(what, &expected, &found)?;
        let values = found.iter().product();
        check("the values of latents", &[values], &[asked.latents.data.len()])?;
        check("the slots of a pass", &[frames], &[asked.slots.len()])?;
        let captions = asked.texts.len();
        let needed = asked.captions().max().map_or(1, |caption| caption + 1);
        check("the captions of a pass", &[needed.max(captions)], &[captions])?;
        Ok(self.lists(frames, [height / p, width / q]))
    }

    /// Memory with what a pass reads in its place.
    fn prepare(
        &self,
        lists: &Lists<K>,
        asked: &Asked<'_, K>,
        space: &mut Workspace<K>,
    ) -> Result<(), DeviceError> {
        let [frames, _, height, width] = asked.latents.shape;
        let [p, q] = self.sizes.patch;
        let grid = [height / p, width / q];
        if space.slots != asked.slots {
            let len = frames * grid[0] * grid[1] * self.sizes.heads().width;
            space.table.resize(len, 0.0);
            angles::rotation(&self.sizes, asked.slots, grid, &mut space.table);
            self.kernels.upload(&mut space.memory, lists.rotation, &space.table)?;
            if let Some(start) = lists.shots {
                let dim = self.sizes.dim;
                let most = self.sizes.shot_embeddings - 1;
                for (frame, slot) in asked.slots.iter().enumerate() {
                    let row = (slot.phase as usize).min(most) * dim;
                    let vector = &self.shots[row..row + dim];
                    self.kernels.upload(&mut space.memory, start + frame * dim, vector)?;
                }
            }
            space.slots.clear();
            space.slots.extend_from_slice(asked.slots);
        }
        if space.timestep != Some(asked.timestep) {
            let timestep = asked.timestep;
            let make = || self.modulation(timestep);
            let values = self.time.known.get(timestep.to_bits(), make);
            self.kernels.upload(&mut space.memory, lists.modulation, &values)?;
            space.timestep = Some(asked.timestep);
        }
        space.captions.clear();
        space.captions.extend(asked.captions());
        patches(asked.latents, self.sizes.patch, &mut space.rows);
        self.kernels.upload(&mut space.memory, lists.input, &space.rows)
    }

    /// A workspace of lists.
    fn workspace(&self, lists: &Lists<K>) -> Result<Workspace<K>, DeviceError> {
        let mut memory = self.kernels.memory(lists.plan.len())?;
        self.kernels.upload(&mut memory, 0, lists.plan.constants())?;
        Ok(Workspace {
            memory,
            own: Vec::new(),
            rows: Vec::new(),
            table: Vec::new(),
            timestep: None,
            slots: Vec::new(),
            captions: Vec::new(),
        })
    }

    /// A page of a frame of these latents.
    fn page(&self, lists: &Lists<K>, latents: &Latents) -> Result<Arc<K::Page>, DeviceError> {
        let [_, _, height, width] = latents.shape;
        let [p, q] = self.sizes.patch;
        let shape = self.sizes.page(height / p * (width / q));
        lists.shelves.pages.take(|| self.kernels.page(shape).map(Arc::new))
    }

    /// Run a list; where it predicts, the rows that come out are left in the workspace.
    fn run(
        &self,
        lists: &Lists<K>,
        asked: &Asked<'_, K>,
        space: &mut Workspace<K>,
        predicts: bool,
    ) -> Result<(), DeviceError> {
        self.prepare(lists, asked, space)?;
        while space.own.len() < asked.slots.len() {
            space.own.push(self.page(lists, asked.latents)?);
        }
        let list = if predicts { &lists.predict } else { &lists.fill };
        let Workspace { memory, own, captions, .. } = space;
        let sight = Sight { past: asked.past, own, captions: asked.texts, caption_of: captions };
        rayon::scope(|_| self.kernels.run(list, &self.matrices.packed, memory, sight))?;
        if predicts {
            let [_, to] = self.sizes.channels;
            let [p, q] = self.sizes.patch;
            let [frames, _, height, width] = asked.latents.shape;
            let len = frames * to * height * width;
            debug_assert!(len.is_multiple_of(p * q), "whole patches");
            space.rows.resize(len, 0.0);
            let output = lists.output..lists.output + len;
            self.kernels.download(&space.memory, output, &mut space.rows)?;
        }
        Ok(())
    }
}

/// Latents `[F, C, h, w]` to rows of patches, `[F × h/p × w/q, C·p·q]`.
fn patches(latents: &Latents, [p, q]: [usize; 2], rows: &mut Vec<f32>) {
    let [frames, channels, height, width] = latents.shape;
    rows.resize(latents.data.len(), 0.0);
    let mut row = rows.chunks_exact_mut(q);
    for frame in 0..frames {
        for top in (0..height).step_by(p) {
            for left in (0..width).step_by(q) {
                for channel in 0..channels {
                    for line in 0..p {
                        let start = ((frame * channels + channel) * height + top + line) * width;
                        let values = &latents.data[start + left..][..q];
                        row.next().into_iter().for_each(|row| row.copy_from_slice(values));
                    }
                }
            }
        }
    }
}

/// Rows of patches, `[F × h/p × w/q, p·q·C]`, channel fastest, to latents `[F, C, h, w]`.
fn unpatched(rows: &[f32], shape: [usize; 4], [p, q]: [usize; 2]) -> Latents {
    let [_, channels, height, width] = shape;
    let mut data = vec![0.0; shape.iter().product()];
    let frame = channels * height * width;
    for (frame, rows) in data.chunks_exact_mut(frame).zip(rows.chunks_exact(frame)) {
        let tokens = rows.chunks_exact(p * q * channels).enumerate();
        for (token, row) in tokens {
            let (top, left) = (token / (width / q) * p, token % (width / q) * q);
            for (at, pixel) in row.chunks_exact(channels).enumerate() {
                let place = (top + at / q) * width + left + at % q;
                for (channel, &value) in pixel.iter().enumerate() {
                    frame[channel * height * width + place] = value;
                }
            }
        }
    }
    Latents { shape, data }
}

impl<K: Kernels> Denoiser for Dit<K> {
    type Latents = Latents;
    type TextCache = TextCache<K>;
    type ContextCache = Cache<K>;
    type LocalCache = Cache<K>;

    fn empty_local(&self) -> Cache<K> {
        Cache::empty()
    }

    fn forget(&self, local: &mut Cache<K>, sink: LatentFrames, latents: LatentFrames) {
        local.keep(sink.0, latents.0);
    }

    fn velocity(
        &self,
        noisy: &Latents,
        timestep: f32,
        slots: &[FrameSlot],
        text: &TextCache<K>,
        memory: Memory<'_, Cache<K>, Cache<K>>,
    ) -> Result<Latents, NetworkError> {
        let past = [&memory.context.pages[..], &memory.local.pages[..]];
        let texts = std::slice::from_ref(text);
        let asked = Asked { latents: noisy, timestep, slots, texts, several: false, past };
        let lists = self.checked("noisy latents", &asked)?;
        let mut space = lists.shelves.workspaces.borrow(|| self.workspace(&lists))?;
        self.run(&lists, &asked, &mut space, true)?;
        let [frames, _, height, width] = noisy.shape;
        let [_, channels] = self.sizes.channels;
        Ok(unpatched(&space.rows, [frames, channels, height, width], self.sizes.patch))
    }

    fn commit(
        &self,
        clean: &Latents,
        slots: &[FrameSlot],
        text: &TextCache<K>,
        context: &Cache<K>,
        local: &mut Cache<K>,
    ) -> Result<(), NetworkError> {
        let past = [&context.pages[..], &local.pages[..]];
        let texts = std::slice::from_ref(text);
        let asked = Asked { latents: clean, timestep: 0.0, slots, texts, several: false, past };
        let lists = self.checked("clean latents", &asked)?;
        let mut space = lists.shelves.workspaces.borrow(|| self.workspace(&lists))?;
        self.run(&lists, &asked, &mut space, false)?;
        local.pages.append(&mut space.own);
        local.shelf.get_or_insert_with(|| lists.shelves.pages.clone());
        Ok(())
    }
}

impl<K: Kernels> StoryDenoiser for Dit<K> {
    type Embedding = Embedding;

    fn upload(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn download(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn cache_text(&self, embedding: &Embedding) -> Result<TextCache<K>, NetworkError> {
        let Embedding { tokens, values } = embedding;
        check("an embedding", &[tokens * self.sizes.text_dim], &[values.len()])?;
        Ok(self.read(embedding)?)
    }

    fn empty_context(&self) -> Cache<K> {
        Cache::empty()
    }

    fn encode_context(
        &self,
        context: &Latents,
        slots: &[FrameSlot],
        texts: &[TextCache<K>],
    ) -> Result<Cache<K>, NetworkError> {
        let mut cache = Cache::empty();
        let past = [&[][..], &[][..]];
        let asked = Asked { latents: context, timestep: 0.0, slots, texts, several: true, past };
        let lists = self.checked("context latents", &asked)?;
        let mut space = lists.shelves.workspaces.borrow(|| self.workspace(&lists))?;
        self.run(&lists, &asked, &mut space, false)?;
        cache.pages.append(&mut space.own);
        cache.shelf = Some(lists.shelves.pages.clone());
        Ok(cache)
    }
}
