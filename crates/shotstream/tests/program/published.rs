//! Models in the layouts they are published in: same networks, same story, PyTorch's numbers.
//!
//! Files and expected values: `tools/goldens/published.py`.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;

use crate::fixture::{Home, root};

const LAYOUTS: [&str; 3] = ["shotstream", "wan", "diffusers"];

/// A home with links to the folders of the golden, its noise, and its story cut to two chunks a
/// shot.
fn home() -> Home {
    let home = Home::new();
    let golden = root().join("testdata/published");
    let story: BTreeMap<String, String> =
        serde_json::from_slice(&fs::read(golden.join("story.json")).unwrap()).unwrap();
    let mut text = format!("global = {:?}\n", story["global_caption"]);
    for shot in 1..=3 {
        let caption = &story[&format!("shot{shot}")];
        text += &format!("[[shots]]\ncaption = {caption:?}\nframes = 21\n");
    }
    home.write("story.toml", text);
    fs::copy(golden.join("noise.safetensors"), home.path("noise.safetensors")).unwrap();
    for layout in LAYOUTS {
        copy(&golden.join(layout), &home.path(layout));
    }
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => fs::copy(entry.path(), &to).map(drop).unwrap(),
        }
    }
}

/// The bytes of the latents that a model makes of the story.
fn latents(home: &Home, model: &str) -> Vec<u8> {
    let given = ["generate", "story.toml", "--size", "48x32", "--noise", "noise.safetensors"];
    let asked = ["--model", model, "--save-latents", "l.safetensors"];
    let exact = ["--precision", "f32", "--device", "cpu"];
    home.done(&[&given[..], &asked, &exact].concat());
    fs::read(home.path("l.safetensors")).unwrap()
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn every_layout_tells_the_story_that_pytorch_tells() {
    let home = home();
    let first = latents(&home, LAYOUTS[0]);
    for layout in &LAYOUTS[1..] {
        assert!(latents(&home, layout) == first, "{layout}");
    }
    let found = SafeTensors::deserialize(&first).unwrap();
    let expected = fs::read(root().join("testdata/published/expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    assert_eq!(found.len(), expected.len());
    for name in expected.names() {
        let (found, expected) = (values(&found, name), values(&expected, name));
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(1.0, |most: f32, value| most.max(value.abs()));
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-3 * largest, "{name} is off by {off} of {largest}");
    }
}

#[test]
fn a_transformer_may_be_named_and_the_rest_lies_beside_it() {
    let home = home();
    let folder = latents(&home, "shotstream");
    fs::rename(
        home.path("shotstream/shotstream_merged.pt"),
        home.path("shotstream/of-my-own-training.pt"),
    )
    .unwrap();
    assert!(latents(&home, "shotstream/of-my-own-training.pt") == folder);
    assert_eq!(
        home.refused(2, &["generate", "story.toml", "--model", "shotstream"]),
        "error: the folder holds no transformer, expected shotstream_merged.pt or its like: \
         shotstream"
    );
}

/// Every file below a folder, or one file: its name and its bytes.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    if path.is_file() {
        return BTreeMap::from([(String::new(), fs::read(path).unwrap())]);
    }
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        for (rest, bytes) in contents(&entry.path()) {
            all.insert(format!("{name}/{rest}"), bytes);
        }
    }
    all
}

#[test]
fn a_model_survives_the_way_through_all_layouts_bit_for_bit() {
    let home = home();
    let convert = |from: &str, to: &str, layout: &str| {
        home.done(&["convert", from, to, "--layout", layout]);
        contents(&home.path(to))
    };
    for model in ["wan", "tiny"] {
        let bundle = convert(model, "one.safetensors", "bundle");
        let official = convert("one.safetensors", "official", "official");
        let diffusers = convert("official", "like-diffusers", "diffusers");
        assert!(convert("like-diffusers", "two.safetensors", "bundle") == bundle, "{model}");
        assert!(convert("two.safetensors", "official-2", "official") == official, "{model}");
        assert!(convert("official-2", "diffusers-2", "diffusers") == diffusers, "{model}");
        for folder in ["official", "like-diffusers", "official-2", "diffusers-2"] {
            fs::remove_dir_all(home.path(folder)).unwrap();
        }
        for file in ["one.safetensors", "two.safetensors"] {
            fs::remove_file(home.path(file)).unwrap();
        }
    }
    let wan = latents(&home, "wan");
    home.done(&["convert", "wan", "again", "--layout", "diffusers"]);
    assert!(latents(&home, "again") == wan);
    let taken = home.refused(1, &["convert", "wan", "again", "--layout", "official"]);
    assert!(taken.contains("cannot write a file of the model (entity already exists)"), "{taken}");
}

#[test]
fn inspect_tells_where_the_parts_of_a_folder_are() {
    let home = home();
    let text = home.done(&["inspect", "shotstream"]).text().to_owned();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("shotstream: a shotstream model, 0."), "{}", lines[0]);
    assert!(lines[1].starts_with("diffusion transformer"), "{}", lines[1]);
    assert!(lines[1].ends_with(" tensors of F32: shotstream/shotstream_merged.pt"), "{}", lines[1]);
    assert!(lines[3].ends_with(" of BF16: shotstream/models_t5_umt5-xxl-enc-bf16.pth"), "{text}");
    let text = home.done(&["inspect", "shotstream/Wan2.1_VAE.pth"]).text().to_owned();
    assert!(text.starts_with("shotstream/Wan2.1_VAE.pth: a file of weights, 0.1 MB\n"), "{text}");
}

