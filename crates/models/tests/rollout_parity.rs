//! A whole story agrees with PyTorch's numbers: captions, context, given noise, latents, frames.
//!
//! The session runs as it does for a user, over a bundle from a file. Only the decoder is watched,
//! because events carry bytes and the golden has values.
//!
//! Expected values: `tools/goldens/rollout.py`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::{collections::BTreeMap, thread};

use burn::tensor::Device;
use safetensors::{Dtype, SafeTensors};
use shotstream_engine::event::{Command, Event, channel};
use shotstream_engine::meter::Meter;
use shotstream_engine::network::{Decoder, Latents, NetworkError, Pixels};
use shotstream_engine::noise::Noise;
use shotstream_engine::session::{self, Ending, Networks, Settings};
use shotstream_engine::story::StoryState;
use shotstream_models::bundle::Bundle;
use shotstream_models::networks::{BurnDecoder, BurnLatents, BurnNetworks};
use shotstream_models::vae::DecoderState;
use shotstream_plan::plan::ShotPlan;
use shotstream_plan::script::{Format, Script};

const SHOTS: usize = 3;
const CHUNKS: usize = 2;

/// Frames, height and width of a shot.
const SIZE: [usize; 3] = [21, 32, 48];

/// Allowed difference: of latents relative to the largest expected value, of frames in `[-1, 1]`.
const TOLERANCE: f32 = 1e-3;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/rollout").join(name)
}

/// The tensors of one file, by name: shape and values.
struct Golden(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Golden {
    fn read(name: &str) -> Self {
        let bytes = std::fs::read(testdata(name)).expect("the committed golden");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file.iter().map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::F16 => {
                    let halves = data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b));
                    halves.map(half::f16::to_f32).collect()
                }
                Dtype::I64 => {
                    data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect()
                }
                other => panic!("{name} holds {other:?}"),
            };
            (name.to_owned(), (view.shape().to_vec(), values))
        });
        Self(tensors.collect())
    }

    fn latents(&self, name: &str) -> Latents {
        let (shape, data) = &self.0[name];
        Latents { shape: shape.as_slice().try_into().expect("four axes"), data: data.clone() }
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.0[name].1
    }

    /// Rows of a table of whole numbers.
    fn rows<const N: usize>(&self, name: &str) -> Vec<[usize; N]> {
        let (rows, _) = self.values(name).as_chunks::<N>();
        rows.iter().map(|row| row.map(|value| value as usize)).collect()
    }
}

/// A decoder that remembers what it said.
struct Watched {
    inner: BurnDecoder,
    said: Mutex<Vec<Pixels>>,
}

impl Decoder for Watched {
    type Latents = BurnLatents;
    type State = DecoderState;

    fn start(&self) -> DecoderState {
        self.inner.start()
    }

    fn decode(
        &self,
        state: &mut DecoderState,
        latents: &BurnLatents,
    ) -> Result<Pixels, NetworkError> {
        let pixels = self.inner.decode(state, latents)?;
        self.said.lock().expect("nobody panicked").push(pixels.clone());
        Ok(pixels)
    }
}

/// What became of one shot.
#[derive(Default)]
struct Shot {
    plan: Option<Arc<ShotPlan>>,
    unknown_words: Vec<String>,
    dropped_tokens: usize,
    latents: Option<Latents>,
    context: Option<Latents>,
    /// `T * 3 * H * W` values.
    pixels: Vec<f32>,
    /// `T * H * W * 3` bytes.
    bytes: Vec<u8>,
}

/// The story, told once for all tests.
static STORY: LazyLock<Vec<Shot>> = LazyLock::new(tell);
static EXPECTED: LazyLock<Golden> = LazyLock::new(|| Golden::read("expected.safetensors"));

fn tell() -> Vec<Shot> {
    let bundle = Bundle::from_file(&testdata("model.safetensors"), &Device::flex());
    let bundle = bundle.expect("the committed bundle");
    let text = std::fs::read_to_string(testdata("story.json")).expect("the story");
    let script = Script::parse(&text, Format::of_text(&text), bundle.recipe());
    let script = script.expect("a script");
    let noise = Golden::read("noise.safetensors");
    let noise = noise.0.keys().map(|name| (name.clone(), noise.latents(name))).collect();
    let BurnNetworks { text, denoiser, decoder, encoder } = BurnNetworks::new(&bundle);
    let decoder = Watched { inner: decoder, said: Mutex::default() };
    let networks =
        Networks { text: &text, denoiser: &denoiser, decoder: &decoder, encoder: &encoder };
    let settings = Settings {
        recipe: bundle.recipe().clone(),
        latent_channels: bundle.config.vae.z_dim,
        noise: Noise::Given(noise),
        capture_latents: true,
    };
    let (commands, inbox) = mpsc::sync_channel(SHOTS + 1);
    for shot in script.shots {
        commands.send(Command::AddShot { shot }).expect("room for every shot");
    }
    commands.send(Command::Finish).expect("room for the end");
    let (sender, events) = channel(1);
    let watcher = thread::Builder::new().name("viewer".to_owned());
    let watcher = watcher.spawn(move || events.fold(Vec::new(), heard)).expect("a thread");
    let mut story = StoryState::new(script.global, 0);
    let ending = session::run(&networks, &settings, &mut story, &inbox, &sender, &Meter::default());
    drop(sender);
    let mut shots = watcher.join().expect("the viewer saw nothing wrong");
    assert_eq!(ending, Ending::Finished);
    let said = decoder.said.into_inner().expect("nobody panicked");
    for (index, chunk) in said.into_iter().enumerate() {
        let shot: &mut Shot = &mut shots[index / CHUNKS];
        shot.pixels.extend(chunk.data);
    }
    shots
}

