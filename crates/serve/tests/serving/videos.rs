//! Videos in the shape of the `OpenAI` API.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use shotstream_serve::protocol::Said;

use crate::fixture::Server;

fn completed(server: &Server, id: &str) -> Value {
    loop {
        let video = server.get(&format!("/v1/videos/{id}")).json();
        match video["status"].as_str().unwrap() {
            "completed" => return video,
            "queued" | "in_progress" => sleep(Duration::from_millis(20)),
            other => panic!("{other}: {video}"),
        }
    }
}

#[test]
fn a_video_is_made_polled_and_downloaded() {
    let server = Server::start();
    let asked = json!({ "model": "fake", "prompt": "a cat", "seconds": "4", "size": "256x16" });
    let video = server.post("/v1/videos", &asked).json();
    let keys: Vec<_> = video.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "completed_at",
        "created_at",
        "error",
        "expires_at",
        "id",
        "model",
        "object",
        "progress",
        "prompt",
        "remixed_from_video_id",
        "seconds",
        "size",
        "status",
    ];
    assert_eq!(keys, expected);
    let id = video["id"].as_str().unwrap();
    let video = completed(&server, id);
    assert_eq!((&video["progress"], &video["prompt"]), (&json!(100), &json!("a cat")));
    let film = server.get(&format!("/v1/videos/{id}/content"));
    assert_eq!((film.status, &film.body[4..8]), (200, &b"ftyp"[..]));
    let part = server.send(&format!("GET /v1/videos/{id}/content"), &["range: bytes=4-7"], b"");
    assert_eq!((part.status, &part.body[..]), (206, &b"ftyp"[..]));
    assert!(
        server
            .get(&format!("/v1/videos/{id}/content?variant=thumbnail"))
            .body
            .starts_with(b"\x89PNG")
    );
    let listed = server.get("/v1/videos").json();
    assert_eq!((&listed["first_id"], &listed["has_more"]), (&json!(id), &json!(false)));
    let gone = server.send(&format!("DELETE /v1/videos/{id}"), &[], b"").json();
    assert_eq!(gone, json!({ "id": id, "object": "video.deleted", "deleted": true }));
    assert_eq!(server.get(&format!("/v1/videos/{id}")).status, 404);
}

#[test]
fn a_video_may_have_several_shots_and_be_asked_for_with_a_form() {
    let server = Server::start();
    let shots = json!([{ "prompt": "one", "seconds": 2 }, { "prompt": "two", "seconds": "0.5" }]);
    let video =
        server.post("/v1/videos", &json!({ "prompt": "Both", "shots": shots, "seed": "7" })).json();
    let id = video["id"].as_str().unwrap().to_owned();
    completed(&server, &id);
    let story = server.get(&format!("/v1/stories/{id}")).json();
    assert_eq!(
        (&story["takes"][0]["frames"], &story["takes"][1]["frames"]),
        (&json!(33), &json!(9))
    );
    assert_eq!(story["seed"], 7);
    let exact = json!({ "prompt": "a cat", "seed": 9_007_199_254_740_993_u64 });
    let exact = server.post("/v1/videos", &exact).json();
    let story = server.get(&format!("/v1/stories/{}", exact["id"].as_str().unwrap())).json();
    assert_eq!(story["seed"], 9_007_199_254_740_993_u64);
    let form = "--x\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\na cat\r\n--x--\r\n";
    let heads = ["content-type: multipart/form-data; boundary=x"];
    let video = server.send("POST /v1/videos", &heads, form.as_bytes()).json();
    assert_eq!(video["prompt"], "a cat");
    completed(&server, video["id"].as_str().unwrap());
    let remix =
        server.post(&format!("/v1/videos/{id}/remix"), &json!({ "prompt": "three" })).json();
    assert_eq!((&remix["remixed_from_video_id"], &remix["prompt"]), (&json!(id), &json!("three")));
}

#[test]
fn a_video_that_cannot_be_made_says_which_parameter_is_at_fault() {
    let server = Server::start();
    let param = |asked: Value| {
        let answer = server.post("/v1/videos", &asked);
        assert_eq!(answer.status, 400, "{asked}: {}", answer.refusal());
        answer.json()["error"]["param"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(param(json!({})), "prompt");
    assert_eq!(param(json!({ "prompt": "a", "seconds": "soon" })), "seconds");
    assert_eq!(param(json!({ "prompt": "a", "size": "1x1" })), "size");
    assert_eq!(param(json!({ "prompt": "a", "seed": 0.5 })), "seed");
    assert_eq!(param(json!({ "prompt": "a", "seed": 1e300 })), "seed");
    assert_eq!(param(json!({ "prompt": "a", "fps": 30 })), "fps");
    assert_eq!(param(json!({ "prompt": "a", "shots": [] })), "shots");
    assert_eq!(param(json!({ "shots": [{ "prompt": "a" }] })), "prompt");
    assert_eq!(param(json!({ "prompt": "a", "shots": "[" })), "shots");
    assert_eq!(param(json!({ "prompt": " " })), "prompt");
}

#[test]
fn only_so_many_videos_wait_and_a_slot_is_left_to_directors() {
    let server = Server::start();
    let asked = |_| server.post("/v1/videos", &json!({ "prompt": "a cat", "seconds": 60 }));
    let answers: Vec<_> = (0..70).map(asked).collect();
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    // One is being made, and one more may be complete by now.
    assert!((64..70).contains(&taken), "{taken}");
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!((refused.status, &*refused.refusal()), (503, "64 videos are waiting already"));
    assert!(matches!(server.direct("?format=none").hear(), Said::Created { .. }));
}
