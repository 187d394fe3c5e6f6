use super::*;

fn config() -> FlagsConfig {
    FlagsConfig {
        percentage: Percent::ZERO,
        force_openrouter: false,
        force_server_side_chat: false,
        force_streaming: false,
        force_model_routing: false,
        force_utcp: false,
        model_routing: false,
        algorithm: Algorithm::LegacyModulo,
        salt: "salt".into(),
        forced_on: Vec::new(),
        forced_off: Vec::new(),
    }
}

fn percent(value: f64) -> Percent {
    Percent::new(value).expect("a percentage")
}

fn steer(flags: &FeatureFlags, share: Percent, killed: bool) {
    let steered = &flags.live().steered;
    flags.steer(&Steered {
        share,
        killed,
        version: steered.version + 1,
        last_change: None,
    });
}

#[track_caller]
fn decides(flags: &FeatureFlags, user: Option<i64>, variant: Variant, reason: Reason) {
    let subject = user.and_then(Subject::user);
    let decision = flags.decide(subject.as_ref());
    assert_eq!((decision.variant, decision.reason), (variant, reason));
}

#[test]
fn the_share_decides_by_bucket() {
    let flags = FeatureFlags::new(FlagsConfig {
        percentage: percent(10.0),
        ..config()
    });
    decides(&flags, Some(9), Variant::Candidate, Reason::Share);
    decides(&flags, Some(10), Variant::Control, Reason::Share);
    decides(&flags, None, Variant::Control, Reason::NoSubject);
    assert_eq!(flags.decide(Some(&Subject::User(9))).bucket, Some(9_000));
}

#[test]
fn an_id_is_not_needed_at_0_and_at_100() {
    let flags = FeatureFlags::new(config());
    decides(&flags, None, Variant::Control, Reason::Share);
    steer(&flags, Percent::FULL, false);
    decides(&flags, None, Variant::Candidate, Reason::Share);
}

#[test]
fn the_first_reason_wins_in_its_order() {
    let flags = FeatureFlags::new(FlagsConfig {
        force_openrouter: true,
        forced_on: vec![Subject::User(1), Subject::User(2)],
        forced_off: vec![Subject::User(1)],
        ..config()
    });
    decides(&flags, Some(1), Variant::Control, Reason::ForcedOff);
    decides(&flags, Some(2), Variant::Candidate, Reason::ForcedOn);
    decides(&flags, Some(3), Variant::Candidate, Reason::ForcedForAll);
    decides(&flags, None, Variant::Candidate, Reason::ForcedForAll);
    steer(&flags, Percent::ZERO, true);
    for user in [Some(1), Some(2), Some(3), None] {
        decides(&flags, user, Variant::Control, Reason::KillSwitch);
    }
}

#[test]
fn a_kill_ends_as_it_began_and_keeps_the_share() {
    let flags = FeatureFlags::new(FlagsConfig {
        percentage: Percent::FULL,
        ..config()
    });
    steer(&flags, Percent::FULL, true);
    assert!(!flags.is_enabled("enableOpenRouterModels", Some(&Subject::User(1))));
    let killed = flags.in_force("chat");
    assert_eq!(
        (killed.share, killed.decided_by),
        (Percent::ZERO, DecidedBy::KillSwitch)
    );
    steer(&flags, Percent::FULL, false);
    decides(&flags, Some(1), Variant::Candidate, Reason::Share);
    let back = flags.in_force("chat");
    assert_eq!(
        (back.share, back.decided_by),
        (Percent::FULL, DecidedBy::LiveShare)
    );
}

fn rollout(id: &str, tasks: &[&str], share: f64) -> LiveRollout {
    LiveRollout {
        id: id.into(),
        is_open: true,
        tasks: tasks.iter().map(|task| (*task).to_owned()).collect(),
        algorithm: Algorithm::Murmur3,
        salt: id.to_owned(),
        share: percent(share),
        forced_on: HashSet::new(),
        forced_off: HashSet::new(),
        candidate: None,
        control: None,
        began: Vec::new(),
        judged_share: Percent::ZERO,
        plan: "standard".to_owned(),
        ended: None,
        is_released: false,
    }
}

#[test]
fn a_rollout_that_was_let_go_leaves_its_tasks_to_the_live_share_and_wakes_no_older_one() {
    let flags = FeatureFlags::new(config());
    steer(&flags, percent(5.0), false);
    let let_go = LiveRollout {
        ended: Some(Ended::RolledBack),
        is_released: true,
        ..rollout("new", &["chat"], 0.0)
    };
    let older = LiveRollout {
        ended: Some(Ended::Completed),
        ..rollout("old", &[], 100.0)
    };
    flags.publish(&[Arc::new(let_go), Arc::new(older)]);
    let chat = flags.in_force("chat");
    assert_eq!((chat.share.get(), chat.rollout), (5.0, None));
    let other = flags.in_force("email-draft");
    assert_eq!(
        (other.share.get(), other.decided_by),
        (100.0, DecidedBy::Rollout)
    );
    let named = other.rollout.expect("a rollout").named();
    assert_eq!(
        named,
        "rollout `old` of plan `standard`, which is complete and goes on deciding"
    );
}

#[test]
fn names_are_those_on_the_wire() {
    let flags = FeatureFlags::new(FlagsConfig {
        percentage: Percent::FULL,
        force_server_side_chat: true,
        force_streaming: true,
        force_model_routing: true,
        force_utcp: true,
        ..config()
    });
    let all = flags.flags(None);
    let wire = serde_json::to_value(all).expect("flags are JSON");
    for (name, value) in wire.as_object().expect("an object") {
        assert_eq!(all.is_enabled(name), value == true, "{name}");
    }
    assert!(!all.is_enabled("nope"));
    assert!(!all.is_enabled("use_server_side_chat"));
}

#[test]
fn model_routing_is_on_by_either_setting() {
    for (model_routing, force_model_routing) in [(true, false), (false, true), (true, true)] {
        let flags = FeatureFlags::new(FlagsConfig {
            model_routing,
            force_model_routing,
            ..config()
        });
        assert!(flags.model_routing());
    }
    assert!(!FeatureFlags::new(config()).model_routing());
}
