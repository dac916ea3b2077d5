//! What a DiT promises whatever its weights: chunks equal the masked whole, and nothing leaks.

mod dit;

use burn::tensor::{Device, Tensor, TensorData};
use shotstream_models::dit::{ContextCache, Dit, DitConfig, FrameMask, LocalCache, TextCache};
use shotstream_plan::layout::FrameSlot;

use dit::{distance, tiny, with_weights};

const TOLERANCE: f32 = 1e-4;
const CONTEXT: usize = 3;
const CHUNK: usize = 2;
const CHUNKS: usize = 3;
const FRAMES: usize = CONTEXT + CHUNK * CHUNKS;

/// Numbers that look random and depend on `seed` only.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

fn network() -> Dit {
    network_of(&tiny())
}

fn network_of(config: &DitConfig) -> Dit {
    let mut seed = 0;
    with_weights(config, &Device::flex(), |name, shape| {
        seed += 1;
        let fan_in = shape[1..].iter().product::<usize>().max(1) as f32;
        let is_norm = name.contains("norm") && name.ends_with("weight");
        let (middle, spread) = if is_norm { (1.0, 0.3) } else { (0.0, fan_in.powf(-0.5)) };
        let values = noise(seed, shape.iter().product());
        values.into_iter().map(|value| middle + spread * value).collect()
    })
}

fn tensor<const R: usize>(seed: u64, shape: [usize; R]) -> Tensor<R> {
    let data = TensorData::new(noise(seed, shape.iter().product()), shape);
    Tensor::from_data(data, &Device::flex())
}

fn latents(seed: u64, frames: usize) -> Tensor<5> {
    tensor(seed, [1, 4, frames, 4, 6])
}

fn timesteps(values: &[f32]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &Device::flex())
}

fn captions(dit: &Dit, seed: u64) -> TextCache {
    dit.text_cache(tensor(seed, [1, 4, 5, 12]))
}

/// Three context frames from different shots, then the frames of the current one.
fn slots() -> Vec<FrameSlot> {
    let context =
        (0..CONTEXT as u32).map(|j| FrameSlot { position: j, phase: j, caption: j as usize });
    let shot = (0..(CHUNK * CHUNKS) as u32).map(|i| FrameSlot {
        position: 6 + i,
        phase: CONTEXT as u32,
        caption: CONTEXT,
    });
    context.chain(shot).collect()
}

fn frames(latents: &Tensor<5>, from: usize, count: usize) -> Tensor<5> {
    latents.clone().narrow(2, from, count)
}

/// Velocity of `clip`'s last chunk, its other chunks committed one by one.
fn last_chunk(dit: &Dit, clip: &Tensor<5>, text: &TextCache, timestep: f32) -> Tensor<5> {
    let slots = slots();
    let context = dit.encode_context(frames(clip, 0, CONTEXT), &slots[..CONTEXT], text);
    let mut local = LocalCache::default();
    let mut from = CONTEXT;
    while from + CHUNK < FRAMES {
        let chunk = &slots[from..from + CHUNK];
        dit.commit(frames(clip, from, CHUNK), chunk, text, &context, &mut local);
        from += CHUNK;
    }
    let noisy = timesteps(&[timestep; CHUNK]);
    dit.denoise(frames(clip, from, CHUNK), noisy, &slots[from..], text, &context, &local)
}

#[test]
fn a_chunk_over_caches_equals_the_end_of_a_masked_clip() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let mask = FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
    let mut times = [0.0; FRAMES];
    times[FRAMES - CHUNK..].fill(888.9);
    let whole = dit.parallel(clip.clone(), timesteps(&times), &slots(), &text, Some(&mask));
    let chunk = last_chunk(&dit, &clip, &text, 888.9);
    let distance = distance(chunk, frames(&whole, FRAMES - CHUNK, CHUNK));
    assert!(distance < TOLERANCE, "{distance:e}");
}

#[test]
fn a_chunk_over_an_empty_past_equals_a_clip_of_context_and_one_chunk() {
    let dit = network();
    let (clip, text) = (latents(1, CONTEXT + CHUNK), captions(&dit, 2));
    let slots = &slots()[..CONTEXT + CHUNK];
    let mask = FrameMask::block_causal(CONTEXT, CHUNK, CHUNK);
    let times = timesteps(&[0.0, 0.0, 0.0, 500.0, 500.0]);
    let whole = dit.parallel(clip.clone(), times, slots, &text, Some(&mask));
    let context = dit.encode_context(frames(&clip, 0, CONTEXT), &slots[..CONTEXT], &text);
    let chunk = dit.denoise(
        frames(&clip, CONTEXT, CHUNK),
        timesteps(&[500.0; CHUNK]),
        &slots[CONTEXT..],
        &text,
        &context,
        &LocalCache::default(),
    );
    assert!(distance(chunk, frames(&whole, CONTEXT, CHUNK)) < TOLERANCE);
}

