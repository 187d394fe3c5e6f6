//! Phone numbers: international ones, and Danish ones of eight digits that are written like one or follow
//! a word that says so.

use super::digits::{Digits, plain};

/// Words after which eight digits are a number.
const WORDS: [&str; 10] = [
    "tlf", "telefon", "tel ", "tel.", "tel:", "mobil", "ring", "phone", "sms", "fax",
];
/// What stands before eight digits that are none.
const OTHERS: [&str; 6] = ["kr", "kr.", "dkk", "eur", "€", "cvr"];
/// Letters before a number that are looked at.
const BEFORE: usize = 24;
const DANISH: usize = 8;
/// Digits of an international number, with the country's.
const LEAST: usize = 8;
const MOST: usize = 15;

/// Where a number ends that is a phone number. `context` stands before the text.
pub(super) fn end(text: &str, context: &str, digits: &Digits) -> Option<usize> {
    international(digits).or_else(|| danish(text, context, digits))
}

fn international(digits: &Digits) -> Option<usize> {
    let prefix: [u8; 4] = std::array::from_fn(|place| digits.at(place));
    match (digits.has_plus, prefix) {
        (true, [4, 5, ..]) => digits.end_of(2 + DANISH).or_else(|| foreign(digits)),
        (false, [0, 0, 4, 5]) => digits.end_of(4 + DANISH),
        (true, _) => foreign(digits),
        _ => None,
    }
}

/// The longest number of whole groups.
fn foreign(digits: &Digits) -> Option<usize> {
    (LEAST..=MOST).rev().find_map(|count| digits.end_of(count))
}

fn danish(text: &str, context: &str, digits: &Digits) -> Option<usize> {
    if digits.has_plus || digits.at(0) < 2 {
        return None;
    }
    let end = digits.end_of(DANISH)?;
    let before = text.get(..digits.start)?;
    let tail: Vec<char> = before.chars().rev().take(BEFORE).collect();
    let tail: String = tail.into_iter().rev().map(plain).collect();
    let tail = format!("{} {}", context.to_lowercase(), tail.to_lowercase());
    let is_said = WORDS.iter().any(|word| {
        tail.rsplit_once(word).is_some_and(|(before, after)| {
            // `tel` also ends other words, such as `hotel`.
            let is_word = *word != "tel " || !before.ends_with(char::is_alphabetic);
            is_word && !after.contains(|letter: char| letter.is_ascii_digit())
        })
    });
    let is_other = {
        let before = tail.trim_end_matches([' ', ':', '-']);
        let after = text.get(end..).unwrap_or_default().trim_start();
        let after: String = after.chars().take(3).collect::<String>().to_lowercase();
        OTHERS.iter().any(|word| before.ends_with(word))
            || ["kr", "dkk", "eur", ",-"]
                .iter()
                .any(|word| after.starts_with(word))
    };
    let is_written_so = is_grouped(before, digits, 2) || is_grouped(before, digits, 4);
    (is_said || (is_written_so && !is_other)).then_some(end)
}

/// Whether the eight digits are groups of this size, and those are all of their kind.
fn is_grouped(before: &str, digits: &Digits, size: usize) -> bool {
    let Some(between) = digits.gap_at(size) else {
        return false;
    };
    let places = digits.gaps.iter().filter(|(place, _)| *place < DANISH);
    let are_groups = places.clone().count() == DANISH / size - 1
        && places
            .clone()
            .all(|(place, it)| place % size == 0 && *it == between);
    let goes_on = digits.gap_at(DANISH) == Some(between) && {
        let next = digits.gaps.iter().find(|(place, _)| *place > DANISH);
        next.map_or(digits.count(), |(place, _)| *place) == DANISH + size
    };
    // A group of the same kind before.
    let mut letters = before.chars().rev().map(plain);
    let follows = letters.next() == Some(between)
        && letters
            .take_while(char::is_ascii_digit)
            .take(size + 1)
            .count()
            == size;
    are_groups && !goes_on && !follows
}
