//! What the URL and the headers of a request say, before anything is looked up.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

use super::MOUNT;
use crate::{
    _core::{
        errors::{ErrorCode, RpcError},
        json_text,
    },
    transport::headers::is_media_type,
};

/// How the body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`; also whatever a GET claims, since its body is not read.
    Json,
    /// `multipart/form-data`.
    Form,
    /// `application/octet-stream`.
    Binary,
}

impl MediaType {
    /// Other types are refused: `text/plain` and forms can be sent across origins without asking.
    pub fn of(method: &Method, headers: &HeaderMap) -> Result<Self, RpcError> {
        let is = |name| is_media_type(headers, &[name]);
        let media = if is("application/json") {
            return Ok(Self::Json);
        } else if is("multipart/form-data") {
            Self::Form
        } else if is("application/octet-stream") {
            Self::Binary
        } else if method == Method::GET {
            return Ok(Self::Json);
        } else {
            return Err(RpcError::new(
                ErrorCode::UnsupportedMediaType,
                match headers.get(header::CONTENT_TYPE) {
                    // The closing quote is missing in tRPC's own text, too.
                    Some(value) => Cow::Owned(format!(
                        "Unsupported content-type \"{}",
                        String::from_utf8_lossy(value.as_bytes())
                    )),
                    None => Cow::Borrowed("Missing content-type header"),
                },
            ));
        };
        if method == Method::POST {
            return Ok(media);
        }
        let name = match media {
            Self::Form => "multipart/form-data",
            Self::Json | Self::Binary => "application/octet-stream",
        };
        Err(RpcError::new(
            ErrorCode::MethodNotSupported,
            format!("Only POST requests are supported for {name} requests"),
        ))
    }
}

/// How the answers of a batch are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchDelivery {
    /// All together.
    Whole,
    /// JSONL, as `httpBatchStreamLink` of version 11 asks for it.
    Lines,
    /// One object in order of completion, as `unstable_httpBatchStreamLink` of version 10 does.
    Members,
}

impl BatchDelivery {
    /// From `trpc-accept`, else `accept`, else version 10's `trpc-batch-mode`.
    pub fn of(headers: &HeaderMap) -> Self {
        const JSONL: &[u8] = b"application/jsonl";
        let accepts_lines = match headers.get("trpc-accept") {
            Some(value) => value.as_bytes() == JSONL,
            None => headers
                .get_all(header::ACCEPT)
                .iter()
                .flat_map(|value| value.as_bytes().split(|b| *b == b','))
                .any(|accepted| accepted.trim_ascii() == JSONL),
        };
        if accepts_lines {
            Self::Lines
        } else if headers
            .get("trpc-batch-mode")
            .is_some_and(|mode| mode.as_bytes() == b"stream")
        {
            Self::Members
        } else {
            Self::Whole
        }
    }
}

/// The parameters of the query string, decoded.
#[derive(Debug, Default)]
pub struct QueryParameters<'a> {
    /// Whether `batch=1`.
    pub batch: bool,
    /// `input`, where it is not empty.
    pub input: Option<Cow<'a, str>>,
    /// `lastEventId`, else `Last-Event-Id`.
    pub last_event_id: Option<Cow<'a, str>>,
    /// `connectionParams`.
    pub connection_params: Option<Cow<'a, str>>,
    /// Whether `side=native`: this server is asked, whatever answers otherwise.
    pub asks_this_server: bool,
    /// The query string itself, for inputs given as plain parameters.
    pub raw: &'a str,
}

impl<'a> QueryParameters<'a> {
    /// Takes a query string apart; of parameters given twice, the first counts.
    pub fn parse(raw: &'a str) -> Self {
        let mut query = Self {
            raw,
            ..Self::default()
        };
        let mut batch = None;
        let mut input = None;
        let mut capitalised_event_id = None;
        for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
            match &*name {
                "batch" => batch = batch.or(Some(value)),
                "input" => input = input.or(Some(value)),
                "lastEventId" => query.last_event_id = query.last_event_id.or(Some(value)),
                "Last-Event-Id" => capitalised_event_id = capitalised_event_id.or(Some(value)),
                "side" => query.asks_this_server |= value == "native",
                "connectionParams" => {
                    query.connection_params = query.connection_params.or(Some(value));
                }
                _ => {}
            }
        }
        query.batch = batch.is_some_and(|value| value == "1");
        query.input = input.filter(|value| !value.is_empty());
        query.last_event_id = query
            .last_event_id
            .or(capitalised_event_id)
            .filter(|id| !id.is_empty());
        query
    }

    /// `connectionParams` as a value.
    pub fn params(&self) -> Result<Option<Value>, RpcError> {
        let Some(text) = &self.connection_params else {
            return Ok(None);
        };
        let value = json_text::from_str(text)
            .map_err(|_| RpcError::new(ErrorCode::ParseError, "Not JSON-parsable query params"))?;
        Ok(Some(value))
    }
}

/// The path below the mount point, percent-decoded once, as `decodeURIComponent` does it.
pub fn procedure_path(url_path: &str) -> Result<Cow<'_, str>, RpcError> {
    let path = url_path.strip_prefix(MOUNT).unwrap_or(url_path);
    decode_path(path.strip_prefix('/').unwrap_or(path))
}

/// Undoes percent-encoding; an escape that is broken or not UTF-8 is an error, not text.
pub fn decode_path(path: &str) -> Result<Cow<'_, str>, RpcError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let is_escape =
        |rest: &[u8]| rest.len() >= 2 && rest[0].is_ascii_hexdigit() && rest[1].is_ascii_hexdigit();
    let bytes = path.as_bytes();
    let well_formed = (0..bytes.len()).all(|i| bytes[i] != b'%' || is_escape(&bytes[i + 1..]));
    well_formed
        .then(|| {
            percent_encoding::percent_decode_str(path)
                .decode_utf8()
                .ok()
        })
        .flatten()
        .ok_or_else(|| RpcError::bad_request("the path holds a malformed percent-escape"))
}

