//! What a director holds for the shots to come: pictures that were brought, and a cast that captions
//! call by name.
//!
//! `@mara` in a caption is replaced by the words of the member with this name, and what the member
//! brings goes into the memory of the shot, as far as the shares let it.

use shotstream_media::picture::decode_picture;
use shotstream_plan::held::Shares;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::script::check_caption;

use crate::blobs::Blobs;
use crate::edit::Edit;
use crate::error::StoryError;
use crate::memory::picture_latents;
use crate::record::{Holding, Kept, Member, Picture, PictureId, PicturePin, Record};
use crate::tree::Story;

/// Pictures of a story at most.
pub const MAX_PICTURES: usize = 64;

/// Members of a cast at most.
pub const MAX_CAST: usize = 16;

/// Characters of a name at most.
const MAX_NAME: usize = 32;

/// Characters of the words of a member or a picture at most.
const MAX_WORDS: usize = 500;

impl Story {
    /// The number the next picture will have.
    ///
    /// # Errors
    /// When there are too many already, or its words cannot be used.
    pub fn next_picture(&self, caption: &str) -> Result<PictureId, StoryError> {
        check_words(caption)?;
        match self.pictures().len() {
            MAX_PICTURES.. => Err(refusal(format!("a story has at most {MAX_PICTURES} pictures"))),
            pictures => Ok(pictures as PictureId + 1),
        }
    }

    /// # Errors
    /// When there is no such picture.
    pub(crate) fn check_picture(&self, picture: PictureId) -> Result<(), String> {
        let known = self.picture(picture).map(|_: &Picture| ());
        known.ok_or_else(|| format!("there is no picture {picture}"))
    }

    /// # Errors
    /// When there is no such picture, or the frame is none that its take leaves for later shots.
    pub(crate) fn check_kept(&self, kept: Kept) -> Result<(), String> {
        match kept {
            Kept::Frame(pin) => self.check_pin(pin),
            Kept::Picture(PicturePin { picture }) => self.check_picture(picture),
        }
    }

    /// # Errors
    /// When it names what is not there, or a name twice.
    pub(crate) fn check_holding(&self, holding: &Holding) -> Result<(), String> {
        holding.pictures.iter().try_for_each(|&picture| self.check_picture(picture))?;
        for member in &holding.cast {
            member.frames.iter().try_for_each(|&kept| self.check_kept(kept))?;
        }
        match holding.cast.is_sorted_by(|a, b| a.name < b.name) {
            true => Ok(()),
            false => Err("the names of a cast are in order, each once".to_owned()),
        }
    }

