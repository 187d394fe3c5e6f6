use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MOST: Most = Most {
    minute: Some(19),
    day: Some(50),
    tokens: Some(900),
};

fn word(holder: &str, number: u64, wants: Option<u32>) -> Word {
    Word {
        holder: holder.into(),
        number,
        most: MOST,
        wants,
        ..Word::default()
    }
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
            used.hear(&word("a", number, Some(1)), NOON_MS).is_some(),
            "{number}"
        );
    }
    assert!(used.hear(&word("b", 1, Some(1)), NOON_MS).is_some());
    assert_eq!(used.hear(&word("a", 19, Some(1)), NOON_MS + 61_000), None);
    assert!(
        used.hear(&word("a", 20, Some(1)), NOON_MS + 62_250)
            .is_some()
    );
    assert_eq!(used.requests, 20);
    // What a request takes more is not there for others, and a slot that was not sent is.
    let change = |requests, tokens| Change {
        at_ms: NOON_MS + 62_500,
        requests,
        tokens,
    };
    let corrected = Word {
        changes: vec![change(0, 899)],
        ..word("a", 21, None)
    };
    used.hear(&corrected, NOON_MS + 62_250);
    assert_eq!(used.hear(&word("b", 2, Some(1)), NOON_MS + 62_250), None);
    let corrected = Word {
        changes: vec![change(-1, -900)],
        ..word("a", 22, None)
    };
    used.hear(&corrected, NOON_MS + 62_250);
    assert!(
        used.hear(&word("b", 3, Some(900)), NOON_MS + 62_250)
            .is_some()
    );
    assert_eq!(used.requests, 20);
}

#[test]
fn a_word_that_is_said_again_counts_once() {
    let mut used = fresh(NOON_MS);
    let change = Change {
        at_ms: NOON_MS,
        requests: 3,
        tokens: 30,
    };
    let said = Word {
        changes: vec![change],
        ..word("a", 1, Some(10))
    };
    used.hear(&said, NOON_MS);
    // Its answer was lost; it is said by another call that wants more.
    let again = Word {
        wants: Some(40),
        ..said.clone()
    };
    assert!(used.hear(&again, NOON_MS + 5_000).is_some());
    assert_eq!((used.requests, used.slots().count()), (4, 4));
    assert_eq!(used.tokens.iter().map(|it| it.1).sum::<u32>(), 70);
    // One that comes late is nobody's any more.
    used.hear(&word("a", 2, Some(1)), NOON_MS + 6_000);
    assert_eq!(used.hear(&again, NOON_MS + 7_000), None);
    assert_eq!(used.requests, 5);
}

#[test]
fn a_new_day_begins_with_what_arrives_in_it() {
    let midnight_ms = NOON_MS + DAY_MS / 2;
    let mut used = fresh(NOON_MS);
    used.requests = 49;
    assert!(
        used.hear(&word("a", 1, Some(1)), midnight_ms - 1_000)
            .is_some()
    );
    assert_eq!(used.hear(&word("a", 2, Some(1)), midnight_ms + 1_000), None);
    assert!(
        used.hear(&word("a", 3, Some(1)), midnight_ms + 2_000)
            .is_some()
    );
    assert_eq!(used.requests, 2, "that of before midnight may arrive after");
    let told = Word {
        at_least: 50,
        at_least_of: used.day - 1,
        ..word("b", 1, None)
    };
    used.hear(&told, midnight_ms + 3_000);
    assert_eq!(used.requests, 2, "what was told before midnight is past");
    let told = Word {
        at_least: 50,
        at_least_of: used.day,
        ..word("b", 2, Some(1))
    };
    assert_eq!(used.hear(&told, midnight_ms + 3_000), None);
    let unknown = Used::unknown(&MOST, NOON_MS);
    assert_eq!((unknown.requests, unknown.day), (25, day_of(NOON_MS)));
}

#[test]
fn an_account_that_rests_gives_nothing_to_anybody() {
    let mut used = fresh(NOON_MS);
    let rests = Word {
        rests_until_ms: NOON_MS + 5_000,
        ..word("a", 1, None)
    };
    used.hear(&rests, NOON_MS);
    assert_eq!(used.hear(&word("b", 1, Some(1)), NOON_MS + 4_999), None);
    assert!(used.hear(&word("b", 2, Some(1)), NOON_MS + 5_000).is_some());
}

proptest! {
    /// Whatever becomes of words and answers, what is sent never exceeds the account: no more than its minute in any
    /// 60 seconds as the provider counts, no more than its day.
    #[test]
    fn nothing_that_is_lost_or_late_exceeds_the_account(
        steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..4_000_i64), 1..400),
    ) {
        let mut used = fresh(NOON_MS);
        let mut now_ms = NOON_MS;
        let mut numbers = [1_u64; 3];
        let mut late: VecDeque<Word> = VecDeque::new();
        let mut sent: Vec<i64> = Vec::new();
        for (process, what, pause_ms) in steps {
            now_ms += pause_ms;
            let said = word(&process.to_string(), numbers[process], Some(10));
            match what {
                // It arrives after others.
                0 => late.push_back(said),
                // Its answer is lost.
                1 => { used.hear(&said, now_ms); }
                2 => if let Some(said) = late.pop_front() { used.hear(&said, now_ms); },
                _ => {
                    if used.hear(&said, now_ms).is_some() {
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
fn a_word_that_is_said_again_gets_no_more_than_there_is() {
    let mut used = fresh(NOON_MS);
    assert!(used.hear(&word("b", 1, Some(880)), NOON_MS).is_some());
    assert!(used.hear(&word("a", 1, Some(10)), NOON_MS).is_some());
    // Its answer was lost, and a call that wants more says it again.
    let later_ms = NOON_MS + 1_000;
    assert_eq!(used.hear(&word("a", 1, Some(40)), later_ms), None);
    assert!(used.hear(&word("a", 2, Some(20)), later_ms).is_some());
    let rests = Word {
        rests_until_ms: NOON_MS + 9_000,
        ..word("b", 2, None)
    };
    used.hear(&rests, later_ms);
    assert_eq!(used.hear(&word("a", 2, Some(20)), NOON_MS + 2_000), None);
}
