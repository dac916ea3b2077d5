//! A server of its own for every test, and somebody who talks to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use shotstream_serve::protocol::Said;
use shotstream_serve::{Config, Key, serve};
use shotstream_story::record::Hash;
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::fake::Fake;

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server in this program. It serves until the test ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _home: TempDir,
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    /// As it came.
    #[cfg(feature = "whep")]
    pub(crate) head_as_it_came: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The message of an error.
    pub(crate) fn refusal(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(set_up: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config {
            address: "127.0.0.1:0".parse().unwrap(),
            folder: home.path().to_owned(),
            keys: Vec::new(),
            origins: Vec::new(),
            sessions: Some(2),
            lines: 64,
            connections: 256,
            rate: None,
            linger: Duration::from_millis(300),
            keep_alive: Duration::from_secs(60),
            #[cfg(feature = "otlp")]
            otlp: None,
            #[cfg(feature = "whep")]
            whep_address: None,
        };
        set_up(&mut config);
        let (say, up) = sync_channel(1);
        let run = move || {
            serve(config, Arc::new(Fake::new(0.0)), |up| say.send(up.address).unwrap()).unwrap();
        };
        thread::Builder::new().name("server".to_owned()).spawn(run).unwrap();
        Self { address: up.recv_timeout(PATIENCE).unwrap(), _home: home }
    }

    pub(crate) fn with_key(key: &str) -> Self {
        Self::with(|config| config.keys.push(key_of(key, None)))
    }

    /// One request with its own connection; `heads` are whole lines.
    pub(crate) fn send(&self, line: &str, heads: &[&str], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let mut head =
            format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n");
        if !heads.iter().any(|head| head.starts_with("host:")) {
            head += &format!("host: {}\r\n", self.address);
        }
        heads.iter().for_each(|it| head += &format!("{it}\r\n"));
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // A server that refuses early does not read on.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head_as_it_came = String::from_utf8(answer[..end].to_vec()).unwrap();
        let head = head_as_it_came.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = answer[end + 4..].to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        Answer {
            status,
            head,
            #[cfg(feature = "whep")]
            head_as_it_came,
            body,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send(&format!("POST {path}"), &["content-type: application/json"], body.as_bytes())
    }

    /// Begin a story and direct it.
    pub(crate) fn direct(&self, options: &str) -> Director {
        let story = self.post("/v1/stories", &json!({ "global": "Rain. ", "seed": 5 })).json();
        self.direct_again(story["id"].as_str().unwrap(), options)
    }

    pub(crate) fn direct_again(&self, story: &str, options: &str) -> Director {
        self.direct_with(story, options, &[])
    }

    pub(crate) fn direct_with(
        &self,
        story: &str,
        options: &str,
        heads: &[(&'static str, &str)],
    ) -> Director {
        let line = self.line(&format!("/v1/stories/{story}/direct{options}"), heads).unwrap();
        Director { line, story: story.to_owned(), media: Vec::new() }
    }

    /// Open a WebSocket.
    pub(crate) fn line(
        &self,
        path: &str,
        heads: &[(&'static str, &str)],
    ) -> tungstenite::Result<WebSocket<TcpStream>> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        for (name, value) in heads {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((line, _)) => Ok(line),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A key and the frames it may have a day.
pub(crate) fn key_of(key: &str, frames_per_day: Option<u64>) -> Key {
    Key { hash: Hash::of(key.as_bytes()), frames_per_day }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|it| it == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    whole
}

/// Somebody who directs a story.
pub(crate) struct Director {
    pub(crate) line: WebSocket<TcpStream>,
    pub(crate) story: String,
    /// Binary messages so far.
    pub(crate) media: Vec<Vec<u8>>,
}

impl Director {
    pub(crate) fn tell(&mut self, ask: &Value) {
        self.line.send(Message::text(ask.to_string())).unwrap();
    }

    /// The next thing said, answers among them.
    pub(crate) fn hear(&mut self) -> Said {
        loop {
            match self.line.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Binary(bytes) => self.media.push(bytes.to_vec()),
                Message::Close(_) => panic!("the line was closed"),
                _ => {}
            }
        }
    }

    /// Everything said up to the first thing for which `enough` holds.
    pub(crate) fn hear_until(&mut self, enough: impl Fn(&Said) -> bool) -> Vec<Said> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear());
            if enough(&heard[heard.len() - 1]) {
                return heard;
            }
        }
    }

    /// Everything up to the end of `takes` takes, showing every chunk as it comes.
    pub(crate) fn watch(&mut self, takes: usize) -> Vec<Said> {
        let (mut heard, mut finished) = (Vec::new(), 0);
        while finished < takes {
            let said = self.hear();
            if let Said::Made { frame, frames, .. } = said {
                self.tell(&json!({ "type": "playback", "frame": frame + frames as u64 }));
            }
            finished += usize::from(matches!(said, Said::Finished { .. }));
            heard.push(said);
        }
        heard
    }

    /// Ask, and wait for the answer.
    pub(crate) fn ask(&mut self, ask: Value) -> Result<(), String> {
        let mut ask = ask;
        ask["event_id"] = json!("me");
        self.tell(&ask);
        loop {
            match self.hear() {
                Said::Done { .. } => return Ok(()),
                Said::Error { error, .. } => return Err(error.message),
                _ => {}
            }
        }
    }
}

/// The hashes of the chunks among what was said.
pub(crate) fn hashes(heard: &[Said]) -> Vec<Hash> {
    let made = heard.iter().filter_map(|said| match said {
        Said::Made { rgb, .. } => Some(*rgb),
        _ => None,
    });
    made.collect()
}
