//! Callers whom a proxy names: one that signs people in itself, and says who they are in a header.
//!
//! Anybody can send a header, so it counts only where the connection comes from a listed address;
//! [`TrustedProxy::cleanse`] takes it from all other requests, before anything looks at them. Whoever is
//! named so has no token of ours: the proxy says it anew with each request, and signs out itself.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName};

use super::oidc::RoleWords;
use crate::_core::caller::Role;

/// The longest name that is taken.
const MAX_NAME: usize = 200;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.7`, `10.0.0.0/8`, `::1` or `fd00::/8`; `None` for anything else, also for an address
    /// with more bits than its length says.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().ok()?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|it| it.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => whole,
        };
        let network = Self { first, bits };
        let is_right = bits <= whole && network.number(first)? == number(first);
        is_right.then_some(network)
    }

    /// Whether an address is one of them. IPv4 may come as IPv6 (`::ffff:10.0.0.7`).
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4()
            && self.number(address) == Some(number(self.first))
    }

    /// What the address begins with, in the same number of bits.
    fn number(&self, address: IpAddr) -> Option<u128> {
        let whole: u8 = if address.is_ipv4() { 32 } else { 128 };
        let rest = u32::from(whole.checked_sub(self.bits)?);
        let number = number(address);
        Some(
            number
                .checked_shr(rest)
                .unwrap_or(0)
                .checked_shl(rest)
                .unwrap_or(0),
        )
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_bits().into(),
        IpAddr::V6(it) => it.to_bits(),
    }
}

/// A proxy that names callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    /// The header in which it does.
    pub header: HeaderName,
    /// The header in which it says what their roles follow from; none where roles are given by hand.
    pub roles: Option<HeaderName>,
    /// Which words give which role.
    pub words: RoleWords,
    /// The addresses that it connects from.
    pub addresses: Vec<Network>,
    /// How long a stream or a socket goes on by what it said when that was opened: nothing that is open learns
    /// that a role was taken away.
    pub ttl: Duration,
}

/// Whom it names, and what they may do; without a role, what the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AssertedUser<'a> {
    pub(super) name: &'a str,
    pub(super) role: Option<Role>,
}

impl TrustedProxy {
    /// Takes the headers from a request that does not come from the proxy.
    pub fn cleanse(&self, headers: &mut HeaderMap, peer: Option<IpAddr>) {
        if peer.is_some_and(|peer| self.addresses.iter().any(|it| it.contains(peer))) {
            return;
        }
        headers.remove(&self.header);
        if let Some(roles) = &self.roles {
            headers.remove(roles);
        }
    }

    /// Whom a request names that was cleansed. Two names are none, and so is one with two lines of roles: a proxy
    /// that adds to what a client sends must not let the client choose.
    pub(super) fn named<'a>(&self, headers: &'a HeaderMap) -> Option<AssertedUser<'a>> {
        let mut all = headers.get_all(&self.header).into_iter();
        let name = all.next()?.to_str().ok()?.trim();
        if all.next().is_some() || name.is_empty() || name.len() > MAX_NAME {
            return None;
        }
        let Some(header) = &self.roles else {
            return Some(AssertedUser { name, role: None });
        };
        let mut lines = headers.get_all(header).into_iter();
        let line = match lines.next() {
            Some(line) => line.to_str().ok()?,
            None => "",
        };
        if lines.next().is_some() {
            return None;
        }
        let words = line.split([',', ';', ' ']).map(str::trim);
        let role = self.words.role(words.filter(|it| !it.is_empty()));
        Some(AssertedUser { name, role })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_are_compared_as_far_as_the_network_says() {
        for (network, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.7", "::ffff:10.0.0.7", "::1"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "fd00::1", "10.0.0.7"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(
                parsed.contains(inside.parse().unwrap()),
                "{network} {inside}"
            );
            assert!(
                !parsed.contains(outside.parse().unwrap()),
                "{network} {outside}"
            );
        }
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.7/33",
            "10.0.0.7/8",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "proxy",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    fn proxy() -> TrustedProxy {
        TrustedProxy {
            header: HeaderName::from_static("x-user"),
            roles: Some(HeaderName::from_static("x-groups")),
            words: RoleWords {
                admin: vec!["admins".into()],
                viewer: Vec::new(),
            },
            addresses: vec![Network::parse("10.0.0.0/8").unwrap()],
            ttl: Duration::from_secs(60),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_header_is_taken_from_everybody_else() {
        let sent = headers(&[("x-user", "bo"), ("x-groups", "admins"), ("other", "1")]);
        for (peer, left) in [
            (Some("10.1.2.3"), 3),
            (Some("::ffff:10.1.2.3"), 3),
            (Some("192.0.2.1"), 1),
            (Some("::1"), 1),
            (None, 1),
        ] {
            let mut sent = sent.clone();
            proxy().cleanse(&mut sent, peer.map(|it| it.parse().unwrap()));
            assert_eq!(sent.len(), left, "{peer:?}");
        }
    }

    #[test]
    fn one_name_is_taken_and_the_highest_role_of_its_words() {
        let named = |pairs: &[(&'static str, &'static str)]| {
            let (headers, proxy) = (headers(pairs), proxy());
            proxy
                .named(&headers)
                .map(|it| (it.name.to_owned(), it.role))
        };
        let bo = |role| Some(("bo".to_owned(), Some(role)));
        assert_eq!(named(&[("x-user", " bo ")]), bo(Role::User));
        assert_eq!(
            named(&[("x-user", "bo"), ("x-groups", "staff, admins")]),
            bo(Role::Admin)
        );
        for pairs in [
            &[][..],
            &[("x-user", "")],
            &[("x-user", "bo"), ("x-user", "boss")],
            // The client's own line, and the proxy's below it.
            &[
                ("x-user", "bo"),
                ("x-groups", "admins"),
                ("x-groups", "staff"),
            ],
        ] {
            assert_eq!(named(pairs), None, "{pairs:?}");
        }
    }
}
