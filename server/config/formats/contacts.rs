//! Where alerts go: e-mail addresses and the addresses of receivers.

use http::{HeaderMap, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::{Format, whole_or_wrong};
use crate::_core::slips;

/// Somebody's e-mail address.
pub(in super::super) struct MailAddress;

impl Format for MailAddress {
    type Value = Mailbox;

    fn expected(&self) -> String {
        "an e-mail address such as `me@example.com` or `Me <me@example.com>`".into()
    }

    fn parse(&self, text: &str) -> Result<Mailbox, String> {
        whole_or_wrong(text, text.parse().ok())
    }
}

/// E-mail addresses.
pub(in super::super) struct MailAddresses;

impl Format for MailAddresses {
    type Value = Mailboxes;

    fn expected(&self) -> String {
        "e-mail addresses such as `me@example.com` or `Me <me@example.com>`, separated by commas"
            .into()
    }

    fn parse(&self, text: &str) -> Result<Mailboxes, String> {
        let some = text.parse::<Mailboxes>().ok();
        whole_or_wrong(text, some.filter(|some| some.iter().next().is_some()))
    }
}

/// Headers that a receiver asks for, as OpenTelemetry writes them.
pub(in super::super) struct Headers;

impl Format for Headers {
    type Value = HeaderMap;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "headers as `name=value`, separated by commas; values may be percent-encoded".into()
    }

    fn parse(&self, text: &str) -> Result<HeaderMap, String> {
        let header = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let name = HeaderName::try_from(name.trim()).ok()?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::try_from(&*value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let headers = text.split(',').map(header);
        whole_or_wrong(text, headers.collect())
    }

    fn unset(&self) -> Option<HeaderMap> {
        Some(HeaderMap::new())
    }
}

/// Where e-mails are handed over.
pub(in super::super) struct SmtpUrl;

impl Format for SmtpUrl {
    type Value = SecretString;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "`smtp://` or `smtps://`, user name and password where they are needed, host, and port \
         where it is not the usual one: `smtp://user:password@mail.example.com:587`"
            .into()
    }

    fn parse(&self, text: &str) -> Result<SecretString, String> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "smtp" | "smtps")
                && url.host_str().is_some_and(|host| !host.is_empty())
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty() == url.password().is_none()
        };
        let url = Url::parse(text).ok().filter(fits);
        whole_or_wrong(text, url.map(|_| text.into()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_url(text).map(str::to_owned)
    }
}

/// A proxy: `http://user:password@proxy.example:3128`.
pub(in super::super) struct ProxyUrl;

impl Format for ProxyUrl {
    type Value = SecretString;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "`http://` or `https://`, user name and password where they are needed, host and port: \
         `http://proxy.example.com:3128`"
            .into()
    }

    fn parse(&self, text: &str) -> Result<SecretString, String> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(text).ok().filter(fits);
        whole_or_wrong(text, url.map(|_| text.into()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_url(text).map(str::to_owned)
    }
}

/// An address that whoever knows it may use.
pub(in super::super) struct SecretUrl;

impl Format for SecretUrl {
    type Value = SecretString;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "an `http` or `https` URL without user name and fragment".into()
    }

    fn parse(&self, text: &str) -> Result<SecretString, String> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(text).ok().filter(fits);
        whole_or_wrong(text, url.map(|_| text.into()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_url(text).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[track_caller]
    fn is_taken(format: &impl Format<Value = SecretString>, good: &[&str], bad: &[&str]) {
        for text in good {
            let taken = format.parse(text).expect("a good value");
            assert_eq!(taken.expose_secret(), *text);
        }
        for text in bad {
            assert!(format.parse(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn mail_servers_have_a_host_and_a_name_only_with_a_password() {
        is_taken(
            &SmtpUrl,
            &[
                "smtp://a.example",
                "smtps://me:p%40ss@a.example:465",
                "smtp://[::1]:25/",
            ],
            &[
                "smtp://",
                "a.example:25",
                "http://a.example",
                "smtp://me@a.example",
                "smtp://a/b",
                "smtp://a?tls=none",
            ],
        );
    }

    #[test]
    fn receivers_are_http_and_may_hold_their_key_in_path_and_query() {
        is_taken(
            &ProxyUrl,
            &["http://proxy:3128", "https://me:x@proxy.example/"],
            &[
                "proxy:3128",
                "socks5://proxy",
                "http://proxy/a",
                "http://proxy?a=1",
            ],
        );
        is_taken(
            &SecretUrl,
            &[
                "https://hooks.example/services/T/B/x",
                "http://127.0.0.1:1/?key=1",
            ],
            &[
                "ftp://a.example",
                "hooks.example",
                "https://me:x@a.example",
                "https://a.example/#x",
            ],
        );
    }

    #[test]
    fn mail_addresses_are_one_or_several_and_never_none() {
        assert_eq!(
            MailAddresses
                .parse("a@b.example, C <c@d.example>")
                .map(|all| all.iter().count()),
            Ok(2)
        );
        for bad in [",", "a"] {
            assert!(MailAddresses.parse(bad).is_err(), "{bad}");
        }
        assert!(MailAddress.parse("a@b.example, c@d.example").is_err());
    }
}
