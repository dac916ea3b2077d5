//! Stories directed over a line.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use shotstream_media::decode::Film;
use shotstream_serve::protocol::Said;

use crate::fixture::{Server, hashes};

#[test]
fn a_shot_that_is_asked_for_is_made_saved_and_shown() {
    let server = Server::start();
    let mut director = server.direct("");
    let Said::Created { stream, story } = director.hear() else { panic!("nothing was said") };
    assert_eq!((stream.fps, stream.ahead, story.takes.len()), (16, 24, 0));
    director.tell(&json!({ "type": "shot.append", "event_id": "a", "caption": "one zzz" }));
    let heard = director.watch(1);
    let begun = heard.iter().find_map(|said| match said {
        Said::Started { unknown_words, prompt, frame, .. } => Some((unknown_words, prompt, frame)),
        _ => None,
    });
    assert_eq!(begun.unwrap(), (&vec!["zzz".to_owned()], &"Rain. shot0:one zzz".to_owned(), &0));
    assert!(heard.contains(&Said::Done { event_id: Some("a".to_owned()) }));
    assert_eq!(heard.last(), Some(&Said::Finished { take: 1, frames: 33, cut: false }));
    assert_eq!(hashes(&heard).len(), 3);
    // The header of the MP4, then a fragment a chunk; each before it is told.
    let kinds: Vec<_> = director.media.iter().map(|message| message[1]).collect();
    assert_eq!(kinds, [2, 3, 3, 3]);
    let mut film: Vec<u8> = Vec::new();
    director.media.iter().for_each(|message| film.extend(&message[32..]));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    std::fs::write(&path, film).unwrap();
    assert_eq!(Film::open(&path).unwrap().frames().unwrap().count(), 33);
}

#[test]
fn access_units_come_one_a_message_and_every_chunk_opens_with_a_key_frame() {
    let server = Server::start();
    let mut director = server.direct("?format=h264");
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 21 }));
    director.watch(1);
    assert_eq!(director.media.len(), 21);
    for (frame, message) in director.media.iter().enumerate() {
        let number = |range: std::ops::Range<usize>| {
            message[range].iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        assert_eq!((message[0], message[1]), (1, 1));
        let key = frame == 0 || frame == 9;
        let last = frame == 8 || frame == 20;
        let flags = u64::from(key) | u64::from(frame == 0) << 1 | u64::from(last) << 2;
        assert_eq!(number(2..4), flags, "frame {frame}");
        assert_eq!(number(4..8), message.len() as u64 - 32);
        assert_eq!((number(8..12), number(16..24)), (1, frame as u64));
        assert_eq!(number(24..32), frame as u64 * 62_500);
    }
}

#[test]
fn never_more_than_two_chunks_are_made_beyond_what_was_shown() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    for caption in ["one", "two"] {
        director.tell(&json!({ "type": "shot.append", "caption": caption }));
    }
    let chunk = |said: &Said| matches!(said, Said::Made { chunk: 1, .. });
    director.hear_until(chunk);
    sleep(Duration::from_millis(150));
    let made = |server: &Server| {
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        let line =
            metrics.lines().find(|line| line.starts_with("shotstream_frames_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(made(&server), 21, "a third chunk would be 33 frames ahead");
    director.tell(&json!({ "type": "playback", "frame": 9 }));
    director.hear_until(|said| matches!(said, Said::Finished { .. }));
    sleep(Duration::from_millis(150));
    assert_eq!(made(&server), 33);
    director.tell(&json!({ "type": "playback", "frame": 33 }));
    director.hear_until(chunk);
}

#[test]
fn a_cut_ends_the_running_take_and_the_next_follows_what_was_shown() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    assert_eq!(director.ask(json!({ "type": "cut" })), Err("no take is being made".to_owned()));
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 321 }));
    director.hear_until(|said| matches!(said, Said::Made { chunk: 1, .. }));
    director.tell(&json!({ "type": "shot.append", "caption": "two" }));
    director.tell(&json!({ "type": "cut" }));
    let heard = director.hear_until(|said| matches!(said, Said::Finished { .. }));
    assert_eq!(heard.last(), Some(&Said::Finished { take: 1, frames: 21, cut: true }));
    director.tell(&json!({ "type": "playback", "frame": 21 }));
    let heard = director.watch(1);
    assert_eq!(heard.last(), Some(&Said::Finished { take: 2, frames: 33, cut: false }));
}

