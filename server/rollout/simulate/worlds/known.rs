//! The worlds that the sixth edition was attacked with: twenty, each with candidates that are as good and, most, with
//! one that is worse. What was expected of them was written down before they ran (docs/statistics.md).

use super::case::{
    Case,
    Expected::{AtLeast, AtMost, Told},
    M,
    Oddity::{
        Agents, BadDays, ByHand, Cache, Cold, Cron, Leave, Long, Night, OneId, Peak, PerMinute,
        Poison, Quota, Storms, Wave,
    },
    T,
};

const fn odd(name: &'static str, oddity: super::case::Oddity, of: Case) -> Case {
    Case { name, oddity, ..of }
}

const fn worse(of: Case, ratio: f64, slower: f64, expected: super::case::Expected) -> Case {
    Case {
        ratio,
        slower,
        expected,
        ..of
    }
}

/// Models that fail often, such as free ones.
const fn busy(name: &'static str, errors: f64, of: Case) -> Case {
    Case { name, errors, ..of }
}

const MOST: Case = Case {
    expected: AtMost(0.05),
    ..M
};

pub(super) const ALL: &[Case] = &[
    Case {
        name: "base T",
        ..T
    },
    Case {
        name: "base M",
        ..M
    },
    worse(
        Case {
            name: "base M, 3x errors",
            ..M
        },
        3.0,
        1.0,
        AtLeast(0.8),
    ),
    odd("cron T", Cron { is_new: false }, T),
    odd("cron M", Cron { is_new: false }, M),
    odd("cron, new, M", Cron { is_new: true }, M),
    worse(
        odd("cron M, 3x errors", Cron { is_new: false }, M),
        3.0,
        1.0,
        AtLeast(0.6),
    ),
    worse(
        odd("cron T, 3x errors", Cron { is_new: false }, T),
        3.0,
        1.0,
        Told,
    ),
    odd("peak M", Peak, M),
    worse(
        odd("peak M, 3x slower then", Peak, M),
        1.0,
        3.0,
        AtLeast(0.9),
    ),
    worse(odd("peak T, 3x slower then", Peak, T), 1.0, 3.0, Told),
    Case {
        expected: Told,
        ..odd("cold M", Cold, M)
    },
    worse(odd("cold M, 2x slower", Cold, M), 1.0, 2.0, AtLeast(0.9)),
    odd("poison T", Poison, T),
    odd("poison M", Poison, M),
    odd("bad days T", BadDays, T),
    odd("bad days M", BadDays, M),
    worse(odd("long prompts M, fail", Long, M), 2.0, 1.0, AtLeast(0.5)),
    worse(
        odd("quota M, its own", Quota { is_accounts: false }, M),
        2.0,
        1.0,
        AtLeast(0.9),
    ),
    worse(
        odd("quota M, our account's", Quota { is_accounts: true }, M),
        2.0,
        1.0,
        Told,
    ),
    Case {
        expected: Told,
        ..odd("cache M", Cache, M)
    },
    odd("wave T", Wave, T),
    odd("wave M", Wave, M),
    worse(odd("wave M, 3x errors", Wave, M), 3.0, 1.0, AtLeast(0.8)),
    odd("by hand M", ByHand, M),
    Case {
        users: 1,
        expected: AtMost(0.012),
        ..odd("one id T", OneId, T)
    },
    worse(
        Case {
            users: 1,
            ..odd("one id T, always fails", OneId, T)
        },
        f64::INFINITY,
        1.0,
        AtLeast(0.9),
    ),
    odd("agents T", Agents, T),
    odd("agents M", Agents, M),
    odd("leave T", Leave, T),
    odd("leave M", Leave, M),
    worse(odd("leave M, 2x later", Leave, M), 1.0, 2.0, AtLeast(0.9)),
    odd("storms M, 2 and 2 a day", Storms(2.0, 2.0), MOST),
    odd("storms M, 5 and 5 a day", Storms(5.0, 5.0), MOST),
    Case {
        expected: AtLeast(0.5),
        ..odd("storms M, 2 and 20 a day", Storms(2.0, 20.0), M)
    },
    busy("busy M, 8 %", 0.08, M),
    busy("busy T, 12 %", 0.12, T),
    busy("busy M, 15 %", 0.15, M),
    worse(
        busy("busy M, 15 %, 3x errors", 0.15, M),
        3.0,
        1.0,
        AtLeast(0.9),
    ),
    worse(
        odd("three a minute M", PerMinute, M),
        2.0,
        1.0,
        AtLeast(0.9),
    ),
    Case {
        name: "few M",
        users: 100,
        per_day: 3_000.0,
        days: 31.0,
        ..M
    },
    Case {
        name: "few T",
        users: 15,
        days: 31.0,
        ..T
    },
    Case {
        expected: Told,
        ..odd("night M, each at its hour", Night { is_common: false }, M)
    },
];
