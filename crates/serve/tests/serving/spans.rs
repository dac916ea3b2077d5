//! What a collector of traces is told, read by other code than wrote it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use prost::Message as _;
use serde_json::json;

use crate::fixture::{PATIENCE, Server};

#[derive(prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(prost::Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

fn text(attributes: &[Attribute], key: &str) -> Option<String> {
    attributes.iter().find(|it| it.key == key)?.value.clone()?.text
}

fn number(attributes: &[Attribute], key: &str) -> Option<i64> {
    attributes.iter().find(|it| it.key == key)?.value.clone()?.number
}

/// A collector: its address, and what it is sent.
fn collector() -> (String, Receiver<Export>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (say, sent) = sync_channel(64);
    let listen = move || {
        for stream in listener.incoming() {
            if say.send(take(stream.unwrap())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("collector".to_owned()).spawn(listen).unwrap();
    (address, sent)
}

fn take(mut stream: TcpStream) -> Export {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let body = &bytes[end + 4..];
        if length.parse::<usize>().unwrap() <= body.len() {
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
            return Export::decode(body).unwrap();
        }
    }
}

#[test]
fn a_collector_is_told_of_requests_sessions_chunks_and_their_stages() {
    let (address, sent) = collector();
    let server = Server::with(|config| config.otlp = Some(address));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    assert_eq!(server.send("GET /healthz", &[&parent], b"").status, 200);
    let mut director = server.direct("");
    let shot = json!({ "type": "shot.append", "caption": "one", "frames": 33 });
    assert_eq!(director.ask(shot), Ok(()));
    director.watch(1);
    // Without its director the session ends.
    drop(director);
    let mut spans: Vec<Span> = Vec::new();
    while !spans.iter().any(|span| span.name == "session") {
        for of in sent.recv_timeout(PATIENCE).unwrap().resources {
            let name = text(&of.resource.unwrap().attributes, "service.name");
            assert_eq!(name.as_deref(), Some("shotstream"));
            spans.extend(of.scopes.into_iter().flat_map(|scope| scope.spans));
        }
    }
    assert!(spans.iter().all(|span| span.start <= span.end));
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();

    let [asked] = named("POST /v1/stories")[..] else { panic!("one story was begun") };
    let status = number(&asked.attributes, "http.response.status_code");
    assert_eq!((asked.kind, status, asked.parent.len()), (2, Some(201), 0));
    let [asked] = named("GET /healthz")[..] else { panic!("it was asked once") };
    let hex: String = asked.trace.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&*hex, asked.parent.len()), (trace, 8), "a part of who asked's trace");

    let [session] = named("session")[..] else { panic!("there was one session") };
    let chunks = named("chunk");
    assert_eq!(chunks.len(), 3);
    for (index, chunk) in chunks.into_iter().enumerate() {
        assert_eq!(number(&chunk.attributes, "chunk"), Some(index as i64));
        assert_eq!((&chunk.trace, &chunk.parent), (&session.trace, &session.id));
        let mut stages = BTreeMap::<_, usize>::new();
        for span in spans.iter().filter(|span| span.parent == chunk.id) {
            assert!(chunk.start <= span.start, "{}", span.name);
            *stages.entry(&*span.name).or_default() += 1;
        }
        // Frames are remembered on a thread of their own, at any time.
        stages.remove("remember");
        let each = [("decode", 1), ("denoise", 4), ("encode", 1), ("transport", 1)];
        let more =
            if index == 0 { [("context", 1), ("text", 1)].as_slice() } else { &[("commit", 1)] };
        assert_eq!(stages, each.into_iter().chain(more.iter().copied()).collect());
    }
}
