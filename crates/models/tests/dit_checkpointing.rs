//! Block checkpointing: the same losses and gradients, whatever the pass.

mod dit;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shotstream_models::dit::{Dit, FrameMask, LocalCache};
use shotstream_plan::layout::FrameSlot;

use dit::{distance, tiny, with_weights};

const FRAMES: usize = 6;
const CHUNK: usize = 2;

/// Numbers that look random and depend on `seed` only.
fn noise<const R: usize>(seed: u64, shape: [usize; R]) -> Tensor<R> {
    let count = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> =
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// A network that learns: every parameter wants its gradient.
fn network() -> Dit {
    struct Learning;
    impl ModuleMapper for Learning {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.autodiff().require_grad())
        }
    }
    let mut seed = 0;
    let plain = with_weights(&tiny(), &Device::flex(), |name, shape| {
        seed += 1;
        let fan_in = shape[1..].iter().product::<usize>().max(1) as f32;
        let is_norm = name.contains("norm") && name.ends_with("weight");
        let (middle, spread) = if is_norm { (1.0, 0.3) } else { (0.0, fan_in.powf(-0.5)) };
        let values = noise(seed, [shape.iter().product()]).into_data().try_to_vec::<f32>();
        values.expect("f32").into_iter().map(|value| middle + spread * value).collect()
    });
    plain.map(&mut Learning)
}

fn slots() -> Vec<FrameSlot> {
    let caption = |frame: usize| usize::from(frame >= CHUNK);
    let slot = |frame| FrameSlot { position: frame as u32, phase: 0, caption: caption(frame) };
    (0..FRAMES).map(slot).collect()
}

/// A way to run a network to a number.
type Way = fn(&Dit, Tensor<5>, Tensor<4>) -> Tensor<5>;

fn timesteps(frames: usize) -> Tensor<2> {
    let values = (0..2 * frames).map(|index| 90.0 * index as f32).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, [2, frames]), &Device::flex().autodiff())
}

fn whole(dit: &Dit, clip: Tensor<5>, text: Tensor<4>) -> Tensor<5> {
    dit.parallel(clip, timesteps(FRAMES), &slots(), &dit.text_cache(text), None)
}

fn masked(dit: &Dit, clip: Tensor<5>, text: Tensor<4>) -> Tensor<5> {
    let mask = FrameMask::block_causal(CHUNK, FRAMES - CHUNK, CHUNK);
    dit.parallel(clip, timesteps(FRAMES), &slots(), &dit.text_cache(text), Some(&mask))
}

/// The last chunk behind caches that carry a gradient themselves.
fn cached(dit: &Dit, clip: Tensor<5>, text: Tensor<4>) -> Tensor<5> {
    let (slots, text) = (slots(), dit.text_cache(text));
    let chunk = |index: usize| clip.clone().narrow(2, index * CHUNK, CHUNK);
    let at = |index: usize| &slots[index * CHUNK..][..CHUNK];
    let context = dit.encode_context(chunk(0), at(0), &text);
    let mut local = LocalCache::default();
    dit.commit(chunk(1), at(1), &text, &context, &mut local);
    dit.denoise(chunk(2), timesteps(CHUNK), at(2), &text, &context, &local)
}

/// A value, and the gradients of the clip, the captions and every parameter, by name.
fn gradients(dit: &Dit, way: Way) -> Vec<(String, Tensor<1>)> {
    struct Reader<'a>(&'a Gradients, Vec<String>, Vec<(String, Tensor<1>)>);
    impl ModuleVisitor for Reader<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).expect("every parameter plays a part");
            self.2.push((self.1.join("."), gradient.flatten(0, D - 1)));
        }
    }
    let clip = noise(100, [2, 4, FRAMES, 4, 6]).autodiff().require_grad();
    let text = noise(101, [2, 2, 5, 12]).autodiff().require_grad();
    let made = way(dit, clip.clone(), text.clone());
    let value = made.clone().inner().flatten(0, 4);
    let weights = noise(102, made.dims()).autodiff();
    let grads = (made * weights).sum().backward();
    let mut reader = Reader(&grads, Vec::new(), vec![("the value".into(), value)]);
    dit.visit(&mut reader);
    let mut all = reader.2;
    let clip = clip.grad(&grads).expect("the clip plays a part").flatten(0, 4);
    let text = text.grad(&grads).expect("the captions play a part").flatten(0, 3);
    all.extend([("clip".into(), clip), ("text".into(), text)]);
    all
}

#[test]
fn checkpointed_blocks_have_the_gradients_of_plain_ones() {
    let plain = network();
    let checkpointed = plain.clone().with_block_checkpointing();
    for way in [whole as Way, masked, cached] {
        let [expected, found] = [&plain, &checkpointed].map(|dit| gradients(dit, way));
        assert_eq!(expected.len(), found.len());
        for ((name, expected), (_, found)) in expected.into_iter().zip(found) {
            let size: f32 = expected.clone().abs().max().into_scalar();
            assert!(size > 0.0, "{name} has no gradient");
            let error = distance(found, expected);
            assert!(error <= 1e-6, "{name}: {error}");
        }
    }
}

#[test]
fn parts_of_a_batch_on_two_threads_do_not_wait_for_each_other() {
    let plain = network();
    let expected = gradients(&plain.clone().with_block_checkpointing(), masked);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..2)
            .map(|part| {
                let builder = std::thread::Builder::new().name(format!("part-{part}"));
                builder
                    .spawn_scoped(scope, || {
                        gradients(&network().with_block_checkpointing(), masked)
                    })
                    .expect("a thread")
            })
            .collect();
        for part in parts {
            for ((name, found), (_, expected)) in
                part.join().expect("no panic").iter().zip(&expected)
            {
                assert_eq!(found.to_data(), expected.to_data(), "{name}");
            }
        }
    });
}