#[test]
fn words_that_change_hold_from_the_next_chunk_on_and_survive_the_session() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    let update = |caption: &str| json!({ "type": "prompt.update", "caption": caption });
    assert_eq!(director.ask(update("uno")), Err("no take is being made".to_owned()));
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 57 }));
    director.hear_until(|said| matches!(said, Said::Made { chunk: 1, .. }));
    // Two chunks are made and none was shown: the third waits for its viewer.
    assert_eq!(director.ask(update(" ")), Err("the caption is blank".to_owned()));
    director.ask(update(" uno ")).unwrap();
    director.tell(&json!({ "type": "playback", "frame": 21 }));
    let heard = director.hear_until(|said| matches!(said, Said::Made { chunk: 2, .. }));
    let place = |wanted: fn(&Said) -> bool| heard.iter().position(wanted);
    let updated = heard.iter().find_map(|said| match said {
        Said::Rewritten { take, chunk, caption, prompt, .. } => {
            Some((*take, *chunk, caption, prompt))
        }
        _ => None,
    });
    let prompt = "Rain. shot0:uno".to_owned();
    assert_eq!(updated, Some((1, 2, &"uno".to_owned(), &prompt)));
    assert!(
        place(|said| matches!(said, Said::Rewritten { .. }))
            < place(|said| matches!(said, Said::Made { .. }))
    );
    let story = director.story.clone();
    drop(director);
    sleep(Duration::from_millis(700));
    let mut director = server.direct_again(&story, "?format=none");
    let film = hashes(&director.watch(1));
    let take = &server.get(&format!("/v1/stories/{story}")).json()["takes"][0];
    assert_eq!(take["then"], json!([{ "after_chunks": 2, "caption": "uno" }]));
    let mut other = server.direct("?format=none");
    let then = json!([{ "after_chunks": 2, "caption": "uno" }]);
    other.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 57, "then": then }));
    assert_eq!(hashes(&other.watch(1)), film);
}

#[test]
fn words_that_come_too_late_are_said_to_be_unused() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 9 }));
    director.tell(&json!({ "type": "shot.append", "caption": "two", "frames": 321 }));
    director.hear_until(|said| matches!(said, Said::Made { take: 2, chunk: 0, .. }));
    director.ask(json!({ "type": "prompt.update", "caption": "dos" })).unwrap();
    // The next take is cut at the border where the words would have held.
    director.ask(json!({ "type": "cut" })).unwrap();
    director.tell(&json!({ "type": "playback", "frame": 30 }));
    let heard = director.hear_until(|said| matches!(said, Said::Finished { take: 2, .. }));
    let unused = Said::NotRewritten { take: 2, caption: "dos".to_owned() };
    assert!(heard.contains(&unused), "{heard:?}");
}

#[test]
fn a_story_that_is_left_and_taken_up_again_is_the_same_film() {
    let (server, other) = (Server::start(), Server::start());
    let mut whole = other.direct("?format=none");
    for caption in ["one", "two"] {
        whole.tell(&json!({ "type": "shot.append", "caption": caption }));
    }
    let film = hashes(&whole.watch(2));
    let mut director = server.direct("?format=none");
    director.tell(&json!({ "type": "shot.append", "caption": "one" }));
    let mut again =
        hashes(&director.hear_until(|said| matches!(said, Said::Made { chunk: 1, .. })));
    let story = director.story.clone();
    drop(director);
    // Longer than the server keeps a story that nobody directs.
    sleep(Duration::from_millis(700));
    let mut director = server.direct_again(&story, "?format=none");
    let Said::Created { story, .. } = director.hear() else { panic!("nothing was said") };
    assert_eq!(story.takes[0].chunks.len(), 2, "what was made is kept");
    director.tell(&json!({ "type": "shot.append", "caption": "two" }));
    let heard = hashes(&director.watch(2));
    again.extend(&heard[2..]);
    assert_eq!(heard, film, "the running take is shown from its start");
    assert_eq!(again, film);
}

#[test]
fn a_retake_a_pin_and_an_undo_change_the_film() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    for caption in ["one", "two"] {
        director.tell(&json!({ "type": "shot.append", "caption": caption }));
    }
    director.watch(2);
    director.ask(json!({ "type": "frame.pin", "take": 1, "frame": 13 })).unwrap();
    let words = json!({ "caption": "other one" });
    director.ask(json!({ "type": "shot.retake", "shot": 0, "words": words })).unwrap();
    director.watch(1);
    let story = server.get(&format!("/v1/stories/{}", director.story)).json();
    assert_eq!((&story["line"], &story["stale"]), (&json!([3, 2]), &json!([1])));
    director.ask(json!({ "type": "film.remake" })).unwrap();
    director.watch(1);
    director.ask(json!({ "type": "undo" })).unwrap();
    let refused = director.ask(json!({ "type": "frame.pin", "take": 1, "frame": 13 }));
    assert_eq!(refused, Err("this frame is pinned already".to_owned()));
    let story = server.get(&format!("/v1/stories/{}", director.story)).json();
    assert_eq!((&story["line"], story["takes"].as_array().unwrap().len()), (&json!([3, 2]), 4));
}

