//! Who may come in: keys, the page a browser comes from, and the name it calls us by.
//!
//! A key comes as `Authorization: Bearer KEY`, as the cookie the studio sets, or, for browsers'
//! WebSockets, as a subprotocol `shotstream-api-key.KEY`. Keys are compared by their hashes, so
//! nothing can be learnt from the time it takes.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shotstream_story::record::Hash;

use crate::callers::{Caller, Keyed};
use crate::connections::Peer;
use crate::error::ApiError;
use crate::hub::Hub;

/// The cookie that carries the studio's key.
pub(crate) const COOKIE: &str = "shotstream_key";

/// What stands before a key in a subprotocol.
const SUBPROTOCOL_KEY: &str = "shotstream-api-key.";

/// What anybody may see: the page, whether the server is well, and what a watch link opens.
const OPEN: [&str; 7] =
    ["/studio/", "/watch/", "/v1/watch/", "/healthz", "/readyz", "/login", "/openapi.json"];

/// The doorman: every request passes here.
pub(crate) async fn check(
    State(hub): State<Arc<Hub>>,
    mut request: Request,
    next: Next,
) -> Response {
    let span = hub.spans.request(&request);
    let key = key_of(request.headers()).map(|key| Hash::of(key.as_bytes()));
    let key = key.filter(|&key| is_known(&hub, key));
    let answer = match admit(&hub, &request, key).and_then(|()| hold_back(&hub, &request, key)) {
        Ok(()) => {
            request.extensions_mut().insert(key.map(Keyed));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    span.answered(answer.status());
    answer
}

fn admit(hub: &Hub, request: &Request, key: Option<Hash>) -> Result<(), ApiError> {
    let (headers, path) = (request.headers(), request.uri().path());
    if [header::HOST, header::ORIGIN].iter().any(|name| 1 < headers.get_all(name).iter().count()) {
        return Err(ApiError::invalid("a request has one Host and one Origin"));
    }
    let host = text(headers, header::HOST).unwrap_or_default();
    let forbidden =
        |message: &str| ApiError::new(StatusCode::FORBIDDEN, "permission_error", message);
    // Without keys only this machine and plain addresses are served: a page elsewhere could give
    // us a name of its own and so pass for one of ours.
    if hub.config.keys.is_empty() && !is_plain(host_name(host)) {
        return Err(forbidden(
            "without keys the server answers to localhost and IP addresses only",
        ));
    }
    if let Some(origin) = text(headers, header::ORIGIN) {
        let own = origin.split_once("://").is_some_and(|(_, place)| place == host);
        if !own && !hub.config.origins.iter().any(|allowed| allowed == origin) {
            return Err(forbidden("this page may not talk to the server, see --origin"));
        }
    }
    let open = path == "/" || OPEN.iter().any(|open| path.starts_with(open));
    if open || hub.config.keys.is_empty() || key.is_some() {
        return Ok(());
    }
    let message = "a key was expected: Authorization: Bearer KEY";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message))
}

/// Refuse a caller who asks too often.
fn hold_back(hub: &Hub, request: &Request, key: Option<Hash>) -> Result<(), ApiError> {
    let peer = || request.extensions().get::<Peer>().map(|peer| Caller::Address(peer.0.ip()));
    let Some(caller) = key.map(Caller::Key).or_else(peer) else { return Ok(()) };
    match hub.callers.may_ask(&caller) {
        true => Ok(()),
        false => {
            hub.metrics.held_back.inc();
            let message = "too many requests, ask again in a second";
            Err(ApiError::too_many("rate_limit_error", message, 1))
        }
    }
}

/// Whether this is the hash of one of the server's keys.
pub(crate) fn is_known(hub: &Hub, key: Hash) -> bool {
    hub.config.keys.iter().any(|known| known.hash == key)
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = text(headers, header::AUTHORIZATION).and_then(|it| it.strip_prefix("Bearer "));
    let cookie = || {
        let mut cookies = text(headers, header::COOKIE)?.split(';').map(str::trim);
        cookies.find_map(|cookie| cookie.strip_prefix(COOKIE)?.strip_prefix('='))
    };
    let protocol = || {
        let protocols = text(headers, header::SEC_WEBSOCKET_PROTOCOL)?;
        protocols.split(',').find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL_KEY))
    };
    bearer.or_else(cookie).or_else(protocol)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_plain(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_addresses_are_plain() {
        for host in ["localhost:80", "127.0.0.1:8080", "[::1]:80", "192.168.0.7", "a.localhost"] {
            assert!(is_plain(host_name(host)), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", ""] {
            assert!(!is_plain(host_name(host)), "{host}");
        }
    }

    #[test]
    fn a_key_is_found_wherever_it_may_stand() {
        let headers = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert_eq!(key_of(&headers(header::AUTHORIZATION, "Bearer abc")), Some("abc"));
        assert_eq!(key_of(&headers(header::AUTHORIZATION, "Basic abc")), None);
        assert_eq!(key_of(&headers(header::COOKIE, "a=b; shotstream_key=abc")), Some("abc"));
        let protocols = "shotstream.v1, shotstream-api-key.abc";
        assert_eq!(key_of(&headers(header::SEC_WEBSOCKET_PROTOCOL, protocols)), Some("abc"));
    }
}
