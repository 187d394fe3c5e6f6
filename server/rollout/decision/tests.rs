//! The table: every state against every finding, and the order of the reasons.

use std::time::Duration;

use super::*;
use crate::{
    _core::{actor::Actor, assignment::Algorithm},
    rollout::{
        audit::{minute, what_follows},
        evidence::UncountedKind,
        finding::Arm,
        plan::KnownNames,
    },
};

const STATES: [RunState; 9] = [
    RunState::Running,
    RunState::Paused,
    RunState::WaitingAtGate { recommended: false },
    RunState::Holding {
        because: Hold::Watch,
    },
    RunState::Holding {
        because: Hold::NoTraffic,
    },
    RunState::Holding {
        because: Hold::Evidence,
    },
    RunState::Holding {
        because: Hold::BothSidesFailing,
    },
    RunState::Completed,
    RunState::RolledBack,
];

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time")
}

fn plan() -> Plan {
    let text = r#"
name = "p"
deadline = "10days"
[no_traffic]
alert_after = "1h"
hold = true
[[stages]]
share = 10
soak = "1h"
guards = { max_error_rate = 0.05, max_average = "5s" }
[[stages]]
share = 50
soak = "1h"
gate = "manual"
[[stages]]
share = 100
soak = "1h"
"#;
    Plan::parse(text, "p", &KnownNames::default()).expect("a plan")
}

/// Two hours into a stage whose soak is over.
fn status(state: RunState, stage: usize) -> Status {
    Status {
        id: "r".into(),
        plan: "p".into(),
        tasks: Vec::new(),
        state,
        stage,
        stages: 3,
        share: Percent::new(10.0).expect("a share"),
        soaked_ms: 3_600_000,
        version: 1,
        algorithm: Algorithm::Murmur3,
        salt: "s".into(),
        started_at: now() - TimeDelta::hours(2),
        stage_began_at: now() - TimeDelta::hours(2),
        ended_at: None,
        released_at: None,
        changed_by: Actor::User(1),
        reason: "so".into(),
        clear_since: Some(now() - TimeDelta::hours(1)),
        outage: None,
        outages: 0,
        told: Default::default(),
        models: Vec::new(),
        on_call: None,
    }
}

/// All is well, and proven.
fn good() -> Finding {
    Finding {
        level: Level::Clear,
        alarms: Vec::new(),
        proof: Proof::Proven,
        e: 1.0,
        why: "well".into(),
        users: 20,
        candidate: Arm {
            requests: 200,
            errors: 0,
            average_ms: 500.0,
            hung: 0,
            not_counted: 0,
            ..Arm::default()
        },
        control: Arm::default(),
        last_request_at: Some(now()),
    }
}

#[test]
fn rollback_is_reached_from_every_state_that_is_not_final() {
    for state in STATES {
        for stage in 0..3 {
            let limit = (vec![Alarm::LimitBroken], RollbackReason::LimitBroken);
            for (mut alarms, cause) in [limit, (Vec::new(), RollbackReason::Worse)] {
                alarms.push(Alarm::SampleRatio);
                // Even if everything else stands in the way.
                let finding = Finding {
                    level: Level::Rollback,
                    alarms,
                    candidate: Arm::default(),
                    last_request_at: None,
                    ..good()
                };
                let decision = decide(&plan(), &status(state, stage), &finding, now());
                let expected = if state.is_final() {
                    Decision::Stay(Stay::Ended)
                } else {
                    Decision::RollBack(cause)
                };
                assert_eq!(decision, expected, "{state:?}, stage {stage}");
            }
        }
    }
}

