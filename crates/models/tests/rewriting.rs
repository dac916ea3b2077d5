//! Words that change inside a shot, over real networks: the caches are those of a shot that had its
//! chunks committed under the new words from the beginning.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod tiny;

use shotstream_engine::network::{
    Denoiser as _, Latents, Memory, NetworkError, StoryDenoiser as _, TextEncoder as _,
};
use shotstream_engine::rollout::{Border, ShotInput, rollout};
use shotstream_engine::schedule::{Schedule, clean_from_velocity, noisy_from_clean};
use shotstream_models::dit::{ContextCache, LocalCache, TextCache};
use shotstream_models::networks::{BurnDenoiser, BurnNetworks};
use shotstream_plan::geometry::LatentFrames;
use shotstream_plan::layout::ChunkLayout;
use shotstream_plan::plan::plan_shot;
use shotstream_plan::recipe::{Recipe, RecipeFile};
use shotstream_plan::timeline::Timeline;

use tiny::tiny_bundle;

/// Latents of one chunk, no two values alike.
fn latents(seed: usize) -> Latents {
    let shape = [3, 4, 2, 4];
    let count: usize = shape.iter().product();
    let value = |i: usize| ((seed * count + i) as f32 * 0.37).sin();
    Latents { shape, data: (0..count).map(value).collect() }
}

/// A network, two captions, and the context of a shot.
struct Scene {
    denoiser: BurnDenoiser,
    old: TextCache,
    new: TextCache,
    context: ContextCache,
}

impl Scene {
    fn new(recipe: &Recipe) -> Self {
        let BurnNetworks { denoiser, text, .. } = BurnNetworks::new(&tiny_bundle());
        let cache = |prompt| denoiser.cache_text(&text.embed(prompt).unwrap().embedding).unwrap();
        let (old, new) = (cache("a red cat"), cache("waves waves"));
        let shot = plan_shot(recipe, &Timeline::default(), recipe.shot_frames()).unwrap();
        let seen = Latents::concat(&[latents(9), latents(8)]).unwrap();
        let (slots, texts) = (&shot.context.slots, std::slice::from_ref(&old));
        let context = match recipe.context_frames() {
            0 => denoiser.empty_context(),
            _ => denoiser.encode_context(&denoiser.upload(&seen), slots, texts).unwrap(),
        };
        Self { denoiser, old, new, context }
    }

    /// A shot of which the words change after `after` chunks, or do not.
    fn roll(&self, chunks: &[ChunkLayout], after: Option<usize>) -> Vec<Latents> {
        let input = ShotInput { chunks, text: &self.old, context: &self.context };
        let schedule = Schedule::of(&Recipe::tiny());
        let mut made = Vec::new();
        let noise = |chunk, step| Ok(self.denoiser.upload(&latents(10 + 4 * chunk + step)));
        let emit = |_, clean: &_| {
            made.push(self.denoiser.download(clean));
            Ok(match after == Some(made.len()) {
                true => Border::Rewrite(self.new.clone()),
                false => Border::GoOn,
            })
        };
        rollout::<_, NetworkError>(&self.denoiser, &input, &schedule, noise, emit).unwrap();
        made
    }

    /// The local cache of `kept` chunks that are committed one after another under one caption,
    /// as far as the last chunk sees them.
    fn committed(
        &self,
        chunks: &[ChunkLayout],
        kept: &[usize],
        made: &[Latents],
        text: &TextCache,
    ) -> LocalCache {
        let mut local = self.denoiser.empty_local();
        for &chunk in kept {
            let (clean, slots) = (self.denoiser.upload(&made[chunk]), &chunks[chunk].slots);
            self.denoiser.commit(&clean, slots, text, &self.context, &mut local).unwrap();
        }
        let last = &chunks[chunks.len() - 1];
        self.denoiser.forget(&mut local, LatentFrames(last.sink.len()), last.past());
        local
    }

    /// The chunk that is made over a local cache, from the noise of [`Scene::roll`].
    fn next(&self, chunk: &ChunkLayout, local: &LocalCache) -> Latents {
        let schedule = Schedule::of(&Recipe::tiny());
        let mut noisy = self.denoiser.upload(&latents(10 + 4 * chunk.chunk));
        let memory = Memory { context: &self.context, local };
        for (step, at) in schedule.steps().iter().enumerate() {
            let slots = &chunk.slots;
            let velocity =
                self.denoiser.velocity(&noisy, at.timestep, slots, &self.new, memory).unwrap();
            let clean = clean_from_velocity(&noisy, &velocity, at.sigma);
            noisy = match schedule.steps().get(step + 1) {
                Some(next) => {
                    let noise = self.denoiser.upload(&latents(10 + 4 * chunk.chunk + step + 1));
                    noisy_from_clean(&clean, &noise, next.sigma)
                }
                None => clean,
            };
        }
        self.denoiser.download(&noisy)
    }
}

fn plan(recipe: &Recipe, chunks: usize) -> Vec<ChunkLayout> {
    let frames = recipe.geometry().shot_from_chunks(chunks);
    plan_shot(recipe, &Timeline::default(), frames).unwrap().chunks
}

/// The chunk behind the change equals, bit by bit, one over the kept chunks committed afresh.
fn check(recipe: &Recipe, chunks: usize, kept: &[usize]) {
    let scene = Scene::new(recipe);
    let layouts = plan(recipe, chunks);
    let last = &layouts[chunks - 1];
    let made = scene.roll(&layouts, Some(chunks - 1));
    let afresh = scene.committed(&layouts, kept, &made, &scene.new);
    assert_eq!(scene.next(last, &afresh), made[chunks - 1]);
    let plain = scene.roll(&layouts, None);
    assert_eq!(made[..chunks - 1], plain[..chunks - 1], "what was made stays as it was");
    let stale = scene.committed(&layouts, kept, &made, &scene.old);
    assert_ne!(scene.next(last, &stale), made[chunks - 1], "old words in the cache would show");
}

#[test]
fn after_new_words_the_caches_are_those_of_a_shot_that_had_them_from_the_beginning() {
    check(&Recipe::tiny(), 3, &[0, 1]);
}

#[test]
fn of_a_shot_that_outgrew_its_window_the_sink_and_the_window_are_committed_afresh() {
    let file = RecipeFile { sink_latent_frames: 3, context_frames: 0, ..Recipe::tiny().into() };
    // When the fourth chunk is finished, the first and the third are in the cache with it.
    check(&file.resolve().unwrap(), 5, &[0, 2, 3]);
}
