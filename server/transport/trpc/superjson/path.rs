//! Paths of superjson: keys joined by `.`, in which `\` and `.` are escaped.

use std::borrow::Cow;

use super::fault::{DecodeError, short};

/// How a writer escaped: with `v: 1` both `\` and `.`, before that only `.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EscapeRule {
    Legacy,
    V1,
}

/// Names that lead out of an object in JavaScript; superjson refuses them in paths.
pub(super) fn is_forbidden(key: &str) -> bool {
    matches!(key, "__proto__" | "prototype" | "constructor")
}

pub(super) fn escape_into(key: &str, path: &mut String) {
    for char in key.chars() {
        if matches!(char, '.' | '\\') {
            path.push('\\');
        }
        path.push(char);
    }
}

/// The keys of a path; one that needs no unescaping is a part of it.
pub(super) fn split(path: &str, rule: EscapeRule) -> Result<Vec<Cow<'_, str>>, DecodeError> {
    let mut keys = Vec::new();
    if !path.contains('\\') {
        for key in path.split('.') {
            keys.push(checked(Cow::Borrowed(key), path)?);
        }
        return Ok(keys);
    }
    let mut key = String::new();
    let mut chars = path.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek().copied(), rule) {
            ('\\', Some('.'), _) => {
                key.push('.');
                chars.next();
            }
            ('\\', Some('\\'), EscapeRule::V1) => {
                key.push('\\');
                chars.next();
            }
            ('\\', _, EscapeRule::V1) => {
                return Err(DecodeError::BadEscape {
                    path: short(path.into()),
                });
            }
            ('.', _, _) => keys.push(checked(Cow::Owned(std::mem::take(&mut key)), path)?),
            (char, _, _) => key.push(char),
        }
    }
    keys.push(checked(Cow::Owned(key), path)?);
    Ok(keys)
}

fn checked<'a>(key: Cow<'a, str>, path: &str) -> Result<Cow<'a, str>, DecodeError> {
    if is_forbidden(&key) {
        return Err(DecodeError::ForbiddenKey {
            path: short(path.into()),
            key: key.into_owned(),
        });
    }
    Ok(key)
}
