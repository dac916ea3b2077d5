//! What a director can ask of a story, and the records that come of it.
//!
//! Every change is a new line through the tree, or other pins, so that it can be undone as a
//! whole; takes are never thrown away.

use serde::{Deserialize, Serialize};
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::held::Shares;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::script::{Rewrite, check_caption, check_rewrites};

use crate::error::StoryError;
use crate::held::no_room;
use crate::record::{Asked, Holding, Member, PictureId, Pin, Record, TakeId};
use crate::tree::{Story, Take, TakeState};

/// More shots than this are refused, so that a story can be shown as a whole.
pub const MAX_SHOTS: usize = 1000;

/// The words of a shot, and where it differs from what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// What the shot shows.
    pub caption: String,
    /// The seed of its noise; the story's, or for a retake a fresh one, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Its length in pixel frames; the recipe's where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// Words that take the caption's place while the shot is made, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Rewrite>,
}

impl Words {
    /// A shot of usual length.
    pub fn new(caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..Self::default() }
    }
}

/// A change of the film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another shot at the end.
    Append(Words),
    /// Another take of a shot of the line. Later shots stay, and rest on an older take.
    Retake {
        /// The place in the line, counted from 0.
        shot: usize,
        /// The new words; nothing keeps those it has.
        words: Option<Words>,
    },
    /// Another take, with the same words and seeds, of every shot that rests on an older take.
    Remake,
    /// End the film after so many shots; the next shot branches off there.
    Trim {
        /// How many shots stay.
        shots: usize,
    },
    /// Let the film be a take and all that it follows.
    GoTo {
        /// The take.
        take: TakeId,
    },
    /// Put a take into its place of the line, in place of the one that stands there.
    Choose {
        /// The take.
        take: TakeId,
    },
    /// Show a frame to every take asked for from now on.
    Pin(Pin),
    /// No longer.
    Unpin(Pin),
    /// Show a picture to every take asked for from now on.
    PinPicture(PictureId),
    /// No longer.
    UnpinPicture(PictureId),
    /// Put somebody into the cast, or change who is in it under this name.
    SetMember(Member),
    /// Call somebody in the cast by another name.
    RenameMember {
        /// The name so far.
        name: String,
        /// The new name.
        to: String,
    },
    /// Take somebody out of the cast.
    RemoveMember {
        /// The name.
        name: String,
    },
    /// Let pins and cast take so many context frames at most.
    Share(Shares),
    /// Undo the last change.
    Undo,
    /// Do it again.
    Redo,
}

impl Edit {
    /// What it is called in the journal.
    const fn name(&self) -> &'static str {
        match self {
            Self::Append(_) => "append",
            Self::Retake { .. } => "retake",
            Self::Remake => "remake",
            Self::Trim { .. } => "trim",
            Self::GoTo { .. } => "go-to",
            Self::Choose { .. } => "choose",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::PinPicture(_) => "pin-picture",
            Self::UnpinPicture(_) => "unpin-picture",
            Self::SetMember(_) => "set-member",
            Self::RenameMember { .. } => "rename-member",
            Self::RemoveMember { .. } => "remove-member",
            Self::Share(_) => "share",
            Self::Undo => "undo",
            Self::Redo => "redo",
        }
    }
}

/// Takes asked for by one edit, and the line and pins after it.
struct Draft {
    asked: Vec<Record>,
    line: Vec<TakeId>,
    pins: Vec<Pin>,
    holding: Holding,
}

