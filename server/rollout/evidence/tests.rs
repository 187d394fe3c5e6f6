//! Facts about the whole fold; the parts have their own tests.

mod quality;

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{ratio::Counts, users::Look, *};
use crate::providers::quality::Quality;

const BEGIN: i64 = 1_700_000_000_000;

fn share(percent: f64) -> Percent {
    Percent::new(percent).unwrap()
}

fn request(at_ms: i64, subject: u64, is_candidate: bool, error: bool) -> Observation {
    Observation {
        at_ms: BEGIN + at_ms,
        subject,
        variant: if is_candidate {
            Variant::Candidate
        } else {
            Variant::Control
        },
        end: if error { End::Failed } else { End::Answered },
        latency_ms: 1_000.0,
        was_open: false,
        quality: None,
    }
}

/// A tenth of the requests are the candidate's; each is another user's.
fn traffic(count: u64, every: i64, error: impl Fn(u64, bool) -> bool) -> Vec<Observation> {
    (0..count)
        .map(|i| {
            let is_candidate = i % 10 == 0;
            let subject = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut one = request(
                i as i64 * every,
                subject,
                is_candidate,
                error(i, is_candidate),
            );
            one.latency_ms = 500.0 + (i * 7_919 % 2_000) as f64;
            one
        })
        .collect()
}

/// Users of [`traffic`], and the ones beside them, who all had the same week before.
fn alike(users: u64) -> Strata {
    let mut latencies = LogLatencies::default();
    (0..20).for_each(|_| latencies.add(1_500.0));
    let hashed = (0..users).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let subjects = hashed.flat_map(|it| [it, it.wrapping_add(1)]);
    Strata::new(subjects.chain([77]).map(|subject| UserHistory {
        subject,
        requests: 20,
        latencies,
        answers: 20,
        ..UserHistory::default()
    }))
}

static ALL: LazyLock<Strata> = LazyLock::new(|| alike(8_000));
/// Half of those whom a property sees.
static SOME: LazyLock<Strata> = LazyLock::new(|| alike(1_000));

fn folded(observations: &[Observation]) -> Evidence {
    folded_of(&ALL, observations)
}

fn folded_of(strata: &Strata, observations: &[Observation]) -> Evidence {
    let mut evidence = Evidence::new(&EvidencePlan::default(), strata.clone(), BEGIN);
    for observation in observations {
        evidence.fold(observation, share(10.0));
    }
    evidence
}

#[test]
fn a_candidate_that_always_fails_is_stopped_within_a_few_errors() {
    for percent in [1.0, 10.0] {
        let period = (100.0 / percent) as u64;
        let mut evidence = Evidence::new(&EvidencePlan::default(), Strata::default(), BEGIN);
        let mut errors = 0;
        for i in 0..10_000 {
            let is_candidate = i % period == period - 1;
            errors += u32::from(is_candidate);
            let one = request(
                i as i64 * 8_640,
                i,
                is_candidate,
                is_candidate || i % 50 == 0,
            );
            if evidence.fold(&one, share(percent)) == Level::Rollback {
                break;
            }
        }
        let verdict = evidence.verdict(BEGIN);
        let causes = [Some(Signal::AbsoluteLimit), Some(Signal::Crash)];
        assert!(causes.contains(&verdict.cause), "{:?}", verdict.cause);
        assert!(errors <= 6, "{errors} errors at {percent} %");
    }
}

#[test]
fn nothing_below_the_floor_is_slow() {
    let mut fast = traffic(2_000, 1_000, |_, _| false);
    for one in &mut fast {
        // Control is as fast as it can be; the candidate takes four times as long.
        one.latency_ms = match one.variant {
            Variant::Control => 5.0,
            Variant::Candidate => 20.0,
        };
    }
    let evidence = folded(&fast);
    assert_eq!(evidence.late_after_ms(), Some(250.0));
    let slow = |evidence: &Evidence| evidence.verdict(BEGIN + 2_000_000).metrics[1].e;
    assert!(slow(&evidence) <= 1.0);
    for one in &mut fast {
        one.latency_ms *= 100.0;
    }
    assert!(slow(&folded(&fast)) > 100.0, "above it they are");
}

#[test]
fn a_plan_of_the_last_release_has_no_floor() {
    let mut plan = serde_json::to_value(EvidencePlan::default()).unwrap();
    plan.as_object_mut()
        .unwrap()
        .remove("slow_floor_ms")
        .unwrap();
    let plan: EvidencePlan = serde_json::from_value(plan).unwrap();
    assert_eq!(plan.slow_floor_ms, 0.0);
}

