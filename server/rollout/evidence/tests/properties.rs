//! What holds whatever comes.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_state_that_was_saved_goes_on_bit_for_bit(
        count in 1_u64..2_000, cut in 0.0_f64..1.0, every in 1_i64..100_000, errors in 1_u64..60
    ) {
        let mut all = traffic(count, every, |i, is_candidate| i % errors == 0 || (is_candidate && i % 3 == 0));
        for (i, one) in all.iter_mut().enumerate().filter(|(i, _)| i % 11 == 0) {
            one.end = RequestEnd::Uncounted(UncountedKind::ALL[i % UncountedKind::ALL.len()]);
        }
        let cut = (cut * all.len() as f64) as usize;
        let (mut whole, saved) = (folded_of(&SOME, &all), folded_of(&SOME, &all[..cut]));
        let text = serde_json::to_string(&saved).unwrap();
        let mut restored: Evidence = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&restored, &saved);
        for one in &all[cut..] {
            restored.fold(one, share(10.0));
        }
        prop_assert_eq!(serde_json::to_string(&restored).unwrap(), serde_json::to_string(&whole).unwrap());
        for evidence in [&mut restored, &mut whole] {
            evidence.begin_stage(BEGIN + 9 * HOUR_MS, share(50.0), 1.5);
        }
        prop_assert_eq!(restored.verdict(BEGIN + 10 * HOUR_MS), whole.verdict(BEGIN + 10 * HOUR_MS));
    }

    #[test]
    fn the_order_inside_a_bin_says_nothing(order in Just((0..50_u64).collect::<Vec<_>>()).prop_shuffle()) {
        let all = traffic(50, 1, |i, _| i % 9 == 0);
        let shuffled: Vec<_> = order.iter().filter_map(|i| all.get(*i as usize).copied()).collect();
        let values = [all, shuffled].map(|observations| {
            let evidence = folded(&observations);
            (evidence.streams.value(Harm::Error), evidence.crash.value())
        });
        prop_assert_eq!(values[0], values[1]);
    }

    #[test]
    fn nothing_breaks_the_fold(
        observations in proptest::collection::vec(
            (any::<i64>(), any::<u64>(), any::<bool>(), any::<bool>(), any::<f64>(), 0.0_f64..=100.0),
            0..200,
        ),
        weights in any::<[f64; 5]>(), margin in any::<f64>(), limit in any::<f64>(), cap in any::<u32>(),
        planned_hours in 0_u32..10_000, now in any::<i64>(),
    ) {
        let plan = EvidencePlan {
            weights, margin, max_error_rate: limit, good_error_rate: limit,
            cap_per_user_day: cap, planned_hours, ..EvidencePlan::default()
        };
        let mut evidence = Evidence::new(&plan, Strata::default(), BEGIN);
        for (at_ms, subject, is_candidate, error, latency_ms, percent) in observations {
            let mut one = request(0, subject, is_candidate, error);
            (one.at_ms, one.latency_ms, one.was_open) = (at_ms, latency_ms, subject % 5 == 0);
            if subject % 3 == 0 {
                one.end = if error { RequestEnd::TimedOut } else { RequestEnd::Unknown };
            }
            evidence.fold(&one, share(percent));
            evidence.feedback(subject, one.variant, error, at_ms);
        }
        let verdict = evidence.verdict(now);
        prop_assert!(verdict.e.is_finite() && verdict.promotion.e.is_finite(), "{:?}", verdict);
        evidence.begin_stage(now, Percent::FULL, margin);
        evidence.verdict(now);
    }

    #[test]
    fn the_exact_distribution_equals_a_count_of_all_draws(
        control in 1_u32..12, candidate in 1_u32..12, x0 in 0_u32..12, x1 in 0_u32..12, null in 0.5_f64..3.0
    ) {
        let (x0, x1) = (x0.min(control), x1.min(candidate));
        prop_assume!((x0 + x1) * 10 > control + candidate);
        let bin = BinCounts { requests: [control, candidate].into(), errors: [x0, x1].into() };
        let mut ratio = Ratio::new(TestDirection::Crashing, null, Restarts::NEVER);
        ratio.judge(bin);
        // P(x₁ | x₀ + x₁ errors) by counting: Σ over all sets of failing requests, each candidate
        // failure weighted by the odds.
        let ways = |x: u32, odds: f64| choose(candidate, x) * choose(control, x0 + x1 - x) * odds.powi(x as i32);
        let probability = |odds: f64| {
            let all: f64 = (0..=candidate.min(x0 + x1)).filter(|x| x0 + x1 - x <= control).map(|x| ways(x, odds)).sum();
            ways(x1, odds) / all
        };
        let direct: f64 = [5.0, 10.0, 20.0, 50.0]
            .map(|psi| 0.25 * probability(null * psi) / probability(null)).iter().sum();
        prop_assert!((ratio.value() / direct - 1.0).abs() < 1e-9, "{} {direct}", ratio.value());
    }
}

fn choose(n: u32, k: u32) -> f64 {
    (0..k)
        .map(|i| f64::from(n - i) / f64::from(i + 1))
        .product()
}
