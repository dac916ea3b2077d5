//! Connections: how many there may be, and how long one may say nothing.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::hub::Hub;
use crate::idle::{Answer, Work};

/// A connection whose first request does not begin, or whose requests do not finish their heads,
/// for so long is closed.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a request's head at most.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// How long to wait when the system has no connection to give.
const NO_MORE: Duration = Duration::from_millis(200);

/// Files that stories and films may have open beside the connections.
const OTHER_FILES: u64 = 256;

/// The connections there may be: as many as wished, or as the system has files for.
pub(crate) fn most(wished: usize) -> usize {
    // A system that does not say has other limits.
    match rlimit::increase_nofile_limit(wished as u64 + OTHER_FILES) {
        Ok(files) => wished.min(files.saturating_sub(OTHER_FILES).max(1) as usize),
        Err(_) => wished,
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Which of our addresses it came to.
#[cfg_attr(not(feature = "whep"), expect(dead_code, reason = "viewers over WebRTC are told"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached(pub(crate) SocketAddr);

/// Answer every connection until `stop`, then let those that are open end.
pub(crate) async fn serve(
    hub: &Arc<Hub>,
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(most(hub.config.connections)));
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    let mut limits = http.http1();
    limits.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    limits.max_buf_size(MAX_HEAD_BYTES);
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // The one who came is gone already, or there are no files left: others end first.
                Err(_) => {
                    sleep(NO_MORE).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            hub.metrics.turned_away.inc();
            turn_away(stream);
            continue;
        };
        // Without this the kernel would wait for more before it sends a small message.
        let _ = stream.set_nodelay(true);
        let Ok(reached) = stream.local_addr() else { continue };
        let router = TowerToHyperService::new(router.clone());
        let (work, keep_alive) = (Work::new(), hub.config.keep_alive);
        let begun = work.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(Reached(reached));
            let (busy, answer) = (begun.begin(), router.call(request));
            async {
                let answer = answer.await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(answer.map(|body| Answer { body, _busy: busy }))
            }
        });
        let (http, watcher) = (http.clone(), graceful.watcher());
        let open = hub.metrics.connections.clone();
        open.inc();
        tokio::spawn(async move {
            let _place = place;
            // The clock of a request's head starts with its first byte, so that has one of its own.
            if timeout(HEAD_PATIENCE, stream.peek(&mut [0])).await.is_ok() {
                let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), answer);
                tokio::select! {
                    // The other end may do what it likes.
                    _ = watcher.watch(connection.into_owned()) => {}
                    () = work.idle_for(keep_alive) => {}
                }
            }
            open.dec();
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Say that there is no room, without waiting for what would be asked.
fn turn_away(stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\n\
        connection: close\r\ncontent-length: 0\r\n\r\n";
    if let Ok(mut stream) = stream.into_std() {
        // It fits into what the kernel buffers, or the other end is gone.
        let _ = stream.write(ANSWER);
    }
}
