//! A story in words: one global caption that introduces the cast, one caption a shot.
//!
//! What a shot's caption leaves out has its plain value: a medium shot, by day, a still camera,
//! standing. So every picture follows from its captions, and a user may be brief.

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::attributes::{Accessory, Action, CameraSize, Pan, Place, Time};
use crate::story::{Character, Shot, Story};
use crate::words::{self, Phrases, Verb};

/// How captions speak of the characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// From this shot on, characters are only called "the hero", "the friend" or "it": who that
    /// is can be seen in earlier shots alone. `None` names them always.
    pub anonymous_from: Option<usize>,
}

/// The captions of one story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captions {
    /// Introduces the cast, and the place and time where they hold for the whole story.
    pub global: String,
    /// The same without any attribute of a character, for shots that must look back to know.
    pub anonymous_global: String,
    /// One caption a shot.
    pub shots: Vec<String>,
}

/// Chances of the choices of wording.
const PLAIN: f64 = 0.5;
const GLOBAL_SETTING: f64 = 0.6;
const SAY_AGAIN: f64 = 0.5;
const SAY_DEFAULT: f64 = 0.65;
const SAY_STILL_CAMERA: f64 = 0.3;
const SAY_ACCESSORY: f64 = 0.6;
const SAY_COLOUR: f64 = 0.8;

/// Puts a story into words; the same story, seed and wording always give the same captions.
pub fn captions(story: &Story, seed: u64, wording: &Wording) -> Captions {
    let mut writer = Writer { rng: ChaCha8Rng::seed_from_u64(seed) };
    let first = &story.shots[0];
    let place = story.shots.iter().all(|s| s.place == first.place).then_some(first.place);
    let time = story.shots.iter().all(|s| s.time == first.time).then_some(first.time);
    let said = if writer.chance(GLOBAL_SETTING) {
        Setting { place, time }
    } else {
        Setting { place: None, time: None }
    };
    let cast = writer.cast(&story.cast);
    let unnamed = if story.cast.len() > 1 { "The hero and its friend." } else { "The hero." };
    let setting = writer.setting(said);
    let shots = (0..story.shots.len())
        .map(|shot| {
            let named = wording.anonymous_from.is_none_or(|from| shot < from);
            writer.shot(story, shot, said, named)
        })
        .collect();
    Captions {
        global: format!("{cast}{setting}"),
        anonymous_global: format!("{unnamed}{setting}"),
        shots,
    }
}

/// What the global caption says of where and when.
#[derive(Clone, Copy)]
struct Setting {
    place: Option<Place>,
    time: Option<Time>,
}

/// Who does what, in one of its two grammatical forms.
struct Clause {
    subject: String,
    /// Empty when someone just stands there.
    finite: String,
    participle: String,
}

struct Writer {
    rng: ChaCha8Rng,
}

impl Writer {
    fn chance(&mut self, chance: f64) -> bool {
        self.rng.random_bool(chance)
    }

