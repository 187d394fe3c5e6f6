//! Numbers in a text as people write them: in groups, with spaces, dots, hyphens and brackets between.

/// Digits that are looked at together: more than any number has that is masked.
const MOST: usize = 18;
/// Letters between two groups at most.
const GAP: usize = 3;

/// The letter that another stands for: full-width ones, the many spaces and hyphens, and those that nobody sees.
pub(super) fn plain(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(letter) - 0xff01 + 0x21).unwrap_or(letter)
        }
        '\u{a0}' | '\u{2000}'..='\u{200d}' | '\u{202f}' | '\u{2060}' | '\u{3000}' | '\u{feff}' => {
            ' '
        }
        '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => letter,
    }
}

/// A number from where a group of it begins.
pub(super) struct Digits {
    pub(super) start: usize,
    pub(super) has_plus: bool,
    /// Where its first letter ends.
    begun: usize,
    /// Each digit, and where it ends.
    digits: Vec<(u8, usize)>,
    /// Before which digits there is a gap, and what is in it.
    pub(super) gaps: Vec<(usize, char)>,
}

impl Digits {
    /// The next one that begins at `from` or later.
    pub(super) fn next(text: &str, from: usize) -> Option<Self> {
        let rest = text.get(from..)?;
        let is_digit = |letter: char| plain(letter).is_ascii_digit();
        let (at, first) = rest
            .char_indices()
            .find(|(_, letter)| is_digit(*letter) || plain(*letter) == '+')?;
        let mut number = Self {
            start: from + at,
            has_plus: plain(first) == '+',
            begun: from + at + first.len_utf8(),
            digits: Vec::new(),
            gaps: Vec::new(),
        };
        let mut letters = rest
            .char_indices()
            .skip_while(|(place, _)| *place < at)
            .peekable();
        if number.has_plus {
            letters.next();
        }
        let mut gap = (0, ' ');
        while let Some((place, letter)) = letters.next().filter(|_| number.count() < MOST) {
            match plain(letter) {
                digit @ '0'..='9' => {
                    if gap.0 > 0 && number.count() > 0 {
                        number.gaps.push((number.count(), gap.1));
                    }
                    gap = (0, ' ');
                    let end = from + place + letter.len_utf8();
                    number.digits.push((digit as u8 - b'0', end));
                }
                between @ (' ' | '-' | '.' | '/' | '(' | ')') if gap.0 < GAP => {
                    gap = (gap.0 + 1, if between == ' ' { gap.1 } else { between });
                }
                _ => break,
            }
        }
        Some(number)
    }

    pub(super) fn count(&self) -> usize {
        self.digits.len()
    }

    /// The digit at a place; 0 where there is none.
    pub(super) fn at(&self, place: usize) -> u8 {
        self.digits.get(place).map_or(0, |(digit, _)| *digit)
    }

    /// Where the first so many digits end, if a group ends there.
    pub(super) fn end_of(&self, count: usize) -> Option<usize> {
        let is_group = self.count() == count || self.gap_at(count).is_some();
        let (_, end) = self.digits.get(count.checked_sub(1)?)?;
        is_group.then_some(*end)
    }

    /// What is in the gap before a digit.
    pub(super) fn gap_at(&self, place: usize) -> Option<char> {
        let gap = self.gaps.iter().find(|(at, _)| *at == place)?;
        Some(gap.1)
    }

    /// Where the first group ends.
    pub(super) fn end_of_group(&self) -> usize {
        let count = self.gaps.first().map_or(self.count(), |(at, _)| *at);
        let end = count.checked_sub(1).and_then(|last| self.digits.get(last));
        // A plus alone.
        end.map_or(self.begun, |(_, end)| *end)
    }
}