impl Story {
    /// The records that make `edit` happen, to be written together.
    ///
    /// # Errors
    /// When the story as it stands has no such shot, take or frame, or words cannot be used.
    pub fn edit(&self, edit: &Edit, recipe: &Recipe) -> Result<Vec<Record>, StoryError> {
        let (line, pins) = (self.line().to_vec(), self.pins().to_vec());
        let holding = self.holding().clone();
        let mut draft = Draft { asked: Vec::new(), line, pins, holding };
        match edit {
            edit if self.hold(&mut draft.holding, edit, recipe)? => {}
            Edit::Append(words) => self.append(&mut draft, words, recipe)?,
            Edit::Retake { shot, words } => {
                self.retake(&mut draft, *shot, words.as_ref(), recipe)?;
            }
            Edit::Remake => self.remake(&mut draft)?,
            Edit::Trim { shots } => {
                if draft.line.len() <= *shots {
                    let have = draft.line.len();
                    return Err(refusal(format!(
                        "the film has {have} shots, not more than {shots}"
                    )));
                }
                draft.line.truncate(*shots);
            }
            Edit::GoTo { take } => draft.line = self.ancestry(self.of(*take)?.id),
            Edit::Choose { take } => {
                let (take, have) = (self.of(*take)?, draft.line.len());
                let place = draft.line.get_mut(take.shot).ok_or_else(|| {
                    refusal(format!("take {} is shot {}, the film has {have}", take.id, take.shot))
                })?;
                *place = take.id;
            }
            Edit::Pin(pin) => self.pin(&mut draft.pins, *pin, recipe)?,
            Edit::Unpin(pin) => match draft.pins.iter().position(|it| it == pin) {
                Some(place) => drop(draft.pins.remove(place)),
                None => return Err(refusal("this frame is not pinned")),
            },
            Edit::Undo if self.can_undo() => return Ok(vec![Record::Undone]),
            Edit::Redo if self.can_redo() => return Ok(vec![Record::Redone]),
            Edit::Undo => return Err(refusal("there is no change to undo")),
            Edit::Redo => return Err(refusal("there is no change to do again")),
            // What changes what is held was done above.
            _ => {}
        }
        let Draft { mut asked, line, pins, holding } = draft;
        asked.push(Record::Edited { edit: edit.name().to_owned(), line, pins, holding });
        Ok(asked)
    }

    fn append(&self, draft: &mut Draft, words: &Words, recipe: &Recipe) -> Result<(), StoryError> {
        if MAX_SHOTS <= draft.line.len() {
            return Err(refusal(format!("a story has at most {MAX_SHOTS} shots")));
        }
        let asked = self.asked(words, self.premise.seed, recipe)?;
        let parent = draft.line.last().copied();
        let take = self.draw(draft, parent, asked);
        draft.line.push(take);
        Ok(())
    }

    fn retake(
        &self,
        draft: &mut Draft,
        shot: usize,
        words: Option<&Words>,
        recipe: &Recipe,
    ) -> Result<(), StoryError> {
        let have = draft.line.len();
        let old = draft.line.get(shot).and_then(|&take| self.take(take));
        let old =
            old.ok_or_else(|| refusal(format!("the film has {have} shots, not shot {shot}")))?;
        let fresh = fresh_seed(self.premise.seed, self.next_take());
        let asked = match words {
            Some(words) => self.asked(words, fresh, recipe)?,
            None => {
                let (pins, pictures) = (self.pins().to_vec(), self.holding().pictures.clone());
                let shares = self.holding().shares;
                Asked { seed: fresh, pins, pictures, shares, ..again(old) }
            }
        };
        let parent = shot.checked_sub(1).map(|before| draft.line[before]);
        draft.line[shot] = self.draw(draft, parent, asked);
        Ok(())
    }

    fn remake(&self, draft: &mut Draft) -> Result<(), StoryError> {
        for shot in 0..draft.line.len() {
            let old = self.of(draft.line[shot])?;
            let parent = shot.checked_sub(1).map(|before| draft.line[before]);
            if old.parent != parent {
                draft.line[shot] = self.draw(draft, parent, again(old));
            }
        }
        if draft.asked.is_empty() {
            return Err(refusal("no shot rests on an older take"));
        }
        Ok(())
    }

