//! The sign-in service, as this server asks it: where its ends are, by which keys it signs, and what it gives
//! for a code.
//!
//! What it publishes (OpenID Connect Discovery 1.0) is kept for an hour, and its keys are asked for again
//! where a token names one that is not known, at most once a minute. It is asked without following
//! redirects, for ten seconds at most, and no answer of more than a mebibyte is read.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use jsonwebtoken::jwk::Jwk;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    _core::{
        auth::oidc::{self, Attempt, Expected, Person, WrongToken},
        http_client,
    },
    config::OidcConfig,
};

/// How long it has for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer.
const MAX_BYTES: usize = 1024 * 1024;
/// For so long what it publishes is taken as it was.
const KEPT: Duration = Duration::from_secs(3600);
/// Between two questions for keys that a token names and that are not known.
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// Why somebody cannot be signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It does not answer, or not as the specification has it.
    #[error("the sign-in service does not answer as it should")]
    Away(#[source] anyhow::Error),
    /// It does not take the code: one that was used, that is too old, or another client's.
    #[error("the sign-in service does not take the code: {0}")]
    Code(String),
    /// What it says is not what was asked.
    #[error("the sign-in service's answer does not hold")]
    Token(#[from] WrongToken),
}

/// What it publishes of itself.
#[derive(Clone, Debug, Deserialize)]
struct Published {
    issuer: String,
    #[serde(deserialize_with = "address")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "address")]
    token_endpoint: Url,
    #[serde(deserialize_with = "address")]
    jwks_uri: Url,
    #[serde(default, deserialize_with = "maybe_address")]
    userinfo_endpoint: Option<Url>,
    /// `client_secret_basic` where nothing is said.
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(D::Error::custom)
}

fn maybe_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    address(deserializer).map(Some)
}

#[derive(Clone)]
struct Known {
    published: Published,
    keys: Vec<Jwk>,
    at: Instant,
    keys_at: Instant,
}

/// What it gives for a code.
#[derive(Deserialize)]
struct Traded {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

/// The sign-in service.
pub(super) struct Issuer {
    config: OidcConfig,
    redirect_uri: String,
    http: Client,
    known: Mutex<Option<Known>>,
}

impl Issuer {
    /// `redirect_uri`: where it sends browsers back to.
    pub(super) fn new(config: OidcConfig, redirect_uri: String) -> anyhow::Result<Self> {
        let http = http_client::builder().timeout(PATIENCE).build();
        Ok(Self {
            config,
            redirect_uri,
            http: http.context("cannot make a client for the sign-in service")?,
            known: Mutex::default(),
        })
    }

    /// Whether this is how the service names itself.
    pub(super) fn is(&self, name: &str) -> bool {
        is_same(&self.config.issuer, name)
    }

