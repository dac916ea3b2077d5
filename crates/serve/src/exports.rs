//! What other programs want of a film: subtitles, edit lists, a GIF, a storyboard.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use shotstream_edit::captions::{srt, webvtt, webvtt_chapters};
use shotstream_edit::edl::edl;
use shotstream_edit::fcpxml::{fcpxml, file_url};
use shotstream_edit::list::Placed;
use shotstream_edit::otio::otio;
use shotstream_edit::{EditList, Shot};
use shotstream_media::Frame;
use shotstream_media::decode::Film;
use shotstream_media::gif::GifStream;
use shotstream_media::png::encode_png;
use shotstream_media::storyboard::{Card, storyboard};
use shotstream_plan::timeline::clock;
use shotstream_story::StoryError;
use shotstream_story::camera::film_size;
use shotstream_story::tree::Story;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::Path;
use crate::film::{Takes, film_of};
use crate::hub::Hub;
use crate::openapi::{File, Refusals};

/// A form that a film is exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Export {
    /// Subtitles, `WebVTT`.
    Vtt,
    /// Subtitles, `SubRip`.
    Srt,
    /// Chapters, `WebVTT`.
    Chapters,
    /// Edit decision list, CMX 3600.
    Edl,
    /// Final Cut Pro.
    Fcpxml,
    /// `OpenTimelineIO`.
    Otio,
    /// Moving pictures.
    Gif,
    /// One picture of every shot, PNG.
    Storyboard,
}

impl Export {
    /// What its file ends in, and what kind it is.
    const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Vtt => ("vtt", "text/vtt; charset=utf-8"),
            Self::Srt => ("srt", "application/x-subrip; charset=utf-8"),
            Self::Chapters => ("chapters.vtt", "text/vtt; charset=utf-8"),
            Self::Edl => ("edl", "text/plain; charset=utf-8"),
            Self::Fcpxml => ("fcpxml", "application/xml; charset=utf-8"),
            Self::Otio => ("otio", "application/json"),
            Self::Gif => ("gif", "image/gif"),
            Self::Storyboard => ("png", "image/png"),
        }
    }
}

/// The film for another program.
///
/// Edit lists name the film as the file of the same name beside them.
#[utoipa::path(
    get, path = "/v1/stories/{id}/exports/{format}", tag = "stories",
    params(("id" = String, Path), ("format" = Export, Path)),
    responses((status = 200, description = "The file", content(
        (String = "text/vtt"), (String = "application/x-subrip"), (String = "text/plain"),
        (String = "application/xml"), (serde_json::Value = "application/json"),
        (File = "image/gif"), (File = "image/png"),
    )), Refusals)
)]
pub(crate) async fn export(
    State(hub): State<Arc<Hub>>,
    Path((id, format)): Path<(String, Export)>,
) -> Result<Response, ApiError> {
    let make = move || made(&hub, &id, format);
    let (name, bytes) =
        tokio::task::spawn_blocking(make).await.map_err(|_| ApiError::defect())??;
    let (ending, kind) = format.file();
    let place = format!("attachment; filename=\"{name}.{ending}\"");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, &*place)], bytes)
        .into_response())
}

fn made(hub: &Hub, id: &str, format: Export) -> Result<(String, Vec<u8>), ApiError> {
    let story = hub.store.load(id)?;
    let (name, list) = (name_of(&story), list_of(hub, &story)?);
    let film = format!("{name}.mp4");
    let bytes = match format {
        Export::Vtt => webvtt(&list).into_bytes(),
        Export::Srt => srt(&list).into_bytes(),
        Export::Chapters => webvtt_chapters(&list).into_bytes(),
        Export::Edl => edl(&list, &film).into_bytes(),
        Export::Fcpxml => fcpxml(&list, &file_url(&film)).into_bytes(),
        Export::Otio => otio(&list, &file_url(&film)).into_bytes(),
        Export::Gif => {
            let path = film_of(hub, &story, Takes::Film)?;
            let film = Film::open(&path).map_err(StoryError::from)?;
            let gif = GifStream::new(Vec::new(), film.size, hub.recipe().frames_per_second());
            let mut gif = gif.map_err(StoryError::from)?;
            each_shot(&film, &list, |_, frames| Ok(gif.shot(&frames)?))?;
            gif.finish().map_err(StoryError::from)?
        }
        Export::Storyboard => {
            let path = film_of(hub, &story, Takes::Film)?;
            let film = Film::open(&path).map_err(StoryError::from)?;
            let (mut cards, fps) = (Vec::new(), hub.recipe().frames_per_second());
            each_shot(&film, &list, |shot, mut frames| {
                cards.push(Card {
                    frame: frames.swap_remove(frames.len() / 2),
                    heading: format!("Shot {}", shot.number),
                    aside: clock(shot.start, fps),
                    words: shot.caption.to_owned(),
                });
                Ok(())
            })?;
            let board = storyboard(&cards).and_then(|board| encode_png(&board));
            board.map_err(StoryError::from)?
        }
    };
    Ok((name, bytes))
}

/// The frames of one shot after another; no more are held.
fn each_shot(
    film: &Film,
    list: &EditList,
    mut take: impl FnMut(Placed<'_>, Vec<Frame>) -> Result<(), StoryError>,
) -> Result<(), StoryError> {
    let mut frames = film.frames()?;
    for shot in list.shots() {
        let shown = frames.by_ref().take(shot.end - shot.start).collect::<Result<Vec<_>, _>>()?;
        take(shot, shown)?;
    }
    Ok(())
}

/// The shots that have pictures: the film as far as it is made.
fn list_of(hub: &Hub, story: &Story) -> Result<EditList, ApiError> {
    let takes = story.line().iter().filter_map(|&take| story.take(take));
    let shots =
        takes.map(|take| Shot { caption: take.asked.caption.clone(), frames: take.frames_made() });
    let shots: Vec<_> = shots.filter(|shot| 0 < shot.frames).collect();
    if shots.is_empty() {
        return Err(ApiError::not_found("nothing is made yet"));
    }
    let recipe = hub.recipe();
    let size = film_size(recipe);
    EditList::new(&story.premise.title, recipe.frames_per_second(), size, shots)
        .map_err(|error| ApiError::invalid(error.to_string()))
}

/// A title as a file's name, which any system takes.
fn name_of(story: &Story) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() || "-_".contains(it) { it } else { '-' };
    let name: String = story.premise.title.trim().chars().take(60).map(plain).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "film".to_owned() } else { name.to_owned() }
}
