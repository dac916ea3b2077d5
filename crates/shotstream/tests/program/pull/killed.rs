//! Connections that break and programs that are killed.

use std::{fs, process::Stdio, sync::atomic::Ordering, thread, time::Duration};

use shotstream_damage::Dice;

use super::{
    Place, STUDENT, VAE,
    mirror::{noise, sha256},
};

/// How often each happens.
const TIMES: usize = 50;

#[test]
fn fifty_disconnects_and_fifty_kills_leave_the_right_bytes() {
    let place = Place::new();
    let files = [(STUDENT, noise(3_000_000, 3)), (VAE, noise(2_000_000, 4))];
    for ((repo, file), bytes) in &files {
        place.mirror.add(repo, file, bytes.clone());
    }
    place.mirror.shaky.store(400_000, Ordering::Relaxed);
    let pull = ["pull", "--only", "student,vae"];
    let check = || {
        for ((repo, file), bytes) in &files {
            let blob = place.blob(repo, &sha256(bytes));
            assert!(fs::read(&blob).unwrap() == *bytes, "{file}");
            let left = fs::read_dir(blob.parent().unwrap()).unwrap();
            let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let odd: Vec<_> = names.filter(|name| name.contains(".part")).collect();
            assert!(odd.is_empty(), "{odd:?}");
        }
    };
    let (mut kills, mut whole, mut dice) = (0, 0, Dice::of(5));
    while kills < TIMES {
        let mut program = place.command(&pull).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + dice.below(180) as u64));
        match program.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{status}");
                check();
                // All of it again.
                fs::remove_dir_all(place.home.path("hf")).unwrap();
                whole += 1;
            }
            None => {
                program.kill().unwrap();
                program.wait().unwrap();
                kills += 1;
            }
        }
    }
    place.done(&pull);
    check();
    while place.mirror.cuts.load(Ordering::Relaxed) < TIMES {
        fs::remove_dir_all(place.home.path("hf")).unwrap();
        place.done(&pull);
        check();
        whole += 1;
    }
    assert!(whole < 100 * TIMES, "every attempt was over before it could be killed");
    let first = place.home.path("models/ckpts/shotstream_merged.pt");
    assert!(fs::read(first).unwrap() == files[0].1);
}