    /// Let an edit change what is held; whether it is one that does.
    pub(crate) fn hold(
        &self,
        holding: &mut Holding,
        edit: &Edit,
        recipe: &Recipe,
    ) -> Result<bool, StoryError> {
        let most = recipe.context_frames().saturating_sub(1);
        match edit {
            Edit::PinPicture(picture) => {
                self.check_picture(*picture).map_err(refusal)?;
                if holding.pictures.contains(picture) {
                    return Err(refusal("this picture is pinned already"));
                }
                if most <= self.pins().len() + holding.pictures.len() {
                    return Err(refusal(no_room(most)));
                }
                holding.pictures.push(*picture);
            }
            Edit::UnpinPicture(picture) => {
                let place = holding.pictures.iter().position(|it| it == picture);
                let place = place.ok_or_else(|| refusal("this picture is not pinned"))?;
                holding.pictures.remove(place);
            }
            Edit::SetMember(member) => self.set_member(holding, member, most)?,
            Edit::RenameMember { name, to } => {
                let to = name_of(to)?;
                if holding.cast.iter().any(|member| member.name == to) {
                    return Err(refusal(format!("somebody is called @{to} already")));
                }
                let place = place_of(holding, name)?;
                holding.cast[place].name = to;
                holding.cast.sort_by(|a, b| a.name.cmp(&b.name));
            }
            Edit::RemoveMember { name } => drop(holding.cast.remove(place_of(holding, name)?)),
            Edit::Share(Shares { pins, cast }) => {
                if most < *pins || most < *cast {
                    return Err(refusal(format!(
                        "pins and cast may each have up to {most} context frames, found {pins} and {cast}"
                    )));
                }
                holding.shares = Some(Shares { pins: *pins, cast: *cast });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_member(
        &self,
        holding: &mut Holding,
        member: &Member,
        most: usize,
    ) -> Result<(), StoryError> {
        check_words(&member.caption)?;
        member.frames.iter().try_for_each(|&kept| self.check_kept(kept)).map_err(refusal)?;
        if most < member.frames.len() {
            let found = member.frames.len();
            return Err(refusal(format!("a member brings at most {most} frames, found {found}")));
        }
        let (name, caption) = (name_of(&member.name)?, member.caption.trim().to_owned());
        let member = Member { name, caption, frames: member.frames.clone() };
        match holding.cast.binary_search_by(|it| it.name.cmp(&member.name)) {
            Ok(place) => holding.cast[place] = member,
            Err(_) if MAX_CAST <= holding.cast.len() => {
                return Err(refusal(format!("a cast has at most {MAX_CAST} members")));
            }
            Err(place) => holding.cast.insert(place, member),
        }
        Ok(())
    }

    /// A caption with the words of the cast in place of their names, and what those who are named
    /// bring: of each the first, then of each the second, and so on.
    ///
    /// # Errors
    /// When it calls a name that nobody has.
    pub fn cast_into(&self, caption: &str) -> Result<(String, Vec<Kept>), StoryError> {
        let mut named: Vec<&Member> = Vec::new();
        let (mut text, mut rest) = (String::with_capacity(caption.len()), caption);
        while let Some(at) = rest.find('@') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            text += before;
            let end = after.find(|letter: char| !is_letter(letter)).unwrap_or(after.len());
            let name = after[..end].trim_end_matches(['-', '_']);
            rest = &after[name.len()..];
            // An address of a letter box calls nobody.
            if name.is_empty() || text.ends_with(is_letter) {
                text += "@";
                text += name;
                continue;
            }
            let wanted = name.to_lowercase();
            let member = self.holding().cast.iter().find(|member| member.name == wanted);
            let member =
                member.ok_or_else(|| refusal(format!("nobody in the cast is called @{name}")))?;
            text += &member.caption;
            if !named.contains(&member) {
                named.push(member);
            }
        }
        text += rest;
        let rounds = named.iter().map(|member| member.frames.len()).max().unwrap_or_default();
        let mut brought = Vec::new();
        for round in 0..rounds {
            let of_round = named.iter().filter_map(|member| member.frames.get(round).copied());
            for kept in of_round {
                if !brought.contains(&kept) {
                    brought.push(kept);
                }
            }
        }
        check_caption(&text)?;
        Ok((text, brought))
    }
}

/// That what a record from elsewhere holds, and the words it changes, are within the limits.
///
/// # Errors
/// When they are not.
pub(crate) fn check_record(record: &Record) -> Result<(), StoryError> {
    match record {
        Record::Pictured(Picture { picture, caption, .. }) => match *picture as usize {
            1..=MAX_PICTURES => check_words(caption),
            _ => Err(refusal(format!("a story has at most {MAX_PICTURES} pictures"))),
        },
        Record::Edited { holding, .. } if MAX_CAST < holding.cast.len() => {
            Err(refusal(format!("a cast has at most {MAX_CAST} members")))
        }
        Record::Edited { holding, .. } => holding.cast.iter().try_for_each(|member| {
            check_words(&member.caption)?;
            match name_of(&member.name)? == member.name {
                true => Ok(()),
                false => Err(refusal(format!("{:?} is no name as it is kept", member.name))),
            }
        }),
        Record::RewriteAsked { caption, .. } => Ok(check_caption(caption)?),
        Record::Rewritten { rewrite, .. } => Ok(check_caption(&rewrite.caption)?),
        _ => Ok(()),
    }
}

/// That the blobs of a story's pictures hold pictures and the latents of one frame.
///
/// # Errors
/// When one does not.
pub(crate) fn check_pictures(story: &Story, blobs: &Blobs) -> Result<(), StoryError> {
    for picture in story.pictures() {
        for hash in [picture.image, picture.small] {
            decode_picture(&blobs.get(hash)?).map_err(|error| StoryError::Blob {
                reason: format!("it is no picture ({error})"),
                hash,
            })?;
        }
        picture_latents(picture, blobs)?;
    }
    Ok(())
}

/// What is said where no pin finds room any more.
pub(crate) fn no_room(most: usize) -> String {
    match most {
        0 => "this model has no context frames to pin".to_owned(),
        _ => format!("{most} of {} context frames are pinned, no more can be", most + 1),
    }
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '-' || letter == '_'
}

/// A name as it is kept.
fn name_of(name: &str) -> Result<String, StoryError> {
    let name = name.trim();
    let name = name.strip_prefix('@').unwrap_or(name).to_lowercase();
    let fits = (1..=MAX_NAME).contains(&name.chars().count())
        && name.chars().all(is_letter)
        && !name.ends_with(['-', '_']);
    match fits {
        true => Ok(name),
        false => Err(refusal(format!(
            "a name has 1 to {MAX_NAME} letters, digits, '-' or '_' and ends with one of the first two"
        ))),
    }
}

fn place_of(holding: &Holding, name: &str) -> Result<usize, StoryError> {
    let name = name_of(name)?;
    let place = holding.cast.iter().position(|member| member.name == name);
    place.ok_or_else(|| refusal(format!("nobody in the cast is called @{name}")))
}

fn check_words(words: &str) -> Result<(), StoryError> {
    check_caption(words)?;
    match words.chars().count() {
        0..=MAX_WORDS => Ok(()),
        found => Err(refusal(format!(
            "these words have {found} characters, at most {MAX_WORDS} are kept"
        ))),
    }
}

fn refusal(reason: impl Into<String>) -> StoryError {
    StoryError::Edit(reason.into())
}
