//! The engine's traits over a random bundle: shapes, layouts, errors.

mod tiny;

use shotstream_engine::network::{
    Blend, Decoder, Denoiser, FrameEncoder, Latents, Memory, NetworkError, Pixels, StoryDenoiser,
    TextEncoder,
};
use shotstream_models::networks::BurnNetworks;
use shotstream_plan::layout::FrameSlot;

use tiny::tiny_bundle;

fn networks() -> BurnNetworks {
    BurnNetworks::new(&tiny_bundle())
}

/// Latents of `frames` frames, no two values alike.
fn latents(frames: usize) -> Latents {
    let shape = [frames, 4, 2, 4];
    let count: usize = shape.iter().product();
    Latents { shape, data: (0..count).map(|i| (i as f32 * 0.37).sin()).collect() }
}

fn slots(frames: usize, caption: impl Fn(usize) -> usize) -> Vec<FrameSlot> {
    (0..frames).map(|f| FrameSlot { position: f as u32, phase: 0, caption: caption(f) }).collect()
}

fn largest_difference(a: &Latents, b: &Latents) -> f32 {
    assert_eq!(a.shape, b.shape);
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn latents_survive_the_way_to_the_network_and_back() {
    let denoiser = networks().denoiser;
    let here = latents(3);
    assert_eq!(denoiser.download(&denoiser.upload(&here)), here);
}

#[test]
fn latents_blend_by_weight() {
    let denoiser = networks().denoiser;
    let there = denoiser.upload(&latents(3));
    let half = denoiser.download(&there.blend(1.5, &there, -1.0));
    assert!(largest_difference(&half, &latents(3).blend(0.5, &latents(3), 0.0)) < 1e-6);
}

#[test]
fn a_prompt_tells_what_it_lost() {
    let text = networks().text;
    let embedded = text.embed("a red red red red red red red red red red red zebra").unwrap();
    assert_eq!(embedded.embedding.0.dims(), [1, 12, 8]);
    assert_eq!(embedded.unknown_words, ["zebra"]);
    assert_eq!(embedded.dropped_tokens, 2);
}

#[test]
fn captions_cached_alone_serve_a_context_pass_together() {
    let BurnNetworks { denoiser, text, .. } = networks();
    let cache = |prompt| denoiser.cache_text(&text.embed(prompt).unwrap().embedding).unwrap();
    let (a, b) = (cache("a red cat"), cache("waves"));
    let noisy = denoiser.upload(&latents(3));
    let velocity = |order: &[&_], caption: [usize; 2]| {
        let texts: Vec<_> = order.iter().map(|&text| Clone::clone(text)).collect();
        let context = denoiser.upload(&latents(4));
        let slots_of_context = slots(4, |frame| caption[frame / 2]);
        let context = denoiser.encode_context(&context, &slots_of_context, &texts).unwrap();
        let local = denoiser.empty_local();
        let memory = Memory { context: &context, local: &local };
        let made = denoiser.velocity(&noisy, 500.0, &slots(3, |_| 7), &a, memory).unwrap();
        denoiser.download(&made)
    };
    let straight = velocity(&[&a, &b], [0, 1]);
    assert!(largest_difference(&straight, &velocity(&[&b, &a], [1, 0])) < 1e-5);
    assert!(largest_difference(&straight, &velocity(&[&b, &a], [0, 1])) > 1e-5);
}

#[test]
fn a_committed_chunk_is_remembered() {
    let BurnNetworks { denoiser, text, .. } = networks();
    let text = denoiser.cache_text(&text.embed("a red cat").unwrap().embedding).unwrap();
    let chunk = denoiser.upload(&latents(3));
    let context =
        denoiser.encode_context(&chunk, &slots(3, |_| 0), std::slice::from_ref(&text)).unwrap();
    let mut local = denoiser.empty_local();
    for chunks in 1..=2 {
        denoiser.commit(&chunk, &slots(3, |_| 1), &text, &context, &mut local).unwrap();
        assert_eq!(local.tokens(), chunks * 3 * 2);
    }
}

#[test]
fn a_shot_decodes_to_nine_frames_and_then_to_twelve_within_range() {
    let BurnNetworks { denoiser, decoder, .. } = networks();
    let chunk = denoiser.upload(&latents(3).blend(90.0, &latents(3), 0.0));
    let mut state = decoder.start();
    for frames in [9, 12, 12] {
        let pixels = decoder.decode(&mut state, &chunk).unwrap();
        assert_eq!(pixels.shape, [frames, 3, 16, 32]);
        assert!(pixels.data.iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}

#[test]
fn every_frame_is_encoded_by_itself() {
    let encoder = networks().encoder;
    let shape = [3, 3, 16, 32];
    let count: usize = shape.iter().product();
    let data = (0..count).map(|i| (i as f32 * 0.11).cos()).collect();
    let frames = Pixels { shape, data };
    let together = encoder.encode(&frames).unwrap();
    assert_eq!(together.shape, [3, 4, 2, 4]);
    for index in 0..3 {
        let alone = Pixels { shape: [1, 3, 16, 32], data: frames.frame(index).to_vec() };
        let alone = encoder.encode(&alone).unwrap();
        let same = together.slice(index..index + 1).unwrap();
        assert!(largest_difference(&same, &alone) < 1e-5);
    }
}

#[test]
fn a_size_that_does_not_fit_is_an_error_and_not_a_panic() {
    let BurnNetworks { denoiser, decoder, encoder, text } = networks();
    let caption = denoiser.cache_text(&text.embed("a cat").unwrap().embedding).unwrap();
    let chunk = denoiser.upload(&latents(3));
    let wide = denoiser.upload(&Latents::zeros([3, 4, 2, 5]));
    let deep = denoiser.upload(&Latents::zeros([3, 5, 2, 4]));
    let one = std::slice::from_ref(&caption);
    let errors = [
        denoiser.encode_context(&wide, &slots(3, |_| 0), one).unwrap_err(),
        denoiser.encode_context(&deep, &slots(3, |_| 0), one).unwrap_err(),
        denoiser.encode_context(&chunk, &slots(2, |_| 0), one).unwrap_err(),
        denoiser.encode_context(&chunk, &slots(3, |_| 1), one).unwrap_err(),
        denoiser.encode_context(&chunk, &slots(3, |_| 0), &[]).unwrap_err(),
        decoder.decode(&mut decoder.start(), &deep).unwrap_err(),
        encoder.encode(&Pixels { shape: [1, 3, 16, 31], data: vec![0.0; 1488] }).unwrap_err(),
        encoder.encode(&Pixels { shape: [1, 3, 16, 32], data: vec![0.0; 7] }).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, NetworkError::Shape { .. }), "{error}");
    }
}
