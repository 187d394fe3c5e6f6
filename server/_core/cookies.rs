//! The cookies of a request, byte by byte: those of other programs may hold anything.

use http::{HeaderMap, HeaderValue, header};

/// The values of all cookies of this name, in the order in which they came, without white space around.
pub fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let cookies = headers.get_all(header::COOKIE).iter().flat_map(pairs);
    cookies.filter_map(move |pair| {
        let value = pair.get(name_of(pair).len()..)?.strip_prefix(b"=")?;
        is_named(pair, name).then(|| value.trim_ascii())
    })
}

/// The cookies of one header, as they stand between the semicolons.
pub fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';')
}

/// Whether a cookie has this name.
pub fn is_named(pair: &[u8], name: &str) -> bool {
    name_of(pair).trim_ascii() == name.as_bytes()
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default()
}