#[test]
fn an_outage_of_both_arms_holds_and_takes_nothing_back() {
    let outage = folded(&traffic(3_000, 600, |_, _| true));
    let verdict = outage.verdict(BEGIN + 1_800_000);
    assert_eq!(verdict.level, Level::Hold, "{}", verdict.why);
    assert!(verdict.absolute.broken && verdict.absolute.control_broken);
}

#[test]
fn a_rollback_stays_whatever_comes_after() {
    let mut evidence = folded(&traffic(2_000, 1_000, |_, is_candidate| is_candidate));
    for one in traffic(20_000, 1_000, |_, is_candidate| !is_candidate) {
        assert_eq!(evidence.fold(&one, share(10.0)), Level::Rollback);
    }
    assert_eq!(evidence.verdict(i64::MAX).level, Level::Rollback);
}

#[test]
fn equal_arms_are_clear_and_can_be_promoted() {
    let judged = |plan: &EvidencePlan, count: u64| {
        let mut evidence = Evidence::new(plan, ALL.clone(), BEGIN);
        let every = 48 * HOUR_MS / count as i64;
        for observation in traffic(count, every, |i, _| i % 47 == 0) {
            evidence.fold(&observation, share(10.0));
        }
        let verdict = evidence.verdict(BEGIN + 48 * HOUR_MS);
        assert_eq!(verdict.level, Level::Clear, "{}", verdict.why);
        assert_eq!(verdict.candidate.requests, count / 10);
        verdict.promotion
    };
    let all = EvidencePlan::default();
    let errors = EvidencePlan {
        weights: [1.0, 0.0, 0.0, 0.0, 0.0],
        ..all.clone()
    };
    // 10,000 requests a day were enough while a stage was proven by what came since it began. Of that there
    // still is more than enough; but the last day has to agree, and has too few errors for that.
    let promotion = judged(&errors, 20_000);
    assert!(promotion.metrics[0].e > 1_000.0, "{promotion:?}");
    assert!(promotion.recommended && !promotion.proven, "{promotion:?}");
    assert!(
        promotion.why.contains("of errors, the last day alone"),
        "{}",
        promotion.why
    );
    // Latencies ask for more still.
    let promotion = judged(&all, 20_000);
    assert!(!promotion.proven, "{promotion:?}");
    assert!(
        promotion.why.contains("of slow, the last day alone"),
        "{}",
        promotion.why
    );
    // Twice the traffic is enough for errors, and three times for all.
    let promotion = judged(&errors, 40_000);
    assert!(promotion.proven, "{promotion:?}");
    let promotion = judged(&all, 60_000);
    assert!(promotion.proven, "{promotion:?}");
}

#[test]
fn slow_answers_alone_take_a_candidate_back() {
    let mut slow = traffic(8_000, 8_640, |_, _| false);
    for one in slow
        .iter_mut()
        .filter(|one| one.variant == Variant::Candidate)
    {
        one.latency_ms *= 3.0;
    }
    let verdict = folded(&slow).verdict(BEGIN);
    assert_eq!(verdict.cause, Some(Signal::Worse), "{verdict:?}");
    assert!(verdict.metrics[1].e > verdict.metrics[0].e);
}

#[test]
fn a_candidate_that_hangs_is_taken_back_before_anything_has_ended() {
    let mut evidence = folded(&traffic(2_000, 1_000, |_, _| false));
    let late_after = evidence.late_after_ms().expect("thresholds");
    let mut level = Level::Clear;
    let mut open = 0;
    for mut one in traffic(400, 1_000, |_, _| false) {
        one.at_ms += 2_000_000;
        one.subject = one.subject.wrapping_add(1);
        if one.variant == Variant::Candidate {
            (one.end, one.latency_ms) = (End::Unknown, late_after + 1.0);
            open += u32::from(level < Level::Rollback);
        }
        level = evidence.fold(&one, share(10.0));
    }
    assert_eq!(level, Level::Rollback);
    assert!(open <= 30, "{open} requests hung");
    let verdict = evidence.verdict(BEGIN);
    assert_eq!(verdict.cause, Some(Signal::Worse));
    assert_eq!(
        verdict.candidate.requests, 200,
        "those that hang have not ended"
    );
}