    fn pin(&self, pins: &mut Vec<Pin>, pin: Pin, recipe: &Recipe) -> Result<(), StoryError> {
        self.check_pin(pin).map_err(refusal)?;
        let most = recipe.context_frames().saturating_sub(1);
        if pins.contains(&pin) {
            return Err(refusal("this frame is pinned already"));
        }
        if most <= pins.len() + self.holding().pictures.len() {
            return Err(refusal(no_room(most)));
        }
        pins.push(pin);
        pins.sort_unstable();
        Ok(())
    }

    /// What is asked with these words, checked.
    fn asked(&self, words: &Words, seed: u64, recipe: &Recipe) -> Result<Asked, StoryError> {
        check_caption(&words.caption)?;
        let frames = words.frames.map_or(recipe.shot_frames(), PixelFrames);
        check_rewrites(&words.then, recipe.chunks_from_shot(frames)?)?;
        let seed = words.seed.unwrap_or(seed);
        let (caption, mut cast) = self.cast_into(words.caption.trim())?;
        let typed = (caption != words.caption.trim()).then(|| words.caption.trim().to_owned());
        let mut then = Vec::with_capacity(words.then.len());
        for Rewrite { after_chunks, caption } in &words.then {
            let (caption, brought) = self.cast_into(caption)?;
            then.push(Rewrite { after_chunks: *after_chunks, caption });
            for kept in brought {
                if !cast.contains(&kept) {
                    cast.push(kept);
                }
            }
        }
        let Holding { pictures, shares, .. } = self.holding().clone();
        let (frames, pins) = (frames.0, self.pins().to_vec());
        Ok(Asked { caption, typed, seed, frames, pins, pictures, cast, shares, then })
    }

    /// Ask for one more take.
    fn draw(&self, draft: &mut Draft, parent: Option<TakeId>, asked: Asked) -> TakeId {
        let take = self.next_take() + draft.asked.len() as TakeId;
        draft.asked.push(Record::Asked { take, parent, asked });
        take
    }

    fn of(&self, take: TakeId) -> Result<&Take, StoryError> {
        self.take(take).ok_or_else(|| refusal(format!("there is no take {take}")))
    }

    /// The record that other words hold for a take, unless that is known.
    pub fn rewritten(&self, take: TakeId, rewrite: Rewrite) -> Option<Record> {
        let known = self.take(take).is_some_and(|take| take.words().contains(&rewrite));
        (!known).then_some(Record::Rewritten { take, rewrite })
    }

    /// The record that gives a take other words from the next chunk on.
    ///
    /// # Errors
    /// When it is over, or the words cannot be used.
    pub fn rewrite(&self, take: TakeId, caption: &str) -> Result<Record, StoryError> {
        check_caption(caption)?;
        match self.of(take)?.state {
            TakeState::Waiting => {
                let (caption, _) = self.cast_into(caption.trim())?;
                Ok(Record::RewriteAsked { take, caption })
            }
            _ => Err(refusal(format!("take {take} is over"))),
        }
    }

    /// The record that ends a take with the chunk that is being made.
    ///
    /// # Errors
    /// When it is over.
    pub fn cut(&self, take: TakeId) -> Result<Record, StoryError> {
        match self.of(take)?.state {
            TakeState::Waiting => Ok(Record::CutAsked { take }),
            _ => Err(refusal(format!("take {take} is over"))),
        }
    }
}

/// What is asked for with a take like an old one: its words as they changed while it was made.
fn again(old: &Take) -> Asked {
    Asked { then: old.words(), ..old.asked.clone() }
}

/// A seed that no other take of the story is likely to have, by its address.
fn fresh_seed(seed: u64, take: TakeId) -> u64 {
    // Small enough for every JSON reader, which may count in doubles.
    (seed ^ u64::from(take).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 12
}

fn refusal(reason: impl Into<String>) -> StoryError {
    StoryError::Edit(reason.into())
}
