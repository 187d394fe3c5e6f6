//! Reads JSON that others wrote as leniently as their own programs would.
//!
//! A JavaScript text may end in half a character (`title.slice(0, 50)` through an emoji), which
//! `JSON.stringify` writes as an unpaired escape (`\ud83d`). Whoever encodes such a text as UTF-8 gets
//! U+FFFD in its place, and so does the reader here. Servers of language models add marks at the
//! beginning, Python's `NaN`, and bytes that are no UTF-8: [`lenient`] reads those too.
//!
//! Nothing is copied where nothing has to be mended, and the work grows with the length of the text.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use serde::de::{DeserializeOwned, IgnoredAny};

/// The length of `\uXXXX`.
const ESCAPE: usize = 6;

/// A value from JSON in which surrogates may be unpaired.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match pair_surrogates(text) {
        Cow::Owned(mended) => serde_json::from_slice(&mended),
        Cow::Borrowed(_) => Err(error),
    })
}

/// As [`from_slice`], for text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    from_slice(text.as_bytes())
}

/// JSON with `\ufffd` in the place of every escape that is half of a surrogate pair, so that positions
/// in it stay what they were.
pub fn pair_surrogates(text: &[u8]) -> Cow<'_, [u8]> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    // In JSON a backslash is found in strings only, and begins an escape.
    while let Some(next) = text.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += next;
        let Some(unit) = escaped_unit(text, at) else {
            at += 2;
            continue;
        };
        let is_pair = matches!(unit, 0xD800..=0xDBFF)
            && matches!(escaped_unit(text, at + ESCAPE), Some(0xDC00..=0xDFFF));
        if is_pair {
            at += ESCAPE;
        } else if matches!(unit, 0xD800..=0xDFFF) {
            let mended = mended.get_or_insert_with(|| text.to_vec());
            if let Some(escape) = mended.get_mut(at..at + ESCAPE) {
                escape.copy_from_slice(b"\\ufffd");
            }
        }
        at += ESCAPE;
    }
    mended.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The JSON document that a server meant: also after a byte order mark, in UTF-16 with one, with bytes
/// that are no UTF-8 (U+FFFD in their place), unpaired surrogates, and `NaN` and `Infinity` (null).
///
/// # Errors
///
/// Where it is no JSON even so.
pub fn lenient(bytes: &[u8]) -> serde_json::Result<Cow<'_, str>> {
    let text = match pair_surrogates(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)) {
        Cow::Borrowed(bytes) => decoded(bytes),
        Cow::Owned(bytes) => Cow::Owned(decoded(&bytes).into_owned()),
    };
    let Err(error) = serde_json::from_str::<IgnoredAny>(&text) else {
        return Ok(text);
    };
    let text = without_constants(&text).ok_or(error)?;
    serde_json::from_str::<IgnoredAny>(&text)?;
    Ok(Cow::Owned(text))
}

/// As [`lenient`], without a copy where the bytes are well-formed.
///
/// # Errors
///
/// As for [`lenient`], with the bytes.
pub fn lenient_owned(bytes: Vec<u8>) -> Result<String, (serde_json::Error, Vec<u8>)> {
    let other = match lenient(&bytes) {
        Ok(Cow::Borrowed(text)) if text.len() == bytes.len() => None,
        Ok(mended) => Some(Ok(mended.into_owned())),
        Err(error) => Some(Err(error)),
    };
    match other {
        Some(Ok(mended)) => return Ok(mended),
        Some(Err(error)) => return Err((error, bytes)),
        None => {}
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// At most how many values a JSON text holds: one at the root, one behind every comma, and one in
/// every list and object. What stands in texts is not looked at.
pub fn values(json: &[u8]) -> usize {
    let (mut count, mut at) = (1, 0);
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b',' | b'[' | b'{' => count += 1,
            b'"' => at = behind_text(json, at),
            _ => {}
        }
    }
    count
}

/// The place behind the text that begins here; the end of the JSON where the text has none.
fn behind_text(json: &[u8], mut at: usize) -> usize {
    while let Some(next) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next + 1;
        if json.get(at - 1) == Some(&b'"') {
            return at;
        }
        // What stands behind a backslash is part of the text.
        at += 1;
    }
    json.len()
}

fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let units: fn([u8; 2]) -> u16 = match bytes {
        [0xFF, 0xFE, ..] => u16::from_le_bytes,
        [0xFE, 0xFF, ..] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(bytes),
    };
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().skip(1).map(|pair| units(*pair));
    let characters = char::decode_utf16(units);
    Cow::Owned(
        characters
            .map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
    )
}

