//! Every list of steps at sizes that fill no vector and no tile, on every kind of vectors: all agree,
//! and a sanitizer sees every kernel (`CONTRIBUTING.md` says how it is run).

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Latents, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use shotstream_runtime::{
    cpu::Cpu,
    dit::{self, Dit, Embedding},
    kernels::{Grid, Keeping, Kernels as _, Meets, Precision, Product, Section, Sight, Step, Then},
    text, vae,
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

/// A caption through three blocks.
fn caption(cpu: Cpu, [heads, width, dim]: [usize; 3], tokens: usize) -> Vec<f32> {
    let sizes = text::Sizes {
        tokens: 90,
        dim,
        dim_attn: heads * width,
        dim_ffn: dim + 7,
        num_heads: heads,
        num_layers: 3,
        positions: text::Positions { buckets: 12, max_distance: 40 },
    };
    let blocks = text::Blocks::new(cpu, sizes, 0..3, &Invented).expect("weights that fit");
    let mut made = numbers(tokens * dim);
    blocks.read(&mut made).expect("a caption");
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
fn captions_agree_on_every_kind_of_vectors() {
    for sizes in [[3, 16, 20], [1, 34, 70], [2, 7, 33]] {
        for tokens in [1, 5, 33, 90] {
            agree(Precision::F32, 1e-4, |cpu| caption(cpu, sizes, tokens));
            agree(Precision::Bf16, 0.1, |cpu| caption(cpu, sizes, tokens));
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

/// The results of a causal convolution of 3 × 3 positions in `time` frames with made-up values, whose
/// matrix meets `meets`.
fn convolution(
    cpu: Cpu,
    meets: Meets,
    [frames, rows, columns, time, outputs]: [usize; 5],
) -> Vec<f32> {
    let (channels, precision) = (meets.channels(), Precision::F32);
    let width = cpu.precision().places(channels);
    let seen = [rows + 2, columns + 2];
    let x = Grid::packed(0, seen, channels, cpu.precision());
    let [frame, row, column] = x.strides;
    let values = frame * (frames + time - 1);
    // Behind what is seen there is a vector's room, as in the networks.
    let copied = Grid::packed(values + 16, seen, channels, precision);
    let start = copied.start + copied.strides[0] * (frames + time - 1);
    let y = Grid::packed(start, [rows, columns], outputs, precision);
    let len = start + y.strides[0] * frames;
    let scale = ((9 * time * channels) as f32).sqrt().recip();
    let weight: Vec<_> = numbers(outputs * time * 9 * channels).iter().map(|w| w * scale).collect();
    let matrix = cpu.matrix(&weight, &numbers(outputs), meets).expect("room");
    let taps = (0..3 * time).map(|tap| tap / 3 * frame + tap % 3 * row).collect();
    let product = Product { x, taps, matrix: 0, y, then: Then::Gelu };
    assert_eq!(column, width);
    let list = [
        Section {
            size: [frames + time - 1, seen[0], seen[1]],
            steps: vec![Step::Copy { x: copied, y: x, width: channels }],
        },
        Section { size: [frames, rows, columns], steps: vec![Step::Product(product)] },
    ];
    let mut memory = cpu.memory(len).expect("room");
    let noise: Vec<_> = (copied.start..start).map(|at| ((at * at) as f32 * 0.61).sin()).collect();
    cpu.upload(&mut memory, copied.start, &noise).expect("a memory");
    cpu.run(&list, &[matrix], &mut memory, Sight::nothing()).expect("a run");
    let mut made = vec![0.0; len - start];
    cpu.download(&memory, start..len, &mut made).expect("a memory");
    made
}

#[test]
fn results_in_squares_are_the_sums_themselves() {
    let sizes = [
        [1, 1, 2, 1, 10],
        [6, 2, 3, 3, 17],
        [3, 5, 7, 3, 24],
        [9, 4, 6, 3, 50],
        [2, 7, 130, 1, 12],
    ];
    for (size, channels) in
        sizes.into_iter().flat_map(|size| [8, 21, 48].map(|channels| (size, channels)))
    {
        for precision in [Precision::F32, Precision::Bf16] {
            for cpu in Cpu::all().into_iter().map(|cpu| cpu.in_precision(precision)) {
                let plain = convolution(cpu, Meets::Positions(channels), size);
                let squares = convolution(cpu, Meets::Squares(channels), size);
                let [differ, all] =
                    [|a: f32, b: f32| (a - b).powi(2), |a: f32, _: f32| a * a].map(|of| {
                        plain.iter().zip(&squares).map(|(&a, &b)| of(a, b)).sum::<f32>().sqrt()
                    });
                let allowed = if precision == Precision::F32 { 1e-6 } else { 3e-2 };
                assert!(
                    all > 0.0 && differ <= allowed * all,
                    "{cpu:?} {size:?} {channels}: {differ} of {all}"
                );
                assert!(plain != squares, "{cpu:?}: both were made in the same way");
            }
        }
    }
}

/// Two projections of some tokens, with weights that tokens meet or that positions meet.
fn projections(cpu: Cpu, weight: &[f32], meets: fn(usize) -> Meets, size: [usize; 3]) -> Vec<f32> {
    let [tokens, terms, outputs] = size;
    let copied = Grid::packed(0, [tokens, 1], terms, Precision::F32);
    let x = Grid::packed(tokens * terms, [tokens, 1], terms, cpu.precision());
    let start = x.start + tokens * cpu.precision().places(terms);
    let y = Grid::packed(start, [tokens, 1], outputs, Precision::F32);
    let matrix = cpu.matrix(weight, &numbers(outputs), meets(terms)).expect("room");
    let steps = vec![
        Step::Copy { x: copied, y: x, width: terms },
        Step::projection(x, 0, y, Then::Plain),
        Step::projection(x, 0, y, Then::Add(y)),
    ];
    let list = [Section { size: [1, tokens, 1], steps }];
    let mut memory = cpu.memory(start + tokens * outputs).expect("room");
    cpu.upload(&mut memory, 0, &numbers(tokens * terms)).expect("a memory");
    cpu.run(&list, &[matrix], &mut memory, Sight::nothing()).expect("a run");
    let mut made = vec![0.0; tokens * outputs];
    cpu.download(&memory, start..start + tokens * outputs, &mut made).expect("a memory");
    made
}

#[test]
fn bytes_are_multiplied_as_the_numbers_they_stand_for() {
    for size in [[1, 1, 1], [3, 7, 5], [5, 33, 70], [29, 130, 129]] {
        let [_, terms, outputs] = size;
        let weight: Vec<_> =
            (0..outputs * terms).map(|at| ((at * at) as f32 * 0.61).sin() * 3.0).collect();
        // Every row's largest is 127 of its steps, and steps are powers of two, so that what bytes
        // stand for is a number of bf16.
        let stepped: Vec<_> = weight
            .chunks_exact(terms)
            .enumerate()
            .flat_map(|(row, weights)| {
                let step = (-((row % 5) as f32)).exp2();
                let whole = weights.iter().map(move |weight| (weight * 40.0).round() * step);
                std::iter::once(127.0 * step).chain(whole.skip(1))
            })
            .collect();
        for precision in [Precision::F32, Precision::Bf16] {
            for cpu in Cpu::all().into_iter().map(|cpu| cpu.in_precision(precision)) {
                let kept = cpu.keep(Keeping::Bytes);
                let expected = projections(cpu, &stepped, Meets::Tokens, size);
                let found = projections(kept, &stepped, Meets::Tokens, size);
                assert_eq!(found, expected, "{cpu:?} {size:?}");
                // Of any numbers they keep the nearest, and only of those that tokens meet.
                let whole = projections(cpu, &weight, Meets::Tokens, size);
                let near = projections(kept, &weight, Meets::Tokens, size);
                let most = 2.0 * terms as f32 * 1.5 / 127.0;
                let off = whole.iter().zip(&near).map(|(a, b)| (a - b).abs());
                let off = off.fold(0.0, f32::max);
                assert!(off <= most, "{cpu:?} {size:?}: {off} of {most}");
                assert!(terms == 1 || whole != near, "{cpu:?} {size:?}: nothing was rounded");
                assert_eq!(whole, projections(kept, &weight, Meets::Positions, size));
            }
        }
    }
}
