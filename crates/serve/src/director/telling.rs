//! What everybody is told of how a story stands.

use super::Director;
use crate::protocol::Said;
use crate::stream::text;
use crate::view::{StageView, StoryView};

impl Director {
    pub(super) fn stages(&self) -> Vec<StageView> {
        self.meter.stages().into_iter().map(StageView::from).collect()
    }

    /// Tell everybody how the story stands.
    pub(super) fn update(&mut self) {
        let story = self.view();
        self.stream.say(&Said::Updated { story });
        self.publish();
    }

    /// Keep what a viewer who comes now is told first.
    pub(crate) fn publish(&mut self) {
        let stream = self.hub.stream_view(self.stream.frame());
        let created = text(&Said::Created { stream, story: self.view() });
        self.live.shared().created = created;
    }

    fn view(&mut self) -> StoryView {
        for take in self.story.takes().iter().filter(|take| take.is_finished()) {
            let hub = &self.hub;
            self.contexts.entry(take.id).or_insert_with(|| hub.context(&self.story, take));
        }
        StoryView::new(&self.id, &self.story, |take| {
            let known = self.contexts.get(&take.id).cloned();
            known.unwrap_or_else(|| self.hub.context(&self.story, take))
        })
    }
}
