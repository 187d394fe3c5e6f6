//! How many times as often something happens on the candidate, with limits that hold however often one looks.
//!
//! Where events fall has a likelihood L(ρ) under each ratio ρ, on a grid ([`ratio`](super::ratio) has the
//! formula). If ρ₀ is the truth, L(ρ)/L(ρ₀) has an expectation of 1 at every moment for each other ρ, and so
//! has their mixture over a prior on ρ. By Ville's inequality it ever reaches 20 with a probability of at most 5 %;
//! the limits hold every ρ₀ against which it has not. (The method of mixtures, Robbins 1970; written as
//! prior over posterior, Waudby-Smith & Ramdas 2020.) Requests are weighed as in the tests: a power from 0 to 1
//! of a likelihood ratio has an expectation of at most 1.

use std::{fmt, sync::LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::arms::PerArm,
    metric::Metric,
    ratio::{BinCounts, FREQUENT, log_draws},
};
use crate::_core::assignment::Variant;

/// Points on either side of 1.
const ARM: usize = 24;
const POINTS: usize = 2 * ARM + 1;
/// The largest ratio on the grid; the smallest is one by it.
const LARGEST: f64 = 64.0;
/// What a ratio is rejected at (α = 0.05).
const REJECTED: f64 = 20.0;

/// A ratio of the grid.
#[derive(Clone, Copy)]
struct Point {
    ratio: f64,
    log: f64,
    /// The prior: as e to the minus |ln ρ|, so that what is near 1 costs least.
    log_prior: f64,
}

static GRID: LazyLock<[Point; POINTS]> = LazyLock::new(|| {
    let log = |i: usize| (i as f64 / ARM as f64 - 1.0) * LARGEST.ln();
    let sum: f64 = (0..POINTS).map(|i| (-log(i).abs()).exp()).sum();
    std::array::from_fn(|i| Point {
        ratio: log(i).exp(),
        log: log(i),
        log_prior: -log(i).abs() - sum.ln(),
    })
});

/// How many times as often one thing happens on the candidate as on control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// What happens.
    pub metric: Metric,
    /// The likeliest ratio; null while nothing is known.
    pub ratio: Option<f64>,
    /// The ratio is not below this, 0 where that cannot be said. Both limits together hold at every moment,
    /// with a probability of 95 %.
    pub low: f64,
    /// It is not above this; null where that cannot be said.
    pub high: Option<f64>,
    /// The ratio that the plan tolerates.
    pub margin: f64,
}

impl Effect {
    /// `1.1 times as often as on control (0.8–1.6), tolerated up to 1.25`.
    pub(in crate::rollout) fn in_words(&self) -> String {
        let ratio = self.between(" times as often as on control");
        let ratio = ratio
            .as_deref()
            .unwrap_or("how often on control is not known yet");
        format!("{ratio}, tolerated up to {}", self.margin)
    }

    /// `1.1 (0.8–1.6)`, with words after the ratio; `None` while it is not known.
    fn between(&self, words: &str) -> Option<String> {
        let (ratio, low) = (figure(self.ratio?), figure(self.low));
        Some(match self.high.map(figure) {
            Some(high) => format!("{ratio}{words} ({low}–{high})"),
            None => format!("{ratio}{words} (at least {low})"),
        })
    }
}

impl fmt::Display for Effect {
    /// `errors 1.1 (0.8–1.6), tolerated up to 1.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.between("");
        let ratio = ratio.as_deref().unwrap_or("not known yet");
        let (metric, margin) = (self.metric, self.margin);
        write!(f, "{metric} {ratio}, tolerated up to {margin}")
    }
}

/// With two digits that say something.
fn figure(number: f64) -> String {
    if number >= 10.0 {
        format!("{number:.0}")
    } else if number >= 0.95 || number == 0.0 {
        format!("{number:.1}")
    } else {
        let text = format!("{number:.2}");
        text.strip_suffix('0').unwrap_or(&text).to_owned()
    }
}

/// The log likelihood of what was seen, at each point of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Likelihood(Vec<f64>);

impl Default for Likelihood {
    fn default() -> Self {
        Self(vec![0.0; POINTS])
    }
}

