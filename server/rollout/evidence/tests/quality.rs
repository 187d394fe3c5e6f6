//! Facts about the quality of answers, and about what is proven of it.

use super::*;

/// Answers of whom this part has a flaw on either side, ten users at a time, one of them on the candidate.
fn answers(plan: &EvidencePlan, edition: Edition, flawed: [u64; 2], strata: Strata) -> Evidence {
    let mut evidence = Evidence::of_edition(edition, plan, strata, BEGIN);
    for mut one in traffic(4_000, 8_640, |_, _| false) {
        let n = (one.at_ms - BEGIN) as u64 / 8_640;
        let [control, candidate] = flawed;
        let every = match one.variant {
            Variant::Control => control,
            Variant::Candidate => candidate,
        };
        one.quality = Some(match (n / 10 + n % 10) % every {
            0 => Quality::SchemaInvalid,
            _ => Quality::Good,
        });
        if evidence.fold(&one, share(10.0)) == Level::Rollback {
            break;
        }
    }
    evidence
}

#[test]
fn a_candidate_whose_answers_have_flaws_is_taken_back() {
    let plan = EvidencePlan::default();
    for strata in [alike(4_000), Strata::default()] {
        let verdict = answers(&plan, Edition::Third, [100, 3], strata).verdict(BEGIN);
        assert_eq!(verdict.cause, Some(Signal::Worse), "{verdict:?}");
        let quality = verdict.metrics.last().unwrap();
        assert_eq!(quality.metric, Metric::Quality);
        // A fifth of it is what takes the candidate back; more than that many answers are not needed.
        assert!(quality.e >= 500.0, "{quality:?}");
        let candidate = verdict.candidate;
        assert!(candidate.requests <= 15, "{candidate:?}");
        // With a tenth of the users, four flaws in a row and none on control are an E of some 100.
        assert_eq!((candidate.schema_invalid, candidate.truncated), (5, 0));
        let effect = verdict.effects.last().unwrap();
        assert!(
            effect.metric == Metric::Quality && effect.low > 2.0,
            "{effect}"
        );
    }
}

#[test]
fn flaws_on_both_sides_alike_take_nothing_back() {
    let plan = EvidencePlan::default();
    let verdict = answers(&plan, Edition::Third, [10, 10], alike(4_000)).verdict(BEGIN);
    assert_eq!(verdict.cause, None);
    assert!(verdict.e < 2.0, "{}", verdict.e);
}

#[test]
fn quality_that_is_not_asked_for_or_that_an_earlier_edition_did_not_know_changes_nothing() {
    let with = EvidencePlan::default();
    let without = EvidencePlan {
        weights: [0.5, 0.3, 0.2, 0.0, 0.0],
        ..with.clone()
    };
    for (plan, edition) in [
        (&without, Edition::Third),
        (&with, Edition::Second),
        (&with, Edition::First),
    ] {
        let [good, flawed] = [[100, 100], [100, 1]].map(|it| {
            let evidence = answers(plan, edition, it, alike(4_000));
            serde_json::to_value((&evidence, evidence.verdict(BEGIN))).unwrap()
        });
        assert_eq!(good, flawed, "{edition:?}");
        assert!(!good.to_string().contains("quality"));
    }
}

#[test]
fn a_plan_that_knew_no_quality_is_read() {
    let mut stored = serde_json::to_value(EvidencePlan::default()).unwrap();
    stored["weights"] = serde_json::json!([0.5, 0.3, 0.2, 0.0]);
    let plan: EvidencePlan = serde_json::from_value(stored).unwrap();
    assert_eq!(plan.normalised_weights(), [0.5, 0.3, 0.2, 0.0, 0.0]);
}

#[test]
fn a_candidate_is_not_proven_while_its_latency_or_its_answers_are_not() {
    let proven = |slower: f64, flawed: u64| {
        let mut evidence = Evidence::new(&EvidencePlan::default(), alike(60_000), BEGIN);
        evidence.begin_stage(BEGIN, share(10.0), 2.0);
        for (n, mut one) in (0..).zip(traffic(60_000, 2_880, |i, _| i % 47 == 0)) {
            let is_candidate = one.variant == Variant::Candidate;
            one.latency_ms *= if is_candidate { slower } else { 1.0 };
            let every = if is_candidate { flawed } else { 53 };
            one.quality = Some(if (n / 10) % every == 0 {
                Quality::Truncated
            } else {
                Quality::Good
            });
            evidence.fold(&one, share(10.0));
        }
        evidence
            .stage
            .proofs
            .iter()
            .for_each(|it| assert!(it.value() > 0.0));
        evidence.verdict(BEGIN + 48 * HOUR_MS).promotion
    };
    let equal = proven(1.0, 53);
    assert!(equal.proven, "{equal:?}");
    assert_eq!(equal.metrics.len(), 5);
    for (promotion, metric) in [(proven(1.3, 53), "slow"), (proven(1.0, 20), "quality")] {
        assert!(!promotion.recommended, "{promotion:?}");
        let errors = promotion
            .metrics
            .iter()
            .find(|it| it.metric == Metric::Errors);
        assert!(
            errors.unwrap().e > 100.0,
            "by its errors alone it would pass"
        );
        let says = promotion.why.contains(metric) || promotion.why.contains("hold");
        assert!(says, "{}", promotion.why);
    }
}