/// The story so far with one more event in it.
fn heard(mut shots: Vec<Shot>, event: Event) -> Vec<Shot> {
    match event {
        Event::ShotStarted { plan, unknown_words, dropped_tokens, .. } => {
            let plan = Some(plan);
            shots.push(Shot { plan, unknown_words, dropped_tokens, ..Shot::default() });
        }
        Event::Frames { shot, frames, .. } => {
            shots[shot].bytes.extend(frames.into_iter().flat_map(|frame| frame.rgb));
        }
        Event::Latents { shot, latents, context } => {
            shots[shot].latents = Some(latents);
            shots[shot].context = Some(context);
        }
        Event::ShotFinished { cut, .. } => assert!(!cut),
        Event::Refused { error, .. } | Event::NotRewritten { error, .. } => panic!("{error}"),
        Event::Rewritten { .. } => panic!("nobody asked for other words"),
        Event::Failed { error } => panic!("{error}"),
        Event::Finished => {}
    }
    shots
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f32::abs).fold(0.0, f32::max)
}

#[track_caller]
fn assert_agree(name: &str, found: &Latents) {
    let expected = EXPECTED.latents(name);
    assert_eq!(found.shape, expected.shape, "{name}");
    let scale = largest(expected.data.iter().copied()).max(f32::MIN_POSITIVE);
    let error = largest(found.data.iter().zip(&expected.data).map(|(a, b)| a - b));
    assert!(error <= TOLERANCE * scale, "{name}: {error} of {scale}");
}

#[test]
fn context_frames_positions_phases_and_captions_are_the_references() {
    for (shot, told) in STORY.iter().enumerate() {
        let plan = told.plan.as_ref().unwrap();
        let remembered: Vec<_> = plan.context.frames.iter().map(|it| [it.shot, it.frame]).collect();
        assert_eq!(remembered, EXPECTED.rows(&format!("shot{shot}.remembered")));
        // The golden numbers captions by their shots and does not re-base phases; the story is
        // too short for that to matter.
        let context = plan.context.slots.iter().map(|it| (it, plan.context.captions[it.caption]));
        let own = plan.chunks.iter().flat_map(|chunk| &chunk.slots).map(|it| (it, shot));
        let slots: Vec<_> = context
            .chain(own)
            .map(|(slot, caption)| [slot.position as usize, slot.phase as usize, caption])
            .collect();
        assert_eq!(slots, EXPECTED.rows(&format!("shot{shot}.slots")));
    }
}

#[test]
fn the_prompts_tell_what_the_text_encoder_does_not_read() {
    let lost: Vec<_> =
        STORY.iter().map(|shot| (shot.unknown_words.join(" "), shot.dropped_tokens)).collect();
    assert_eq!(lost, [(String::new(), 0), ("zebra".to_owned(), 0), (String::new(), 1)]);
}

#[test]
fn latents_and_context_agree_within_1e_3_of_the_largest_f32() {
    assert_eq!(STORY.len(), SHOTS);
    for (shot, told) in STORY.iter().enumerate() {
        assert_agree(&format!("shot{shot}.context"), told.context.as_ref().unwrap());
        assert_agree(&format!("shot{shot}.latents"), told.latents.as_ref().unwrap());
    }
}

#[test]
fn frames_agree_within_1e_3_f32() {
    for (shot, told) in STORY.iter().enumerate() {
        let expected = EXPECTED.values(&format!("shot{shot}.frames"));
        assert_eq!(told.pixels.len(), expected.len());
        let error = largest(told.pixels.iter().zip(expected).map(|(a, b)| a - b));
        assert!(error <= TOLERANCE, "shot {shot}: {error}");
    }
}

#[test]
fn the_viewer_gets_the_frames_rounded_to_bytes() {
    let [frames, height, width] = SIZE;
    let plane = height * width;
    for (shot, told) in STORY.iter().enumerate() {
        let expected = EXPECTED.values(&format!("shot{shot}.frames"));
        assert_eq!(told.bytes.len(), frames * plane * 3);
        for (index, &byte) in told.bytes.iter().enumerate() {
            let (frame, place, channel) = (index / 3 / plane, index / 3 % plane, index % 3);
            let level = expected[(frame * 3 + channel) * plane + place] * 127.5 + 127.5;
            // Half a level of rounding, and what the values may differ by.
            assert!((f32::from(byte) - level).abs() <= 0.5 + TOLERANCE * 127.5);
        }
    }
}
