//! Viewers over WebRTC.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::json;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaData, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::fixture::{Answer, PATIENCE, Server};

/// A player: what it has seen, and what it posted to.
struct Player {
    rtc: Rtc,
    socket: UdpSocket,
    /// Where to say that it leaves.
    resource: String,
    seen: VecDeque<MediaData>,
}

fn post(server: &Server, path: &str, offer: &str) -> Answer {
    server.send(&format!("POST {path}"), &["content-type: application/sdp"], offer.as_bytes())
}

impl Player {
    fn connect(server: &Server, path: &str) -> Self {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
        let mut rtc = Rtc::builder().build(Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answer = post(server, path, &offer.to_sdp_string());
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let mut head = answer.head_as_it_came.lines();
        let resource = head.find_map(|line| line.strip_prefix("location: "));
        let resource = resource.unwrap().to_owned();
        let answer = SdpAnswer::from_sdp_string(std::str::from_utf8(&answer.body).unwrap());
        rtc.sdp_api().accept_answer(pending, answer.unwrap()).unwrap();
        Self { rtc, socket, resource, seen: VecDeque::new() }
    }

    /// Go on until something holds.
    fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let (deadline, mut buffer) = (Instant::now() + PATIENCE, [0; 2048]);
        while !enough(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            let wake = match self.rtc.poll_output().unwrap() {
                Output::Transmit(datagram) => {
                    self.socket.send_to(&datagram.contents, datagram.destination).unwrap();
                    continue;
                }
                Output::Event(Event::MediaData(data)) => {
                    self.seen.push_back(data);
                    continue;
                }
                Output::Event(_) => continue,
                Output::Timeout(wake) => wake,
            };
            let wait = wake.saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(wait.clamp(MOMENT, 50 * MOMENT))).unwrap();
            let input = match self.socket.recv_from(&mut buffer) {
                Ok((len, source)) => {
                    let destination = self.socket.local_addr().unwrap();
                    let contents = buffer[..len].try_into().unwrap();
                    let proto = Protocol::Udp;
                    let received = Receive { proto, source, destination, contents };
                    Input::Receive(Instant::now(), received)
                }
                Err(_) => Input::Timeout(Instant::now()),
            };
            self.rtc.handle_input(input).unwrap();
        }
    }
}

const MOMENT: Duration = Duration::from_millis(1);

/// What stands between the start codes of an access unit.
fn units(annex_b: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut rest = annex_b;
    while let Some((&first, after)) = rest.split_first() {
        if rest.starts_with(&[0, 0, 1]) {
            all.push(Vec::new());
            rest = &rest[3..];
        } else if rest.starts_with(&[0, 0, 0, 1]) {
            rest = after;
        } else {
            all.last_mut().unwrap().push(first);
            rest = after;
        }
    }
    all
}

fn viewers(server: &Server, heads: &[&str]) -> String {
    let metrics = server.send("GET /metrics", heads, b"").body;
    let metrics = String::from_utf8(metrics).unwrap();
    let line = metrics.lines().find(|line| line.starts_with("shotstream_viewers "));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_player_sees_every_frame_once_at_its_time() {
    let server = Server::start();
    let mut director = server.direct("?format=h264");
    let path = format!("/v1/stories/{}/whep", director.story);
    let mut player = Player::connect(&server, &path);
    player.until("it is connected", |player| player.rtc.is_connected());
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 21 }));
    director.watch(1);
    player.until("it has seen the shot", |player| player.seen.len() == 21);
    let sent = director.media.iter().map(|message| units(&message[32..]));
    for (at, (sent, seen)) in sent.zip(&player.seen).enumerate() {
        assert_eq!(sent, units(&seen.data), "frame {at}");
    }
    let times: Vec<_> = player.seen.iter().map(|seen| seen.time.numer()).collect();
    assert!(times.windows(2).all(|pair| pair[0] + 5625 <= pair[1]), "{times:?}");
    let (first, last) = (player.seen[0].network_time, player.seen[20].network_time);
    assert!(Duration::from_millis(1100) < last - first, "frames came all at once");
    assert_eq!(viewers(&server, &[]), "2");
    assert_eq!(server.send(&format!("DELETE {}", player.resource), &[], b"").status, 200);
    assert_eq!(server.send(&format!("DELETE {}", player.resource), &[], b"").status, 404);
    while viewers(&server, &[]) != "1" {
        std::thread::sleep(MOMENT);
    }
}

#[test]
fn who_has_a_watch_link_may_play_and_who_comes_late_sees_what_was_shown_last() {
    let server = Server::with_key("a-key-of-sixteen");
    let key = "authorization: Bearer a-key-of-sixteen";
    let json = [key, "content-type: application/json"];
    let story = server.send("POST /v1/stories", &json, br#"{"global":"Rain."}"#).json();
    let id = story["id"].as_str().unwrap();
    let heads = [("authorization", "Bearer a-key-of-sixteen")];
    let line = server.line(&format!("/v1/stories/{id}/direct?format=none"), &heads).unwrap();
    let mut director = crate::fixture::Director { line, story: id.to_owned(), media: Vec::new() };
    director.tell(&json!({ "type": "shot.append", "caption": "one", "frames": 9 }));
    director.watch(1);
    let link = server.send(&format!("POST /v1/stories/{id}/watch"), &[key], b"").json();
    let token = link["token"].as_str().unwrap();
    let mut player = Player::connect(&server, &format!("/v1/watch/{token}/whep"));
    player.until("it sees the last chunk", |player| player.seen.len() == 9);
    assert_eq!(viewers(&server, &[key]), "2");
    drop(director);
    // The story's session ends a while after its director has left, and the players' with it.
    while viewers(&server, &[key]) != "0" {
        std::thread::sleep(MOMENT);
    }
    let refused = post(&server, &format!("/v1/stories/{id}/whep"), "v=0");
    assert_eq!(refused.status, 401);
}

#[test]
fn what_cannot_be_played_is_refused_in_words() {
    let server = Server::start();
    let director = server.direct("?format=none");
    let path = format!("/v1/stories/{}/whep", director.story);
    let answer = server.post(&path, &json!({}));
    assert_eq!((answer.status, answer.refusal().contains("application/sdp")), (415, true));
    let answer = post(&server, &path, "hello");
    assert_eq!((answer.status, answer.refusal().starts_with("this is no offer")), (400, true));
    assert_eq!(post(&server, "/v1/stories/nobody/whep", "v=0").status, 404);
    assert_eq!(post(&server, "/v1/watch/nobody.0/whep", "v=0").status, 404);
    let story = server.post("/v1/stories", &json!({})).json();
    let answer =
        post(&server, &format!("/v1/stories/{}/whep", story["id"].as_str().unwrap()), "v=0");
    assert_eq!(
        (answer.status, answer.refusal()),
        (404, "nobody directs this story now".to_owned())
    );
    // What is no datagram of a viewer's is nobody's, and hurts nobody.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b""[..], b"\x00\x01\x00\x00", &[0x80; 1500]] {
        stranger.send_to(datagram, server.address).unwrap();
    }
    assert_eq!(server.get("/healthz").status, 200);
}