#[test]
fn a_plan_of_memory_names_every_part_and_what_lowers_it() {
    let home = home();
    let text = home.done(&["inspect", "tiny", "--plan", "--size", "832x480"]).text().to_owned();
    let parts = [
        "transformer",
        "VAE",
        "text encoder",
        "local cache",
        "context cache",
        "text caches",
        "transformer's passes",
        "decoder",
        "together",
    ];
    for (line, part) in text.lines().skip(1).zip(parts) {
        assert!(line.starts_with(part), "{text}");
    }
    assert!(text.contains("\n--size 416x240 "), "{text}");
    assert!(text.contains("\nwindow_latent_frames = 3 in recipe.toml "), "{text}");
}

#[test]
fn a_small_decoder_makes_other_frames_of_the_same_latents() {
    let home = home();
    let small = root().join("testdata/taehv/weights.safetensors");
    fs::copy(small, home.path("shotstream/taew2_1.safetensors")).unwrap();
    let making = ["generate", "story.toml", "--model", "shotstream", "--size", "48x32"];
    let report = |asked: &[&str]| {
        let given = ["--save-latents", "l.safetensors", "--report", "r.json"];
        home.done(&[&making[..], &given, asked].concat());
        (fs::read(home.path("l.safetensors")).unwrap(), home.json("r.json"))
    };
    let (first, own) = report(&[]);
    let (latents, tiny) = report(&["--decoder", "tiny"]);
    let (_, named) = report(&["--decoder", "shotstream/taew2_1.safetensors"]);
    assert_eq!(own["frames"], tiny["frames"]);
    assert_ne!(own["frames_sha256"], tiny["frames_sha256"]);
    assert_eq!(tiny["frames_sha256"], named["frames_sha256"]);
    // What later shots remember is encoded from the frames that were shown, the first shot is the
    // same.
    let [first, latents] = [&first, &latents].map(|file| SafeTensors::deserialize(file).unwrap());
    assert_eq!(values(&first, "shot0.latents"), values(&latents, "shot0.latents"));
    let refused = home.refused(2, &["generate", "story.toml", "--decoder", "tiny"]);
    let expected = "error: there is no small decoder beside the model, expected \
                    taew2_1.safetensors or its like: tiny";
    assert_eq!(refused, expected);
}

#[test]
fn a_second_film_of_the_same_captions_needs_no_text_encoder() {
    let home = home();
    let making = ["generate", "story.toml", "--model", "shotstream", "--size", "48x32"];
    let film = |asked: &[&str]| {
        home.done(&[&making[..], &["--report", "r.json"], asked].concat());
        let report = home.json("r.json");
        let count = |what: &str| report["prompts"][what].as_u64().unwrap();
        (count("embedded"), count("found"), report["frames_sha256"].as_str().unwrap().to_owned())
    };
    let (_, _, expected) = film(&[]);
    let cache = ["--text-cache", "cache"];
    assert_eq!(film(&cache), (3, 0, expected.clone()));
    assert_eq!(film(&cache), (0, 3, expected.clone()));
    // Dropped, the prompts are embedded ahead; a byte a weight is another encoder.
    assert_eq!(film(&[&cache[..], &["--text-encoder", "drop"]].concat()), (0, 3, expected.clone()));
    assert_eq!(film(&["--text-encoder", "drop"]), (3, 0, expected.clone()));
    let int8 = film(&[&cache[..], &["--text-precision", "int8"]].concat());
    assert_eq!((int8.0, int8.1), (3, 0));
    assert_ne!(int8.2, expected);
    let both = ["--text-encoder", "drop", "--text-precision", "int8"];
    let error = home.refused(2, &[&making[..], &both].concat());
    assert!(error.contains("expected --text-encoder keep"), "{error}");
    // So is a transformer whose weights are, and it says so.
    let [halves, bytes] = ["bf16", "int8"].map(|precision| {
        let made = film(&["--precision", precision]);
        assert_eq!(home.json("r.json")["precision"], precision);
        made.2
    });
    assert!(expected != halves && halves != bytes);
    let other = ["generate", "story.toml", "--model", "shotstream", "--text-cache", ""];
    assert_eq!(home.run(&other).code, Some(2));
}

#[test]
fn a_warning_tells_which_words_of_a_long_prompt_are_not_read() {
    let home = Home::new();
    let story = crate::fixture::STORY.replace("A red fox", &"A red fox ".repeat(40));
    home.write("story.toml", story);
    let warned = |asked: &[&str]| {
        home.done(&[&["generate", "story.toml", "-o", "film.mp4"], asked].concat()).stderr
    };
    let end = warned(&[]);
    assert!(end.contains("does not read the last ") && end.contains(" tokens of the prompt"));
    let global = warned(&["--keep-shot"]);
    assert!(global.contains(" tokens of the global caption"), "{global}");
}