#[test]
fn a_request_is_slow_once_however_often_one_looks() {
    let mut evidence = folded(&traffic(2_000, 1_000, |_, _| false));
    evidence.close_bins();
    let seen = |evidence: &Evidence, harm: Harm| {
        let bins = evidence.streams.get(harm).unwrap().open();
        // Users without a past are counted beside it, for the proof of the stage.
        let bins = bins.filter(|(stratum, _)| harm == Harm::Error || *stratum > 0);
        bins.fold((0, 0), |(requests, bad), (_, bin)| {
            (
                requests + bin.counts.requests.candidate,
                bad + bin.counts.errors.candidate,
            )
        })
    };
    let mut one = request(3_000_000, 77, true, false);
    // A caller who goes away before it is slow says nothing.
    (one.end, one.latency_ms) = (End::Unknown, 1.0);
    evidence.fold(&one, share(10.0));
    // Between two thresholds, only the lower one is known to be passed.
    one.latency_ms = 2_000.0;
    evidence.fold(&one, share(10.0));
    assert_eq!(
        Harm::SLOW.map(|harm| seen(&evidence, harm)),
        [(1, 1), (0, 0), (0, 0)]
    );
    // It is told while it is open, and ends as a failure.
    one.latency_ms = 60_000.0;
    evidence.fold(&one, share(10.0));
    assert_eq!(seen(&evidence, Harm::Error), (0, 0));
    (one.end, one.was_open) = (End::TimedOut, true);
    evidence.fold(&one, share(10.0));
    assert_eq!(
        Harm::SLOW.map(|harm| seen(&evidence, harm)),
        [(2, 2), (1, 1), (1, 1)]
    );
    assert_eq!(seen(&evidence, Harm::Error), (1, 1));
}

#[test]
fn one_user_gives_at_most_three_errors_a_day() {
    let mut evidence = Evidence::new(&EvidencePlan::default(), Strata::default(), BEGIN);
    let mut fold = |hour: i64, count: u64| {
        for i in 0..count {
            evidence.fold(
                &request(hour * HOUR_MS + i as i64, 7, true, true),
                share(10.0),
            );
        }
        let errors = evidence.streams.get(Harm::Error).unwrap();
        errors
            .open()
            .map(|(_, bin)| bin.counts.errors.candidate)
            .sum::<u32>()
    };
    assert_eq!(fold(0, 100), 3);
    assert_eq!(fold(24, 100), 3, "the bin of the day before has closed");
}

#[test]
fn a_slow_user_on_the_candidate_is_no_slow_candidate() {
    // Every hundredth user takes five times as long as the others, and always did.
    let slow = |i: u64| if i.is_multiple_of(100) { 5.0 } else { 1.0 };
    let ms = |i: u64, n: u64| slow(i) * (500.0 + (n * 7_919 % 2_000) as f64);
    let strata = Strata::new((0..200).map(|subject| {
        let mut latencies = LogLatencies::default();
        (0..50).for_each(|n| latencies.add(ms(subject, n + subject)));
        UserHistory {
            subject,
            requests: 50,
            latencies,
            ..UserHistory::default()
        }
    }));
    let judged = |edition, times: f64| {
        let plan = EvidencePlan::default();
        let mut evidence = Evidence::of_edition(edition, &plan, strata.clone(), BEGIN);
        for n in 0..8_000_u64 {
            let user = n % 200;
            // Both of the slow ones are on it.
            let is_candidate = user.is_multiple_of(20);
            let mut one = request(n as i64 * 8_640, user, is_candidate, false);
            one.latency_ms = ms(user, n) * if is_candidate { times } else { 1.0 };
            evidence.fold(&one, share(5.0));
        }
        let metrics = evidence.verdict(BEGIN).metrics;
        metrics[1].e.max(metrics[2].e)
    };
    assert!(judged(Edition::First, 1.0) > 100.0, "as they were compared");
    assert!(judged(Edition::Second, 1.0) < 5.0);
    assert!(judged(Edition::Second, 3.0) > 100.0, "a slow candidate is");
}

#[test]
fn users_without_a_past_are_looked_at_once_in_each_share() {
    let looked = |seen: &[(Variant, f64)]| {
        let (mut looks, mut users) = (Looks::default(), Strata::default().into_parts().0);
        let mut probability = None;
        let mut before = None;
        for (arm, percent) in seen {
            if before != Some(percent) {
                looks.begin_share(share(*percent));
            }
            before = Some(percent);
            let mut user = users.of(7);
            let looked = looks.look(user.last_look(Look::Error), *arm, share(*percent));
            looked.inspect(|(_, look)| user.look(Look::Error, *look));
            probability = looked.map(|(probability, _)| probability);
        }
        probability.map(|it| (it * 1_000.0).round())
    };
    let (control, candidate) = (Variant::Control, Variant::Candidate);
    assert_eq!(looked(&[(control, 10.0)]), Some(100.0));
    assert_eq!(looked(&[(control, 10.0), (control, 10.0)]), None, "once");
    assert_eq!(
        looked(&[(control, 20.0), (candidate, 60.0)]),
        Some(500.0),
        "of those who were left, half went over"
    );
    assert_eq!(
        looked(&[(candidate, 20.0), (candidate, 60.0)]),
        None,
        "it stays"
    );
    assert_eq!(
        looked(&[(control, 20.0), (control, 10.0)]),
        None,
        "it stays as well"
    );
    assert_eq!(
        looked(&[(control, 20.0), (control, 10.0), (control, 60.0)]),
        Some(500.0)
    );
}