/// With null for the numbers that JSON cannot say but Python writes; `None` where there are none.
fn without_constants(text: &str) -> Option<String> {
    let mut mended = String::new();
    let (mut copied, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(next) = position(bytes, at, |byte| matches!(byte, b'"' | b'N' | b'I' | b'-')) {
        at = next;
        let rest = text.get(at..)?;
        if rest.starts_with('"') {
            at = end_of_string(bytes, at + 1);
            continue;
        }
        let constants = ["NaN", "Infinity", "-Infinity", "-NaN"];
        match constants.iter().find(|word| rest.starts_with(**word)) {
            Some(word) => {
                mended.push_str(text.get(copied..at)?);
                mended.push_str("null");
                at += word.len();
                copied = at;
            }
            None => at += 1,
        }
    }
    (copied > 0).then(|| mended + text.get(copied..).unwrap_or_default())
}

/// Behind the quote that ends the string which begins at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = position(bytes, at, |byte| matches!(byte, b'"' | b'\\')) {
        if bytes.get(next) == Some(&b'"') {
            return next + 1;
        }
        at = next + 2;
    }
    bytes.len()
}

fn position(bytes: &[u8], from: usize, is: impl Fn(u8) -> bool) -> Option<usize> {
    let rest = bytes.get(from..)?;
    Some(from + rest.iter().position(|byte| is(*byte))?)
}

/// The UTF-16 unit of a `\uXXXX` at this place.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        from_str(text).unwrap()
    }

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (json, count) in [
            ("1", 1),
            ("[]", 2),
            ("[1,2]", 3),
            (r#"{"a,[{":"b\",\\","c":[{}]}"#, 5),
            (r#""unfinished\"#, 1),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn half_a_character_is_the_replacement_character() {
        for (text, value) in [
            (r#""x\ud83d""#, "x\u{fffd}"),
            (r#""\ude00x""#, "\u{fffd}x"),
            (r#""\uD83D\uD83D\uDE00""#, "\u{fffd}😀"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""😀\ud83d\ude00""#, "😀😀"),
        ] {
            assert_eq!(read(text), json!(value), "{text}");
        }
        assert_eq!(
            read(r#"{"\udc00": ["\ud800"]}"#),
            json!({"\u{fffd}": ["\u{fffd}"]})
        );
    }

    #[test]
    fn what_is_no_json_stays_a_fault() {
        for text in [
            "",
            "{",
            r#""\ud83""#,
            r#""\ud83d"#,
            "\\ud83d",
            r#""\u+83d""#,
            "NaN",
        ] {
            assert!(from_str::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_read_as_they_meant_it() {
        let utf16 = |to: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}{\"a\": \"ø😀\"}"
                .encode_utf16()
                .flat_map(to)
                .collect()
        };
        for (bytes, value) in [
            (b"\xEF\xBB\xBF{\"a\": 1}".to_vec(), json!({"a": 1})),
            (utf16(u16::to_le_bytes), json!({"a": "ø😀"})),
            (utf16(u16::to_be_bytes), json!({"a": "ø😀"})),
            (b"[\"S\xF8ren\"]".to_vec(), json!(["S\u{fffd}ren"])),
            (
                br#"["\ud83d", "NaN \" NaN"]"#.to_vec(),
                json!(["\u{fffd}", "NaN \" NaN"]),
            ),
            (
                br#"{"a": NaN, "b": [-Infinity, Infinity, -1], "I": "-Infinity"}"#.to_vec(),
                json!({"a": null, "b": [null, null, -1], "I": "-Infinity"}),
            ),
        ] {
            let text = lenient(&bytes).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
        for bytes in [&b""[..], b"<html>", b"{\"a\": N}", b"[NaNa]", b"\xFF\xFE"] {
            assert!(lenient(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_well_formed_is_not_copied() {
        let text = br#"{"a": "\ud83d\ude00 \\ud83d \" NaN"}"#;
        assert!(matches!(pair_surrogates(text), Cow::Borrowed(_)));
        assert!(matches!(lenient(text), Ok(Cow::Borrowed(_))));
    }

    proptest! {
        /// JavaScript's `JSON.stringify` of any UTF-16, as its own encoder would read it back.
        #[test]
        fn any_utf_16_is_read(units in proptest::collection::vec(
            prop_oneof![0x20_u16..0x7F, 0xD7F0_u16..0xE010, Just(0x5C), Just(0x22)], 0..40,
        )) {
            let mut text = String::from("[\"");
            for unit in &units {
                text += &match unit {
                    0x22 => "\\\"".to_owned(),
                    0x5C => "\\\\".to_owned(),
                    0x20..0x7F => char::from(*unit as u8).to_string(),
                    _ => format!("\\u{unit:04x}"),
                };
            }
            text += "\"]";
            prop_assert_eq!(read(&text), json!([String::from_utf16_lossy(&units)]));
            prop_assert_eq!(pair_surrogates(text.as_bytes()).len(), text.len());
            let lenient = lenient(text.as_bytes()).unwrap();
            prop_assert_eq!(read(&lenient), read(&text));
        }

        #[test]
        fn nothing_panics_and_good_json_stays(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "[\"\\\\uDd8NaI\\-{}:,0-9]{0,40}") {
            let _ = lenient(&bytes);
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(read(&lenient(text.as_bytes()).unwrap()), value);
            }
        }
    }
}
