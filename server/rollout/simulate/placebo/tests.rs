use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    super::traffic::{Population, Scenario, Traffic},
    *,
};
use crate::{recording::Outcome, rollout::plan::KnownNames};

const TWO: NonZero<usize> = NonZero::new(2).unwrap();
const PLAN: &str = "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"24h\"\n[[stages]]\nshare = 50\nsoak = \"12h\"\n\
                    [[stages]]\nshare = 100\nsoak = \"48h\"\n";

/// Two days of users who differ, as control has answered them.
fn log() -> ControlLog {
    let scenario = Scenario {
        users: Population::Uneven(200),
        requests_per_day: 2_000.0,
        ..Scenario::new(0.0, 0.02)
    };
    let mut traffic = Traffic::new(scenario, Random::new(7, 7, 7));
    let strata = traffic.strata();
    let mut observations = Vec::new();
    while traffic.elapsed_hours() < 47.9 {
        observations.push(traffic.next());
    }
    ControlLog::simulated(observations, strata)
}

#[test]
fn equal_arms_are_left_alone_and_what_a_quick_judge_takes_back_is_told() {
    let (log, progress) = (log(), AtomicU32::new(0));
    let of = |evidence: &str| {
        let plan = Plan::parse(&format!("{PLAN}{evidence}"), "p", &KnownNames::default()).unwrap();
        run(&plan, &log, 20, 1, TWO, &|done| {
            progress.fetch_max(done, Ordering::Relaxed);
        })
    };
    let shipped = of("");
    assert_eq!(shipped.taken_back, 0, "{shipped}");
    assert!(!shipped.is_too_often());
    let hours: Vec<_> = shipped.stages.iter().map(|it| it.hours.round()).collect();
    assert_eq!(hours, [24.0, 12.0, 12.0], "the last stage is cut short");
    assert_eq!(progress.load(Ordering::Relaxed), 20);
    assert_eq!(shipped, of(""), "the same seed gives the same");

    let quick = of("[evidence]\nmargin = 1\nwatch = 1.01\nhold = 1.02\nrollback = 1.5\n");
    // It does what it is meant to; of the shipped one that would be too often.
    assert!(quick.taken_back > 1 && !quick.is_too_often(), "{quick}");
    assert!(quick.to_string().contains("meant are 80.0 %"), "{quick}");
    let alpha = shipped.alpha;
    assert!((alpha - 0.012).abs() < 1e-12);
    assert!(
        Placebo {
            alpha,
            ..quick.clone()
        }
        .is_too_often(),
        "{quick}"
    );
    assert_eq!(quick.by.values().sum::<u32>(), quick.taken_back);
    let by_stage: u32 = quick.stages.iter().map(|it| it.taken_back).sum();
    assert_eq!(by_stage, quick.taken_back);
    assert!(
        quick.to_string().contains("taken back without a cause"),
        "{quick}"
    );
}

#[test]
fn only_first_attempts_that_control_has_answered_are_divided() {
    let event = |request: &str, task: &str, variant, position, outcome| {
        let subject = crate::_core::assignment::Subject::User(7);
        let event = Event::of_attempt(crate::recording::Attempted {
            request_id: request.into(),
            subject: Some(&subject),
            rollout: None,
            counted: false,
            model: "m".into(),
            task: task.into(),
            variant,
            position,
        });
        Event { outcome, ..event }
    };
    let (control, candidate) = (Variant::Control, Variant::Candidate);
    let success = Outcome::Success;
    let events = [
        event("a", "chat", control, 0, success),
        event("a", "chat", control, 0, success),
        event("b", "chat", control, 1, success),
        event("c", "chat", candidate, 0, success),
        event("d", "mail", control, 0, success),
        event("e", "direct", control, 0, success),
        event("f", "chat", control, 0, Outcome::Open),
    ];
    let requests = |tasks: &[String]| {
        let mut log = ControlLog::of(tasks, 1_000);
        events.iter().for_each(|event| log.add(event));
        log.after(Vec::new()).requests()
    };
    assert_eq!(requests(&[]), 2);
    assert_eq!(requests(&["chat".to_owned()]), 1);
    let plan = Plan::parse(PLAN, "p", &KnownNames::default()).unwrap();
    let none = run(&plan, &ControlLog::default(), 3, 1, TWO, &|_| ());
    assert_eq!((none.requests, none.taken_back), (0, 0));
}
