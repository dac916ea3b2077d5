//! What the stages promise: recipes resolve, losses fall, a resumed run equals one never stopped.

mod toys;

use std::path::{Path, PathBuf};

use shotstream_train::{
    ablation::Ablation,
    error::TrainError,
    ranks::Alone,
    recipe::{StageRecipe, read},
    road::{Leg, Road},
    stages::{
        MODEL,
        fresh::FreshRecipe,
        ode_init,
        ode_pairs::{self, OdePairsRecipe},
        self_forcing::SelfForcingStage,
        teacher, vae,
    },
    trainer::Run,
};
use toys::{loop_of, losses, mean, toy, write};

const VAE_STAGE: &str = "[stage]\ncrop = [5, 16, 16]\ndivergence = 1e-3\n\
    [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";

const TEACHER_STAGE: &str = "[stage]\nshift = 3.0\ntext_dropout = 0.1\n\
    [stage.data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.1\ncontext_noise = 0.1\n\
    anonymous = 0.5\n[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n";

#[test]
fn every_committed_recipe_resolves() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let road: Road = read(&recipes.join("tiny.toml")).unwrap();
    assert!(road.leg.iter().all(|leg| recipes.join(&leg.recipe).exists()), "{road:?}");
    read::<FreshRecipe>(&recipes.join("tiny_model.toml")).unwrap();
    for name in ["tiny_vae_pictures.toml", "tiny_vae.toml", "tiny_decoder.toml"] {
        StageRecipe::<vae::VaeStage>::read(&recipes.join(name)).unwrap();
    }
    let ablation = Ablation::read(&recipes.join("ablations.toml")).unwrap();
    assert!([&ablation.teacher, &ablation.student].iter().all(|path| recipes.join(path).exists()));
    for name in [
        "tiny_first_frames.toml",
        "tiny_teacher.toml",
        "tiny_teacher_longer.toml",
        "tiny_teacher_again.toml",
        "ablation_teacher.toml",
        "wan_1_3b_teacher.toml",
    ] {
        StageRecipe::<teacher::TeacherStage>::read(&recipes.join(name)).unwrap();
    }
    for name in ["tiny_ode_pairs.toml", "wan_1_3b_ode_pairs.toml"] {
        read::<OdePairsRecipe>(&recipes.join(name)).unwrap();
    }
    for name in ["tiny_ode_init.toml", "wan_1_3b_ode_init.toml"] {
        StageRecipe::<ode_init::OdeInitStage>::read(&recipes.join(name)).unwrap();
    }
    let own = ["tiny_intra", "tiny_inter", "wan_1_3b_intra", "wan_1_3b_inter"];
    let own = own.map(|name| PathBuf::from(format!("{name}_shot.toml")));
    for name in own.iter().chain(ablation.leg.values()) {
        StageRecipe::<SelfForcingStage>::read(&recipes.join(name)).unwrap();
    }
}

#[test]
fn a_recipe_with_an_unknown_key_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{}{VAE_STAGE}colour = 1\n", loop_of(1, 1));
    let path = write(dir.path(), "vae.toml", &text);
    let error = StageRecipe::<vae::VaeStage>::read(&path).unwrap_err().to_string();
    assert!(error.contains("colour"), "{error}");
}

#[test]
fn the_vae_learns_and_resumes_to_the_same_losses() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = |steps| {
        let text = format!("{}{VAE_STAGE}", loop_of(steps, 2));
        let path = write(dir.path(), "vae.toml", &text);
        StageRecipe::<vae::VaeStage>::read(&path).unwrap()
    };
    let bundle = toy(dir.path());
    let go = |name: &str, steps, resume| {
        let work = |run: &mut Run<'_>| vae::run(bundle.clone(), &recipe(steps), run);
        let (result, losses) = losses(&dir.path().join(name), resume, work);
        result.unwrap();
        losses
    };
    let whole = go("whole", 12, false);
    assert!(mean(&whole[9..]) < 0.9 * mean(&whole[..3]), "{whole:?}");
    let mut parts = go("parts", 6, false);
    parts.extend(go("parts", 12, true));
    assert_eq!(whole, parts);

    let work = |run: &mut Run<'_>| vae::run(bundle.clone(), &recipe(12), run);
    let (again, _) = losses(&dir.path().join("whole"), false, work);
    assert!(matches!(again, Err(TrainError::Occupied { .. })));
}

