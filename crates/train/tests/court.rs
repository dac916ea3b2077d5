//! What a court promises: the same films on any number of threads, and a past that can be exchanged.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

#[expect(dead_code, reason = "other tests ask more of the toys")]
mod toys;

use burn::{module::Module as _, tensor::Device};
use shotstream_models::bundle::Bundle;
use shotstream_plan::{
    context::MemoryPolicy,
    recipe::{ContextCaptions, RecipeFile},
};
use shotstream_train::{
    court::{Court, CourtDenoiser, Euler, Film, Findings, Hearing, Past},
    data::address::{normals, shared_rng_of},
    params,
    trainer::BatchAddress,
};
use shotstream_world::StoryOptions;
use toys::toy;

/// A toy whose transformer has something to say.
fn talking() -> Bundle {
    let dir = tempfile::tempdir().unwrap();
    let mut bundle = toy(dir.path());
    let (_, mut vectors) = params::values(&bundle.dit);
    let rng = &mut shared_rng_of(BatchAddress { seed: 8, step: 0, part: 0, batch: 1 });
    for vector in &mut vectors {
        let noise = normals(rng, vector.len());
        vector.iter_mut().zip(noise).for_each(|(weight, noise)| *weight += 0.1 * noise);
    }
    bundle.dit = params::with_values(bundle.dit, &vectors, &Device::flex().autodiff()).valid();
    bundle
}

fn hearing(past: Past) -> Hearing {
    Hearing {
        seed: 70,
        stories: 2,
        options: StoryOptions { shots: 3..=3, pairs: 0.0 },
        anonymous: true,
        past,
        untold: false,
        marks: Vec::new(),
    }
}

fn films(court: &Court<impl CourtDenoiser>, hearing: &Hearing, threads: usize) -> Vec<Film> {
    let mut told = Vec::new();
    let films = court.hear(hearing, threads, &mut |done, all| told.push((done, all))).unwrap();
    assert_eq!(told, [(1, 2), (2, 2)]);
    films
}

#[test]
fn films_are_the_same_on_any_number_of_threads() {
    let bundle = talking();
    let court = Court::student(&bundle, bundle.recipe().clone()).unwrap();
    let [one, two] = [1, 2].map(|threads| films(&court, &hearing(Past::Own), threads));
    for (a, b) in one.iter().zip(&two) {
        assert_eq!((&a.story, &a.readings, &a.glimpses), (&b.story, &b.readings, &b.glimpses));
    }
}

#[test]
fn another_past_changes_later_shots_and_no_first_one() {
    let bundle = talking();
    let court = Court::student(&bundle, bundle.recipe().clone()).unwrap();
    let [own, zeroed, swapped] = [Past::Own, Past::Zeroed, Past::Swapped]
        .map(|past| films(&court, &hearing(past), 2).swap_remove(0));
    for other in [&zeroed, &swapped] {
        assert_eq!(own.glimpses[0], other.glimpses[0]);
        assert!((1..3).all(|shot| own.glimpses[shot] != other.glimpses[shot]));
    }
    assert!(zeroed.glimpses[1] != swapped.glimpses[1]);
    assert_eq!((own.strangers.len(), swapped.strangers.len()), (0, 1));
    let findings = Findings::of(&[swapped]);
    assert_eq!((findings.shots, findings.later.place.of), (3, 2));
    assert_eq!(findings.strangers.unwrap().same_species.of, 2);
}

#[test]
fn without_pictures_of_the_past_its_captions_say_nothing_either() {
    let bundle = talking();
    let court = Court::student(&bundle, bundle.recipe().clone()).unwrap();
    let zeroed = films(&court, &hearing(Past::Zeroed), 2).swap_remove(0);
    let untold = Hearing { untold: true, ..hearing(Past::Zeroed) };
    assert_eq!(films(&court, &untold, 2).swap_remove(0).glimpses, zeroed.glimpses);
    let context_captions = ContextCaptions::Target;
    let file = RecipeFile { context_captions, ..bundle.recipe().clone().into() };
    let target = Court::student(&bundle, file.resolve().unwrap()).unwrap();
    let untold = Hearing { untold: true, ..hearing(Past::Own) };
    let pictures = films(&court, &untold, 2).swap_remove(0);
    assert_eq!(films(&target, &hearing(Past::Own), 2).swap_remove(0).glimpses, pictures.glimpses);
    let own = films(&court, &hearing(Past::Own), 2).swap_remove(0);
    assert!(own.glimpses[1] != pictures.glimpses[1]);
}

#[test]
fn only_marked_shots_are_read() {
    let bundle = talking();
    let file = RecipeFile { memory: MemoryPolicy::Recent, ..bundle.recipe().clone().into() };
    let court = Court::student(&bundle, file.resolve().unwrap()).unwrap();
    let hearing = Hearing { marks: vec![0, 2, 9], ..hearing(Past::Own) };
    let films = films(&court, &hearing, 2);
    let read: Vec<_> = films[0].readings.iter().map(|(shot, _)| *shot).collect();
    assert_eq!(read, [0, 2]);
}

#[test]
fn a_teacher_films_whole_shots_without_chunk_borders() {
    let bundle = talking();
    let euler = Euler { steps: 3, guidance: 2.0, negative: Some("a fox".to_owned()) };
    let court = Court::teacher(&bundle, bundle.recipe().clone(), &euler).unwrap();
    let films = films(&court, &hearing(Past::Own), 2);
    let findings = Findings::of(&films);
    assert_eq!((findings.shots, findings.jump), (6, None));
}
