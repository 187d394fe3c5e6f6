//! What the sign-in service publishes of itself (OpenID Connect Discovery 1.0): where its ends are, and by which
//! keys it signs.
//!
//! It is kept for an hour, and its keys are asked for again where none fits a token, at most once a minute. Those
//! who need it at once share one question, and a question that failed is not asked again for some seconds: a service
//! that hangs costs the first who sign in a wait, and nobody behind them.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jsonwebtoken::jwk::Jwk;
use parking_lot::Mutex;
use reqwest::Client;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::asking::{self, PATIENCE};
use crate::_core::masked::masked;

/// For so long what it publishes is taken as it was.
const KEPT: Duration = Duration::from_secs(3600);
/// Between two questions for keys because none fitted.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// For so long a question that failed is not asked again.
const FAILED_KEPT: Duration = Duration::from_secs(5);

/// Its document.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Published {
    pub(super) issuer: String,
    #[serde(deserialize_with = "address")]
    pub(super) authorization_endpoint: Url,
    #[serde(deserialize_with = "address")]
    pub(super) token_endpoint: Url,
    #[serde(deserialize_with = "address")]
    jwks_uri: Url,
    #[serde(default, deserialize_with = "maybe_address")]
    pub(super) userinfo_endpoint: Option<Url>,
    /// `client_secret_basic` where nothing is said.
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(D::Error::custom)
}

fn maybe_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    address(deserializer).map(Some)
}

/// What was published at one time.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    pub(super) published: Arc<Published>,
    pub(super) keys: Vec<Jwk>,
    at: Instant,
}

/// Why it is not known, for all who asked.
#[derive(Clone, Debug)]
pub(super) struct Unknown(Arc<anyhow::Error>);

impl From<Unknown> for anyhow::Error {
    fn from(unknown: Unknown) -> Self {
        anyhow::anyhow!("{:#}", unknown.0)
    }
}

type Answer = Result<Arc<PublishedKeys>, Unknown>;
type Question = Shared<BoxFuture<'static, Answer>>;

#[derive(Default)]
struct Memory {
    known: Option<Arc<PublishedKeys>>,
    failed: Option<(Instant, Unknown)>,
    /// From when keys may be asked for again.
    keys_from: Option<Instant>,
    /// What is being asked, and since when.
    question: Option<(Instant, Question)>,
}

impl Memory {
    /// What is being asked, or this from now on. One that everybody left behind is not waited for.
    fn ask(&mut self, question: impl FnOnce() -> Question) -> Question {
        let is_current = |at: Instant| at.elapsed() < 2 * PATIENCE;
        self.question.take_if(|(at, _)| !is_current(*at));
        let ask = || (Instant::now(), question());
        self.question.get_or_insert_with(ask).1.clone()
    }
}

/// What is known of the service; cheap to clone.
#[derive(Clone)]
pub(super) struct Book {
    http: Client,
    /// As the settings name it.
    issuer: Arc<str>,
    memory: Arc<Mutex<Memory>>,
}

impl Book {
    pub(super) fn new(http: Client, issuer: &str) -> Self {
        Self {
            http,
            issuer: issuer.into(),
            memory: Arc::default(),
        }
    }

    /// What is known, asked anew where that is too old.
    pub(super) async fn known(&self) -> Answer {
        let question = {
            let mut memory = self.memory.lock();
            if let Some(known) = memory.known.as_ref().filter(|it| it.at.elapsed() < KEPT) {
                return Ok(known.clone());
            }
            if let Some((at, unknown)) = &memory.failed
                && at.elapsed() < FAILED_KEPT
            {
                return Err(unknown.clone());
            }
            memory.ask(|| self.question(None))
        };
        question.await
    }

    /// What is known now, where the keys of `than` did not fit; the same where they were just asked for.
    pub(super) async fn newer(&self, than: &Arc<PublishedKeys>) -> Answer {
        let question = {
            let mut memory = self.memory.lock();
            if let Some(known) = memory.known.as_ref().filter(|it| !Arc::ptr_eq(it, than)) {
                return Ok(known.clone());
            }
            let now = Instant::now();
            let is_asked = memory.question.is_some();
            if !is_asked && memory.keys_from.is_some_and(|from| now < from) {
                return Ok(than.clone());
            }
            if !is_asked {
                memory.keys_from = Some(now + KEYS_AGAIN);
            }
            memory.ask(|| self.question(Some(than.clone())))
        };
        question.await
    }

    /// Asks for all of it, or for the keys alone where the rest is known; notes what came.
    fn question(&self, rest: Option<Arc<PublishedKeys>>) -> Question {
        let book = self.clone();
        let question = async move {
            let asked = match &rest {
                Some(rest) => book.keys(rest).await,
                None => book.document().await,
            };
            let answer = asked.map(Arc::new).map_err(|it| Unknown(Arc::new(it)));
            let mut memory = book.memory.lock();
            memory.question = None;
            match &answer {
                Ok(known) => {
                    memory.known = Some(known.clone());
                    memory.failed = None;
                }
                Err(_) if rest.is_some() => {
                    memory.keys_from = Some(Instant::now() + FAILED_KEPT);
                }
                Err(unknown) => memory.failed = Some((Instant::now(), unknown.clone())),
            }
            answer
        };
        question.boxed().shared()
    }

    async fn document(&self) -> anyhow::Result<PublishedKeys> {
        let issuer = &*self.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let published: Published = asking::json(self.http.get(&url)).await?;
        anyhow::ensure!(
            is_same(&published.issuer, issuer),
            "`{url}` is of the issuer `{}`, and OIDC_ISSUER is `{issuer}`",
            published.issuer
        );
        let is_secret = issuer.starts_with("https:");
        let ends = [
            &published.authorization_endpoint,
            &published.token_endpoint,
            &published.jwks_uri,
        ];
        for end in ends.into_iter().chain(&published.userinfo_endpoint) {
            anyhow::ensure!(
                matches!(end.scheme(), "https") || !is_secret && end.scheme() == "http",
                "`{url}` names `{}`, which is not HTTPS",
                masked(end.as_str())
            );
        }
        let keys = self.keys_at(&published.jwks_uri).await?;
        Ok(PublishedKeys {
            published: Arc::new(published),
            keys,
            at: Instant::now(),
        })
    }

    async fn keys(&self, rest: &PublishedKeys) -> anyhow::Result<PublishedKeys> {
        Ok(PublishedKeys {
            published: rest.published.clone(),
            keys: self.keys_at(&rest.published.jwks_uri).await?,
            at: rest.at,
        })
    }

    async fn keys_at(&self, url: &Url) -> anyhow::Result<Vec<Jwk>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = asking::json(self.http.get(url.clone())).await?;
        // One of a kind that is not known here is of no use, and no reason to refuse the others.
        let keys = set.keys.into_iter();
        Ok(keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect())
    }
}

/// Settings keep no slash at the end of an address, and some services have one.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}
