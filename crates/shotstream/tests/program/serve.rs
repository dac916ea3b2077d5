//! The live server as a program: directed, killed, started again, stopped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr},
    time::Duration,
};

use serde_json::{Value, json};
use shotstream_media::{Frame, png::encode_png};
use tungstenite::{Message, WebSocket};

use crate::fixture::Home;

/// Longer than anything here takes, shorter than anyone waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is killed when the test is over with it.
struct Server {
    child: Child,
    address: SocketAddr,
    _stderr: BufReader<ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn start(home: &Home, stories: &str) -> Self {
        let arguments = ["serve", "--port", "0", "--stories", stories, "--sessions", "1"];
        let mut child = home.start(&arguments);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        let address = said.split_once("http://").map(|(_, rest)| rest.split(',').next().unwrap());
        let address = address.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        Self { child, address, _stderr: stderr }
    }

    /// As the kernel does when memory runs out: without a word.
    fn kill(&mut self) {
        // A child that is gone already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn send(&self, line: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        answer.split_off(end + 4)
    }

    fn json(&self, line: &str, body: impl AsRef<[u8]>) -> Value {
        serde_json::from_slice(&self.send(line, body)).unwrap()
    }

    fn begin(&self) -> String {
        let story = self.json("POST /v1/stories", r#"{"global": "A red fox. ", "seed": 3}"#);
        story["id"].as_str().unwrap().to_owned()
    }

    fn direct(&self, story: &str) -> Director {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let place = format!("ws://{}/v1/stories/{story}/direct?format=none", self.address);
        Director(tungstenite::client(place, stream).unwrap().0)
    }

    /// The hashes of the film's chunks, as they are saved.
    fn film(&self, story: &str) -> Vec<String> {
        let story = self.json(&format!("GET /v1/stories/{story}"), "");
        let takes = story["takes"].as_array().unwrap();
        let chunks = |take: &Value| takes[take.as_u64().unwrap() as usize - 1]["chunks"].clone();
        let line = story["line"].as_array().unwrap().iter().map(chunks);
        let hash = |chunk: &Value| chunk["rgb"].as_str().unwrap().to_owned();
        line.flat_map(|chunks| chunks.as_array().unwrap().iter().map(hash).collect::<Vec<_>>())
            .collect()
    }
}

struct Director(WebSocket<TcpStream>);

impl Director {
    fn tell(&mut self, ask: &Value) {
        self.0.send(Message::text(ask.to_string())).unwrap();
    }

    fn append(&mut self, caption: &str) {
        self.tell(&json!({ "type": "shot.append", "event_id": caption, "caption": caption }));
        while self.hear()["event_id"] != caption {}
    }

    /// The next thing said; every chunk counts as shown when it comes.
    fn hear(&mut self) -> Value {
        loop {
            let Message::Text(text) = self.0.read().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(said["type"], "error", "{said}");
            if said["type"] == "chunk.made" {
                let end = said["frame"].as_u64().unwrap() + said["frames"].as_u64().unwrap();
                self.tell(&json!({ "type": "playback", "frame": end }));
            }
            return said;
        }
    }

