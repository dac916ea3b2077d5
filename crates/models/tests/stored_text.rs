//! The text encoder where it is stored, its cache, and prompts that are too long.

use std::{fs, path::Path};

use burn::tensor::Device;
use shotstream_engine::network::TextEncoder as _;
use shotstream_models::{
    fast::{Cpu, Keeping, Precision},
    networks::BurnNetworks,
    stored::StoredModel,
    text::{BurnTextEncoder, Cut, EmbeddingCache, Holding, Identity},
};
use tempfile::TempDir;

/// Bytes of a cache that never becomes full here.
const ROOMY: u64 = 1 << 30;

const PROMPTS: [&str; 3] =
    ["A red cat. shot0:the cat waves", "A red cat. shot1:the cat sleeps in the snow", "night"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn open(model: &Path) -> StoredModel<'static> {
    StoredModel::open(model).expect("a committed model")
}

/// The text encoder of a model, where it is stored.
fn stored(model: &StoredModel<'static>, holding: Holding) -> BurnTextEncoder {
    let text = model.text_encoder(holding, Cpu::new()).expect("a text encoder");
    BurnTextEncoder::stored(model.tokenizer().clone(), text, model.config().dit.text_len)
}

/// The same with a cache in `folder`.
fn cached(model: &StoredModel<'static>, holding: Holding, folder: &Path) -> BurnTextEncoder {
    let text = model.text_encoder(holding, Cpu::new()).expect("a text encoder");
    let identity = Identity::of(&text).expect("weights that can be read");
    let cache = EmbeddingCache::new(folder.to_owned(), ROOMY, identity);
    stored(model, holding).with_cache(cache)
}

/// The values of a prompt's embedding.
fn values(text: &BurnTextEncoder, prompt: &str) -> Vec<f32> {
    let embedded = text.embed(prompt).expect("an embedding");
    embedded.embedding.0.into_data().iter::<f32>().collect()
}

/// The largest difference, over the largest value.
fn differ(exact: &[f32], near: &[f32]) -> f32 {
    let largest = exact.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    exact.iter().zip(near).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// The published files of the golden, in a folder of their own.
fn copied() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let golden = root().join("testdata/published/shotstream");
    for name in [
        "shotstream_merged.pt",
        "Wan2.1_VAE.pth",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "config.json",
        "google/umt5-xxl/tokenizer.json",
    ] {
        let to = home.path().join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(golden.join(name), to).expect("a copy");
    }
    home
}

#[test]
fn block_by_block_has_the_bits_of_all_blocks_at_once_and_reads_as_the_network_does() {
    let golden = root().join("testdata/published");
    // bf16, bf16 in several files, and f16.
    for model in [
        golden.join("shotstream"),
        golden.join("diffusers"),
        root().join("weights/tiny.safetensors"),
    ] {
        let file = open(&model);
        let whole = BurnNetworks::new(&file.load(&Device::flex()).expect("a model")).text;
        let at_once = stored(&file, Holding::Computed);
        for prompt in PROMPTS {
            let (exact, found) = (values(&whole, prompt), values(&at_once, prompt));
            let off = differ(&exact, &found);
            assert!(off < 1e-5, "{off} of the largest: {}", model.display());
        }
        for holding in [Holding::Nothing, Holding::AsStored, Holding::Computed] {
            let text = stored(&file, holding);
            let prompts = PROMPTS.map(|prompt| ("", prompt));
            text.read_ahead(&prompts).expect("embeddings");
            let alone = stored(&file, holding);
            for prompt in PROMPTS {
                let expected = values(&at_once, prompt);
                assert!(values(&alone, prompt) == expected, "{}", model.display());
                assert!(values(&text, prompt) == expected, "{}", model.display());
            }
            assert_eq!(text.counts(), (3, 0));
        }
    }
}

#[test]
fn a_byte_a_weight_is_off_by_three_percent_at_most_and_half_of_bf16() {
    let file = open(&root().join("weights/tiny.safetensors"));
    let (whole, bytes) = (Cpu::new(), Cpu::new().keep(Keeping::Bytes));
    let held = |holding, cpu| {
        let text = file.text_encoder(holding, cpu).expect("a text encoder");
        assert_eq!(text.held_bytes(), 0);
        text.embed(&[&[3, 1]]).expect("an embedding");
        text.held_bytes()
    };
    let halves = held(Holding::AsStored, whole);
    assert_eq!(held(Holding::Nothing, whole), 0);
    assert_eq!(2 * halves, held(Holding::Computed, whole));
    assert_eq!(halves, 2 * held(Holding::Computed, bytes));
    let [exact, near] = [whole, bytes].map(|cpu| {
        let stored = file.text_encoder(Holding::Computed, cpu).expect("a text encoder");
        BurnTextEncoder::stored(file.tokenizer().clone(), stored, file.config().dit.text_len)
    });
    for prompt in PROMPTS {
        let off = differ(&values(&exact, prompt), &values(&near, prompt));
        assert!(0.0 < off && off < 0.03, "{off} of the largest: {prompt}");
    }
}