    /// Where a browser goes to sign in.
    pub(super) async fn entrance(&self, attempt: &Attempt) -> Result<Url, Failure> {
        let known = self.known(None).await.map_err(Failure::Away)?;
        let mut url = known.published.authorization_endpoint;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.config.scopes)
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who brings this code.
    pub(super) async fn person(
        &self,
        code: &str,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Person, Failure> {
        let known = self.known(None).await.map_err(Failure::Away)?;
        let traded = self.trade(&known.published, code, attempt).await?;
        let expected = Expected {
            issuer: &known.published.issuer,
            client_id: &self.config.client_id,
            nonce: &attempt.nonce,
        };
        let read = |keys: &[Jwk]| oidc::claims(&traded.id_token, keys, &expected, now);
        let mut claims = match read(&known.keys) {
            // It may have new keys.
            Err(WrongToken::UnknownKey(_)) => {
                let known = self.known(Some(known.keys_at)).await;
                read(&known.map_err(Failure::Away)?.keys)?
            }
            read => read?,
        };
        let words = |claims: &Map<String, Value>| {
            let words = oidc::words(claims, &self.config.role_claim)?;
            Some(words.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let is_whole = claims.contains_key("name") && words(&claims).is_some();
        if let (false, Some(end), Some(token)) = (
            is_whole,
            &known.published.userinfo_endpoint,
            &traded.access_token,
        ) {
            self.add_userinfo(&mut claims, end, token).await?;
        }
        let words = words(&claims);
        let role = self
            .config
            .words
            .role(words.iter().flatten().map(String::as_str));
        if role.is_some() && words.is_none() {
            tracing::warn!(
                claim = self.config.role_claim,
                "the sign-in service says nothing of roles; whoever it is signs in as a plain user"
            );
        }
        Ok(Person::of(&known.published.issuer, &claims, role))
    }

    /// What is known of it; asked anew where that is too old, or as old as the keys that were not enough.
    async fn known(&self, keys_not_enough: Option<Instant>) -> anyhow::Result<Known> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_mut().filter(|it| it.at.elapsed() < KEPT) {
            let is_stale = keys_not_enough.is_some_and(|at| at == known.keys_at);
            if is_stale && known.keys_at.elapsed() >= KEYS_AGAIN {
                known.keys = self.keys(&known.published.jwks_uri).await?;
                known.keys_at = Instant::now();
            }
            return Ok(known.clone());
        }
        let issuer = &self.config.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let published: Published = self.json(self.http.get(&url)).await?;
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
                "`{url}` names `{end}`, which is not HTTPS"
            );
        }
        let keys = self.keys(&published.jwks_uri).await?;
        let now = Instant::now();
        Ok(known
            .insert(Known {
                published,
                keys,
                at: now,
                keys_at: now,
            })
            .clone())
    }

    async fn keys(&self, url: &Url) -> anyhow::Result<Vec<Jwk>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = self.json(self.http.get(url.clone())).await?;
        // One of a kind that is not known here is of no use, and no reason to refuse the others.
        let keys = set.keys.into_iter();
        Ok(keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect())
    }

    async fn trade(
        &self,
        published: &Published,
        code: &str,
        attempt: &Attempt,
    ) -> Result<Traded, Failure> {
        let OidcConfig {
            client_id,
            client_secret,
            ..
        } = &self.config;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &attempt.verifier),
        ];
        let mut request = self.http.post(published.token_endpoint.clone());
        let ways = published.token_endpoint_auth_methods_supported.as_deref();
        let takes = |way: &str| ways.is_none_or(|all| all.iter().any(|it| it == way));
        match client_secret {
            Some(secret) if takes("client_secret_basic") => {
                // RFC 6749, 2.3.1: both are form-encoded before they are joined.
                let encoded = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                request =
                    request.basic_auth(encoded(client_id), Some(encoded(secret.expose_secret())));
            }
            Some(secret) => {
                form.push(("client_id", client_id));
                form.push(("client_secret", secret.expose_secret()));
            }
            None => form.push(("client_id", client_id)),
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body);
        let (status, bytes) = self.answer(request).await.map_err(Failure::Away)?;
        if status.is_client_error() {
            #[derive(Deserialize)]
            struct Refusal {
                error: String,
            }
            let refusal = serde_json::from_slice::<Refusal>(&bytes);
            let said = refusal.map_or_else(|_| status.to_string(), |it| it.error);
            return Err(Failure::Code(said.chars().take(100).collect()));
        }
        read(status, &bytes)
            .context("the answer for a code is not what it should be")
            .map_err(Failure::Away)
    }

    /// Adds what the service tells of the person beside the token.
    async fn add_userinfo(
        &self,
        claims: &mut Map<String, Value>,
        end: &Url,
        token: &str,
    ) -> Result<(), Failure> {
        let request = self.http.get(end.clone()).bearer_auth(token);
        let told: Map<String, Value> = self.json(request).await.map_err(Failure::Away)?;
        // Core 1.0, 5.3.2: else it is of somebody else.
        if told.get("sub") != claims.get("sub") {
            return Err(Failure::Token(WrongToken::Claim {
                claim: "sub",
                found: "another one at the userinfo endpoint".to_owned(),
                expected: "the same as in the ID token".to_owned(),
            }));
        }
        for (name, value) in told {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let (status, bytes) = self.answer(request).await?;
        read(status, &bytes)
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
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
}

/// Settings keep no slash at the end of an address, and some services have one.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn read<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> anyhow::Result<T> {
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
