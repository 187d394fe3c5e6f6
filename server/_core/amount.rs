//! Tokens and money together: what a call needs, what a key may have, what was used.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use super::units::Microdollars;

/// Tokens, read and written together, and what they cost. Sums and differences stop at the ends of their
/// type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens.
    pub tokens: i64,
    /// Money.
    pub cost: Microdollars,
}

impl Amount {
    /// The same, done to both.
    pub(crate) fn map(self, tokens: impl Fn(i64) -> i64, cost: impl Fn(i64) -> i64) -> Self {
        Self {
            tokens: tokens(self.tokens),
            cost: Microdollars(cost(self.cost.0)),
        }
    }

    /// Where less than nothing is left, nothing.
    pub(crate) fn at_least_zero(self) -> Self {
        self.map(|it| it.max(0), |it| it.max(0))
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.map(
            |it| it.saturating_add(other.tokens),
            |it| it.saturating_add(other.cost.0),
        )
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.map(
            |it| it.saturating_sub(other.tokens),
            |it| it.saturating_sub(other.cost.0),
        )
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