#[test]
fn a_null_context_is_zero_latents_under_the_first_caption() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let zeros = Tensor::zeros([1, 4, CONTEXT, 4, 6], &Device::flex());
    let slot = |position, phase| FrameSlot { position, phase, caption: 0 };
    let past: Vec<_> = (0..CONTEXT as u32).map(|j| slot(j, 0)).collect();
    let shot: Vec<_> = (0..CHUNK as u32).map(|i| slot(6 + i, 1)).collect();
    let context = dit.encode_context(zeros.clone(), &past, &text);
    let noisy = frames(&clip, CONTEXT, CHUNK);
    let times = timesteps(&[1000.0; CHUNK]);
    let chunk = dit.denoise(noisy.clone(), times, &shot, &text, &context, &LocalCache::default());

    let whole = dit.parallel(
        Tensor::cat(vec![zeros, noisy], 2),
        timesteps(&[0.0, 0.0, 0.0, 1000.0, 1000.0]),
        &[past, shot].concat(),
        &text,
        Some(&FrameMask::block_causal(CONTEXT, CHUNK, CHUNK)),
    );
    assert!(distance(chunk, frames(&whole, CONTEXT, CHUNK)) < TOLERANCE);
}

#[test]
fn context_frames_do_not_see_the_current_shot() {
    let dit = network();
    let (clip, other, text) = (latents(1, FRAMES), latents(5, FRAMES), captions(&dit, 2));
    let mixed =
        Tensor::cat(vec![frames(&clip, 0, CONTEXT), frames(&other, CONTEXT, FRAMES - CONTEXT)], 2);
    let mask = FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
    let velocity = |clip| {
        let whole = dit.parallel(clip, timesteps(&[100.0; FRAMES]), &slots(), &text, Some(&mask));
        [frames(&whole, 0, CONTEXT), frames(&whole, CONTEXT, FRAMES - CONTEXT)]
    };
    let [[context, shot], [same, moved]] = [velocity(clip), velocity(mixed)];
    assert_eq!(context.into_data(), same.into_data());
    assert!(distance(shot, moved) > 0.1);
}

#[test]
fn a_change_in_a_chunk_never_reaches_the_chunk_before() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let mask = FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
    let run = |clip: Tensor<5>| {
        dit.parallel(clip, timesteps(&[300.0; FRAMES]), &slots(), &text, Some(&mask))
    };
    let before = run(clip.clone());
    for chunk in 0..CHUNKS {
        let start = CONTEXT + chunk * CHUNK;
        let tail = latents(9, FRAMES - start);
        let after = run(Tensor::cat(vec![frames(&clip, 0, start), tail], 2));
        assert_eq!(
            frames(&before, 0, start).into_data(),
            frames(&after, 0, start).into_data(),
            "chunk {chunk}"
        );
        assert!(distance(frames(&after, start, CHUNK), frames(&before, start, CHUNK)) > 0.1);
    }
}

#[test]
fn a_frame_reads_its_own_caption_and_no_other() {
    let dit = network();
    let (clip, slots) = (latents(1, FRAMES), slots());
    let embeddings = tensor(2, [1, 4, 5, 12]);
    let run = |embeddings: Tensor<4>| {
        let text = dit.text_cache(embeddings);
        let mask = FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
        dit.parallel(clip.clone(), timesteps(&[300.0; FRAMES]), &slots, &text, Some(&mask))
    };
    let last = Tensor::cat(vec![embeddings.clone().narrow(1, 0, 3), tensor(8, [1, 1, 5, 12])], 1);
    let (before, after) = (run(embeddings), run(last));
    assert_eq!(frames(&before, 0, CONTEXT).into_data(), frames(&after, 0, CONTEXT).into_data());
    assert!(distance(frames(&after, CONTEXT, 1), frames(&before, CONTEXT, 1)) > 0.01);
}

#[test]
fn only_differences_of_phases_matter() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let run = |slots: &[FrameSlot]| {
        dit.parallel(clip.clone(), timesteps(&[300.0; FRAMES]), slots, &text, None)
    };
    let shifted: Vec<_> =
        slots().iter().map(|slot| FrameSlot { phase: slot.phase + 4, ..*slot }).collect();
    let flat: Vec<_> = slots().iter().map(|slot| FrameSlot { phase: 0, ..*slot }).collect();
    let velocity = run(&slots());
    assert!(distance(run(&shifted), velocity.clone()) < TOLERANCE);
    assert!(distance(run(&flat), velocity) > 1e-3);
}