#[test]
fn a_prompt_that_was_embedded_before_needs_no_weights() {
    for holding in [Holding::Nothing, Holding::AsStored, Holding::Computed] {
        let (home, cache) = (copied(), tempfile::tempdir().expect("a folder"));
        let first = cached(&open(home.path()), holding, cache.path());
        let expected = PROMPTS.map(|prompt| values(&first, prompt));
        assert_eq!(first.counts(), (3, 0));
        // Opened, told apart from others, and then cut off behind its beginning.
        let second = cached(&open(home.path()), holding, cache.path());
        let file = home.path().join("models_t5_umt5-xxl-enc-bf16.pth");
        fs::File::options().write(true).open(file).expect("the file").set_len(100).expect("a cut");
        assert!(PROMPTS.map(|prompt| values(&second, prompt)) == expected);
        assert_eq!(second.counts(), (0, 3));
        let error = second.embed("another prompt").expect_err("no weights").to_string();
        assert!(
            error.starts_with("the text encoder failed: cannot read the checkpoint"),
            "{error}"
        );
    }
}

#[test]
fn other_weights_another_precision_and_other_words_are_other_entries() {
    let (home, cache) = (copied(), tempfile::tempdir().expect("a folder"));
    let file = open(home.path());
    let identity = |file: &StoredModel<'static>, holding| {
        let text = file.text_encoder(holding, Cpu::new()).expect("a text encoder");
        Identity::of(&text).expect("weights that can be read")
    };
    let own = identity(&file, Holding::Nothing);
    assert_eq!(identity(&file, Holding::AsStored), own);
    let (bf16, bytes) = (Cpu::new().in_precision(Precision::Bf16), Cpu::new().keep(Keeping::Bytes));
    for other in [bf16, bytes] {
        let text = file.text_encoder(Holding::Nothing, other).expect("a text encoder");
        assert_ne!(Identity::of(&text).expect("weights that can be read"), own);
    }
    // The same weights in another file are the same weights.
    assert_eq!(identity(&open(copied().path()), Holding::Nothing), own);
    let other = open(&root().join("weights/tiny.safetensors"));
    assert_ne!(identity(&other, Holding::Nothing), own);
    let text = cached(&file, Holding::Nothing, cache.path());
    values(&text, PROMPTS[0]);
    values(&text, PROMPTS[1]);
    values(&text, PROMPTS[0]);
    assert_eq!(text.counts(), (2, 1));
    for entry in fs::read_dir(cache.path()).expect("the cache") {
        fs::write(entry.expect("an entry").path(), "damaged").expect("damage");
    }
    let expected = values(&stored(&file, Holding::Nothing), PROMPTS[0]);
    let text = cached(&file, Holding::Nothing, cache.path());
    assert!(values(&text, PROMPTS[0]) == expected);
    assert!(values(&text, PROMPTS[0]) == expected);
    assert_eq!(text.counts(), (1, 1));
}

#[test]
fn a_prompt_that_is_too_long_keeps_the_shots_own_words_if_asked_to() {
    let file = open(&root().join("weights/tiny.safetensors"));
    let limit = file.config().dit.text_len;
    let text = stored(&file, Holding::AsStored);
    let kept = text.clone().with_cut(Cut::Global);
    let (global, shot) = ("red ".repeat(limit), "shot0:the cat waves in the snow");
    let prompt = format!("{global}{shot}");
    let embed = |text: &BurnTextEncoder, global: &str, prompt: &str| {
        let embedded = text.embed_under(global, prompt).expect("an embedding");
        let values: Vec<f32> = embedded.embedding.0.into_data().iter::<f32>().collect();
        (values, embedded.dropped_tokens)
    };
    // Nothing of the shot is left, so that any two shots are one.
    let other = format!("{global}shot1:a dog sleeps");
    assert_eq!(embed(&text, &global, &prompt).0, embed(&text, &global, &other).0);
    let (found, dropped) = embed(&kept, &global, &prompt);
    assert_ne!(found, embed(&kept, &global, &other).0);
    // What is read is what a global caption of just the right length would have given.
    let short = format!("{}{shot}", "red ".repeat(limit - dropped));
    assert_eq!(embed(&text, "", &short), (found, 0));
    // A prompt under another global caption is cut at its end, and one that fits not at all.
    assert_eq!(embed(&kept, "a blue", &prompt), embed(&text, "", &prompt));
    assert_eq!(embed(&kept, "a red ", "a red cat"), embed(&text, "", "a red cat"));
}
