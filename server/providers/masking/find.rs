//! Finds mail addresses, Danish CPR numbers and phone numbers in a text, by rule.
//!
//! What looks like one is one: a placeholder for a harmless number costs little, a number that left
//! cannot be called back. The work grows with the length of the text.

use std::ops::Range;

use super::{
    MaskedKind, cpr,
    digits::{Digits, plain},
    phone,
};
use crate::_core::blank::is_invisible;

/// How `@` is written: as itself, full-width, and in addresses of pages.
const SIGNS: [&str; 3] = ["@", "\u{ff20}", "%40"];

/// What was found, and where.
pub(super) type Found = (Range<usize>, MaskedKind);

/// All that is to be masked, in order and apart. `context` stands before the text: the key of a value.
pub(super) fn find(text: &str, context: &str, kinds: &[MaskedKind]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut from = 0;
    if kinds.contains(&MaskedKind::Email) {
        for mail in mails(text) {
            numbers(text, from..mail.start, context, kinds, &mut found);
            from = mail.end;
            found.push((mail, MaskedKind::Email));
        }
    }
    numbers(text, from..text.len(), context, kinds, &mut found);
    found
}

fn numbers(
    text: &str,
    within: Range<usize>,
    context: &str,
    kinds: &[MaskedKind],
    found: &mut Vec<Found>,
) {
    if !kinds.iter().any(|kind| *kind != MaskedKind::Email) {
        return;
    }
    let text = text.get(..within.end).unwrap_or(text);
    let mut at = within.start;
    while let Some(digits) = Digits::next(text, at) {
        let cpr = kinds.contains(&MaskedKind::Cpr).then(|| cpr::end(&digits));
        let cpr = cpr.flatten().map(|end| (end, MaskedKind::Cpr));
        let phone = || {
            let end = kinds
                .contains(&MaskedKind::Phone)
                .then(|| phone::end(text, context, &digits));
            end.flatten().map(|end| (end, MaskedKind::Phone))
        };
        at = match cpr.or_else(phone) {
            Some((end, kind)) => {
                found.push((digits.start..end, kind));
                end
            }
            None => digits.end_of_group(),
        };
    }
}

fn mails(text: &str) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some((sign, length)) = next_sign(text, at) {
        let floor = all.last().map_or(0, |mail| mail.end).max(at);
        let after = sign + length;
        // A local part may hold the percent sign of an encoded `@` before it.
        at = after;
        let start = text.get(floor..sign).and_then(local).map(|it| floor + it);
        let end = text.get(after..).and_then(domain).map(|it| after + it);
        if let (Some(start), Some(end)) = (start, end) {
            all.push(start..end);
            at = end;
        }
    }
    all
}

/// The next `@` and its length.
fn next_sign(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let first = rest.char_indices().find(|(at, letter)| match letter {
        '@' | '\u{ff20}' => true,
        '%' => rest.get(*at..).is_some_and(|it| it.starts_with("%40")),
        _ => false,
    });
    let (at, _) = first?;
    let sign = SIGNS
        .iter()
        .find(|it| rest.get(at..).is_some_and(|rest| rest.starts_with(**it)))?;
    Some((from + at, sign.len()))
}

/// Whether it belongs to the letter before it: a mark, as in an `å` of two characters, which is how macOS writes
/// it, or what nobody sees, such as the soft hyphens of documents.
fn is_joined(letter: char) -> bool {
    let is_mark = matches!(letter, '\u{300}'..='\u{36f}');
    is_mark || (is_invisible(letter) && !letter.is_whitespace() && !letter.is_control())
}

/// The dots of a domain: IDNA knows four.
fn is_dot(letter: char) -> bool {
    matches!(letter, '.' | '\u{ff0e}' | '\u{3002}' | '\u{ff61}')
}

/// Where the local part begins that a text ends with.
fn local(before: &str) -> Option<usize> {
    let is_local = |letter: char| {
        plain(letter).is_alphanumeric()
            || is_joined(letter)
            || matches!(letter, '.' | '_' | '%' | '+' | '\'' | '-')
    };
    let start = before.trim_end_matches(is_local).len();
    let part = before.get(start..)?;
    let mut start = before.len() - part.trim_start_matches(['\'', '.', '-']).len();
    if before.get(..start).is_some_and(|it| it.ends_with('\\')) {
        // An escape of a text that is JSON or a program's: `\nanna@…` is a line's end, and `\u00f8…` a letter.
        let is_escape = before.get(start..)?.starts_with(['n', 't', 'r', 'b', 'f']);
        start = if is_escape { start + 1 } else { start - 1 };
    }
    (start < before.len()).then_some(start)
}

