//! Words that change while their shot is made.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use expect_test::expect;
use shotstream_engine::event::{Command, Event};
use shotstream_engine::network::{Latents, NetworkError};
use shotstream_engine::rollout::{Border, ShotInput, rollout};
use shotstream_engine::schedule::Schedule;
use shotstream_engine::session::Ending;
use shotstream_engine::story::StoryState;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::plan::plan_shot;
use shotstream_plan::script::{Rewrite, ShotScript};
use shotstream_plan::timeline::Timeline;

use crate::channels::{gated, open};
use crate::fake::{CHANNELS, Fake, Running, frames, recipe, settings, summary};

fn then(after_chunks: usize, caption: &str) -> Rewrite {
    Rewrite { after_chunks, caption: caption.to_owned() }
}

fn tell(fake: &Arc<Fake>, shots: Vec<ShotScript>) -> Vec<Event> {
    let running = Running::start(fake, settings(), StoryState::new("Rain. ", 0));
    for shot in shots {
        running.commands.send(Command::AddShot { shot }).unwrap();
    }
    running.commands.send(Command::Finish).unwrap();
    let (events, ending, _) = running.finish();
    assert_eq!(ending, Ending::Finished);
    events
}

#[test]
fn under_new_words_the_finished_chunks_are_committed_again_before_the_next_is_made() {
    let fake = Arc::new(Fake::default());
    let shot = ShotScript { then: vec![then(2, "a zzdog")], ..ShotScript::new("a cat") };
    let events = tell(&fake, vec![shot, ShotScript::new("both")]);
    expect![[r#"
        text Rain. shot0:a cat
        context positions 0..=5 phases 000000 captions 000000 of ["Rain. shot0:a cat"]
        denoise 1000 positions 6..=8 phases 111 sees 0
        denoise 934 positions 6..=8 phases 111 sees 0
        denoise 833 positions 6..=8 phases 111 sees 0
        denoise 637 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
        denoise 934 positions 9..=11 phases 111 sees 1
        denoise 833 positions 9..=11 phases 111 sees 1
        denoise 637 positions 9..=11 phases 111 sees 1
        text Rain. shot0:a zzdog
        commit positions 6..=8 phases 111
        commit positions 9..=11 phases 111
        denoise 1000 positions 12..=14 phases 111 sees 2
        denoise 934 positions 12..=14 phases 111 sees 2
        denoise 833 positions 12..=14 phases 111 sees 2
        denoise 637 positions 12..=14 phases 111 sees 2
        text Rain. shot1:both
        context positions 0..=5 phases 000000 captions 000011 of ["Rain. shot0:a cat", "Rain. shot0:a zzdog"]
        denoise 1000 positions 6..=8 phases 111 sees 0
        denoise 934 positions 6..=8 phases 111 sees 0
        denoise 833 positions 6..=8 phases 111 sees 0
        denoise 637 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
        denoise 934 positions 9..=11 phases 111 sees 1
        denoise 833 positions 9..=11 phases 111 sees 1
        denoise 637 positions 9..=11 phases 111 sees 1
        commit positions 9..=11 phases 111
        denoise 1000 positions 12..=14 phases 111 sees 2
        denoise 934 positions 12..=14 phases 111 sees 2
        denoise 833 positions 12..=14 phases 111 sees 2
        denoise 637 positions 12..=14 phases 111 sees 2
    "#]].assert_eq(&fake.diary());
    expect![[r#"
        positions 6..=8 phases 111 under Rain. shot0:a cat
        positions 6..=8 phases 111 under Rain. shot0:a zzdog
        positions 9..=11 phases 111 under Rain. shot0:a zzdog
        positions 6..=8 phases 111 under Rain. shot1:both
        positions 9..=11 phases 111 under Rain. shot1:both
    "#]]
    .assert_eq(&(fake.commits.lock().unwrap().join("\n") + "\n"));
    let told = summary(&events);
    let said: Vec<_> = told.lines().filter(|line| line.contains("from chunk")).collect();
    assert_eq!(said, [r#"shot 0 from chunk 2: "Rain. shot0:a zzdog", unknown ["zzdog"]"#]);
}

#[test]
fn a_shot_that_outgrew_its_window_commits_only_what_it_still_sees() {
    let fake = Arc::new(Fake::default());
    let frames = Some(PixelFrames(57));
    let shot = ShotScript { frames, then: vec![then(4, "a dog")], ..ShotScript::new("a cat") };
    tell(&fake, vec![shot]);
    let commits = fake.commits.lock().unwrap();
    let again: Vec<_> = commits.iter().filter(|commit| commit.ends_with("dog")).collect();
    let expected = ["9..=11", "12..=14", "15..=17"]
        .map(|positions| format!("positions {positions} phases 111 under Rain. shot0:a dog"));
    assert_eq!(again, expected.each_ref());
}

#[test]
fn words_from_the_director_hold_from_the_next_chunk_on_and_are_the_film_of_a_script() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::new("Rain. ", 0));
    running.ask(&["a cat", "both"]);
    open(&gate, 4);
    while fake.count("commit") < 1 {
        sleep(Duration::from_millis(1));
    }
    // The second chunk is being made.
    for caption in ["a cow", " ", "a dog"] {
        let caption = caption.to_owned();
        running.commands.send(Command::Rewrite { caption }).unwrap();
    }
    running.commands.send(Command::Finish).unwrap();
    open(&gate, 20);
    let (events, ..) = running.finish();
    let told = summary(&events);
    assert_eq!(told.matches("from chunk").count(), 1, "the last words hold: {told}");
    assert!(told.contains(r#"shot 0 from chunk 2: "Rain. shot0:a dog", unknown []"#), "{told}");
    let shot = ShotScript { then: vec![then(2, "a dog")], ..ShotScript::new("a cat") };
    let written = tell(&Arc::new(Fake::default()), vec![shot, ShotScript::new("both")]);
    assert_eq!(frames(events), frames(written));
    let plain = tell(&Arc::new(Fake::default()), ["a cat", "both"].map(ShotScript::new).to_vec());
    let written = tell(
        &Arc::new(Fake::default()),
        vec![
            ShotScript { then: vec![then(1, "a dog")], ..ShotScript::new("a cat") },
            ShotScript::new("both"),
        ],
    );
    let (plain, written) = (frames(plain), frames(written));
    assert_eq!(plain[..9], written[..9]);
    assert_ne!(plain[9..21], written[9..21]);
}

#[test]
fn words_for_a_shot_that_was_asked_for_and_has_not_begun_hold_from_its_second_chunk_on() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::new("Rain. ", 0));
    // Both are there before the session looks, or the first begins meanwhile.
    running.ask(&["a cat"]);
    running.commands.send(Command::Rewrite { caption: "a dog".into() }).unwrap();
    running.commands.send(Command::Finish).unwrap();
    open(&gate, 12);
    let told = summary(&running.finish().0);
    assert!(told.contains("shot 0 from chunk 1: \"Rain. shot0:a dog\""), "{told}");
    assert!(!told.contains("not rewritten"), "{told}");
}

#[test]
fn words_that_come_too_late_or_are_blank_are_said_to_change_nothing() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::default());
    running.commands.send(Command::Rewrite { caption: "nobody".into() }).unwrap();
    let Event::NotRewritten { caption, error } = running.next() else { panic!("nothing came") };
    let late = "no chunk of a shot followed, so the words change nothing";
    assert_eq!((&*caption, &*error.to_string()), ("nobody", late));
    running.ask(&["a cat"]);
    open(&gate, 4);
    while fake.count("commit") < 1 {
        sleep(Duration::from_millis(1));
    }
    running.commands.send(Command::Rewrite { caption: " ".into() }).unwrap();
    open(&gate, 4);
    while fake.count("commit") < 2 {
        sleep(Duration::from_millis(1));
    }
    running.commands.send(Command::Rewrite { caption: "too late".into() }).unwrap();
    running.commands.send(Command::Finish).unwrap();
    open(&gate, 4);
    let told = summary(&running.finish().0);
    assert!(told.contains("not rewritten \" \": the caption is blank: shot 0\n"), "{told}");
    assert!(told.contains("cut false\nnot rewritten \"too late\": no chunk of a shot"), "{told}");
}

#[test]
fn a_later_shot_reads_every_remembered_frame_under_the_words_it_was_made_under() {
    let fake = Arc::new(Fake::default());
    let shot = ShotScript { then: vec![then(1, "a dog")], ..ShotScript::new("a cat") };
    tell(&fake, vec![shot, ShotScript::new("both")]);
    let context =
        fake.diary.lock().unwrap().iter().rfind(|line| line.starts_with("context")).cloned();
    // Frames 0 and 6 lie in the first chunk, 13, 19, 26 and 32 behind it.
    let expected = "context positions 0..=5 phases 000000 captions 001111 of \
                    [\"Rain. shot0:a cat\", \"Rain. shot0:a dog\"]";
    assert_eq!(context.unwrap(), expected);
}

#[test]
fn a_story_that_is_taken_up_again_remembers_the_words_that_changed() {
    let shot = ShotScript { then: vec![then(1, "a dog")], ..ShotScript::new("a cat") };
    let whole = tell(&Arc::new(Fake::default()), vec![shot.clone(), ShotScript::new("both")]);
    let first = tell(&Arc::new(Fake::default()), vec![shot]);
    let state = first.into_iter().find_map(|event| match event {
        Event::ShotFinished { story, .. } => Some(story),
        _ => None,
    });
    let running = Running::start(&Arc::new(Fake::default()), settings(), state.unwrap());
    running.ask(&["both"]);
    running.commands.send(Command::Finish).unwrap();
    assert_eq!(frames(running.finish().0), frames(whole)[33..]);
}

#[test]
fn a_rollout_that_is_rewritten_has_the_local_cache_of_one_that_never_had_other_words() {
    // What the third chunk sees decides what it is: the same latents, committed under one text.
    let recipe = recipe();
    let plan = plan_shot(&recipe, &Timeline::default(), recipe.shot_frames()).unwrap();
    let schedule = Schedule::of(&recipe).first(1);
    let roll = |begins: &str, rewrites: Option<&str>, given: Option<Vec<Latents>>| {
        let fake = Fake::default();
        let text = Arc::new(begins.to_owned());
        let input = ShotInput { chunks: &plan.chunks, text: &text, context: &0.5 };
        let mut made = Vec::new();
        let noise = |chunk: usize, _| {
            let given = given.as_ref().and_then(|given| given.get(chunk).cloned());
            let data = vec![chunk as f32; 3 * CHANNELS * 4];
            Ok(given.unwrap_or(Latents { shape: [3, CHANNELS, 2, 2], data }))
        };
        let emit = |_, clean: &Latents| {
            made.push(clean.clone());
            Ok(match rewrites {
                Some(text) if made.len() == 2 => Border::Rewrite(Arc::new(text.to_owned())),
                _ => Border::GoOn,
            })
        };
        rollout::<_, NetworkError>(&fake, &input, &schedule, noise, emit).unwrap();
        (made, fake.commits.lock().unwrap().clone())
    };
    let (_, commits) = roll("a cat", Some("a dog"), None);
    let (_, from_the_start) = roll("a dog", None, None);
    assert_eq!(commits[1..], from_the_start, "committed again in order, each under the new words");
    let (again, _) = roll("a cat", None, None);
    assert_ne!(roll("a cat", Some("a dog"), None).0[2], again[2]);
}
