//! The live server: stories that are directed while they are made, over HTTP and WebSocket, and
//! the studio in the browser.
//!
//! One thread directs each story (`director.rs`), one set of slots admits them (`hub.rs`), and
//! every viewer of a story gets the same bytes (`stream.rs`). The protocol is in `docs/PROTOCOL.md`.

pub mod protocol;

pub mod view;

mod callers;

mod connections;

mod door;

mod error;

mod exports;

mod extract;

mod film;

mod films;

mod hub;

mod idle;

mod director;

mod live;

mod metrics;

mod openapi;

mod page;

mod pictures;

mod quota;

mod routes;

mod shapes;

mod socket;

mod spans;

mod stories;

mod strain;

mod stream;

mod videos;

mod watching;

#[cfg(feature = "whep")]
mod whep;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shotstream_story::teller::Teller;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

pub use crate::error::ServeError;
use crate::hub::Hub;
pub use crate::quota::Key;

/// How long a drained server waits for what is being saved and for lines to close.
const DRAIN: Duration = Duration::from_secs(20);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// Where the stories lie.
    pub folder: PathBuf,
    /// The keys; without any, everybody who reaches the server may use it.
    pub keys: Vec<Key>,
    /// Pages elsewhere that may talk to the server, as browsers name them.
    pub origins: Vec<String>,
    /// Stories that may be directed at once; as many as the model keeps up with where nothing is
    /// said.
    pub sessions: Option<usize>,
    /// Lines that may be open at once.
    pub lines: usize,
    /// Connections that may be open at once, lines among them.
    pub connections: usize,
    /// Requests a second of one caller, on average.
    pub rate: Option<NonZeroU32>,
    /// How long a story without a director keeps its slot.
    pub linger: Duration,
    /// How long a connection may stay open without a request.
    pub keep_alive: Duration,
    /// Where traces are sent, if the environment does not say so.
    #[cfg(feature = "otlp")]
    pub otlp: Option<String>,
    /// Where viewers over WebRTC reach the server, if that is not the address they came to.
    #[cfg(feature = "whep")]
    pub whep_address: Option<std::net::IpAddr>,
}

/// A server that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stories that may be directed at once.
    pub sessions: usize,
}

/// Serve until the system asks to stop; `up` is called when the server is ready.
///
/// # Errors
/// When the address or the folder cannot be used, or the model cannot be run.
pub fn serve(
    config: Config,
    teller: Arc<dyn Teller>,
    up: impl FnOnce(Up),
) -> Result<(), ServeError> {
    let system = |task| move |source| ServeError::System { task, source };
    #[cfg(feature = "otlp")]
    let spans = spans::Spans::open(config.otlp.as_deref())?;
    #[cfg(not(feature = "otlp"))]
    let spans = spans::Spans;
    let hub = Arc::new(Hub::open(config, teller, spans)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serve")
        .enable_all()
        .build();
    let runtime = runtime.map_err(system("start the server's threads"))?;
    let served = runtime.block_on(async {
        let address = hub.config.address;
        let refuse = |source| ServeError::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        #[cfg(feature = "whep")]
        let more = whep::router(whep::Whep::open(address, hub.config.whep_address).await?);
        #[cfg(not(feature = "whep"))]
        let more = axum::Router::new();
        videos::resume(&hub)?;
        up(Up { address, sessions: hub.num_slots });
        let (draining, router) = (hub.clone(), routes::router(hub.clone(), more));
        let stop = async move {
            asked_to_stop().await;
            draining.drain();
        };
        tokio::select! {
            () = connections::serve(&hub, listener, router, stop) => {}
            // Connections that stay open without saying anything are left.
            () = drained(&hub) => {}
        }
        drained(&hub).await;
        Ok(())
    });
    hub.spans.close();
    served
}

/// Resolves when the server is to stop, nothing is being saved any more, and every line is closed
/// or had its time.
async fn drained(hub: &Hub) {
    while !hub.draining.load(Ordering::Acquire) {
        sleep(Duration::from_millis(50)).await;
    }
    let deadline = Instant::now() + DRAIN;
    let busy = || hub.is_busy() || 0 < hub.lines.load(Ordering::Acquire);
    while busy() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Resolves when the system asks the program to stop.
async fn asked_to_stop() {
    let interrupted = async {
        // Where signals cannot be heard, only the other way to stop is left.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let ended = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let ended = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = ended => {}
    }
}
