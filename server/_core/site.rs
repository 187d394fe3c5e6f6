//! How browsers see this server: which origin is its own, whether their side is HTTPS, which cookie
//! they take.
//!
//! A proxy may rewrite `Host` and end TLS, so the connection says little about the browser's side of
//! it. What counts, in order: `PUBLIC_URL`, which an operator set; `Sec-Fetch-Site`, which scripts
//! cannot set and proxies pass on; the headers of proxies, but only those listed in
//! `TRUSTED_PROXY_HEADERS`, as anybody can send them; `Host`. This is the only place that reads them.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use url::Url;

use super::{
    auth::cookie::{CookieOptions, InsecureRequest, SameSite},
    environment::Environment,
};

/// How browsers reach the server, and which cookie they get.
#[derive(Clone, Debug, Default)]
pub struct SiteConfig {
    /// `PUBLIC_URL`: without a slash at its end.
    pub public_url: Option<String>,
    /// `TRUSTED_PROXY_HEADERS`.
    pub trusted_headers: Vec<ProxyHeader>,
    /// `SESSION_COOKIE_DOMAIN`; the host alone without one.
    pub cookie_domain: Option<String>,
    /// `SESSION_COOKIE_SAME_SITE`; lax on a developer's machine and strict elsewhere without one.
    pub cookie_same_site: Option<SameSite>,
    /// `SESSION_COOKIE_PARTITIONED`.
    pub cookie_partitioned: bool,
    /// `CSRF_TOKEN`: whether a change by cookie has to bring the session's token.
    pub csrf_token: CsrfToken,
    /// `CSRF_EXEMPT`: paths for which that is not asked.
    pub csrf_exempt: Vec<String>,
}

/// Whether a change by cookie has to bring the token of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CsrfToken {
    /// The check of origins does.
    #[default]
    Off,
    /// It does, as well.
    Required,
}

/// A header by which proxies say what they were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-Proto`.
    Proto,
    /// `X-Forwarded-Host`.
    Host,
    /// `Forwarded` (RFC 7239), its `proto` and `host`.
    Forwarded,
}

/// What the settings say of it.
#[derive(Clone, Debug)]
pub struct Site {
    environment: Environment,
    /// `PUBLIC_URL`.
    public_url: Option<Url>,
    trusted: Vec<ProxyHeader>,
    domain: Option<Arc<str>>,
    same_site: Option<SameSite>,
    partitioned: bool,
    csrf_token: CsrfToken,
    csrf_exempt: Vec<String>,
}

impl Site {
    /// A site with these settings.
    pub fn new(environment: Environment, config: &SiteConfig) -> Self {
        Self {
            environment,
            public_url: config
                .public_url
                .as_deref()
                .and_then(|url| Url::parse(url).ok()),
            trusted: config.trusted_headers.clone(),
            domain: config.cookie_domain.as_deref().map(Arc::from),
            same_site: config.cookie_same_site,
            partitioned: config.cookie_partitioned,
            csrf_token: config.csrf_token,
            csrf_exempt: config.csrf_exempt.clone(),
        }
    }

    /// Whether a change by cookie has to bring the token of its session.
    pub fn demands_csrf_token(&self) -> bool {
        self.csrf_token == CsrfToken::Required
    }

    /// Whether it has not, at all of these paths: each is named, or is below one that is.
    pub fn are_csrf_exempt(&self, paths: &[&str]) -> bool {
        let is_exempt = |path: &&str| {
            self.csrf_exempt.iter().any(|exempt| {
                let rest = path.strip_prefix(exempt.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        !self.csrf_exempt.is_empty() && paths.iter().all(is_exempt)
    }

    /// Whether an `Origin` is this server's own.
    pub fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        if is_same_origin(headers) {
            return true;
        }
        let public = self.public_url.as_ref();
        if public.is_some_and(|url| url.origin().ascii_serialization() == origin) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let own_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => "",
        };
        [
            self.forwarded(headers, ProxyHeader::Host, "host"),
            host(headers),
        ]
        .into_iter()
        .flatten()
        .any(|host| {
            // Browsers leave out the scheme's own port, some proxies add it.
            let bare = host.strip_suffix(own_port).unwrap_or(host);
            !bare.is_empty() && authority.eq_ignore_ascii_case(bare)
        })
    }

    /// Whether the browser's side is HTTPS, as far as the headers show.
    pub fn is_https(&self, headers: &HeaderMap) -> bool {
        let origin = origin(headers).unwrap_or_default();
        self.is_public_https()
            || (is_same_origin(headers) && origin.starts_with("https://"))
            || self.is_forwarded_https(headers)
    }

    /// The host that the browser asked, as far as the headers show.
    pub fn host<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let forwarded = self.forwarded(headers, ProxyHeader::Host, "host");
        forwarded.or_else(|| host(headers))
    }

    /// The attributes of a session cookie that this request's answer sets.
    pub fn cookie(&self, headers: &HeaderMap) -> Result<CookieOptions, InsecureRequest> {
        // An operator who names a public address knows what stands before it.
        let mut options = if self.is_public_https() {
            CookieOptions {
                same_site: if self.environment.is_local() {
                    SameSite::Lax
                } else {
                    SameSite::Strict
                },
                secure: true,
                ..CookieOptions::default()
            }
        } else {
            let https = self.is_https(headers);
            // Without HTTPS the name does not matter, and every request would pay for reading it.
            let hostname = if https {
                self.hostname(headers)
            } else {
                String::new()
            };
            CookieOptions::for_request(self.environment, https, &hostname)?
        };
        if let Some(same_site) = self.same_site {
            options.same_site = same_site;
        }
        options.domain = self.domain.clone();
        options.partitioned = self.partitioned;
        // Browsers take neither of the two without the mark.
        if (options.partitioned || options.same_site == SameSite::None) && !options.secure {
            return Err(InsecureRequest);
        }
        Ok(options)
    }

    /// The attributes of the cookie that clears a session.
    pub fn clearing(&self, headers: &HeaderMap) -> CookieOptions {
        let mut options = self.cookie(headers).unwrap_or_else(|_| CookieOptions {
            same_site: self.same_site.unwrap_or_default(),
            domain: self.domain.clone(),
            partitioned: self.partitioned,
            secure: false,
        });
        // It came along from another site, so it was set with these.
        if self.is_cross_site(headers) {
            options.same_site = SameSite::None;
        }
        options.secure |= options.partitioned || options.same_site == SameSite::None;
        options
    }

    fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        match headers.get("sec-fetch-site") {
            Some(relation) => relation == "cross-site",
            // Browsers leave it out over plain HTTP, where no such cookie can be set.
            None => {
                let origin = origin(headers);
                origin.is_some_and(|origin| !self.is_own(origin, headers)) && self.is_https(headers)
            }
        }
    }

