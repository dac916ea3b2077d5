//! The search for the drawing nearest to a shot.

use std::cell::OnceCell;
use std::ops::Range;

use super::compare::{soften, unlikeness};
use super::{CharacterReading, Reading};
use crate::attributes::{Accessory, Action, CameraSize, Colour, Pan, Place, Species, Time};
use crate::draw::{Actor, Filler, Picture, Setting, Stage};
use crate::story::Character;

/// How many of the characters found on the grid are taken further.
const STARTS: usize = 3;
/// The most rounds of exchanging attributes.
const ROUNDS: usize = 4;

/// One shot to be matched.
pub(super) struct Search<'a> {
    /// Frame numbers and small frames; the first frame first.
    moments: &'a [(usize, Picture)],
    num_frames: usize,
    num_actors: usize,
    filler: Filler,
    /// The picture that is drawn into.
    drawn: Picture,
}

/// What of the shot is compared.
#[derive(Clone)]
struct Part {
    columns: Range<usize>,
    /// Every moment, or every second.
    every: usize,
}

/// A setting without its cast, drawn at a moment once that is asked for.
struct Scene {
    setting: Setting,
    stage: Stage,
    backgrounds: Vec<OnceCell<Picture>>,
}

/// A cast in a setting, and how unlike the shot it looks.
struct Match {
    scene: Scene,
    cast: Vec<Actor>,
    unlike: u32,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        moments: &'a [(usize, Picture)],
        num_frames: usize,
        num_actors: usize,
    ) -> Self {
        let small = &moments[0].1;
        let filler = Filler::new(small.width, small.height);
        let drawn = Picture::new(small.width, small.height);
        Self { moments, num_frames, num_actors, filler, drawn }
    }

    /// The nearest drawing found from the given settings, the likeliest first.
    pub(super) fn run(mut self, settings: &[Setting]) -> Reading {
        let scene = self.best_scene(settings);
        let cast = self.first_cast(&scene);
        let mut best = Match { scene, cast, unlike: u32::MAX };
        for _ in 0..ROUNDS {
            let before = best.unlike;
            best.unlike = self.exchange(&best.scene, &mut best.cast, &self.everywhere());
            let setting = best.scene.setting;
            self.improve_setting(&mut best);
            if best.unlike >= before || best.scene.setting == setting {
                break;
            }
        }
        self.reading(&best)
    }

    fn scene(&self, setting: Setting) -> Scene {
        let small = &self.moments[0].1;
        let stage = Stage::new(setting, [small.height, small.width], self.num_frames);
        let backgrounds = vec![OnceCell::new(); self.moments.len()];
        Scene { setting, stage, backgrounds }
    }

    /// The best of some settings under every pan, still without a cast.
    fn best_scene(&mut self, settings: &[Setting]) -> Scene {
        let mut best: Option<(u32, Scene)> = None;
        for &setting in settings {
            for pan in Pan::ALL {
                let scene = self.scene(Setting { pan, ..setting });
                let limit = best.as_ref().map_or(u32::MAX, |&(unlike, _)| unlike);
                let unlike = self.unlike(&scene, &[], self.everywhere(), limit);
                if unlike < limit {
                    best = Some((unlike, scene));
                }
            }
        }
        best.expect("there are settings").1
    }

    /// A first guess at each character, each from its own part of the picture.
    fn first_cast(&mut self, scene: &Scene) -> Vec<Actor> {
        let width = self.moments[0].1.width;
        let mut cast = Vec::new();
        for index in 0..self.num_actors {
            let columns = index * width / self.num_actors..(index + 1) * width / self.num_actors;
            let mut ranked = self.grid(scene, index, columns.clone());
            ranked.sort_by_key(|&(unlike, _)| unlike);
            let part = Part { columns, every: 1 };
            let finals = ranked.into_iter().take(STARTS).map(|(_, start)| {
                let mut alone = vec![start];
                let unlike = self.exchange(scene, &mut alone, &part);
                (unlike, alone[0])
            });
            let best = finals.min_by_key(|&(unlike, _)| unlike);
            cast.push(best.expect("the grid is not empty").1);
        }
        cast
    }

    /// Every species and action in its best colour, without accessories, at every other moment.
    fn grid(&mut self, scene: &Scene, index: usize, columns: Range<usize>) -> Vec<(u32, Actor)> {
        let num_actors = self.num_actors;
        let part = Part { columns, every: 2 };
        let mut ranked = Vec::new();
        for species in Species::ALL {
            for action in Action::ALL {
                let mut best: Option<(u32, Actor)> = None;
                for colour in Colour::ALL {
                    let character = Character { species, colour, accessory: Accessory::None };
                    let actor = Actor { character, action, index, num_actors };
                    let limit = best.map_or(u32::MAX, |(unlike, _)| unlike);
                    let unlike = self.unlike(scene, &[actor], part.clone(), limit);
                    if unlike < limit {
                        best = Some((unlike, actor));
                    }
                }
                ranked.extend(best);
            }
        }
        ranked
    }

    /// Exchanges one attribute after the other while that brings the drawing nearer.
    fn exchange(&mut self, scene: &Scene, cast: &mut [Actor], part: &Part) -> u32 {
        let mut best = self.unlike(scene, cast, part.clone(), u32::MAX);
        for _ in 0..ROUNDS {
            let before = best;
            for who in 0..cast.len() {
                for variants in VARIANTS {
                    for other in variants(cast[who]) {
                        let kept = std::mem::replace(&mut cast[who], other);
                        if kept == other {
                            continue;
                        }
                        let unlike = self.unlike(scene, cast, part.clone(), best);
                        if unlike < best {
                            best = unlike;
                        } else {
                            cast[who] = kept;
                        }
                    }
                }
            }
            if best == before {
                break;
            }
        }
        best
    }

    /// Exchanges the setting behind the cast: place and size together, for they look alike when
    /// both are wrong, then time, then pan.
    fn improve_setting(&mut self, best: &mut Match) {
        let places = Place::ALL.iter().flat_map(|&place| {
            CameraSize::ALL.map(|size| move |now| Setting { place, size, ..now })
        });
        let places: Vec<Setting> = places.map(|change| change(best.scene.setting)).collect();
        self.try_settings(best, &places);
        let now = best.scene.setting;
        self.try_settings(best, &Time::ALL.map(|time| Setting { time, ..now }));
        let now = best.scene.setting;
        self.try_settings(best, &Pan::ALL.map(|pan| Setting { pan, ..now }));
    }

    fn try_settings(&mut self, best: &mut Match, settings: &[Setting]) {
        for &other in settings {
            if other == best.scene.setting {
                continue;
            }
            let scene = self.scene(other);
            let unlike = self.unlike(&scene, &best.cast, self.everywhere(), best.unlike);
            if unlike < best.unlike {
                best.scene = scene;
                best.unlike = unlike;
            }
        }
    }

    fn everywhere(&self) -> Part {
        Part { columns: 0..self.moments[0].1.width, every: 1 }
    }

    /// How unlike the shot a cast in a scene is in a part of it; once above `limit`, any number
    /// above it.
    fn unlike(&mut self, scene: &Scene, cast: &[Actor], part: Part, limit: u32) -> u32 {
        let mut sum = 0;
        for ((frame, shown), background) in
            self.moments.iter().zip(&scene.backgrounds).step_by(part.every)
        {
            let background = background.get_or_init(|| scene.stage.background(*frame));
            self.drawn.rgba.copy_from_slice(&background.rgba);
            for actor in cast {
                scene.stage.paint(&mut self.drawn, &mut self.filler, actor, *frame);
            }
            soften(&mut self.drawn);
            sum += unlikeness(shown, &self.drawn, part.columns.clone());
            if sum > limit {
                break;
            }
        }
        sum
    }

    fn reading(&self, best: &Match) -> Reading {
        let Setting { place, time, size, pan } = best.scene.setting;
        let small = &self.moments[0].1;
        let channels = (3 * small.width * small.height * self.moments.len()) as f32;
        let characters = best.cast.iter().map(|actor| {
            let Character { species, colour, accessory } = actor.character;
            CharacterReading { species, colour, accessory, action: actor.action }
        });
        Reading {
            place,
            time,
            size,
            pan,
            characters: characters.collect(),
            residual: best.unlike as f32 / channels / 255.0,
        }
    }
}

/// An actor with every member of one attribute in turn.
type Variants = fn(Actor) -> Vec<Actor>;

/// One entry an attribute.
const VARIANTS: [Variants; 4] = [
    |actor| Action::ALL.map(|action| Actor { action, ..actor }).to_vec(),
    |actor| Accessory::ALL.map(|accessory| dressed(actor, |c| c.accessory = accessory)).to_vec(),
    |actor| Colour::ALL.map(|colour| dressed(actor, |c| c.colour = colour)).to_vec(),
    |actor| Species::ALL.map(|species| dressed(actor, |c| c.species = species)).to_vec(),
];

fn dressed(mut actor: Actor, change: impl FnOnce(&mut Character)) -> Actor {
    change(&mut actor.character);
    actor
}
