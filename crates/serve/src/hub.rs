//! What all connections share: the stories, the model, the slots and the sessions that hold them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shotstream_engine::event::{Command, Event, channel};
use shotstream_engine::meter::Meter;
use shotstream_engine::story::StoryState;
use shotstream_plan::recipe::Recipe;
use shotstream_story::StoryError;
use shotstream_story::camera::film_size;
use shotstream_story::check::check_title;
use shotstream_story::memory::{Context, context_of};
use shotstream_story::picture::Developed;
use shotstream_story::record::{Hash, Picture, PictureId, Premise, Record};
use shotstream_story::store::Store;
use shotstream_story::teller::Teller;
use shotstream_story::tree::{Story, Take};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::Config;
use crate::callers::Callers;
use crate::error::ApiError;
use crate::films::Films;
use crate::live::{Live, Pace};
use crate::metrics::Metrics;
use crate::protocol::Ask;
use crate::quota;
use crate::spans::Spans;
use crate::view::StreamView;

/// The share of the machine that sessions may plan on using.
const USABLE: f64 = 0.8;

/// What all sessions together may take of the time they are shown, in thousandths, by what one
/// takes alone.
const MOST_TOGETHER: usize = 800;

/// What a chunk of a running session may take of the time it is shown, in thousandths, if another
/// session is to be admitted.
const MOST_STRAIN: usize = 750;

/// Videos that may wait for a slot.
pub(crate) const MOST_WAITING: usize = 64;

/// How often it is looked whether a video is complete.
const LOOK: Duration = Duration::from_millis(50);

/// The codec as browsers name it: constrained baseline; the level has no influence on whether they
/// can play it.
const CODEC: &str = "avc1.42C01E";

