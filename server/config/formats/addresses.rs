//! Where something is reached: addresses, origins, names of domains, and URLs.

use std::net::{IpAddr, Ipv4Addr};

use url::Url;

use super::{Format, items, whole_or_wrong};
use crate::_core::{database_url::sqlite_file, slips};

/// An IP address, or `localhost`.
pub(in super::super) struct Address;

impl Format for Address {
    type Value = IpAddr;

    fn expected(&self) -> String {
        "an IP address, or `localhost`".into()
    }

    fn parse(&self, text: &str) -> Result<IpAddr, String> {
        match text {
            "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
            _ => whole_or_wrong(text, text.parse().ok()),
        }
    }
}

/// Origins as browsers send them.
pub(in super::super) struct Origins;

impl Format for Origins {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "origins `scheme://host` or `scheme://host:port`, separated by commas; no path, no `*`"
            .into()
    }

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        items(text).map(origin).collect()
    }

    fn unset(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Written as a browser writes it: lower case, without the scheme's own port.
fn origin(text: &str) -> Result<String, String> {
    let bare = text
        .split_once("://")
        .is_some_and(|(_, rest)| !rest.contains(['/', '?', '#', '@', '*', '\\']));
    let url = bare.then(|| Url::parse(text).ok()).flatten();
    let written = url.and_then(|url| {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        Some(match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        })
    });
    whole_or_wrong(text, written)
}

/// Where an HTTP API begins; a path is appended to it.
pub(in super::super) struct BaseUrl;

impl Format for BaseUrl {
    type Value = String;

    fn expected(&self) -> String {
        "an `http` or `https` URL without user name, query or fragment".into()
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(text).ok().filter(fits);
        whole_or_wrong(text, url.map(|_| text.trim_end_matches('/').to_owned()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_base_url(text)
    }
}

/// Paths that others begin with.
pub(in super::super) struct Prefixes;

impl Format for Prefixes {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "paths such as `/api/files`, separated by commas; each begins with `/` and holds no `..`, \
         `//`, `%`, `?`, `#`, `*`, backslash or blank"
            .into()
    }

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let fits = |path: &str| {
            let is_odd = |c: char| "%?#*\\".contains(c) || c.is_whitespace() || c.is_control();
            path.starts_with('/')
                && !path.contains(is_odd)
                && !path.contains("//")
                && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        };
        let prefix = |path: &str| whole_or_wrong(path, fits(path).then(|| path.to_owned()));
        items(text).map(prefix).collect()
    }

    fn unset(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// A domain's name.
pub(in super::super) struct Domain;

impl Format for Domain {
    type Value = String;

    fn expected(&self) -> String {
        "the name of a domain such as `app.example`, without scheme, port or path".into()
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        let is_label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.bytes().all(inner)
        };
        let domain = text.strip_prefix('.').unwrap_or(text);
        let fits = domain.split('.').all(is_label);
        whole_or_wrong(text, fits.then(|| domain.to_ascii_lowercase()))
    }
}

/// The address of a database.
pub(in super::super) struct DatabaseUrl;

impl Format for DatabaseUrl {
    type Value = String;

    fn expected(&self) -> String {
        "`sqlite://` and the path of a file as it is, or `postgres://user:password@host:port/database`"
            .into()
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        let fits = ["sqlite://", "postgres://", "postgresql://"]
            .iter()
            .filter_map(|scheme| text.strip_prefix(scheme))
            .any(|rest| !rest.is_empty() && !rest.starts_with('?'));
        whole_or_wrong(text, fits.then(|| text.to_owned()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        let reason = match sqlite_file(text) {
            Some(file) => file.err(),
            None => slips::in_url(text),
        };
        reason.map(str::to_owned)
    }
}
