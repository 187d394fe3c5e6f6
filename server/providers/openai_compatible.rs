//! A client of one provider that speaks OpenAI's `chat/completions`.
//!
//! A deadline covers the whole exchange, from the connection to the last byte: a server that sends
//! its headers and then nothing is as dead as one that does not answer. Bodies are read up to a
//! limit, redirects are not followed (the key would go along), and a proxy is asked for `https` alone,
//! whose words it cannot read.

mod reading;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use parking_lot::Mutex;
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use self::reading::{Places, foreign_coding, is, read, soonest, steps, timed_out, transport};
use crate::_core::masked::masked;

use super::{
    Allowance, ChatRequest, Completion, Delta, Embedded, ReplyPlace,
    connection::Http,
    fault::{Fault, FaultKind},
    joined::Joined,
    listing::Listed,
    openrouter::FreeRequests,
    reply,
    request_body::RequestBody,
    stream::{Steps, only_step},
};

/// As much of an error's body as is worth reading, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The longest answer with embeddings, in bytes.
const MAX_EMBEDDINGS: usize = 4 * 1024 * 1024;
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// How long the answer to what the key may do is waited for.
const KEY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest list of models, in bytes; OpenRouter's has one million.
const MAX_LIST: usize = 16 * 1024 * 1024;
/// How long a list of models is waited for.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Steps of a streamed answer; dropping it closes the connection.
pub type DeltaStream = BoxStream<'static, Result<Delta, Fault>>;

/// Why a provider cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client does not start, most likely for want of root certificates.
    #[error("cannot set up the HTTP client; are root certificates (`ca-certificates`) installed?")]
    Http(#[source] reqwest::Error),
    /// Not an absolute `http` or `https` URL.
    #[error("`{url}` is not a base URL; expected such as `https://openrouter.ai/api/v1`")]
    BaseUrl {
        /// What was given, without what may be a password.
        url: String,
    },
    /// A key that cannot be sent as a header.
    #[error("the provider's key holds characters that no HTTP header can carry")]
    Key,
    /// A header that cannot be sent.
    #[error("`{name}` cannot be sent as a header")]
    Header {
        /// Its name.
        name: String,
    },
}

/// What all providers are asked with, without a proxy.
pub fn http_client() -> Result<Http, ClientError> {
    Http::new(None).map_err(ClientError::Http)
}

/// The same through a proxy where an address is `https`, but for the hosts in `except`, as `NO_PROXY` has them.
pub fn http_client_through(
    proxy: &SecretString,
    except: Option<&str>,
) -> Result<Http, ClientError> {
    let through = Some((proxy.expose_secret(), except));
    // What cannot be read of an address may be a password.
    Http::new(through).map_err(|error| ClientError::Http(error.without_url()))
}

/// One provider; cheap to clone.
#[derive(Clone)]
pub struct OpenAiCompatible {
    http: Http,
    endpoint: Url,
    embeddings: Url,
    /// Where OpenRouter says what the key may do.
    key_url: Url,
    models_url: Url,
    headers: HeaderMap,
    key: Option<SecretString>,
    large: Arc<Places>,
    /// What the last answer of each model said of our account, by the model's id, and when; until somebody has
    /// taken it. As many as there are models of which an answer is under way.
    allowances: Arc<Mutex<HashMap<String, (Allowance, Instant)>>>,
}