#[test]
fn every_state_with_every_hold() {
    type Change = fn(&mut Finding);
    let holds: [(Hold, Change); 5] = [
        (Hold::BothSidesFailing, |it| {
            it.alarms = vec![Alarm::BothSidesFailing];
        }),
        (Hold::SampleRatio, |it| it.alarms = vec![Alarm::SampleRatio]),
        (Hold::Evidence, |it| it.level = Level::Hold),
        (Hold::Watch, |it| it.level = Level::Watch),
        (Hold::NoTraffic, |it| it.last_request_at = None),
    ];
    for (hold, change) in holds {
        let mut finding = good();
        change(&mut finding);
        for state in STATES {
            let expected = match state {
                RunState::Running => Decision::Hold(hold),
                RunState::Paused => Decision::Stay(Stay::Paused),
                RunState::WaitingAtGate { .. } => Decision::Stay(Stay::AtGate),
                RunState::Holding { because } if because == hold => Decision::Stay(Stay::Held),
                RunState::Holding { .. } => Decision::Hold(hold),
                RunState::Completed | RunState::RolledBack => Decision::Stay(Stay::Ended),
            };
            let decision = decide(&plan(), &status(state, 0), &finding, now());
            assert_eq!(decision, expected, "{state:?} with {hold:?}");
        }
    }
}

#[test]
fn without_a_cause_each_state_goes_on() {
    let at = |state, stage| decide(&plan(), &status(state, stage), &good(), now());
    assert_eq!(at(RunState::Running, 0), Decision::Advance(1));
    assert_eq!(
        at(RunState::Running, 1),
        Decision::Ask { recommended: true }
    );
    assert_eq!(at(RunState::Running, 2), Decision::Complete);
    assert_eq!(at(RunState::Paused, 0), Decision::Stay(Stay::Paused));
    let gate = RunState::WaitingAtGate { recommended: false };
    assert_eq!(at(gate, 1), Decision::Stay(Stay::AtGate), "a person's gate");
    assert_eq!(at(gate, 0), Decision::Advance(1), "proof came late");
    let because = Hold::Evidence;
    assert_eq!(at(RunState::Holding { because }, 0), Decision::Resume);
}

#[test]
fn a_candidate_that_costs_or_writes_too_much_beside_control_does_not_advance() {
    let mut plan = plan();
    plan.stages[0].guards.max_cost_ratio = Some(2.0);
    plan.stages[0].guards.max_length_ratio = Some(3.0);
    let of = |cost: f64, chars: f64, control: f64| {
        let mut finding = good();
        (
            finding.candidate.average_cost,
            finding.candidate.average_chars,
        ) = (cost, chars);
        (finding.control.average_cost, finding.control.average_chars) = (control, control);
        finding.control.requests = 1_000;
        decide(&plan, &status(RunState::Running, 0), &finding, now())
    };
    let guarded = Decision::Stay(Stay::Guarded);
    assert_eq!(of(20.0, 30.0, 10.0), of(1.0, 1.0, 10.0));
    assert_ne!(of(20.0, 30.0, 10.0), guarded);
    assert_eq!(of(20.1, 1.0, 10.0), guarded);
    assert_eq!(of(1.0, 30.1, 10.0), guarded);
    assert_ne!(
        of(0.0, 30.1, 0.0),
        guarded,
        "both are free, and of control no length is known"
    );
    assert_eq!(of(0.1, 1.0, 0.0), guarded, "it costs, and control is free");
    let mut finding = good();
    (finding.candidate.average_cost, finding.control) = (20.1, Arm::default());
    let alone = decide(&plan, &status(RunState::Running, 0), &finding, now());
    assert_ne!(alone, guarded, "there is nothing to compare with");
}

#[test]
fn the_reasons_to_stay_come_in_their_order() {
    let decide = |status: &Status, finding: &Finding| decide(&plan(), status, finding, now());
    let mut status = status(RunState::Running, 0);
    status.soaked_ms = 0;
    let mut finding = Finding {
        proof: Proof::None,
        candidate: Arm {
            requests: 199,
            errors: 100,
            average_ms: 9_000.0,
            hung: 0,
            not_counted: 0,
            ..Arm::default()
        },
        ..good()
    };
    let few = Decision::Stay(Stay::TooLittleEvidence);
    assert_eq!(decide(&status, &finding), few);
    finding.candidate.requests = 200;
    assert_eq!(decide(&status, &finding), Decision::Stay(Stay::Guarded));
    finding.candidate.errors = 10;
    assert_eq!(decide(&status, &finding), Decision::Stay(Stay::Guarded));
    finding.candidate.average_ms = 5_000.0;
    assert_eq!(decide(&status, &finding), Decision::Stay(Stay::Soaking));
    status.soaked_ms = 3_600_000;
    assert_eq!(decide(&status, &finding), few, "unproven is inconclusive");
    status.soaked_ms = 7_200_000;
    let ask = Decision::Ask { recommended: false };
    assert_eq!(
        decide(&status, &finding),
        ask,
        "and after as long again a person is asked"
    );
    status.soaked_ms = 3_600_000;
    finding.users = 19;
    assert_eq!(decide(&status, &finding), few);
    finding.users = 20;
    status.stage_began_at = now() - TimeDelta::minutes(59);
    assert_eq!(decide(&status, &finding), few);
}

