//! Who comes in, how much of it, and what strangers are told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use serde_json::json;
use shotstream_serve::protocol::Said;
use tungstenite::Message;

use crate::fixture::Server;

const KEY: &str = "a-key-of-some-length";

#[test]
fn a_server_with_keys_asks_for_one() {
    let server = Server::with_key(KEY);
    for path in ["/v1/stories", "/v1/videos", "/metrics", "/v1/models"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
        let with = |key: &str| {
            server
                .send(&format!("GET {path}"), &[&format!("authorization: Bearer {key}")], b"")
                .status
        };
        assert_eq!((with(KEY), with("another-key-of-length")), (200, 401), "{path}");
    }
    for path in ["/", "/studio/studio.js", "/healthz", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let form = ["content-type: application/x-www-form-urlencoded"];
    assert_eq!(server.send("POST /login", &form, b"key=wrong").status, 401);
    let answer = server.send("POST /login", &form, format!("key={KEY}").as_bytes());
    assert_eq!(answer.status, 303);
    assert!(answer.head.contains("httponly; samesite=strict"), "{}", answer.head);
    let cookie = format!("cookie: shotstream_key={KEY}");
    assert_eq!(server.send("GET /v1/stories", &[&cookie], b"").status, 200);
}

#[test]
fn a_browser_may_bring_its_key_as_a_subprotocol() {
    let server = Server::with_key(KEY);
    let bearer = format!("authorization: Bearer {KEY}");
    let heads = ["content-type: application/json", &bearer];
    let story = server.send("POST /v1/stories", &heads, b"{}").json();
    let path = format!("/v1/stories/{}/direct", story["id"].as_str().unwrap());
    assert!(server.line(&path, &[("sec-websocket-protocol", "shotstream.v1")]).is_err());
    let protocols = format!("shotstream.v1, shotstream-api-key.{KEY}");
    let mut line = server.line(&path, &[("sec-websocket-protocol", &protocols)]).unwrap();
    assert!(line.read().unwrap().is_text());
}

#[test]
fn pages_from_elsewhere_and_strange_names_are_refused() {
    let server = Server::with(|config| config.origins.push("https://friend.example".to_owned()));
    let status = |heads: &[&str]| server.send("GET /v1/stories", heads, b"").status;
    let own = format!("origin: http://{}", server.address);
    assert_eq!(status(&[&own]), 200);
    assert_eq!(status(&["origin: https://friend.example"]), 200);
    assert_eq!(status(&["origin: https://evil.example"]), 403);
    assert_eq!(status(&["origin: null"]), 403);
    assert_eq!(status(&["host: evil.example", "origin: http://evil.example"]), 403);
    assert_eq!(status(&["host: localhost:80"]), 200);
    assert_eq!(status(&["host: localhost:80", "host: localhost:81"]), 400);
    let referrer = server.get("/").head;
    assert!(referrer.contains("referrer-policy: same-origin"), "{referrer}");
}

#[test]
fn beyond_the_slots_a_director_is_refused_clearly_and_a_slot_comes_back() {
    let server = Server::with(|config| config.sessions = Some(1));
    let mut first = server.direct("?format=none");
    first.hear();
    let mut second = server.direct("?format=none");
    let Said::Error { error, .. } = second.hear() else { panic!("it was not refused") };
    assert_eq!(error.message, "1 stories are being directed, no more keep up");
    assert_eq!(error.kind, "overloaded_error");
    let Message::Close(Some(close)) = second.line.read().unwrap() else { panic!("it stays") };
    assert_eq!(u16::from(close.code), 1013);
    let mut beside = server.direct_again(&first.story, "?format=none");
    assert!(matches!(beside.hear(), Said::Created { .. }), "the same story has its slot");
    drop((first, beside));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(matches!(server.direct("?format=none").hear(), Said::Created { .. }));
}

#[test]
fn what_is_not_understood_is_an_answer_and_what_is_too_large_ends_the_line() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.hear();
    for strange in
        ["", "{", "[]", "{\"type\":\"explode\"}", "{\"type\":\"film.trim\",\"shots\":-1}"]
    {
        director.line.send(Message::text(strange)).unwrap();
        let Said::Error { error, .. } = director.hear() else { panic!("{strange}") };
        assert!(error.message.starts_with("not understood"), "{}", error.message);
    }
    let slip = json!({ "type": "shot.append", "caption": "one", "frmaes": 9 });
    director.tell(&slip);
    let Said::Error { error, .. } = director.hear() else { panic!("it was not refused") };
    assert_eq!(error.message, "not understood: unknown field `frmaes`");
    let blank = director.ask(json!({ "type": "shot.append", "caption": " " }));
    assert_eq!(blank, Err("the caption is blank".to_owned()));
    // The server may hang up before it has heard all of it.
    let sent = director.line.send(Message::text("x".repeat(1 << 20)));
    assert!(sent.is_err() || director.line.read().is_err() || director.line.read().is_err());
    let mut director = server.direct_again(&director.story, "?format=none");
    assert!(matches!(director.hear(), Said::Created { .. }), "others are served on");
}

