//! How a server bears load: directors who tell stories in real time, and viewers of the first one.
//!
//! ```text
//! shotstream serve --open &
//! cargo run --release -p shotstream-serve --example sessions -- 127.0.0.1:8080 --sessions 2 --viewers 50
//! ```
//!
//! One line of a table comes out. A player is imagined for every director: it shows 16 frames a
//! second and says so; a frame that is not there when it is due is a stall.
#![expect(clippy::print_stdout, reason = "an example that prints a table")]

use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// How often a player says how far it is.
const REPORT: Duration = Duration::from_millis(50);

/// What viewers see of the end.
static DONE: AtomicBool = AtomicBool::new(false);

type Line = WebSocket<TcpStream>;

#[derive(Debug, Default)]
struct Asked {
    server: String,
    sessions: usize,
    viewers: usize,
    shots: usize,
    pid: Option<u32>,
}

/// What became of one director.
#[derive(Debug, Default)]
struct Told {
    refused: Option<String>,
    frames: u64,
    fps: f64,
    first_frames: Vec<f64>,
    stalls: u64,
    stalled_ms: f64,
}

fn main() -> ExitCode {
    let asked = match asked(env::args().skip(1)) {
        Ok(asked) => asked,
        Err(wrong) => {
            println!(
                "{wrong}; sessions ADDRESS [--sessions N] [--viewers N] [--shots N] [--pid N]"
            );
            return ExitCode::from(2);
        }
    };
    match measure(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cannot measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked { sessions: 1, shots: 6, ..Asked::default() };
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().and_then(|value| value.parse::<usize>().ok());
            value.ok_or_else(|| format!("a number was expected after {word}"))
        };
        match word.as_str() {
            "--sessions" => asked.sessions = number()?,
            "--viewers" => asked.viewers = number()?,
            "--shots" => asked.shots = number()?,
            "--pid" => asked.pid = Some(number()? as u32),
            _ if word.starts_with('-') || !asked.server.is_empty() => {
                return Err(format!("{word} is not understood"));
            }
            _ => asked.server = word,
        }
    }
    match asked.server.is_empty() {
        true => Err("the server's address was expected".to_owned()),
        false => Ok(asked),
    }
}

