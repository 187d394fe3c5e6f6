//! What several integration tests share.

pub(crate) mod app;
pub(crate) mod calls;
pub(crate) mod checked;
pub(crate) mod conformance;
pub(crate) mod log;
pub(crate) mod packages;
pub(crate) mod postgres;
#[expect(clippy::disallowed_methods, reason = "it runs in real time")]
pub(crate) mod process;
pub(crate) mod recorded_app;
pub(crate) mod scripted_upstream;
pub(crate) mod stored_rollout;
pub(crate) mod trpc_procedures;
pub(crate) mod trusty;
pub(crate) mod vectors;
pub(crate) mod wait;

/// A client of the server's own kind: it follows no redirect and asks no proxy.
pub(crate) fn http_client() -> reqwest::Client {
    modelramp::_core::http_client::builder().build().unwrap()
}
