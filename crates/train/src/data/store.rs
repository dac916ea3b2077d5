//! A folder of prepared stories, in memory, and how examples are drawn from it.
//!
//! Stories may have different numbers of shots and shots of different lengths; a batch has one of
//! each. Which, is drawn so that every shot of the folder is equally likely.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use shotstream_models::bundle::Bundle;
use shotstream_plan::{
    context::{Memory, select_context},
    geometry::PixelFrames,
    timeline::Timeline,
};

use crate::{
    data::{
        address::{below, uniform},
        encode::{fingerprint, remembered},
        prepare::Settings,
        refused::read_refused,
        shards::{StoredStory, read_shard, shard_path},
    },
    error::TrainError,
};

/// Prepared stories in memory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    stories: Vec<StoredStory>,
    /// Stories that have a shot, by its number.
    with_shot: Vec<Vec<usize>>,
    /// Stories by the number of a shot and its latent frames.
    groups: BTreeMap<(usize, usize), Vec<usize>>,
    /// Channels, height and width of a latent frame.
    pub cell: [usize; 3],
}

impl Store {
    /// Load a folder for a model.
    ///
    /// # Errors
    /// If it was made for another model, is incomplete, damaged or holds no story.
    pub fn open(dir: &Path, bundle: &Bundle) -> Result<Self, TrainError> {
        let settings = Settings::read(dir)?;
        let refuse = |reason: String| TrainError::Stored { reason, path: dir.to_owned() };
        check_fit(&settings, bundle).map_err(refuse)?;
        let [height, width] = bundle.recipe().geometry().latent_size();
        let cell = [bundle.vae.config().z_dim, height, width];
        let mut stories = Vec::new();
        for shard in 0..settings.stories.div_ceil(settings.shard) {
            let path = shard_path(dir, shard);
            if !path.exists() {
                return Err(refuse(format!("shard {shard} is missing, prepare the folder again")));
            }
            let read = read_shard(&path)?;
            let found = read.len() + read_refused(dir, shard)?.len();
            let (expected, refuse) = (settings.numbers(shard).len(), |reason: String| {
                TrainError::Stored { reason, path: path.clone() }
            });
            if found != expected {
                return Err(refuse(format!(
                    "it accounts for {found} stories, expected {expected}"
                )));
            }
            for story in &read {
                check_story(story, bundle, cell)
                    .map_err(|reason| refuse(format!("{}: {reason}", story.facts.source)))?;
            }
            stories.extend(read);
        }
        if stories.is_empty() {
            return Err(refuse("the folder holds no story to learn from".into()));
        }
        let longest = stories.iter().map(|story| story.shots.len()).max().unwrap_or(0);
        let mut with_shot = vec![Vec::new(); longest];
        let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, story) in stories.iter().enumerate() {
            for (shot, stored) in story.shots.iter().enumerate() {
                with_shot[shot].push(index);
                groups.entry((shot, stored.clip.shape[0])).or_default().push(index);
            }
        }
        Ok(Self { dir: dir.to_owned(), stories, with_shot, groups, cell })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Shots of the longest story.
    pub fn num_shots(&self) -> usize {
        self.with_shot.len()
    }

    /// Whether every story can be told without saying what its characters look like.
    pub fn can_be_anonymous(&self) -> bool {
        let mut told = self.stories.iter().flat_map(|story| &story.facts.tellings);
        told.all(|telling| telling.anonymous.is_some())
    }

    /// How many stories have each shot number.
    pub fn counts(&self) -> Vec<usize> {
        self.with_shot.iter().map(Vec::len).collect()
    }

    /// A shot number, each as likely as there are shots with it.
    pub fn draw_shot(&self, rng: &mut ChaCha8Rng) -> usize {
        weighted(rng, &self.counts())
    }

    /// Latent frames of the shots with a number, each length as likely as there are such shots.
    pub fn draw_length(&self, rng: &mut ChaCha8Rng, shot: usize) -> usize {
        let (lengths, counts): (Vec<_>, Vec<_>) =
            self.groups_of(shot).map(|(length, stories)| (length, stories.len())).unzip();
        lengths[weighted(rng, &counts)]
    }

    /// A story whose shot `shot` has `length` latent frames.
    pub fn draw(&self, rng: &mut ChaCha8Rng, shot: usize, length: usize) -> &StoredStory {
        let group = &self.groups[&(shot, length)];
        &self.stories[group[below(rng, group.len())]]
    }

    /// A story that has shot `shot`, of whatever length.
    pub fn draw_any(&self, rng: &mut ChaCha8Rng, shot: usize) -> &StoredStory {
        let stories = &self.with_shot[shot];
        &self.stories[stories[below(rng, stories.len())]]
    }

    fn groups_of(&self, shot: usize) -> impl Iterator<Item = (usize, &Vec<usize>)> {
        let range = self.groups.range((shot, 0)..(shot + 1, 0));
        range.map(|(&(_, length), stories)| (length, stories))
    }
}

impl StoredStory {
    /// Context latents `[K, C, h, w]` of shot `shot`; none for the first.
    ///
    /// # Panics
    /// If the folder was prepared for another memory.
    pub fn context(&self, shot: usize, memory: Memory) -> Vec<f32> {
        let lengths = self.facts.shots[..shot].iter().map(|shot| PixelFrames(shot.frames));
        let picks = select_context(memory, &lengths.collect::<Timeline>()).into_iter();
        let latents = picks.flat_map(|pick| {
            let known = &self.facts.shots[pick.shot].remembered;
            let place = known.iter().position(|&frame| frame == pick.frame);
            let frames = &self.shots[pick.shot].frames;
            let cell = frames.shape[1..].iter().product();
            frames.block(place.expect("every remembered frame is stored"), cell)
        });
        latents.collect()
    }