#[test]
fn parts_add_up_the_same_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{}{VAE_STAGE}", loop_of(3, 1)).replace("parts = 2", "parts = 4");
    let recipe = StageRecipe::read(&write(dir.path(), "vae.toml", &text)).unwrap();
    let bundle = toy(dir.path());
    let states = [1, 2, 4].map(|threads| {
        let folder = dir.path().join(format!("{threads}"));
        let watch = &mut |_, _, _: &_| ();
        let stage = "test";
        let dir = folder.clone();
        let mut run =
            Run { stage, dir, resume: false, threads, ranks: &Alone, record: None, watch };
        vae::run(bundle.clone(), &recipe, &mut run).unwrap();
        std::fs::read(folder.join("resume.safetensors")).unwrap()
    });
    assert!(states[0] == states[1] && states[1] == states[2]);
}

#[test]
fn teacher_trajectories_and_student_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = toy(dir.path());
    let text = format!("{}{TEACHER_STAGE}", loop_of(60, 4));
    let recipe = StageRecipe::read(&write(dir.path(), "teacher.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| teacher::run(bundle, &recipe, run);
    let (bundle, taught) = losses(&dir.path().join("teacher"), false, work);
    let bundle = bundle.unwrap();
    assert!(mean(&taught[50..]) < mean(&taught[..10]), "{taught:?}");

    let text = "seed = 7\nshards = 2\nsamples = 2\n[sampler]\nsubsteps = 1\nguidance = 2.0\n\
        [data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.0\ncontext_noise = 0.0\n\
        anonymous = 0.0\n";
    let recipe: OdePairsRecipe = read(&write(dir.path(), "pairs.toml", text)).unwrap();
    let work = |run: &mut Run<'_>| ode_pairs::run(&bundle, &recipe, run);
    losses(&dir.path().join("pairs"), false, work).0.unwrap();

    let stage = "[stage]\npairs = \"pairs\"\nclean_past = 0.5\n";
    let text = format!("{}{stage}", loop_of(60, 4));
    let recipe = StageRecipe::read(&write(dir.path(), "student.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| ode_init::run(bundle, &recipe, run);
    let (student, learned) = losses(&dir.path().join("student"), false, work);
    student.unwrap();
    assert!(mean(&learned[45..]) < mean(&learned[..15]), "{learned:?}");
}

#[test]
fn a_student_without_trajectories_says_how_to_make_them() {
    let dir = tempfile::tempdir().unwrap();
    let stage = "[stage]\npairs = \"pairs\"\nclean_past = 0.5\n";
    let text = format!("{}{stage}", loop_of(1, 1));
    let recipe = StageRecipe::read(&write(dir.path(), "student.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| ode_init::run(toy(dir.path()), &recipe, run);
    let (result, _) = losses(&dir.path().join("student"), false, work);
    assert!(result.unwrap_err().to_string().contains("train ode-pairs"));
}

#[test]
fn a_road_passes_by_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    toy(dir.path());
    write(dir.path(), "vae.toml", &format!("{}{VAE_STAGE}", loop_of(2, 1)));
    let road = "[[leg]]\nstage = \"fresh\"\nrecipe = \"model.toml\"\ndir = \"fresh\"\n\
        [[leg]]\nstage = \"vae\"\nrecipe = \"vae.toml\"\ndir = \"vae\"\n";
    let file = write(dir.path(), "road.toml", road);
    let runs = dir.path().join("runs");
    let walk = || {
        let road: Road = read(&file).unwrap();
        let mut begun = Vec::new();
        let mut announce = |leg: usize, of: usize, next: &Leg| {
            begun.push(format!("{leg}/{of} {}", next.dir));
        };
        road.walk((&file, &runs), (2, &Alone), &mut announce, &mut |_, _, _| ()).unwrap();
        begun
    };
    assert_eq!(walk(), ["1/2 fresh", "2/2 vae"]);
    assert!(walk().is_empty());
    std::fs::remove_file(runs.join("vae").join(MODEL)).unwrap();
    assert_eq!(walk(), ["2/2 vae"]);
}
