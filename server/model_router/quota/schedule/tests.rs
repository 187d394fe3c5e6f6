mod conversations;
mod simulation;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model_router::quota::used::Used;

const FREE: AccountLimits = AccountLimits {
    minute: Some(20),
    day: Some(50),
    tokens: None,
};
/// A midnight.
const MIDNIGHT_MS: i64 = 20_000 * DAY_MS;
const SECOND: Duration = Duration::from_secs(1);

/// A clock that a test moves.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    utc_ms: i64,
}

impl Clock {
    fn from(utc_ms: i64) -> Self {
        let start = Instant::now();
        Self { start, utc_ms }
    }

    fn at(&self, ms: u64) -> Clocks {
        Clocks {
            at: self.start + Duration::from_millis(ms),
            utc_ms: self.utc_ms + ms as i64,
        }
    }
}

fn ask(priority: Priority, user: u64, deadline: Instant) -> SlotRequest {
    SlotRequest {
        is_spare: false,
        turn: ConversationTurn::Alone,
        tokens: 0,
        priority,
        user: Some(user),
        deadline,
        waits_out_rest: true,
    }
}

/// Asks as one user who waits for ten minutes.
fn patient(now: Clocks, priority: Priority, user: u64) -> SlotRequest {
    ask(priority, user, now.at + 600 * SECOND)
}

/// Everything but a slot is a fault.
fn in_turn(now: Clocks, user: u64, turn: ConversationTurn) -> SlotRequest {
    SlotRequest {
        turn,
        ..ask(Priority::Interactive, user, now.at + 30 * SECOND)
    }
}

fn start(schedule: &mut Schedule, ask: SlotRequest, now: Clocks) {
    assert_eq!(schedule.ask(ask, now), SlotAnswer::Start);
    schedule.send(0, now);
}

fn wait(schedule: &mut Schedule, ask: SlotRequest, now: Clocks) -> u64 {
    match schedule.ask(ask, now) {
        SlotAnswer::Wait(number) => number,
        told => panic!("{told:?}"),
    }
}

/// A schedule whose minute is used up at 0 ms.
fn busy(clock: Clock) -> Schedule {
    let mut schedule = Schedule::new(FREE, clock.at(0));
    for user in 0..19 {
        start(
            &mut schedule,
            patient(clock.at(0), Priority::Interactive, user),
            clock.at(0),
        );
    }
    schedule
}

#[test]
fn what_cannot_start_in_time_is_refused_at_once_and_says_when() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = busy(clock);
    let now = clock.at(3_000);
    let told = schedule.ask(ask(Priority::Interactive, 99, now.at + 3 * SECOND), now);
    let (after, reason) = (59 * SECOND, SlotRefusalReason::Minute);
    assert_eq!(told, SlotAnswer::Refused(SlotRefusal { after, reason }));
    let number = wait(
        &mut schedule,
        ask(Priority::Interactive, 99, now.at + 59 * SECOND),
        now,
    );
    assert_eq!(schedule.next_start(now), Some(clock.at(62_000).at));
    assert_eq!(schedule.due(clock.at(61_999)), [0; 0]);
    assert_eq!(schedule.due(clock.at(62_000 - 1)), [0; 0]);
    let mut late = Schedule::new(FREE, now);
    std::mem::swap(&mut late, &mut schedule);
    assert_eq!(late.due(clock.at(62_000)), [0; 0], "its deadline is over");
    let _ = number;
}

#[test]
fn a_day_that_is_used_up_opens_after_midnight_and_not_again_when_the_clock_goes_back() {
    let clock = Clock::from(MIDNIGHT_MS + 10_000);
    let hour = 3_600_000;
    let mut schedule = Schedule::new(FREE, clock.at(0));
    schedule.used_at_least(49, clock.at(0));
    start(
        &mut schedule,
        patient(clock.at(hour), Priority::Interactive, 1),
        clock.at(hour),
    );
    let told = schedule.ask(
        patient(clock.at(hour), Priority::Interactive, 1),
        clock.at(hour),
    );
    let after = 23 * 3_600 * SECOND - 10 * SECOND + SKEW;
    let reason = SlotRefusalReason::Day;
    assert_eq!(told, SlotAnswer::Refused(SlotRefusal { after, reason }));
    let next = clock.at(24 * hour - 10_000 + 2_000);
    for user in 0..19 {
        start(
            &mut schedule,
            patient(next, Priority::Interactive, user),
            next,
        );
    }
    let back = Clocks {
        at: next.at + 120 * SECOND,
        utc_ms: MIDNIGHT_MS + DAY_MS - 1,
    };
    schedule.due(back);
    assert_eq!(schedule.free(), (Some(19), Some(31)));
    let again = Clocks {
        at: next.at + 240 * SECOND,
        utc_ms: next.utc_ms,
    };
    schedule.due(again);
    assert_eq!(schedule.free().1, Some(31));
}

