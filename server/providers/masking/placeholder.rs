//! Placeholders: `[EMAIL-1-qx7]` stands for the first mail address of a request.
//!
//! The last letters are a tag that nothing in the request has at this place, so what looks like a placeholder
//! and was there before is none. Models write them in lower case, without brackets, with the escapes of
//! Markdown, and with other hyphens; all of these are read.

use std::collections::HashSet;

use super::MaskedKind;

/// Letters of a tag, in which no word is spelled.
const LETTERS: &[u8; 24] = b"qxzkvwjbdfghmnprst234567";
const SHORTEST_TAG: usize = 3;
const LONGEST_TAG: usize = 6;
const MOST_DIGITS: usize = 7;

/// What a text begins with.
#[derive(Debug, PartialEq)]
pub(super) enum PlaceholderAhead<'a> {
    /// A placeholder.
    Placeholder {
        kind: MaskedKind,
        number: usize,
        /// What stands before it and is no part of it.
        lead: &'a str,
        /// Its length.
        length: usize,
    },
    /// The text ends within what may be one.
    Partial,
    /// Something else.
    Other,
}

/// The placeholder itself.
pub(super) fn write(kind: MaskedKind, number: usize, tag: &str) -> String {
    format!("[{}-{number}-{tag}]", kind.word())
}

/// The first tag that is not taken.
pub(super) fn free_tag(taken: &HashSet<String>) -> String {
    let mut tags = (0..).map(tag);
    tags.find(|tag| !taken.contains(tag)).unwrap_or_default()
}

fn tag(mut number: usize) -> String {
    let mut tag = String::new();
    while tag.len() < SHORTEST_TAG || number > 0 {
        let letter = LETTERS.get((number + 7 * tag.len()) % LETTERS.len());
        tag.push(char::from(letter.copied().unwrap_or(b'q')));
        number /= LETTERS.len();
    }
    tag
}

/// Notes the tags of all that looks like a placeholder.
pub(super) fn tags_of(text: &str, taken: &mut HashSet<String>) {
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(begin) {
        at += start;
        if let Some(Head { rest, .. }) = text.get(at..).and_then(|it| head(it).ok().flatten()) {
            let letters = rest.chars().take(LONGEST_TAG);
            let tag: String = letters.take_while(char::is_ascii_alphanumeric).collect();
            for length in SHORTEST_TAG..=tag.len() {
                taken.extend(tag.get(..length).map(str::to_ascii_lowercase));
            }
        }
        at += 1;
    }
}

/// Where the next placeholder may begin.
pub(super) fn begin(text: &str) -> Option<usize> {
    text.find(['\\', '[', 'e', 'E', 'p', 'P', 'c', 'C'])
}

/// A placeholder up to its tag.
struct Head<'a> {
    kind: MaskedKind,
    number: usize,
    is_escaped: bool,
    is_open: bool,
    rest: &'a str,
}

/// The text is over.
struct Over;

/// `None` where it is something else.
fn head(text: &str) -> Result<Option<Head<'_>>, Over> {
    let (mut rest, mut is_escaped, mut is_open) = (text, false, false);
    if let Some(after) = rest.strip_prefix('\\') {
        (rest, is_escaped) = (after, true);
    }
    if let Some(after) = rest.strip_prefix('[') {
        (rest, is_open) = (after, true);
    }
    if rest.is_empty() {
        return Err(Over);
    }
    if is_escaped && !is_open {
        return Ok(None);
    }
    let same = |word: &str| {
        let both = rest.bytes().zip(word.bytes());
        both.take_while(|(is, wanted)| is.eq_ignore_ascii_case(wanted))
            .count()
    };
    let kind = MaskedKind::ALL
        .into_iter()
        .find(|kind| same(kind.word()) == kind.word().len());
    let Some(kind) = kind else {
        let is_begun = MaskedKind::ALL
            .iter()
            .any(|kind| same(kind.word()) == rest.len());
        return if is_begun { Err(Over) } else { Ok(None) };
    };
    let rest = rest.get(kind.word().len()..).unwrap_or_default();
    let Some(rest) = after_hyphen(rest)? else {
        return Ok(None);
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    if digits > MOST_DIGITS || (digits == 0 && !rest.is_empty()) {
        return Ok(None);
    }
    let Some(rest) = after_hyphen(rest)? else {
        return Ok(None);
    };
    let number = number.parse().ok();
    Ok(number.map(|number| Head {
        kind,
        number,
        is_escaped,
        is_open,
        rest,
    }))
}

