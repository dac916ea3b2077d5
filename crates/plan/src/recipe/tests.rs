//! What a recipe promises.

use super::*;

fn refused(change: impl FnOnce(&mut RecipeFile)) -> String {
    let mut file = RecipeFile::from(Recipe::tiny());
    change(&mut file);
    file.resolve().expect_err("the recipe breaks a rule").to_string()
}

#[test]
fn four_steps_at_shift_8_are_the_references_to_the_bit() {
    let recipe = Recipe::wan();
    assert_eq!(recipe.timesteps(), [1000.0, 957.928_8, 888.888_9, 737.588_6]);
    assert_eq!(f64::from(recipe.timesteps()[1]), 957.928_771_972_656_2);
    assert_eq!(f64::from(recipe.timesteps()[3]), 737.588_623_046_875);
    assert_eq!(recipe.sigmas(), [1.0, 0.957_928_8, 0.888_888_9, 0.737_588_64]);
}

#[test]
fn the_table_of_levels_falls_from_pure_noise_almost_to_zero() {
    let levels: Vec<f32> = shifted_sigmas(8.0);
    let [first, second, last_but_one, last] =
        [0, 1, 998, 999].map(|index| format!("{:.5}", timestep_from_sigma(levels[index])));
    assert_eq!([&*first, &*second], ["1000.00000", "999.87488"]);
    assert_eq!([&*last_but_one, &*last], ["15.77909", "7.94439"]);
    assert!(levels.is_sorted_by(|a, b| a > b));
}

#[test]
fn a_recipe_survives_toml_and_json() {
    for recipe in [Recipe::wan(), Recipe::tiny()] {
        assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe.clone()));
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    }
}

#[test]
fn what_the_paper_does_need_not_be_written() {
    assert!(!Recipe::wan().to_toml().contains("memory"));
    let text = format!("memory = \"anchor\"\n{}", Recipe::wan().to_toml());
    let anchored = Recipe::from_toml(&text).unwrap();
    assert_eq!(anchored.memory(), Memory { frames: 6, policy: MemoryPolicy::Anchor });
    assert_eq!(Recipe::from_toml(&anchored.to_toml()), Ok(anchored));
}

#[test]
fn an_unknown_key_is_refused() {
    let text = format!("warp = true\n{}", Recipe::tiny().to_toml());
    let error = Recipe::from_toml(&text).expect_err("nothing reads warp").to_string();
    assert!(error.contains("unknown field `warp`"), "{error}");
}

#[test]
fn steps_must_fall() {
    assert_eq!(refused(|file| file.denoising_steps.clear()), "denoising_steps is empty");
    assert_eq!(
        refused(|file| file.denoising_steps = vec![1000, 500, 500]),
        "denoising_steps must fall within 1 to 1000, found 500: denoising_steps[2]"
    );
    assert_eq!(
        refused(|file| file.denoising_steps = vec![1001]),
        "denoising_steps must fall within 1 to 1000, found 1001: denoising_steps[0]"
    );
}

#[test]
fn numbers_stay_in_their_range() {
    assert_eq!(refused(|file| file.shift = 0.0), "shift must be above 0, found 0");
    assert_eq!(refused(|file| file.shift = f32::NAN), "shift must be above 0, found NaN");
    assert_eq!(
        refused(|file| file.context_frames = 65),
        "context_frames must be from 0 to 64, found 65"
    );
    assert_eq!(
        refused(|file| (file.memory, file.context_frames) = (MemoryPolicy::Anchor, 1)),
        "context_frames must be at least 2 beside an anchor, found 1"
    );
    assert_eq!(
        refused(|file| file.frames_per_second = 0),
        "frames_per_second must be from 1 to 240, found 0"
    );
}

#[test]
fn a_sink_is_whole_chunks_and_leaves_something_of_the_window() {
    for found in [1, 9, 12] {
        let expected = format!(
            "sink_latent_frames must be whole chunks of 3 and leave at least one of the \
             window's 9, found {found}"
        );
        assert_eq!(refused(|file| file.sink_latent_frames = found), expected);
    }
    let text = format!("sink_latent_frames = 6\n{}", Recipe::tiny().to_toml());
    let recipe = Recipe::from_toml(&text).unwrap();
    assert_eq!((recipe.sink().0, recipe.window().0), (6, 9));
    assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe));
    assert!(!Recipe::tiny().to_toml().contains("sink"));
}

#[test]
fn a_model_of_single_shots_reads_no_shot_number() {
    let text = format!("shot_label = \"none\"\n{}", Recipe::tiny().to_toml());
    let prompt = |recipe: Recipe| recipe.prompt("Rain. ", 2, "A cat.");
    assert_eq!(prompt(Recipe::from_toml(&text).unwrap()), "Rain. A cat.");
    assert_eq!(prompt(Recipe::tiny()), "Rain. shot2:A cat.");
}

#[test]
fn window_and_shot_end_at_chunk_borders() {
    assert_eq!(
        refused(|file| file.window_latent_frames = 10),
        "window_latent_frames must be a whole number of chunks: \
         10 latent frames are not a whole number of chunks of 3"
    );
    assert_eq!(
        refused(|file| file.shot_frames = 40),
        "a shot of 40 frames does not end with a chunk, the nearest have 33 and 45"
    );
    assert_eq!(
        refused(|file| file.shot_frames = 1_000_000_005),
        "a shot of 1000000005 frames is too long, the longest has 4065"
    );
}
