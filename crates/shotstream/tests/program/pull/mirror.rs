//! A mirror of a hub on a free port of this machine: it says what a file is, leads to the bytes of
//! large files elsewhere, serves parts of files, and, if asked to, hangs up in the middle.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use shotstream_damage::Dice;

/// The commit of every repository here.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Bytes sent at once.
const PIECE: usize = 16 << 10;

/// A file of the mirror.
#[derive(Clone)]
pub(crate) struct Served {
    bytes: Arc<Vec<u8>>,
    /// What the mirror says its digest is.
    tag: String,
    /// What the mirror says its size is.
    size: u64,
    /// Whether its bytes lie elsewhere.
    large: bool,
}

/// Files by repository and path, and how they are served.
#[derive(Default)]
pub(crate) struct Mirror {
    files: Mutex<BTreeMap<String, Served>>,
    /// One connection in so many bytes, on average, is cut; none if zero.
    pub(crate) shaky: AtomicUsize,
    /// The status that the next request is refused with; none if zero.
    pub(crate) status: AtomicUsize,
    /// Whether it knows no ranges, and always sends all of a file.
    pub(crate) always_whole: AtomicBool,
    /// The token that is asked for, if any.
    pub(crate) token: Mutex<Option<String>>,
    /// Connections that were cut.
    pub(crate) cuts: AtomicUsize,
    /// Requests, as `METHOD PATH RANGE AUTHORIZATION`.
    pub(crate) log: Mutex<Vec<String>>,
    /// Random numbers so far.
    thrown: AtomicU64,
}

/// The digest of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that no two places share.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::of(seed);
    std::iter::repeat_with(|| dice.below(256) as u8).take(count).collect()
}

impl Mirror {
    /// A mirror without files, and its address.
    pub(crate) fn start() -> (Arc<Self>, String) {
        let mirror = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = mirror.clone();
        let answer = move || {
            for stream in listener.incoming() {
                let (Ok(stream), served) = (stream, served.clone()) else { continue };
                let answers = thread::Builder::new().name("answer".to_owned());
                answers.spawn(move || served.answer(stream, port)).unwrap();
            }
        };
        thread::Builder::new().name("mirror".to_owned()).spawn(answer).unwrap();
        (mirror, format!("http://127.0.0.1:{port}"))
    }

    /// Serve a large file.
    pub(crate) fn add(&self, repo: &str, file: &str, bytes: Vec<u8>) {
        let (tag, size) = (sha256(&bytes), bytes.len() as u64);
        self.put(repo, file, Served { bytes: Arc::new(bytes), tag, size, large: true });
    }

    /// Serve a small file, which git names.
    pub(crate) fn add_small(&self, repo: &str, file: &str, bytes: Vec<u8>) {
        let (tag, size) = (sha256(&bytes)[..40].to_owned(), bytes.len() as u64);
        self.put(repo, file, Served { bytes: Arc::new(bytes), tag, size, large: false });
    }

    /// Say something else of a file than what is true.
    pub(crate) fn lie(&self, repo: &str, file: &str, change: impl FnOnce(&mut String, &mut u64)) {
        let mut files = self.files.lock().unwrap();
        let served = files.get_mut(&format!("{repo}/{file}")).unwrap();
        change(&mut served.tag, &mut served.size);
    }

    fn put(&self, repo: &str, file: &str, served: Served) {
        self.files.lock().unwrap().insert(format!("{repo}/{file}"), served);
    }

    /// A number below `end`.
    fn below(&self, end: usize) -> usize {
        Dice::of(self.thrown.fetch_add(1, Ordering::Relaxed)).below(end)
    }

