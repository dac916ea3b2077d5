//! The card's programs against the processor's kernels: whole networks, on a card that is emulated.

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Latents, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use shotstream_runtime::{
    cpu::Cpu,
    cuda::{Cuda, Dry, Emulated, Unit},
    dit::{self, Dit, Embedding},
    kernels::{Kernels, Precision},
    text, vae,
    weights::Invented,
};

use std::sync::Arc;

/// Numbers around zero, no two alike.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7 + seed * 13 + 1) as f32 * 0.377).sin()).collect()
}

fn latents(shape: [usize; 4], seed: usize) -> Latents {
    Latents { shape, data: numbers(shape.iter().product(), seed) }
}

/// Root mean square of the difference, over that of the values.
fn differs(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "as many values of both");
    let squares =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
    let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (difference / squares(&mut a.iter().copied())).sqrt()
}

/// Both sides round the same values to bf16, so they differ by the order of sums, and now and then
/// by a rounding that falls to the other side.
const ROUNDED: f32 = 1.0 / 64.0;

fn cards() -> [Cuda<Emulated>; 2] {
    [Unit::Warp, Unit::Group].map(|unit| Cuda::on(Arc::new(Emulated::new()), unit))
}

fn transformer(dim: usize, num_heads: usize) -> dit::Sizes {
    dit::Sizes {
        dim,
        ffn_dim: 2 * dim + 8,
        freq_dim: 16,
        num_heads,
        num_layers: 2,
        channels: [4, 4],
        patch: [2, 2],
        text_dim: 12,
        eps: 1e-6,
        shot_phase: 1.0 / 6.0,
        shot_embeddings: 0,
    }
}

/// A shot of two chunks behind a context: every velocity.
fn shot<K: Kernels>(kernels: K, sizes: &dit::Sizes) -> Vec<f32> {
    shot_of(&dit_of(kernels, sizes), sizes)
}

fn dit_of<K: Kernels>(kernels: K, sizes: &dit::Sizes) -> Dit<K> {
    Dit::new(kernels, sizes.clone(), &Invented).expect("what is asked for fits")
}

fn shot_of<K: Kernels>(dit: &Dit<K>, sizes: &dit::Sizes) -> Vec<f32> {
    let texts = [5, 9].map(|tokens| {
        let values = numbers(tokens * sizes.text_dim, tokens).into();
        dit.cache_text(&Embedding { tokens, values }).expect("what is asked for fits")
    });
    let slot = |position: usize, phase: u32, caption: usize| FrameSlot {
        position: position as u32,
        phase,
        caption,
    };
    let slots: Vec<_> = (0..4).map(|f| slot(f, f as u32 / 2, f / 2)).collect();
    let context = latents([4, 4, 8, 12], 1);
    let context = dit.encode_context(&context, &slots, &texts).expect("what is asked for fits");
    let mut local = dit.empty_local();
    let mut made = Vec::new();
    for chunk in 0..2 {
        let slots: Vec<_> = (0..3).map(|f| slot(4 + 3 * chunk + f, 2, 0)).collect();
        let (noisy, text) = (latents([3, 4, 8, 12], 2 + chunk), &texts[chunk % 2]);
        for timestep in [1000.0, 737.5] {
            let memory = Memory { context: &context, local: &local };
            let velocity = dit
                .velocity(&noisy, timestep, &slots, text, memory)
                .expect("what is asked for fits");
            made.extend(velocity.data);
        }
        dit.commit(&noisy, &slots, text, &context, &mut local).expect("what is asked for fits");
        dit.forget(&mut local, LatentFrames(1), LatentFrames(4));
    }
    made
}

#[test]
fn a_shot_on_the_card_is_that_of_the_processor() {
    // Heads of 16, 24 and 10, and of lines of the matrix unit.
    for [dim, heads] in [[48, 3], [48, 2], [20, 2], [128, 2], [128, 1]] {
        let sizes = transformer(dim, heads);
        let own = shot(Cpu::new().in_precision(Precision::Bf16), &sizes);
        for card in cards() {
            let found = differs(&own, &shot(card, &sizes));
            assert!(found < ROUNDED, "{found} for {sizes:?}");
        }
    }
}

#[test]
fn two_threads_on_one_card_make_what_each_makes_alone() {
    let sizes = transformer(20, 2);
    let dit = dit_of(cards()[0].clone(), &sizes);
    let alone = shot_of(&dit, &sizes);
    // By now every list is a graph.
    let both = std::thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(|| shot_of(&dit, &sizes))).map(|thread| thread.join())
    });
    for made in both {
        assert!(made.expect("a thread that ends") == alone, "another shot");
    }
}