#[test]
fn a_stage_that_is_never_judged_asks_a_person_in_the_end() {
    type Change = fn(&mut Finding);
    let causes: [(Stay, Change); 2] = [
        (Stay::TooLittleEvidence, |it| it.users = 19),
        (Stay::Guarded, |it| it.candidate.average_ms = 5_001.0),
    ];
    for (stay, change) in causes {
        let mut finding = good();
        change(&mut finding);
        let mut status = status(RunState::Running, 0);
        let now_follows = |status: &Status| decide(&plan(), status, &finding, now());
        assert_eq!(now_follows(&status), Decision::Stay(stay));
        status.soaked_ms = 7_200_000;
        status.stage_began_at = now() - TimeDelta::minutes(59);
        let few = Decision::Stay(Stay::TooLittleEvidence);
        assert_eq!(
            now_follows(&status),
            few,
            "its requests have to come for an hour"
        );
        status.stage_began_at = now() - TimeDelta::hours(2);
        let recommended = false;
        assert_eq!(now_follows(&status), Decision::Ask { recommended });
        status.state = RunState::WaitingAtGate { recommended };
        let asked = Decision::Stay(Stay::AtGate);
        assert_eq!(now_follows(&status), asked, "once");
    }
}

#[test]
fn a_candidate_that_loses_requests_goes_on_only_by_a_person() {
    let of = |candidate: u64, control: u64, state: RunState, stage: usize| {
        let mut finding = good();
        finding.candidate.not_counted = candidate;
        (finding.control.requests, finding.control.not_counted) = (1_000, control);
        decide(&plan(), &status(state, stage), &finding, now())
    };
    let ask = Decision::Ask { recommended: false };
    assert_eq!(
        of(10, 0, RunState::Running, 0),
        Decision::Advance(1),
        "4.8 %"
    );
    assert_eq!(of(11, 0, RunState::Running, 0), ask, "5.2 %");
    assert_eq!(of(11, 0, RunState::Running, 2), ask, "nor is it complete");
    let alike = of(11, 30, RunState::Running, 0);
    assert_eq!(alike, Decision::Advance(1), "control has 2.9 %");
    let gate = RunState::WaitingAtGate { recommended: false };
    assert_eq!(of(11, 0, gate, 0), Decision::Stay(Stay::AtGate));
    let mut alone = good();
    alone.candidate.not_counted = 11;
    let last = status(RunState::Running, 2);
    let follows = decide(&plan(), &last, &alone, now());
    assert_eq!(follows, Decision::Complete, "everybody has it");
}

#[test]
fn no_data_promotes_nothing_and_takes_nothing_back() {
    let silent = Finding {
        proof: Proof::None,
        users: 0,
        candidate: Arm::default(),
        last_request_at: None,
        ..good()
    };
    let mut plan = plan();
    plan.no_traffic.hold = false;
    for stage in 0..3 {
        let mut status = status(RunState::Running, stage);
        status.soaked_ms = u64::MAX;
        let decision = decide(&plan, &status, &silent, now());
        assert_eq!(
            decision,
            Decision::Stay(Stay::TooLittleEvidence),
            "stage {stage}"
        );
    }
}

