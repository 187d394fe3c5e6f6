//! The whole numbers of a text, as people and programs of many countries write them.

/// All of them, in order. Groups of three digits may be parted by a comma, a point or a space, as in
/// `8,192`, `8.192` and `8 192`.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (first, mut tail) = digits(rest.split_at(start).1);
        let mut number = first.to_owned();
        if number.len() <= 3 {
            while let Some((group, after)) = group(tail) {
                number.push_str(group);
                tail = after;
            }
        }
        found.extend(number.parse::<u64>().ok());
        rest = tail;
    }
    found
}

/// The digits at the beginning, and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// A sign that parts groups and three digits, and what follows.
fn group(text: &str) -> Option<(&str, &str)> {
    let (group, rest) = digits(text.strip_prefix([',', '.', ' '])?);
    (group.len() == 3).then_some((group, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_parted_in_many_ways() {
        for (text, expected) in [
            ("9001 tokens > 8192 maximum", &[9001, 8192][..]),
            ("8,192 or 8.192 or 8 192.", &[8192, 8192, 8192]),
            ("1,048,576", &[1_048_576]),
            ("[1, 6000]", &[1, 6000]),
            ("4.1 12,34 1234 567", &[4, 1, 12, 34, 1234, 567]),
            ("x8k 007", &[8, 7]),
            ("", &[]),
            ("99999999999999999999999", &[]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }
}
