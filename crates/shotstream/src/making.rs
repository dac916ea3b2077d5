//! A film of a whole script, from the first prompt to the last frame.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use shotstream_engine::{
    event::{Command, Event},
    meter::Meter,
    network::Latents,
    session::Settings,
    story::StoryState,
};
use shotstream_models::{
    fast::{FastNetworks, Kernels},
    text::Cut,
};
use shotstream_plan::{plan::Plan, script::Script};

use crate::{
    exports::Told,
    failure::Blame as _,
    film::Output,
    hardware::processor_time,
    progress::Progress,
    report::per_second,
    telling::{self, Telling},
};

/// A film while it is made.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) output: Output,
    /// What the settings ask for: `shot{g}.latents` and `shot{g}.context`.
    pub(crate) latents: BTreeMap<String, Latents>,
    /// What was told so far.
    pub(crate) told: Told,
    /// Where the time went.
    pub(crate) meter: Meter,
    /// When the first prompt went in.
    pub(crate) start: Instant,
    pub(crate) progress: Progress,
    /// When the last frames of every shot that has any were there, and what the processor had done.
    pub(crate) done: Vec<(Instant, Duration)>,
    frames: usize,
    shots: usize,
    /// Which words go when a prompt is too long.
    cut: Cut,
}

impl Making {
    /// Nothing yet of what `plan` says, with prompts that are shortened by `cut`.
    pub(crate) fn new(output: Output, plan: &Plan, cut: Cut) -> Self {
        Self {
            output,
            latents: BTreeMap::new(),
            told: Told::default(),
            meter: Meter::default(),
            start: Instant::now(),
            progress: Progress::new(),
            done: Vec::new(),
            frames: plan.timeline().total().0,
            shots: plan.shots().len(),
            cut,
        }
    }

    /// Tell the whole script, or what of it a viewer wants to see.
    ///
    /// # Errors
    /// Why the story ended early; what was made before is in the film.
    pub(crate) fn tell(
        &mut self,
        networks: &FastNetworks<impl Kernels>,
        settings: &Settings,
        script: &Script,
        seed: u64,
    ) -> anyhow::Result<()> {
        let (sender, commands) = sync_channel(script.shots.len());
        for shot in &script.shots {
            sender.send(Command::AddShot { shot: shot.clone() })?;
        }
        drop(sender);
        let mut story = StoryState::new(script.global.clone(), seed);
        let meter = std::mem::take(&mut self.meter);
        self.start = Instant::now();
        let telling = Telling { networks, settings, story: &mut story, commands, meter: &meter };
        let told = telling.watch(|event| self.take(event, &meter));
        self.meter = meter;
        told
    }

    fn take(&mut self, event: Event, meter: &Meter) -> anyhow::Result<ControlFlow<()>> {
        self.told.hear(&event);
        match event {
            Event::ShotStarted { plan, unknown_words, dropped_tokens, .. } => {
                if let Some(text) = telling::unread(&unknown_words, dropped_tokens, self.cut) {
                    self.progress.say(&format!("warning: shot {}: {text}", plan.shot + 1));
                }
            }
            Event::Rewritten { shot, unknown_words, dropped_tokens, .. } => {
                if let Some(text) = telling::unread(&unknown_words, dropped_tokens, self.cut) {
                    self.progress.say(&format!("warning: shot {}: {text}", shot + 1));
                }
            }
            Event::Frames { shot, frames, .. } => {
                let go_on = self.output.write(&frames, meter)?;
                self.done.truncate(shot);
                self.done.push((Instant::now(), processor_time()));
                let (done, all) = (self.output.frames(), self.frames);
                let fps = per_second(done, self.start.elapsed().as_secs_f64());
                let words = format!("shot {} of {}  {fps:.1} fps", shot + 1, self.shots);
                self.progress.show(done as u64, all as u64, &words);
                return Ok(go_on);
            }
            Event::Latents { shot, latents, context } => {
                self.latents.insert(format!("shot{shot}.latents"), latents);
                self.latents.insert(format!("shot{shot}.context"), context);
            }
            Event::Refused { error, .. } | Event::NotRewritten { error, .. } => {
                return Err(error).wrong_use();
            }
            Event::ShotFinished { .. } | Event::Finished | Event::Failed { .. } => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}