    fn is_public_https(&self) -> bool {
        let public = self.public_url.as_ref();
        public.is_some_and(|url| url.scheme() == "https")
    }

    /// Whether any proxy that is trusted was reached by HTTPS.
    fn is_forwarded_https(&self, headers: &HeaderMap) -> bool {
        let plain = self
            .trusts(ProxyHeader::Proto)
            .then(|| HeaderName::from_static("x-forwarded-proto"));
        let mut listed = plain.iter().flat_map(|name| elements(headers, name));
        listed.any(is_https) || self.rfc7239(headers, "proto").any(is_https)
    }

    /// Of the proxy that is the nearest to the browser.
    fn forwarded<'a>(
        &self,
        headers: &'a HeaderMap,
        header: ProxyHeader,
        parameter: &'static str,
    ) -> Option<&'a str> {
        let name = HeaderName::from_static("x-forwarded-host");
        let mut rfc7239 = self.rfc7239(headers, parameter);
        self.trusts(header)
            .then(|| elements(headers, &name).next())
            .flatten()
            .or_else(|| rfc7239.next())
    }

    /// A parameter of each element of `Forwarded` (RFC 7239).
    fn rfc7239<'a>(
        &self,
        headers: &'a HeaderMap,
        parameter: &'static str,
    ) -> impl Iterator<Item = &'a str> {
        let name = self
            .trusts(ProxyHeader::Forwarded)
            .then_some(header::FORWARDED);
        name.into_iter()
            .flat_map(|name| elements(headers, &name).collect::<Vec<_>>())
            .flat_map(|element| element.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .filter(move |(name, _)| name.trim().eq_ignore_ascii_case(parameter))
            .map(|(_, value)| value.trim().trim_matches('"'))
    }

    fn trusts(&self, header: ProxyHeader) -> bool {
        self.trusted.contains(&header)
    }

    /// The name that the browser has in its address bar, without the port.
    fn hostname(&self, headers: &HeaderMap) -> String {
        let of_url = |url: &Url| url.host_str().map(str::to_owned);
        let of_origin = || {
            let origin = origin(headers).filter(|_| is_same_origin(headers))?;
            of_url(&Url::parse(origin).ok()?)
        };
        let of_host = || {
            let host = self.host(headers)?;
            of_url(&Url::parse(&format!("http://{host}")).ok()?)
        };
        let public = self.public_url.as_ref().and_then(of_url);
        public
            .or_else(of_origin)
            .or_else(of_host)
            .unwrap_or_default()
    }
}

/// Whether the browser says that the page and this server are of one origin.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let relation = headers.get("sec-fetch-site");
    relation.is_some_and(|relation| relation == "same-origin")
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

fn is_https(proto: &str) -> bool {
    ["https", "wss"]
        .iter()
        .any(|known| proto.eq_ignore_ascii_case(known))
}

