//! Nobody is told anything.

use axum::extract::Request;
use axum::http::StatusCode;
use shotstream_engine::meter::Meter;

use crate::stream::Place;

#[derive(Debug)]
pub(crate) struct Spans;

#[derive(Debug)]
pub(crate) struct Asked;

#[derive(Debug)]
pub(crate) struct Session;

#[derive(Debug)]
pub(crate) struct Chunk;

#[derive(Debug, Default)]
pub(crate) struct Sent;

impl Spans {
    pub(crate) const fn close(&self) {}

    pub(crate) const fn request(&self, _: &Request) -> Asked {
        Asked
    }

    pub(crate) const fn session(&self, _story: &str, _steps: usize) -> Session {
        Session
    }
}

impl Asked {
    pub(crate) const fn answered(self, _: StatusCode) {}
}

impl Session {
    pub(crate) fn meter(&self) -> Meter {
        Meter::default()
    }

    pub(crate) const fn chunk(&self, _: &Meter, _: Place) -> Chunk {
        Chunk
    }

    pub(crate) const fn forget(&self) {}
}

impl Chunk {
    pub(crate) const fn sent(&self) -> Sent {
        Sent
    }

    pub(crate) const fn end(self) {}
}

impl Sent {
    /// It is being sent as long as what this returns is held.
    pub(crate) const fn transport(&self) -> Self {
        Self
    }
}