#[test]
fn embeddings_tell_shots_apart_where_nothing_turns() {
    let clip = latents(1, FRAMES);
    let one_shot: Vec<_> = slots().into_iter().map(|slot| FrameSlot { phase: 0, ..slot }).collect();
    let apart = |shot_embeddings| {
        let dit = network_of(&DitConfig { shot_phase: 0.0, shot_embeddings, ..tiny() });
        let text = captions(&dit, 2);
        let seen =
            |slots| dit.parallel(clip.clone(), timesteps(&[500.0; FRAMES]), slots, &text, None);
        distance(seen(&slots()), seen(&one_shot))
    };
    assert_eq!(apart(0), 0.0);
    assert!(1e-2 < apart(4), "{}", apart(4));
    // The last vector is that of all phases from its own on.
    assert_eq!(apart(1), 0.0);
}

#[test]
fn a_chunk_over_caches_equals_a_masked_clip_with_shot_embeddings_too() {
    let dit = network_of(&DitConfig { shot_phase: 0.0, shot_embeddings: 3, ..tiny() });
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let mut levels = vec![0.0; FRAMES - CHUNK];
    levels.extend([700.0; CHUNK]);
    let mask = FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
    let whole = dit.parallel(clip.clone(), timesteps(&levels), &slots(), &text, Some(&mask));
    let streamed = last_chunk(&dit, &clip, &text, 700.0);
    assert!(distance(streamed, frames(&whole, FRAMES - CHUNK, CHUNK)) < TOLERANCE);
}

#[test]
fn a_batch_of_two_is_two_singles() {
    let dit = network();
    let (clip, other) = (latents(1, FRAMES), latents(3, FRAMES));
    let texts = [tensor(2, [1, 4, 5, 12]), tensor(4, [1, 4, 5, 12])];
    let pair = Tensor::cat(vec![clip.clone(), other.clone()], 0);
    let text = dit.text_cache(Tensor::cat(texts.to_vec(), 0));
    let slots = slots();
    let context = dit.encode_context(frames(&pair, 0, CONTEXT), &slots[..CONTEXT], &text);
    let mut local = LocalCache::default();
    for from in [CONTEXT, CONTEXT + CHUNK] {
        let chunk = &slots[from..from + CHUNK];
        dit.commit(frames(&pair, from, CHUNK), chunk, &text, &context, &mut local);
    }
    let from = FRAMES - CHUNK;
    let times = Tensor::cat(vec![timesteps(&[700.0; CHUNK]), timesteps(&[20.0; CHUNK])], 0);
    let both =
        dit.denoise(frames(&pair, from, CHUNK), times, &slots[from..], &text, &context, &local);

    let [text, other_text] = texts.map(|text| dit.text_cache(text));
    let single = last_chunk(&dit, &clip, &text, 700.0);
    let other = last_chunk(&dit, &other, &other_text, 20.0);
    assert!(distance(both, Tensor::cat(vec![single, other], 0)) < 1e-5);
}

/// Latent frames of a longer shot: five chunks behind the context.
const LONG: usize = CONTEXT + CHUNK * 5;

/// The slots of a longer shot, all of it under the last caption.
fn long_slots() -> Vec<FrameSlot> {
    let shot = (0..(LONG - CONTEXT) as u32).map(|i| FrameSlot {
        position: 6 + i,
        phase: CONTEXT as u32,
        caption: CONTEXT,
    });
    slots().into_iter().take(CONTEXT).chain(shot).collect()
}

/// Velocity of the last chunk of a longer shot whose past is a sink of one chunk and a window.
fn last_chunk_over_a_sink(dit: &Dit, clip: &Tensor<5>, text: &TextCache) -> Tensor<5> {
    let slots = long_slots();
    let context = dit.encode_context(frames(clip, 0, CONTEXT), &slots[..CONTEXT], text);
    let mut local = LocalCache::default();
    for from in (CONTEXT..LONG).step_by(CHUNK) {
        // The window of three chunks holds the sink, one chunk more, and the chunk itself.
        local.keep(CHUNK, 2 * CHUNK);
        let (chunk, own) = (frames(clip, from, CHUNK), &slots[from..from + CHUNK]);
        if from + CHUNK == LONG {
            let times = timesteps(&[600.0; CHUNK]);
            return dit.denoise(chunk, times, own, text, &context, &local);
        }
        dit.commit(chunk, own, text, &context, &mut local);
    }
    unreachable!("the last chunk returns")
}

#[test]
fn a_chunk_over_a_sink_and_a_window_equals_the_end_of_a_clip_under_their_mask() {
    let dit = network();
    let (clip, text) = (latents(1, LONG), captions(&dit, 2));
    let mut times = vec![0.0; LONG - CHUNK];
    times.extend([600.0; CHUNK]);
    let whole = |mask: FrameMask| {
        let whole =
            dit.parallel(clip.clone(), timesteps(&times), &long_slots(), &text, Some(&mask));
        frames(&whole, LONG - CHUNK, CHUNK)
    };
    let causal = || FrameMask::block_causal(CONTEXT, LONG - CONTEXT, CHUNK);
    let streamed = last_chunk_over_a_sink(&dit, &clip, &text);
    let same = distance(streamed.clone(), whole(causal().with_window(CHUNK, 3 * CHUNK)));
    assert!(same < TOLERANCE, "{same:e}");
    assert!(distance(streamed.clone(), whole(causal().with_window(0, 3 * CHUNK))) > 1e-3);
    assert!(distance(streamed, whole(causal())) > 1e-3);
}

