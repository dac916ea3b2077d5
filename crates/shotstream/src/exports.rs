//! A finished film with what other programs want of it, in a folder that appears when it is whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use clap::ValueEnum as _;
use shotstream_edit::{
    EditList, Shot,
    captions::{srt, webvtt, webvtt_chapters},
    edl::edl,
    fcpxml::{fcpxml, file_url},
    otio::otio,
};
use shotstream_engine::event::Event;
use shotstream_media::{
    Frame,
    decode::Film,
    gif::GifStream,
    png::write_png,
    remux::{Chapter, remux},
    storyboard::{Card, storyboard},
};
use shotstream_plan::{recipe::Recipe, script::Rewrite, timeline::clock};

use crate::{
    cli::{ExportName, ExportsArgs},
    failure::WrongUse,
    story::{ShotEntry, StoryFile},
    whole_file::WholeFile,
};

/// The folder while it is filled.
#[derive(Debug)]
pub(crate) struct Exports {
    /// Where it grows.
    partial: PathBuf,
    path: PathBuf,
    /// What every file in it is called, but for its ending.
    name: String,
    formats: Vec<ExportName>,
}

/// What was told, shot by shot.
#[derive(Debug, Default)]
pub(crate) struct Told {
    shots: Vec<ToldShot>,
}

#[derive(Debug)]
struct ToldShot {
    prompt: String,
    seed: u64,
    frames: usize,
    then: Vec<Rewrite>,
}

impl Told {
    /// Note what an event says of the shots.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::ShotStarted { prompt, seed, .. } => {
                let (prompt, seed) = (prompt.clone(), *seed);
                self.shots.push(ToldShot { prompt, seed, frames: 0, then: Vec::new() });
            }
            Event::Rewritten { chunk, caption, .. } => {
                if let Some(shot) = self.shots.last_mut() {
                    shot.then.push(Rewrite { after_chunks: *chunk, caption: caption.clone() });
                }
            }
            Event::ShotFinished { frames, .. } => {
                if let Some(shot) = self.shots.last_mut() {
                    shot.frames = *frames;
                }
            }
            _ => {}
        }
    }

    /// The story, as a file of ours: with all that the model was told.
    fn story(self, global: &str, recipe: &Recipe) -> StoryFile {
        let shots = self.shots.into_iter().enumerate();
        let shots = shots.map(|(number, shot)| {
            let start = recipe.prompt(global, number, "");
            let caption = shot.prompt.strip_prefix(&start).unwrap_or(&shot.prompt).to_owned();
            let (frames, seed) = (Some(shot.frames), Some(shot.seed));
            ShotEntry { caption, frames, seed, then: shot.then }
        });
        StoryFile { global: global.to_owned(), shots: shots.collect() }
    }
}

