//! `/metrics`, as Prometheus reads it: for whoever has the token, or, where there is none, for programs
//! on the server's own machine.
//!
//! A proxy on the same machine comes from a loopback address too, and whoever asks it is anybody. So
//! without a token there must be no sign of one: no setting that names a proxy, and no header that
//! proxies add or keep. One that asks for the server's own address and adds nothing shows no sign
//! (docs/monitoring.md).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::_core::auth::bearer;

/// Writes the metrics as they are now.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Headers by which proxies say for whom they ask, and the one that pages of other sites bring; beside
/// them all with [`FOREIGN_PARTS`] in their names.
const FOREIGN_HEADERS: [&str; 6] = [
    "cf-connecting-ip",
    "forwarded",
    "origin",
    "via",
    "x-amzn-trace-id",
    "x-real-ip",
];
/// As in `X-Forwarded-For`, `X-Forwarded-Port`, `X-Original-Forwarded-For`, `True-Client-IP`,
/// `X-Cluster-Client-IP`, `X-Envoy-External-Address`.
const FOREIGN_PARTS: [&str; 4] = ["forwarded-", "client-ip", "clientip", "x-envoy-"];
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who may read the metrics.
#[derive(Clone)]
pub enum Readers {
    /// Whoever sends this bearer token.
    Token(SecretString),
    /// Programs on the same machine.
    ThisMachine,
    /// Nobody: there is a proxy, through which anybody would look like a program on this machine.
    Nobody,
}

/// The route.
pub fn routes(render: Render, readers: Readers) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state((render, readers))
}

async fn metrics(
    State((render, readers)): State<(Render, Readers)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    match readers.check(peer.ip(), &headers) {
        Ok(()) => {
            let content_type = [(header::CONTENT_TYPE, CONTENT_TYPE)];
            (uncached, content_type, render()).into_response()
        }
        Err((StatusCode::UNAUTHORIZED, reason)) => {
            let wanted = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, uncached, wanted, reason).into_response()
        }
        Err((status, reason)) => (status, uncached, reason).into_response(),
    }
}

impl Readers {
    fn check(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        match self {
            Self::Token(token) if is_token(headers, token) => Ok(()),
            Self::Token(_) => Err((
                StatusCode::UNAUTHORIZED,
                "expected `Authorization: Bearer …` with the token in METRICS_TOKEN\n",
            )),
            Self::ThisMachine if is_this_machine(peer, headers) => Ok(()),
            Self::ThisMachine | Self::Nobody => Err((
                StatusCode::FORBIDDEN,
                "without METRICS_TOKEN only programs on the server's machine may read this, and only \
                 where no proxy stands before the server; set METRICS_TOKEN, and send it as a bearer \
                 token\n",
            )),
        }
    }
}

/// Digests are compared, so that the time taken says nothing about the token.
fn is_token(headers: &HeaderMap, token: &SecretString) -> bool {
    bearer(headers)
        .is_some_and(|given| Sha256::digest(given) == Sha256::digest(token.expose_secret()))
}

/// Whether a request came straight from this machine, and no page of a browser had it sent under a
/// name of its own for a loopback address.
fn is_this_machine(peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    peer.to_canonical().is_loopback()
        && host.is_some_and(names_loopback)
        && !headers.keys().any(|name| is_foreign(name.as_str()))
}

fn is_foreign(header: &str) -> bool {
    FOREIGN_HEADERS.contains(&header) || FOREIGN_PARTS.iter().any(|part| header.contains(part))
}

/// Whether a `Host` is a loopback name or address, with or without a port, and nothing else.
fn names_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "0"),
    };
    let v6 = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_loopback = match v6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    };
    (is_loopback || name.eq_ignore_ascii_case("localhost")) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(readers: &Readers, peer: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        match readers.check(peer.parse().unwrap(), &headers) {
            Ok(()) => 200,
            Err((status, _)) => status.as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_this_machine_reads_and_never_through_a_proxy() {
        let of = |peer, headers: &[_]| status(&Readers::ThisMachine, peer, headers);
        for host in [
            "localhost:3000",
            "127.0.0.1:3000",
            "127.0.0.9",
            "[::1]:3000",
            "[::1]",
        ] {
            assert_eq!(of("127.0.0.1", &[("host", host)]), 200, "{host}");
        }
        let own = ("host", "127.0.0.1:3000");
        assert_eq!(of("::ffff:127.0.0.1", &[own]), 200);
        assert_eq!(of("::1", &[own]), 200);
        assert_eq!(of("10.0.0.7", &[own]), 403);
        for host in [
            "evil.example",
            "localhost:4712@evil",
            "[::1]evil",
            "[::1",
            "::1",
            "127.0.0.1.nip.io",
            "localhost:",
            "localhost.",
        ] {
            assert_eq!(of("127.0.0.1", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(of("127.0.0.1", &[]), 403);
        for header in FOREIGN_HEADERS.into_iter().chain([
            "x-forwarded-for",
            "x-forwarded-port",
            "x-original-forwarded-for",
            "true-client-ip",
            "x-cluster-client-ip",
            "x-azure-clientip",
            "x-envoy-external-address",
        ]) {
            assert_eq!(of("127.0.0.1", &[own, (header, "x")]), 403, "{header}");
        }
        assert_eq!(of("127.0.0.1", &[own, ("x-request-id", "x")]), 200);
        assert_eq!(status(&Readers::Nobody, "127.0.0.1", &[own]), 403);
    }

    #[test]
    fn with_a_token_it_alone_counts() {
        let readers = Readers::Token("a-long-token".into());
        let of = |headers: &[_]| status(&readers, "10.0.0.7", headers);
        assert_eq!(of(&[("authorization", "Bearer a-long-token")]), 200);
        assert_eq!(of(&[("authorization", "bearer a-long-token")]), 200);
        for wrong in [
            "Bearer a-long-toke",
            "Bearer ",
            "a-long-token",
            "Basic a-long-token",
        ] {
            assert_eq!(of(&[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(status(&readers, "127.0.0.1", &[("host", "localhost")]), 401);
    }
}
