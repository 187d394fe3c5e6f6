//! Where a request to the old server goes: only to its origin, and there only below what is mounted.
//!
//! A path is handed on as it came, so the old server reads what the client wrote. What would lead out
//! of its place, once anybody decodes it, is refused before.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{LegacyFault, OldServer};

/// What `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// How often a path is decoded at most, until it stays the same.
const MAX_DECODINGS: usize = 8;

/// A text as one component of a URL.
pub fn component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Whether no segment leads elsewhere, however often the path is decoded.
fn stays(path: &str) -> bool {
    let mut path = Cow::Borrowed(path);
    for _ in 0..MAX_DECODINGS {
        let leads_out = |segment: &str| matches!(segment, "." | "..");
        let is_odd = |c: char| c == '\\' || c.is_control();
        if path.contains(is_odd) || path.split('/').any(leads_out) {
            return false;
        }
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == *path {
            return true;
        }
        path = Cow::Owned(decoded);
    }
    false
}

impl OldServer {
    /// The address of calls: `path` is what follows the mount point, as it came, with its slash.
    pub fn calls_url(&self, path: &str, query: Option<&str>) -> Result<Url, LegacyFault> {
        let base = self.base.path().trim_end_matches('/');
        self.url(&format!("{base}{path}"), query)
    }

    /// Whether a name can be one of its procedures, and leads nowhere else.
    pub fn takes(&self, name: &str) -> bool {
        self.calls_url(&format!("/{}", component(name)), None)
            .is_ok()
    }

    /// The address of a plain path, if it is below a prefix that is passed on.
    pub fn plain_url(&self, path: &str, query: Option<&str>) -> Option<Result<Url, LegacyFault>> {
        let is_below = |prefix: &String| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_mounted = self.config.paths.iter().any(is_below);
        is_mounted.then(|| self.url(path, query))
    }

    fn url(&self, path: &str, query: Option<&str>) -> Result<Url, LegacyFault> {
        if !stays(path) {
            return Err(LegacyFault::Path);
        }
        let mut url = self.base.clone();
        // The path of a URL that has a host begins with a slash, so none of it is read as a host.
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, LazyLock},
        time::Duration,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{
        _core::{context::Holds, tasks::Tasks, units::Percent},
        config::LegacyConfig,
    };

    static OLD: LazyLock<OldServer> = LazyLock::new(old_server);

    fn old_server() -> OldServer {
        let config = LegacyConfig {
            url: "http://old.example:4000/api/trpc".into(),
            procedures: Vec::new(),
            paths: vec!["/api/files".into(), "/assets/".into()],
            forwards_session: false,
            timeout: Duration::from_secs(1),
            max_requests: 1,
            max_upload_bytes: 1,
            max_answer_bytes: 1,
            may_differ: Vec::new(),
            unordered: Vec::new(),
            tolerated_differences: Percent::ZERO,
            max_shadows: 1,
        };
        let room = Arc::new(|_: usize| Ok(Holds::default()));
        OldServer::new(config, room, Tasks::default()).unwrap()
    }

    #[test]
    fn nothing_leads_out_of_what_is_mounted() {
        let old = &*OLD;
        for wrong in [
            "/..",
            "/../admin",
            "/%2e%2e/admin",
            "/%2E./admin",
            "/a%2f..%2fadmin",
            "/a%5c..%5cadmin",
            "/..\\admin",
            "/%252e%252e%252fadmin",
            "/./a",
            "/a/%2e",
        ] {
            assert!(
                matches!(old.calls_url(wrong, None), Err(LegacyFault::Path)),
                "{wrong}"
            );
        }
        for elsewhere in [
            "/api/filesystem",
            "/api",
            "/",
            "//evil.example/api/files",
            "/assetsx",
        ] {
            assert!(old.plain_url(elsewhere, None).is_none(), "{elsewhere}");
        }
        for inside in ["/api/files", "/api/files/", "/assets/a.js", "/assets"] {
            assert!(old.plain_url(inside, None).is_some(), "{inside}");
        }
    }

    #[test]
    fn a_path_and_a_query_go_on_as_they_came() {
        let old = &*OLD;
        let url = old.calls_url("/a.b,c.d%2Ce", Some("batch=1&input=%7B%7D&x=a+b"));
        assert_eq!(
            url.unwrap().as_str(),
            "http://old.example:4000/api/trpc/a.b,c.d%2Ce?batch=1&input=%7B%7D&x=a+b"
        );
        let odd = old.calls_url("//evil.example/@user:1", None).unwrap();
        assert_eq!(odd.host_str(), Some("old.example"));
        assert_eq!(odd.path(), "/api/trpc//evil.example/@user:1");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_only_the_old_server_gets_it(path in "/.*", query in ".*") {
            let old = &*OLD;
            if let Ok(url) = old.calls_url(&path, Some(&query)) {
                prop_assert_eq!(url.origin(), old.base.origin());
                prop_assert!(url.path().starts_with("/api/trpc"), "{}", url);
            }
        }
    }
}