    /// The first `frames` latent frames of shot `shot`, `[F, C, h, w]`.
    pub fn clip(&self, shot: usize, frames: usize) -> impl Iterator<Item = f32> + '_ {
        let clip = &self.shots[shot].clip;
        clip.block(0, frames * clip.shape[1..].iter().product::<usize>())
    }

    /// One way to tell the story; with probability `anonymous` without saying after the first shot
    /// what the characters look like.
    pub fn told(&self, rng: &mut ChaCha8Rng, anonymous: f32) -> &[String] {
        let anonymous = uniform(rng) < anonymous;
        let tellings = &self.facts.tellings;
        let telling = &tellings[below(rng, tellings.len())];
        telling.anonymous.as_ref().filter(|_| anonymous).unwrap_or(&telling.named)
    }
}

/// Whether shards made so can teach a model.
fn check_fit(settings: &Settings, bundle: &Bundle) -> Result<(), String> {
    let recipe = bundle.recipe();
    let geometry = recipe.geometry();
    let differs = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        Err(format!("it was prepared for {what} {found:?}, the model has {expected:?}"))
    };
    if settings.picture != geometry.pixels {
        return differs("a picture of", &settings.picture, &geometry.pixels);
    }
    if settings.chunk != geometry.chunk.0 {
        return differs("chunks of", &settings.chunk, &geometry.chunk.0);
    }
    if settings.context_frames != recipe.context_frames() {
        return differs("context frames of", &settings.context_frames, &recipe.context_frames());
    }
    if settings.memory != recipe.memory().policy {
        return differs("the memory", &settings.memory.name(), &recipe.memory().policy.name());
    }
    if settings.encoder != fingerprint(&bundle.vae) {
        return Err("it was prepared by the encoder of another model".into());
    }
    Ok(())
}

/// Whether a story's shapes are the model's, and every frame a shot remembers is there.
fn check_story(story: &StoredStory, bundle: &Bundle, cell: [usize; 3]) -> Result<(), String> {
    let geometry = bundle.recipe().geometry();
    let lengths: Vec<_> = story.facts.shots.iter().map(|shot| shot.frames).collect();
    for (index, (known, shot)) in story.facts.shots.iter().zip(&story.shots).enumerate() {
        let latents = geometry.chunks_from_shot(PixelFrames(known.frames));
        let latents = latents.map_err(|error| error.to_string())? * geometry.chunk.0;
        let expected = [&[latents], cell.as_slice()].concat();
        if shot.clip.shape != expected {
            return Err(format!(
                "clip{index} has shape {:?}, expected {expected:?}",
                shot.clip.shape
            ));
        }
        let wanted = remembered(bundle.recipe().memory(), &lengths, index);
        if known.remembered != wanted {
            let found = &known.remembered;
            return Err(format!("shot {index} keeps frames {found:?}, expected {wanted:?}"));
        }
    }
    Ok(())
}

/// An index, each as likely as its share of the whole.
fn weighted(rng: &mut ChaCha8Rng, counts: &[usize]) -> usize {
    let total: u64 = counts.iter().map(|&count| count as u64).sum();
    let mut at = (u64::from(rng.next_u32() >> 8) * total) >> 24;
    for (index, &count) in counts.iter().enumerate() {
        match at.checked_sub(count as u64) {
            Some(rest) => at = rest,
            None => return index,
        }
    }
    unreachable!("a draw lies below the total")
}

/// The index whose turn it is when each has turns by its count, as evenly as can be.
pub fn in_turn(counts: &[usize], turn: u64) -> usize {
    let total: i64 = counts.iter().map(|&count| count as i64).sum();
    let mut owed = vec![0; counts.len()];
    let mut chosen = 0;
    for _ in 0..=turn {
        owed.iter_mut().zip(counts).for_each(|(owed, &count)| *owed += count as i64);
        chosen = (0..owed.len()).rev().max_by_key(|&index| owed[index]).unwrap_or(0);
        owed[chosen] -= total;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn equal_counts_are_drawn_as_a_plain_number_is() {
        for count in [1, 7, 1024, 999] {
            for shots in [1, 2, 3, 4] {
                let [mut a, mut b] = [5, 5].map(ChaCha8Rng::seed_from_u64);
                for _ in 0..500 {
                    assert_eq!(weighted(&mut a, &vec![count; shots]), below(&mut b, shots));
                }
            }
        }
    }

    #[test]
    fn a_share_is_drawn_as_often_as_it_is_large() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let hits = (0..4000).filter(|_| weighted(&mut rng, &[30, 0, 10]) == 2).count();
        assert!((900..1100).contains(&hits), "{hits} of 4000");
    }

    #[test]
    fn turns_go_round_and_follow_the_counts() {
        let turns = |counts: &[usize]| (0..6).map(|turn| in_turn(counts, turn)).collect::<Vec<_>>();
        assert_eq!(turns(&[5, 5, 5]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(&[4, 2]), [0, 1, 0, 0, 1, 0]);
    }
}
