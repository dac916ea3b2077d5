//! Takes and whole films as MP4, from what is saved.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use shotstream_media::mux::Muxer;
use shotstream_story::StoryError;
use shotstream_story::camera::packets_of;
use shotstream_story::record::TakeId;
use tokio::sync::broadcast::error::RecvError;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::protocol::MediaHeader;
use crate::stream::{Cast, Shown};

/// A film of some takes, one fragment a chunk.
pub(crate) fn film_of(hub: &Hub, id: &str, takes: Takes) -> Result<Vec<u8>, ApiError> {
    let story = hub.store.load(id)?;
    let takes = match takes {
        Takes::Film => story.line().to_vec(),
        Takes::One(take) => vec![take],
    };
    let mut muxer = Muxer::new(hub.recipe().frames_per_second()).map_err(StoryError::from)?;
    let mut film = Vec::new();
    for take in takes {
        let take = story.take(take);
        let take = take.ok_or_else(|| ApiError::not_found("there is no such take"))?;
        for chunk in &take.chunks {
            let packets = packets_of(chunk, hub.store.blobs())?;
            film.extend(muxer.fragment(&packets).map_err(StoryError::from)?);
        }
    }
    if film.is_empty() {
        return Err(ApiError::not_found("nothing is made yet"));
    }
    let mut whole = muxer.header().map_err(StoryError::from)?;
    whole.append(&mut film);
    whole.extend(muxer.index().map_err(StoryError::from)?);
    Ok(whole)
}

/// Which takes a film is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// Those of the film.
    Film,
    /// This one.
    One(TakeId),
}

/// `GET /v1/stories/{id}/film.mp4`
pub(crate) async fn film(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    mp4(hub, id, Takes::Film, &headers).await
}

/// `GET /v1/stories/{id}/takes/{take}/film.mp4`
pub(crate) async fn take(
    State(hub): State<Arc<Hub>>,
    Path((id, take)): Path<(String, TakeId)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    mp4(hub, id, Takes::One(take), &headers).await
}

/// `GET /v1/watch/{token}/film.mp4`
pub(crate) async fn watched(
    State(hub): State<Arc<Hub>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = crate::watching::story_of(&hub, &token)?;
    mp4(hub, id, Takes::Film, &headers).await
}

pub(crate) async fn mp4(
    hub: Arc<Hub>,
    id: String,
    takes: Takes,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let made = tokio::task::spawn_blocking(move || film_of(&hub, &id, takes));
    let film = Bytes::from(made.await.map_err(|_| ApiError::defect())??);
    let kind = [(header::CONTENT_TYPE, "video/mp4"), (header::ACCEPT_RANGES, "bytes")];
    let length = film.len() as u64;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    Ok(match asked.map(|range| parse_range(range, length)) {
        Some(Some(range)) => {
            let place = format!("bytes {}-{}/{length}", range.start(), range.end());
            let part = film.slice(*range.start() as usize..=*range.end() as usize);
            let place = [(header::CONTENT_RANGE, place)];
            (StatusCode::PARTIAL_CONTENT, kind, place, part).into_response()
        }
        _ => (kind, film).into_response(),
    })
}

/// The bytes that a single range means; nothing for what is not understood, which is answered as
/// if no range had been asked for.
fn parse_range(range: &str, length: u64) -> Option<RangeInclusive<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..=last.min(end),
        (Ok(first), Err(_)) if last.is_empty() => first..=end,
        (Err(_), Ok(last)) if first.is_empty() => length.saturating_sub(last)..=end,
        _ => return None,
    };
    (!range.is_empty()).then_some(range)
}

/// `GET /v1/stories/{id}/live.mp4`: the stream from the newest chunk on, for players.
pub(crate) async fn live(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let live = hub.live(&id).ok_or_else(|| ApiError::not_found("nobody directs this story now"))?;
    let (_, newest, casts) = live.join();
    drop(live);
    let chunks = stream::unfold((newest, casts, false), |(first, mut casts, headed)| async move {
        let shown = match first {
            Some(shown) => shown,
            None => loop {
                match casts.recv().await {
                    Ok(Cast::Chunk(shown)) => break shown,
                    Ok(Cast::Said(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(Cast::Over) | Err(RecvError::Closed) => return None,
                }
            },
        };
        let bytes = mp4_bytes(&shown, headed);
        Some((Ok::<_, std::convert::Infallible>(bytes), (None, casts, true)))
    });
    let kind = [(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(chunks)).into_response())
}

/// A chunk without the headers of messages, after the MP4's own if that was not sent yet.
fn mp4_bytes(shown: &Shown, headed: bool) -> Bytes {
    let fragment = shown.fragment.slice(MediaHeader::BYTES..);
    match headed {
        true => fragment,
        false => [&shown.header[MediaHeader::BYTES..], &fragment].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_film() {
        let range = |text| parse_range(text, 100).map(|range| (*range.start(), *range.end()));
        assert_eq!(range("bytes=0-"), Some((0, 99)));
        assert_eq!(range("bytes=10-19"), Some((10, 19)));
        assert_eq!(range("bytes=90-500"), Some((90, 99)));
        assert_eq!(range("bytes=-5"), Some((95, 99)));
        for strange in
            ["bytes=200-", "bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"]
        {
            assert_eq!(range(strange), None, "{strange}");
        }
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
