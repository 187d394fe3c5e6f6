//! A text that may be an address, without what may be a password in it: for faults, logs and pages.
//!
//! What was typed may be broken, so nothing is parsed. Better too much is left out than too little.

/// What a name of a secret holds, in lower case.
const SECRET: [&str; 6] = ["pass", "pwd", "secret", "token", "key", "credential"];
/// Of addresses, also where their slashes are forgotten.
const SCHEMES: [&str; 4] = ["http", "https", "postgres", "postgresql"];

/// The text without what stands before an `@`, in a query or in a fragment, after `password=` and the like, or in
/// the place of a port that is none.
///
/// `https://me:pw@host/v1?key=1` is `https:…@host/v1?…`. A text without a colon before its `@`, such as an e-mail
/// address, stays as it is.
pub fn masked(text: &str) -> String {
    let ends = [assignment(text), wrong_port(text)];
    let Some(end) = ends.into_iter().flatten().min() else {
        return without_credentials(text);
    };
    let shown = without_credentials(&text[..end]);
    match shown.ends_with('…') {
        true => shown,
        false => format!("{shown}…"),
    }
}

/// Where the value of the first `password=` or the like begins.
fn assignment(text: &str) -> Option<usize> {
    let begins = |place: usize| {
        let before = text[..place].trim_end();
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
        let name = name.into_iter().next().unwrap_or_default().to_lowercase();
        (SECRET.iter().any(|it| name.contains(it))).then_some(place + 1)
    };
    let mut places = text.match_indices('=');
    places.find_map(|(place, _)| begins(place))
}

/// Where what stands in the place of a port begins, if it is no number: `http://me:pw/x` lacks its host.
fn wrong_port(text: &str) -> Option<usize> {
    let begins = |after: usize| {
        let is_file = text[..after].ends_with("sqlite:");
        let rest = text[after..].trim_start_matches('/');
        // What stands before an `@` is left out anyway.
        if is_file || rest.contains('@') {
            return None;
        }
        let start = text.len() - rest.len();
        let authority = rest.split(['/', '?', '#', ',', ' ']).next()?;
        let host = match authority.starts_with('[') {
            true => authority.find(']').unwrap_or_default(),
            false => 0,
        };
        let colon = host + authority[host..].find(':')?;
        let is_port = authority[colon + 1..].bytes().all(|it| it.is_ascii_digit());
        (!is_port).then_some(start + colon + 1)
    };
    let is_scheme = |place: usize| {
        let of = text[..place].rsplit(|c: char| !c.is_ascii_alphabetic());
        let of = of.into_iter().next().unwrap_or_default();
        text[place + 1..].starts_with('/') || SCHEMES.contains(&of)
    };
    let mut places = text.match_indices(':').map(|(place, _)| place);
    places.find_map(|place| is_scheme(place).then(|| begins(place + 1))?)
}

fn without_credentials(text: &str) -> String {
    let is_address = text.contains("://");
    let secret_begins = |c: char| c == '?' || (is_address && c == '#');
    let (shown, rest) = match text.split_once(secret_begins) {
        Some((_, rest)) => text.split_at(text.len() - rest.len()),
        None => (text, ""),
    };
    let Some(at) = text.rfind('@') else {
        return match rest {
            "" => shown.to_owned(),
            _ => format!("{shown}…"),
        };
    };
    match text[..at].find(':') {
        // The `?` or `#` may stand in the password, and what follows the `@` in the query.
        Some(colon) if at >= shown.len() => format!("{}:…", &text[..colon]),
        Some(colon) if rest.is_empty() => format!("{}:…{}", &text[..colon], &shown[at..]),
        Some(colon) => format!("{}:…{}…", &text[..colon], &shown[at..]),
        None if rest.is_empty() => shown.to_owned(),
        None => format!("{shown}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_no_query_and_no_fragment_of_an_address_is_left() {
        for (text, shown) in [
            ("postgres://me:pw@host/db", "postgres:…@host/db"),
            ("me:pw@host", "me:…@host"),
            ("https://pw@host/v1", "https:…@host/v1"),
            ("https://a@b, https://c:pw@e", "https:…@e"),
            ("https://host/?key=pw", "https://host/?…"),
            ("https://host/#t=pw", "https://host/#…"),
            ("https://me:pw@host/?pw#pw", "https:…@host/?…"),
            // Marks that stand in the password itself, and an `@` in a query.
            ("https://me:p?pw@host", "https:…"),
            ("https://me:p#pw@host", "https:…"),
            ("https://me:p@pw@host", "https:…@host"),
            ("https://host/?pw=a@pw", "https:…"),
            ("https://host/v1?", "https://host/v1?"),
            // What is no URL: words of libpq, and addresses without their host.
            ("host=db user=me password=pw", "host=db user=me password=…"),
            ("host=db PASSWORD = 'pw' x=pw", "host=db PASSWORD =…"),
            ("host=db password=a@pw", "host=db password=…"),
            ("postgres:/me:pw", "postgres:/me:…"),
            ("postgres:me:pw", "postgres:me:…"),
            ("http://me:pw/api", "http://me:…"),
            ("http://me:pw", "http://me:…"),
            ("http://a:1, http://me:pw/api", "http://a:1, http://me:…"),
            ("http://a@b, http://me:pw/api", "http:…@b, http://me:…"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
            assert!(!masked(text).contains("pw"), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_stays() {
        for text in [
            "",
            "7, a@b.example",
            "a#b",
            "ünïcode",
            "info,modelramp=debug",
            "http://127.0.0.1:3000/api",
            "http://[::1]:3000/api",
            "http://host:/",
            "sqlite::memory:",
            "sqlite://a:b.db",
            "chat.getMessages:messages.*.id",
        ] {
            assert_eq!(masked(text), text);
        }
    }
}
