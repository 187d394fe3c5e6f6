//! How the sign-in service is asked: without following redirects, for ten seconds at most, and no answer of more
//! than a mebibyte is read.

use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::_core::http_client;

/// How long it has for one answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer.
const MAX_BYTES: usize = 1024 * 1024;

/// A client for it.
pub(super) fn client() -> anyhow::Result<Client> {
    let http = http_client::builder().timeout(PATIENCE).build();
    http.context("cannot make a client for the sign-in service")
}

/// What it answers, where that is right and of this form.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    let (status, bytes) = answer(request).await?;
    read(status, &bytes)
}

/// What it answers, whatever that is.
pub(super) async fn answer(request: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    // Not the error's own words, in which the address may carry more than it should.
    let sent = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = sent.status();
    let mut bytes = Vec::new();
    let mut body = sent.bytes_stream();
    while let Some(chunk) = body.try_next().await.map_err(reqwest::Error::without_url)? {
        anyhow::ensure!(
            bytes.len() + chunk.len() <= MAX_BYTES,
            "the answer is longer than {MAX_BYTES} bytes"
        );
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, bytes))
}

/// What such an answer says.
pub(super) fn read<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> anyhow::Result<T> {
    anyhow::ensure!(status.is_success(), "it answered {status}");
    // Not what it says, in which a token may be.
    serde_json::from_slice(bytes).map_err(|error| {
        anyhow::anyhow!(
            "it answered something else at line {}, column {}",
            error.line(),
            error.column()
        )
    })
}
