//! Where in the memory of a pass everything lies, and memories that are used again.

use std::{
    collections::HashMap,
    hash::Hash,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::kernels::Precision;

/// A plan of a memory: constants first, then what passes write.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of what products read.
    pub(crate) precision: Precision,
    constants: Vec<f32>,
    len: usize,
    /// Places and lengths of what may be used again.
    free: Vec<[usize; 2]>,
}

/// Values of a cache line, on which everything begins, and of the widest vector.
pub(crate) const LINE: usize = 16;

impl Plan {
    /// Of nothing so far.
    pub(crate) fn new(precision: Precision) -> Self {
        Self { precision, constants: Vec::new(), len: 0, free: Vec::new() }
    }

    /// Room for constants; where they begin.
    pub(crate) fn constant(&mut self, values: &[f32]) -> usize {
        let start = self.constants.len();
        self.constants.extend_from_slice(values);
        self.constants.resize(self.constants.len().next_multiple_of(LINE), 0.0);
        self.len = self.constants.len();
        start
    }

    /// Room for `len` values that are zero at first; where they begin.
    pub(crate) fn room(&mut self, len: usize) -> usize {
        let start = self.len;
        self.len += len.next_multiple_of(LINE);
        start
    }

    /// As [`Self::room`], but what was there before may still be.
    pub(crate) fn scratch(&mut self, len: usize) -> usize {
        match self.free.iter().position(|&[_, free]| free == len) {
            Some(index) => self.free.swap_remove(index)[0],
            None => self.room(len),
        }
    }

    /// What begins at `start` is not needed by any later section.
    pub(crate) fn free(&mut self, start: usize, len: usize) {
        self.free.push([start, len]);
    }

    pub(crate) fn constants(&self) -> &[f32] {
        &self.constants
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Things that are made when they are first asked for, and stay.
#[derive(Debug)]
pub(crate) struct Known<Key, T: ?Sized>(Mutex<HashMap<Key, Arc<T>>>);

impl<Key: Eq + Hash, T: ?Sized> Known<Key, T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The one of this key.
    pub(crate) fn get(&self, key: Key, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        lock(&self.0).entry(key).or_insert_with(make).clone()
    }
}

/// Whoever panicked left whole things behind.
fn lock<T>(things: &Mutex<T>) -> MutexGuard<'_, T> {
    things.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Things that are made when none is left, and come back.
#[derive(Debug)]
pub(crate) struct Shelf<T>(Mutex<Vec<T>>);

impl<T> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that came back, or a new one.
    pub(crate) fn take<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let left = lock(&self.0).pop();
        left.map_or_else(make, Ok)
    }

    /// As [`Self::take`]; it comes back by itself.
    pub(crate) fn borrow<E>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Borrowed<'_, T>, E> {
        Ok(Borrowed { thing: Some(self.take(make)?), shelf: self })
    }

    /// Bring one back.
    pub(crate) fn put(&self, thing: T) {
        lock(&self.0).push(thing);
    }
}

/// A thing of a shelf.
#[derive(Debug)]
pub(crate) struct Borrowed<'a, T> {
    thing: Option<T>,
    shelf: &'a Shelf<T>,
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Borrowed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        self.thing.take().into_iter().for_each(|thing| self.shelf.put(thing));
    }
}
