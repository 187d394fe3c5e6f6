use super::*;

const MINUTE: i64 = 60_000;
const PERIOD: i64 = 24 * 60 * MINUTE;
const NEWEST: Edition = Edition::NEWEST;

/// Attempts of minute and success.
fn after(edition: Edition, attempts: &[(i64, bool)]) -> Outages {
    let mut outages = Outages::default();
    for (minute, is_answered) in attempts {
        outages.see(edition, minute * MINUTE, *is_answered);
    }
    outages
}

/// One attempt a minute: so many, of which every so manieth is lost, and then these; and when the last one was.
fn usually(all: i64, every: i64, then: &[bool]) -> (Outages, i64) {
    let before = (1..=all).map(|minute| (minute, every == 0 || minute % every != 0));
    let then = (all + 1..).zip(then.iter().copied());
    let attempts: Vec<_> = before.chain(then).collect();
    let end = attempts.last().map_or(0, |(minute, _)| minute * MINUTE);
    (after(NEWEST, &attempts), end)
}

#[test]
fn a_candidate_that_never_answered_has_no_outage() {
    for edition in [Edition::Eighth, NEWEST] {
        let outages = after(edition, &[(0, false), (1, false), (2, false), (3, false)]);
        assert!(!outages.explain(edition, 3 * MINUTE, PERIOD));
    }
}

#[test]
fn half_of_its_last_attempts_within_ten_minutes_made_one_in_the_fourth_edition() {
    let (good, bad) = (true, false);
    let cases: [(&[(i64, bool)], bool); 6] = [
        (&[(0, good), (20, bad), (21, bad)], true),
        (&[(0, good), (20, bad), (21, good), (22, bad)], true),
        (
            &[(0, good), (18, good), (19, good), (20, bad), (21, bad)],
            true,
        ),
        (
            &[(17, good), (18, good), (19, good), (20, bad), (21, bad)],
            false,
        ),
        (&[(0, good), (1, bad), (2, bad), (21, bad)], false),
        (&[(0, good), (21, bad)], false),
    ];
    for (attempts, is) in cases {
        let end = attempts.last().map_or(0, |(minute, _)| minute * MINUTE);
        assert_eq!(
            after(Edition::Fourth, attempts).explain(Edition::Fourth, end, PERIOD),
            is,
            "{attempts:?}"
        );
    }
}

#[test]
fn before_the_ninth_edition_a_candidate_that_answered_between_its_failures_had_none() {
    let (good, bad) = (true, false);
    for (attempts, is) in [
        (&[good, bad, bad, bad][..], true),
        (&[good, good, good, bad, bad, bad], true),
        (&[good, bad, bad, good, bad, bad], false),
        (&[bad, good, bad, bad], false),
    ] {
        let timed: Vec<_> = attempts.iter().map(|it| (20, *it)).collect();
        let outages = after(Edition::Eighth, &timed);
        let explained = outages.explain(Edition::Eighth, 20 * MINUTE, PERIOD);
        assert_eq!(explained, is, "{attempts:?}");
    }
}

#[test]
fn it_is_a_change_of_what_is_usually_lost() {
    let (good, bad) = (true, false);
    let cases: [(i64, &[bool], bool); 10] = [
        // Nothing was lost before: by the rule it takes three of six.
        (0, &[bad, bad], false),
        (0, &[bad, good, bad], false),
        (0, &[bad, bad, bad], true),
        (0, &[bad, good, bad, good, bad], true),
        (0, &[bad, bad, good, bad, good, good], true),
        // One in twenty was.
        (20, &[bad, good, bad, good, bad], false),
        (20, &[bad, good, bad, bad, bad], true),
        // One in five was, all the time.
        (5, &[bad, bad, bad], false),
        (5, &[bad, good, bad, bad, bad], false),
        (5, &[bad, bad, bad, bad, bad, bad], true),
    ];
    for (every, then, is) in cases {
        let (outages, end) = usually(61, every, then);
        assert_eq!(outages.explain(NEWEST, end, PERIOD), is, "{every} {then:?}");
    }
}

#[test]
fn it_explains_what_is_found_within_the_hour_after_it() {
    let (outages, end) = usually(60, 0, &[false, false, false]);
    for (minutes, is) in [(0, true), (60, true), (75, false)] {
        let then = end + minutes * MINUTE;
        assert_eq!(outages.explain(NEWEST, then, PERIOD), is, "{minutes}");
    }
    let (began, ended) = (LastHour::number(end - 2 * MINUTE), LastHour::number(end));
    assert!(outages.is_away(began) && outages.is_away(ended));
    assert!(!outages.is_away(began - 1) && !outages.is_away(ended + 1));
}

#[test]
fn one_that_comes_and_goes_is_one_and_none_of_what_is_usual() {
    let mut outages = usually(60, 0, &[]).0;
    // Four lost, four answered, one a minute.
    for minute in 61..=180 {
        outages.see(NEWEST, minute * MINUTE, minute % 8 < 4);
    }
    assert_eq!(outages.usual.lost(), 0, "{:?}", outages.usual);
    let now = LastHour::number(180 * MINUTE);
    assert!((now - KEPT + 2..now).all(|it| outages.is_away(it)));
    assert_eq!(outages.away.len(), KEPT as usize);
}

