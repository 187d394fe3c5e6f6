//! Worlds that were written down before the eighth edition was built, and those of outages before the third one was made final
//! in it (docs/statistics.md). Each was run once, before anything else was changed.

use super::case::{
    Case,
    Expected::{self, AtLeast, AtLeastBy, AtMost, Told},
    M,
    Oddity::{
        self, AnotherId, Bot, Bursts, ClockChange, ControlDecays, DeadWeekends, Growing,
        LeaveForGood, LongStorms, Merged, Night, NightStorms, Pause, Second, SlowDay, Storms,
        Thrice, Turns,
    },
    T,
};

const fn equal(name: &'static str, oddity: Oddity, of: Case) -> Case {
    Case {
        name,
        oddity,
        is_unseen: true,
        ..of
    }
}

const fn worse(name: &'static str, oddity: Oddity, ratio: f64, slower: f64, at_least: f64) -> Case {
    Case {
        ratio,
        slower,
        expected: AtLeast(at_least),
        ..equal(name, oddity, M)
    }
}

/// Nothing is wrong but that a provider is away now and then.
const fn away(name: &'static str, oddity: Oddity, expected: Expected, of: Case) -> Case {
    Case {
        expected,
        ..equal(name, oddity, of)
    }
}

pub(super) const ALL: &[Case] = &[
    equal("clock change T", ClockChange, T),
    equal("pause M", Pause, M),
    Case {
        from_hour: 48.0,
        // While it is paused.
        expected: AtLeastBy(0.9, 96.0),
        ..worse("pause M, 3x errors from hour 48", Pause, 3.0, 1.0, 0.9)
    },
    equal("second rollout M", Second, M),
    worse("second rollout M, 3x errors", Second, 3.0, 1.0, 0.8),
    equal("growing prompts M", Growing, M),
    worse("growing prompts M, 2x slower", Growing, 1.0, 2.0, 1.0),
    equal("users leave M", LeaveForGood, M),
    worse("users leave M, 3x errors", LeaveForGood, 3.0, 1.0, 0.5),
    equal("bot M", Bot, M),
    equal("slow day M", SlowDay, M),
    Case {
        from_hour: 48.0,
        ..worse("slow day M, 2x slower from then on", SlowDay, 1.0, 2.0, 1.0)
    },
    worse("bursts M", Bursts, 2.0, 1.0, 0.9),
    equal("dead weekends T", DeadWeekends, T),
    equal("another id M", AnotherId, M),
    worse("another id M, 3x errors", AnotherId, 3.0, 1.0, 0.7),
    equal("merged users M", Merged, M),
    equal("control decays M", ControlDecays, M),
    Case {
        expected: AtMost(0.05),
        ..equal("same night M", Night { is_common: true }, M)
    },
    away("away long M", LongStorms(2.0, 2.0), AtMost(0.05), M),
    away(
        "away long M, 2 and 12 a day",
        LongStorms(2.0, 12.0),
        AtLeast(0.5),
        M,
    ),
    away(
        "away in an hour M",
        Thrice {
            every_minutes: 20.0,
        },
        AtMost(0.05),
        M,
    ),
    away(
        "away in an hour M, back between",
        Thrice {
            every_minutes: 45.0,
        },
        AtLeast(0.5),
        M,
    ),
    away("away at night M", NightStorms, AtMost(0.05), M),
    away("away by turns M", Turns(1, 1), AtMost(0.05), M),
    away("away by turns M, 0 and 6 a day", Turns(0, 6), Told, M),
    away("away T", Storms(5.0, 5.0), AtMost(0.05), T),
];
