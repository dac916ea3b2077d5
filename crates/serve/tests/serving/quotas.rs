//! Frames a day: who has had all of them, and is told when there are more.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shotstream_serve::protocol::Said;
use shotstream_story::edit::{Edit, Words};
use shotstream_story::record::{Chunk, Hash, Premise, Record};
use shotstream_story::store::{Payer, Store};
use shotstream_story::teller::Teller as _;

use crate::fake::Fake;
use crate::fixture::{Answer, Director, Server, key_of};

const LIMITED: &str = "a-key-with-a-quota";
const FREE: &str = "a-key-without-a-quota";

fn start(frames: u64) -> Server {
    Server::with(|config| config.keys = vec![key_of(LIMITED, Some(frames)), key_of(FREE, None)])
}

fn post(server: &Server, key: &str, path: &str, body: &Value) -> Answer {
    let heads = [&*format!("authorization: Bearer {key}"), "content-type: application/json"];
    server.send(&format!("POST {path}"), &heads, body.to_string().as_bytes())
}

fn direct(server: &Server, key: &str, story: &str) -> Director {
    let bearer = format!("Bearer {key}");
    server.direct_with(story, "?format=none", &[("authorization", &bearer)])
}

fn append(frames: usize) -> Value {
    json!({ "type": "shot.append", "caption": "one", "frames": frames })
}

/// What the server counts under a name for a key.
fn counted(server: &Server, name: &str, key: &str) -> Option<u64> {
    let heads = [&*format!("authorization: Bearer {FREE}")];
    let text = String::from_utf8(server.send("GET /metrics", &heads, b"").body).unwrap();
    let hash = Hash::of(key.as_bytes()).to_string();
    let line = format!("shotstream_{name}{{key=\"{}\"}} ", &hash[..12]);
    text.lines().find_map(|it| it.strip_prefix(&line)).map(|value| value.parse().unwrap())
}

#[test]
fn a_key_that_has_had_its_frames_is_refused_and_told_when_there_are_more() {
    let server = start(50);
    let story = post(&server, LIMITED, "/v1/stories", &json!({})).json();
    let story = story["id"].as_str().unwrap();
    let mut director = direct(&server, LIMITED, story);
    assert_eq!(director.ask(append(33)), Ok(()));
    director.watch(1);
    assert_eq!(counted(&server, "key_frames_today", LIMITED), Some(33));
    let refused = director.ask(append(33)).unwrap_err();
    let (said, rest) = refused.split_once("; ").unwrap();
    assert_eq!(said, "33 frames were asked for, of 50 a day 17 are left");
    let secs =
        rest.strip_prefix("the day begins again in ").unwrap().strip_suffix(" s, at 00:00 UTC");
    let secs: u64 = secs.unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&secs), "{secs}");

    let video = json!({ "prompt": "a cat", "seconds": 2 });
    let answer = post(&server, LIMITED, "/v1/videos", &video);
    assert_eq!(answer.status, 429);
    let after = answer.head.split("retry-after: ").nth(1).unwrap().lines().next().unwrap();
    let late = secs - after.parse::<u64>().unwrap();
    assert!(late < 30, "{late}");
    let error = &answer.json()["error"];
    let kinds = (&error["type"], &error["code"]);
    assert_eq!(kinds, (&json!("insufficient_quota"), &json!("insufficient_quota")));

    assert_eq!(director.ask(append(9)), Ok(()), "what is left may be had");
    assert_eq!(direct(&server, FREE, story).ask(append(33)), Ok(()), "who else asks pays");
    director.watch(2);
    assert_eq!(counted(&server, "key_frames_today", LIMITED), Some(42));
    assert_eq!(counted(&server, "key_frames_today", FREE), Some(33));
    assert_eq!(counted(&server, "key_frames_a_day", LIMITED), Some(50));
    assert_eq!(counted(&server, "key_frames_a_day", FREE), None);
}

#[test]
fn after_a_restart_frames_are_still_counted_and_what_waits_for_more_holds_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let teller = Fake::new(0.0);
    let recipe = &teller.settings().recipe;
    let premise = Premise {
        title: String::new(),
        global: String::new(),
        seed: 0,
        model: "fake".to_owned(),
        recipe: recipe.to_toml(),
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let key = Hash::of(LIMITED.as_bytes());
    let payer = Payer { key, day: since.as_secs() / 86_400 };
    let begin = |records: &dyn Fn(Vec<Record>) -> Vec<Record>| {
        let (id, mut story) = store.begin("video", premise.clone(), 0).unwrap();
        let asked = story.edit(&Edit::Append(Words::new("one")), recipe).unwrap();
        store.write_for(Some(payer), &id, &mut story, &records(asked)).unwrap();
        id
    };
    let waiting = begin(&|asked| asked);
    let hash = Hash::of(b"");
    let chunk = Chunk { frames: 9, rgb: hash, media: hash, picture: hash };
    let spent =
        begin(&|asked| [asked, vec![Record::Made { take: 1, chunk: chunk.clone() }]].concat());
    store.remove(&spent).unwrap();
    drop(store);

    let server = Server::with(|config| {
        config.keys = vec![key_of(LIMITED, Some(9)), key_of(FREE, None)];
        config.folder = home.path().to_owned();
        config.sessions = Some(1);
    });
    assert_eq!(counted(&server, "key_frames_today", LIMITED), Some(9));
    let made =
        post(&server, FREE, "/v1/videos", &json!({ "prompt": "a cat", "seconds": 1 })).json();
    let status = |id: &str| {
        let heads = [&*format!("authorization: Bearer {FREE}")];
        server.send(&format!("GET /v1/videos/{id}"), &heads, b"").json()["status"].clone()
    };
    let made = made["id"].as_str().unwrap();
    let completed = (0..500).any(|_| {
        sleep(Duration::from_millis(20));
        status(made) == "completed"
    });
    assert!(completed, "the only slot is free");
    assert_eq!(status(&waiting), "queued");
    // Whoever directs it is told why nothing happens.
    let mut director = direct(&server, FREE, &waiting);
    let heard = director.hear_until(|said| matches!(said, Said::Error { .. }));
    let Some(Said::Error { error, .. }) = heard.last() else { panic!("nothing was said") };
    assert!(error.message.starts_with("33 frames were asked for, of 9 a day 0 are left"));
}
