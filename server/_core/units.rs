//! Numbers that carry their unit in their type, so that 10 % can never be read as 0.1 or 10.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of a thing: `1 request`, `2 requests`.
pub fn counted(number: impl fmt::Display, thing: &str) -> String {
    let number = number.to_string();
    let end = if number == "1" { "" } else { "s" };
    format!("{number} {thing}{end}")
}

/// A share of users, 0 to 100, decimals allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Percent(#[schemars(range(min = 0, max = 100))] f64);

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0.0);
    /// Everybody.
    pub const FULL: Self = Self(100.0);

    /// `None` outside 0 to 100, and for NaN.
    pub fn new(value: f64) -> Option<Self> {
        // -0 is 0.
        (0.0..=100.0).contains(&value).then_some(Self(value + 0.0))
    }

    /// The number, 0 to 100.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Parses `[0-9]+(\.[0-9]+)?`, trimmed; signs, exponents and `%` are refused (docs/compatibility.md, C1).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || fraction.is_some_and(|part| !digits(part)) {
            return None;
        }
        text.parse().ok().and_then(Self::new)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| {
            serde::de::Error::custom(format_args!("`{value}` is not a percentage from 0 to 100"))
        })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Money in millionths of a US dollar; never negative in practice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Microdollars(pub i64);

impl Microdollars {
    /// Rounds to the nearest millionth; not-a-number becomes zero.
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * 1e6).round() as i64)
    }

    /// The amount in US dollars.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_takes_plain_decimals_only() {
        for (text, value) in [("0", 0.0), (" 10 ", 10.0), ("12.5", 12.5), ("100", 100.0)] {
            assert_eq!(
                Percent::parse(text).map(Percent::get),
                Some(value),
                "{text}"
            );
        }
        for text in [
            "", "-5", "+10", "1e2", "0x10", "10%", "10,5", "100.1", "NaN", ".5", "5.", "abc",
        ] {
            assert_eq!(Percent::parse(text), None, "{text}");
        }
    }
}
