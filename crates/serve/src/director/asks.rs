//! What directors ask, done on the story's own thread.

use shotstream_engine::event::Command;
use shotstream_story::StoryError;
use shotstream_story::check::check_title;
use shotstream_story::record::{Hash, Record, TakeId};

use super::Director;
use crate::error::ApiError;
use crate::hub::picture_of;
use crate::protocol::Ask;
use crate::quota;

impl Director {
    /// Do what a director with a key asks.
    pub(super) fn take_ask(&mut self, ask: &Ask, key: Option<Hash>) -> Result<(), ApiError> {
        let records = match ask {
            Ask::Cut => vec![self.story.cut(self.running_take()?)?],
            Ask::Rewrite { caption } => return Ok(self.rewrite(caption.trim())?),
            Ask::Bring { caption, picture } => vec![picture_of(&self.story, caption, *picture)?],
            Ask::Title { title } => {
                check_title(title)?;
                vec![Record::Titled { title: title.clone() }]
            }
            Ask::Playback { .. } | Ask::Ping => return Ok(()),
            edit => match edit.edit() {
                Some(edit) => self.story.edit(&edit, self.hub.recipe())?,
                None => return Ok(()),
            },
        };
        quota::check(&self.hub, key, quota::frames_asked(&records))?;
        self.write_for(key, &records)?;
        self.update();
        Ok(self.cut_if_unwanted()?)
    }

    /// Give the running take other words.
    fn rewrite(&mut self, caption: &str) -> Result<(), StoryError> {
        let record = self.story.rewrite(self.running_take()?, caption)?;
        self.write(&[record])?;
        self.pass_on();
        Ok(())
    }

    /// Tell the engine what is asked of the running take. While chunks that were made before are
    /// made again they are made as they were, and it is told when the last of them has come.
    pub(super) fn pass_on(&self) {
        let (Some(engine), Some(running)) = (&self.engine, &self.running) else { return };
        let Some(take) = self.story.take(running.take) else { return };
        let command = match &take.rewrite_asked {
            _ if running.camera.is_catching_up() => return,
            _ if take.cut_asked => Command::Cut,
            Some(caption) => Command::Rewrite { caption: caption.clone() },
            None => return,
        };
        // An engine that is gone says why by its events; what is asked is on the disk.
        let _ = engine.commands.try_send(command);
    }

    fn running_take(&self) -> Result<TakeId, StoryError> {
        let running = self.running.as_ref().map(|running| running.take);
        running.ok_or_else(|| StoryError::Edit("no take is being made".to_owned()))
    }

    /// End the running take early if it should be, or is in the film no longer.
    fn cut_if_unwanted(&mut self) -> Result<(), StoryError> {
        let Some(id) = self.running.as_ref().map(|running| running.take) else { return Ok(()) };
        if !self.story.line().contains(&id) {
            let record = self.story.cut(id)?;
            self.write(&[record])?;
        }
        if self.story.take(id).is_some_and(|take| take.cut_asked) {
            self.pass_on();
        }
        Ok(())
    }
}
