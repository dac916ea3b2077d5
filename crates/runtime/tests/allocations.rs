//! What is allocated while a shot goes on: nothing but what is handed out.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, Latents, Memory, StoryDenoiser as _,
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use shotstream_runtime::{
    cpu::Cpu,
    dit::{self, Dit, Embedding},
    vae,
    weights::Invented,
};

/// The system's memory, counted: a crate for it would have all of Burn built once more.
struct Counted;

/// Blocks that were ever handed out, and bytes that are.
static BLOCKS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "who hands out memory is trusted with it")]
// SAFETY: the system does all of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn counted() -> (usize, usize) {
    (BLOCKS.load(Relaxed), BYTES.load(Relaxed))
}

fn latents(frames: usize) -> Latents {
    let shape = [frames, 4, 8, 12];
    let values = (0..shape.iter().product()).map(|at| (at as f32 * 0.37).sin());
    Latents { shape, data: values.collect() }
}

fn slots(first: usize, count: usize) -> Vec<FrameSlot> {
    let places = first..first + count;
    places.map(|at| FrameSlot { position: at as u32, phase: 1, caption: 0 }).collect()
}

fn transformer() -> dit::Sizes {
    dit::Sizes {
        dim: 48,
        ffn_dim: 96,
        freq_dim: 16,
        num_heads: 3,
        num_layers: 2,
        channels: [4, 4],
        patch: [2, 2],
        text_dim: 12,
        eps: 1e-6,
        shot_phase: 1.0 / 6.0,
        shot_embeddings: 0,
    }
}

fn vae() -> vae::Sizes {
    vae::Sizes {
        dims: [8, 8],
        channels: 4,
        multiples: vec![1, 2, 2],
        num_res_blocks: 1,
        halves_time: vec![true, true],
        patch: 2,
        mean: vec![0.0; 4],
        std: vec![1.0; 4],
    }
}

#[test]
fn a_chunk_allocates_what_it_hands_out_and_nothing_else() {
    let dit = Dit::new(Cpu::new(), transformer(), &Invented).expect("weights that fit");
    let decoder = vae::Decoder::new(Cpu::new(), vae(), &Invented).expect("weights that fit");
    let embedding = Embedding { tokens: 5, values: latents(1).data[..60].into() };
    let caption = dit.cache_text(&embedding).expect("a caption");
    let texts = std::slice::from_ref(&caption);
    let context = dit.encode_context(&latents(6), &slots(0, 6), texts).expect("a context");
    let (chunk, mut local, mut state) = (latents(3), dit.empty_local(), decoder.start());
    // A thread of the pool waits for the others without a word to anyone; whoever comes from
    // outside puts its work into a queue, which grows now and then.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let mut handed_out = |chunks: usize| {
        pool.install(|| {
            let slots = slots(6, 3);
            let before = counted();
            for _ in 0..chunks {
                for timestep in [1000.0, 740.0, 500.0, 260.0] {
                    let memory = Memory { context: &context, local: &local };
                    let velocity = dit.velocity(&chunk, timestep, &slots, &caption, memory);
                    assert_eq!(velocity.expect("a velocity").shape, chunk.shape);
                }
                dit.commit(&chunk, &slots, &caption, &context, &mut local).expect("a commit");
                dit.forget(&mut local, LatentFrames(0), LatentFrames(6));
                let frames = decoder.decode(&mut state, &chunk).expect("frames").shape[0];
                assert!(9 <= frames);
            }
            let after = counted();
            (after.0 - before.0, after.1 - before.1)
        })
    };
    handed_out(4);
    // Four velocities and the frames of every chunk.
    assert_eq!(handed_out(10), (50, 0));
}
