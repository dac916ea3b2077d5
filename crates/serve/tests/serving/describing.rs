//! The document that describes the HTTP interface, and the exports it names.

use serde_json::{Value, json};

use crate::fixture::Server;

#[test]
fn every_path_of_the_document_answers_to_its_methods_and_to_no_other() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"].as_str().map(|it| &it[..2]), Some("3."));
    let paths = document["paths"].as_object().unwrap();
    assert!(15 <= paths.len(), "{}", paths.len());
    for (path, methods) in paths {
        let place = path
            .replace("{id}", "story_none")
            .replace("{take}", "1")
            .replace("{hash}", &"0".repeat(64))
            .replace("{format}", "srt")
            .replace("{token}", "none");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let known = methods.get(method.to_lowercase()).is_some();
            let answer = server.send(&format!("{method} {place}"), &[], b"");
            assert_eq!(known, answer.status != 405, "{method} {path}: {}", answer.status);
            let said = &methods[method.to_lowercase()]["responses"];
            assert!(
                !known || said.get(answer.status.to_string()).is_some(),
                "{method} {path}: {}",
                answer.status
            );
            if !known {
                assert!(answer.head.contains("allow: "), "{}", answer.head);
                assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
            }
        }
    }
}

#[test]
fn a_film_is_exported_in_every_format_as_far_as_it_is_made() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    let place = |format: &str| format!("/v1/stories/{}/exports/{format}", director.story);
    assert_eq!(server.get(&place("srt")).refusal(), "nothing is made yet");
    let places =
        ["vtt", "srt", "chapters", "edl", "fcpxml", "otio", "gif", "storyboard"].map(place);
    let strange = place("exe");
    director.ask(json!({ "type": "title", "title": "../The \"fox\"" })).unwrap();
    director.tell(&json!({ "type": "shot.append", "caption": "one <two>" }));
    director.watch(1);
    let begins =
        ["WEBVTT", "1\n00:00:00,000", "WEBVTT", "TITLE:", "<?xml", "{", "GIF89a", "\u{fffd}PNG"];
    for (place, begins) in places.iter().zip(begins) {
        let answer = server.get(place);
        assert_eq!(answer.status, 200, "{place}");
        assert!(answer.head.contains("filename=\"the--fox."), "{}", answer.head);
        assert!(String::from_utf8_lossy(&answer.body).starts_with(begins), "{place}");
    }
    let otio: Value = server.get(&places[5]).json();
    assert_eq!(otio["OTIO_SCHEMA"], "Timeline.1");
    assert_eq!(server.get(&strange).status, 400);
}

#[test]
fn a_film_is_read_in_ranges_and_made_once() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.tell(&json!({ "type": "shot.append", "caption": "one" }));
    director.watch(1);
    let place = format!("GET /v1/stories/{}/film.mp4", director.story);
    let whole = server.send(&place, &[], b"").body;
    let part = server.send(&place, &["range: bytes=4-7"], b"");
    assert_eq!((part.status, &part.body[..]), (206, &b"ftyp"[..]));
    let end = server.send(&place, &["range: bytes=-5"], b"");
    assert_eq!((end.status, &end.body[..]), (206, &whole[whole.len() - 5..]));
    assert_eq!(server.send(&place, &["range: bytes=99999999-"], b"").status, 416);
    let head = server.send(&place.replace("GET", "HEAD"), &[], b"");
    assert!(
        head.head.contains(&format!("content-length: {}", whole.len())) && head.body.is_empty()
    );
}
