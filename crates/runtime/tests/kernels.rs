//! Every list of steps at sizes that fill no vector and no tile, on every kind of vectors: all agree,
//! and a sanitizer sees every kernel (`CONTRIBUTING.md` says how it is run).

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Latents, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use shotstream_runtime::{
    cpu::Cpu,
    dit::{self, Dit, Embedding},
    kernels::Precision,
    vae,
    weights::Invented,
};

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * 0.37).sin()).collect()
}

fn latents(frames: usize, [rows, columns]: [usize; 2]) -> Latents {
    let shape = [frames, 4, rows, columns];
    Latents { shape, data: numbers(shape.iter().product()) }
}

fn slots(first: usize, count: usize) -> Vec<FrameSlot> {
    let slot = |at| FrameSlot { position: at as u32, phase: at as u32 / 4, caption: at % 2 };
    (first..first + count).map(slot).collect()
}

fn transformer([heads, width, ffn_dim]: [usize; 3]) -> dit::Sizes {
    dit::Sizes {
        dim: heads * width,
        ffn_dim,
        freq_dim: 10,
        num_heads: heads,
        num_layers: 2,
        channels: [4, 4],
        patch: [2, 2],
        text_dim: 13,
        eps: 1e-6,
        shot_phase: 1.0 / 6.0,
        shot_embeddings: 2,
    }
}

/// A shot whose window moves on: every velocity of it.
fn shot(cpu: Cpu, sizes: dit::Sizes, size: [usize; 2]) -> Vec<f32> {
    let dit = Dit::new(cpu, sizes, &Invented).expect("weights that fit");
    let texts = [5, 9].map(|tokens| {
        let embedding = Embedding { tokens, values: numbers(tokens * 13).into() };
        dit.cache_text(&embedding).expect("a caption")
    });
    let context = dit.encode_context(&latents(5, size), &slots(0, 5), &texts).expect("a context");
    let (chunk, mut local, mut made) = (latents(3, size), dit.empty_local(), Vec::new());
    for at in 0..3 {
        let slots = slots(5 + 3 * at, 3);
        for memory in [&local, &dit.empty_local()] {
            let memory = Memory { context: &context, local: memory };
            let velocity = dit.velocity(&chunk, 737.5, &slots, &texts[0], memory);
            made.extend(velocity.expect("a velocity").data);
        }
        dit.commit(&chunk, &slots, &texts[0], &context, &mut local).expect("a commit");
        // A branch shares the pages of what it came from.
        let branch = local.clone();
        dit.forget(&mut local, LatentFrames(1), LatentFrames(4));
        drop(branch);
    }
    made
}

/// A stream in two chunks, and pictures read one by one.
fn pictures(cpu: Cpu, sizes: &vae::Sizes, size: [usize; 2]) -> Vec<f32> {
    let decoder = vae::Decoder::new(cpu, sizes.clone(), &Invented).expect("weights that fit");
    let encoder = vae::Encoder::new(cpu, sizes.clone(), &Invented).expect("weights that fit");
    let (mut state, mut made) = (decoder.start(), Vec::new());
    for frames in [1, 2] {
        let Pixels { shape: [count, colours, height, width], data } =
            decoder.decode(&mut state, &latents(frames, size)).expect("frames");
        let last = data[(count - 1) * colours * height * width..].to_vec();
        let picture = Pixels { shape: [1, colours, height, width], data: last };
        made.extend(data);
        made.extend(encoder.encode(&picture).expect("latents").data);
    }
    made
}

/// The answers of every kind of vectors are those of the first, up to `allowed` of the largest.
fn agree(precision: Precision, allowed: f32, answer: impl Fn(Cpu) -> Vec<f32>) {
    let mut kinds = Cpu::all().into_iter().map(|cpu| cpu.in_precision(precision));
    let first = answer(kinds.next().expect("a portable kind"));
    let largest = first.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(largest.is_finite() && 0.0 < largest);
    for cpu in kinds {
        let other = answer(cpu);
        assert_eq!(first.len(), other.len());
        let differ =
            first.iter().zip(&other).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
        assert!(differ <= allowed * largest, "{cpu:?}: {differ} of {largest}");
    }
}

#[test]
fn shots_agree_on_every_kind_of_vectors() {
    for sizes in [[3, 16, 20], [1, 34, 70], [2, 128, 33]] {
        for size in [[2, 2], [4, 6], [6, 14]] {
            agree(Precision::F32, 1e-4, |cpu| shot(cpu, transformer(sizes), size));
            agree(Precision::Bf16, 0.1, |cpu| shot(cpu, transformer(sizes), size));
        }
    }
}

#[test]
fn pictures_agree_on_every_kind_of_vectors() {
    for (dims, multiples, patch) in [([3, 5], vec![1, 2, 3], 2), ([8, 24], vec![1, 2, 2], 1)] {
        let sizes = vae::Sizes {
            dims,
            channels: 4,
            multiples,
            num_res_blocks: 1,
            halves_time: vec![true, false],
            patch,
            mean: vec![0.25; 4],
            std: vec![1.5; 4],
        };
        for size in [[1, 1], [3, 5]] {
            agree(Precision::F32, 1e-4, |cpu| pictures(cpu, &sizes, size));
            agree(Precision::Bf16, 0.1, |cpu| pictures(cpu, &sizes, size));
        }
    }
}
