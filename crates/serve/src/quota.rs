//! How many frames a key may have a day. A day begins at midnight, universal time; frames count
//! when they are made, for whoever asked for their take, and what was counted is on the disk.

use std::time::Duration;

use shotstream_story::StoryError;
use shotstream_story::record::{Hash, Record};
use shotstream_story::store::Payer;
use shotstream_story::tree::Take;

use crate::error::ApiError;
use crate::hub::{Hub, now};

/// Seconds of a day.
const DAY_SECS: u64 = 24 * 60 * 60;

/// How often somebody who waits for the next day looks again: clocks may be set.
const LOOK: Duration = Duration::from_secs(60);

/// A key that lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its hash.
    pub hash: Hash,
    /// Frames it may have a day; any number where nothing is said.
    pub frames_per_day: Option<u64>,
}

impl Key {
    /// What a key is called where everybody may read it.
    pub(crate) fn label(&self) -> String {
        self.hash.to_string()[..12].to_owned()
    }
}

/// Whoever has this key, today.
pub(crate) fn payer(key: Hash) -> Payer {
    Payer { key, day: now() / DAY_SECS }
}

/// The frames that are asked for with some records.
pub(crate) fn frames_asked(records: &[Record]) -> u64 {
    let frames = |record: &Record| match record {
        Record::Asked { asked, .. } => asked.frames as u64,
        _ => 0,
    };
    records.iter().map(frames).sum()
}

/// Refuse frames that a key has not left today.
pub(crate) fn check(hub: &Hub, key: Option<Hash>, frames: u64) -> Result<(), ApiError> {
    let Some((quota, left)) = left(hub, key)? else { return Ok(()) };
    if frames <= left {
        return Ok(());
    }
    hub.metrics.quota_refused.inc();
    Err(refusal(frames, quota, left))
}

/// Why a take waits, if whoever pays for it has had all frames of today; what was begun is finished.
pub(crate) fn why_it_waits(
    hub: &Hub,
    key: Option<Hash>,
    take: &Take,
) -> Result<Option<ApiError>, StoryError> {
    let spent = left(hub, key)?.filter(|&(_, left)| left == 0);
    Ok(spent.map(|(quota, left)| refusal(take.asked.frames as u64, quota, left)))
}

fn refusal(frames: u64, quota: u64, left: u64) -> ApiError {
    ApiError::quota(
        format!("{frames} frames were asked for, of {quota} a day {left} are left"),
        DAY_SECS - now() % DAY_SECS,
    )
}

/// Whether a key has had all its frames of today.
pub(crate) fn is_spent(hub: &Hub, key: Option<Hash>) -> Result<bool, StoryError> {
    Ok(left(hub, key)?.is_some_and(|(_, left)| left == 0))
}

/// Resolves when a key has frames left. What cannot be read does not keep anybody waiting.
pub(crate) async fn wait(hub: &Hub, key: Option<Hash>) {
    while is_spent(hub, key).unwrap_or_default() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The frames of a day and those left of today, where a key has a quota.
fn left(hub: &Hub, key: Option<Hash>) -> Result<Option<(u64, u64)>, StoryError> {
    let known = hub.config.keys.iter().find(|known| Some(known.hash) == key);
    let Some(&Key { hash, frames_per_day: Some(quota) }) = known else { return Ok(None) };
    let spent = hub.store.spent(payer(hash))?;
    Ok(Some((quota, quota.saturating_sub(spent))))
}