#[test]
fn what_would_be_launched_is_the_arithmetic_of_a_pass() {
    let (sizes, card) = (transformer(128, 2), Arc::new(Dry::new()));
    let kernels = Cuda::on(card.clone(), Unit::Group);
    let dit = Dit::new(kernels, sizes.clone(), &Invented).expect("what is asked for fits");
    let values = numbers(5 * sizes.text_dim, 1).into();
    let text = dit.cache_text(&Embedding { tokens: 5, values }).expect("what is asked for fits");
    let slot = |f: u32| FrameSlot { position: f, phase: 0, caption: 0 };
    let (context, slots) = (latents([4, 4, 8, 12], 1), [0, 1, 2, 3].map(slot));
    let context = dit.encode_context(&context, &slots, std::slice::from_ref(&text));
    let (context, local) = (context.expect("what is asked for fits"), dit.empty_local());
    let before = card.bytes();
    let mut rounds = (0..3).map(|_| {
        drop(card.launches());
        let memory = Memory { context: &context, local: &local };
        let (noisy, slots) = (latents([3, 4, 8, 12], 2), [4, 5, 6].map(slot));
        dit.velocity(&noisy, 500.0, &slots, &text, memory).expect("what is asked for fits");
        card.launches()
    });
    let first = rounds.next().expect("three rounds");
    // What is written down once is repeated, launch by launch.
    assert!(rounds.all(|later| later == first), "a graph is what was launched");
    let flops: f64 = first.iter().map(|launch| launch.work.flops).sum();
    let (tokens, keys, dim, ffn_dim) = (3 * 24, 7 * 24, 128, sizes.ffn_dim);
    let projections = 2 * tokens * (6 * dim * dim + 2 * dim * ffn_dim);
    let layer = projections + 4 * tokens * (keys + 5) * dim;
    let ends = 2 * 2 * tokens * 16 * dim;
    assert_eq!(flops, (2 * layer + ends) as f64);
    // Memory and pages of a pass are taken once.
    let [now, most] = card.bytes();
    assert!(before[0] < now && now == most, "{before:?} before, {now} now, {most} at most");
}

#[test]
fn a_card_that_is_not_there_is_one_sentence() {
    let error = Cuda::open(1000).expect_err("nobody has a thousand cards").to_string();
    let known = ["there is no driver for NVIDIA cards, ", "there is no card 1000, "];
    assert!(known.iter().any(|begins| error.starts_with(begins)), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn captions_on_the_card_are_those_of_the_processor() {
    // Heads of 16, 10, and of lines of the matrix unit.
    for [dim, num_heads] in [[48, 3], [20, 2], [128, 2]] {
        let sizes = text::Sizes {
            tokens: 150,
            dim,
            dim_attn: dim,
            dim_ffn: 2 * dim + 8,
            num_heads,
            num_layers: 3,
            positions: text::Positions { buckets: 32, max_distance: 128 },
        };
        let own = read(Cpu::new().in_precision(Precision::Bf16), &sizes);
        for card in cards() {
            let found = differs(&own, &read(card, &sizes));
            assert!(found < ROUNDED, "{found} for {sizes:?}");
        }
    }
}

/// Captions of several lengths, of which one comes three times.
fn read<K: Kernels>(kernels: K, sizes: &text::Sizes) -> Vec<f32> {
    let blocks = text::Blocks::new(kernels, sizes.clone(), 0..sizes.num_layers, &Invented);
    let blocks = blocks.expect("what is asked for fits");
    let captions = [1, 70, 150, 70, 70].into_iter().enumerate().flat_map(|(seed, tokens)| {
        let mut caption = numbers(tokens * sizes.dim, seed);
        blocks.read(&mut caption).expect("what is asked for fits");
        caption
    });
    captions.collect()
}

fn vae_sizes(dims: [usize; 2], patch: usize) -> vae::Sizes {
    vae::Sizes {
        dims,
        channels: 4,
        multiples: vec![1, 2, 2],
        num_res_blocks: 1,
        halves_time: vec![false, true],
        patch,
        mean: vec![0.5, -0.25, 0.0, 1.0],
        std: vec![2.0, 0.5, 1.0, 1.5],
    }
}

#[test]
fn frames_on_the_card_are_those_of_the_processor() {
    for sizes in [vae_sizes([8, 8], 1), vae_sizes([6, 20], 2)] {
        let decoded = |made: Vec<f32>, found: Vec<f32>| differs(&made, &found);
        let own = Cpu::new().in_precision(Precision::Bf16);
        for card in cards() {
            let found = decoded(frames(own, &sizes), frames(card, &sizes));
            assert!(found < ROUNDED, "{found} for {sizes:?}");
        }
        for card in cards() {
            let found = differs(&encoded(own, &sizes), &encoded(card, &sizes));
            assert!(found < ROUNDED, "{found} for {sizes:?}");
        }
    }
}

/// A stream of four latent frames, in two chunks.
fn frames<K: Kernels>(kernels: K, sizes: &vae::Sizes) -> Vec<f32> {
    let decoder = vae::Decoder::new(kernels, sizes.clone(), &Invented).expect("it fits");
    let (mut state, mut made) = (decoder.start(), Vec::new());
    for (seed, count) in [1, 3].into_iter().enumerate() {
        let latents = latents([count, 4, 4, 6], seed);
        made.extend(decoder.decode(&mut state, &latents).expect("it fits").data);
    }
    made
}

fn encoded<K: Kernels>(kernels: K, sizes: &vae::Sizes) -> Vec<f32> {
    let encoder = vae::Encoder::new(kernels, sizes.clone(), &Invented).expect("it fits");
    let side = 8 * sizes.patch;
    let shape = [2, 3, side, 2 * side];
    let data = numbers(shape.iter().product(), 3);
    encoder.encode(&Pixels { shape, data }).expect("it fits").data
}
