//! Pictures that are brought over HTTP, and the cast that names them.

use serde_json::json;
use shotstream_media::Frame;
use shotstream_media::png::encode_png;
use shotstream_serve::protocol::Said;

use crate::fixture::{Answer, Server, hashes};

fn bring(server: &Server, story: &str, caption: &str, file: &[u8]) -> Answer {
    let caption = caption.replace(' ', "%20");
    let address = format!("POST /v1/stories/{story}/pictures?caption={caption}");
    server.send(&address, &["content-type: application/octet-stream"], file)
}

fn grey(level: u8) -> Vec<u8> {
    encode_png(&Frame::filled(90, 70, [level; 3])).unwrap()
}

#[test]
fn a_picture_is_brought_pinned_named_and_shown() {
    let server = Server::start();
    let mut director = server.direct("?format=none");
    director.hear();
    let story = director.story.clone();
    let brought = bring(&server, &story, "a red fox", &grey(40));
    assert_eq!(brought.status, 201, "{}", String::from_utf8_lossy(&brought.body));
    assert_eq!(
        (&brought.json()["picture"], &brought.json()["caption"]),
        (&json!(1), &json!("a red fox"))
    );
    for part in ["image", "small"] {
        let hash = brought.json()[part].as_str().unwrap().to_owned();
        let answer = server.get(&format!("/v1/stories/{story}/pictures/{hash}"));
        assert!(answer.body.starts_with(b"\x89PNG"));
    }
    let said = director.hear_until(|said| matches!(said, Said::Updated { .. }));
    let Some(Said::Updated { story: view }) = said.last() else { panic!("nothing was said") };
    assert_eq!(view.pictures[0].caption, "a red fox");
    let cast = json!({ "type": "cast.set", "name": "mara", "caption": "a fox", "frames": [{ "picture": 1 }] });
    director.ask(cast).unwrap();
    director.ask(json!({ "type": "memory.share", "pins": 0, "cast": 2 })).unwrap();
    let nobody = director.ask(json!({ "type": "shot.append", "caption": "@bo waves" }));
    assert_eq!(nobody, Err("nobody in the cast is called @bo".to_owned()));
    director.tell(&json!({ "type": "shot.append", "caption": "@mara waves" }));
    let heard = director.watch(1);
    let started = heard.iter().find_map(|said| match said {
        Said::Started { prompt, pictures, .. } => Some((&**prompt, pictures.clone())),
        _ => None,
    });
    assert_eq!(started, Some(("Rain. shot0:a fox waves", vec![1])));
    let take = &server.get(&format!("/v1/stories/{story}")).json()["takes"][0];
    assert_eq!((&take["typed"], &take["pictures"]), (&json!("@mara waves"), &json!([1])));
    assert_eq!(take["places"], json!({ "pins": 0, "cast": 6, "policy": 0 }));
    let film = hashes(&heard);
    // The same without the picture is another film.
    let mut other = server.direct("?format=none");
    other.tell(&json!({ "type": "shot.append", "caption": "a fox waves" }));
    assert_ne!(hashes(&other.watch(1)), film);
}

#[test]
fn a_story_that_nobody_directs_is_given_pictures_too() {
    let server = Server::start();
    let story = server.post("/v1/stories", &json!({})).json()["id"].as_str().unwrap().to_owned();
    for number in 1..=2 {
        let brought = bring(&server, &story, "a fox", &grey(number * 9));
        assert_eq!((brought.status, &brought.json()["picture"]), (201, &json!(number)));
    }
    let mut director = server.direct_again(&story, "?format=none");
    let Said::Created { story, .. } = director.hear() else { panic!("nothing was said") };
    assert_eq!(story.pictures.len(), 2);
    director.ask(json!({ "type": "picture.pin", "picture": 2 })).unwrap();
    let twice = director.ask(json!({ "type": "picture.pin", "picture": 2 }));
    assert_eq!(twice, Err("this picture is pinned already".to_owned()));
    director.ask(json!({ "type": "picture.unpin", "picture": 2 })).unwrap();
    director.ask(json!({ "type": "undo" })).unwrap();
    let view = server.get(&format!("/v1/stories/{}", director.story)).json();
    assert_eq!(view["pinned"], json!([2]));
}

#[test]
fn what_is_no_picture_or_too_much_is_refused_and_nothing_is_kept() {
    let server = Server::start();
    let story = server.post("/v1/stories", &json!({})).json()["id"].as_str().unwrap().to_owned();
    let refused = |caption: &str, file: &[u8], status: u16| {
        let answer = bring(&server, &story, caption, file);
        assert_eq!(answer.status, status);
        answer.refusal()
    };
    let picture = grey(1);
    assert_eq!(refused("", &picture, 400), "the caption is blank");
    let strange = "this is not a film or picture of ours: a PNG or JPEG picture was expected";
    assert_eq!(refused("a fox", b"<svg/>", 400), strange);
    let mut bomb = picture.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    // With a checksum that does not agree it is damaged already.
    refused("a fox", &bomb, 400);
    let long = "x".repeat(501);
    let said = refused(&long, &picture, 400);
    assert_eq!(said, "these words have 501 characters, at most 500 are kept");
    let large = vec![0; (16 << 20) + 1];
    assert_eq!(refused("a fox", &large, 413), "a picture has at most 16777216 bytes");
    let view = server.get(&format!("/v1/stories/{story}")).json();
    assert_eq!(view["pictures"], json!(null));
    let missing = bring(&server, "story_none", "a fox", &picture);
    assert_eq!(missing.status, 404);
    let bring_by_line = json!({ "type": "Bring", "caption": "a fox" });
    let mut director = server.direct_again(&story, "?format=none");
    let said = director.ask(bring_by_line).unwrap_err();
    assert!(said.starts_with("not understood: unknown variant"), "{said}");
}