/// The elements of a list, over all headers of the name.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn site(public_url: Option<&str>, trusted: &[ProxyHeader]) -> Site {
        Site::new(
            Environment::Production,
            &SiteConfig {
                public_url: public_url.map(String::from),
                trusted_headers: trusted.to_vec(),
                ..SiteConfig::default()
            },
        )
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const ALL: [ProxyHeader; 3] = [
        ProxyHeader::Proto,
        ProxyHeader::Host,
        ProxyHeader::Forwarded,
    ];

    #[test]
    fn a_rewritten_host_does_not_make_a_browsers_own_origin_foreign() {
        let origin = "https://app.example";
        let rewritten = ("host", "127.0.0.1:3000");
        for (site, more) in [
            (site(None, &[]), ("sec-fetch-site", "same-origin")),
            (site(None, &ALL), ("x-forwarded-host", "app.example")),
            (
                site(None, &ALL),
                ("x-forwarded-host", "APP.example:443, inner"),
            ),
            (
                site(None, &ALL),
                (
                    "forwarded",
                    "for=10.0.0.1;proto=https; Host=\"app.example\", for=x",
                ),
            ),
            (site(Some("https://app.example/"), &[]), ("x", "")),
            (site(None, &[]), ("host", "app.example:443")),
        ] {
            assert!(
                site.is_own(origin, &headers(&[rewritten, more])) || {
                    site.is_own(origin, &headers(&[more]))
                }
            );
        }
        for (site, more) in [
            (site(None, &ALL), ("sec-fetch-site", "cross-site")),
            (site(None, &ALL), ("sec-fetch-site", "same-site")),
            (site(None, &ALL), ("sec-fetch-site", "none")),
            // Anybody can send these.
            (site(None, &[]), ("x-forwarded-host", "app.example")),
            (site(None, &[]), ("forwarded", "host=app.example")),
            (
                site(None, &[ProxyHeader::Proto]),
                ("x-forwarded-host", "app.example"),
            ),
            (
                site(Some("https://app.example.evil.example"), &ALL),
                ("x", ""),
            ),
            (site(Some("http://app.example"), &ALL), ("x", "")),
        ] {
            assert!(
                !site.is_own(origin, &headers(&[rewritten, more])),
                "{more:?}"
            );
        }
    }

    #[test]
    fn a_cookie_is_marked_secure_wherever_the_browsers_side_is_https() {
        let rewritten = ("host", "127.0.0.1:3000");
        for (site, more) in [
            (site(Some("https://app.example"), &[]), &[][..]),
            (
                site(None, &[]),
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://app.example"),
                ],
            ),
            (
                site(None, &ALL),
                &[
                    ("x-forwarded-proto", "http, HTTPS"),
                    ("x-forwarded-host", "app.example"),
                ],
            ),
            (
                site(None, &ALL),
                &[("forwarded", "proto=https;host=app.example")],
            ),
        ] {
            let more: Vec<_> = [rewritten].iter().chain(more).copied().collect();
            let cookie = site.cookie(&headers(&more)).unwrap();
            assert_eq!((cookie.secure, cookie.same_site), (true, SameSite::Strict));
        }
        for more in [
            &[][..],
            &[("x-forwarded-proto", "https"), ("host", "app.example")],
            &[("origin", "https://app.example"), ("host", "app.example")],
            &[
                ("origin", "https://app.example"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert_eq!(site(None, &[]).cookie(&headers(more)), Err(InsecureRequest));
        }
    }

    #[test]
    fn a_session_is_cleared_from_another_site_as_it_was_set_there() {
        let https = site(None, &[ProxyHeader::Proto]);
        let forwarded = ("x-forwarded-proto", "https");
        let origin = ("origin", "https://front.example");
        let host = ("host", "api.example");
        for more in [
            &[host, forwarded, origin, ("sec-fetch-site", "cross-site")][..],
            &[host, forwarded, origin],
        ] {
            let cleared = https.clearing(&headers(more)).cleared();
            let cleared = cleared.to_str().unwrap();
            assert!(cleared.contains("; Secure; SameSite=None"), "{cleared}");
        }
        let same = [host, forwarded, ("sec-fetch-site", "same-origin")];
        let cleared = https.clearing(&headers(&same)).cleared();
        assert!(
            cleared
                .to_str()
                .unwrap()
                .ends_with("; Secure; SameSite=Strict")
        );
        // Over plain HTTP a cookie with the mark would not be taken.
        let plain = https.clearing(&headers(&[host])).cleared();
        assert!(
            plain
                .to_str()
                .unwrap()
                .ends_with("; HttpOnly; SameSite=Lax")
        );
    }

    #[test]
    fn settings_of_the_cookie_hold_and_none_of_them_works_without_https() {
        let config = SiteConfig {
            public_url: Some("https://api.example".into()),
            cookie_domain: Some("example".into()),
            cookie_same_site: Some(SameSite::None),
            cookie_partitioned: true,
            ..SiteConfig::default()
        };
        let cookie = Site::new(Environment::Production, &config).cookie(&HeaderMap::new());
        let cookie = cookie.unwrap();
        assert_eq!((cookie.same_site, cookie.secure), (SameSite::None, true));
        assert_eq!(
            (cookie.partitioned, cookie.domain.as_deref()),
            (true, Some("example"))
        );
        let plain = SiteConfig {
            public_url: Some("http://localhost:3000".into()),
            ..config
        };
        let cookie = Site::new(Environment::Development, &plain).cookie(&HeaderMap::new());
        assert_eq!(cookie, Err(InsecureRequest));
    }
}
