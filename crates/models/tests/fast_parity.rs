//! The runtime's lists against the networks they were made of, over random sizes.

mod tiny;

use std::path::Path;

use proptest::prelude::*;
use shotstream_engine::network::{
    Decoder, FrameEncoder, Latents, Memory, Pixels, StoryDenoiser, TextEncoder,
};
use shotstream_models::{
    bundle::Bundle,
    checkpoint::StoredDtype,
    dit::{Dit, DitConfig},
    fast::{FastNetworks, Keeping, Kernels as _, Precision},
    networks::BurnNetworks,
    stored::StoredModel,
    text::{BurnTextEncoder, Holding},
    vae::{Vae, VaeConfig},
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use shotstream_runtime::cpu::Cpu;

use burn::{module::Module, tensor::Device};
use tiny::{Shake, tiny_bundle};

/// Both kinds of the networks of a tiny model with a transformer and a VAE of these sizes, the
/// runtime's for every kind of vectors, every precision there is, and weights in bytes.
fn both(dit: &DitConfig, vae: &VaeConfig) -> (BurnNetworks, Vec<(Precision, FastNetworks<Cpu>)>) {
    let device = Device::flex();
    let dit = Dit::new(dit, &device).map(&mut Shake);
    let vae = Vae::new(vae, &device).map(&mut Shake);
    let Bundle { config, text, tokenizer, .. } = tiny_bundle();
    let text = BurnTextEncoder::whole(tokenizer, text, config.dit.text_len, device.clone());
    let slow = BurnNetworks::of(&dit, &vae, text.clone());
    let fast = |cpu: Cpu| {
        let ways = [
            (Precision::F32, Keeping::Whole),
            (Precision::Bf16, Keeping::Whole),
            (Precision::Bf16, Keeping::Bytes),
        ];
        ways.map(|(precision, keeping)| {
            let cpu = cpu.in_precision(precision).keep(keeping);
            let fast = FastNetworks::new(cpu, dit.clone(), vae.clone(), text.clone());
            (precision, fast.expect("what is asked for fits"))
        })
    };
    (slow, Cpu::all().into_iter().flat_map(fast).collect())
}

/// Numbers around zero, no two alike.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7 + seed * 13 + 1) as f32 * 0.377).sin()).collect()
}

fn latents(shape: [usize; 4], seed: usize) -> Latents {
    Latents { shape, data: numbers(shape.iter().product(), seed) }
}

/// In bf16, root mean square of the difference over that of the values: of networks of usual sizes,
/// and of ones two wide, where a single rounding weighs most. What stands in a wrong place is off by
/// more than one.
const ROUNDED: f32 = 1.0 / 64.0;
/// The same where convolutions make results in squares: what is rounded there are sums of four
/// values and of weights, so each result is 1.6 times as far off as a plain sum of its products.
const ROUNDED_SQUARES: f32 = 1.0 / 40.0;
const ROUNDED_AT_MOST: f32 = 1.0 / 8.0;
/// How many times as far off a transformer may be whose weights are kept in bytes.
const OF_BYTES: f32 = 2.0;

/// In f32 no number differs by more than 1e-4 of the largest, in bf16 all together by no more than
/// `rounded`.
fn close(what: &str, (precision, rounded): (Precision, f32), a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differences = || a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let rms = |values: &mut dyn Iterator<Item = f32>| {
        (values.map(|value| value * value).sum::<f32>() / a.len() as f32).sqrt()
    };
    let (differs, allowed) = match precision {
        Precision::F32 => {
            let largest = a.iter().map(|value| value.abs()).fold(1e-3, f32::max);
            (differences().fold(0.0, f32::max), 1e-4 * largest)
        }
        Precision::Bf16 => (rms(&mut differences()), rounded * rms(&mut a.iter().copied())),
    };
    assert!(differs <= allowed, "{what} in {precision:?}: {differs}, {allowed} is allowed");
}

