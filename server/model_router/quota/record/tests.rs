use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MOST: Most = Most {
    minute: Some(19),
    day: Some(50),
    tokens: Some(900),
};

fn report(holder: &str, number: u64, wants: Option<u32>) -> AccountReport {
    AccountReport {
        holder: holder.into(),
        number,
        time: number,
        most: MOST,
        wants: wants.into_iter().collect(),
        ..AccountReport::default()
    }
}

/// The same report, made once more.
fn again(report: &AccountReport, wants: Option<u32>) -> AccountReport {
    AccountReport {
        time: report.time + 1,
        wants: wants.into_iter().collect(),
        ..report.clone()
    }
}

/// The slot that is given for a report which wants one.
fn first_slot(used: &mut Used, report: &AccountReport, now_ms: i64) -> Option<i64> {
    used.take_report(report, now_ms).first().copied().flatten()
}

fn fresh(now_ms: i64) -> Used {
    Used {
        day: day_of(now_ms),
        ..Used::default()
    }
}

/// Noon of some day.
const NOON_MS: i64 = 20_000 * DAY_MS + DAY_MS / 2;

#[test]
fn one_process_may_use_all_and_another_what_is_left() {
    let mut used = fresh(NOON_MS);
    for number in 1..=18 {
        assert!(
            first_slot(&mut used, &report("a", number, Some(1)), NOON_MS).is_some(),
            "{number}"
        );
    }
    assert!(first_slot(&mut used, &report("b", 1, Some(1)), NOON_MS).is_some());
    assert_eq!(
        first_slot(&mut used, &report("a", 19, Some(1)), NOON_MS + 61_000),
        None
    );
    assert!(first_slot(&mut used, &report("a", 20, Some(1)), NOON_MS + 62_250).is_some());
    assert_eq!(used.requests, 20);
    // What a request takes more is not there for others, and a slot that was not sent is.
    let change = |requests, tokens| UsageChange {
        at_ms: NOON_MS + 62_500,
        requests,
        tokens,
    };
    let corrected = AccountReport {
        changes: vec![change(0, 899)],
        ..report("a", 21, None)
    };
    first_slot(&mut used, &corrected, NOON_MS + 62_250);
    assert_eq!(
        first_slot(&mut used, &report("b", 2, Some(1)), NOON_MS + 62_250),
        None
    );
    let corrected = AccountReport {
        changes: vec![change(-1, -900)],
        ..report("a", 22, None)
    };
    first_slot(&mut used, &corrected, NOON_MS + 62_250);
    assert!(first_slot(&mut used, &report("b", 3, Some(900)), NOON_MS + 62_250).is_some());
    assert_eq!(used.requests, 20);
}

#[test]
fn a_report_that_is_made_again_counts_once() {
    let mut used = fresh(NOON_MS);
    let change = UsageChange {
        at_ms: NOON_MS,
        requests: 3,
        tokens: 30,
    };
    let said = AccountReport {
        changes: vec![change],
        ..report("a", 1, Some(10))
    };
    first_slot(&mut used, &said, NOON_MS);
    // Its answer was lost; another call, which wants more, makes it again.
    let again = again(&said, Some(40));
    assert!(first_slot(&mut used, &again, NOON_MS + 5_000).is_some());
    assert_eq!((used.requests, used.slots().count()), (4, 4));
    assert_eq!(used.tokens.iter().map(|it| it.1).sum::<u32>(), 70);
    // One that comes late is nobody's any more.
    first_slot(&mut used, &report("a", 2, Some(1)), NOON_MS + 6_000);
    assert_eq!(first_slot(&mut used, &again, NOON_MS + 7_000), None);
    assert_eq!(used.requests, 5);
}