impl Likelihood {
    /// Adds a bin; one without events or with an empty arm says nothing.
    pub(super) fn add(&mut self, bin: BinCounts, weight: f64) {
        let PerArm { control, candidate } = bin.requests.map(u64::from);
        let PerArm {
            control: x0,
            candidate: x1,
        } = bin.errors.map(u64::from);
        if control == 0 || candidate == 0 || x0 + x1 == 0 {
            return;
        }
        if (x0 + x1) * FREQUENT > control + candidate {
            for (sum, point) in self.0.iter_mut().zip(GRID.iter()) {
                let all = log_draws(control, candidate, x0 + x1, point.ratio);
                *sum += weight * (x1 as f64 * point.log - all);
            }
        } else {
            let share = candidate as f64 / (control + candidate) as f64;
            self.add_events(weight * x0 as f64, weight * x1 as f64, share);
        }
    }

    /// Adds an event of a user who was in the candidate with this probability.
    pub(super) fn add_one(&mut self, arm: Variant, probability: f64) {
        if probability <= 0.0 || probability >= 1.0 {
            return;
        }
        match arm {
            Variant::Control => self.add_events(1.0, 0.0, probability),
            Variant::Candidate => self.add_events(0.0, 1.0, probability),
        }
    }

    fn add_events(&mut self, control: f64, candidate: f64, share: f64) {
        for (sum, point) in self.0.iter_mut().zip(GRID.iter()) {
            let all = (share * point.ratio + 1.0 - share).ln();
            *sum += candidate * point.log - (control + candidate) * all;
        }
    }

    /// The likeliest ratio and its limits.
    pub(super) fn effect(&self, metric: Metric, margin: f64) -> Effect {
        let mut effect = Effect {
            metric,
            ratio: None,
            low: 0.0,
            high: None,
            margin,
        };
        let logs = &self.0;
        let best = (0..logs.len()).max_by(|a, b| logs[*a].total_cmp(&logs[*b]));
        let Some(best) = best.filter(|_| logs.len() == POINTS && logs.iter().any(|it| *it != 0.0))
        else {
            return effect;
        };
        let top = logs[best];
        let mixture: f64 = logs
            .iter()
            .zip(GRID.iter())
            .map(|(log, point)| (log - top + point.log_prior).exp())
            .sum();
        let least = top + mixture.ln() - REJECTED.ln();
        effect.ratio = Some(match best {
            0 => 0.0,
            _ => self.summit(best).exp(),
        });
        // The likelihood is concave in ln ρ: what is rejected lies on either side.
        let holds = |i: &usize| logs[*i] >= least;
        let first = (0..=best).find(holds).unwrap_or(best);
        let last = (best..POINTS).rev().find(holds).unwrap_or(best);
        if first > 0 {
            effect.low = self.edge(first, first - 1, least).exp();
        }
        if last + 1 < POINTS {
            effect.high = Some(self.edge(last, last + 1, least).exp());
        }
        effect
    }

