//! A story as its journal tells it: a tree of takes, and the line through it that is the film.
//!
//! A take follows its *parent*, the take whose memory it was made with. The *line* is the film:
//! one take for each shot. After a retake of shot 2, shot 3 still follows the older take; it keeps
//! its place in the line and is said to be *stale* until it is made again.

use std::collections::BTreeMap;

use shotstream_plan::script::Rewrite;

use crate::error::StoryError;
use crate::record::{
    Asked, Candidate, Chunk, Hash, Holding, Picture, PictureId, Pin, Premise, Record, TakeId,
};

/// A story so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// How it is made.
    pub premise: Premise,
    pictures: Vec<Picture>,
    takes: Vec<Take>,
    revisions: Vec<Revision>,
    /// The revision that counts.
    now: usize,
    records: usize,
}

/// One attempt at a shot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Its number, counted from 1.
    pub id: TakeId,
    /// The take it follows; nothing for a first shot.
    pub parent: Option<TakeId>,
    /// The shot it is, counted from 0: how many takes lie between it and the story's start.
    pub shot: usize,
    /// What was asked for.
    pub asked: Asked,
    /// The chunks made so far.
    pub chunks: Vec<Chunk>,
    /// Whether it is to end with the chunk that is being made.
    pub cut_asked: bool,
    /// The words that took the caption's place so far, in order.
    pub rewrites: Vec<Rewrite>,
    /// Words that are to take their place at the next chunk border.
    pub rewrite_asked: Option<String>,
    /// How it stands.
    pub state: TakeState,
}

/// How a take stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeState {
    /// It is yet to be made, or is being made.
    Waiting,
    /// It is complete.
    Finished {
        /// The blob with the latents of its candidates.
        memory: Hash,
        /// The frames it leaves for later shots.
        candidates: Vec<Candidate>,
    },
    /// It could not be made.
    Failed {
        /// Why.
        reason: String,
    },
}

/// The film after one of the director's changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Revision {
    line: Vec<TakeId>,
    pins: Vec<Pin>,
    holding: Holding,
    /// The revision it changed.
    before: usize,
    /// The newest change to it.
    after: Option<usize>,
}

impl Take {
    /// Pixel frames made so far.
    pub fn frames_made(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.frames).sum()
    }

    /// The words known to take the caption's place, in order; those of the director hold first.
    pub fn words(&self) -> Vec<Rewrite> {
        let all = self.asked.then.iter().chain(&self.rewrites);
        let all: BTreeMap<_, _> = all.map(|it| (it.after_chunks, it)).collect();
        all.into_values().cloned().collect()
    }

    /// The words of a take that is to have `chunks` chunks. Those that were asked for last, and did
    /// not hold yet, begin with the first chunk that is not made.
    pub fn words_to_make(&self, chunks: usize) -> Vec<Rewrite> {
        let mut words = self.words();
        if let Some(caption) = self.rewrite_asked.clone() {
            let held = self.rewrites.last().map_or(1, |rewrite| rewrite.after_chunks + 1);
            let after_chunks = self.chunks.len().max(held);
            words.retain(|rewrite| rewrite.after_chunks != after_chunks);
            words.push(Rewrite { after_chunks, caption });
            words.sort_by_key(|rewrite| rewrite.after_chunks);
        }
        words.retain(|rewrite| rewrite.after_chunks < chunks);
        words
    }

    /// Whether it is complete.
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, TakeState::Finished { .. })
    }

    /// The frames it leaves for later shots; none before it is complete.
    pub fn candidates(&self) -> &[Candidate] {
        match &self.state {
            TakeState::Finished { candidates, .. } => candidates,
            TakeState::Waiting | TakeState::Failed { .. } => &[],
        }
    }
}

impl Story {
    /// A story without shots.
    pub fn new(premise: Premise) -> Self {
        let revisions = vec![Revision::default()];
        let (pictures, takes) = (Vec::new(), Vec::new());
        Self { premise, pictures, takes, revisions, now: 0, records: 1 }
    }

