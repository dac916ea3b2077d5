//! Drafts of an endpoint that a test plays, with everything that can go wrong there.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};
use shotstream_draft::{Endpoint, Wish, draft};
use shotstream_plan::{recipe::Recipe, script::Script};

/// An endpoint that answers one question with the bytes of `answer`, and tells what it heard.
fn endpoint(answer: Vec<u8>) -> (Endpoint, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let heard = thread::Builder::new().spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut buffer).unwrap();
            heard.extend(&buffer[..read]);
            let text = String::from_utf8_lossy(&heard).into_owned();
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
            });
            if let (Some((_, body)), Some(length)) = (text.split_once("\r\n\r\n"), length) {
                let length: usize = length;
                if body.len() == length {
                    // Whoever has heard enough hangs up.
                    let _ = stream.write_all(&answer);
                    if answer.is_empty() {
                        thread::sleep(Duration::from_secs(2));
                    }
                    return text;
                }
            }
            assert!(0 < read, "{text}");
        }
    });
    let key = Some("a key".to_owned());
    (Endpoint { base_url, key, model: "scribe".to_owned() }, heard.unwrap())
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn completion(content: &str) -> Vec<u8> {
    let message = json!({ "role": "assistant", "content": content });
    http(
        "200 OK",
        &json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }).to_string(),
    )
}

fn wish() -> Wish<'static> {
    Wish {
        idea: "a fox who finds \"a hat\"",
        shots: Some(2),
        words: &[],
        example: ("A cat.", &["The cat waves."]),
    }
}

fn asked(endpoint: &Endpoint) -> Result<Script, String> {
    let patience = Duration::from_secs(1);
    draft(endpoint, &wish(), &Recipe::tiny(), patience).map_err(|error| error.to_string())
}

/// What an answer of these bytes is refused with, with its place left out.
fn refused(answer: Vec<u8>) -> String {
    let (endpoint, heard) = endpoint(answer);
    let error = asked(&endpoint).unwrap_err();
    heard.join().unwrap();
    let url = format!(": {}chat/completions", endpoint.base_url);
    error.strip_suffix(&url).unwrap_or(&error).to_owned()
}

const STORY: &str =
    r#"{"global": "A red fox.", "shots": [{"caption": "It waves."}, {"caption": "It jumps."}]}"#;

