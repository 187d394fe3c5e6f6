//! How a value is shown in an example of a difference: enough to find it, nothing that is somebody's.
//!
//! Numbers, dates and short words of programs are shown. Of any other text only the length is: it may be a
//! message, a name, an address or a token.

use super::meaning::Meaning;

/// The longest word that is shown.
const WORD: usize = 24;
/// Digits in a word that may still be no number of somebody's, and no token.
const DIGITS: usize = 4;
/// Members whose values are never shown, whatever they are; parts of names in lower case.
const SECRET: [&str; 14] = [
    "token", "secret", "password", "passwd", "key", "cookie", "session", "auth", "hash", "salt",
    "pin", "phone", "cpr", "email",
];

/// The value of a member of this name, as people may see it.
pub(super) fn shown(name: &str, value: &Meaning) -> String {
    let name = name.to_lowercase();
    if SECRET.iter().any(|secret| name.contains(secret)) {
        return format!("{}, not shown", kind(value));
    }
    match value {
        Meaning::Bool(value) => value.to_string(),
        Meaning::Number(value) => value.to_string(),
        Meaning::Date(Some(ms)) => chrono::DateTime::from_timestamp_millis(*ms)
            .map_or_else(|| kind(value), |at| at.to_rfc3339()),
        Meaning::Text(text) if is_word(text) => format!("\"{text}\""),
        _ => kind(value),
    }
}

/// What it is, without what it says.
fn kind(value: &Meaning) -> String {
    match value {
        Meaning::Undefined => "undefined".to_owned(),
        Meaning::Null => "null".to_owned(),
        Meaning::Bool(_) => "a boolean".to_owned(),
        Meaning::Number(_) => "a number".to_owned(),
        Meaning::BigInt(_) => "a bigint".to_owned(),
        Meaning::Date(Some(_)) => "a date".to_owned(),
        Meaning::Date(None) => "an invalid date".to_owned(),
        Meaning::Text(text) => format!("a text of {} characters", text.chars().count()),
        Meaning::List(items) => format!("a list of {}", items.len()),
        Meaning::Set(items) => format!("a set of {}", items.len()),
        Meaning::Map(pairs) => format!("a map of {}", pairs.len()),
        Meaning::Object(members) => format!("an object of {}", members.len()),
        Meaning::Other(kind, _) => format!("a {}", kind.chars().take(WORD).collect::<String>()),
    }
}

/// Whether a text is a word of a program, such as `in-progress` or `NOT_FOUND`.
fn is_word(text: &str) -> bool {
    let of_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.len() <= WORD && digits <= DIGITS && text.bytes().all(of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> String {
        shown(name, &Meaning::Text(value.to_owned()))
    }

    #[test]
    fn words_are_shown_and_what_is_somebodys_is_not() {
        assert_eq!(text("status", "in-progress"), "\"in-progress\"");
        assert_eq!(text("title", "Hello Anna"), "a text of 10 characters");
        assert_eq!(text("from", "anna@example.com"), "a text of 16 characters");
        assert_eq!(text("x", "sk-1a2b3c4d5e6f"), "a text of 15 characters");
        assert_eq!(text("x", "+4512345678"), "a text of 11 characters");
        assert_eq!(
            text("accessToken", "abc"),
            "a text of 3 characters, not shown"
        );
        assert_eq!(
            shown("pin", &Meaning::Number(1234.0)),
            "a number, not shown"
        );
        assert_eq!(shown("n", &Meaning::Number(1.5)), "1.5");
        assert_eq!(
            shown("at", &Meaning::Date(Some(0))),
            "1970-01-01T00:00:00+00:00"
        );
    }
}