#[test]
fn a_candidate_that_always_fails_as_often_hardly_ever_has_one() {
    const ALL: i64 = 100_000;
    let (mut found, mut number) = (0, 1_u64);
    let mut outages = Outages::default();
    for attempt in 0..ALL {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let is_lost = number >> 32 < (1 << 32) / 5;
        outages.away.clear();
        outages.see(NEWEST, attempt * MINUTE, !is_lost);
        found += i64::from(!outages.away.is_empty());
    }
    assert!(found < ALL / 500, "{found}");
}

/// An outage that begins at this moment, if it is one to wait for.
fn next(outages: &mut Outages, edition: Edition, at_ms: i64) -> bool {
    (0..3).for_each(|_| outages.see(edition, at_ms, false));
    let is_one = outages.explain(edition, at_ms, PERIOD);
    if is_one {
        outages.begin(edition, at_ms);
    }
    is_one
}

#[test]
fn the_fifth_one_within_the_period_is_final_and_two_later_for_each_of_control() {
    let hour = 60 * MINUTE;
    for of_control in 0..3 {
        let (mut outages, end) = usually(60, 0, &[]);
        for number in 0..of_control {
            outages.see_control(end + number * hour, 0.05, 10, 5);
            outages.see_control(end + number * hour + MINUTE, 0.05, 20, 10);
        }
        let waited_for =
            (0..20).take_while(|number| next(&mut outages, NEWEST, end + (4 + number) * hour));
        assert_eq!(waited_for.count(), 4 + 2 * of_control as usize);
        let first = end + 4 * hour;
        let until = outages.final_until(NEWEST, first + 10 * hour, PERIOD);
        assert_eq!(until, Some(first + PERIOD));
        // By then control's are a day old as well, and count no more.
        let is_waited_for = next(&mut outages, NEWEST, first + PERIOD);
        assert_eq!(is_waited_for, of_control == 0);
    }
}

#[test]
fn few_errors_of_control_are_no_outage() {
    let mut outages = Outages::default();
    outages.see_control(0, 0.05, 20, 2);
    assert!(outages.control_ms.is_empty());
}

#[test]
fn in_the_eighth_edition_the_third_one_was_final() {
    let period = PERIOD;
    let first = 2 * MINUTE;
    let attempts = [(0, true), (1, false), (1, false), (2, false)];
    let mut outages = after(Edition::Eighth, &attempts);
    assert!(outages.explain(Edition::Eighth, first, period));
    outages.begin(Edition::Eighth, first);
    assert_eq!(outages.final_until(Edition::Eighth, first, period), None);
    assert!(next(&mut outages, Edition::Eighth, first + period / 2));
    let until = outages.final_until(Edition::Eighth, first, period);
    assert_eq!(until, Some(first + period));
    for (later, is) in [(period - 1, false), (period, true)] {
        let mut outages = outages.clone();
        assert_eq!(next(&mut outages, Edition::Eighth, first + later), is);
    }
    // The second and the third one are within the period of a fourth.
    assert!(next(&mut outages, Edition::Eighth, first + period));
    assert!(!next(&mut outages, Edition::Eighth, first + period + 1));
}

#[test]
fn before_the_eighth_edition_a_second_one_was_none_and_is_stored_as_it_was() {
    let attempts = [(0, true), (1, false), (1, false), (2, false)];
    let mut outages = after(Edition::Seventh, &attempts);
    outages.begin(Edition::Seventh, 2 * MINUTE);
    for (later, is) in [(PERIOD - 1, false), (PERIOD, true)] {
        let mut outages = outages.clone();
        assert_eq!(next(&mut outages, Edition::Seventh, 2 * MINUTE + later), is);
        let stored = serde_json::to_value(&outages).expect("JSON");
        for since in ["before_ms", "usual", "away", "held_ms", "control_ms"] {
            assert_eq!(stored.get(since), None, "{stored}");
        }
    }
}

#[test]
fn one_that_was_just_over_when_it_was_found_was_one_since_the_seventh_edition() {
    let attempts = [(0, true), (1, false), (1, false), (2, false)];
    let over: Vec<_> = attempts
        .into_iter()
        .chain((0..6).map(|_| (3, true)))
        .collect();
    let outages = after(Edition::Eighth, &over);
    for (minute, is) in [(3, true), (7, true), (8, false)] {
        let explained = outages.explain(Edition::Eighth, minute * MINUTE, PERIOD);
        assert_eq!(explained, is, "minute {minute}");
    }
    let before = after(Edition::Sixth, &over);
    assert!(!before.explain(Edition::Sixth, 3 * MINUTE, PERIOD));
}

#[test]
fn its_size_is_bounded() {
    let mut outages = Outages::default();
    for minute in 0..10_000 {
        let at_ms = 1_700_000_000_000 + minute * MINUTE;
        outages.see(NEWEST, at_ms, minute % 20 < 10);
        outages.see_control(at_ms, 0.05, 10, 10);
        if minute % 100 == 0 {
            outages.begin(NEWEST, at_ms);
        }
    }
    let bytes = serde_json::to_string(&outages).expect("JSON").len();
    assert!(bytes < 900, "{bytes}");
}