#[test]
fn a_new_day_begins_with_what_arrives_in_it() {
    let midnight_ms = NOON_MS + DAY_MS / 2;
    let mut used = fresh(NOON_MS);
    used.requests = 49;
    assert!(first_slot(&mut used, &report("a", 1, Some(1)), midnight_ms - 1_000).is_some());
    assert_eq!(
        first_slot(&mut used, &report("a", 2, Some(1)), midnight_ms + 1_000),
        None
    );
    assert!(first_slot(&mut used, &report("a", 3, Some(1)), midnight_ms + 2_000).is_some());
    assert_eq!(used.requests, 2, "that of before midnight may arrive after");
    let told = AccountReport {
        at_least: 50,
        at_least_of: used.day - 1,
        ..report("b", 1, None)
    };
    first_slot(&mut used, &told, midnight_ms + 3_000);
    assert_eq!(used.requests, 2, "what was told before midnight is past");
    let told = AccountReport {
        at_least: 50,
        at_least_of: used.day,
        ..report("b", 2, Some(1))
    };
    assert_eq!(first_slot(&mut used, &told, midnight_ms + 3_000), None);
    let unknown = Used::unknown(&MOST, NOON_MS);
    assert_eq!((unknown.requests, unknown.day), (25, day_of(NOON_MS)));
}

#[test]
fn an_account_that_rests_gives_nothing_to_anybody() {
    let mut used = fresh(NOON_MS);
    let rests = AccountReport {
        rests_since_ms: NOON_MS,
        rests_until_ms: NOON_MS + 5_000,
        ..report("a", 1, None)
    };
    first_slot(&mut used, &rests, NOON_MS);
    assert_eq!(
        first_slot(&mut used, &report("b", 1, Some(1)), NOON_MS + 4_999),
        None
    );
    assert!(first_slot(&mut used, &report("b", 2, Some(1)), NOON_MS + 5_000).is_some());
}

#[test]
fn after_a_rest_one_call_of_all_processes_goes_first_and_twice_as_many_after_each_step() {
    let mut used = fresh(NOON_MS);
    let rests = AccountReport {
        rests_since_ms: NOON_MS,
        rests_until_ms: NOON_MS + 4_000,
        ..report("a", 1, None)
    };
    // The database was away when the provider said so.
    first_slot(&mut used, &rests, NOON_MS + 3_000);
    // An eighth of the rest is half a second.
    let mut given = Vec::new();
    for (number, after_ms) in (2..).zip([0, 250, 500, 750, 1_000, 1_500]) {
        let mut slots = 0;
        for holder in ["a", "b", "c"] {
            let wants = AccountReport {
                wants: vec![1; 5],
                ..report(holder, number, None)
            };
            let got = used.take_report(&wants, NOON_MS + 4_000 + after_ms);
            slots += got.iter().flatten().count();
        }
        given.push(slots);
    }
    assert_eq!(given, [1, 0, 1, 0, 2, 4]);
    let later = report("b", 9, Some(1));
    assert!(first_slot(&mut used, &later, NOON_MS + 8_000).is_some());
}

proptest! {
    /// Whatever becomes of reports and answers, what is sent never exceeds the account: no more than its minute in any
    /// 60 seconds as the provider counts, no more than its day.
    #[test]
    fn nothing_that_is_lost_or_late_exceeds_the_account(
        steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..4_000_i64), 1..400),
    ) {
        let mut used = fresh(NOON_MS);
        let mut now_ms = NOON_MS;
        let (mut numbers, mut times) = ([1_u64; 3], [0_u64; 3]);
        let mut late: VecDeque<AccountReport> = VecDeque::new();
        let mut sent: Vec<i64> = Vec::new();
        for (process, what, pause_ms) in steps {
            now_ms += pause_ms;
            times[process] += 1;
            let said = AccountReport {
                time: times[process],
                wants: vec![10; pause_ms as usize % 4],
                ..report(&process.to_string(), numbers[process], None)
            };
            match what {
                // It arrives after others.
                0 => late.push_back(said),
                // Its answer is lost.
                1 => { used.take_report(&said, now_ms); }
                // It may arrive once more.
                2 => if let Some(said) = late.front() {
                    used.take_report(said, now_ms);
                    if pause_ms % 2 == 0 {
                        late.pop_front();
                    }
                },
                _ => {
                    for _ in used.take_report(&said, now_ms).into_iter().flatten() {
                        // As long as an answer may take.
                        sent.push(now_ms + pause_ms % 1_000);
                    }
                    numbers[process] += 1;
                }
            }
        }
        sent.sort_unstable();
        for first in &sent {
            let minute = sent.iter().filter(|it| (*first..first + 60_000).contains(it));
            prop_assert!(minute.count() <= 19);
        }
        prop_assert!(sent.len() <= 50);
    }
}

