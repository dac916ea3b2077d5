//! What directors ask, done on the story's own thread.

use shotstream_engine::event::Command;
use shotstream_story::StoryError;
use shotstream_story::check::check_title;
use shotstream_story::record::{Record, TakeId};

use super::Director;
use crate::hub::picture_of;
use crate::protocol::Ask;

impl Director {
    /// Do what a director asks.
    pub(super) fn take_ask(&mut self, ask: &Ask) -> Result<(), StoryError> {
        let records = match ask {
            Ask::Cut => vec![self.story.cut(self.running_take()?)?],
            Ask::Rewrite { caption } => return self.rewrite(caption.trim()),
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
        self.write(&records)?;
        self.update();
        self.cut_if_unwanted()
    }

    /// Give the running take other words.
    fn rewrite(&mut self, caption: &str) -> Result<(), StoryError> {
        let record = self.story.rewrite(self.running_take()?, caption)?;
        self.write(std::slice::from_ref(&record))?;
        if let (Some(engine), Record::RewriteAsked { caption, .. }) = (&self.engine, record) {
            // An engine that is gone says why by its events; the words are on the disk.
            let _ = engine.commands.try_send(Command::Rewrite { caption });
        }
        Ok(())
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
        let cut = self.story.take(id).is_some_and(|take| take.cut_asked);
        if let (true, Some(engine)) = (cut, &self.engine) {
            // An engine that is gone says why by its events.
            let _ = engine.commands.try_send(Command::Cut);
        }
        Ok(())
    }
}