#[test]
fn a_clock_that_was_years_ahead_closes_no_account_for_years() {
    let clock = Clock::from(MIDNIGHT_MS + 10_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let ahead = Clocks {
        at: clock.at(1_000).at,
        utc_ms: MIDNIGHT_MS + 1_000 * DAY_MS,
    };
    for user in 0..10 {
        start(
            &mut schedule,
            patient(ahead, Priority::Interactive, user),
            ahead,
        );
    }
    let used = schedule.used(ahead);
    let now = clock.at(120_000);
    schedule.due(now);
    assert_eq!(schedule.free(), (Some(19), Some(40)));
    schedule.due(clock.at(86_400_000));
    assert_eq!(schedule.free().1, Some(50));
    let mut next = Schedule::new(FREE, now);
    next.restore(&used, now);
    assert_eq!(next.free().1, Some(40));
    next.due(clock.at(86_400_000));
    assert_eq!(next.free().1, Some(50));
}

#[test]
fn a_person_comes_before_the_background_and_that_before_a_batch() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = busy(clock);
    let now = clock.at(1_000);
    let batch = wait(&mut schedule, patient(now, Priority::Batch, 1), now);
    let background = wait(&mut schedule, patient(now, Priority::Background, 1), now);
    let people = [2, 3].map(|user| {
        wait(
            &mut schedule,
            patient(now, Priority::Interactive, user),
            now,
        )
    });
    let due = schedule.due(clock.at(62_000));
    // The background call has waited for 61 s, and so has the one slot in ten.
    assert_eq!(due, [background, people[0], people[1], batch]);
}

#[test]
fn a_user_who_floods_waits_for_itself() {
    let clock = Clock::from(MIDNIGHT_MS);
    let limits = AccountLimits {
        minute: Some(20),
        day: None,
        tokens: None,
    };
    let mut schedule = Schedule::new(limits, clock.at(0));
    for _ in 0..19 {
        start(
            &mut schedule,
            patient(clock.at(0), Priority::Interactive, 1),
            clock.at(0),
        );
    }
    let now = clock.at(1_000);
    let flood: Vec<_> = (0..10_000)
        .map(|_| schedule.ask(patient(now, Priority::Interactive, 1), now))
        .collect();
    let waits = flood
        .iter()
        .filter(|told| matches!(told, SlotAnswer::Wait(_)));
    assert_eq!(waits.count(), MAX_USER);
    let one = wait(&mut schedule, patient(now, Priority::Interactive, 2), now);
    let due = schedule.due(clock.at(62_000));
    assert!(due[..2].contains(&one), "{due:?}");
    // Also ten thousand users are turned away in time.
    for user in 3..10_000 {
        schedule.ask(patient(now, Priority::Interactive, user), now);
    }
    assert!(schedule.waiting(now.at).0 <= MAX_WAITING);
}

#[test]
fn slots_that_were_not_used_come_back() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    for _ in 0..100 {
        let ask = patient(clock.at(0), Priority::Interactive, 1);
        assert_eq!(schedule.ask(ask, clock.at(0)), SlotAnswer::Start);
        schedule.give_back(Claim::of(&ask));
    }
    assert_eq!(schedule.free(), (Some(19), Some(50)));
}

#[test]
fn an_account_that_rests_starts_nothing() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    schedule.rest(clock.at(10_000).at, clock.at(0).at);
    let number = wait(
        &mut schedule,
        patient(clock.at(0), Priority::Interactive, 1),
        clock.at(0),
    );
    assert_eq!(schedule.due(clock.at(9_999)), [0; 0]);
    assert_eq!(schedule.due(clock.at(10_000)), [number]);
}

