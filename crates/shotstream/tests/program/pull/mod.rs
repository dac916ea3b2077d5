//! Published weights, fetched by the real program from a mirror that does what mirrors do.

mod killed;
mod mirror;
mod refused;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, atomic::Ordering},
};

use self::mirror::{COMMIT, Mirror, noise, sha256};
use crate::fixture::{Home, Run, root};

const STUDENT: (&str, &str) = ("KlingTeam/ShotStream", "shotstream_merged.pt");
const WAN: &str = "Wan-AI/Wan2.1-T2V-1.3B";
const VAE: (&str, &str) = (WAN, "Wan2.1_VAE.pth");

/// A home, a mirror, and the mirror's address.
struct Place {
    home: Home,
    mirror: Arc<Mirror>,
    address: String,
}

impl Place {
    /// A mirror with what was published, the tiny model of the golden in its place.
    fn new() -> Self {
        let (mirror, address) = Mirror::start();
        let golden = root().join("testdata/published/shotstream");
        let read = |file: &str| fs::read(golden.join(file)).unwrap();
        mirror.add(STUDENT.0, STUDENT.1, read(STUDENT.1));
        for file in ["Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"] {
            mirror.add(WAN, file, read(file));
        }
        mirror.add(WAN, "diffusion_pytorch_model.safetensors", noise(700_000, 1));
        mirror.add_small(WAN, "config.json", read("config.json"));
        let tokenizer = "google/umt5-xxl/tokenizer.json";
        mirror.add_small(WAN, tokenizer, read(tokenizer));
        Self { home: Home::new(), mirror, address }
    }