    /// A story from its journal.
    ///
    /// # Errors
    /// When a record does not follow from those before it.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<Self, StoryError> {
        let mut records = records.into_iter();
        let Some(Record::Began(premise)) = records.next() else {
            let reason = "a story begins with its premise".to_owned();
            return Err(StoryError::Record { reason, record: 1 });
        };
        let mut story = Self::new(premise);
        for record in records {
            story.apply(&record)?;
        }
        Ok(story)
    }

    /// Every take, in the order in which they were asked for.
    pub fn takes(&self) -> &[Take] {
        &self.takes
    }

    /// A take by its number.
    pub fn take(&self, id: TakeId) -> Option<&Take> {
        self.takes.get((id as usize).checked_sub(1)?)
    }

    /// The number the next take will have.
    pub fn next_take(&self) -> TakeId {
        self.takes.len() as TakeId + 1
    }

    /// The takes of the film, in order.
    pub fn line(&self) -> &[TakeId] {
        &self.revisions[self.now].line
    }

    /// The pins that takes asked for now are given.
    pub fn pins(&self) -> &[Pin] {
        &self.revisions[self.now].pins
    }

    /// What else they are given.
    pub fn holding(&self) -> &Holding {
        &self.revisions[self.now].holding
    }

    /// Every picture that was brought, in the order they came.
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// A picture by its number.
    pub fn picture(&self, id: PictureId) -> Option<&Picture> {
        self.pictures.get((id as usize).checked_sub(1)?)
    }

    /// Whether there is a change to undo.
    pub const fn can_undo(&self) -> bool {
        0 < self.now
    }

    /// Whether there is a change to do again.
    pub fn can_redo(&self) -> bool {
        self.revisions[self.now].after.is_some()
    }

    /// How many records the story has.
    pub const fn num_records(&self) -> usize {
        self.records
    }

    /// A take and all it follows, oldest first.
    pub fn ancestry(&self, take: TakeId) -> Vec<TakeId> {
        let mut line = Vec::new();
        let mut at = self.take(take);
        while let Some(take) = at {
            line.push(take.id);
            at = take.parent.and_then(|parent| self.take(parent));
        }
        line.reverse();
        line
    }

    /// Whether the shot at this place of the line was made after another take than now stands
    /// before it.
    pub fn is_stale(&self, shot: usize) -> bool {
        let line = self.line();
        let before = shot.checked_sub(1).and_then(|before| line.get(before)).copied();
        let mut settled = line.get(shot).and_then(|&take| self.take(take));
        settled.take_if(|take| take.parent == before).is_none() && shot < line.len()
    }

    /// The take that should be made next: the first of the line that waits and follows a complete
    /// one.
    pub fn next_to_make(&self) -> Option<&Take> {
        let mut waiting = self.line().iter().filter_map(|&take| self.take(take));
        waiting.find(|take| take.state == TakeState::Waiting && self.is_ready(take))
    }

    fn is_ready(&self, take: &Take) -> bool {
        take.parent.is_none_or(|parent| self.take(parent).is_some_and(Take::is_finished))
    }

    /// Let a record have happened. Nothing changes where it is refused.
    ///
    /// # Errors
    /// When it does not follow from those before it.
    pub fn apply(&mut self, record: &Record) -> Result<(), StoryError> {
        let number = self.records + 1;
        self.try_apply(record)
            .map_err(|reason| StoryError::Record { reason, record: number })
            .inspect(|()| self.records = number)
    }

    fn try_apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Began(_) => Err("a story begins once".to_owned()),
            Record::Titled { title } => {
                self.premise.title.clone_from(title);
                Ok(())
            }
            Record::Asked { take, parent, asked } => self.ask(*take, *parent, asked),
            Record::Edited { line, pins, holding, .. } => self.revise(line, pins, holding),
            Record::Pictured(picture) => {
                let next = self.pictures.len() as PictureId + 1;
                if picture.picture != next {
                    return Err(format!("picture {next} was expected, {} came", picture.picture));
                }
                self.pictures.push(picture.clone());
                Ok(())
            }
            Record::Undone => {
                let before = self.revisions[self.now].before;
                let undone = self.can_undo().then_some(before);
                self.now = undone.ok_or("there is no change to undo")?;
                Ok(())
            }
            Record::Redone => {
                let after = self.revisions[self.now].after;
                self.now = after.ok_or("there is no change to do again")?;
                Ok(())
            }
            Record::Made { take, chunk } => {
                self.waiting(*take)?.chunks.push(chunk.clone());
                Ok(())
            }
            Record::CutAsked { take } => {
                self.waiting(*take)?.cut_asked = true;
                Ok(())
            }
            Record::RewriteAsked { take, caption } => {
                self.waiting(*take)?.rewrite_asked = Some(caption.clone());
                Ok(())
            }
            Record::Rewritten { take, rewrite } => self.change_words(*take, rewrite),
            Record::Finished { take, memory, candidates } => {
                self.finish(*take, *memory, candidates)
            }
            Record::Failed { take, reason } => {
                self.waiting(*take)?.state = TakeState::Failed { reason: reason.clone() };
                Ok(())
            }
        }
    }

    fn ask(&mut self, id: TakeId, parent: Option<TakeId>, asked: &Asked) -> Result<(), String> {
        let next = self.next_take();
        if id != next {
            return Err(format!("take {next} was expected, take {id} came"));
        }
        let shot = match parent {
            None => 0,
            Some(parent) => self.known(parent)?.shot + 1,
        };
        for pin in &asked.pins {
            self.check_pin(*pin)?;
        }
        asked.pictures.iter().try_for_each(|&picture| self.check_picture(picture))?;
        asked.cast.iter().try_for_each(|&kept| self.check_kept(kept))?;
        self.takes.push(Take {
            id,
            parent,
            shot,
            asked: asked.clone(),
            chunks: Vec::new(),
            cut_asked: false,
            rewrites: Vec::new(),
            rewrite_asked: None,
            state: TakeState::Waiting,
        });
        Ok(())
    }

    fn change_words(&mut self, take: TakeId, rewrite: &Rewrite) -> Result<(), String> {
        let take = self.waiting(take)?;
        let first = take.rewrites.last().map_or(1, |last| last.after_chunks + 1);
        let (first, found) = (first.max(take.chunks.len()), rewrite.after_chunks);
        if found < first {
            return Err(format!(
                "words of a take changed after {found} chunks, not before {first}"
            ));
        }
        take.rewrite_asked.take_if(|asked| *asked == rewrite.caption);
        take.rewrites.push(rewrite.clone());
        Ok(())
    }

    fn revise(&mut self, line: &[TakeId], pins: &[Pin], holding: &Holding) -> Result<(), String> {
        for (shot, &take) in line.iter().enumerate() {
            let found = self.known(take)?.shot;
            if found != shot {
                return Err(format!("take {take} is shot {found}, it cannot be shot {shot}"));
            }
        }
        for &pin in pins {
            self.check_pin(pin)?;
        }
        self.check_holding(holding)?;
        let next = self.revisions.len();
        self.revisions[self.now].after = Some(next);
        let (line, pins, holding) = (line.to_vec(), pins.to_vec(), holding.clone());
        self.revisions.push(Revision { line, pins, holding, before: self.now, after: None });
        self.now = next;
        Ok(())
    }

    fn finish(
        &mut self,
        take: TakeId,
        memory: Hash,
        candidates: &[Candidate],
    ) -> Result<(), String> {
        let take = self.waiting(take)?;
        let made = take.frames_made();
        if made == 0 || candidates.iter().any(|candidate| made <= candidate.frame) {
            return Err(format!("a take of {made} frames cannot leave those it names"));
        }
        take.rewrite_asked = None;
        take.state = TakeState::Finished { memory, candidates: candidates.to_vec() };
        Ok(())
    }

    fn known(&self, take: TakeId) -> Result<&Take, String> {
        self.take(take).ok_or_else(|| format!("there is no take {take}"))
    }

    fn waiting(&mut self, id: TakeId) -> Result<&mut Take, String> {
        let known = (id as usize).checked_sub(1).and_then(|at| self.takes.get_mut(at));
        let take = known.ok_or_else(|| format!("there is no take {id}"))?;
        match take.state {
            TakeState::Waiting => Ok(take),
            _ => Err(format!("take {id} is over")),
        }
    }

    /// # Errors
    /// When the frame is none that its take leaves for later shots.
    pub(crate) fn check_pin(&self, Pin { take, frame }: Pin) -> Result<(), String> {
        let remembered = self.known(take)?.candidates();
        if remembered.iter().any(|candidate| candidate.frame == frame) {
            return Ok(());
        }
        let frames: Vec<_> = remembered.iter().map(|it| it.frame.to_string()).collect();
        let frames = frames.join(", ");
        Err(format!("take {take} remembers the frames [{frames}], frame {frame} is none of them"))
    }
}
