//! Settings about who people are.

use http::HeaderName;

use super::{Format, items, whole_or_wrong};
use crate::_core::auth::asserted::Network;

/// Words, whatever they are.
pub(in super::super) struct Words;

impl Format for Words {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "words separated by commas".into()
    }

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        Ok(items(text).map(str::to_owned).collect())
    }

    fn unset(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Addresses, single ones or all that begin alike.
pub(in super::super) struct Networks;

impl Format for Networks {
    type Value = Vec<Network>;

    fn expected(&self) -> String {
        "addresses such as `10.0.0.7`, or networks such as `10.0.0.0/8`, separated by commas".into()
    }

    fn parse(&self, text: &str) -> Result<Vec<Network>, String> {
        items(text)
            .map(|item| whole_or_wrong(item, Network::parse(item)))
            .collect()
    }

    fn unset(&self) -> Option<Vec<Network>> {
        Some(Vec::new())
    }
}

/// The name of a header that no client needs for anything else.
pub(in super::super) struct Header;

impl Format for Header {
    type Value = HeaderName;

    fn expected(&self) -> String {
        "a header's name that begins with `x-` or `remote-`, such as `x-forwarded-user`".into()
    }

    fn parse(&self, text: &str) -> Result<HeaderName, String> {
        let name = HeaderName::try_from(text).ok();
        let is_own = |name: &HeaderName| {
            let name = name.as_str();
            name.starts_with("x-") || name.starts_with("remote-")
        };
        name.filter(is_own).ok_or_else(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_which_part_of_it_is_wrong() {
        assert_eq!(
            Words.parse("a, b c ,,d"),
            Ok(vec!["a".into(), "b c".into(), "d".into()])
        );
        assert_eq!(Networks.parse("10.0.0.0/8, proxy"), Err("proxy".into()));
        assert!(
            Networks
                .parse("10.0.0.7,::1")
                .is_ok_and(|all| all.len() == 2)
        );
        assert_eq!(
            Header.parse("X-Forwarded-User").unwrap(),
            "x-forwarded-user"
        );
        // What says more than who somebody is.
        for wrong in ["authorization", "cookie", "host", "x user", ""] {
            assert_eq!(Header.parse(wrong), Err(wrong.to_owned()));
        }
    }
}