    /// One of several phrases: the first at least half the time.
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        if self.chance(PLAIN) { list[0] } else { list[self.rng.random_range(0..list.len())] }
    }

    fn cast(&mut self, cast: &[Character]) -> String {
        let hero = self.portrait(cast[0], "a");
        let text = match cast.get(1) {
            None => join(&[self.pick(words::ABOUT_ONE), &hero]),
            Some(&friend) => {
                let friend = self.portrait(friend, "a");
                let (before, between) = self.pick(words::ABOUT_TWO);
                format!("{before}{hero}{between}{friend}")
            }
        };
        sentence(&text)
    }

    fn setting(&mut self, said: Setting) -> String {
        let place = said.place.map_or("", |p| self.pick(words::place(p)));
        let time = said.time.map_or("", |t| self.pick(words::time(t)));
        if place.is_empty() && time.is_empty() {
            return String::new();
        }
        let opening = self.pick(words::SETTING);
        format!(" {}", sentence(&join(&[opening, place, time])))
    }

    /// A character with all its attributes.
    fn portrait(&mut self, who: Character, article: &str) -> String {
        let colour = self.pick(words::colour(who.colour));
        let species = self.pick(words::species(who.species));
        join(&[article, colour, species, self.accessory(who.accessory)])
    }

    fn accessory(&mut self, accessory: Accessory) -> &'static str {
        if accessory == Accessory::None { "" } else { self.pick(words::accessory(accessory)) }
    }

    /// A character as a shot's caption mentions it.
    fn mention(&mut self, who: Character) -> String {
        if self.chance(SAY_ACCESSORY) {
            let article = if self.chance(0.4) { "a" } else { "the" };
            return self.portrait(who, article);
        }
        let colour =
            if self.chance(SAY_COLOUR) { self.pick(words::colour(who.colour)) } else { "" };
        join(&["the", colour, self.pick(words::species(who.species))])
    }

    fn shot(&mut self, story: &Story, index: usize, said: Setting, named: bool) -> String {
        let shot = &story.shots[index];
        let clause = self.clause(story, shot, named);
        let size = self.size(shot.size);
        let place = self.place(shot, said);
        let time = self.time(shot.time, said);
        let pan = if shot.pan != Pan::None || self.chance(SAY_STILL_CAMERA) {
            self.pick(words::pan(shot.pan))
        } else {
            ""
        };
        let setting = if self.chance(0.75) { join(&[place, time]) } else { join(&[time, place]) };
        let Clause { subject, finite, participle } = clause;
        let doing = join(&[&subject, &finite]);
        match self.rng.random_range(0..10) {
            0..4 => {
                let body = clauses(&[&join(&[&doing, &setting]), pan]);
                if size.is_empty() { sentence(&body) } else { sentence(&format!("{size}: {body}")) }
            }
            4..6 if !size.is_empty() => {
                let framed = format!("in a {size}");
                sentence(&clauses(&[&join(&[&doing, &setting]), &framed, pan]))
            }
            6..8 if !setting.is_empty() => {
                let story_so_far = sentence(&clauses(&[&setting, &doing]));
                join(&[&story_so_far, &sentence(size), &sentence(pan)])
            }
            _ => {
                let of = if size.is_empty() { String::new() } else { format!("{size} of") };
                let seen = join(&[&of, &subject, &participle, &setting]);
                sentence(&clauses(&[&seen, pan]))
            }
        }
    }

    fn size(&mut self, size: CameraSize) -> &'static str {
        if size == CameraSize::Medium && !self.chance(SAY_DEFAULT) {
            return "";
        }
        self.pick(words::size(size))
    }

    fn place(&mut self, shot: &Shot, said: Setting) -> &'static str {
        if said.place.is_some() && !self.chance(SAY_AGAIN) {
            return "";
        }
        let walking = shot.actions.iter().all(|&action| action == Action::Walks);
        let phrases: Phrases = if walking && self.chance(0.6) {
            words::route(shot.place)
        } else {
            words::place(shot.place)
        };
        self.pick(phrases)
    }

    fn time(&mut self, time: Time, said: Setting) -> &'static str {
        let say = match said.time {
            Some(_) => self.chance(SAY_AGAIN),
            None => time != Time::Day || self.chance(SAY_DEFAULT),
        };
        if !say {
            return "";
        }
        self.pick(words::time(time))
    }

    /// Who does what in a shot.
    fn clause(&mut self, story: &Story, shot: &Shot, named: bool) -> Clause {
        let verbs: Vec<Option<Verb>> =
            shot.actions.iter().map(|&action| self.verb(action)).collect();
        let (&first, rest) = shot.cast.split_first().expect("someone is in every shot");
        let Some(&second) = rest.first() else {
            let subject = if named {
                self.mention(story.cast[first])
            } else {
                self.pick([words::HERO, words::FRIEND][first]).to_owned()
            };
            let verb = verbs[0];
            return Clause {
                subject,
                finite: verb.map_or("", |v| v.one).to_owned(),
                participle: verb.map_or("", |v| v.doing).to_owned(),
            };
        };
        let together = shot.actions[0] == shot.actions[1];
        let (a, b) = if named {
            (self.mention(story.cast[first]), self.mention(story.cast[second]))
        } else {
            ("the hero".to_owned(), self.pick(words::FRIEND).to_owned())
        };
        if together {
            let subject =
                if named { format!("{a} and {b}") } else { self.pick(words::BOTH).to_owned() };
            let verb = verbs[0];
            let both = if verb.is_some() && self.chance(0.3) { "both" } else { "" };
            return Clause {
                subject,
                finite: join(&[both, verb.map_or("", |v| v.many)]),
                participle: join(&[both, verb.map_or("", |v| v.doing)]),
            };
        }
        let link = self.pick(words::MEANWHILE);
        // Told apart, both must be said: a verb left out would go to the wrong one.
        let [va, vb] = [0, 1].map(|i| verbs[i].unwrap_or(words::action(shot.actions[i])[0]));
        Clause {
            subject: String::new(),
            finite: format!("{a} {}{link}{b} {}", va.one, vb.one),
            participle: format!("{a} {}{}{b} {}", va.doing, link.replace("while", "and"), vb.doing),
        }
    }

    /// How an action is told; standing need not be.
    fn verb(&mut self, action: Action) -> Option<Verb> {
        if action == Action::Stands && !self.chance(SAY_DEFAULT) {
            return None;
        }
        Some(self.pick(words::action(action)))
    }
}