#[test]
fn after_a_rest_one_goes_first_and_then_twice_as_many_each_second() {
    let clock = Clock::from(MIDNIGHT_MS);
    let now = clock.at(0);
    let mut schedule = Schedule::new(AccountLimits::default(), now);
    assert!(schedule.rest(clock.at(20_000).at, now.at));
    assert!(
        !schedule.rest(clock.at(20_000).at, now.at),
        "it does already"
    );
    let asked = patient(now, Priority::Interactive, 0);
    for user in 0..20 {
        wait(
            &mut schedule,
            SlotRequest {
                user: Some(user),
                ..asked
            },
            now,
        );
    }
    let gone = [
        (20_000, 1),
        (20_900, 0),
        (21_000, 1),
        (22_000, 2),
        (23_000, 4),
    ];
    for (ms, more) in gone {
        let now = clock.at(ms);
        let due = schedule.due(now).len();
        for _ in 0..due {
            schedule.send(0, now);
        }
        assert_eq!(due, more, "at {ms} ms");
    }
    // Whoever would rather ask another model is told when those before it have gone.
    let hurried = SlotRequest {
        waits_out_rest: false,
        user: Some(99),
        ..asked
    };
    let after = Duration::from_secs(2);
    let reason = SlotRefusalReason::Rest;
    let told = schedule.ask(hurried, clock.at(23_000));
    assert_eq!(told, SlotAnswer::Refused(SlotRefusal { after, reason }));
    // One that is refused again lets the others wait once more.
    schedule.rest(clock.at(43_000).at, clock.at(23_000).at);
    assert_eq!(schedule.due(clock.at(42_999)).len(), 0);
    assert_eq!(schedule.due(clock.at(43_000)).len(), 1);
    assert_eq!(schedule.due(clock.at(51_000)).len(), 11);
}

#[test]
fn who_is_refused_for_a_rest_keeps_the_room_of_its_conversation() {
    let clock = Clock::from(MIDNIGHT_MS);
    let now = clock.at(0);
    let mut schedule = Schedule::new(FREE, now);
    start(
        &mut schedule,
        in_turn(now, 1, ConversationTurn::Begins(3)),
        now,
    );
    schedule.rest(clock.at(1_000).at, now.at);
    let goes_on = SlotRequest {
        waits_out_rest: false,
        ..in_turn(now, 1, ConversationTurn::GoesOn)
    };
    for _ in 0..3 {
        assert!(matches!(schedule.ask(goes_on, now), SlotAnswer::Refused(_)));
    }
    assert_eq!(schedule.free(), (Some(16), Some(47)));
    // Of somebody without room nothing is kept.
    let of_other = SlotRequest {
        user: Some(2),
        ..goes_on
    };
    assert!(matches!(
        schedule.ask(of_other, now),
        SlotAnswer::Refused(_)
    ));
    assert_eq!(schedule.free(), (Some(16), Some(47)));
}

#[test]
fn a_refusal_soon_after_a_rest_lets_nobody_go_sooner() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = Schedule::new(AccountLimits::default(), clock.at(0));
    schedule.rest(clock.at(20_000).at, clock.at(0).at);
    for user in 0..20 {
        let asked = patient(clock.at(0), Priority::Interactive, user);
        wait(&mut schedule, asked, clock.at(0));
    }
    assert_eq!(schedule.due(clock.at(20_000)).len(), 1);
    // “Come back in 0 seconds”, and a database whose answer was under way for longer than all before it.
    for (ms, more) in [(20_100, 0), (20_200, 8)] {
        schedule.rest(clock.at(ms + more).at, clock.at(ms).at);
        assert_eq!(schedule.due(clock.at(ms + more)).len(), 1);
        assert_eq!(schedule.due(clock.at(ms + more + 90)).len(), 0);
    }
    assert_eq!(schedule.due(clock.at(21_208)).len(), 1);
    assert_eq!(schedule.due(clock.at(22_208)).len(), 2);
}

#[test]
fn who_learns_of_a_rest_late_lets_calls_go_by_the_same_steps() {
    let clock = Clock::from(MIDNIGHT_MS);
    let used = Used {
        day: day_of(MIDNIGHT_MS),
        rests_since_ms: MIDNIGHT_MS,
        rests_until_ms: MIDNIGHT_MS + 4_000,
        ..Used::default()
    };
    let mut first = Schedule::new(FREE, clock.at(0));
    first.rest(clock.at(4_000).at, clock.at(0).at);
    // Before its end and after it, also where nothing is left of it.
    for ms in [3_000, 4_600, 60_000] {
        let now = clock.at(ms);
        let mut late = Schedule::new(FREE, now);
        late.adopt(&used, now.utc_ms, now);
        first.advance(now);
        let starts = |schedule: &Schedule| {
            let need = |ahead| Need {
                before: ahead,
                ahead,
                tokens: 0,
            };
            let starts = (0..20).map(|ahead| schedule.rested(need(ahead), now.at));
            starts.collect::<Vec<_>>()
        };
        assert_eq!(starts(&late), starts(&first), "{ms}");
    }
}

