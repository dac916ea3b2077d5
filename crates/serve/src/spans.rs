//! Spans: what took from when to when, told to a collector of traces. A request is one, a session
//! another; a session's chunks lie below it, and below each chunk the stages it went through.
//!
//! Built without `otlp` nothing is told, and nothing is kept to be told.

#[cfg(feature = "otlp")]
mod otlp;

#[cfg(not(feature = "otlp"))]
mod silent;

#[cfg(feature = "otlp")]
pub(crate) use otlp::{Sent, Session, Spans};
#[cfg(not(feature = "otlp"))]
pub(crate) use silent::{Sent, Session, Spans};