fn measure(asked: &Asked) -> io::Result<()> {
    let mut stories = Vec::new();
    for _ in 0..asked.sessions {
        stories.push(
            post(&asked.server, "/v1/stories")?["id"].as_str().unwrap_or_default().to_owned(),
        );
    }
    let watch = post(&asked.server, &format!("/v1/stories/{}/watch", stories[0]))?;
    let token = watch["token"].as_str().unwrap_or_default().to_owned();
    let (seen, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let (told, peak) = thread::scope(|scope| {
        let mut directors = Vec::new();
        for story in &stories {
            directors.push(scope.spawn(move || direct(&asked.server, story, asked.shots)));
        }
        // Viewers come when the story is being directed.
        thread::sleep(Duration::from_millis(300));
        for _ in 0..asked.viewers {
            let (token, seen, lost) = (&token, &seen, &lost);
            let small = thread::Builder::new().stack_size(256 << 10);
            let watching = move || match watch_for(&asked.server, token) {
                Ok(frames) => drop(seen.fetch_add(frames, Ordering::Relaxed)),
                Err(_) => drop(lost.fetch_add(1, Ordering::Relaxed)),
            };
            small.spawn_scoped(scope, watching).expect("a thread can be started");
        }
        let sampled = scope.spawn(|| peak_memory(asked.pid));
        let told: Vec<_> = directors.into_iter().map(|it| it.join().unwrap_or_default()).collect();
        // What is on its way may still arrive.
        thread::sleep(Duration::from_millis(500));
        DONE.store(true, Ordering::Release);
        (told, sampled.join().unwrap_or_default())
    });
    report(asked, &told, (seen.into_inner(), lost.into_inner()), peak);
    Ok(())
}

fn report(asked: &Asked, told: &[Told], (seen, lost): (u64, u64), peak_mb: f64) {
    let served: Vec<_> = told.iter().filter(|told| told.refused.is_none()).collect();
    let mut first: Vec<_> =
        served.iter().flat_map(|told| told.first_frames.iter().copied()).collect();
    first.sort_by(f64::total_cmp);
    let at =
        |share: f64| first.get((first.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let fps = served.iter().map(|told| told.fps).fold(f64::INFINITY, f64::min);
    let stalls: u64 = served.iter().map(|told| told.stalls).sum();
    let stalled: f64 = served.iter().map(|told| told.stalled_ms).sum();
    let frames = served.first().map_or(0, |told| told.frames);
    let share = match asked.viewers as u64 * frames {
        0 => "–".to_owned(),
        all => format!("{:.1} %", 100.0 * seen as f64 / all as f64),
    };
    println!(
        "| {} | {} | {} | {fps:.1} | {:.0} | {:.0} | {stalls} | {stalled:.0} | {share} | {lost} | {peak_mb:.0} |",
        asked.sessions,
        told.len() - served.len(),
        asked.viewers,
        at(0.5),
        at(0.95),
    );
    for refused in told.iter().filter_map(|told| told.refused.as_ref()) {
        println!("refused: {refused}");
    }
}

/// Tell a story to the end, in real time.
fn direct(server: &str, story: &str, shots: usize) -> Told {
    let mut told = Told::default();
    if let Err(reason) = try_direct(server, story, shots, &mut told) {
        told.refused = Some(reason);
    }
    told
}

fn try_direct(server: &str, story: &str, shots: usize, told: &mut Told) -> Result<(), String> {
    let say = |error: tungstenite::Error| error.to_string();
    let mut line = open(
        server,
        &format!("/v1/stories/{story}/direct?format=fmp4"),
        Duration::from_millis(10),
    )?;
    let mut player = Imagined::default();
    let (mut appended, mut finished, mut came) = (0, 0, None);
    let mut started: Option<Instant> = None;
    let mut reported = Instant::now();
    while finished < shots {
        // A shot is told when the one before it begins, as somebody does who thinks ahead.
        if appended == 0 {
            append(&mut line, appended).map_err(say)?;
            appended += 1;
        }
        if REPORT < reported.elapsed() {
            reported = Instant::now();
            let playback = json!({ "type": "playback", "frame": player.shown() });
            line.send(Message::text(playback.to_string())).map_err(say)?;
        }
        let message = match line.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        let Message::Text(text) = message else { continue };
        let said: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match said["type"].as_str() {
            Some("error") => {
                return Err(said["error"]["message"].as_str().unwrap_or("?").to_owned());
            }
            Some("take.failed") => return Err(said["reason"].as_str().unwrap_or("?").to_owned()),
            Some("take.started") => {
                started.get_or_insert_with(Instant::now);
                if appended < shots {
                    append(&mut line, appended).map_err(say)?;
                    appended += 1;
                }
            }
            Some("chunk.made") => {
                let frames = said["frames"].as_u64().unwrap_or_default();
                player.gets(frames, told);
                told.frames += frames;
                told.first_frames.extend(said["timings"]["first_frame_ms"].as_f64());
                came = Some(Instant::now());
            }
            Some("take.finished") => finished += 1,
            _ => {}
        }
    }
    if let (Some(started), Some(came)) = (started, came) {
        told.fps = told.frames as f64 / (came - started).as_secs_f64();
    }
    Ok(())
}

fn append(line: &mut Line, shot: usize) -> tungstenite::Result<()> {
    let caption =
        ["Wide shot: the fox waves in the snow by day.", "Close-up: the fox jumps."][shot % 2];
    line.send(Message::text(json!({ "type": "shot.append", "caption": caption }).to_string()))
}

/// A player that shows 16 frames a second.
#[derive(Debug, Default)]
struct Imagined {
    /// When frame 0 would have been shown.
    zero: Option<Instant>,
    frames: u64,
}

impl Imagined {
    const FRAME: Duration = Duration::from_micros(62_500);

    /// Frames come; those that should have been shown already make a stall.
    fn gets(&mut self, frames: u64, told: &mut Told) {
        let (now, due) = (Instant::now(), Self::FRAME * self.frames as u32);
        let zero = *self.zero.get_or_insert(now);
        let late = now.saturating_duration_since(zero + due);
        if Self::FRAME < late {
            told.stalls += 1;
            told.stalled_ms += late.as_secs_f64() * 1e3;
            self.zero = Some(now - due);
        }
        self.frames += frames;
    }

    fn shown(&self) -> u64 {
        let passed = self.zero.map_or(Duration::ZERO, |zero| zero.elapsed());
        self.frames.min((passed.as_secs_f64() / Self::FRAME.as_secs_f64()) as u64)
    }
}

/// Watch until the directors are done; how many frames came.
fn watch_for(server: &str, token: &str) -> Result<u64, String> {
    let mut line = open(server, &format!("/v1/watch/{token}?format=fmp4"), Duration::from_secs(1))?;
    let (mut first, mut last) = (None, 0);
    while !DONE.load(Ordering::Acquire) {
        match line.read() {
            Ok(Message::Text(text)) if text.contains("\"chunk.made\"") => {
                let said: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                let frame = said["frame"].as_u64().unwrap_or_default();
                first.get_or_insert(frame);
                last += said["frames"].as_u64().unwrap_or_default();
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    // Who comes late has missed what was made before, which is no loss.
    Ok(last + first.unwrap_or_default())
}

/// A line that says at least every `patience` that nothing came. Viewers are many and have some: it
/// is not the server that should be busy with their looking.
fn open(server: &str, path: &str, patience: Duration) -> Result<Line, String> {
    let stream = TcpStream::connect(server).map_err(|error| error.to_string())?;
    let (line, _) = tungstenite::client(format!("ws://{server}{path}"), stream)
        .map_err(|error| error.to_string())?;
    let set = line.get_ref().set_read_timeout(Some(patience));
    set.map_err(|error| error.to_string())?;
    Ok(line)
}

fn post(server: &str, path: &str) -> io::Result<Value> {
    use io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(server)?;
    let kind = "content-type: application/json\r\nconnection: close\r\ncontent-length: 2";
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {server}\r\n{kind}\r\n\r\n{{}}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

/// The most memory the server has had resident while the directors worked, in MB.
fn peak_memory(pid: Option<u32>) -> f64 {
    let mut peak: f64 = 0.0;
    while !DONE.load(Ordering::Acquire) {
        let status = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let line = status.as_deref().and_then(|it| it.lines().find(|it| it.starts_with("VmRSS")));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or_default() * 1.024e-3);
        thread::sleep(Duration::from_millis(100));
    }
    peak
}
