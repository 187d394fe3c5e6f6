//! Worlds of an opponent of the ninth edition, who had not built it. They were written down before any of them ran
//! (docs/statistics.md), and were run once before the evidence was changed.

use super::case::{
    Case,
    Expected::{AtLeast, AtMost},
    M,
    Oddity::{ClockJumps, Drip, Job, Regions},
};

const UNSEEN: Case = Case {
    is_unseen: true,
    ..M
};

pub(super) const ALL: &[Case] = &[
    Case {
        name: "attack: drip",
        oddity: Drip,
        ratio: 2.0,
        expected: AtLeast(0.5),
        ..UNSEEN
    },
    Case {
        name: "attack: job",
        oddity: Job,
        expected: AtMost(0.05),
        ..UNSEEN
    },
    Case {
        name: "attack: job, 3x errors",
        oddity: Job,
        ratio: 3.0,
        expected: AtLeast(0.7),
        ..UNSEEN
    },
    Case {
        name: "attack: regions",
        oddity: Regions,
        slower: 1.6,
        expected: AtLeast(0.8),
        ..UNSEEN
    },
    Case {
        name: "attack: clock jumps",
        oddity: ClockJumps,
        ..UNSEEN
    },
    Case {
        name: "attack: clock jumps, 3x errors",
        oddity: ClockJumps,
        ratio: 3.0,
        expected: AtLeast(0.8),
        ..UNSEEN
    },
];