/// The length of the domain that a text begins with.
fn domain(after: &str) -> Option<usize> {
    let is_domain = |letter: char| {
        let is_name = plain(letter).is_alphanumeric() || plain(letter) == '-';
        is_name || is_dot(letter) || is_joined(letter)
    };
    let length = after
        .find(|letter| !is_domain(letter))
        .unwrap_or(after.len());
    let (mut start, mut whole) = (0, None);
    for (place, label) in after.get(..length)?.split_inclusive(is_dot).enumerate() {
        let name = label.trim_end_matches(is_dot);
        if name.is_empty() {
            break;
        }
        let name = name.trim_end_matches('-');
        if place > 0 && name.chars().filter(|letter| letter.is_alphabetic()).count() >= 2 {
            whole = Some(start + name.len());
        }
        start += label.len();
        // Behind an address it ends a sentence, as in Chinese, where the next one follows without a space.
        if whole.is_some() && !label.ends_with('.') {
            break;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let found = find(text, "", &MaskedKind::ALL);
        found.iter().map(|(at, _)| &text[at.clone()]).collect()
    }

    #[test]
    fn mail_addresses_are_found_as_people_write_them() {
        for (text, wanted) in [
            ("skriv til anna@firma.dk.", "anna@firma.dk"),
            (
                "<mailto:anna.b+x@mail.firma.co.uk>",
                "anna.b+x@mail.firma.co.uk",
            ),
            ("'søren@blåbær.dk'", "søren@blåbær.dk"),
            ("?to=anna%40firma.dk&x=1", "anna%40firma.dk"),
            ("ANNA＠FIRMA.DK", "ANNA＠FIRMA.DK"),
            ("ANNA＠FIRMA．DK", "ANNA＠FIRMA．DK"),
            (
                "rene\u{301}.a\u{30a}se@bla\u{30a}b.dk",
                "rene\u{301}.a\u{30a}se@bla\u{30a}b.dk",
            ),
            ("anna@fir\u{ad}ma.dk", "anna@fir\u{ad}ma.dk"),
            ("anna\u{200b}@firma.dk", "anna\u{200b}@firma.dk"),
            ("linje\\nanna@firma.dk", "anna@firma.dk"),
            ("12345678@firma.dk", "12345678@firma.dk"),
            ("a@b@firma.dk", "b@firma.dk"),
            ("写信到 anna@firma.dk。谢谢你的帮助", "anna@firma.dk"),
            ("anna@firma\u{3002}dk", "anna@firma\u{3002}dk"),
            ("anna@firma.dk-", "anna@firma.dk"),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
        for text in [
            "@",
            "anna@",
            "@firma.dk",
            "anna@localhost",
            "anna@1.2.3.4",
            "a @ b.dk",
            "@@@@",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
        assert_eq!(found("a@x.dk, b@y.dk;c@z.dk").len(), 3);
    }

    #[test]
    fn cpr_numbers_are_found_by_their_date() {
        for text in [
            "010170-1234",
            "0101701234",
            "010170 1234",
            "010170\u{2011}1234",
            "010170\u{ad}1234",
            "010170\u{200b}1234",
            "010170 - 1234",
            "０１０１７０-１２３４",
            "610170-1234",
            "290200-4000",
            "311299-9999",
        ] {
            assert_eq!(found(&format!("cpr: {text}.")), [text], "{text}");
        }
        for text in [
            "320170-1234",
            "011370-1234",
            "000170-1234",
            "290201-4000",
            "310470-1234",
            "010170-123",
            "010170-12345",
            "00101701234",
            "5701234567891",
        ] {
            assert!(found(text).is_empty(), "{text} {:?}", found(text));
        }
    }

    #[test]
    fn phone_numbers_are_found_by_prefix_grouping_or_word() {
        for text in [
            "+45 12 34 56 78",
            "+4512345678",
            "0045 12345678",
            "+46 (70) 123-45-67",
            "+1 202 555 0143",
            "23 45 67 89",
            "2345 6789",
            "23-45-67-89",
            "23\u{a0}45\u{a0}67\u{a0}89",
        ] {
            assert_eq!(found(&format!("i 2025 på {text}, tak")), [text], "{text}");
        }
        for (text, wanted) in [
            ("tlf. 23456789", "23456789"),
            ("tel 23456789", "23456789"),
            ("Mobil: 234 56 789", "234 56 789"),
            ("ring på 23456789!", "23456789"),
            ("phone 20304050", "20304050"),
            ("+45 12345678 2025", "+45 12345678"),
            ("i 2025 23 45 67 89", "23 45 67 89"),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
        for text in [
            "23456789",
            "2025-11-29",
            "29.11.2025",
            "CVR 23 45 67 89",
            "hotel 23456789",
            "20 00 00 00 kr.",
            "kr. 2000 3000",
            "2345 6789 0123 4567",
            "12 34 56 78",
            "23 45 67 89 01",
            "5701234567891",
            "+12",
            "++++",
            "1.234.567,89",
        ] {
            assert!(found(text).is_empty(), "{text} {:?}", found(text));
        }
        assert_eq!(find("23456789", "phone", &MaskedKind::ALL).len(), 1);
        assert_eq!(find("23456789", "tel", &MaskedKind::ALL).len(), 1);
        assert!(find("23456789", "hotel", &MaskedKind::ALL).is_empty());
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let text = "anna@firma.dk +4512345678 010170-1234";
        for kind in MaskedKind::ALL {
            assert!(
                find(text, "", &[kind])
                    .iter()
                    .any(|(_, found)| *found == kind)
            );
        }
        assert_eq!(find(text, "", &[MaskedKind::Email]).len(), 1);
        assert_eq!(find(text, "", &MaskedKind::ALL).len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn what_is_found_is_in_order_and_apart(text in "[a-c@.＠ +0-9\\-\\\\ø%(]{0,60}") {
            let mut end = 0;
            for (at, _) in find(&text, "", &MaskedKind::ALL) {
                assert!(at.start >= end && at.end > at.start && text.get(at.clone()).is_some());
                end = at.end;
            }
        }
    }
}