#[test]
fn strange_paths_and_bodies_have_the_right_status() {
    let server = Server::start();
    for (path, status) in [
        ("/v1/stories/none", 404),
        ("/v1/stories/..%2f..%2fetc/film.mp4", 404),
        ("/studio/..%2f..%2fCargo.toml", 404),
        ("/studio/none.js", 404),
        ("/v1/nothing", 404),
        ("/v1/stories/none/takes/x/film.mp4", 400),
        ("/v1/videos/story_x", 404),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    assert_eq!(server.post("/v1/stories", &json!({ "unknown": 1 })).status, 400);
    assert_eq!(server.post("/v1/stories", &json!(["title", "global", 5])).status, 400);
    let json = ["content-type: application/json"];
    let twice = br#"{"title": "one", "title": "two"}"#;
    assert_eq!(server.send("POST /v1/stories", &json, twice).status, 400);
    assert_eq!(server.send("POST /v1/stories", &[], b"{}").status, 415);
    let long = json!({ "global": "x".repeat(30_000) });
    assert_eq!(server.post("/v1/stories", &long).status, 400);
    assert_eq!(server.post("/v1/stories", &json!({ "global": "x".repeat(2 << 20) })).status, 413);
    let mut head = server.get("/").head;
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    let tag = head.split_off(head.find("etag: ").unwrap());
    let tag = tag.lines().next().unwrap().replace("etag: ", "if-none-match: ");
    assert_eq!(server.send("GET /", &[&tag], b"").status, 304);
}

#[test]
fn who_asks_too_often_is_told_to_wait() {
    let server = Server::with(|config| config.rate = NonZeroU32::new(1));
    let statuses: Vec<_> = (0..30).map(|_| server.get("/healthz").status).collect();
    let answered = statuses.iter().filter(|&&status| status == 200).count();
    assert!((10..20).contains(&answered), "{statuses:?}");
    let refused = server.get("/v1/stories");
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
}

#[test]
fn beyond_the_connections_there_may_be_one_is_turned_away_and_a_place_comes_back() {
    let server = Server::with(|config| config.connections = 2);
    let connect = || {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let held = [connect(), connect()];
    let turned_away = |mut stream: TcpStream| {
        let mut answer = String::new();
        // What is not read makes the end come as a reset.
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 503 ")
    };
    assert!(turned_away(connect()));
    drop(held);
    let answered = || server.get("/healthz").status == 200;
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        std::panic::catch_unwind(answered).unwrap_or(false)
    }));
}

#[test]
fn a_connection_without_a_request_is_closed_and_one_with_a_request_is_not() {
    let server = Server::with(|config| config.keep_alive = Duration::from_secs(1));
    let mut line = server.direct("?format=none");
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.write_all(format!("{head}host: localhost\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    let till_closed = |mut stream: TcpStream| {
        let (mut answer, start) = (Vec::new(), Instant::now());
        // What is not read makes the end come as a reset.
        let _ = stream.read_to_end(&mut answer);
        (String::from_utf8_lossy(&answer)[..12].to_owned(), start.elapsed())
    };
    let (status, open) = till_closed(ask("GET /healthz HTTP/1.1\r\n"));
    assert_eq!(status, "HTTP/1.1 200");
    assert!((1..5).contains(&open.as_secs()), "{open:?}");
    // The rest of the body is waited for longer than a second.
    let half = "POST /v1/stories HTTP/1.1\r\ncontent-type: application/json\r\n";
    let (status, open) = till_closed(ask(&format!("{half}content-length: 9\r\n")));
    assert_eq!(status, "HTTP/1.1 408");
    assert!((10..16).contains(&open.as_secs()), "{open:?}");
    // All the while this line was open.
    assert!(matches!(line.hear(), Said::Created { .. }));
    assert_eq!(line.ask(json!({ "type": "title", "title": "open" })), Ok(()));
}

#[test]
fn a_request_that_is_never_whole_does_not_keep_its_connection() {
    let server = Server::start();
    let beginnings = [&b""[..], b"GET /hea", b"GET /healthz HTTP/1.1\r\nhost: loc"];
    let begun = beginnings.map(|beginning| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.write_all(beginning).unwrap();
        stream
    });
    for (mut stream, beginning) in begun.into_iter().zip(beginnings) {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(
            ended.is_ok() && answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
            "{:?}: {ended:?}",
            String::from_utf8_lossy(beginning)
        );
    }
}
