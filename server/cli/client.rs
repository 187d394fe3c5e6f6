//! Calls a running server over JSON-RPC, in the name of whoever's token there is.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    _core::{http_client, masked::masked, method::Method, slips},
    config::{ClientConfig, TOKEN_VARIABLE},
};

/// The longest that one call may take; a start reads a week of events.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a look at a path may take, such as `/readyz`, which answers within seconds whatever it says.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// JSON-RPC's number for a method that does not exist.
const METHOD_NOT_FOUND: i64 = -32601;

/// How a command asks: its answer is printed as a person reads it, or as it came.
pub(super) struct ClientOptions<'a> {
    pub(super) client: &'a Client,
    pub(super) json: bool,
}

impl ClientOptions<'_> {
    /// Calls a procedure; the text to print.
    pub(super) async fn show<I: Serialize, O: DeserializeOwned>(
        &self,
        method: &Method<I, O>,
        input: &I,
        show: impl FnOnce(&O) -> String,
    ) -> anyhow::Result<String> {
        if self.json {
            let answer = self.client.call(&method.reading::<Value>(), input).await?;
            return Ok(serde_json::to_string_pretty(&answer)? + "\n");
        }
        Ok(show(&self.client.call(method, input).await?))
    }
}

/// A server, as one caller sees it.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
}

/// Why a call did not bring an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// `--url` cannot be used.
    #[error(
        "`{url}` is not a server's address; expected one such as `http://127.0.0.1:3000`, without user name and password"
    )]
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
    /// Nothing came of a look that changes nothing.
    #[error("{address} takes connections, and did not answer within {} s", LOOK_TIMEOUT.as_secs())]
    Silent { address: Url },
    /// Somebody else there.
    #[error("{endpoint} does not answer as modelramp does (HTTP {status}){}", below(.endpoint))]
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
    /// An answer of another form.
    #[error(
        "{endpoint} answers `{method}` in a form that this version does not read; it is of another version, \
         and `--json` shows its answer"
    )]
    Unreadable {
        endpoint: Url,
        method: String,
        #[source]
        cause: serde_json::Error,
    },
    /// The server's own words.
    #[error("{message}")]
    Refused {
        /// `data.code`.
        code: String,
        message: String,
    },
}

impl CallError {
    /// What a person does about it; `otherwise` where it does not say by itself.
    pub(super) fn advice<'a>(&self, otherwise: &'a str) -> &'a str {
        match self {
            Self::Unauthorized(_) | Self::Forbidden => {
                "put an admin's token into the environment: \
                 `export MODELRAMP_TOKEN=$(modelramp token --user 1 --role admin)` in the server's folder"
            }
            Self::Refused { code, .. }
                if ["TOO_MANY_REQUESTS", "RATE_LIMIT_EXCEEDED"].contains(&&**code) =>
            {
                "the user of the token has asked too often: wait a minute, or take another user's token"
            }
            Self::Silent { .. } => {
                "the process hangs, or something before it does: see its log, and whether another address of it answers"
            }
            _ => otherwise,
        }
    }
}

const NO_TOKEN: &str = "the server does not know who you are: put an admin's token into the environment, \
     `export MODELRAMP_TOKEN=$(modelramp token --user 1 --role admin)`";
const BAD_TOKEN: &str = "the server does not accept the token in `MODELRAMP_TOKEN`: it has expired, its user \
     was deleted, or it was made for another database than the server's. Make a new one in the \
     server's folder: `export MODELRAMP_TOKEN=$(modelramp token --user 1 --role admin)`";

/// One call, as JSON-RPC sends it.
#[derive(Serialize)]
struct RpcRequest<'a, I> {
    jsonrpc: &'static str,
    id: usize,
    method: &'a str,
    params: &'a I,
}

impl<'a, I> RpcRequest<'a, I> {
    fn new<O>(id: usize, method: &'a Method<I, O>, params: &'a I) -> Self {
        Self {
            jsonrpc: "2.0",
            id,
            method: method.path,
            params,
        }
    }
}

/// One answer. The result is read when its type is known.
#[derive(Deserialize)]
struct RpcReply {
    #[serde(default)]
    id: Option<usize>,
    #[serde(default)]
    result: Value,
    error: Option<RpcFailure>,
}

#[derive(Deserialize)]
struct RpcFailure {
    code: i64,
    message: String,
    #[serde(default)]
    data: Value,
}