#[test]
fn a_hold_by_evidence_is_left_after_five_clear_minutes() {
    for because in [Hold::Watch, Hold::Evidence, Hold::BothSidesFailing] {
        let mut status = status(RunState::Holding { because }, 0);
        let until = now() + TimeDelta::minutes(1);
        for (since, stay) in [
            (Some(now() - TimeDelta::minutes(4)), Stay::Clearing(until)),
            (None, Stay::Held),
        ] {
            status.clear_since = since;
            assert_eq!(
                decide(&plan(), &status, &good(), now()),
                Decision::Stay(stay)
            );
        }
        let words = what_follows(&Decision::Stay(Stay::Clearing(until)));
        assert!(words.contains(&minute(until)), "{words}");
        // A judge model that does not count any more holds nothing, and says so to the end.
        status.clear_since = Some(now() - TimeDelta::minutes(4));
        let why = "it was asked for nothing".to_owned();
        let finding = Finding {
            alarms: vec![Alarm::JudgeStopped { why }],
            ..good()
        };
        let clearing = Decision::Stay(Stay::Clearing(until));
        assert_eq!(decide(&plan(), &status, &finding, now()), clearing);
        status.clear_since = Some(now() - TimeDelta::minutes(5));
        assert_eq!(decide(&plan(), &status, &good(), now()), Decision::Resume);
    }
}

#[test]
fn past_the_deadline_nothing_advances() {
    let mut plan = plan();
    plan.deadline = Some(Duration::from_secs(7_200));
    let decision = decide(&plan, &status(RunState::Running, 0), &good(), now());
    assert_eq!(decision, Decision::Hold(Hold::Deadline));
}

#[test]
fn nothing_is_raised_by_hand_while_evidence_holds() {
    assert_eq!(forbids_raising(&good()), None);
    let finding = |level| Finding { level, ..good() };
    assert_eq!(forbids_raising(&finding(Level::Watch)), None);
    assert!(forbids_raising(&finding(Level::Hold)).is_some());
    assert!(
        forbids_raising(&Finding {
            alarms: vec![Alarm::SampleRatio],
            ..good()
        })
        .is_some()
    );
    assert!(
        forbids_raising(&Finding {
            alarms: vec![Alarm::BothSidesFailing],
            ..good()
        })
        .is_some()
    );
}

#[test]
fn what_is_not_counted_holds_or_takes_back_and_a_person_may_go_on() {
    let differs = Finding {
        alarms: vec![Alarm::ExcludedDiffer {
            kind: UncountedKind::Refused,
            figures: String::new(),
        }],
        ..good()
    };
    let decide = |finding: &Finding| decide(&plan(), &status(RunState::Running, 0), finding, now());
    assert_eq!(decide(&differs), Decision::Hold(Hold::ExcludedDiffer));
    assert_eq!(forbids_raising(&differs), None);

    let account = Finding {
        alarms: vec![Alarm::Account],
        ..good()
    };
    assert_eq!(decide(&account), Decision::Hold(Hold::Account));
    assert!(forbids_raising(&account).is_some());

    let why = "it says no".to_owned();
    let taken_back = Finding {
        level: Level::Rollback,
        alarms: vec![Alarm::NotCounted { why }],
        ..good()
    };
    assert_eq!(
        decide(&taken_back),
        Decision::RollBack(RollbackReason::NotCounted)
    );
}

/// Closed for another five minutes.
fn closed(plan: &mut Plan) -> DateTime<Utc> {
    let opens = now() + TimeDelta::minutes(5);
    plan.not_before = Some(opens);
    opens
}

#[test]
fn outside_its_windows_nothing_is_raised_and_everything_is_lowered() {
    let mut plan = plan();
    let opens = closed(&mut plan);
    let waits = Decision::Stay(Stay::OutsideWindow(opens));
    for (state, stage) in [
        (RunState::Running, 0),
        (RunState::WaitingAtGate { recommended: false }, 0),
        (RunState::Running, 2),
    ] {
        let status = status(state, stage);
        let is_gate = plan.stages[stage].gate == Gate::Automatic;
        assert!(is_gate, "the stages open by themselves");
        assert_eq!(
            decide(&plan, &status, &good(), now()),
            waits,
            "{state:?} {stage}"
        );
        let then = decide(&plan, &status, &good(), opens);
        assert!(
            matches!(then, Decision::Advance(_) | Decision::Complete),
            "{then:?}"
        );
        let bad = Finding {
            level: Level::Rollback,
            ..good()
        };
        let taken = decide(&plan, &status, &bad, now());
        assert!(matches!(taken, Decision::RollBack(_)), "{taken:?}");
        let outage = Finding {
            alarms: vec![Alarm::Outage],
            ..good()
        };
        assert_eq!(decide(&plan, &status, &outage, now()), Decision::Withdraw);
    }
}
