//! The texts of a JSON document, replaced one by one; all else stays as it was written.
//!
//! Nothing is built and nothing recurses, so a document may be as deep and as large as it likes.

use std::borrow::Cow;

use crate::_core::json_text;

/// Bytes of a key that are looked at.
const LONGEST_KEY: usize = 64;

/// What a text is in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The key of a field.
    Key,
    /// A value, or an item of a list.
    Text,
    /// A number.
    Number,
}

/// A container that is open.
struct Level {
    /// Where the key begins under which its items stand; in an object, the last key.
    key: Option<u32>,
    is_object: bool,
    expects_key: bool,
}

/// The document with the texts that `edit` gives in place of others; `None` where there is none. `edit` is
/// given the key under which a text stands (`key` at the top), what it is, and the text.
pub(super) fn edited(
    json: &str,
    key: &str,
    edit: &mut dyn FnMut(&str, What, &str) -> Option<String>,
) -> Option<String> {
    let bytes = json.as_bytes();
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let top = levels.last_mut();
        let above = top.as_ref().and_then(|level| level.key);
        let end = match byte {
            b'"' => string_end(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                at + bytes.iter().skip(at).take_while(|it| is_part(it)).count()
            }
            b'{' | b'[' => {
                let is_object = *byte == b'{';
                levels.push(Level {
                    key: above,
                    is_object,
                    expects_key: is_object,
                });
                at + 1
            }
            b'}' | b']' => {
                levels.pop();
                at + 1
            }
            b',' => {
                if let Some(level) = top {
                    level.expects_key = level.is_object;
                }
                at + 1
            }
            _ => at + 1,
        };
        let literal = json.get(at..end).unwrap_or_default();
        let what = match byte {
            b'"' => match levels.last_mut() {
                Some(level) if level.expects_key => {
                    level.expects_key = false;
                    level.key = u32::try_from(at).ok();
                    Some(What::Key)
                }
                _ => Some(What::Text),
            },
            b'-' | b'0'..=b'9' => Some(What::Number),
            _ => None,
        };
        if let Some(what) = what {
            let key = above.map_or(key, |at| key_at(json, at));
            let text = if what == What::Number {
                literal.into()
            } else {
                decoded(literal)
            };
            if let Some(text) = edit(key, what, &text) {
                let out = out.get_or_insert_with(|| String::with_capacity(json.len() + 64));
                out.push_str(json.get(copied..at).unwrap_or_default());
                out.push_str(&serde_json::Value::from(text).to_string());
                copied = end;
            }
        }
        at = end;
    }
    let mut out = out?;
    out.push_str(json.get(copied..).unwrap_or_default());
    Some(out)
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The key that begins here, if it is short.
fn key_at(json: &str, at: u32) -> &str {
    let start = usize::try_from(at).map_or(0, |at| at + 1);
    let head = json.as_bytes().iter().skip(start).take(LONGEST_KEY);
    let length = head.take_while(|byte| **byte != b'"').count();
    json.get(start..start + length).unwrap_or_default()
}

fn decoded(literal: &str) -> Cow<'_, str> {
    let inner = literal
        .strip_prefix('"')
        .and_then(|it| it.strip_suffix('"'));
    let inner = inner.unwrap_or(literal);
    if !inner.contains('\\') {
        return inner.into();
    }
    // Half a character is U+FFFD.
    let text = json_text::from_str(literal);
    text.map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_replaced_and_all_else_stays() {
        let json = r#"{ "a":[ "x", {"b" : "x\u00f8"}, 1.0, null],"c\"":"\ud800x","d":{},"a":"x"}"#;
        let mut seen = Vec::new();
        let out = edited(json, "top", &mut |key, what, text| {
            seen.push(format!("{key} {what:?} {text}"));
            (text == "x").then(|| "\"y\"".to_owned())
        });
        let wanted = json.replace("\"x\"", r#""\"y\"""#);
        assert_eq!(out.as_deref(), Some(wanted.as_str()));
        let wanted = [
            "top Key a",
            "a Text x",
            "a Key b",
            "b Text xø",
            "a Number 1.0",
            "a Key c\"",
            "c\\ Text \u{fffd}x",
            "c\\ Key d",
            "d Key a",
            "a Text x",
        ];
        assert_eq!(seen[..8], wanted[..8]);
        assert_eq!(seen.last().unwrap(), wanted[9]);
        assert_eq!(edited(json, "", &mut |_, _, _| None), None);
    }

    #[test]
    fn depth_is_no_matter() {
        let json = "[".repeat(1_000_000) + "\"x\"" + &"]".repeat(1_000_000);
        let out = edited(&json, "", &mut |_, _, text| Some(text.to_uppercase()));
        assert_eq!(out, Some(json.replace('x', "X")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\a1ø ]{0,40}") {
            edited(&text, "", &mut |_, _, text| Some(text.to_owned()));
        }
    }
}