#[test]
fn a_mask_with_a_window_that_holds_everything_is_the_mask_without_one() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let causal = || FrameMask::block_causal(CONTEXT, CHUNK * CHUNKS, CHUNK);
    let run = |mask: FrameMask| {
        dit.parallel(clip.clone(), timesteps(&[300.0; FRAMES]), &slots(), &text, Some(&mask))
    };
    let whole = run(causal());
    for sink in [0, CHUNK] {
        let windowed = run(causal().with_window(sink, CHUNK * CHUNKS));
        assert!(distance(windowed, whole.clone()) < TOLERANCE);
    }
}

#[test]
fn without_context_a_chunk_over_caches_equals_a_causal_clip() {
    let dit = network();
    let (clip, text) = (latents(1, FRAMES), captions(&dit, 2));
    let slot = |position: usize| FrameSlot { position: position as u32, phase: 0, caption: 0 };
    let slots: Vec<_> = (0..CHUNK * CHUNKS).map(slot).collect();
    let clip = frames(&clip, 0, CHUNK * CHUNKS);
    let (context, mut local) = (ContextCache::default(), LocalCache::default());
    let last = CHUNK * (CHUNKS - 1);
    for from in (0..last).step_by(CHUNK) {
        let own = &slots[from..from + CHUNK];
        dit.commit(frames(&clip, from, CHUNK), own, &text, &context, &mut local);
    }
    let (noisy, times) = (frames(&clip, last, CHUNK), timesteps(&[700.0; CHUNK]));
    let chunk = dit.denoise(noisy, times, &slots[last..], &text, &context, &local);
    let mut times = vec![0.0; last];
    times.extend([700.0; CHUNK]);
    let mask = FrameMask::block_causal(0, CHUNK * CHUNKS, CHUNK);
    let whole = dit.parallel(clip, timesteps(&times), &slots, &text, Some(&mask));
    assert!(distance(chunk, frames(&whole, last, CHUNK)) < TOLERANCE);
}

#[test]
fn a_cache_counts_its_tokens() {
    let dit = network();
    let (clip, text, slots) = (latents(1, FRAMES), captions(&dit, 2), slots());
    let context = dit.encode_context(frames(&clip, 0, CONTEXT), &slots[..CONTEXT], &text);
    let mut local = LocalCache::default();
    assert_eq!((context.tokens(), local.tokens()), (CONTEXT * 6, 0));
    assert_eq!(ContextCache::default().tokens(), 0);
    let chunk = &slots[CONTEXT..CONTEXT + CHUNK];
    dit.commit(frames(&clip, CONTEXT, CHUNK), chunk, &text, &context, &mut local);
    assert_eq!(local.tokens(), CHUNK * 6);
}

#[test]
fn chunks_that_are_forgotten_are_not_attended_to() {
    let dit = network();
    let (clip, text, slots) = (latents(1, FRAMES), captions(&dit, 2), slots());
    let context = dit.encode_context(frames(&clip, 0, CONTEXT), &slots[..CONTEXT], &text);
    let mut local = LocalCache::default();
    for from in [CONTEXT, CONTEXT + CHUNK] {
        let chunk = &slots[from..from + CHUNK];
        dit.commit(frames(&clip, from, CHUNK), chunk, &text, &context, &mut local);
    }
    let tokens = local.tokens();
    let from = FRAMES - CHUNK;
    let mut seen_with = |latents| {
        local.keep(0, latents);
        let noisy = (frames(&clip, from, CHUNK), timesteps(&[500.0; CHUNK]));
        let velocity = dit.denoise(noisy.0, noisy.1, &slots[from..], &text, &context, &local);
        (velocity, local.tokens())
    };
    let (all, kept) = seen_with(2 * CHUNK);
    assert_eq!(kept, tokens);
    let (newest, kept) = seen_with(CHUNK);
    assert_eq!(kept, tokens / 2);
    assert!(distance(newest, all) > 1e-3);
    let (none, kept) = seen_with(0);
    assert_eq!(kept, 0);
    let noisy = (frames(&clip, from, CHUNK), timesteps(&[500.0; CHUNK]));
    let empty = LocalCache::default();
    let alone = dit.denoise(noisy.0, noisy.1, &slots[from..], &text, &context, &empty);
    assert!(distance(none, alone) < TOLERANCE);
}