/// A shot of a few chunks, as the engine asks for it: context, chunks denoised and committed, the
/// oldest forgotten; every velocity on the way.
fn shot<D: StoryDenoiser>(
    denoiser: &D,
    captions: &[D::Embedding],
    [channels, height, width]: [usize; 3],
) -> Vec<Latents> {
    let texts: Vec<_> = captions
        .iter()
        .map(|caption| denoiser.cache_text(caption).expect("what is asked for fits"))
        .collect();
    let slot = |position: usize, phase: u32, caption: usize| FrameSlot {
        position: position as u32,
        phase,
        caption,
    };
    let context = denoiser.upload(&latents([4, channels, height, width], 1));
    let slots: Vec<_> = (0..4).map(|f| slot(f, f as u32 / 2, f / 2)).collect();
    let context =
        denoiser.encode_context(&context, &slots, &texts).expect("what is asked for fits");
    let mut local = denoiser.empty_local();
    let mut made = Vec::new();
    for chunk in 0..3 {
        let slots: Vec<_> = (0..3).map(|f| slot(4 + 3 * chunk + f, 2, 0)).collect();
        let noisy = latents([3, channels, height, width], 2 + chunk);
        for timestep in [1000.0, 737.5] {
            let memory = Memory { context: &context, local: &local };
            let noisy = denoiser.upload(&noisy);
            let velocity = denoiser
                .velocity(&noisy, timestep, &slots, &texts[chunk % 2], memory)
                .expect("what is asked for fits");
            made.push(denoiser.download(&velocity));
        }
        let clean = denoiser.upload(&noisy);
        denoiser
            .commit(&clean, &slots, &texts[chunk % 2], &context, &mut local)
            .expect("what is asked for fits");
        denoiser.forget(&mut local, LatentFrames(1), LatentFrames(4));
    }
    made
}

fn compare_shots(dit: &DitConfig, rounded: f32) {
    let (slow, fast) = both(dit, &vae_config(2, 1, 1, [true, true]));
    let prompts = ["a red cat", "waves"];
    let slow_text: Vec<_> = prompts
        .iter()
        .map(|prompt| slow.text.embed(prompt).expect("what is asked for fits").embedding)
        .collect();
    let size = [dit.in_channels, 4, 6];
    let slow = shot(&slow.denoiser, &slow_text, size);
    for (precision, fast) in fast {
        let text: Vec<_> = prompts
            .iter()
            .map(|prompt| fast.text.embed(prompt).expect("what is asked for fits").embedding)
            .collect();
        let bytes = fast.denoiser.kernels().keeping() == Keeping::Bytes;
        let rounded = if bytes { OF_BYTES * rounded } else { rounded };
        let fast = shot(&fast.denoiser, &text, size);
        for (at, (slow, fast)) in slow.iter().zip(&fast).enumerate() {
            assert_eq!(slow.shape, fast.shape);
            close(&format!("velocity {at}"), (precision, rounded), &slow.data, &fast.data);
        }
    }
}

fn vae_config(dim: usize, blocks: usize, patch: usize, halves: [bool; 2]) -> VaeConfig {
    VaeConfig {
        dim,
        decoder_dim: dim + 2,
        z_dim: 4,
        dim_mult: vec![1, 2, 3],
        num_res_blocks: blocks,
        temporal_downsample: halves.to_vec(),
        patch,
        latents_mean: vec![0.5, -0.25, 0.0, 1.0],
        latents_std: vec![2.0, 0.5, 1.0, 1.5],
    }
}

/// Every frame of a stream of chunks of these lengths.
fn stream<D: Decoder>(decoder: &D, chunks: &[D::Latents]) -> Vec<Pixels> {
    let mut state = decoder.start();
    chunks
        .iter()
        .map(|chunk| decoder.decode(&mut state, chunk).expect("what is asked for fits"))
        .collect()
}

