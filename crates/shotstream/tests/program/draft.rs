//! `draft`: a story of a chat model that a test plays.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::Output,
    thread,
};

use serde_json::{Value, json};

use crate::fixture::Home;

const STORY: &str = r#"{"global": "A red fox with a top hat.",
    "shots": [{"caption": "The fox waves in the snow by day."},
              {"caption": "The fox rides a zeppelin."}]}"#;

/// What came of a draft, and the question with its key.
struct Drafted {
    output: Output,
    key: String,
    question: Value,
}

/// Run `draft` with an endpoint that answers with `content`.
fn drafted(home: &Home, flags: &[&str], content: &str) -> Drafted {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let message = json!({ "choices": [{ "message": { "content": content } }] }).to_string();
    let chat = thread::Builder::new().spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut key, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                None if line == "\r\n" => break,
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    key = value.to_owned();
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                _ => {}
            }
        }
        let mut question = vec![0; length];
        stream.read_exact(&mut question).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", message.len());
        stream.get_mut().write_all((head + &message).as_bytes()).unwrap();
        (key, serde_json::from_slice(&question).unwrap())
    });
    let draft = ["draft", "a fox in the snow", "--base-url", &base_url, "--model", "scribe"];
    let mut command = home.command(&[&draft[..], flags].concat());
    let output = command.env("SHOTSTREAM_CHAT_KEY", "secret").output().unwrap();
    let (key, question) = chat.unwrap().join().unwrap();
    Drafted { output, key, question }
}

#[test]
fn a_draft_is_shown_and_written_only_when_asked() {
    let home = Home::new();
    let told = drafted(&home, &[], STORY);
    assert_eq!(told.output.status.code(), Some(0));
    let shown: Value = serde_json::from_slice(&told.output.stdout).unwrap();
    assert_eq!(shown, serde_json::from_str::<Value>(STORY).unwrap());
    assert_eq!(
        String::from_utf8_lossy(&told.output.stderr),
        "warning: the tiny model does not know the words 'rides' and 'zeppelin'\n"
    );
    assert!(home.files().is_empty());
    assert_eq!((told.key.as_str(), &told.question["model"]), ("Bearer secret", &json!("scribe")));
    let task = told.question["messages"][0]["content"].as_str().unwrap();
    assert!(task.contains("only these words") && task.contains(" balloon"), "{task}");

    for name in ["story.json", "story.toml"] {
        let told = drafted(&home, &["-o", name, "--words", "any", "--shots", "2"], STORY);
        assert_eq!(told.output.stderr, b"");
        assert_eq!(fs::read(home.path(name)).unwrap(), told.output.stdout);
        let task = told.question["messages"][0]["content"].as_str().unwrap();
        assert!(task.contains("exactly 2 shots") && !task.contains("only these words"));
        assert!(home.done(&["plan", name]).text().contains("The fox rides a zeppelin."));
    }
}

#[test]
fn a_draft_that_fails_leaves_nothing() {
    let home = Home::new();
    let told = drafted(&home, &["-o", "story.json"], "I would rather tell a joke.");
    assert_eq!((told.output.status.code(), told.output.stdout.len()), (Some(1), 0));
    let said = String::from_utf8(told.output.stderr).unwrap();
    assert!(said.starts_with("error: the model's answer is no story, "), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert!(home.files().is_empty());
}

#[test]
fn what_cannot_be_asked_is_wrong_use() {
    let home = Home::new();
    home.write("story.json", "mine");
    let refused = |code, url: &str, flags: &[&str]| {
        let draft = ["draft", "a fox", "--base-url", url, "--model", "scribe"];
        home.refused(code, &[&draft[..], flags].concat())
    };
    let nowhere = "http://127.0.0.1:1/v1";
    assert_eq!(
        refused(2, nowhere, &["-o", "story.json"]),
        "error: this file exists already: story.json"
    );
    assert!(refused(2, "chat", &[]).starts_with("error: expected an address such as http://"));
    assert!(refused(1, nowhere, &["-o", "a.json"]).starts_with("error: cannot ask the chat model"));
}