    /// The program with its environment cut down to this place.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        let foreign = std::env::vars().map(|(key, _)| key);
        for key in foreign.filter(|key| key.starts_with("HF_") || key.ends_with("_proxy")) {
            command.env_remove(key);
        }
        for key in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(key);
        }
        command.env("HF_ENDPOINT", &self.address).env("HF_HOME", self.home.path("hf"));
        command
    }

    fn run(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Run {
        let output = self.command(arguments).envs(settings.iter().copied()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Run { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Run what must succeed.
    fn done(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments, &[]);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run
    }

    /// Where the cache keeps a content.
    fn blob(&self, repo: &str, name: &str) -> PathBuf {
        let folder = format!("models--{}", repo.replace('/', "--"));
        self.home.path("hf/hub").join(folder).join("blobs").join(name)
    }
}

#[test]
fn what_is_pulled_is_a_model_and_nobody_is_asked_for_it_twice() {
    let place = Place::new();
    let run = place.done(&["pull"]);
    assert!(run.stderr.ends_with(" were fetched\n"), "{}", run.stderr);
    assert!(run.stderr.contains("models: 6 files, "), "{}", run.stderr);
    let list = place.home.json("models/pulled.json");
    let vae = &list["wan_models/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"];
    assert_eq!((vae["commit"].as_str(), vae["repo"].as_str()), (Some(COMMIT), Some(WAN)));
    place.home.write("story.toml", crate::fixture::STORY.replace("frames = 21", "frames = 9"));
    let making = ["generate", "story.toml", "--model", "models", "--size", "48x32"];
    place.done(&[&making[..], &["-o", "film.mp4"]].concat());

    place.mirror.log.lock().unwrap().clear();
    let again = place.done(&["pull"]);
    assert!(again.stderr.ends_with("of which 0.0 MB were fetched\n"), "{}", again.stderr);
    let log = place.mirror.log.lock().unwrap().clone();
    assert!(log.iter().all(|entry| entry.contains("bytes=0-0")), "{log:?}");
    fs::remove_dir_all(place.home.path("models")).unwrap();
    place.mirror.log.lock().unwrap().clear();
    let offline = place.run(&["pull"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.code, Some(0), "{}", offline.stderr);
    assert!(place.mirror.log.lock().unwrap().is_empty());
    place.done(&["inspect", "models"]);
}

#[test]
fn a_dry_run_tells_what_is_missing_and_writes_nothing() {
    let place = Place::new();
    place.done(&["pull", "elsewhere", "--only", "config"]);
    let before = fs::read_dir(place.home.path("hf/hub")).unwrap().count();
    let text = place.done(&["pull", "--dry-run", "--only", "config,vae"]).text().to_owned();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("here") && lines[0].ends_with("  config.json"), "{text}");
    assert!(lines[1].contains("0.1 MB  missing"), "{text}");
    assert!(lines[1].contains("main (01234567)"), "{text}");
    assert!(lines[2].starts_with("       0.1 MB  to fetch into "), "{text}");
    assert_eq!(fs::read_dir(place.home.path("hf/hub")).unwrap().count(), before);
    assert!(!place.home.path("models").exists());
}

#[test]
fn what_an_earlier_attempt_left_is_used_or_fetched_anew() {
    let place = Place::new();
    let bytes = noise(900_000, 2);
    place.mirror.add(VAE.0, VAE.1, bytes.clone());
    let blob = place.blob(VAE.0, &sha256(&bytes));
    let part = blob.with_extension("part");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let rotten: Vec<u8> = bytes[..500_000].iter().map(|byte| byte ^ 1).collect();
    let longer = [&bytes[..], b"more"].concat();
    // The beginning, all of it, more than it, and something else: what is on a disk after a kill or
    // a power cut. A lock of the dead holds nobody up.
    for (left, asked, said) in [
        (&bytes[..300_000], "bytes=300000-", ""),
        (&bytes[..], "", ""),
        (&longer[..], "bytes=0- ", ""),
        (&rotten[..], "bytes=500000-", "damaged, it is fetched anew"),
    ] {
        fs::write(&part, left).unwrap();
        fs::write(blob.with_extension("lock"), "").unwrap();
        place.mirror.log.lock().unwrap().clear();
        let run = place.done(&["pull", "--only", "vae"]);
        assert!(run.stderr.contains(said), "{}", run.stderr);
        let log = place.mirror.log.lock().unwrap().join("\n");
        assert!(log.contains(asked), "{log}");
        assert!(fs::read(&blob).unwrap() == bytes, "{asked}");
        assert!(!part.exists());
        fs::remove_file(&blob).unwrap();
    }
}

#[test]
fn a_mirror_that_knows_no_ranges_brings_the_rest_all_the_same() {
    let place = Place::new();
    let bytes = noise(900_000, 2);
    place.mirror.add(VAE.0, VAE.1, bytes.clone());
    place.mirror.always_whole.store(true, Ordering::Relaxed);
    let blob = place.blob(VAE.0, &sha256(&bytes));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(blob.with_extension("part"), &bytes[..300_000]).unwrap();
    place.done(&["pull", "--only", "vae,config"]);
    assert!(fs::read(&blob).unwrap() == bytes);
}

#[test]
fn what_was_damaged_on_the_disk_is_found_and_fetched_anew() {
    let place = Place::new();
    let pull = ["pull", "--only", "vae,config"];
    place.done(&pull);
    let true_bytes = fs::read(place.home.path("models/wan_models/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"));
    let true_bytes = true_bytes.unwrap();
    let blob = place.blob(VAE.0, &sha256(&true_bytes));
    let mut damaged = true_bytes.clone();
    damaged[1000] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    place.done(&pull);
    assert!(fs::read(&blob).unwrap() == damaged, "only a check tells");
    place.mirror.log.lock().unwrap().clear();
    let offline = place.run(&[&pull[..], &["--verify"]].concat(), &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.code, Some(1));
    assert!(
        offline.stderr.contains("but 1 of the files are not in the cache"),
        "{}",
        offline.stderr
    );
    assert!(place.mirror.log.lock().unwrap().is_empty());
    fs::write(&blob, &damaged).unwrap();
    let run = place.done(&[&pull[..], &["--verify"]].concat());
    assert!(run.stderr.contains("Wan2.1_VAE.pth: damaged, it is fetched anew"), "{}", run.stderr);
    assert!(fs::read(&blob).unwrap() == true_bytes);
    let again = place.done(&[&pull[..], &["--verify"]].concat());
    assert!(again.stderr.ends_with("of which 0.0 MB were fetched\n"), "{}", again.stderr);
}

#[test]
fn a_repository_that_is_called_differently_by_now_is_found() {
    let place = Place::new();
    let moved = format!("{}/moved/", place.address);
    let run = place.run(&["pull", "--only", "vae,config"], &[("HF_ENDPOINT", &moved)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let round = format!("{}/round", place.address);
    let run = place.run(&["pull", "--only", "vae"], &[("HF_ENDPOINT", &round)]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("answers with one redirection after another"), "{}", run.stderr);
}

#[test]
fn a_token_is_shown_to_the_hub_and_to_nobody_else() {
    let place = Place::new();
    *place.mirror.token.lock().unwrap() = Some("hf_secret".to_owned());
    let pull = ["pull", "--only", "vae"];
    let closed = place.run(&pull, &[]);
    assert_eq!(closed.code, Some(2));
    assert!(closed.stderr.contains("(status 401), expected its terms"), "{}", closed.stderr);
    let open = place.run(&pull, &[("HF_TOKEN", "hf_secret")]);
    assert_eq!(open.code, Some(0), "{}", open.stderr);
    assert!(!open.stderr.contains("hf_secret"));
    let log = place.mirror.log.lock().unwrap().clone();
    let (elsewhere, hub): (Vec<_>, Vec<_>) =
        log.iter().partition(|entry| entry.contains("/elsewhere/"));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|entry| entry.ends_with(" -")));
    assert!(hub.iter().any(|entry| entry.ends_with(" Bearer hf_secret")));
}
