//! What cannot be fetched is told in one sentence, and what is wrong is not kept.

use std::{fs, sync::atomic::Ordering};

use super::{Place, VAE, WAN, mirror::sha256};

const ONLY_VAE: [&str; 3] = ["pull", "--only", "vae"];

impl Place {
    /// The sentence that a pull is refused with, the address and the home taken out.
    fn refused(&self, code: i32, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        let run = self.run(arguments, settings);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!self.home.path("models").exists());
        let home = self.home.path("").display().to_string();
        run.stderr.replace(&self.address, "HUB").replace(&home, "HOME/").trim_end().to_owned()
    }
}

#[test]
fn a_file_that_is_not_what_was_promised_is_removed_and_named() {
    let place = Place::new();
    let true_digest = sha256(
        &fs::read(crate::fixture::root().join("testdata/published/shotstream/Wan2.1_VAE.pth"))
            .unwrap(),
    );
    let promised = "ab".repeat(32);
    place.mirror.lie(VAE.0, VAE.1, |tag, _| *tag = promised.clone());
    let expected = format!(
        "error: the file that came has the SHA-256 {true_digest}, the hub promised {promised}; \
         it was removed: Wan2.1_VAE.pth of {WAN}"
    );
    assert_eq!(place.refused(1, &ONLY_VAE, &[]), expected);
    let blob = place.blob(WAN, &promised);
    assert!(!blob.exists() && !blob.with_extension("part").exists());
}

#[test]
fn a_file_that_no_disk_holds_is_refused_before_it_comes() {
    let place = Place::new();
    place.mirror.lie(VAE.0, VAE.1, |_, size| *size = 1 << 60);
    let error = place.refused(1, &ONLY_VAE, &[]);
    assert!(error.starts_with("error: 1152921504.6 GB are still to come, but only "), "{error}");
    assert!(error.ends_with(" GB are free: HOME/hf/hub"), "{error}");
    assert!(!place.home.path("hf").exists());
}

#[test]
fn what_is_not_there_is_told_with_its_revision() {
    let place = Place::new();
    let expected = format!(
        "error: there is no Wan2.1_VAE.pth in {WAN} at v9 (status 404): \
         HUB/{WAN}/resolve/v9/Wan2.1_VAE.pth"
    );
    let asked = [&ONLY_VAE[..], &["--revision", "v9"]].concat();
    assert_eq!(place.refused(2, &asked, &[]), expected);
    // A revision of the other repository is none of this one's.
    let other = [&ONLY_VAE[..], &["--revision", "KlingTeam/ShotStream=v9"]].concat();
    place.done(&[&other[..], &["--dry-run"]].concat());
    let asked = [&ONLY_VAE[..], &["--revision", "a/b=v9"]].concat();
    let error = place.refused(2, &asked, &[]);
    assert!(error.starts_with("error: expected KlingTeam/ShotStream or Wan-AI/"), "{error}");
}

#[test]
fn what_is_missing_offline_is_named_and_nobody_is_asked() {
    let place = Place::new();
    let expected = format!(
        "error: HF_HUB_OFFLINE is set, but 6 of the files are not in the cache, the first is \
         config.json of {WAN} at main: HOME/hf/hub"
    );
    assert_eq!(place.refused(1, &["pull"], &[("HF_HUB_OFFLINE", "TRUE")]), expected);
    assert!(place.mirror.log.lock().unwrap().is_empty());
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let place = Place::new();
    for name in ["../../../../x", "/tmp/x", "ab", ""] {
        place.mirror.lie(VAE.0, VAE.1, |tag, _| *tag = name.to_owned());
        let expected = format!(
            "error: the hub answers with '{name}', expected the digest of a file: \
             HUB/{WAN}/resolve/main/Wan2.1_VAE.pth"
        );
        assert_eq!(place.refused(1, &ONLY_VAE, &[]), expected);
        assert!(!place.home.path("hf").exists());
    }
}

#[test]
fn what_cannot_be_meant_is_wrong_use() {
    let place = Place::new();
    let expected =
        "error: HF_ENDPOINT is 'hub.example', expected an address such as https://hub.example";
    assert_eq!(place.refused(2, &ONLY_VAE, &[("HF_ENDPOINT", "hub.example")]), expected);
    let error = place.refused(2, &ONLY_VAE, &[("HF_TOKEN", "a b")]);
    assert!(error.contains("the token in HF_TOKEN holds characters"), "{error}");
    let folder = place.home.path("kept/wan_models/Wan2.1-T2V-1.3B");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Wan2.1_VAE.pth"), "mine").unwrap();
    let error = place.refused(2, &["pull", "kept", "--only", "vae"], &[]);
    assert!(
        error.starts_with("error: this is in the way, expected nothing or a link: "),
        "{error}"
    );
    assert_eq!(fs::read(folder.join("Wan2.1_VAE.pth")).unwrap(), b"mine");
}

#[test]
fn a_hub_that_is_busy_is_asked_again() {
    let place = Place::new();
    place.mirror.status.store(503, Ordering::Relaxed);
    let run = place.done(&ONLY_VAE);
    let expected = "warning: the hub: status 503, asked again in 0.1 s\n";
    assert!(run.stderr.starts_with(expected), "{}", run.stderr);
}
