//! Viewers over WebRTC: WHEP (draft-ietf-wish-whep-02).
//!
//! A player posts what it can take, gets what it will be sent, and from then on the pictures come
//! as RTP through one UDP port that all of them share. Frames go out one by one, as they are to be
//! shown: a chunk at once makes players stutter.

mod queue;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Extension, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Router, middleware};
use str0m::change::SdpOffer;
use str0m::format::{Codec, PayloadParams};
use str0m::ice::{IceCreds, StunMessage};
use str0m::media::{Direction, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::net::UdpSocket;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use self::queue::Queue;
use crate::connections::Reached;
use crate::error::{ApiError, ServeError};
use crate::extract::Path;
use crate::hub::Hub;
use crate::live::Live;
use crate::socket::open_line;
use crate::stream::Cast;
use crate::watching;

/// Bytes of a datagram at most.
const DATAGRAM: usize = 2048;

/// Datagrams of one viewer that may wait.
const WAITING: usize = 64;

/// Addresses that one viewer may come from: a browser tries each it has.
const ADDRESSES: usize = 16;

/// Who has not connected by then will not.
const PATIENCE: Duration = Duration::from_secs(15);

/// The kind of a session description.
const SDP: &str = "application/sdp";

/// The port that all viewers share, and who they are.
pub(crate) struct Whep {
    socket: UdpSocket,
    /// What viewers are told to reach us at, where it is not what they came to.
    public: Option<IpAddr>,
    routes: Mutex<Routes>,
}

/// Where datagrams go.
#[derive(Default)]
struct Routes {
    /// By our name in a viewer's first datagrams, which is the viewer's name everywhere.
    viewers: HashMap<String, Viewer>,
    /// By where they come from, once that is known.
    addresses: HashMap<SocketAddr, String>,
}

/// A viewer's task, as others reach it.
struct Viewer {
    datagrams: mpsc::Sender<(SocketAddr, Vec<u8>)>,
    /// Addresses that datagrams came from.
    addresses: usize,
    /// Dropped to end it.
    _stay: oneshot::Sender<()>,
}

impl Whep {
    /// Share the port of this address among viewers.
    pub(crate) async fn open(
        address: SocketAddr,
        public: Option<IpAddr>,
    ) -> Result<Arc<Self>, ServeError> {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
        let socket = UdpSocket::bind(address).await;
        let refuse = |source| ServeError::Listen { address: format!("{address} (UDP)"), source };
        let whep =
            Arc::new(Self { socket: socket.map_err(refuse)?, public, routes: Mutex::default() });
        tokio::spawn(whep.clone().sort());
        Ok(whep)
    }

    /// Bring every datagram to its viewer.
    async fn sort(self: Arc<Self>) {
        let mut buffer = [0; DATAGRAM];
        loop {
            // An error is one viewer's, who is gone; the port stays.
            let Ok((len, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let datagram = &buffer[..len];
            let mut routes = self.routes();
            // The first datagrams from an address say whom they are for.
            let named = StunMessage::parse(datagram).ok();
            let named = named.as_ref().and_then(|message| Some(message.split_username()?.0));
            if let Some(name) = named.filter(|_| !routes.addresses.contains_key(&from))
                && let Some(viewer) = routes.viewers.get_mut(name)
                && viewer.addresses < ADDRESSES
            {
                viewer.addresses += 1;
                routes.addresses.insert(from, name.to_owned());
            }
            let name = routes.addresses.get(&from);
            if let Some(viewer) = name.and_then(|name| routes.viewers.get(name)) {
                // Who does not keep up loses some, as the network would do it.
                let _ = viewer.datagrams.try_send((from, datagram.to_vec()));
            }
        }
    }

    /// Send a datagram, through a port of both kinds of addresses if need be.
    async fn send(&self, datagram: &[u8], mut to: SocketAddr) -> io::Result<usize> {
        if let (IpAddr::V4(ip), true) = (to.ip(), self.socket.local_addr()?.is_ipv6()) {
            to.set_ip(ip.to_ipv6_mapped().into());
        }
        self.socket.send_to(datagram, to).await
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forget a viewer; whether there was one.
    fn forget(&self, name: &str) -> bool {
        let mut routes = self.routes();
        routes.addresses.retain(|_, of| of != name);
        routes.viewers.remove(name).is_some()
    }
}

/// The addresses of players.
pub(crate) fn router(whep: Arc<Whep>) -> Router<Arc<Hub>> {
    Router::new()
        .route("/v1/stories/{id}/whep", post(play))
        .route("/v1/watch/{token}/whep", post(watch))
        .route("/v1/stories/{id}/whep/{viewer}", delete(leave))
        .route("/v1/watch/{token}/whep/{viewer}", delete(leave))
        .layer(middleware::from_fn(only_descriptions))
        .layer(Extension(whep))
}

/// What is posted here is a session description.
async fn only_descriptions(request: Request, next: middleware::Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let fits = kind.is_some_and(|kind| kind.split(';').next().map(str::trim) == Some(SDP));
    if request.method() == Method::POST && !fits {
        let message = format!("a session description was expected, {SDP}");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return ApiError::new(status, "invalid_request_error", message).into_response();
    }
    next.run(request).await
}

/// `POST /v1/stories/{id}/whep`
async fn play(
    State(hub): State<Arc<Hub>>,
    Extension(whep): Extension<Arc<Whep>>,
    Extension(reached): Extension<Reached>,
    Path(id): Path<String>,
    offer: String,
) -> Result<Response, ApiError> {
    hub.store.made(&id)?;
    begin(&hub, &whep, reached, &id, &format!("/v1/stories/{id}/whep"), &offer)
}

/// `POST /v1/watch/{token}/whep`
async fn watch(
    State(hub): State<Arc<Hub>>,
    Extension(whep): Extension<Arc<Whep>>,
    Extension(reached): Extension<Reached>,
    Path(token): Path<String>,
    offer: String,
) -> Result<Response, ApiError> {
    let id = watching::story_of(&hub, &token)?;
    begin(&hub, &whep, reached, &id, &format!("/v1/watch/{token}/whep"), &offer)
}

/// `DELETE` of what a viewer was given; nothing else can be done with it, since all candidates are
/// in the answer.
async fn leave(
    Extension(whep): Extension<Arc<Whep>>,
    Path((_, viewer)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    match whep.forget(&viewer) {
        true => Ok(StatusCode::OK),
        false => Err(ApiError::not_found("there is no such viewer")),
    }
}

/// Answer an offer, and show the story from now on.
fn begin(
    hub: &Arc<Hub>,
    whep: &Arc<Whep>,
    Reached(reached): Reached,
    id: &str,
    place: &str,
    offer: &str,
) -> Result<Response, ApiError> {
    open_line(hub)?;
    let live = hub.live(id).ok_or_else(|| ApiError::not_found("nobody directs this story now"))?;
    let refuse = |error: RtcError| ApiError::invalid(format!("the offer cannot be taken: {error}"));
    let offer = SdpOffer::from_sdp_string(offer);
    let offer = offer.map_err(|error| ApiError::invalid(format!("this is no offer: {error}")))?;
    let local = whep.socket.local_addr().map_err(|_| ApiError::defect())?;
    let here = SocketAddr::new(whep.public.unwrap_or(reached.ip().to_canonical()), local.port());
    let credentials = IceCreds::new();
    let name = credentials.ufrag.clone();
    let config = Rtc::builder().set_ice_lite(true).set_local_ice_credentials(credentials);
    let mut rtc = config.clear_codecs().enable_h264(true).build(Instant::now());
    let candidate = Candidate::host(here, "udp").map_err(|_| ApiError::defect())?;
    rtc.add_local_candidate(candidate);
    let answer = rtc.sdp_api().accept_offer(offer).map_err(refuse)?;
    let (sender, datagrams) = mpsc::channel(WAITING);
    let (stay, stop) = oneshot::channel();
    let viewer = Viewer { datagrams: sender, addresses: 0, _stay: stay };
    whep.routes().viewers.insert(name.clone(), viewer);
    let fps = u64::from(hub.recipe().frames_per_second());
    let showing = Showing {
        whep: whep.clone(),
        rtc,
        here,
        mid: None,
        connected: false,
        queue: Queue::new(fps),
    };
    let (hub, whep, viewer) = (hub.clone(), whep.clone(), name.clone());
    tokio::spawn(async move {
        hub.lines.fetch_add(1, Ordering::AcqRel);
        hub.metrics.viewers.inc();
        // The other end may leave at any moment; that is how viewers end.
        let _ = showing.show(&live, datagrams, stop).await;
        whep.forget(&viewer);
        hub.metrics.viewers.dec();
        hub.lines.fetch_sub(1, Ordering::AcqRel);
    });
    let headers =
        [(header::CONTENT_TYPE, SDP.to_owned()), (header::LOCATION, format!("{place}/{name}"))];
    Ok((StatusCode::CREATED, headers, answer.to_sdp_string()).into_response())
}

/// One viewer's connection.
struct Showing {
    whep: Arc<Whep>,
    rtc: Rtc,
    /// Where the viewer thinks we are.
    here: SocketAddr,
    /// The pictures.
    mid: Option<Mid>,
    /// Whether the viewer can see them.
    connected: bool,
    queue: Queue,
}

impl Showing {
    /// Show what is shown, until either end leaves.
    async fn show(
        mut self,
        live: &Live,
        mut datagrams: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), RtcError> {
        let (_, newest, mut casts) = live.join();
        let (mut newest, given_up) = (newest, Instant::now() + PATIENCE);
        loop {
            let connected = self.connected;
            let Some(wake) = self.send().await? else { return Ok(()) };
            if !connected && self.connected {
                newest.iter().for_each(|shown| self.queue.push(shown));
            }
            if !self.connected && given_up <= Instant::now() {
                return Ok(());
            }
            let due = self.queue.due();
            let wake = due.map_or(wake, |due| due.min(wake));
            let wake = if self.connected { wake } else { wake.min(given_up) };
            tokio::select! {
                datagram = datagrams.recv() => {
                    let Some((source, contents)) = datagram else { return Ok(()) };
                    // What cannot be read was not meant for us.
                    if let Ok(contents) = contents.as_slice().try_into() {
                        let (proto, destination) = (Protocol::Udp, self.here);
                        let received = Receive { proto, source, destination, contents };
                        let input = Input::Receive(Instant::now(), received);
                        if self.rtc.accepts(&input) {
                            self.rtc.handle_input(input)?;
                        }
                    }
                }
                cast = casts.recv() => match cast {
                    Ok(Cast::Chunk(shown)) => {
                        if self.connected {
                            self.queue.push(&shown);
                        }
                        newest = Some(shown);
                    }
                    Ok(Cast::Said(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(Cast::Over) | Err(RecvError::Closed) => {
                        self.rtc.disconnect();
                        self.send().await?;
                        return Ok(());
                    }
                },
                () = sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
                _ = &mut stop => return Ok(()),
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                self.show_one()?;
            }
        }
    }

    /// Send what there is to be sent; when to look again, or nothing if the viewer is gone.
    async fn send(&mut self) -> Result<Option<Instant>, RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(wake) => return Ok(self.rtc.is_alive().then_some(wake)),
                Output::Transmit(datagram) => {
                    // A datagram that the system refuses is lost like any other.
                    let _ = self.whep.send(&datagram.contents, datagram.destination).await;
                }
                Output::Event(Event::MediaAdded(media))
                    if media.direction == Direction::SendOnly =>
                {
                    self.mid = self.mid.or(Some(media.mid));
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::IceConnectionStateChange(
                    IceConnectionState::Disconnected,
                )) => {
                    return Ok(None);
                }
                // A key frame is asked for: every chunk begins with one.
                Output::Event(_) => {}
            }
        }
    }

    /// Send the next frame.
    fn show_one(&mut self) -> Result<(), RtcError> {
        let Some((frame, time)) = self.queue.pop() else { return Ok(()) };
        let Some(writer) = self.mid.and_then(|mid| self.rtc.writer(mid)) else { return Ok(()) };
        let Some(params) = best(writer.payload_params()) else { return Ok(()) };
        writer.write(params, Instant::now(), time, frame.to_vec())
    }
}

/// Among what a viewer takes, H.264 in its plainest form.
fn best<'a>(all: impl Iterator<Item = &'a PayloadParams>) -> Option<str0m::media::Pt> {
    let plain = |params: &&PayloadParams| {
        let format = params.spec().format;
        let packets = format.packetization_mode == Some(1);
        (packets, format.profile_level_id.is_some_and(|profile| profile >> 8 == 0x42e0))
    };
    let all = all.filter(|params| params.spec().codec == Codec::H264);
    all.max_by_key(plain).map(|params| params.pt())
}
