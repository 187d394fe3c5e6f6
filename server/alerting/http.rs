//! One HTTP receiver: a JSON body goes there, and anything but a success is an error.

use anyhow::Context as _;
use reqwest::{
    Client, Response,
    header::{CONTENT_TYPE, HeaderMap},
};
use url::Url;

use super::{DELIVERY_TIMEOUT, DeliveryError};
use crate::_core::{http_client, retry_after};

/// The most of a body that is looked at.
const MAX_BODY: usize = 64;

/// Where alerts go. Its address is never shown: with Slack whoever knows it may post.
pub(super) struct Receiver {
    http: Client,
    url: Url,
}

impl Receiver {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let http = http_client::builder().timeout(DELIVERY_TIMEOUT).build()?;
        let url = Url::parse(url).context("the address is not a URL")?;
        Ok(Self { http, url })
    }

    pub(super) async fn post(&self, headers: HeaderMap, body: String) -> Result<(), DeliveryError> {
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .body(body);
        let sent = request.send().await;
        let response = sent.map_err(|error| DeliveryError::Unreachable(error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = retry_after::of(response.headers());
        Err(DeliveryError::Refused {
            status: status.as_u16(),
            said: word(response).await,
            retry_after,
        })
    }
}

/// A body of one plain word. Anything else could be our own request, echoed with its keys.
async fn word(mut response: Response) -> Option<String> {
    let chunk = response.chunk().await.ok()??;
    let word = std::str::from_utf8(&chunk).ok()?.trim();
    let is_plain = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    ((1..=MAX_BODY).contains(&word.len()) && is_plain(word)).then(|| word.to_owned())
}
