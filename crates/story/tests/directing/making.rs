//! A director without sockets: makes what waits, take by take, and may be killed between chunks.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use shotstream_engine::event::{Command, Event, channel};
use shotstream_engine::meter::Meter;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::script::Rewrite;
use shotstream_story::camera::Camera;
use shotstream_story::edit::{Edit, Words};
use shotstream_story::memory::state_before;
use shotstream_story::record::{Hash, Premise};
use shotstream_story::replay::script_of;
use shotstream_story::store::Store;
use shotstream_story::teller::Teller;
use shotstream_story::tree::Story;

use crate::fake::Fake;

/// A story in a store of its own.
pub(crate) struct Set {
    pub(crate) store: Store,
    pub(crate) id: String,
    pub(crate) story: Story,
    pub(crate) teller: Fake,
}

pub(crate) fn premise(teller: &Fake) -> Premise {
    Premise {
        title: "Rain".to_owned(),
        global: "Rain. ".to_owned(),
        seed: 5,
        model: "fake".to_owned(),
        recipe: teller.settings().recipe.to_toml(),
    }
}

impl Set {
    pub(crate) fn new(folder: &Path) -> Self {
        let (store, teller) = (Store::open(folder).unwrap(), Fake::new(0.0));
        let (id, story) = store.begin("story", premise(&teller), 0).unwrap();
        Self { store, id, story, teller }
    }

    /// What is left after the program was killed and started again.
    pub(crate) fn reopened(self, folder: &Path) -> Self {
        let Self { store, id, teller, .. } = self;
        drop(store);
        let store = Store::open(folder).unwrap();
        let story = store.load(&id).unwrap();
        Self { store, id, story, teller }
    }

    pub(crate) fn edit(&mut self, edit: Edit) {
        let records = self.story.edit(&edit, &self.teller.settings().recipe).unwrap();
        self.store.write(&self.id, &mut self.story, &records).unwrap();
    }

    pub(crate) fn refused(&self, edit: Edit) -> String {
        self.story.edit(&edit, &self.teller.settings().recipe).unwrap_err().to_string()
    }

    /// Ask for shots at the end of the film.
    pub(crate) fn append(&mut self, captions: &[&str]) {
        captions.iter().for_each(|&caption| self.edit(Edit::Append(Words::new(caption))));
    }

    /// Make everything that waits.
    pub(crate) fn make(&mut self) {
        assert!(self.make_at_most(usize::MAX), "nothing waits any more");
    }

    /// Make what waits until `chunks` new chunks are on the disk; whether nothing waits any more.
    pub(crate) fn make_at_most(&mut self, chunks: usize) -> bool {
        self.make_under(chunks, None)
    }

    /// The same, and ask for other words when so many chunks of the first take are on the disk.
    pub(crate) fn make_under(
        &mut self,
        mut chunks: usize,
        mut words: Option<(usize, &str)>,
    ) -> bool {
        let Self { store, id, story, teller } = self;
        while let Some(take) = story.next_to_make().cloned() {
            let recipe = teller.settings().recipe.clone();
            let mut camera = Camera::new(&take, &recipe).unwrap();
            let mut state = state_before(story, &take, &recipe, store.blobs()).unwrap();
            let (commands, receiver) = sync_channel(1);
            let (sender, events) = channel(1);
            let planned = recipe.chunks_from_shot(PixelFrames(take.asked.frames)).unwrap();
            let shot = script_of(&take, planned, &recipe);
            commands.send(Command::AddShot { shot }).unwrap();
            let mut commands = Some(commands);
            let room = |chunks| recipe.geometry().shot_from_chunks(chunks).0;
            // No chunk is begun before its words were asked for.
            events.allow(words.map_or(usize::MAX, |(after, _)| room(after)));
            let finished = thread::scope(|scope| {
                let teller = &*teller;
                let tell = move || teller.tell(&mut state, &receiver, &sender, &Meter::default());
                // Dropped on the way out, which is what ends a session that is killed.
                let events = events;
                scope.spawn(tell);
                loop {
                    let made = story.take(take.id).unwrap().chunks.len();
                    if let Some((_, caption)) = words.take_if(|(after, _)| *after == made) {
                        let record = story.rewrite(take.id, caption).unwrap();
                        store.write(id, story, &[record]).unwrap();
                        let caption = caption.trim().to_owned();
                        commands.as_ref().unwrap().send(Command::Rewrite { caption }).unwrap();
                        events.allow(usize::MAX);
                    }
                    commands = commands.filter(|_| words.is_some());
                    let Ok(event) = events.recv() else { break };
                    match event {
                        Event::Rewritten { chunk, caption, .. } => {
                            let rewrite = Rewrite { after_chunks: chunk, caption };
                            let records = Vec::from_iter(story.rewritten(take.id, rewrite));
                            store.write(id, story, &records).unwrap();
                        }
                        Event::Frames { frames, .. } => {
                            if chunks == 0 {
                                return false;
                            }
                            let footage = camera.shoot(&frames, store.blobs()).unwrap();
                            if let Some(record) = footage.record {
                                store.write(id, story, &[record]).unwrap();
                                chunks -= 1;
                            }
                        }
                        Event::ShotFinished { story: after, .. } => {
                            let record = camera.finish(&after, store.blobs()).unwrap();
                            store.write(id, story, &[record]).unwrap();
                            return true;
                        }
                        Event::Failed { error } => panic!("{error}"),
                        _ => {}
                    }
                }
                panic!("the session ended early")
            });
            if !finished {
                return false;
            }
        }
        true
    }

    /// The hashes of the film's chunks.
    pub(crate) fn film(&self) -> Vec<Hash> {
        let takes = self.story.line().iter().filter_map(|&take| self.story.take(take));
        takes.flat_map(|take| take.chunks.iter().map(|chunk| chunk.rgb)).collect()
    }
}
