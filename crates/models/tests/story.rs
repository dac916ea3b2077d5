//! The engine tells a whole story over a random bundle.

mod tiny;

use std::sync::mpsc::sync_channel;

use shotstream_engine::{
    event::{Command, Event, channel},
    meter::Meter,
    noise::Noise,
    session::{Ending, Networks, Settings, run},
    story::StoryState,
};
use shotstream_models::networks::BurnNetworks;

use tiny::tiny_bundle;

#[test]
fn two_shots_come_out_chunk_by_chunk_and_say_what_was_not_understood() {
    let bundle = tiny_bundle();
    let networks = BurnNetworks::new(&bundle);
    let settings = Settings {
        recipe: bundle.recipe().clone(),
        latent_channels: bundle.config.vae.z_dim,
        noise: Noise::Seeded,
        capture_latents: true,
    };
    let BurnNetworks { text, denoiser, decoder, encoder } = &networks;
    let networks = Networks { text, denoiser, decoder, encoder };
    let (ask, commands) = sync_channel(4);
    let (events, said) = channel(64);
    for command in [Command::add_shot("a cat"), Command::add_shot("a dog"), Command::Finish] {
        ask.send(command).unwrap();
    }
    let story = &mut StoryState::new("red ", 7);
    assert_eq!(
        run(&networks, &settings, story, &commands, &events, &Meter::default()),
        Ending::Finished
    );
    drop(events);

    let (mut chunks, mut unknown) = (Vec::new(), Vec::new());
    for event in said {
        match event {
            Event::Frames { shot, frames, .. } => chunks.push((shot, frames.len())),
            Event::ShotStarted { unknown_words, .. } => unknown.push(unknown_words),
            Event::Latents { latents, context, .. } => {
                assert_eq!(latents.shape, [9, 4, 10, 16]);
                assert_eq!(context.shape, [6, 4, 10, 16]);
            }
            _ => {}
        }
    }
    assert_eq!(chunks, [(0, 9), (0, 12), (0, 12), (1, 9), (1, 12), (1, 12)]);
    assert_eq!(unknown, [vec!["shot", "0", ":"], vec!["shot", "1", ":", "dog"]]);
}
