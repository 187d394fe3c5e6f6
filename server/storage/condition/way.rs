//! The way to a server of PostgreSQL, as it is seen from here.
//!
//! What the server itself says of its client is of whoever asks it, which may be a pooler (PgBouncer) that stands
//! beside it: the way to that one is ours, and may leave this machine as it is.

use std::{net::IpAddr, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};

/// The longest that a server may take to say whether it speaks TLS.
const PATIENCE: Duration = Duration::from_secs(5);
/// `SSLRequest` of PostgreSQL's protocol: its length, and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionPath {
    /// Whether it leaves this machine.
    pub(super) is_remote: bool,
    /// Whether nobody on it can read along.
    pub(super) is_encrypted: bool,
}

impl ConnectionPath {
    /// That of connections with these options.
    pub(super) async fn to(options: &PgConnectOptions) -> Self {
        if options.get_socket().is_some() || options.get_host().starts_with('/') {
            return Self {
                is_remote: false,
                is_encrypted: false,
            };
        }
        let (host, port) = (options.get_host(), options.get_port());
        Self {
            is_remote: is_remote(host, port).await,
            is_encrypted: match options.get_ssl_mode() {
                PgSslMode::Disable | PgSslMode::Allow => false,
                PgSslMode::Prefer => speaks_tls(host, port).await,
                PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
            },
        }
    }
}

/// Whether one of the addresses of a name is another machine's; a name that leads nowhere may.
async fn is_remote(host: &str, port: u16) -> bool {
    let Ok(addresses) = lookup_host((host, port)).await else {
        return true;
    };
    for address in addresses {
        if !is_own(address.ip()).await {
            return true;
        }
    }
    false
}

/// Whether this machine sends to an address from that address: then it is its own. Nothing is sent.
async fn is_own(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let own = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect((address, 9)).await?;
        socket.local_addr()
    };
    let own: std::io::Result<_> = own.await;
    own.is_ok_and(|own| own.ip() == address)
}

/// Whether whoever listens there speaks TLS, so that a connection that prefers it has it.
async fn speaks_tls(host: &str, port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    let answer = timeout(PATIENCE, asked).await;
    matches!(answer, Ok(Ok(b'S')))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Somebody who answers so whether it speaks TLS, with the options of a connection there.
    async fn asked(answer: &'static [u8], mode: PgSslMode) -> ConnectionPath {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(listener.local_addr().unwrap().port())
            .ssl_mode(mode);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            stream.write_all(answer).await.unwrap();
        };
        tokio::select! {
            biased;
            way = ConnectionPath::to(&options) => way,
            () = async { serve.await; std::future::pending().await } => unreachable!(),
        }
    }

    #[tokio::test]
    async fn it_is_encrypted_where_whoever_is_asked_first_speaks_tls() {
        for (answer, mode, expected) in [
            (&b"S"[..], PgSslMode::Prefer, true),
            (b"N", PgSslMode::Prefer, false),
            (b"", PgSslMode::Prefer, false),
            (b"S", PgSslMode::Disable, false),
            (b"S", PgSslMode::Allow, false),
            (b"N", PgSslMode::VerifyFull, true),
        ] {
            let way = asked(answer, mode).await;
            assert_eq!(
                (way.is_encrypted, way.is_remote),
                (expected, false),
                "{mode:?}"
            );
        }
    }

    #[tokio::test]
    async fn another_machines_address_is_remote_whatever_stands_there() {
        // RFC 5737: nobody has it.
        for host in ["192.0.2.1", "no-such-name.invalid"] {
            assert!(is_remote(host, 5432).await, "{host}");
        }
        for host in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(!is_remote(host, 5432).await, "{host}");
        }
        let socket = PgConnectOptions::new_without_pgpass().socket("/run/postgresql");
        assert!(!ConnectionPath::to(&socket).await.is_remote);
    }
}