/// Everything the server holds.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) teller: Arc<dyn Teller>,
    pub(crate) metrics: Metrics,
    pub(crate) spans: Spans,
    pub(crate) films: Films,
    pub(crate) callers: Callers,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) num_slots: usize,
    /// What a session's chunks take where nothing else runs, in thousandths of the time they are
    /// shown.
    strain_alone: usize,
    /// Slots that videos nobody directs may hold.
    video_slots: Arc<Semaphore>,
    /// Places of videos that wait for a slot.
    pub(crate) waiting: Arc<Semaphore>,
    /// Open lines of any kind.
    pub(crate) lines: AtomicUsize,
    pub(crate) draining: AtomicBool,
    /// What watch links are sealed with.
    pub(crate) secret: String,
    lives: Mutex<BTreeMap<String, Arc<Live>>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Hub {
    /// Open the stories and try the model: how many sessions it can serve at once is what it does
    /// alone, in frames a second, over what one session shows.
    pub(crate) fn open(
        config: Config,
        teller: Arc<dyn Teller>,
        spans: Spans,
    ) -> Result<Self, StoryError> {
        let mut store = Store::open(&config.folder)?;
        store.collect_garbage()?;
        let alone = frames_per_second_alone(&*teller)?;
        let shown = f64::from(teller.settings().recipe.frames_per_second());
        let fitting = ((alone * USABLE / shown) as usize).max(1);
        let num_slots = config.sessions.unwrap_or(fitting);
        let (metrics, secret) = (Metrics::default(), store.secret()?);
        metrics.session_slots.set(num_slots as i64);
        let films = Films::open(&config.folder.join("films"))?;
        Ok(Self {
            callers: Callers::new(config.rate),
            films,
            config,
            store,
            teller,
            metrics,
            spans,
            slots: Arc::new(Semaphore::new(num_slots)),
            num_slots,
            strain_alone: (1e3 * shown / alone) as usize,
            video_slots: Arc::new(Semaphore::new(num_slots.saturating_sub(1).max(1))),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            lines: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            secret,
            lives: Mutex::default(),
        })
    }

    pub(crate) fn recipe(&self) -> &Recipe {
        &self.teller.settings().recipe
    }

    /// The frames a take is conditioned on.
    pub(crate) fn context(&self, story: &Story, take: &Take) -> Context {
        context_of(story, take, self.recipe()).unwrap_or_default()
    }

    /// Frames a session may be ahead of its viewer: two chunks.
    pub(crate) fn ahead(&self) -> u64 {
        let [_, later] = self.chunk_frames();
        2 * later as u64
    }

    /// Frames of a shot's first chunk, and of each one after.
    fn chunk_frames(&self) -> [usize; 2] {
        let geometry = self.recipe().geometry();
        [0, 1].map(|chunk| geometry.chunk_frames(chunk).len())
    }

    pub(crate) fn stream_view(&self, frame: u64) -> StreamView {
        let recipe = self.recipe();
        StreamView {
            size: film_size(recipe),
            fps: recipe.frames_per_second(),
            codec: CODEC.to_owned(),
            ahead: self.ahead(),
            frame,
            model: self.teller.name().to_owned(),
            shot_frames: recipe.shot_frames().0,
            chunk_frames: self.chunk_frames(),
            context_frames: recipe.context_frames(),
        }
    }

    /// How a story made here begins.
    pub(crate) fn premise(&self, title: &str, global: &str, seed: u64) -> Premise {
        Premise {
            title: title.to_owned(),
            global: global.to_owned(),
            seed,
            model: self.teller.name().to_owned(),
            recipe: self.recipe().to_toml(),
        }
    }

    /// How a story made here begins, from words that somebody sent.
    ///
    /// # Errors
    /// When they are too long.
    pub(crate) fn checked_premise(
        &self,
        title: &str,
        global: &str,
        seed: u64,
    ) -> Result<Premise, ApiError> {
        for (name, text) in [("title", title), ("global", global)] {
            check_title(text).map_err(|error| ApiError::from(error).of(name))?;
        }
        Ok(self.premise(title, global, seed))
    }

    /// # Errors
    /// When the story was made with other settings than this model's.
    pub(crate) fn check_recipe(&self, story: &Story) -> Result<(), StoryError> {
        let Premise { model, recipe, .. } = &story.premise;
        if *recipe == self.recipe().to_toml() {
            return Ok(());
        }
        let reason = "the story was made with other settings than this server's model has";
        Err(StoryError::Edit(format!("{reason}, it was made with the model {model}")))
    }

    /// The session of a story, begun for whoever has this key if there is none.
    ///
    /// # Errors
    /// When there is no such story, or no slot is free.
    pub(crate) fn direct(
        self: &Arc<Self>,
        id: &str,
        key: Option<Hash>,
    ) -> Result<Arc<Live>, ApiError> {
        let mut lives = self.lives();
        if self.draining.load(Ordering::Acquire) {
            return Err(ApiError::overloaded("the server is about to stop"));
        }
        lives.retain(|_, live| !live.is_over());
        if let Some(live) = lives.get(id) {
            live.directors.fetch_add(1, Ordering::AcqRel);
            return Ok(live.clone());
        }
        let refuse = |message: String| {
            self.metrics.refused.inc();
            ApiError::overloaded(message)
        };
        let strain = |live: &Arc<Live>| live.strain.load(Ordering::Relaxed) as usize;
        let strains: Vec<_> = lives.values().map(strain).collect();
        let (now, then) = (strains.len(), strains.len() + 1);
        let slow = strains.iter().any(|strain| MOST_STRAIN < *strain);
        if 0 < now && (slow || MOST_TOGETHER < self.strain_alone * then) {
            return Err(refuse(format!(
                "{now} stories are being directed, one more would slow them down"
            )));
        }
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            let all = self.num_slots;
            refuse(format!("{all} stories are being directed, no more keep up"))
        })?;
        let live = Live::start(self, id, Pace::Viewer, slot, key)?;
        live.directors.fetch_add(1, Ordering::AcqRel);
        lives.insert(id.to_owned(), live.clone());
        Ok(live)
    }

    /// The session of a story, if it is being directed.
    pub(crate) fn live(&self, id: &str) -> Option<Arc<Live>> {
        self.lives().get(id).filter(|live| !live.is_over()).cloned()
    }

    /// Make everything that waits in a story as soon as a slot is free; videos leave one slot to
    /// directors where there are several. What a key has no frames left for waits for the next day.
    pub(crate) async fn make(self: Arc<Self>, id: String, waiting: Option<OwnedSemaphorePermit>) {
        let mut waiting = waiting;
        while let Some(key) = self.who_pays(&id) {
            quota::wait(&self, key).await;
            let made = self.make_now(&id, waiting.take()).await;
            let spent = |key| quota::is_spent(&self, key).unwrap_or_default();
            if !made || !self.who_pays(&id).is_some_and(spent) {
                break;
            }
        }
    }

    /// Whoever pays for the next take of a story, if one waits.
    fn who_pays(&self, id: &str) -> Option<Option<Hash>> {
        // A story that was removed meanwhile needs nothing any more.
        let story = self.store.load(id).ok()?;
        let take = story.next_to_make()?;
        self.store.asker(id, take.id).ok()
    }

    /// Make what waits in a story until nothing does or its payer has no frames left; whether it
    /// came to be made.
    async fn make_now(self: &Arc<Self>, id: &str, waiting: Option<OwnedSemaphorePermit>) -> bool {
        let Ok(video_slot) = self.video_slots.clone().acquire_owned().await else { return false };
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return false };
        let live = {
            let mut lives = self.lives();
            lives.retain(|_, live| !live.is_over());
            if self.draining.load(Ordering::Acquire) || lives.contains_key(id) {
                return false;
            }
            let Ok(live) = Live::start(self, id, Pace::Free, slot, None) else { return false };
            lives.insert(id.to_owned(), live.clone());
            live
        };
        drop(waiting);
        while !live.is_over() {
            sleep(LOOK).await;
        }
        drop(video_slot);
        true
    }

    /// Add a picture to a story, whether it is directed now or not; its number.
    pub(crate) async fn bring(
        &self,
        id: &str,
        caption: String,
        picture: Developed,
    ) -> Result<PictureId, ApiError> {
        let asked = {
            let lives = self.lives();
            match lives.get(id).filter(|live| !live.is_over()) {
                Some(live) => Some(live.clone()),
                None => {
                    // Nobody can begin to direct it meanwhile.
                    let mut story = self.store.load(id)?;
                    let record = picture_of(&story, &caption, picture)?;
                    self.store.write(id, &mut story, &[record])?;
                    None
                }
            }
        };
        if let Some(live) = asked {
            live.ask(Ask::Bring { caption, picture }, None).await?;
        }
        let story = self.store.load(id)?;
        let brought = story.pictures().iter().rfind(|it| it.memory == picture.memory);
        brought.map(|picture| picture.picture).ok_or_else(ApiError::defect)
    }

    /// Let every session end after the chunk it is saving.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.lives().values().for_each(|live| live.stopping.store(true, Ordering::Release));
    }

    /// End a story's session, if it has one, and forget the story.
    pub(crate) fn remove(&self, id: &str) -> Result<(), StoryError> {
        if let Some(live) = self.lives().remove(id) {
            live.stopping.store(true, Ordering::Release);
        }
        self.store.remove(id)
    }

    /// Whether a session still runs.
    pub(crate) fn is_busy(&self) -> bool {
        self.lives().values().any(|live| !live.is_over())
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Live>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of a picture that was brought.
pub(crate) fn picture_of(
    story: &Story,
    caption: &str,
    Developed { image, small, memory }: Developed,
) -> Result<Record, StoryError> {
    let (picture, caption) = (story.next_picture(caption)?, caption.trim().to_owned());
    Ok(Record::Pictured(Picture { picture, caption, image, small, memory }))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Tell shots to nobody and measure all but the first, which warms up. The quickest counts: what
/// else the machine does can only slow a shot down.
fn frames_per_second_alone(teller: &dyn Teller) -> Result<f64, StoryError> {
    const SHOTS: usize = 3;
    let (commands, receiver) = sync_channel(SHOTS);
    let (sender, events) = channel(2);
    for _ in 0..SHOTS {
        // The channel has room for all of them.
        let _ = commands.try_send(Command::add_shot("warming up"));
    }
    drop(commands);
    thread::scope(|scope| {
        scope.spawn(move || {
            teller.tell(&mut StoryState::default(), &receiver, &sender, &Meter::default())
        });
        let (mut start, mut quickest) = (Instant::now(), 0.0_f64);
        for event in events {
            match event {
                Event::ShotFinished { shot, frames, .. } => {
                    let rate = frames as f64 / start.elapsed().as_secs_f64();
                    quickest = if shot == 0 { quickest } else { quickest.max(rate) };
                    start = Instant::now();
                }
                Event::Failed { error } => return Err(error.into()),
                _ => {}
            }
        }
        Ok(quickest)
    })
}
