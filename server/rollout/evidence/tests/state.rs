//! What is kept: how large it is, and that looking at it changes nothing.

use super::*;

#[test]
fn looking_changes_nothing() {
    let evidence = folded(&traffic(3_000, 8_640, |i, _| i % 20 == 0));
    let before = evidence.clone();
    for hours in [0, 8, 100, 10_000] {
        evidence.verdict(BEGIN + hours * HOUR_MS);
    }
    assert_eq!(evidence, before);
}

/// A candidate that gives no good answer for half a minute, while control does: what is said then, and three days later.
fn after_half_a_minute(edition: Edition) -> [Verdict; 2] {
    let plan = EvidencePlan::default();
    let mut evidence = Evidence::of_edition(edition, &plan, Strata::default(), BEGIN);
    let mut last_ms = 0;
    for number in 0..30 {
        last_ms = 1_000 * i64::from(number);
        evidence.fold(&request(last_ms, 7, false, false), share(50.0));
        let mut refused = request(last_ms, 8, true, true);
        refused.end = RequestEnd::Uncounted(UncountedKind::Refused);
        evidence.fold(&refused, share(50.0));
    }
    [0, 72 * HOUR_MS].map(|after| evidence.verdict(BEGIN + last_ms + after))
}

#[test]
fn why_it_was_taken_back_is_the_same_days_after() {
    let [then, later] = after_half_a_minute(Edition::NEWEST);
    assert_eq!(then.cause, Some(Signal::NoAnswers));
    assert!(then.why.ends_with("control does"), "{}", then.why);
    // Nobody asks any more.
    assert_eq!(later.why, then.why);
    let is_alone = |it: Verdict| it.uncounted.is_some_and(|it| it.is_alone);
    assert!(!is_alone(then) && !is_alone(later));
}

#[test]
fn the_eighth_edition_says_what_its_records_say() {
    let [then, later] = after_half_a_minute(Edition::Eighth);
    assert!(then.why.ends_with("control does"), "{}", then.why);
    assert!(later.why.ends_with("nobody asked control"), "{}", later.why);
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
            first_words: LogLatencies::default(),
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
            // Some are streamed, others not.
            one.first_words_ms = (i % 2 == 0).then_some(one.latency_ms / 2.0);
            one.quality = Some(match i % 5 {
                0 => Quality::Refused,
                _ => Quality::Good,
            });
            one.end = if i % 11 == 0 {
                RequestEnd::Uncounted(UncountedKind::ALL[i % UncountedKind::ALL.len()])
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
        let mut users: UserSlots = serde_json::from_value(text(slots)).unwrap();
        assert_eq!(users.of(subject).stratum(), 5);
    }
    let long = serde_json::from_value::<UserSlots>(text(vec![0; 65_537])).unwrap_err();
    assert!(long.to_string().contains("65537 slots"), "{long}");
}
