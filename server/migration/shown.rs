//! How a difference is shown in an example: enough to find it, nothing that is somebody's.
//!
//! No text is shown, only its kind and length: whatever its name, it may be a message, an address or a token.
//! Small numbers, booleans and `null` are; names of members are where they look like those of a program.

use super::meaning::{Meaning, instant};

/// The longest name of a member, or of a type, that is shown.
const NAME: usize = 40;
/// Numbers from here on are not shown: they may be of a card, a phone, a person or a company.
const LARGE: f64 = 1_000_000.0;
/// Digits at the end of a name, and of an item's place.
const DIGITS: (usize, usize) = (2, 4);
/// Members below whose names no number is shown; parts of names in lower case.
const SECRET: [&str; 16] = [
    "token",
    "secret",
    "pass",
    "key",
    "cookie",
    "session",
    "auth",
    "hash",
    "salt",
    "pin",
    "phone",
    "cpr",
    "cvr",
    "card",
    "code",
    "credential",
];

/// The value at this place, as people may see it.
pub(super) fn shown(path: &[String], value: &Meaning) -> String {
    match value {
        Meaning::Bool(value) => value.to_string(),
        Meaning::Number(value) if value.abs() < LARGE && !is_secret(path) => value.to_string(),
        _ => kind(value),
    }
}

fn is_secret(path: &[String]) -> bool {
    path.iter().any(|step| {
        let step = step.to_lowercase();
        SECRET.iter().any(|secret| step.contains(secret))
    })
}

/// A place, as people may see it: `*` stands for members whose names may be somebody's, such as an address
/// or a token.
pub(super) fn place(path: &[String]) -> String {
    let steps = path.iter().map(|step| match is_plain(step) {
        true => step.as_str(),
        false => "*",
    });
    steps.collect::<Vec<_>>().join(".")
}

/// Whether it is a name such as `createdAt` or `line_2`, or the place of an item.
fn is_plain(step: &str) -> bool {
    let name = step.trim_end_matches(|it: char| it.is_ascii_digit());
    let digits = step.len() - name.len();
    let is_name = name
        .bytes()
        .all(|it| it.is_ascii_alphabetic() || it == b'_');
    let most = match name {
        "" => DIGITS.1,
        _ => DIGITS.0,
    };
    is_name && digits <= most && step.len() <= NAME
}

/// What it is, without what it says.
fn kind(value: &Meaning) -> String {
    match value {
        Meaning::Undefined => "undefined".to_owned(),
        Meaning::Null => "null".to_owned(),
        Meaning::Bool(_) => "a boolean".to_owned(),
        Meaning::Number(_) => "a number, not shown".to_owned(),
        Meaning::BigInt(_) => "a bigint".to_owned(),
        Meaning::Date(Some(_)) => "a date".to_owned(),
        Meaning::Date(None) => "an invalid date".to_owned(),
        Meaning::Text(text) if instant(text).is_some() => "a date as text".to_owned(),
        Meaning::Text(text) => format!("a text of {} characters", text.chars().count()),
        Meaning::List(items) => format!("a list of {}", items.len()),
        Meaning::Set(items) => format!("a set of {}", items.len()),
        Meaning::Map(pairs) => format!("a map of {}", pairs.len()),
        Meaning::Object(members) => format!("an object of {}", members.len()),
        Meaning::Other(kind, _) if is_plain(kind) => format!("a {kind}"),
        Meaning::Other(..) => "a value of another type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &str) -> Vec<String> {
        steps.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn no_text_is_shown_and_no_number_that_may_be_somebodys() {
        for (steps, text) in [
            ("status", "in-progress"),
            ("address", "Odense"),
            ("bearer", "abc"),
            ("csrf", "x1"),
            ("iban", "DK5000400440116243"),
            ("x", "anna@example.com"),
        ] {
            let value = Meaning::Text(text.to_owned());
            let length = text.len();
            assert_eq!(
                shown(&path(steps), &value),
                format!("a text of {length} characters")
            );
        }
        let date = Meaning::Text("2026-01-02T03:04:05Z".to_owned());
        assert_eq!(shown(&path("at"), &date), "a date as text");
        assert_eq!(shown(&path("at"), &Meaning::Date(Some(0))), "a date");
        for (steps, number, says) in [
            ("n", 1.5, "1.5"),
            ("error/status", 404.0, "404"),
            ("pin", 1234.0, "a number, not shown"),
            ("token/value", 1234.0, "a number, not shown"),
            ("passwords/0", 1234.0, "a number, not shown"),
            ("n", 12_345_678.0, "a number, not shown"),
            ("n", f64::NAN, "a number, not shown"),
        ] {
            assert_eq!(
                shown(&path(steps), &Meaning::Number(number)),
                says,
                "{steps}"
            );
        }
    }

    #[test]
    fn a_name_that_may_be_somebodys_is_not_shown() {
        for (steps, says) in [
            ("messages/3/createdAt", "messages.3.createdAt"),
            ("line_2/m0", "line_2.m0"),
            ("users/anna@example.com/n", "users.*.n"),
            ("sess_6g2q8x1c/n", "*.n"),
            ("companies/12345678", "companies.*"),
            ("Anna Hansen", "*"),
        ] {
            assert_eq!(place(&path(steps)), says);
        }
    }
}
