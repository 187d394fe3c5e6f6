//! Outages of other shapes, and candidates that are worse besides. They were written down before the ninth edition was built
//! (docs/statistics.md), and were run once when it was ready.

use super::case::{
    Case,
    Expected::{self, AtLeast, AtLeastBy, AtMost},
    M,
    Oddity::{
        self, AtRamp, BrownOut, Half, HourOnce, LongStorms, Minutes, Mondays, Slowly, TurnsForGood,
    },
};

/// Nothing is wrong but that a provider is away now and then.
const fn away(name: &'static str, oddity: Oddity, expected: Expected) -> Case {
    Case {
        name,
        oddity,
        expected,
        is_unseen: true,
        ..M
    }
}

const fn equal(name: &'static str, oddity: Oddity) -> Case {
    away(name, oddity, AtMost(0.05))
}

const ONCE_A_DAY: Oddity = Minutes(1.0, 1.0, 5.0);

pub(super) const ALL: &[Case] = &[
    Case {
        users: 100,
        per_day: 1_000.0,
        ..equal("shape: five minutes, few", ONCE_A_DAY)
    },
    Case {
        users: 4_000,
        per_day: 100_000.0,
        ..equal("shape: five minutes, many", ONCE_A_DAY)
    },
    equal("shape: brown-out", BrownOut),
    equal("shape: away slowly", Slowly),
    equal("shape: away at a ramp", AtRamp),
    equal("shape: away on Mondays", Mondays),
    equal("shape: a quarter of an hour", Minutes(1.0, 1.0, 15.0)),
    equal("shape: an hour once", HourOnce),
    Case {
        ratio: 3.0,
        ..away("shape: brown-out, 3x errors", BrownOut, AtLeast(0.7))
    },
    Case {
        ratio: 3.0,
        ..away("shape: five minutes, 3x errors", ONCE_A_DAY, AtLeast(0.7))
    },
    Case {
        ratio: 10.0,
        ..away(
            "shape: away long, one in five",
            LongStorms(2.0, 2.0),
            AtLeastBy(0.9, 48.0),
        )
    },
    Case {
        ratio: 2.0,
        from_hour: 48.0,
        ..away("shape: half from hour 48", Half, AtLeastBy(0.9, 72.0))
    },
    Case {
        ratio: f64::INFINITY,
        from_hour: 48.0,
        ..away(
            "shape: all from hour 48",
            Oddity::None,
            AtLeastBy(0.9, 72.0),
        )
    },
    away(
        "shape: a quarter, 1 and 12 a day",
        Minutes(1.0, 12.0, 15.0),
        AtLeast(0.8),
    ),
    Case {
        from_hour: 48.0,
        ..away("shape: by turns from hour 48", TurnsForGood, AtLeast(0.9))
    },
];