#[test]
fn users_are_compared_with_those_who_failed_as_often() {
    let user = |(subject, requests, errors)| UserHistory {
        subject,
        requests,
        errors,
        ..UserHistory::default()
    };
    let strata = |users: &[(u64, u32, u32)]| {
        let mut table = Strata::new(users.iter().copied().map(user)).into_parts().0;
        let of = users
            .iter()
            .map(|(subject, ..)| table.of(*subject).stratum());
        of.collect::<Vec<_>>()
    };
    // About two of a hundred requests fail; the first user is most of the traffic.
    let crowd = (1, 100_000, 2_000);
    assert_eq!(
        strata(&[
            crowd,
            (2, 70, 0),
            (3, 70, 1),
            (4, 70, 6),
            (5, 70, 12),
            (6, 70, 40)
        ]),
        [3, 1, 2, 4, 5, 6]
    );
    // One error of two requests says less than seven of fourteen; nothing was answered: unknown.
    assert_eq!(
        strata(&[crowd, (2, 2, 1), (3, 14, 7), (4, 0, 0)]),
        [3, 4, 6, 0]
    );
}

#[test]
fn hold_is_left_after_an_hour_below_watch() {
    let mut evidence = folded(&[]);
    evidence.held = Some(Held {
        calm_since_ms: Some(BEGIN),
    });
    assert_eq!(evidence.verdict(BEGIN + HOUR_MS - 1).level, Level::Hold);
    assert_eq!(evidence.verdict(BEGIN + HOUR_MS).level, Level::Clear);
    evidence.held = Some(Held {
        calm_since_ms: None,
    });
    assert_eq!(evidence.verdict(BEGIN + 9 * HOUR_MS).level, Level::Hold);
}

#[test]
fn users_on_the_wrong_arm_hold_a_rollout() {
    let mut evidence = folded(&[]);
    for one in traffic(4_000, 1_000, |_, _| false) {
        evidence.fold(&one, share(25.0));
    }
    let verdict = evidence.verdict(BEGIN);
    assert!(verdict.sample_ratio.mismatch);
    assert_eq!(verdict.level, Level::Hold);
}

#[test]
fn without_control_its_frozen_rates_judge() {
    let mut evidence = folded(&traffic(10_000, 8_640, |i, _| i % 49 == 0));
    evidence.begin_stage(BEGIN + 25 * HOUR_MS, Percent::FULL, 1.5);
    assert_eq!(
        evidence.verdict(BEGIN + 25 * HOUR_MS).reference,
        Reference::Frozen
    );
    let after = |evidence: &Evidence, every: u64| {
        let mut evidence = evidence.clone();
        for i in 0..5_000 {
            let one = request(25 * HOUR_MS + i as i64 * 8_640, i, true, i % every == 0);
            evidence.fold(&one, Percent::FULL);
        }
        evidence.verdict(BEGIN + 40 * HOUR_MS).level
    };
    assert_eq!(after(&evidence, 50), Level::Clear);
    assert_eq!(after(&evidence, 10), Level::Rollback);
}

#[test]
fn looking_changes_nothing() {
    let evidence = folded(&traffic(3_000, 8_640, |i, _| i % 20 == 0));
    let before = evidence.clone();
    for hours in [0, 8, 100, 10_000] {
        evidence.verdict(BEGIN + hours * HOUR_MS);
    }
    assert_eq!(evidence, before);
}

/// As many users with a week in which some failed, were slow and got bad answers.
fn many(users: u64) -> Strata {
    Strata::new((0..users).map(|n| {
        let mut latencies = LogLatencies::default();
        (0..3).for_each(|i| latencies.add(400.0 + (n * 31 + i * 7_919) as f64 % 3_000.0));
        UserHistory {
            subject: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            requests: 1 + (n % 40) as u32,
            errors: u32::from(n % 9 == 0),
            latencies,
            answers: 1 + (n % 40) as u32,
            flawed: u32::from(n % 7 == 0),
        }
    }))
}

