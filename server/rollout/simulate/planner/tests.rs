use super::*;
use crate::rollout::plan::KnownNames;

#[test]
fn the_bound_is_that_of_the_published_table() {
    for (share, hours) in [
        (0.01, [145.0, 13.9, 4.1]),
        (0.05, [31.0, 3.0, 0.9]),
        (0.10, [16.4, 1.66, 0.51]),
        (0.50, [6.5, 0.76, 0.26]),
    ] {
        for (ratio, hours) in RATIOS.into_iter().zip(hours) {
            let bound = wald_hours(10_000.0, 0.02, share, ratio, 1.0);
            assert!(
                (bound / hours - 1.0).abs() < 0.04,
                "{share} {ratio}: {bound}"
            );
        }
    }
}

#[test]
fn what_cannot_be_compared_is_never_seen() {
    for (per_day, baseline, share, ratio) in [
        (0.0, 0.02, 0.1, 5.0),
        (1e4, 0.0, 0.1, 5.0),
        (1e4, 0.02, 0.0, 5.0),
        (1e4, 0.02, 1.0, 5.0),
        (1e4, 0.02, 0.1, 1.0),
        (f64::NAN, 0.02, 0.1, 5.0),
        (-1.0, 0.02, 0.1, 5.0),
    ] {
        let bound = wald_hours(per_day, baseline, share, ratio, 1.25);
        assert_eq!(bound, f64::INFINITY, "{per_day} {baseline} {share} {ratio}");
    }
}

#[test]
fn short_spans_are_told_in_seconds() {
    let spans = [(45.0, "45 s"), (60.0, "1 min"), (90.0 * 60.0, "1.5 h")];
    for (seconds, words) in spans {
        assert_eq!(in_words(seconds / 3600.0), words);
    }
}

#[test]
fn a_short_crash_test_is_called_too_short() {
    let traffic = ExpectedTraffic {
        requests_per_day: 10_000.0,
        baseline: 0.02,
        users: None,
    };
    let stage = |name: &str, share, hours| PlannedStage {
        name: name.to_owned(),
        share,
        hours,
        min_hours: 1.0,
        rho_bad: 2.0,
        gate: Some(Gate::Automatic),
        min_users: 20,
    };
    let sight = plan(
        traffic,
        &EvidencePlan::default(),
        [
            stage("crash test", 1.0, 2.0),
            stage("first", 10.0, 24.0),
            stage("half", 50.0, 48.0),
            stage("all", 100.0, 168.0),
        ],
    );
    let sees: Vec<_> = sight.stages.iter().map(StageSight::sees).collect();
    assert_eq!(sees, [None, Some(5.0), Some(2.0), None]);
    let text = sight.to_string();
    assert!(
        text.contains("TOO SHORT") && text.contains("frozen"),
        "{text}"
    );
}

#[test]
fn nobody_is_told_to_be_asked_before_the_requests_have_come_for_long_enough() {
    let stages = "[[stages]]\nshare = 10\nsoak = \"10m\"\n[[stages]]\nshare = 100\nsoak = \"1h\"\n";
    let text = format!("name = \"p\"\n{stages}");
    let plan = Plan::parse(&text, "p", &KnownNames::default()).unwrap();
    let traffic = |requests_per_day| ExpectedTraffic {
        requests_per_day,
        baseline: 0.02,
        users: None,
    };
    let late = "after 1.0 h, its `min_time`";
    assert!(
        needs(&plan, 0.02)[0].ends_with(late),
        "{:?}",
        needs(&plan, 0.02)
    );
    let slow = Sight::of(&plan, traffic(100_000.0));
    let told: Vec<_> = slow.unproven().collect();
    assert!(told.len() == 1 && told[0].ends_with(late), "{told:?}");
    assert!(
        slow.to_string().contains("ASKS A PERSON after 1.0 h"),
        "{slow}"
    );
    let fast = Sight::of(&plan, traffic(1e9)).to_string();
    assert!(fast.contains("so promoted after 1.0 h"), "{fast}");
}

#[test]
fn a_stage_that_can_never_be_proven_is_told_with_what_helps() {
    let evidence = EvidencePlan::default();
    let words = |per_day: f64, users: f64| {
        let stage = PlannedStage {
            name: "1".to_owned(),
            share: 10.0,
            hours: 48.0,
            min_hours: 1.0,
            rho_bad: 2.0,
            gate: Some(Gate::Automatic),
            min_users: 20,
        };
        let traffic = ExpectedTraffic {
            requests_per_day: per_day,
            baseline: 0.02,
            users: Some(users),
        };
        plan(traffic, &evidence, [stage]).to_string()
    };
    // Simulated, 10,000 a day are enough in four of ten rollouts until a person is asked; 20,000 are.
    let few = words(10_000.0, 1_000.0);
    assert!(
        few.contains("seldom proven: ASKS A PERSON after 96.0 h"),
        "{few}"
    );
    assert!(few.contains("Stage 1 is seldom proven: of errors"), "{few}");
    assert!(few.contains("a share of 20 % is enough"), "{few}");
    let fewer = words(5_000.0, 1_000.0);
    assert!(
        fewer.contains("Stage 1 can never be proven: of errors"),
        "{fewer}"
    );
    let many = words(20_000.0, 1_000.0);
    assert!(
        !many.contains("never") && !many.contains("seldom") && many.contains("so promoted after"),
        "{many}"
    );
    let tiny = words(100.0, 50.0);
    assert!(tiny.contains("no larger share is enough"), "{tiny}");
    assert!(
        tiny.contains("gets about 5 of the users and is not judged below 20"),
        "{tiny}"
    );
}