/// The request's headers with what clients that cannot set headers send in `connectionParams`.
///
/// Only `authorization` (in any case) is taken over, and only where the request has none itself.
pub fn with_connection_params<'a>(
    headers: &'a HeaderMap,
    params: Option<&Value>,
) -> Result<Cow<'a, HeaderMap>, RpcError> {
    let Some(params) = params.filter(|params| !params.is_null()) else {
        return Ok(Cow::Borrowed(headers));
    };
    let invalid = || RpcError::new(ErrorCode::ParseError, "Invalid connection params shape");
    let params = params.as_object().ok_or_else(invalid)?;
    if !params.values().all(Value::is_string) {
        return Err(invalid());
    }
    let authorization = params
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .and_then(|(_, value)| HeaderValue::from_str(value.as_str()?).ok());
    match authorization {
        Some(mut value) if !headers.contains_key(header::AUTHORIZATION) => {
            value.set_sensitive(true);
            let mut headers = headers.clone();
            headers.insert(header::AUTHORIZATION, value);
            Ok(Cow::Owned(headers))
        }
        _ => Ok(Cow::Borrowed(headers)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn paths_are_decoded_once_and_broken_escapes_are_bad_requests() {
        for (encoded, decoded) in [
            ("/api/trpc", ""),
            ("/api/trpc/", ""),
            ("/api/trpc/system.health", "system.health"),
            ("/api/trpc/a%2Cb", "a,b"),
            ("/api/trpc/a%252Cb", "a%2Cb"),
            ("/api/trpc/n%C3%B6.pe", "nö.pe"),
            ("/api/trpc/a/b", "a/b"),
            ("/api/trpc//a", "/a"),
        ] {
            assert_eq!(procedure_path(encoded).unwrap(), decoded, "{encoded}");
        }
        for broken in ["%", "a%2", "%zz", "%E0%A4%A", "%ff"] {
            let error = decode_path(broken).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{broken}");
        }
    }

    #[test]
    fn media_types_ignore_case_and_parameters() {
        let of =
            |method: Method, value| MediaType::of(&method, &headers(&[("content-type", value)]));
        for json in ["application/json", "Application/JSON ; charset=utf-8"] {
            assert_eq!(of(Method::POST, json).unwrap(), MediaType::Json);
        }
        assert_eq!(
            of(Method::POST, "multipart/form-data; boundary=x").unwrap(),
            MediaType::Form
        );
        assert_eq!(of(Method::GET, "text/plain").unwrap(), MediaType::Json);
        let text = of(Method::POST, "text/plain").unwrap_err();
        assert_eq!(text.code, ErrorCode::UnsupportedMediaType);
        assert_eq!(text.message, "Unsupported content-type \"text/plain");
        let prefix = of(Method::POST, "application/json-patch+json").unwrap_err();
        assert_eq!(prefix.code, ErrorCode::UnsupportedMediaType);
        let form = of(Method::GET, "multipart/form-data").unwrap_err();
        assert_eq!(form.code, ErrorCode::MethodNotSupported);
        let none = MediaType::of(&Method::PUT, &HeaderMap::new()).unwrap_err();
        assert_eq!(none.message, "Missing content-type header");
    }

    #[test]
    fn trpc_accept_wins_over_accept() {
        for (pairs, expected) in [
            (&[][..], BatchDelivery::Whole),
            (
                &[("accept", "*/*, application/jsonl")],
                BatchDelivery::Lines,
            ),
            (
                &[("trpc-accept", "application/jsonl")],
                BatchDelivery::Lines,
            ),
            (
                &[("trpc-accept", "x"), ("accept", "application/jsonl")],
                BatchDelivery::Whole,
            ),
            (&[("trpc-batch-mode", "stream")], BatchDelivery::Members),
        ] {
            assert_eq!(BatchDelivery::of(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn of_repeated_parameters_the_first_counts() {
        let query =
            QueryParameters::parse("batch=1&batch=0&input=%7B%7D&input=x&Last-Event-Id=2&x");
        assert!(query.batch);
        assert_eq!(query.input.as_deref(), Some("{}"));
        assert_eq!(query.last_event_id.as_deref(), Some("2"));
        assert!(!QueryParameters::parse("batch=true").batch);
    }

    #[test]
    fn connection_params_add_a_missing_authorization_only() {
        let params = serde_json::json!({"Authorization": "Bearer t", "foo": "bar"});
        let merged = HeaderMap::new();
        let merged = with_connection_params(&merged, Some(&params)).unwrap();
        assert_eq!(merged[header::AUTHORIZATION], "Bearer t");
        let own = headers(&[("authorization", "Bearer own")]);
        let kept = with_connection_params(&own, Some(&params)).unwrap();
        assert_eq!(kept[header::AUTHORIZATION], "Bearer own");
        for wrong in [serde_json::json!([]), serde_json::json!({"a": 1})] {
            let error = with_connection_params(&own, Some(&wrong)).unwrap_err();
            assert_eq!(error.code, ErrorCode::ParseError, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_path_and_no_query_string_panics(path in ".*", query in ".*") {
            let _ = procedure_path(&path);
            let _ = QueryParameters::parse(&query);
        }

        #[test]
        fn what_was_encoded_is_decoded(path in "\\PC*") {
            let encoded = percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode_path(&encoded).unwrap(), path);
        }
    }
}