    fn answer(&self, mut stream: TcpStream, port: u16) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let header = |name: &str| {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let (range, key) = (header("range"), header("authorization"));
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let said = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
        let entry = format!("{method} {path} {} {}", said(&range), said(&key));
        self.log.lock().unwrap().push(entry);
        // Whoever hung up needs no answer.
        let _ = match self.status.load(Ordering::Relaxed) {
            0 => self.serve(&mut stream, port, path, range, key),
            status => {
                self.status.store(0, Ordering::Relaxed);
                plain(&mut stream, &format!("{status} Not Now"), &[("Retry-After", "0")])
            }
        };
    }

    fn serve(
        &self,
        stream: &mut TcpStream,
        port: u16,
        path: &str,
        range: Option<String>,
        key: Option<String>,
    ) -> std::io::Result<()> {
        if let Some(tag) = path.strip_prefix("/elsewhere/") {
            let files = self.files.lock().unwrap();
            let served = files.values().find(|served| sha256(&served.bytes) == tag).cloned();
            drop(files);
            let Some(served) = served else { return plain(stream, "404 Not Found", &[]) };
            return self.send(stream, &served, range, &[]);
        }
        if let Some(place) = path.strip_prefix("/moved") {
            return plain(stream, "307 Temporary Redirect", &[("Location", place)]);
        }
        if path.starts_with("/round") {
            return plain(stream, "307 Temporary Redirect", &[("Location", path)]);
        }
        let token = self.token.lock().unwrap().clone();
        if token.is_some_and(|token| key != Some(format!("Bearer {token}"))) {
            return plain(stream, "401 Unauthorized", &[]);
        }
        let mut parts = path.trim_start_matches('/').splitn(5, '/');
        let mut next = || parts.next().unwrap_or_default();
        let (owner, name, _, revision, file) = (next(), next(), next(), next(), next());
        let file = self.files.lock().unwrap().get(&format!("{owner}/{name}/{file}")).cloned();
        let known = revision == "main" || revision == COMMIT;
        let Some(served) = file.filter(|_| known) else {
            return plain(stream, "404 Not Found", &[]);
        };
        let tag = format!("\"{}\"", served.tag);
        if !served.large {
            return self.send(stream, &served, range, &[("X-Repo-Commit", COMMIT), ("ETag", &tag)]);
        }
        let size = served.size.to_string();
        // Another name of this machine, so that it is another host.
        let place = format!("http://localhost:{port}/elsewhere/{}", sha256(&served.bytes));
        let headers = [
            ("X-Repo-Commit", COMMIT),
            ("X-Linked-ETag", &tag),
            ("X-Linked-Size", &size),
            ("ETag", "\"of the redirection\""),
            ("Location", &place),
        ];
        plain(stream, "302 Found", &headers)
    }

    /// Send a file from the start of a range, slowly, and perhaps not to its end.
    fn send(
        &self,
        stream: &mut TcpStream,
        served: &Served,
        range: Option<String>,
        headers: &[(&str, &str)],
    ) -> std::io::Result<()> {
        let (bytes, size) = (&served.bytes, served.size as usize);
        let whole = self.always_whole.load(Ordering::Relaxed);
        let range = range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let range = range.filter(|_| !whole);
        let (start, end) = range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(size, |end: usize| end + 1);
        if size <= start {
            return plain(stream, "416 Range Not Satisfiable", &[]);
        }
        let status = if whole { "200 OK" } else { "206 Partial Content" };
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        head += &format!("Content-Length: {}\r\n", end - start);
        if !whole {
            head += &format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
        }
        for (key, value) in headers {
            head += &format!("{key}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes())?;
        let shaky = self.shaky.load(Ordering::Relaxed);
        let body = &bytes[start.min(bytes.len())..end.min(bytes.len())];
        let lasts = if shaky == 0 { usize::MAX } else { self.below(2 * shaky) };
        if lasts < body.len() {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        for piece in body[..lasts.min(body.len())].chunks(PIECE) {
            stream.write_all(piece)?;
            if shaky != 0 {
                thread::sleep(Duration::from_micros(300));
            }
        }
        stream.flush()
    }
}

fn plain(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)]) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n");
    for (key, value) in headers {
        head += &format!("{key}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())
}
