//! Calls a running server over JSON-RPC, in the name of whoever's token there is.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    _core::{http_client, slips},
    config::{ClientConfig, TOKEN_VARIABLE},
};

/// The longest that one call may take; a start reads a week of events.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// JSON-RPC's number for a method that does not exist.
const METHOD_NOT_FOUND: i64 = -32601;

/// A server, as one caller sees it.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
}

/// Why a call did not bring an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// `--url` cannot be used.
    #[error("`{url}` is not a server's address; expected one such as `http://127.0.0.1:3000`")]
    Address { url: String },
    /// The token holds what no header may.
    #[error("`{TOKEN_VARIABLE}` is no token: its value {reason}")]
    Token { reason: &'static str },
    /// The client itself could not be made.
    #[error("cannot make an HTTP client")]
    Setup(#[source] reqwest::Error),
    /// Nobody there.
    #[error("no server answers at {endpoint}; is it running? `--url` names another")]
    Unreachable {
        endpoint: Url,
        #[source]
        cause: reqwest::Error,
    },
    /// Too slow.
    #[error("{endpoint} did not answer `{method}` within {} s; a change may have been made nevertheless, which `modelramp rollout get ID` shows", CALL_TIMEOUT.as_secs())]
    Slow { endpoint: Url, method: String },
    /// Somebody else there.
    #[error("{endpoint} does not answer as modelramp does (HTTP {status})")]
    Foreign { endpoint: Url, status: StatusCode },
    /// No token, or one that does not hold.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// A token of somebody who may not.
    #[error(
        "this needs an admin, which the user of `{TOKEN_VARIABLE}` is not; \
         `modelramp token --user ID --role admin` makes one"
    )]
    Forbidden,
    /// An older server.
    #[error("the server at {endpoint} does not know `{method}`; it is of another version")]
    Unknown { endpoint: Url, method: String },
    /// The server's own words.
    #[error("{message}")]
    Refused {
        /// `data.code`.
        code: String,
        message: String,
    },
}

const NO_TOKEN: &str = "the server does not know who you are: put an admin's token into the environment, \
     `export MODELRAMP_TOKEN=$(modelramp token --user 1 --role admin)`";
const BAD_TOKEN: &str = "the server does not accept the token in `MODELRAMP_TOKEN`: it has expired, its user \
     was deleted, or it was made for another database than the server's. Make a new one in the \
     server's folder: `export MODELRAMP_TOKEN=$(modelramp token --user 1 --role admin)`";

/// An answer in JSON-RPC's envelope.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: Value,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    message: String,
    #[serde(default)]
    data: Value,
}

impl Client {
    /// A client of the server there. Proxies are not asked: a token is for the server alone.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        let http = http_client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(ClientError::Setup)?;
        let token = config.token.as_ref();
        Ok(Self {
            http,
            endpoint: endpoint(&config.url)?,
            authorization: token.map(authorization).transpose()?,
        })
    }

    /// Calls a procedure and returns its result.
    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self.http.post(self.endpoint.clone()).json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|e| self.failed(method, e))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.failed(method, e))?;
        let envelope: Envelope =
            serde_json::from_slice(&bytes).map_err(|_| ClientError::Foreign {
                endpoint: self.endpoint.clone(),
                status,
            })?;
        match envelope.error {
            None => Ok(envelope.result),
            Some(failure) => Err(self.refused(method, failure)),
        }
    }

    fn failed(&self, method: &str, cause: reqwest::Error) -> ClientError {
        let endpoint = self.endpoint.clone();
        if cause.is_timeout() && !cause.is_connect() {
            let method = method.to_owned();
            return ClientError::Slow { endpoint, method };
        }
        ClientError::Unreachable {
            endpoint,
            cause: cause.without_url(),
        }
    }

    fn refused(&self, method: &str, failure: Failure) -> ClientError {
        let code = failure.data.get("code").and_then(Value::as_str);
        match code {
            Some("UNAUTHORIZED") => ClientError::Unauthorized(match self.authorization {
                None => NO_TOKEN,
                Some(_) => BAD_TOKEN,
            }),
            Some("FORBIDDEN") => ClientError::Forbidden,
            _ if failure.code == METHOD_NOT_FOUND => ClientError::Unknown {
                endpoint: self.endpoint.clone(),
                method: method.to_owned(),
            },
            code => ClientError::Refused {
                code: code.unwrap_or_default().to_owned(),
                message: faults(&failure.message).unwrap_or(failure.message),
            },
        }
    }
}

/// A sentence for each fault, where the message is the list of them that front ends read.
fn faults(message: &str) -> Option<String> {
    let faults: Vec<Value> = serde_json::from_str(message).ok()?;
    let said = faults.iter().map(|fault| {
        let path = fault.get("path")?.as_array()?.iter();
        let path: Vec<_> = path
            .map(|step| {
                step.as_str()
                    .map_or_else(|| step.to_string(), str::to_owned)
            })
            .collect();
        let text = fault.get("message")?.as_str()?;
        Some(match path.as_slice() {
            [] => text.to_owned(),
            path => format!("`{}`: {text}", path.join(".")),
        })
    });
    let said: Vec<_> = said.collect::<Option<_>>()?;
    (!said.is_empty()).then(|| said.join("; "))
}

/// `/rpc` below the address.
fn endpoint(url: &str) -> Result<Url, ClientError> {
    let wrong = || ClientError::Address {
        url: url.to_owned(),
    };
    let mut endpoint: Url = url.parse().map_err(|_| wrong())?;
    if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
        return Err(wrong());
    }
    let path = endpoint.path().trim_end_matches('/');
    let path = path.strip_suffix("/rpc").unwrap_or(path);
    let path = format!("{path}/rpc");
    endpoint.set_path(&path);
    endpoint.set_query(None);
    endpoint.set_fragment(None);
    Ok(endpoint)
}

fn authorization(token: &SecretString) -> Result<HeaderValue, ClientError> {
    let token = token.expose_secret();
    if let Some(reason) = slips::in_key(token) {
        return Err(ClientError::Token { reason });
    }
    let unfit = ClientError::Token {
        reason: "holds characters that cannot be sent",
    };
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procedures_are_called_at_rpc_below_the_address() {
        for (url, expected) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/rpc"),
            ("http://127.0.0.1:3000/", "http://127.0.0.1:3000/rpc"),
            ("https://a.example/ai/?x#y", "https://a.example/ai/rpc"),
            ("http://[::1]:3000/rpc", "http://[::1]:3000/rpc"),
        ] {
            assert_eq!(endpoint(url).expect("an address").as_str(), expected);
        }
        for url in ["", "localhost:3000", "127.0.0.1", "ftp://a", "http://"] {
            let error = endpoint(url).expect_err(url);
            assert!(error.to_string().contains("http://127.0.0.1:3000"));
        }
    }

    #[test]
    fn a_token_is_not_shown_and_not_sent_broken() {
        let value = authorization(&"secret".into()).expect("a header");
        assert!(!format!("{value:?}").contains("secret"));
        for slip in ["a\nb", "Bearer secret", "\"secret\""] {
            let error = authorization(&slip.into()).expect_err(slip).to_string();
            assert!(
                error.contains("MODELRAMP_TOKEN") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