    fn hear_types(&mut self, kind: &str, count: usize) {
        let mut heard = 0;
        while heard < count {
            heard += usize::from(self.hear()["type"] == kind);
        }
    }
}

const CAPTIONS: [&str; 3] = [
    "Wide shot: the red fox waves in the snow by day.",
    "Close-up of the fox at night.",
    "Wide shot: the fox walks on the beach at sunset.",
];

/// A story told without interruption.
fn told(home: &Home) -> Vec<String> {
    let server = Server::start(home, "whole");
    let story = server.begin();
    let mut director = server.direct(&story);
    CAPTIONS.iter().for_each(|caption| director.append(caption));
    director.hear_types("take.finished", 3);
    server.film(&story)
}

#[test]
fn a_story_killed_in_the_middle_goes_on_to_the_same_film_and_replays() {
    let home = Home::new();
    let whole = told(&home);
    assert_eq!(whole.len(), 9);
    let mut server = Server::start(&home, "killed");
    let story = server.begin();
    let mut director = server.direct(&story);
    CAPTIONS.iter().for_each(|caption| director.append(caption));
    for chunks in [1, 3] {
        director.hear_types("chunk.made", chunks);
        server.kill();
        server = Server::start(&home, "killed");
        let film = server.film(&story);
        assert!(chunks <= film.len(), "what was shown is kept");
        assert_eq!(film, whole[..film.len()]);
        director = server.direct(&story);
    }
    let takes =
        |server: &Server| server.json(&format!("GET /v1/stories/{story}"), "")["takes"].clone();
    while takes(&server).as_array().unwrap().iter().any(|take| take["state"] != "finished") {
        director.hear();
    }
    assert_eq!(server.film(&story), whole);
    drop(server);
    let run = home.done(&["story", "replay", &story, "--stories", "killed"]);
    assert_eq!(run.text(), "3 takes made again, 9 chunks, every one the same\n");
    home.done(&["story", "export", &story, "fox.shotstory", "--stories", "killed"]);
    let run = home.done(&["story", "import", "fox.shotstory", "--stories", "elsewhere"]);
    let listed = home.done(&["story", "list", "--stories", "elsewhere"]);
    assert!(listed.text().starts_with(run.text().trim()), "{}", listed.text());
}

/// A story with somebody in its cast, who brings a picture.
fn with_a_cast(server: &Server) -> (String, Director) {
    let story = server.begin();
    let picture = encode_png(&Frame::filled(64, 64, [200, 60, 20])).unwrap();
    let place = format!("POST /v1/stories/{story}/pictures?caption=a%20red%20fox");
    assert_eq!(server.json(&place, picture)["picture"], 1);
    let mut director = server.direct(&story);
    director.tell(&json!({
        "type": "cast.set", "event_id": "cast", "name": "rusty", "caption": "the red fox",
        "frames": [{ "picture": 1 }],
    }));
    while director.hear()["event_id"] != "cast" {}
    (story, director)
}

#[test]
fn other_words_and_a_cast_survive_a_kill_make_the_film_that_was_asked_for_so_and_replay() {
    let home = Home::new();
    let caption = "Wide shot: @rusty waves in the snow by day.";
    let mut shot = json!({ "type": "shot.append", "caption": caption, "frames": 129 });
    let mut server = Server::start(&home, "killed");
    let (story, mut director) = with_a_cast(&server);
    director.tell(&shot);
    director.hear_types("chunk.made", 1);
    director.tell(&json!({ "type": "prompt.update", "caption": "Close-up of @rusty at night." }));
    director.hear_types("prompt.updated", 1);
    director.hear_types("chunk.made", 1);
    server.kill();
    server = Server::start(&home, "killed");
    let made = server.film(&story);
    let take =
        |server: &Server| server.json(&format!("GET /v1/stories/{story}"), "")["takes"][0].clone();
    let mut director = server.direct(&story);
    while take(&server)["state"] != "finished" {
        director.hear();
    }
    let (film, take) = (server.film(&story), take(&server));
    assert_eq!((film.len(), &film[..made.len()]), (11, &made[..]));
    assert_eq!(take["caption"], "Wide shot: the red fox waves in the snow by day.");
    assert_eq!(take["then"][0]["caption"], "Close-up of the red fox at night.");
    assert_eq!(take["pictures"], json!([1]));
    drop(server);
    let run = home.done(&["story", "replay", &story, "--stories", "killed"]);
    assert_eq!(run.text(), "1 takes made again, 11 chunks, every one the same\n");
    let run = home.done(&["story", "memory", &story, "--stories", "killed"]);
    let shown = "take 1, shot 0: of 6 context frames 0 pinned, 6 of the cast, 0 by the policy\n  \
                 picture 1: a red fox\n";
    assert_eq!(run.text(), shown);
    let whole = Server::start(&home, "whole");
    let (again, mut director) = with_a_cast(&whole);
    shot["then"] = take["then"].clone();
    director.tell(&shot);
    director.hear_types("take.finished", 1);
    assert_eq!(whole.film(&again), film);
}

#[test]
#[cfg(unix)]
fn a_server_that_is_asked_to_stop_saves_says_so_and_leaves_well() {
    let home = Home::new();
    let mut server = Server::start(&home, "stories");
    let story = server.begin();
    let mut director = server.direct(&story);
    director.append("Wide shot: the red fox waves in the snow by day.");
    director.hear_types("chunk.made", 1);
    let id = server.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut drained = false;
    let close = loop {
        match director.0.read().unwrap() {
            Message::Text(text) => drained |= text.contains("session.draining"),
            Message::Close(close) => break close.unwrap(),
            _ => {}
        }
    };
    assert!(drained);
    assert_eq!(u16::from(close.code), 1012);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let listed = home.done(&["story", "list", "--stories", "stories"]);
    assert!(listed.text().contains("1 shots  1 takes"), "{}", listed.text());
}

#[test]
fn a_server_for_everybody_must_be_meant() {
    let home = Home::new();
    let line = home.refused(2, &["serve", "--host", "0.0.0.0"]);
    let expected =
        "error: whoever reaches 0.0.0.0 could use the server, expected --keys FILE or --open";
    assert_eq!(line, expected);
    home.write("keys", "short\n");
    let line = home.refused(2, &["serve", "--keys", "keys"]);
    assert!(line.starts_with("error: keys of 16 letters, digits, '-', '_' or '.'"), "{line}");
}
