//! Worlds that were written down before the eighth edition was built (docs/statistics.md), and are run once.

use super::case::{
    Case,
    Expected::{AtLeast, AtMost},
    M,
    Oddity::{
        self, AnotherId, Bot, Bursts, ClockChange, ControlDecays, DeadWeekends, Growing,
        LeaveForGood, Merged, Night, Pause, Second, SlowDay,
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

pub(super) const ALL: &[Case] = &[
    equal("clock change T", ClockChange, T),
    equal("pause M", Pause, M),
    Case {
        from_hour: 48.0,
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
];