#[test]
fn the_state_is_bounded() {
    let bytes = |evidence: &Evidence| serde_json::to_string(evidence).unwrap().len();
    let begun = |users| Evidence::new(&EvidencePlan::default(), many(users), BEGIN);
    // Days of traffic with all metrics on, by more users than there are slots.
    let used = |users| {
        let mut evidence = begun(users);
        for (i, mut one) in (0..).zip(traffic(300_000, 1_000, |i, _| i % 3 == 0)) {
            one.quality = Some(match i % 5 {
                0 => Quality::Refused,
                _ => Quality::Good,
            });
            one.end = if i % 11 == 0 {
                End::Uncounted(Kind::ALL[i % Kind::ALL.len()])
            } else {
                one.end
            };
            evidence.fold(&one, share(10.0));
        }
        bytes(&evidence)
    };
    let none = used(0);
    assert!(none < 96 * 1024, "{none} bytes");
    let ten_thousand = used(10_000);
    let limit = 256 * 1024;
    assert!(ten_thousand < limit, "{ten_thousand} bytes of {limit}");
    // What a table takes depends on the number of users alone.
    let [ten, twenty, most, more] = [10_000, 20_000, 25_000, 90_000].map(|it| bytes(&begun(it)));
    assert!(twenty - ten <= 24 * 10_000, "{ten} and {twenty} bytes");
    assert_eq!(more, most, "of more users the past is not kept");
}

#[test]
fn of_too_many_users_those_are_kept_who_asked_most_often() {
    // Ids are hashes.
    let hashed = |n: u64| {
        let mixed = (n ^ n >> 7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let known = |of: std::ops::Range<u64>| {
        // One in two asks often.
        let history = (0..60_000).map(|n| UserHistory {
            subject: hashed(n),
            requests: 10 + (n % 2) as u32,
            ..UserHistory::default()
        });
        let mut users = Strata::new(history).into_parts().0;
        let known = of.filter(|n| users.of(hashed(*n)).stratum() > 0);
        known.fold([0, 0], |[rarely, often], n| match n % 2 {
            0 => [rarely + 1, often],
            _ => [rarely, often + 1],
        })
    };
    let [rarely, often] = known(0..60_000);
    // A third of the slots is taken, and who shares one with a user who is kept is known as well.
    assert!(often > 26_000, "{often} of 30000");
    assert!((9_000..11_000).contains(&rarely), "{rarely} of 30000");
    let [rarely, often] = known(60_000..120_000);
    assert!(rarely + often < 21_000, "{rarely} {often} of strangers");
}

#[test]
fn a_table_of_an_earlier_release_is_found_again() {
    let text = |slots: Vec<u32>| {
        use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
        let bytes: Vec<u8> = slots.iter().flat_map(|it| it.to_le_bytes()).collect();
        serde_json::json!({
            "slots": STANDARD_NO_PAD.encode(bytes),
            "classes": {"middle": 0.0, "width": 0.0, "prior": 0.0},
        })
    };
    // As it placed them: the lower bits of the upper half.
    let place = |subject: u64| (subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % 8_192;
    for subject in [1, 77, u64::MAX, 0x1234_5678_9abc_def0] {
        let mut slots = vec![0; 8_192];
        slots[place(subject)] = 5;
        let mut users: Users = serde_json::from_value(text(slots)).unwrap();
        assert_eq!(users.of(subject).stratum(), 5);
    }
    let long = serde_json::from_value::<Users>(text(vec![0; 65_537])).unwrap_err();
    assert!(long.to_string().contains("65537 slots"), "{long}");
}

proptest! {
    #[test]
    fn a_state_that_was_saved_goes_on_bit_for_bit(
        count in 1_u64..2_000, cut in 0.0_f64..1.0, every in 1_i64..100_000, errors in 1_u64..60
    ) {
        let mut all = traffic(count, every, |i, is_candidate| i % errors == 0 || (is_candidate && i % 3 == 0));
        for (i, one) in all.iter_mut().enumerate().filter(|(i, _)| i % 11 == 0) {
            one.end = End::Uncounted(Kind::ALL[i % Kind::ALL.len()]);
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
                one.end = if error { End::TimedOut } else { End::Unknown };
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
        let bin = Counts { requests: [control, candidate].into(), errors: [x0, x1].into() };
        let mut ratio = Ratio::new(Direction::Crashing, null, Restarts::NEVER);
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