    /// Where the parabola through the largest value and its neighbours is highest.
    fn summit(&self, best: usize) -> f64 {
        let step = LARGEST.ln() / ARM as f64;
        let shift = match (
            best.checked_sub(1).and_then(|i| self.0.get(i)),
            self.0.get(best + 1),
        ) {
            (Some(before), Some(after)) => {
                let bend = before - 2.0 * self.0[best] + after;
                if bend < 0.0 {
                    (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
                } else {
                    0.0
                }
            }
            _ => 0.0,
        };
        GRID[best].log + shift * step
    }

    /// ln ρ between the last point that is not rejected and the first one that is. The line through the former and
    /// its inner neighbour lies above a concave function, so the limit is never too narrow.
    fn edge(&self, kept: usize, rejected: usize, least: f64) -> f64 {
        let inner = (2 * kept).checked_sub(rejected);
        let slope = match inner.and_then(|inner| self.0.get(inner)) {
            Some(inner) if *inner > self.0[kept] => self.0[kept] - inner,
            _ => return GRID[rejected].log,
        };
        let part = ((least - self.0[kept]) / slope).clamp(0.0, 1.0);
        GRID[kept].log + part * (GRID[rejected].log - GRID[kept].log)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events one by one, of which the candidate has a tenth of the requests.
    fn seen(ratio: f64, events: u32, random: &mut impl FnMut() -> f64) -> (Likelihood, bool) {
        let share = 0.1;
        let on_candidate = share * ratio / (share * ratio + 1.0 - share);
        let (mut likelihood, mut always) = (Likelihood::default(), true);
        for _ in 0..events {
            let arm = if random() < on_candidate {
                Variant::Candidate
            } else {
                Variant::Control
            };
            likelihood.add_one(arm, share);
            let Effect { low, high, .. } = likelihood.effect(Metric::Errors, 1.25);
            always &= low <= ratio && high.is_none_or(|high| ratio <= high);
        }
        (likelihood, always)
    }

    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    #[test]
    fn the_limits_hold_the_truth_at_every_moment_in_nineteen_of_twenty_runs() {
        for ratio in [0.5, 1.0, 2.0, 5.0] {
            let missed = (0..200)
                .filter(|run| !seen(ratio, 200, &mut random(run * 4 + 1)).1)
                .count();
            // 5 % would be 10; 20 has a probability of some thousandths then.
            assert!(missed <= 20, "{ratio}: {missed} of 200");
        }
    }

    #[test]
    fn much_evidence_makes_the_limits_narrow_around_the_truth() {
        let (likelihood, _) = seen(2.0, 3_000, &mut random(7));
        let effect = likelihood.effect(Metric::Errors, 1.25);
        let ratio = effect.ratio.unwrap();
        assert!((1.7..2.3).contains(&ratio), "{effect}");
        // Some 500 events on the candidate say 1.7 to 2.4 by themselves. The limits are where the grid lies
        // outside of that, so they are within two of its steps of the truth.
        let steps = LARGEST.powf(2.0 / ARM as f64);
        let [low, high] = [2.0 / steps, 2.0 * steps];
        let is_within = effect.low > 0.999 * low && effect.high.unwrap() < 1.001 * high;
        assert!(is_within, "{effect}; {low} to {high}");
    }

    #[test]
    fn what_is_known_is_said_in_words() {
        let none = Likelihood::default().effect(Metric::Slow, 1.25);
        assert_eq!(none.to_string(), "slow not known yet, tolerated up to 1.25");
        let effect = Effect {
            metric: Metric::Errors,
            ratio: Some(1.06),
            low: 0.8,
            high: Some(1.62),
            margin: 1.25,
        };
        let words = "errors 1.1 (0.8–1.6), tolerated up to 1.25";
        assert_eq!(effect.to_string(), words);
        let open = Effect {
            high: None,
            ratio: Some(64.0),
            low: 12.4,
            ..effect
        };
        assert_eq!(
            open.to_string(),
            "errors 64 (at least 12), tolerated up to 1.25"
        );
    }

    #[test]
    fn a_candidate_without_events_has_a_ratio_of_nought_and_an_upper_limit() {
        let mut likelihood = Likelihood::default();
        (0..300).for_each(|_| likelihood.add_one(Variant::Control, 0.1));
        let effect = likelihood.effect(Metric::Errors, 1.25);
        assert_eq!((effect.ratio, effect.low), (Some(0.0), 0.0));
        assert!(effect.high.unwrap() < 0.3, "{effect}");
    }

    proptest! {
        #[test]
        fn limits_lie_around_the_likeliest_ratio(
            bins in proptest::collection::vec((1_u32..40, 1_u32..40, 0_u32..40, 0_u32..40, 0.0_f64..=1.0), 0..30)
        ) {
            let mut likelihood = Likelihood::default();
            for (control, candidate, x0, x1, weight) in bins {
                let bin = BinCounts {
                    requests: [control, candidate].into(),
                    errors: [x0.min(control), x1.min(candidate)].into(),
                };
                likelihood.add(bin, weight);
            }
            let Effect { ratio, low, high, .. } = likelihood.effect(Metric::Quality, 1.25);
            if let Some(ratio) = ratio {
                prop_assert!(low <= ratio * 1.001 && high.is_none_or(|high| ratio <= high * 1.001));
            }
        }
    }
}