impl Exports {
    /// Take the place of the folder, if one is asked for; its files are called `name`, or like the
    /// folder where there is none.
    ///
    /// # Errors
    /// When something is there already, or nothing can be written.
    pub(crate) fn create(args: &ExportsArgs, name: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.export else { return Ok(None) };
        let no_name = || WrongUse::error(format!("the folder has no name: {}", path.display()));
        let own_name = path.file_name().ok_or_else(no_name)?;
        let name = name.and_then(Path::file_stem).unwrap_or(own_name);
        let name = name.to_string_lossy().into_owned();
        let refuse = |error: io::Error| anyhow!("cannot export here: {error}: {}", path.display());
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refuse(io::ErrorKind::DirectoryNotEmpty.into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error)),
        }
        let mut partial = path.components().as_path().as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match fs::create_dir(&partial) {
            // What was left by a run that was interrupted is written over, file by file.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(refuse(error)),
            _ => Ok(()),
        }?;
        let formats = match &args.only[..] {
            [] => ExportName::value_variants().to_vec(),
            some => some.to_vec(),
        };
        Ok(Some(Self { partial, path: path.clone(), name, formats }))
    }

    /// Where the film has to go.
    pub(crate) fn film(&self) -> PathBuf {
        self.file("mp4")
    }

    /// Where everything will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Make everything of the finished film, and give the folder its name.
    ///
    /// # Errors
    /// When the film is not as long as what was told, or the system refuses; the film stays where
    /// it is then.
    pub(crate) fn finish(self, told: Told, global: &str, recipe: &Recipe) -> anyhow::Result<()> {
        let (film, fps) = (Film::open(&self.film())?, recipe.frames_per_second());
        let story = told.story(global, recipe);
        let shots = story.shots.iter();
        let shots = shots.map(|shot| Shot {
            caption: shot.caption.clone(),
            frames: shot.frames.unwrap_or_default(),
        });
        let list = EditList::new(&self.name, fps, film.size, shots.collect())?;
        let chapter = |shot: shotstream_edit::list::Placed<'_>| Chapter {
            title: shot.title(),
            frames: shot.end - shot.start,
        };
        let chapters: Vec<_> = list.shots().map(chapter).collect();
        self.write("mp4", &remux(&film, 0..film.pictures.len(), &chapters)?)?;
        self.pictures(&film, &list)?;
        for format in &self.formats {
            match format {
                ExportName::Clips => self.clips(&film, &list)?,
                ExportName::Subtitles => {
                    self.write("vtt", webvtt(&list).as_bytes())?;
                    self.write("srt", srt(&list).as_bytes())?;
                    self.write("chapters.vtt", webvtt_chapters(&list).as_bytes())?;
                }
                ExportName::Edl => self.write("edl", edl(&list, &self.film_name()).as_bytes())?,
                ExportName::Fcpxml => {
                    let film = std::path::absolute(self.path.join(self.film_name()))?;
                    let text = fcpxml(&list, &file_url(&film.to_string_lossy()));
                    self.write("fcpxml", text.as_bytes())?;
                }
                ExportName::Otio => {
                    self.write("otio", otio(&list, &file_url(&self.film_name())).as_bytes())?;
                }
                ExportName::Story => self.write("json", story.to_json()?.as_bytes())?,
                ExportName::Gif | ExportName::Storyboard => {}
            }
        }
        let refuse =
            |e| anyhow!("cannot give the exports their folder: {e}: {}", self.path.display());
        fs::rename(&self.partial, &self.path).map_err(refuse)
    }

    fn clips(&self, film: &Film, list: &EditList) -> anyhow::Result<()> {
        let folder = self.partial.join("clips");
        let refuse = |e| anyhow!("cannot write clips here: {e}: {}", folder.display());
        fs::create_dir_all(&folder).map_err(refuse)?;
        for shot in list.shots() {
            let place = folder.join(format!("{}-{:03}.mp4", self.name, shot.number));
            WholeFile::create(&place)?.finish(&remux(film, shot.start..shot.end, &[])?)?;
        }
        Ok(())
    }

    /// What is made of decoded frames, which are held for one shot at a time.
    fn pictures(&self, film: &Film, list: &EditList) -> anyhow::Result<()> {
        let [animated, board] =
            [ExportName::Gif, ExportName::Storyboard].map(|format| self.formats.contains(&format));
        if !animated && !board {
            return Ok(());
        }
        let mut gif = GifStream::new(Vec::new(), film.size, list.frames_per_second())?;
        let (mut cards, mut frames) = (Vec::new(), film.frames()?);
        for shot in list.shots() {
            let shown = frames.by_ref().take(shot.end - shot.start);
            let shown: Vec<Frame> = shown.collect::<Result<_, _>>()?;
            if animated {
                gif.shot(&shown)?;
            }
            if let Some(frame) = shown.get(shown.len() / 2).filter(|_| board) {
                let start = clock(shot.start, list.frames_per_second());
                cards.push(Card {
                    frame: frame.clone(),
                    heading: format!("Shot {}", shot.number),
                    aside: start,
                    words: shot.caption.to_owned(),
                });
            }
        }
        if animated {
            self.write("gif", &gif.finish()?)?;
        }
        if board {
            write_png(&self.file("png"), &storyboard(&cards)?)?;
        }
        Ok(())
    }

    fn film_name(&self) -> String {
        format!("{}.mp4", self.name)
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.partial.join(format!("{}.{ending}", self.name))
    }

    fn write(&self, ending: &str, content: &[u8]) -> anyhow::Result<()> {
        WholeFile::create(&self.file(ending))?.finish(content)
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        // Only if nothing is in it; and not after it took its name.
        let _ = fs::remove_dir(&self.partial);
    }
}
