//! Prompts that come late, viewers that are slow or leave, and commands between chunks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use shotstream_engine::event::{Command, Event};
use shotstream_engine::session::Ending;
use shotstream_engine::story::StoryState;

use crate::fake::{Fake, PATIENCE, Running, settings, summary};

/// A network that waits, before each denoising step, for leave to go on.
pub(crate) fn gated() -> (Arc<Fake>, SyncSender<()>) {
    let (gate, waiting) = sync_channel(1000);
    let waiting = Mutex::new(waiting);
    let fake = Fake::with_hook(move |line| {
        if line.starts_with("denoise") {
            // A test that no longer opens the gate lets everything pass.
            let _ = waiting.lock().unwrap().recv_timeout(PATIENCE);
        }
        Ok(())
    });
    (Arc::new(fake), gate)
}

pub(crate) fn open(gate: &SyncSender<()>, steps: usize) {
    (0..steps).for_each(|_| gate.send(()).unwrap());
}

#[test]
fn the_first_frames_leave_before_the_second_chunk_is_begun() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    open(&gate, 4);
    running.wait_for([0, 0]);
    assert!(fake.count("denoise") <= 5, "the fifth step waits at the gate");
    drop(gate);
    assert_eq!(running.leave(), Ending::ViewerLeft);
}

#[test]
fn a_late_prompt_takes_effect_at_the_next_shot() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    open(&gate, 4);
    running.wait_for([0, 0]);
    running.ask(&["a dog"]);
    running.commands.send(Command::Finish).unwrap();
    open(&gate, 20);
    let (events, ending, _) = running.finish();
    assert_eq!(ending, Ending::Finished);
    let told = summary(&events);
    let expected = "shot 0 chunk 1: 12 frames\nshot 0 chunk 2: 12 frames\n\
                    shot 0 finished, 33 frames, cut false\n\
                    shot 1 starts, 33 frames, seed 0: \"shot1:a dog\"";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn an_idle_session_waits_for_a_prompt_and_then_goes_on() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    while !matches!(running.next(), Event::ShotFinished { .. }) {}
    sleep(Duration::from_millis(120));
    running.ask(&["a dog"]);
    while !matches!(running.next(), Event::ShotFinished { shot: 1, .. }) {}
    assert_eq!(running.leave(), Ending::ViewerLeft);
}

#[test]
fn the_end_of_input_ends_the_story() {
    let fake = Arc::new(Fake::default());
    let Running { commands, events, .. } = {
        let running = Running::start(&fake, settings(), StoryState::default());
        running.ask(&["a cat"]);
        running
    };
    drop(commands);
    let told: Vec<_> = events.collect();
    assert!(matches!(told.last(), Some(Event::Finished)));
    assert!(matches!(told[told.len() - 2], Event::ShotFinished { shot: 0, frames: 33, .. }));
}

#[test]
fn a_story_without_shots_finishes_at_once() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.commands.send(Command::Finish).unwrap();
    let (events, ending, story) = running.finish();
    assert_eq!(summary(&events), "finished\n");
    assert_eq!((ending, story), (Ending::Finished, StoryState::default()));
    assert_eq!(fake.diary(), "\n");
}

#[test]
fn a_cut_ends_the_shot_at_the_chunk_border_and_the_next_remembers_what_was_shown() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    open(&gate, 4);
    // The first chunk is committed: the second is on its way, and the cut comes behind it.
    while fake.count("commit") < 1 {
        sleep(Duration::from_millis(1));
    }
    running.wait_for([0, 0]);
    running.ask(&["a dog"]);
    running.commands.send(Command::Cut).unwrap();
    running.commands.send(Command::Finish).unwrap();
    open(&gate, 20);
    let (events, ending, story) = running.finish();
    assert_eq!(ending, Ending::Finished);
    let told = summary(&events);
    let expected = "shot 0 chunk 1: 12 frames\nshot 0 finished, 21 frames, cut true\nshot 1 starts";
    assert!(told.starts_with(expected), "{told}");
    let context = events.iter().find_map(|event| match event {
        Event::ShotStarted { plan, .. } => Some(plan.context.frames.clone()),
        _ => None,
    });
    let frames: Vec<_> = context.unwrap().iter().map(|frame| frame.frame).collect();
    assert_eq!(frames, [0, 4, 8, 12, 16, 20]);
    assert_eq!(fake.count("commit"), 1 + 2);
    assert_eq!(story.timeline.total().0, 21 + 33);
}