impl OpenAiCompatible {
    /// A client for `base_url`, to which `/chat/completions` is appended. `headers` go with every
    /// request, such as OpenRouter's `X-Title`.
    pub fn new<'a>(
        http: Http,
        base_url: &str,
        key: Option<SecretString>,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ClientError> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let refuse = || ClientError::Header { name: name.into() };
            let value = HeaderValue::from_str(value).map_err(|_| refuse())?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
            all.insert(name, value);
        }
        if let Some(key) = &key {
            let bearer = format!("Bearer {}", key.expose_secret());
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| ClientError::Key)?;
            bearer.set_sensitive(true);
            all.insert(AUTHORIZATION, bearer);
        }
        let url = |path| {
            let url = || masked(base_url);
            below(base_url, path).ok_or_else(|| ClientError::BaseUrl { url: url() })
        };
        Ok(Self {
            http,
            endpoint: url("chat/completions")?,
            embeddings: url("embeddings")?,
            key_url: url("key")?,
            models_url: url("models")?,
            headers: all,
            key,
            large: Arc::default(),
            allowances: Arc::default(),
        })
    }

    /// What the last answer of this model said of what our account may still ask of it, and when; once.
    pub fn take_allowance(&self, model: &str) -> Option<(Allowance, Instant)> {
        self.allowances.lock().remove(model)
    }

    /// Asks for an answer and waits for the whole of it, until `deadline` at the latest.
    pub async fn complete(
        &self,
        request: &ChatRequest,
        deadline: Instant,
    ) -> Result<Completion, Fault> {
        let exchange = async {
            let mut response = self.send(request, false).await?;
            if !is(&response, "text/event-stream") {
                return self.whole(&mut response, request).await;
            }
            // A server that streams although nobody asked for it.
            let steps = steps(response, Steps::new(request), deadline, Duration::MAX);
            let joined = steps.try_fold(Joined::default(), |mut joined, delta| async {
                joined.add(delta);
                Ok(joined)
            });
            Ok(joined.await?.finish())
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(timed_out("the whole answer")))
            .map_err(|fault| self.judge(fault, request.reading.context))
    }

    /// Asks for embeddings, until `deadline` at the latest.
    pub async fn embed(&self, request: &ChatRequest, deadline: Instant) -> Result<Embedded, Fault> {
        let exchange = async {
            let body = json(request, false)?;
            let mut response = self.post(&self.embeddings, request, body).await?;
            let mut held = ReplyPlace::default();
            let places = self.large.of(&request.model);
            let read = read(&mut response, MAX_EMBEDDINGS, &places, &mut held).await;
            let body = read.map_err(|(_, fault)| fault)?;
            reply::embeddings(body, request.inputs(), held)
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(timed_out("the embeddings")))
            .map_err(|fault| self.judge(fault, request.reading.context))
    }

    /// Asks for an answer step by step. The headers must come, and each sign of life after them,
    /// within `idle`; comments count. The last step must come before `deadline`.
    pub async fn stream(
        &self,
        request: &ChatRequest,
        deadline: Instant,
        idle: Duration,
    ) -> Result<DeltaStream, Fault> {
        let context = request.reading.context;
        let mut response = timeout_at(soonest(deadline, idle), self.send(request, true))
            .await
            .unwrap_or_else(|_| Err(timed_out("the start of a stream")))
            .map_err(|fault| self.judge(fault, context))?;
        if is(&response, "application/json") {
            // A server that does not stream, or an error under a success.
            let answer = self.whole(&mut response, request);
            let answer = timeout_at(soonest(deadline, idle), answer).await;
            let answer = answer
                .unwrap_or_else(|_| Err(timed_out("the answer")))
                .map_err(|fault| self.judge(fault, context))?;
            return Ok(futures::stream::iter([Ok(only_step(answer))]).boxed());
        }
        let this = self.clone();
        Ok(steps(response, Steps::new(request), deadline, idle)
            .map_err(move |fault| this.judge(fault, context))
            .boxed())
    }

    /// The answer in a body. A body that breaks off after the last byte of its JSON has one, too.
    async fn whole(
        &self,
        response: &mut Response,
        request: &ChatRequest,
    ) -> Result<Completion, Fault> {
        let mut held = ReplyPlace::default();
        let limit = request.reading.max_bytes;
        let places = self.large.of(&request.model);
        let answer = match read(response, limit, &places, &mut held).await {
            Ok(body) => reply::completion(body, request),
            Err((body, fault)) => {
                reply::completion(body, request).map_err(|judged| match judged.kind {
                    FaultKind::InvalidReply => fault,
                    _ => judged,
                })
            }
        };
        answer.map(|completion| Completion { held, ..completion })
    }

    /// The requests of this day to models that cost nothing, where the provider is OpenRouter and says.
    pub async fn free_requests(&self) -> Result<Option<FreeRequests>, Fault> {
        let body = self
            .get(&self.key_url, MAX_ERROR_BYTES, KEY_TIMEOUT)
            .await?;
        Ok(body.and_then(|body| FreeRequests::of_key(&body)))
    }

    /// The models that the provider lists; a list of none is a fault.
    pub async fn models(&self) -> Result<Vec<Listed>, Fault> {
        let body = self.get(&self.models_url, MAX_LIST, LIST_TIMEOUT).await?;
        let listed = body.as_ref().and_then(Listed::of_body);
        let listed = listed.filter(|listed| !listed.is_empty());
        listed.ok_or_else(|| Fault::new(FaultKind::InvalidReply, "the reply is no list of models"))
    }

    /// The JSON at a place, if it is some, of `limit` bytes at most, within `patience`.
    async fn get(
        &self,
        from: &Url,
        limit: usize,
        patience: Duration,
    ) -> Result<Option<serde_json::Value>, Fault> {
        let exchange = async {
            let request = || {
                let request = self.http.get(from.clone());
                request.headers(self.headers.clone()).build()
            };
            let mut response = self.execute(request, None).await?;
            let mut held = ReplyPlace::default();
            let read = read(&mut response, limit, &self.large.of(""), &mut held).await;
            let body = read.map_err(|(_, fault)| fault)?;
            Ok(serde_json::from_slice(&body).ok())
        };
        let exchange = timeout_at(Instant::now() + patience, exchange).await;
        exchange
            .unwrap_or_else(|_| Err(timed_out("the reply")))
            .map_err(|fault| self.judge(fault, None))
    }

    /// The response, if its status is a success.
    async fn send(&self, request: &ChatRequest, stream: bool) -> Result<Response, Fault> {
        let body = json(request, stream)?;
        self.post(&self.endpoint, request, body).await
    }

    async fn post(
        &self,
        to: &Url,
        asked: &ChatRequest,
        body: RequestBody,
    ) -> Result<Response, Fault> {
        let request = || {
            let request = self.http.post(to.clone()).headers(self.headers.clone());
            let json = HeaderValue::from_static("application/json");
            let mut request = request.header(CONTENT_TYPE, json).body(body.to_send());
            if let Some(trace) = asked.trace {
                request = request.header(TRACE_PARENT, trace.to_string());
            }
            request.build()
        };
        self.execute(request, Some(&asked.model)).await
    }

    /// The response to a request, where it is about a model to this one.
    async fn execute(
        &self,
        request: impl Fn() -> reqwest::Result<reqwest::Request>,
        model: Option<&str>,
    ) -> Result<Response, Fault> {
        let mut response = self.http.send(request).await.map_err(transport)?;
        if let Some(model) = model
            && let Some(allowance) = Allowance::of(response.headers())
        {
            let told = (allowance, Instant::now());
            self.allowances.lock().insert(model.to_owned(), told);
        }
        let coding = foreign_coding(&response);
        if response.status().is_success() {
            return match coding {
                None => Ok(response),
                Some(coding) => Err(Fault::new(
                    FaultKind::InvalidReply,
                    format!(
                        "the reply is compressed with `{coding}`, which nobody asked for; only gzip \
                         and deflate are read"
                    ),
                )),
            };
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut held = ReplyPlace::default();
        // The status is known; of a body that breaks off the words count that came.
        let places = self.large.of(model.unwrap_or_default());
        let read = read(&mut response, MAX_ERROR_BYTES, &places, &mut held);
        let body = match read.await {
            _ if coding.is_some() => Vec::new(),
            Ok(body) | Err((body, _)) => body,
        };
        Err(Fault::of_response(status, &headers, &body))
    }

    /// The fault as the rest of the program sees it: judged with the model's context, without the key.
    fn judge(&self, fault: Fault, context: Option<u32>) -> Fault {
        let fault = match context {
            Some(context) => fault.at_context(context),
            None => fault,
        };
        match &self.key {
            Some(key) => fault.without(key.expose_secret()),
            None => fault,
        }
    }
}

