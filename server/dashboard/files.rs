//! The files of the dashboard, embedded and served compressed.
//!
//! Names in `assets/` hold a hash of what is in the file, so those are kept by browsers for ever; all others
//! are asked for anew, and cost a `304` where nothing has changed. A path that is no file is a place within
//! the application, which `index.html` shows, but only to somebody who wants to see a page: a script or a
//! style that is missing must not be answered with one.

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use http::HeaderName;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::transport::page;

/// Where the pages are.
const MOUNT: &str = "/dashboard";
/// What shows every place of the application.
const INDEX: &str = "index.html";
/// What is below this is named by its content.
const HASHED: &str = "assets/";

/// Nothing runs and nothing is asked for but what this server sends; nobody can frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Dist;

/// `/dashboard` and all below it.
pub(super) fn routes() -> Router {
    Router::new()
        .route(MOUNT, any(async || moved()))
        .route("/dashboard/", any(root))
        .route("/dashboard/{*path}", any(below))
}

/// Relative addresses of the pages count from the slash.
fn moved() -> Response {
    let to = HeaderValue::from_static("/dashboard/");
    guarded((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, to)]).into_response())
}

async fn root(method: Method, headers: HeaderMap) -> Response {
    answer(&method, INDEX, &headers)
}

async fn below(method: Method, Path(path): Path<String>, headers: HeaderMap) -> Response {
    answer(&method, &path, &headers)
}

fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let allowed = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return guarded((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response());
    }
    let found = Found::of(path, headers);
    let found = found.or_else(|| wants_page(path, headers).then(|| Found::of(INDEX, headers))?);
    let response = match found {
        Some(found) => found.response(headers),
        None => {
            let text = format!("there is no `{MOUNT}/{path}`\n");
            (
                StatusCode::NOT_FOUND,
                [(header::CACHE_CONTROL, "no-cache")],
                text,
            )
                .into_response()
        }
    };
    guarded(response)
}

/// Whether somebody opens a place of the application, rather than a program asking for one of its files.
fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    !path.starts_with(HASHED) && mentions(headers, &header::ACCEPT, "text/html")
}

/// A file in the form that the browser takes.
struct Found<'a> {
    path: &'a str,
    file: EmbeddedFile,
    is_brotli: bool,
}

impl<'a> Found<'a> {
    fn of(path: &'a str, headers: &HeaderMap) -> Option<Self> {
        // The compressed forms are no files of their own.
        if path.ends_with(".br") {
            return None;
        }
        let brotli = || {
            let is_taken = mentions(headers, &header::ACCEPT_ENCODING, "br");
            is_taken.then(|| Dist::get(&format!("{path}.br")))?
        };
        let (file, is_brotli) = match brotli() {
            Some(file) => (file, true),
            None => (Dist::get(path)?, false),
        };
        Some(Self {
            path,
            file,
            is_brotli,
        })
    }

    fn response(self, headers: &HeaderMap) -> Response {
        let hash = hex::encode(&self.file.metadata.sha256_hash()[..16]);
        let tag = format!("\"{hash}{}\"", if self.is_brotli { "-br" } else { "" });
        let is_known = mentions(headers, &header::IF_NONE_MATCH, &tag);
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Response::new(Body::from(self.file.data)),
        };
        let caching = match self.path.starts_with(HASHED) {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        let answered = response.headers_mut();
        answered.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        answered.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answered.insert(header::ETAG, tag);
        }
        if !is_known {
            let media = HeaderValue::from_static(media_type(self.path));
            answered.insert(header::CONTENT_TYPE, media);
            if self.is_brotli {
                answered.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
            }
        }
        response
    }
}

/// With the headers that stand on everything below the mount.
fn guarded(mut response: Response) -> Response {
    page::guard(&mut response, POLICY);
    response
}

/// Whether a list in a header names this, and not with a weight of nothing.
fn mentions(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut items = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    items.any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts
            .next()
            .is_some_and(|item| item.trim_start_matches("W/").eq_ignore_ascii_case(wanted));
        let is_refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|weight| weight.parse().is_ok_and(|weight: f32| weight == 0.0));
        is_named && !is_refused
    })
}

/// By the name's end; what has none of these is not shown but saved.
fn media_type(path: &str) -> &'static str {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    match end {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "md" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    const PAGE: (HeaderName, &str) = (header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");

    #[test]
    fn a_place_of_the_application_is_its_index_and_a_missing_file_is_not() {
        let page = headers(&[PAGE]);
        for path in [
            "index.html",
            "rollouts",
            "models/glm-4.5-air",
            "requests/r1",
        ] {
            let response = answer(&Method::GET, path, &page);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "text/html; charset=utf-8"
            );
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        }
        let script = headers(&[(header::ACCEPT, "*/*")]);
        for (path, headers) in [
            ("assets/gone-1a2b.js", &page),
            ("assets/gone-1a2b.js", &script),
            ("theme-gone.js", &script),
            ("rollouts", &script),
            ("../Cargo.toml", &script),
        ] {
            let response = answer(&Method::GET, path, headers);
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let posted = answer(&Method::POST, "rollouts", &page);
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn every_answer_carries_the_policy_and_a_page_that_is_known_is_not_sent_again() {
        let first = answer(&Method::GET, "", &headers(&[PAGE]));
        let tag = first.headers()[header::ETAG].clone();
        let mut again = headers(&[PAGE]);
        again.insert(header::IF_NONE_MATCH, tag);
        let again = answer(&Method::GET, "", &again);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let missing = answer(&Method::GET, "assets/x.js", &headers(&[]));
        for response in [&first, &again, &missing, &moved()] {
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str();
            let policy = policy.expect("a text");
            assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
            assert!(!policy.contains("unsafe"));
            assert_eq!(
                response.headers()[header::X_CONTENT_TYPE_OPTIONS],
                "nosniff"
            );
        }
    }

    #[test]
    fn each_file_has_a_media_type_that_browsers_run_or_show() {
        for path in Dist::iter() {
            let plain = path.strip_suffix(".br").unwrap_or(&path);
            assert_ne!(media_type(plain), "application/octet-stream", "{path}");
        }
    }

    #[test]
    fn an_encoding_with_a_weight_of_nothing_is_not_taken() {
        let takes = |value| {
            let headers = headers(&[(header::ACCEPT_ENCODING, value)]);
            mentions(&headers, &header::ACCEPT_ENCODING, "br")
        };
        assert!(takes("gzip, deflate, br, zstd") && takes("BR;q=0.1"));
        assert!(!takes("gzip") && !takes("br;q=0") && !takes("brotli"));
    }
}
