//! A training run that is stopped anywhere goes on as if it had never been.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

use shotstream_train::{
    data::address::{rng_of, uniform},
    trainer::BatchAddress,
};

use crate::{
    fixture::Home,
    road::{self, contents},
};

const KILLS: u64 = 20;

/// Start to walk the road, or go on with it, in the folder `dir`.
fn walk(home: &Home, dir: &str) -> Child {
    let mut command = home.command(&["train", "all", "--recipe", "road.toml", "--dir", dir]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// How far a walk has come: steps in its logs, and trajectories.
fn progress(dir: &Path) -> usize {
    let Ok(legs) = fs::read_dir(dir) else { return 0 };
    let reached = legs.flatten().map(|leg| {
        let log = fs::read(leg.path().join("log.jsonl")).unwrap_or_default();
        let steps = log.iter().filter(|&&byte| byte == b'\n').count();
        let Ok(files) = fs::read_dir(leg.path()) else { return steps };
        let is_shard = |name: &str| name.starts_with("pairs-") && name.ends_with(".safetensors");
        steps + files.flatten().filter(|file| is_shard(&file.file_name().to_string_lossy())).count()
    });
    reached.sum()
}

/// Kill a walk a moment after it has come to `moment`, and tell whether it was still under way.
fn kill_after(home: &Home, moment: usize, delay: Duration) -> bool {
    let mut child = walk(home, "killed");
    while progress(&home.path("killed")) < moment && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    sleep(delay);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn a_road_that_is_killed_twenty_times_leaves_what_one_that_never_stopped_leaves() {
    let home = road::home();
    assert!(walk(&home, "whole").wait().unwrap().success());
    // Not the last steps: a walk must still be under way when it is killed.
    let last = progress(&home.path("whole")) - 4;
    let mut killed = 0;
    for kill in 0..KILLS {
        let rng = &mut rng_of(BatchAddress { seed: 20, step: kill, part: 0, batch: 0 }, 0);
        let moment = (kill as f32 + uniform(rng)) / KILLS as f32 * last as f32;
        let delay = Duration::from_secs_f32(0.05 * uniform(rng));
        killed += u64::from(kill_after(&home, moment as usize, delay));
    }
    // A machine with other things to do may come too late for the last ones.
    assert!(killed >= 3 * KILLS / 4, "{killed} of {KILLS} walks were under way when killed");
    assert!(walk(&home, "killed").wait().unwrap().success());
    let [whole, killed] = ["whole", "killed"].map(|dir| contents(&home.path(dir)));
    let names =
        |found: &std::collections::BTreeMap<_, _>| found.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&killed), names(&whole));
    for (path, content) in &whole {
        assert!(killed[path] == *content, "{} is another", path.display());
    }
}