#[test]
fn a_cut_without_a_running_shot_does_nothing() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.commands.send(Command::Cut).unwrap();
    sleep(Duration::from_millis(120));
    running.ask(&["a cat"]);
    running.commands.send(Command::Finish).unwrap();
    let (events, ..) = running.finish();
    assert!(summary(&events).contains("shot 0 finished, 33 frames, cut false"));
}

#[test]
fn a_slow_viewer_slows_generation_down() {
    let fake = Arc::new(Fake::default());
    let running = Running::with_capacity(&fake, settings(), StoryState::default(), 1);
    running.ask(&["one", "two", "three"]);
    running.commands.send(Command::Finish).unwrap();
    sleep(Duration::from_millis(300));
    // One event in the channel, one chunk at the decoder, one waiting, one being handed over.
    let steps = fake.count("denoise");
    assert!(steps <= 4 * 4, "{steps} steps were done with nobody watching");
    let (events, ending, _) = running.finish();
    assert_eq!((events.len(), ending), (3 * 5 + 1, Ending::Finished));
    assert_eq!(fake.count("denoise"), 3 * 3 * 4);
}

#[test]
fn a_viewer_may_leave_after_any_event() {
    let captions = ["a cat", "a dog"];
    for seen in 0..=2 * 5 {
        for capacity in [0, 1, 64] {
            let fake = Arc::new(Fake::default());
            let story = StoryState::default();
            let running = Running::with_capacity(&fake, settings(), story, capacity);
            running.ask(&captions);
            (0..seen).for_each(|_| drop(running.next()));
            // The client stays on the line and asks for nothing more.
            assert_eq!(running.leave(), Ending::ViewerLeft, "{seen} events, room for {capacity}");
        }
    }
}

#[test]
fn a_viewer_who_leaves_stops_the_work_at_the_next_step() {
    let (fake, gate) = gated();
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    open(&gate, 2);
    while fake.count("denoise") < 2 {
        sleep(Duration::from_millis(1));
    }
    let left = running.hang_up();
    open(&gate, 100);
    assert_eq!(left.ending(), Ending::ViewerLeft);
    assert_eq!(fake.count("denoise"), 3, "the step under way was the last");
}

#[test]
fn decoding_runs_beside_denoising() {
    let (denoising, together) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (inside, seen) = (denoising.clone(), together.clone());
    let fake = Arc::new(Fake::with_hook(move |line| {
        if line.starts_with("denoise") {
            inside.store(true, Ordering::SeqCst);
            sleep(Duration::from_millis(10));
            inside.store(false, Ordering::SeqCst);
        } else if line.starts_with("decode") {
            for _ in 0..20 {
                sleep(Duration::from_millis(1));
                seen.fetch_add(usize::from(inside.load(Ordering::SeqCst)), Ordering::SeqCst);
            }
        }
        Ok(())
    }));
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["a cat"]);
    running.commands.send(Command::Finish).unwrap();
    running.finish();
    assert!(0 < together.load(Ordering::SeqCst));
}

#[test]
fn a_session_starts_no_chunk_beyond_what_its_viewer_allows() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.events.allow(21);
    running.ask(&["a cat", "a dog"]);
    running.wait_for([0, 1]);
    sleep(Duration::from_millis(60));
    assert_eq!(fake.count("decode"), 2, "9 + 12 frames are allowed");
    running.events.allow(33);
    running.wait_for([0, 2]);
    while !matches!(running.next(), Event::ShotStarted { .. }) {}
    sleep(Duration::from_millis(60));
    assert_eq!(fake.count("decode"), 3, "the next shot waits as well");
    running.events.allow(42);
    running.wait_for([1, 0]);
    assert_eq!(running.leave(), Ending::ViewerLeft);
}

#[test]
fn a_session_without_room_is_still_cut() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.events.allow(9);
    running.ask(&["a cat"]);
    running.wait_for([0, 0]);
    running.commands.send(Command::Cut).unwrap();
    let Event::ShotFinished { frames, cut, .. } = running.next() else { panic!("no end came") };
    assert_eq!((frames, cut), (9, true));
    assert_eq!(running.leave(), Ending::ViewerLeft);
}