#[test]
fn a_report_that_is_made_again_gets_no_more_than_there_is() {
    let mut used = fresh(NOON_MS);
    assert!(first_slot(&mut used, &report("b", 1, Some(880)), NOON_MS).is_some());
    assert!(first_slot(&mut used, &report("a", 1, Some(10)), NOON_MS).is_some());
    // Its answer was lost, and a call that wants more makes it again.
    let later_ms = NOON_MS + 1_000;
    assert_eq!(
        first_slot(&mut used, &again(&report("a", 1, None), Some(40)), later_ms),
        None
    );
    assert!(first_slot(&mut used, &report("a", 2, Some(20)), later_ms).is_some());
    let rests = AccountReport {
        rests_since_ms: NOON_MS,
        rests_until_ms: NOON_MS + 9_000,
        ..report("b", 2, None)
    };
    first_slot(&mut used, &rests, later_ms);
    assert_eq!(
        first_slot(
            &mut used,
            &again(&report("a", 2, None), Some(20)),
            NOON_MS + 2_000
        ),
        None
    );
}

#[test]
fn calls_that_make_one_report_get_what_there_is_in_their_order() {
    let mut used = fresh(NOON_MS);
    let said = AccountReport {
        wants: vec![300, 500, 200, 100, 1],
        ..report("a", 1, None)
    };
    let slots = used.take_report(&said, NOON_MS);
    let given: Vec<_> = slots.iter().map(Option::is_some).collect();
    assert_eq!(given, [true, true, false, true, false]);
    assert_eq!((used.requests, used.slots().count()), (3, 3));
    // Its answer was lost, and some have left: what they had others get.
    let said = AccountReport {
        time: 2,
        wants: vec![900],
        ..said
    };
    assert!(first_slot(&mut used, &said, NOON_MS + 1_000).is_some());
    assert_eq!((used.requests, used.slots().count()), (1, 1));
    // It comes once more, and is nobody's.
    assert_eq!(first_slot(&mut used, &said, NOON_MS + 1_000), None);
    assert_eq!((used.requests, used.slots().count()), (1, 1));
    let minute = AccountReport {
        wants: vec![0; 30],
        ..report("b", 1, None)
    };
    let slots = used.take_report(&minute, NOON_MS + 1_000);
    assert_eq!(slots.iter().flatten().count(), 18);
}

#[test]
fn a_row_of_a_release_that_reports_each_call_is_read() {
    let text = r#"{"day":20000,"requests":3,"sent_ms":[],"given":[[1728043200250,3]],"version":3,
        "last":{"a":{"number":3,"at_ms":1728043200000,"slot":[1728043200250,10]}}}"#;
    let mut used: Used = serde_json::from_str(text).unwrap();
    // Its answer was lost.
    let said = again(&report("a", 3, None), Some(10));
    assert!(first_slot(&mut used, &said, NOON_MS + 1_000).is_some());
    assert_eq!((used.requests, used.slots().count()), (3, 3));
}

/// What a release of before quotas were the fleet's keeps of an account, and reads.
#[derive(serde::Serialize, serde::Deserialize)]
struct Older {
    day: i64,
    requests: u32,
    sent_ms: Vec<i64>,
}

#[test]
fn a_release_that_stores_its_own_count_in_place_of_all_is_counted_and_nothing_of_it_fails() {
    let mut used = fresh(NOON_MS);
    for number in 1..=3 {
        assert!(first_slot(&mut used, &report("a", number, Some(1)), NOON_MS).is_some());
    }
    // It reads what this release has stored: the day is whole, of the last minute it knows nothing.
    let text = serde_json::to_string(&used).unwrap();
    let mut older: Older = serde_json::from_str(&text).unwrap();
    assert_eq!((older.requests, older.sent_ms.len()), (3, 0));
    older.requests += 15;
    older.sent_ms = vec![NOON_MS; 15];
    let mut used: Used = serde_json::from_str(&serde_json::to_string(&older).unwrap()).unwrap();
    // What it sent counts, and the reports of the process are taken as before.
    let said = AccountReport {
        wants: vec![1; 9],
        ..report("a", 4, None)
    };
    let slots = used.take_report(&said, NOON_MS + 1_000);
    assert_eq!(
        slots.iter().flatten().count(),
        4,
        "of 19, and not what this release used before"
    );
    assert_eq!(used.requests, 22);
}
