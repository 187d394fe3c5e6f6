//! A text that may be an address, without what may be a password in it: for faults, logs and pages.
//!
//! What was typed may be broken, so nothing is parsed. Better too much is left out than too little.

/// The text without what stands before an `@`, in a query or in a fragment.
///
/// `https://me:pw@host/v1?key=1` is `https:…@host/v1?…`. A text without a colon before its `@`, such as an e-mail
/// address, stays as it is.
pub fn masked(text: &str) -> String {
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
        ] {
            assert_eq!(masked(text), text);
        }
    }
}
