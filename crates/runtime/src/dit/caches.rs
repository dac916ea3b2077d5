//! What is remembered between passes: a page of keys and values for every latent frame.

use std::{fmt, sync::Arc};

use crate::{kernels::Kernels, memory::Shelf};

/// Keys and values of some latent frames, oldest first. Clones share their pages, and no page is
/// ever written again.
pub struct Cache<K: Kernels> {
    pub(super) pages: Vec<Arc<K::Page>>,
    /// Where pages go that nobody remembers any more.
    pub(super) shelf: Option<Arc<Shelf<Arc<K::Page>>>>,
}

/// Keys and values of one caption.
pub type TextCache<K> = Arc<<K as Kernels>::Page>;

impl<K: Kernels> Cache<K> {
    /// Nothing is remembered.
    pub(super) fn empty() -> Self {
        Self { pages: Vec::new(), shelf: None }
    }

    /// Latent frames.
    #[must_use]
    pub fn latent_frames(&self) -> usize {
        self.pages.len()
    }

    /// Forget the oldest behind the first `sink`, so that at most `frames` are left.
    pub(super) fn keep(&mut self, sink: usize, frames: usize) {
        if let Some(more) = self.pages.len().checked_sub(frames) {
            let first = sink.min(frames);
            for page in self.pages.drain(first..first + more) {
                give_back(self.shelf.as_ref(), page);
            }
        }
    }
}

/// A page that nobody else remembers is used again.
fn give_back<P>(shelf: Option<&Arc<Shelf<Arc<P>>>>, mut page: Arc<P>) {
    if let (Some(shelf), true) = (shelf, Arc::get_mut(&mut page).is_some()) {
        shelf.put(page);
    }
}

impl<K: Kernels> Drop for Cache<K> {
    fn drop(&mut self) {
        self.keep(0, 0);
    }
}

impl<K: Kernels> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), shelf: self.shelf.clone() }
    }
}

impl<K: Kernels> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("latent_frames", &self.pages.len()).finish_non_exhaustive()
    }
}
