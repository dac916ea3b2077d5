//! Who pays for what is made and written.

use std::sync::atomic::Ordering;

use shotstream_story::StoryError;
use shotstream_story::record::{Hash, Record};
use shotstream_story::tree::Take;

use super::Director;
use crate::live::Pace;
use crate::protocol::Said;
use crate::quota;

impl Director {
    /// Whether whoever pays for a take has frames left; it waits otherwise, and where nobody watches
    /// somebody else has the slot.
    pub(super) fn may_make(&mut self, take: &Take) -> Result<bool, StoryError> {
        let asker = self.hub.store.asker(&self.id, take.id)?;
        self.payer = asker.or(self.key);
        let Some(why) = quota::why_it_waits(&self.hub, self.payer, take)? else { return Ok(true) };
        if self.pace == Pace::Free {
            self.live.stopping.store(true, Ordering::Release);
        }
        // Whoever comes later wonders too.
        let listeners = self.stream.listeners().receiver_count();
        if self.told.0 != take.id || self.told.1 < listeners {
            self.stream.say(&Said::Error { event_id: None, error: why.body });
        }
        self.told = (take.id, listeners);
        Ok(false)
    }

    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), StoryError> {
        self.write_for(self.payer, records)
    }

    /// Write what somebody with a key asked for or pays for.
    pub(super) fn write_for(
        &mut self,
        key: Option<Hash>,
        records: &[Record],
    ) -> Result<(), StoryError> {
        let payer = key.map(quota::payer);
        self.hub.store.write_for(payer, &self.id, &mut self.story, records)
    }
}
