//! The server over real sockets, with networks made of arithmetic.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod describing;
mod directing;
mod doors;
#[path = "../../../story/tests/directing/fake.rs"]
mod fake;
mod fixture;
mod pictures;
mod protocol;
mod quotas;
#[cfg(feature = "otlp")]
mod spans;
mod videos;
#[cfg(feature = "whep")]
mod whep;