#[test]
fn an_idea_becomes_a_story() {
    let (endpoint, heard) = endpoint(completion(&format!("Here it is:\n```json\n{STORY}\n```")));
    let script = asked(&endpoint).unwrap();
    assert_eq!(script.global, "A red fox.");
    let captions: Vec<_> = script.shots.iter().map(|shot| shot.caption.as_str()).collect();
    assert_eq!(captions, ["It waves.", "It jumps."]);

    let heard = heard.join().unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    let headers: Vec<_> = head.lines().collect();
    assert!(headers.contains(&"authorization: bearer a key"), "{head}");
    assert!(headers.contains(&"content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["model"], &body["stream"]), (&json!("scribe"), &json!(false)));
    assert_eq!(body["messages"][1], json!({ "role": "user", "content": wish().idea }));
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("exactly 2 shots"));
}

#[test]
fn without_a_key_none_is_sent() {
    let (mut endpoint, heard) = endpoint(completion(STORY));
    endpoint.key = None;
    asked(&endpoint).unwrap();
    assert!(!heard.join().unwrap().to_lowercase().contains("authorization"));
}

#[test]
fn an_endpoint_that_refuses_is_quoted() {
    let error = json!({ "error": { "message": "Incorrect API key\nprovided.", "type": "x" } });
    assert_eq!(
        refused(http("401 Unauthorized", &error.to_string())),
        "the endpoint refuses with status 401 (Incorrect API key provided.)"
    );
    assert_eq!(
        refused(http("404 Not Found", r#"{"error": "model 'scribe' not found"}"#)),
        "the endpoint refuses with status 404 (model 'scribe' not found)"
    );
    assert_eq!(
        refused(http("503 Service Unavailable", "")),
        "the endpoint refuses with status 503 (without a reason)"
    );
    let moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert!(refused(moved.to_vec()).starts_with("the endpoint refuses with status 302"));
}

#[test]
fn a_model_that_refuses_is_quoted() {
    let choice = |choice: Value| http("200 OK", &json!({ "choices": [choice] }).to_string());
    let refusal = json!({ "message": { "content": null, "refusal": "I would rather not." } });
    assert_eq!(refused(choice(refusal)), "the chat model refuses: I would rather not.");
    let filtered = json!({ "message": { "content": "" }, "finish_reason": "content_filter" });
    assert_eq!(refused(choice(filtered)), "the chat model refuses: its filter stopped the answer");
}

#[test]
fn an_answer_that_does_not_end_is_refused() {
    let message = json!({ "message": { "content": "{\"global" }, "finish_reason": "length" });
    assert_eq!(
        refused(http("200 OK", &json!({ "choices": [message] }).to_string())),
        "the chat model's answer is too long, it was cut off at the model's own limit"
    );
    assert_eq!(
        refused(completion(&"fox ".repeat(1 << 19))),
        "the chat model's answer is too long, it was cut off after a megabyte"
    );
}

#[test]
fn an_answer_of_another_kind_is_refused_with_its_first_words() {
    assert_eq!(
        refused(http("200 OK", "<html>Welcome</html>")),
        "expected a chat completion (expected value at line 1 column 1), found \
         '<html>Welcome</html>'"
    );
    assert_eq!(
        refused(http("200 OK", r#"{"choices": []}"#)),
        r#"expected a chat completion (no choice is in it), found '{"choices": []}'"#
    );
    assert!(refused(completion("  ")).contains("its message is empty"));
    assert_eq!(
        refused(completion("Once upon a time, there was a fox.")),
        "the model's answer is no story, the story is not valid JSON, expected value: line 1; it \
         begins with 'Once upon a time, there was a fox.'"
    );
    assert_eq!(
        refused(completion(r#"{"global": "A fox.", "shots": [{"text": "It waves."}]}"#)),
        "the model's answer is no story, unknown key, expected one of caption, frames, seed, then: \
         shots[0].text, line 1; it begins with \
         '{\"global\": \"A fox.\", \"shots\": [{\"text\": \"It waves.\"}]}'"
    );
}

#[test]
fn an_endpoint_that_does_not_answer_is_not_waited_for() {
    assert_eq!(refused(Vec::new()), "the chat model did not answer within 1 s");
}

#[test]
fn an_endpoint_that_hangs_up_or_is_not_there_is_an_error() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"choices\"".to_vec();
    assert!(refused(half).starts_with("cannot ask the chat model ("));
    let (endpoint, heard) = endpoint(completion(STORY));
    asked(&endpoint).unwrap();
    heard.join().unwrap();
    let error = asked(&endpoint).unwrap_err();
    assert!(error.starts_with("cannot ask the chat model ("), "{error}");
}

#[test]
fn an_address_that_cannot_be_asked_is_named() {
    let at = |base_url: &str| {
        let (base_url, model) = (base_url.to_owned(), "scribe".to_owned());
        asked(&Endpoint { base_url, key: None, model }).unwrap_err()
    };
    assert_eq!(
        at("localhost:11434"),
        "expected an address such as http://localhost:11434/v1, found 'localhost:11434'"
    );
    assert_eq!(
        at("http://my host/v1"),
        "expected an address such as http://localhost:11434/v1, found 'http://my host/v1'"
    );
}

#[test]
fn a_key_that_no_header_holds_is_refused() {
    let (base_url, model) = ("http://127.0.0.1:1".to_owned(), "scribe".to_owned());
    let key = Some("two\nlines".to_owned());
    let error = asked(&Endpoint { base_url, key, model }).unwrap_err();
    assert_eq!(error, "the key holds characters that no header can hold");
}

#[test]
fn a_key_is_never_shown() {
    let (endpoint, heard) = endpoint(completion(STORY));
    let key = endpoint.key.as_deref().unwrap();
    assert!(!format!("{endpoint:?}").contains(&format!("{key:?}")));
    let hidden = Endpoint { key: Some("sk-hidden".to_owned()), ..endpoint.clone() };
    assert!(!format!("{hidden:?}").contains("sk-hidden"));
    assert!(format!("{endpoint:?}").ends_with("with a key)"));
    asked(&endpoint).unwrap();
    heard.join().unwrap();
}