#[test]
fn many_may_watch_who_have_the_link_and_none_of_them_may_direct() {
    let server = Server::start();
    let mut director = server.direct("");
    // There is something to watch once somebody directs.
    director.hear();
    let story = director.story.clone();
    let link = server.post(&format!("/v1/stories/{story}/watch"), &json!(null)).json();
    let token = link["token"].as_str().unwrap();
    let mut viewers: Vec<_> =
        (0..8).map(|_| server.line(&format!("/v1/watch/{token}"), &[]).unwrap()).collect();
    director.tell(&json!({ "type": "shot.append", "caption": "one" }));
    director.watch(1);
    for viewer in &mut viewers {
        let mut pictures = 0;
        while pictures < 4 {
            pictures += usize::from(viewer.read().unwrap().is_binary());
        }
    }
    let viewer = &mut viewers[0];
    viewer.send(tungstenite::Message::text(r#"{"type":"undo"}"#)).unwrap();
    loop {
        if let tungstenite::Message::Text(text) = viewer.read().unwrap()
            && text.contains("error")
        {
            assert!(text.contains("a viewer cannot direct"), "{text}");
            break;
        }
    }
    assert_eq!(server.get(&format!("/v1/watch/{story}.0000/film.mp4")).status, 404);
    assert_eq!(server.get(&format!("/v1/watch/{token}/film.mp4")).status, 200);
}

#[test]
fn a_story_travels_from_server_to_server_in_its_file() {
    let (here, there) = (Server::start(), Server::start());
    let mut director = here.direct("?format=none");
    director.tell(&json!({ "type": "shot.append", "caption": "one" }));
    director.watch(1);
    let story = &director.story;
    let file = here.get(&format!("/v1/stories/{story}/story.shotstory"));
    let taken = there.send("POST /v1/stories/import", &[], &file.body);
    assert_eq!(taken.status, 201);
    let id = taken.json()["id"].as_str().unwrap().to_owned();
    let films = [
        here.get(&format!("/v1/stories/{story}/film.mp4")).body,
        there.get(&format!("/v1/stories/{id}/film.mp4")).body,
    ];
    assert_eq!(films[0], films[1]);
    assert_eq!(there.send("POST /v1/stories/import", &[], b"zip").status, 400);
    let picture = taken.json()["takes"][0]["chunks"][0]["picture"].as_str().unwrap().to_owned();
    let answer = there.get(&format!("/v1/stories/{id}/pictures/{picture}"));
    assert!(answer.body.starts_with(b"\x89PNG") && answer.head.contains("image/png"));
}

#[test]
fn numbers_that_nobody_means_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.hear();
    let endless = json!({ "type": "shot.append", "caption": "one", "frames": u64::MAX });
    assert!(director.ask(endless).unwrap_err().contains("18446744073709551615"));
    let title = director.ask(json!({ "type": "title", "title": "x".repeat(30_000) }));
    assert!(title.unwrap_err().starts_with("these words have at most"));
    // What was never sent was not seen: no more is made than for somebody who has seen nothing.
    director.tell(&json!({ "type": "playback", "frame": u64::MAX }));
    for caption in ["one", "two"] {
        director.ask(json!({ "type": "shot.append", "caption": caption })).unwrap();
    }
    director.hear_until(|said| matches!(said, Said::Made { chunk: 1, .. }));
    std::thread::sleep(Duration::from_millis(300));
    director.tell(&json!({ "type": "ping" }));
    let heard = director.hear_until(|said| matches!(said, Said::Pong));
    assert!(!heard.iter().any(|said| matches!(said, Said::Made { .. })), "{heard:?}");
    director.tell(&json!({ "type": "playback", "frame": 21 }));
    director.watch(2);
}

#[test]
fn words_that_come_while_chunks_are_made_again_hold_behind_them() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 57 }));
    let made = |chunk: usize| move |said: &Said| matches!(said, Said::Made { chunk: it, .. } if *it == chunk);
    director.hear_until(made(1));
    let story = director.story.clone();
    drop(director);
    // The session ends, and the two chunks it has saved are made again by the next one.
    sleep(Duration::from_millis(700));
    let mut director = server.direct_again(&story, "?format=none");
    director.hear_until(|said| matches!(said, Said::Started { .. }));
    director.ask(json!({ "type": "prompt.update", "caption": "uno" })).unwrap();
    director.tell(&json!({ "type": "playback", "frame": 21 }));
    director.watch(1);
    let story = server.get(&format!("/v1/stories/{story}")).json();
    let take = &story["takes"][0];
    assert_eq!((&take["state"], &take["frames"]), (&json!("finished"), &json!(57)), "{take}");
    let words = take["then"].as_array().unwrap();
    assert!(words.len() == 1 && words[0]["caption"] == "uno", "{take}");
    assert!((2..5).contains(&words[0]["after_chunks"].as_u64().unwrap()), "{take}");
}
