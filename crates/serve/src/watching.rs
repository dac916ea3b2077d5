//! Watch links: who has one may see a story, and nothing else.
//!
//! A token is the story's name and a seal that only this server can make, so nothing is kept and
//! links outlive a restart.

use shotstream_story::record::Hash;

use crate::error::ApiError;
use crate::hub::Hub;

/// Characters of a seal: 128 bits.
const SEAL: usize = 32;

/// The token that lets somebody watch a story.
pub(crate) fn token_of(hub: &Hub, id: &str) -> String {
    format!("{id}.{}", seal(hub, id))
}

/// The story that a token opens.
pub(crate) fn story_of(hub: &Hub, token: &str) -> Result<String, ApiError> {
    let known = token.split_once('.').filter(|(id, given)| {
        // Hashes are compared, so that the time it takes says nothing about the seal.
        Hash::of(given.as_bytes()) == Hash::of(seal(hub, id).as_bytes())
    });
    let (id, _) = known.ok_or_else(|| ApiError::not_found("this is no watch link of ours"))?;
    Ok(id.to_owned())
}

fn seal(hub: &Hub, id: &str) -> String {
    // The secret stands on both sides and has one length, so nothing can be appended.
    let secret = hub.secret.as_bytes();
    let seal = Hash::of_all([secret, &b"watch"[..], id.as_bytes(), secret]);
    seal.to_string()[..SEAL].to_owned()
}
