//! Tokens of a minute.

use super::*;

fn of_tokens(now: Clocks, tokens: u32) -> SlotRequest {
    SlotRequest {
        tokens,
        ..patient(now, Priority::Interactive, 1)
    }
}

#[test]
fn tokens_of_a_minute_are_planned_and_settled() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let limits = AccountLimits {
        tokens: Some(1_000),
        ..AccountLimits::default()
    };
    let mut schedule = Schedule::new(limits, clock.at(0));
    let now = clock.at(0);
    let ask = |schedule: &mut Schedule, tokens, at: Clocks| {
        let told = schedule.ask(of_tokens(at, tokens), at);
        (told == SlotAnswer::Start).then(|| schedule.send(tokens, at))
    };
    // Of 1,000 tokens 950 are used.
    let first = ask(&mut schedule, 500, now).unwrap();
    ask(&mut schedule, 400, now).unwrap();
    assert_eq!(schedule.free_tokens(), Some(50));
    let hurried = SlotRequest {
        deadline: now.at + SECOND,
        ..of_tokens(now, 60)
    };
    let (after, reason) = (MINUTE, SlotRefusalReason::Tokens);
    assert_eq!(
        schedule.ask(hurried, now),
        SlotAnswer::Refused(SlotRefusal { after, reason })
    );
    // It took fewer than was thought, and then more.
    schedule.settle(first, 480);
    ask(&mut schedule, 70, now).unwrap();
    schedule.settle(first, 5_000);
    assert_eq!(schedule.free_tokens(), Some(0));
    // One that wants more than a minute has gets the whole minute.
    let (later, most) = (clock.at(62_000), schedule.most_tokens(9_999));
    assert_eq!(most, 950);
    ask(&mut schedule, most, later).unwrap();
    let number = wait(&mut schedule, of_tokens(later, 950), later);
    let last = wait(&mut schedule, of_tokens(later, 1), later);
    assert_eq!(schedule.due(clock.at(123_999)), [0; 0]);
    assert_eq!(schedule.due(clock.at(124_000)), [number]);
    schedule.send(950, clock.at(124_000));
    assert_eq!(schedule.due(clock.at(186_000)), [last]);
}

#[test]
fn tokens_that_are_not_used_come_back_and_those_of_an_earlier_process_count() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let limits = AccountLimits {
        tokens: Some(1_000),
        ..FREE
    };
    let mut schedule = Schedule::new(limits, clock.at(0));
    let now = clock.at(0);
    for _ in 0..10 {
        let ask = of_tokens(now, 900);
        assert_eq!(schedule.ask(ask, now), SlotAnswer::Start);
        schedule.give_back(Claim::of(&ask));
    }
    assert_eq!(schedule.ask(of_tokens(now, 900), now), SlotAnswer::Start);
    // It is stored before it is sent, and nothing is stored after that.
    let used = schedule.used(now);
    assert_eq!(used.tokens, [(now.utc_ms, 900)]);
    schedule.send(900, now);
    assert_eq!(schedule.used(now).tokens, used.tokens);
    let mut next = Schedule::new(limits, clock.at(1_000));
    next.restore(&used, clock.at(1_000));
    assert_eq!(next.free_tokens(), Some(50));
    next.due(clock.at(62_000));
    assert_eq!(next.free_tokens(), Some(950));
}

#[test]
fn what_is_free_is_the_least_of_all_that_is_limited() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let now = clock.at(0);
    let mut schedule = Schedule::new(AccountLimits::default(), now);
    assert_eq!(schedule.share(now.at), None);
    schedule.allow(allowance(4, clock.at(10_000)), None, 0);
    assert_eq!(schedule.share(now.at), Some(0.4));
    schedule.allow(None, allowance(0, clock.at(5_000)), 0);
    assert_eq!(schedule.share(now.at), Some(0.0));
    schedule.due(clock.at(10_000));
    assert_eq!(schedule.share(now.at), None, "both are over");
    schedule.limit(FREE);
    schedule.used_at_least(25, now);
    assert_eq!(schedule.share(now.at), Some(0.5));
    schedule.rest(clock.at(20_000).at, now.at);
    assert_eq!(schedule.share(clock.at(19_999).at), Some(0.0));
    assert_eq!(schedule.share(clock.at(20_000).at), Some(0.5));
}

#[test]
fn tokens_that_a_provider_still_takes_are_shared_by_what_is_under_way() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let now = clock.at(0);
    let mut schedule = Schedule::new(AccountLimits::default(), now);
    for _ in 0..2 {
        assert_eq!(schedule.ask(of_tokens(now, 300), now), SlotAnswer::Start);
        schedule.send(300, now);
    }
    // One of both is answered: of the 1,000 that are left the other may take 300.
    let left = allowance(1_000, clock.at(10_000)).map(|it| LeftUntil {
        of: Some(1_000),
        ..it
    });
    schedule.allow(None, left, 300);
    schedule.answered(300);
    assert_eq!(schedule.ask(of_tokens(now, 600), now), SlotAnswer::Start);
    let hurried = SlotRequest {
        deadline: now.at + SECOND,
        ..of_tokens(now, 200)
    };
    let (after, reason) = (10 * SECOND, SlotRefusalReason::Tokens);
    assert_eq!(
        schedule.ask(hurried, now),
        SlotAnswer::Refused(SlotRefusal { after, reason })
    );
}

#[test]
fn more_than_a_provider_has_at_all_is_not_waited_for() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let now = clock.at(0);
    let mut schedule = Schedule::new(AccountLimits::default(), now);
    schedule.allow(
        allowance(3, clock.at(60_000)),
        allowance(10, clock.at(60_000)),
        0,
    );
    // A conversation of sixteen begins where three are left, and a request for 9,999 tokens where ten are.
    start(
        &mut schedule,
        in_turn(now, 1, ConversationTurn::Begins(16)),
        now,
    );
    let mut schedule = Schedule::new(AccountLimits::default(), now);
    schedule.allow(None, allowance(10, clock.at(60_000)), 0);
    assert_eq!(schedule.ask(of_tokens(now, 9_999), now), SlotAnswer::Start);
}