#[test]
fn what_follows_a_rest_is_no_longer_than_it_was() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = Schedule::new(AccountLimits::default(), clock.at(0));
    schedule.rest(clock.at(80).at, clock.at(0).at);
    for user in 0..100 {
        let asked = patient(clock.at(0), Priority::Interactive, user);
        wait(&mut schedule, asked, clock.at(0));
    }
    assert_eq!(schedule.due(clock.at(80)).len(), 1);
    assert_eq!(schedule.due(clock.at(120)).len(), 15);
    assert_eq!(schedule.due(clock.at(160)).len(), 84);
    // A slot that comes back unused is there for another.
    schedule.rest(clock.at(10_000).at, clock.at(2_000).at);
    let asked = in_turn(clock.at(10_000), 1, ConversationTurn::Begins(3));
    for _ in 0..5 {
        assert_eq!(schedule.ask(asked, clock.at(10_000)), SlotAnswer::Start);
        schedule.give_back(Claim::of(&asked));
    }
    // Also one that the database had given.
    for _ in 0..5 {
        assert_eq!(schedule.ask(asked, clock.at(10_000)), SlotAnswer::Start);
        schedule.given(Claim::of(&asked));
        schedule.forgo_given(Claim::of(&asked));
    }
}

/// OpenRouter's rules, by its own clock.
#[test]
fn the_last_tenth_is_kept_from_what_is_spare() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    let spare = |user| SlotRequest {
        is_spare: true,
        ..patient(now, Priority::Batch, user)
    };
    // Two of a minute's 19.
    (0..17).for_each(|user| start(&mut schedule, spare(user), now));
    let SlotAnswer::Refused(refused) = schedule.ask(spare(17), now) else {
        panic!()
    };
    assert_eq!(
        (refused.reason, refused.after),
        (SlotRefusalReason::Minute, MINUTE)
    );
    start(&mut schedule, patient(now, Priority::Interactive, 18), now);
    // Five of a day's 50.
    let later = clock.at(120_000);
    schedule.used_at_least(45, later);
    let SlotAnswer::Refused(refused) = schedule.ask(spare(19), later) else {
        panic!()
    };
    assert_eq!(refused.reason, SlotRefusalReason::Day);
    start(
        &mut schedule,
        patient(later, Priority::Interactive, 20),
        later,
    );
}

fn allowance(left: u64, until: Clocks) -> Option<LeftUntil> {
    let until = until.at;
    let of = Some(10);
    Some(LeftUntil { left, of, until })
}

#[test]
fn what_a_provider_says_with_an_answer_only_lowers_what_is_known() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    (0..3).for_each(|user| {
        start(
            &mut schedule,
            patient(now, Priority::Interactive, user),
            now,
        )
    });
    // One is answered: five are left, of which two may be those that are under way.
    schedule.allow(allowance(5, clock.at(10_000)), None, 0);
    schedule.answered(0);
    (3..6).for_each(|user| {
        start(
            &mut schedule,
            patient(now, Priority::Interactive, user),
            now,
        )
    });
    let told = schedule.ask(ask(Priority::Interactive, 6, now.at + SECOND), now);
    assert_eq!(
        told,
        SlotAnswer::Refused(SlotRefusal {
            after: 10 * SECOND,
            reason: SlotRefusalReason::Minute
        })
    );
    let later = clock.at(10_000);
    schedule.allow(allowance(1_000, clock.at(20_000)), None, 0);
    (6..19).for_each(|user| {
        start(
            &mut schedule,
            patient(later, Priority::Interactive, user),
            later,
        )
    });
    let told = schedule.ask(ask(Priority::Interactive, 19, later.at + SECOND), later);
    assert!(
        matches!(told, SlotAnswer::Refused(_)),
        "the minute of the account holds all the same: {told:?}"
    );
}