/// Joins parts with spaces, leaving out the empty ones.
fn join(parts: &[&str]) -> String {
    glue(parts, " ")
}

/// Joins parts with commas, leaving out the empty ones.
fn clauses(parts: &[&str]) -> String {
    glue(parts, ", ")
}

fn glue(parts: &[&str], glue: &str) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(glue)
}

/// A capital letter and a full stop; nothing stays nothing.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::attributes::{Colour, Species};
    use crate::story::StoryOptions;

    fn samples() -> impl Iterator<Item = (u64, Story)> {
        let options = StoryOptions { pairs: 0.4, ..StoryOptions::default() };
        (0..2000).map(move |seed| (seed, Story::sample(seed, &options)))
    }

    fn has(text: &str, phrases: &[&str]) -> bool {
        let text = text.to_lowercase();
        phrases.iter().any(|phrase| text.contains(phrase))
    }

    #[test]
    fn captions_keep_to_a_small_vocabulary_and_use_all_of_it() {
        let vocabulary: BTreeSet<&str> = words::vocabulary().into_iter().collect();
        let mut used = BTreeSet::new();
        for (seed, story) in samples() {
            let wording = Wording { anonymous_from: (seed % 3 == 0).then_some(1) };
            let Captions { global, anonymous_global, shots } = captions(&story, seed, &wording);
            for text in shots.iter().chain([&global, &anonymous_global]) {
                used.extend(words::split(&text.to_lowercase()).map(str::to_owned));
            }
        }
        let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
        assert_eq!(used, vocabulary);
        assert!(vocabulary.len() <= 180, "{} words", vocabulary.len());
    }

    #[test]
    fn what_is_not_plain_is_said() {
        for (seed, story) in samples() {
            let told = captions(&story, seed, &Wording::default());
            for (shot, caption) in story.shots.iter().zip(&told.shots) {
                let both = format!("{} {caption}", told.global);
                let place =
                    has(&both, words::place(shot.place)) || has(&both, words::route(shot.place));
                assert!(place, "{both}");
                assert!(shot.time == Time::Day || has(&both, words::time(shot.time)), "{both}");
                let medium = shot.size == CameraSize::Medium;
                assert!(medium || has(caption, words::size(shot.size)), "{caption}");
                assert!(shot.pan == Pan::None || has(caption, words::pan(shot.pan)), "{caption}");
                for &who in &shot.cast {
                    assert!(has(caption, words::species(story.cast[who].species)), "{caption}");
                }
                for &action in &shot.actions {
                    let said = words::action(action)
                        .iter()
                        .any(|verb| has(caption, &[verb.one, verb.many, verb.doing]));
                    assert!(said || action == Action::Stands, "{caption}");
                }
            }
        }
    }

    #[test]
    fn half_of_the_shots_tell_all_about_their_characters() {
        let (mut complete, mut all) = (0, 0);
        for (seed, story) in samples() {
            let told = captions(&story, seed, &Wording::default());
            for (shot, caption) in story.shots.iter().zip(&told.shots) {
                all += 1;
                complete += usize::from(shot.cast.iter().all(|&who| {
                    let Character { colour, accessory, .. } = story.cast[who];
                    let bare = accessory == Accessory::None;
                    has(caption, words::colour(colour))
                        && (bare || has(caption, words::accessory(accessory)))
                }));
            }
        }
        assert!(complete * 2 > all, "{complete} of {all}");
    }

    #[test]
    fn an_anonymous_shot_tells_nothing_of_its_characters() {
        for (seed, story) in samples() {
            let told = captions(&story, seed, &Wording { anonymous_from: Some(0) });
            for caption in told.shots.iter().chain([&told.anonymous_global]) {
                let words: BTreeSet<String> =
                    words::split(&caption.to_lowercase()).map(str::to_owned).collect();
                let secrets = (Colour::ALL.into_iter().flat_map(words::colour))
                    .chain(Species::ALL.into_iter().flat_map(words::species))
                    .chain(&["hat", "scarf", "balloon"]);
                for secret in secrets {
                    assert!(!words.contains(*secret), "{caption}");
                }
            }
        }
    }

    #[test]
    fn wording_varies_with_the_seed_alone() {
        let story = Story::sample(3, &StoryOptions::default());
        let told = |seed| captions(&story, seed, &Wording::default());
        assert_eq!(told(1), told(1));
        let different: BTreeSet<String> =
            (0..100).map(|seed| told(seed).shots[0].clone()).collect();
        assert!(different.len() > 70, "{} of 100", different.len());
    }
}