fn compare_vaes(vae: &VaeConfig, lengths: &[usize], rounded: f32) {
    let (slow, fast) = both(&tiny_bundle().config.dit, vae);
    let [_, rows, columns] = vae.stride();
    let pictures = Pixels {
        shape: [2, 3, 2 * rows, 3 * columns],
        data: numbers(2 * 3 * 2 * rows * 3 * columns, 5),
    };
    let encoded = slow.encoder.encode(&pictures).expect("what is asked for fits");
    let chunks: Vec<_> = lengths.iter().map(|&frames| latents([frames, 4, 2, 3], frames)).collect();
    let uploaded: Vec<_> = chunks.iter().map(|chunk| slow.denoiser.upload(chunk)).collect();
    let slow = stream(&slow.decoder, &uploaded);
    for (precision, fast) in fast {
        let latents = fast.encoder.encode(&pictures).expect("what is asked for fits");
        assert_eq!(encoded.shape, latents.shape);
        close("latents of pictures", (precision, rounded), &encoded.data, &latents.data);
        let frames = stream(&fast.decoder, &chunks);
        for (slow, fast) in slow.iter().zip(&frames) {
            assert_eq!(slow.shape, fast.shape);
            close("frames", (precision, rounded), &slow.data, &fast.data);
        }
        // A second stream begins in the memory of the first, and knows nothing of it.
        assert_eq!(stream(&fast.decoder, &chunks), frames);
    }
}

fn dit_config(heads: usize, pairs: usize, ffn: usize, layers: usize) -> DitConfig {
    DitConfig {
        dim: heads * 2 * pairs,
        ffn_dim: ffn,
        num_heads: heads,
        num_layers: layers,
        ..tiny_bundle().config.dit
    }
}

#[test]
fn shots_of_the_usual_sizes_agree() {
    compare_shots(&dit_config(4, 16, 96, 2), ROUNDED);
    compare_shots(&DitConfig { shot_embeddings: 2, ..dit_config(2, 64, 160, 1) }, ROUNDED);
}

#[test]
fn pictures_and_streams_of_the_usual_sizes_agree() {
    compare_vaes(&vae_config(16, 1, 2, [true, true]), &[3, 3, 1, 2], ROUNDED_SQUARES);
    compare_vaes(&vae_config(24, 2, 1, [false, true]), &[1, 3, 3], ROUNDED_SQUARES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn shots_of_any_size_agree(
        heads in 1usize..5,
        pairs in 3usize..21,
        ffn in 1usize..70,
        layers in 1usize..4,
    ) {
        compare_shots(&dit_config(heads, pairs, ffn, layers), ROUNDED_AT_MOST);
    }

    #[test]
    fn pictures_and_streams_of_any_size_agree(
        dim in 1usize..20,
        blocks in 1usize..3,
        patch in 1usize..3,
        halves in any::<[bool; 2]>(),
        lengths in prop::collection::vec(1usize..5, 1..4),
    ) {
        compare_vaes(&vae_config(2 * dim, blocks, patch, halves), &lengths, ROUNDED_AT_MOST);
    }
}

#[test]
fn a_shot_and_its_pictures_have_the_same_bits_on_any_number_of_threads() {
    let (_, fast) = both(&dit_config(3, 10, 40, 2), &vae_config(12, 1, 2, [true, true]));
    fast.iter().rev().take(2).for_each(|(_, fast)| same_bits(fast));
}

fn same_bits(fast: &FastNetworks<Cpu>) {
    let text = ["a red cat", "waves"]
        .map(|prompt| fast.text.embed(prompt).expect("what is asked for fits").embedding);
    let made = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("what is asked for fits");
        pool.install(|| {
            let chunks = [latents([3, 4, 4, 6], 1), latents([3, 4, 4, 6], 2)];
            (shot(&fast.denoiser, &text, [4, 4, 6]), stream(&fast.decoder, &chunks))
        })
    });
    assert!(made[0] == made[1] && made[1] == made[2]);
}

