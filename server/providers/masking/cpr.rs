//! Danish CPR numbers: six digits that are a date, and four more.
//!
//! There is no check digit: numbers without it have been given since October 2007.

use super::digits::Digits;

/// Where a number ends that is a CPR number.
pub(super) fn end(digits: &Digits) -> Option<usize> {
    let is_gap = |(place, between): &(usize, char)| *place == 6 && matches!(between, ' ' | '-');
    let mut gaps = digits.gaps.iter().filter(|(place, _)| *place < 10);
    let is_one = !digits.has_plus && gaps.all(is_gap) && is_date(digits);
    digits.end_of(10).filter(|_| is_one)
}

fn is_date(digits: &Digits) -> bool {
    let pair = |place| u32::from(digits.at(place)) * 10 + u32::from(digits.at(place + 1));
    let (day, month, year) = (pair(0), pair(2), pair(4));
    // Replacement numbers have 60 more.
    let day = if day > 60 { day - 60 } else { day };
    let century = match digits.at(6) {
        0..=3 => 1900,
        4 | 9 if year <= 36 => 2000,
        4 | 9 => 1900,
        _ if year <= 57 => 2000,
        _ => 1800,
    };
    let year = century + year;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}
