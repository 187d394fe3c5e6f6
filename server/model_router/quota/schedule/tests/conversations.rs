//! Requests of one conversation with tools have room to its end.

use super::*;

#[test]
fn a_conversation_with_tools_has_room_to_its_end() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    // Of 19 requests a minute six conversations of three have room, and one request alone.
    for user in 0..6 {
        start(
            &mut schedule,
            in_turn(now, user, ConversationTurn::Begins(3)),
            now,
        );
    }
    assert_eq!(schedule.free().0, Some(1));
    let told = schedule.ask(in_turn(now, 6, ConversationTurn::Begins(3)), now);
    assert!(matches!(told, SlotAnswer::Refused(_)), "{told:?}");
    start(&mut schedule, in_turn(now, 7, ConversationTurn::Alone), now);
    assert!(matches!(
        schedule.ask(in_turn(now, 8, ConversationTurn::Alone), now),
        SlotAnswer::Refused(_)
    ));
    for user in 0..6 {
        for _ in 0..2 {
            start(
                &mut schedule,
                in_turn(now, user, ConversationTurn::GoesOn),
                now,
            );
        }
    }
    assert_eq!((schedule.free().0, schedule.held), (Some(0), 0));
    let told = schedule.ask(in_turn(now, 0, ConversationTurn::GoesOn), now);
    assert!(
        matches!(told, SlotAnswer::Refused(_)),
        "nothing was kept for a fourth: {told:?}"
    );
}

#[test]
fn room_that_a_conversation_does_not_use_lapses_after_a_minute() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    start(
        &mut schedule,
        in_turn(clock.at(0), 1, ConversationTurn::Begins(10)),
        clock.at(0),
    );
    assert_eq!(schedule.free(), (Some(9), Some(40)));
    schedule.due(clock.at(60_000));
    assert_eq!(schedule.free(), (Some(18), Some(49)));
}

#[test]
fn a_conversation_begins_with_what_the_day_has_left() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    schedule.used_at_least(47, now);
    // One that waits for the minute plans for what is left when its turn comes.
    for user in 0..2 {
        start(
            &mut schedule,
            in_turn(now, user, ConversationTurn::Begins(5)),
            now,
        );
        assert_eq!(schedule.free().1, Some(0));
        schedule.end(Some(user));
        assert_eq!(schedule.free().1, Some(2 - user as u32));
    }
    start(&mut schedule, in_turn(now, 9, ConversationTurn::Alone), now);
    let told = schedule.ask(in_turn(now, 10, ConversationTurn::Begins(3)), now);
    let SlotAnswer::Refused(refused) = told else {
        panic!("{told:?}")
    };
    assert_eq!(refused.reason, SlotRefusalReason::Day);
}

#[test]
fn room_of_the_day_that_is_kept_is_waited_for_and_not_midnight() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    schedule.used_at_least(40, now);
    start(
        &mut schedule,
        in_turn(now, 1, ConversationTurn::Begins(10)),
        now,
    );
    assert_eq!(schedule.free().1, Some(0));
    let later = clock.at(10_000);
    let told = schedule.ask(in_turn(later, 2, ConversationTurn::Alone), later);
    let (after, reason) = (50 * SECOND, SlotRefusalReason::Day);
    assert_eq!(told, SlotAnswer::Refused(SlotRefusal { after, reason }));
    let number = wait(
        &mut schedule,
        patient(later, Priority::Interactive, 2),
        later,
    );
    assert_eq!(schedule.next_start(later), Some(clock.at(60_000).at));
    assert_eq!(schedule.due(clock.at(60_000)), [number]);
}

#[test]
fn room_of_a_minute_that_is_kept_is_free_when_it_lapses() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    start(
        &mut schedule,
        in_turn(clock.at(0), 1, ConversationTurn::Begins(10)),
        clock.at(0),
    );
    let now = clock.at(30_000);
    for user in 2..11 {
        start(
            &mut schedule,
            in_turn(now, user, ConversationTurn::Alone),
            now,
        );
    }
    // Of 19 nine are kept until 60 s; the first that was sent is free at 62 s.
    wait(&mut schedule, patient(now, Priority::Interactive, 20), now);
    assert_eq!(schedule.next_start(now), Some(clock.at(60_000).at));
}

#[test]
fn the_end_of_a_conversation_frees_what_was_kept_for_it() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    for user in 0..2 {
        start(
            &mut schedule,
            in_turn(now, user, ConversationTurn::Begins(6)),
            now,
        );
    }
    start(
        &mut schedule,
        in_turn(now, 0, ConversationTurn::GoesOn),
        now,
    );
    assert_eq!((schedule.free().0, schedule.held), (Some(7), 9));
    schedule.end(Some(0));
    assert_eq!((schedule.free().0, schedule.held), (Some(11), 5));
    // There is nothing left to free.
    schedule.end(Some(0));
    assert_eq!(schedule.held, 5);
}

#[test]
fn a_conversation_that_goes_on_goes_before_others() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = busy(clock);
    let now = clock.at(40_000);
    let alone = wait(
        &mut schedule,
        in_turn(now, 30, ConversationTurn::Alone),
        now,
    );
    let going = wait(
        &mut schedule,
        in_turn(now, 31, ConversationTurn::GoesOn),
        now,
    );
    assert_eq!(schedule.due(clock.at(62_000))[..2], [going, alone]);
}

#[test]
fn a_conversation_that_does_not_begin_keeps_no_room() {
    let clock = Clock::from(MIDNIGHT_MS);
    let now = clock.at(0);
    let mut schedule = Schedule::new(FREE, now);
    start(
        &mut schedule,
        in_turn(now, 1, ConversationTurn::Begins(4)),
        now,
    );
    let another = in_turn(now, 1, ConversationTurn::Begins(7));
    assert_eq!(schedule.ask(another, now), SlotAnswer::Start);
    assert_eq!(schedule.free().0, Some(19 - 4 - 7));
    schedule.give_back(Claim::of(&another));
    // What was kept for the one that has begun stays kept.
    assert_eq!(schedule.free(), (Some(19 - 4), Some(50 - 4)));
    assert_eq!(schedule.ask(another, now), SlotAnswer::Start);
}
