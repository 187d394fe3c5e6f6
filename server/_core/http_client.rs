//! HTTP clients: all speak TLS by ring, follow no redirect and ask no proxy, because what they carry (keys,
//! tokens, signed alerts) is for one server alone.

use reqwest::{Client, ClientBuilder, redirect::Policy};

/// Makes ring what all TLS of this process is done with; a provider that was installed before stays.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client to be finished.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn builder() -> ClientBuilder {
    install_tls();
    Client::builder()
        .user_agent(concat!("modelramp/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
}