impl Client {
    /// A client of the server there. Proxies are not asked: a token is for the server alone.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, CallError> {
        let http = http_client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(CallError::Setup)?;
        let token = config.token.as_ref();
        Ok(Self {
            http,
            endpoint: endpoint(&config.url)?,
            authorization: token.map(authorization).transpose()?,
        })
    }

    /// The same server, as another caller sees it.
    pub(super) fn signed_in(&self, token: &SecretString) -> Result<Self, CallError> {
        Ok(Self {
            http: self.http.clone(),
            endpoint: self.endpoint.clone(),
            authorization: Some(authorization(token)?),
        })
    }

    /// Calls a procedure and returns its result.
    pub(super) async fn call<I: Serialize, O: DeserializeOwned>(
        &self,
        method: &Method<I, O>,
        input: &I,
    ) -> Result<O, CallError> {
        let request = RpcRequest::new(0, method, input);
        let reply: RpcReply = self.send(method.path, &request).await?;
        self.read(method, reply)
    }

    /// Calls two procedures in one request.
    pub(super) async fn call_both<
        I: Serialize,
        O: DeserializeOwned,
        J: Serialize,
        P: DeserializeOwned,
    >(
        &self,
        (first, input): (&Method<I, O>, &I),
        (second, other): (&Method<J, P>, &J),
    ) -> Result<(Result<O, CallError>, Result<P, CallError>), CallError> {
        let batch = (
            RpcRequest::new(0, first, input),
            RpcRequest::new(1, second, other),
        );
        let mut replies: [RpcReply; 2] = self.send(second.path, &batch).await?;
        replies.sort_by_key(|reply| reply.id);
        let [answer, another] = replies;
        Ok((self.read(first, answer), self.read(second, another)))
    }

    /// What the server answers at a path, without a token.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, String), CallError> {
        let mut address = self.endpoint.clone();
        address.set_path(path);
        let failed = |error: reqwest::Error| match self.failed(path, error) {
            CallError::Slow { .. } => CallError::Silent {
                address: address.clone(),
            },
            other => other,
        };
        let request = self.http.get(address.clone()).timeout(LOOK_TIMEOUT);
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        Ok((status, response.text().await.map_err(failed)?))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let mut request = self.http.post(native(&self.endpoint)).json(body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|e| self.failed(method, e))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.failed(method, e))?;
        serde_json::from_slice(&bytes).map_err(|_| CallError::Foreign {
            endpoint: self.endpoint.clone(),
            status,
        })
    }

    fn read<I, O: DeserializeOwned>(
        &self,
        method: &Method<I, O>,
        reply: RpcReply,
    ) -> Result<O, CallError> {
        match reply.error {
            None => serde_json::from_value(reply.result).map_err(|cause| CallError::Unreadable {
                endpoint: self.endpoint.clone(),
                method: method.path.to_owned(),
                cause,
            }),
            Some(failure) => Err(self.refused(method.path, failure)),
        }
    }

    fn failed(&self, method: &str, cause: reqwest::Error) -> CallError {
        let endpoint = self.endpoint.clone();
        if cause.is_timeout() && !cause.is_connect() {
            let method = method.to_owned();
            return CallError::Slow { endpoint, method };
        }
        CallError::Unreachable {
            endpoint,
            cause: cause.without_url(),
        }
    }

    fn refused(&self, method: &str, failure: RpcFailure) -> CallError {
        let code = failure.data.get("code").and_then(Value::as_str);
        match code {
            Some("UNAUTHORIZED") => CallError::Unauthorized(match self.authorization {
                None => NO_TOKEN,
                Some(_) => BAD_TOKEN,
            }),
            Some("FORBIDDEN") => CallError::Forbidden,
            _ if failure.code == METHOD_NOT_FOUND => CallError::Unknown {
                endpoint: self.endpoint.clone(),
                method: method.to_owned(),
            },
            code => CallError::Refused {
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

/// The address of a server, as it may be shown. A user name would be sent beside the token, in a second
/// `Authorization`.
pub(super) fn address(text: &str) -> Result<Url, CallError> {
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let url = text.parse().ok().filter(fits);
    url.ok_or_else(|| CallError::Address { url: masked(text) })
}

/// Commands steer this server, whatever an old one answers.
fn native(endpoint: &Url) -> Url {
    let mut endpoint = endpoint.clone();
    endpoint.set_query(Some("side=native"));
    endpoint
}

/// `/rpc` below the address.
fn endpoint(url: &str) -> Result<Url, CallError> {
    let mut endpoint = address(url)?;
    let path = endpoint.path().trim_end_matches('/');
    let path = path.strip_suffix("/rpc").unwrap_or(path);
    let path = format!("{path}/rpc");
    endpoint.set_path(&path);
    endpoint.set_query(None);
    endpoint.set_fragment(None);
    Ok(endpoint)
}

/// What may be wrong with an address that has a path: a server is at its root, but for proxies that put it elsewhere.
fn below(endpoint: &Url) -> &'static str {
    match endpoint.path() {
        "/rpc" => "",
        _ => {
            "; `--url` is the address of the server itself, without `/api`, `/dashboard` or the like"
        }
    }
}

fn authorization(token: &SecretString) -> Result<HeaderValue, CallError> {
    let token = token.expose_secret();
    if let Some(reason) = slips::in_key(token) {
        return Err(CallError::Token { reason });
    }
    let unfit = CallError::Token {
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
        for url in ["http://me:hunter2@a", "http://hunter2@a", "me:hunter2@a"] {
            let error = endpoint(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_address_with_a_path_is_said_to_be_the_likely_slip() {
        let said = |url| {
            let (endpoint, status) = (endpoint(url).expect("an address"), StatusCode::NOT_FOUND);
            CallError::Foreign { endpoint, status }.to_string()
        };
        assert!(said("http://a/api").contains("`--url`"));
        assert!(!said("http://a").contains("`--url`"));
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
