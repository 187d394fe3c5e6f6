//! Facts about the whole fold; the parts have their own tests.

mod alike;
mod properties;
mod quality;
mod state;
mod streams;

use std::sync::LazyLock;

use super::{ratio::BinCounts, users::FirstLook, *};
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
        end: if error {
            RequestEnd::Failed
        } else {
            RequestEnd::Answered
        },
        latency_ms: 1_000.0,
        first_words_ms: None,
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
            (one.end, one.latency_ms) = (RequestEnd::Unknown, late_after + 1.0);
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
    (one.end, one.latency_ms) = (RequestEnd::Unknown, 1.0);
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
    (one.end, one.was_open) = (RequestEnd::TimedOut, true);
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
            let looked = looks.look(user.last_look(FirstLook::Error), *arm, share(*percent));
            looked.inspect(|(_, look)| user.look(FirstLook::Error, *look));
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
    evidence.held = Some(HoldReached {
        calm_since_ms: Some(BEGIN),
    });
    assert_eq!(evidence.verdict(BEGIN + HOUR_MS - 1).level, Level::Hold);
    assert_eq!(evidence.verdict(BEGIN + HOUR_MS).level, Level::Clear);
    evidence.held = Some(HoldReached {
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
