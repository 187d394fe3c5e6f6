//! The sign-in service, as this server asks it: where its ends are, by which keys it signs, and what it gives
//! for a code.
//!
//! [`published`] keeps what it publishes, and [`asking`] bounds each question.

mod asking;
mod published;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::Jwk;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use self::published::{Book, Published, is_same};
use crate::{
    _core::auth::oidc::{self, ExpectedClaims, Person, SignInAttempt, WrongToken},
    config::OidcConfig,
};

/// The scope for which a service gives the name.
const PROFILE: &str = "profile";

/// Why somebody cannot be signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignInFailure {
    /// It does not answer, or not as the specification has it.
    #[error("the sign-in service does not answer as it should")]
    Away(#[source] anyhow::Error),
    /// It does not take the code: one that was used, that is too old, or another client's.
    #[error("the sign-in service does not take the code: {0}")]
    Code(String),
    /// It does not take this server: another id or secret than it knows, or one that may not trade codes.
    #[error("the sign-in service does not take OIDC_CLIENT_ID or OIDC_CLIENT_SECRET: {0}")]
    Client(String),
    /// What it says is not what was asked.
    #[error("the sign-in service's answer does not hold")]
    Token(#[from] WrongToken),
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
    book: Book,
}

impl Issuer {
    /// `redirect_uri`: where it sends browsers back to.
    pub(super) fn new(config: OidcConfig, redirect_uri: String) -> anyhow::Result<Self> {
        let http = asking::client()?;
        Ok(Self {
            book: Book::new(http.clone(), &config.issuer),
            config,
            redirect_uri,
            http,
        })
    }

    /// Whether this is how the service names itself.
    pub(super) fn is(&self, name: &str) -> bool {
        is_same(&self.config.issuer, name)
    }

    /// Where a browser goes to sign in.
    pub(super) async fn entrance(&self, attempt: &SignInAttempt) -> Result<Url, SignInFailure> {
        let known = self.book.known().await.map_err(away)?;
        let mut url = known.published.authorization_endpoint.clone();
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
        attempt: &SignInAttempt,
        now: DateTime<Utc>,
    ) -> Result<Person, SignInFailure> {
        let known = self.book.known().await.map_err(away)?;
        let traded = self.trade(&known.published, code, attempt).await?;
        let expected = ExpectedClaims {
            issuer: &known.published.issuer,
            client_id: &self.config.client_id,
            nonce: &attempt.nonce,
        };
        let read = |keys: &[Jwk]| oidc::claims(&traded.id_token, keys, &expected, now);
        let mut claims = match read(&known.keys) {
            // It may have new keys; without a name, or by one that it had before, no other sign says so.
            Err(WrongToken::UnknownKey(_) | WrongToken::Signature) => {
                read(&self.book.newer(&known).await.map_err(away)?.keys)?
            }
            read => read?,
        };
        let words = |claims: &Map<String, Value>| {
            let words = oidc::words(claims, &self.config.role_claim)?;
            Some(words.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        // Beside the token, only what is needed and can be known is asked for.
        let mut scopes = self.config.scopes.split(' ');
        let has_name = claims.contains_key("name") || !scopes.any(|it| it == PROFILE);
        let has_words = self.config.words.is_empty() || words(&claims).is_some();
        if let (false, Some(end), Some(token)) = (
            has_name && has_words,
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

    async fn trade(
        &self,
        published: &Published,
        code: &str,
        attempt: &SignInAttempt,
    ) -> Result<Traded, SignInFailure> {
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
        let (status, bytes) = asking::answer(request).await.map_err(SignInFailure::Away)?;
        if let Some(refusal) = refusal(status, &bytes) {
            return Err(refusal);
        }
        asking::read(status, &bytes)
            .context("the answer for a code is not what it should be")
            .map_err(SignInFailure::Away)
    }

    /// Adds what the service answers about the person beside the token.
    async fn add_userinfo(
        &self,
        claims: &mut Map<String, Value>,
        end: &Url,
        token: &str,
    ) -> Result<(), SignInFailure> {
        let request = self.http.get(end.clone()).bearer_auth(token);
        let told: Map<String, Value> = asking::json(request).await.map_err(SignInFailure::Away)?;
        // Core 1.0, 5.3.2: else it is of somebody else.
        if told.get("sub") != claims.get("sub") {
            return Err(SignInFailure::Token(WrongToken::Claim {
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
}

fn away(unknown: published::Unknown) -> SignInFailure {
    SignInFailure::Away(unknown.into())
}

/// What a refusal of the token endpoint means (RFC 6749, 5.2); `None` for an answer that is none of its own, such as
/// a proxy's, or that passes.
fn refusal(status: StatusCode, bytes: &[u8]) -> Option<SignInFailure> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
        return None;
    }
    let said = serde_json::from_slice::<Refusal>(bytes).map(|it| it.error);
    let shown = match &said {
        Ok(said) => said.chars().take(100).collect(),
        Err(_) => status.to_string(),
    };
    match said.as_deref() {
        Ok("invalid_grant") => Some(SignInFailure::Code(shown)),
        Ok("invalid_client" | "unauthorized_client") => Some(SignInFailure::Client(shown)),
        _ if status == StatusCode::UNAUTHORIZED => Some(SignInFailure::Client(shown)),
        // One that says why and means neither is of a request that this server should not have made.
        Ok(_) => Some(SignInFailure::Away(anyhow::anyhow!(
            "it answered {status}: {shown}"
        ))),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_whose_it_is() {
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_grant"}"#, "code"),
            (401, r#"{"error":"invalid_grant"}"#, "code"),
            (401, r#"{"error":"invalid_client"}"#, "client"),
            (400, r#"{"error":"unauthorized_client"}"#, "client"),
            (401, "<html>", "client"),
            (400, r#"{"error":"invalid_request"}"#, "away"),
            (400, "<html>", "none"),
            (403, r#"{"error":"access_denied"}"#, "none"),
            (429, r#"{"error":"invalid_grant"}"#, "none"),
            (503, "", "none"),
            (200, "{}", "none"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let told = match refusal(status, body.as_bytes()) {
                Some(SignInFailure::Code(_)) => "code",
                Some(SignInFailure::Client(_)) => "client",
                Some(SignInFailure::Away(_)) => "away",
                Some(SignInFailure::Token(_)) => "token",
                None => "none",
            };
            assert_eq!(told, expected, "{status} {body}");
        }
    }
}