/// What a denoiser says to latents of another width, and to a context whose captions are not there.
fn refusals<D: StoryDenoiser>(denoiser: &D, caption: &D::Embedding) -> [String; 2] {
    let text = denoiser.cache_text(caption).expect("what is asked for fits");
    let slots = [FrameSlot { position: 0, phase: 0, caption: 1 }];
    let context = |latents: Latents| {
        let latents = denoiser.upload(&latents);
        match denoiser.encode_context(&latents, &slots, std::slice::from_ref(&text)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    [context(latents([1, 4, 4, 6], 1)), context(latents([1, 5, 4, 6], 1))]
}

#[test]
fn both_refuse_the_same_in_words() {
    let (slow, mut fast) = both(&tiny_bundle().config.dit, &vae_config(2, 1, 1, [true, true]));
    let (_, fast) = fast.pop().expect("one kind of vectors at least");
    let prompt = "a red cat";
    let caption = slow.text.embed(prompt).expect("a prompt").embedding;
    let refused = refusals(&slow.denoiser, &caption);
    let [captions, latents] = &refused;
    assert!(captions.starts_with("the captions of a pass"), "{captions}");
    assert!(latents.starts_with("context latents"), "{latents}");
    let caption = fast.text.embed(prompt).expect("a prompt").embedding;
    let [captions, latents] = refusals(&fast.denoiser, &caption);
    assert_eq!(captions, refused[0]);
    assert!(latents.starts_with("context latents"), "{latents}");
}

#[test]
fn a_head_that_there_is_no_room_for_is_refused_before_it_is_run() {
    let device = Device::flex();
    let dit = Dit::new(&dit_config(1, 257, 8, 1), &device);
    let vae = Vae::new(&vae_config(2, 1, 1, [true, true]), &device);
    let Bundle { config, text, tokenizer, .. } = tiny_bundle();
    let text = BurnTextEncoder::whole(tokenizer, text, config.dit.text_len, device);
    let error = FastNetworks::new(Cpu::new(), dit, vae, text).expect_err("a head of 514");
    assert_eq!(error.to_string(), "a head is 514 wide, expected 512 at most");
}

/// The text encoder of a model, where it is stored.
fn text_of(model: &StoredModel<'static>) -> BurnTextEncoder {
    let text = model.text_encoder(Holding::Nothing, Cpu::new()).expect("a text encoder");
    BurnTextEncoder::stored(model.tokenizer().clone(), text, model.config().dit.text_len)
}

#[test]
fn networks_packed_from_their_files_have_the_bits_of_loaded_ones() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/published");
    for layout in ["shotstream", "wan", "diffusers"] {
        let model = StoredModel::open(&golden.join(layout)).expect("a committed model");
        let (dit, vae) = model.load_without_text(&Device::flex()).expect("a committed model");
        let text = text_of(&model);
        let fast = [
            FastNetworks::new(Cpu::new(), dit, vae, text.clone()).expect("a model that fits"),
            FastNetworks::stored(Cpu::new(), &model, text).expect("a model that fits"),
        ];
        let caption = fast[0].text.embed("a red cat").expect("what is asked for fits").embedding;
        let captions = [caption.clone(), caption];
        let shots = [0, 1].map(|at| shot(&fast[at].denoiser, &captions, [16, 4, 6]));
        assert!(shots[0] == shots[1], "{layout}");
        let chunks = [latents([2, 16, 2, 3], 1)];
        let frames = [0, 1].map(|at| stream(&fast[at].decoder, &chunks));
        assert!(frames[0] == frames[1], "{layout}");
        let pictures = [0, 1].map(|at| fast[at].encoder.encode(&frames[0][0]).expect("pictures"));
        assert!(pictures[0] == pictures[1], "{layout}");
    }
}

#[test]
fn a_stored_weight_that_is_no_number_is_refused_by_name_as_it_is_packed() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("model.safetensors");
    tiny_bundle().save(&path, StoredDtype::F32).expect("a bundle");
    let mut bytes = std::fs::read(&path).expect("the bundle");
    // Tensors lie in the order of their names, those of the transformer first.
    let first = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    bytes[first..first + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("the bundle");
    let model = StoredModel::open(&path).expect("a header that is whole");
    let error = FastNetworks::stored(Cpu::new(), &model, text_of(&model));
    let error = error.expect_err("no number").to_string();
    assert!(error.contains("holds a value that is not finite"), "{error}");
}