impl fmt::Debug for OpenAiCompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiCompatible")
            .field("endpoint", &self.endpoint.as_str())
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

/// `base_url` with `/chat/completions`; `None` if it is no base URL, or carries a password, a query
/// or a fragment, which would end up in logs or be lost.
pub fn endpoint(base_url: &str) -> Option<Url> {
    below(base_url, "chat/completions")
}

fn below(base_url: &str, path: &str) -> Option<Url> {
    let mut url = Url::parse(base_url).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let path = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    is_plain.then_some(url)
}

fn json(request: &ChatRequest, stream: bool) -> Result<RequestBody, Fault> {
    request.body(stream).map_err(|error| {
        let detail = format!("the request is no JSON: {error}");
        Fault::new(FaultKind::BadRequest, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_plain_http() {
        for url in ["https://openrouter.ai/api/v1", "http://127.0.0.1:8090/v1/"] {
            assert!(endpoint(url).is_some_and(|url| url.path().ends_with("v1/chat/completions")));
        }
        for url in [
            "",
            "openrouter.ai",
            "ftp://x/v1",
            "http://",
            "https://u:p@x/v1",
            "https://x/v1?key=1",
            "https://x/v1#a",
        ] {
            assert_eq!(endpoint(url), None, "{url}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SecretString::from("sk-very-secret");
        let client =
            OpenAiCompatible::new(http_client().unwrap(), "http://x/v1", Some(key), []).unwrap();
        let text = format!("{client:?} {:?}", client.headers);
        assert!(!text.contains("very-secret"), "{text}");
        let key = SecretString::from("no\nheader");
        let refused = OpenAiCompatible::new(http_client().unwrap(), "http://x/v1", Some(key), []);
        assert!(!format!("{refused:?}").contains("no\nheader"));
        assert!(refused.is_err());
    }
}