fn after_hyphen(text: &str) -> Result<Option<&str>, Over> {
    let text = text.strip_prefix('\\').unwrap_or(text);
    if text.is_empty() {
        return Err(Over);
    }
    let is_hyphen = |letter: char| {
        matches!(
            letter,
            '-' | '_' | ' ' | '\u{2010}'..='\u{2015}' | '\u{2212}'
        )
    };
    Ok(text.strip_prefix(is_hyphen))
}

/// What a text begins with. `is_end` says that nothing follows it.
pub(super) fn read<'a>(text: &'a str, tag: &str, is_end: bool) -> PlaceholderAhead<'a> {
    let partial = || {
        if is_end {
            PlaceholderAhead::Other
        } else {
            PlaceholderAhead::Partial
        }
    };
    let head = match head(text) {
        Ok(Some(head)) => head,
        Ok(None) => return PlaceholderAhead::Other,
        Err(Over) => return partial(),
    };
    let Head {
        kind,
        number,
        is_escaped,
        is_open,
        rest,
    } = head;
    let both = rest.bytes().zip(tag.bytes());
    let same = both
        .take_while(|(is, wanted)| is.eq_ignore_ascii_case(wanted))
        .count();
    if same < tag.len() {
        return if same == rest.len() {
            partial()
        } else {
            PlaceholderAhead::Other
        };
    }
    let rest = rest.get(tag.len()..).unwrap_or_default();
    let is_over = rest.is_empty() || rest == "\\";
    if is_open && is_over && !is_end {
        return PlaceholderAhead::Partial;
    }
    let close = rest.strip_prefix("\\]").or_else(|| rest.strip_prefix(']'));
    let close = close.filter(|_| is_open);
    let lead = match (is_escaped, is_open, close.is_some()) {
        (true, _, false) => "\\[",
        (false, true, false) => "[",
        // The escapes of Markdown come in pairs.
        (true, _, true) if rest.starts_with(']') => "\\",
        _ => "",
    };
    let length = text.len() - close.unwrap_or(rest).len();
    PlaceholderAhead::Placeholder {
        kind,
        number,
        lead,
        length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(lead: &'static str, length: usize) -> PlaceholderAhead<'static> {
        PlaceholderAhead::Placeholder {
            kind: MaskedKind::Email,
            number: 12,
            lead,
            length,
        }
    }

    #[test]
    fn a_placeholder_is_read_as_models_write_it() {
        for (text, wanted) in [
            ("[EMAIL-12-qx7] x", email("", 14)),
            ("[email-12-QX7]s", email("", 14)),
            ("EMAIL-12-qx7]", email("", 12)),
            ("[EMAIL-12-qx7, b]", email("[", 13)),
            ("\\[EMAIL-12-qx7\\]", email("", 16)),
            ("\\[EMAIL\\_12\\_qx7\\]", email("", 18)),
            ("\\[EMAIL-12-qx7]", email("\\", 15)),
            ("[EMAIL\u{2011}12\u{2011}qx7]", email("", 18)),
            ("[EMAIL 12 qx7]", email("", 14)),
            ("[EMAIL-12-qx8]", PlaceholderAhead::Other),
            ("[EMAIL-qx7]", PlaceholderAhead::Other),
            ("[EMAIL-12345678-qx7]", PlaceholderAhead::Other),
            ("[MAIL-12-qx7]", PlaceholderAhead::Other),
            ("e", PlaceholderAhead::Partial),
            ("\\", PlaceholderAhead::Partial),
            ("[EMAIL-12-qx7", PlaceholderAhead::Partial),
            ("[EMAIL-12-qx7\\", PlaceholderAhead::Partial),
        ] {
            assert_eq!(read(text, "qx7", false), wanted, "{text}");
        }
        assert_eq!(read("[EMAIL-12-qx7", "qx7", true), email("[", 13));
        assert_eq!(read("[EMAIL-12-q", "qx7", true), PlaceholderAhead::Other);
    }

    #[test]
    fn a_tag_is_one_that_nothing_else_has() {
        let mut taken = HashSet::new();
        let first = free_tag(&taken);
        tags_of(
            &format!("see [Email-1-{}] and e", first.to_uppercase()),
            &mut taken,
        );
        assert!(taken.contains(&first));
        let second = free_tag(&taken);
        assert!(second != first && second.len() == SHORTEST_TAG);
        let all: HashSet<_> = (0..100_000).map(tag).collect();
        assert_eq!(all.len(), 100_000);
        let taken = (0..24 * 24 * 24).map(tag).collect();
        assert_eq!(free_tag(&taken).len(), SHORTEST_TAG + 1);
    }
}
