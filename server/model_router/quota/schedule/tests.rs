use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const FREE: Limits = Limits {
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

    fn at(&self, ms: u64) -> Moment {
        Moment {
            at: self.start + Duration::from_millis(ms),
            utc_ms: self.utc_ms + ms as i64,
        }
    }
}

fn ask(priority: Priority, user: u64, deadline: Instant) -> Ask {
    Ask {
        is_spare: false,
        turn: Turn::Alone,
        tokens: 0,
        priority,
        user: Some(user),
        deadline,
    }
}

/// Asks as one user who waits for ten minutes.
fn patient(now: Moment, priority: Priority, user: u64) -> Ask {
    ask(priority, user, now.at + 600 * SECOND)
}

/// Everything but a slot is a fault.
fn start(schedule: &mut Schedule, ask: Ask, now: Moment) {
    assert_eq!(schedule.ask(ask, now), Told::Start);
    schedule.send(0, now);
}

fn wait(schedule: &mut Schedule, ask: Ask, now: Moment) -> u64 {
    match schedule.ask(ask, now) {
        Told::Wait(number) => number,
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
    let (after, reason) = (59 * SECOND, Reason::Minute);
    assert_eq!(told, Told::Refused(Refused { after, reason }));
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
    let reason = Reason::Day;
    assert_eq!(told, Told::Refused(Refused { after, reason }));
    let next = clock.at(24 * hour - 10_000 + 2_000);
    for user in 0..19 {
        start(
            &mut schedule,
            patient(next, Priority::Interactive, user),
            next,
        );
    }
    let back = Moment {
        at: next.at + 120 * SECOND,
        utc_ms: MIDNIGHT_MS + DAY_MS - 1,
    };
    schedule.due(back);
    assert_eq!(schedule.free(), (Some(19), Some(31)));
    let again = Moment {
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
    let ahead = Moment {
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
    let limits = Limits {
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
    let waits = flood.iter().filter(|told| matches!(told, Told::Wait(_)));
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
        let told = schedule.ask(patient(clock.at(0), Priority::Interactive, 1), clock.at(0));
        assert_eq!(told, Told::Start);
        schedule.give_back(0);
    }
    assert_eq!(schedule.free(), (Some(19), Some(50)));
}

#[test]
fn an_account_that_rests_starts_nothing() {
    let clock = Clock::from(MIDNIGHT_MS);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    schedule.rest(clock.at(10_000).at);
    let number = wait(
        &mut schedule,
        patient(clock.at(0), Priority::Interactive, 1),
        clock.at(0),
    );
    assert_eq!(schedule.due(clock.at(9_999)), [0; 0]);
    assert_eq!(schedule.due(clock.at(10_000)), [number]);
}

/// OpenRouter's rules, by its own clock.
#[derive(Default)]
struct Account {
    sent: Vec<i64>,
    days: BTreeMap<i64, u32>,
}

impl Account {
    /// Whether it refuses a request that comes now.
    fn refuses(&mut self, now_ms: i64) -> bool {
        self.sent.retain(|at| *at > now_ms - 60_000);
        self.sent.push(now_ms);
        let day = self.days.entry(now_ms.div_euclid(DAY_MS)).or_default();
        *day += 1;
        self.sent.len() > 20 || *day > 50
    }
}

/// Two days of random traffic on an account whose clock is off by `skew_ms`.
fn simulate(seed: u64, arrivals: usize, skew_ms: i64, limits: Limits) {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = Clock::from(MIDNIGHT_MS + random.random_range(0..DAY_MS));
    // Half of it in bursts.
    let mut times: Vec<u64> = (0..arrivals)
        .map(|n| match n % 2 {
            0 => random.random_range(0..2 * DAY_MS as u64),
            _ => (n as u64 / 64) * 500_000 + random.random_range(0..2_000),
        })
        .collect();
    times.sort_unstable();
    let mut schedule = Schedule::new(limits, clock.at(0));
    let mut sent: Vec<i64> = Vec::new();
    let mut waiting: BTreeMap<u64, (Priority, Instant)> = BTreeMap::new();
    let mut taken = Vec::new();
    let mut arrivals = times.into_iter().peekable();
    let mut now_ms = 0;
    let mut count = 0_u32;
    loop {
        // The next thing that happens: somebody comes, or a slot is free.
        let wake = schedule.next_start(clock.at(now_ms));
        let wake = wake.map(|at| (at - clock.start).as_millis() as u64 + 1);
        now_ms = match (arrivals.peek().copied(), wake) {
            (Some(next), Some(wake)) => next.min(wake).max(now_ms),
            (Some(next), None) => next.max(now_ms),
            (None, Some(wake)) => wake.max(now_ms),
            (None, None) => break,
        };
        let now = clock.at(now_ms);
        let due = schedule.due(now);
        let alive: BTreeSet<u64> = waiting
            .iter()
            .filter(|(_, (_, deadline))| *deadline > now.at)
            .map(|(number, _)| *number)
            .collect();
        waiting.retain(|number, _| alive.contains(number));
        for number in due {
            let (priority, deadline) = waiting.remove(&number).unwrap();
            assert!(now.at <= deadline);
            if priority != Priority::Interactive {
                let people = waiting
                    .values()
                    .filter(|it| it.0 == Priority::Interactive)
                    .count();
                assert!(
                    people == 0 || priority == Priority::Background,
                    "a person waits behind a batch"
                );
            }
            taken.push(());
        }
        if arrivals.peek().is_some_and(|at| *at <= now_ms) {
            arrivals.next();
            let priority = match random.random_range(0..3) {
                0 => Priority::Background,
                1 => Priority::Batch,
                _ => Priority::Interactive,
            };
            let deadline = now.at + Duration::from_millis(random.random_range(0..200_000));
            let user = random.random_range(0..30);
            match schedule.ask(ask(priority, user, deadline), now) {
                Told::Start => taken.push(()),
                Told::Wait(number) => {
                    waiting.insert(number, (priority, deadline));
                }
                Told::Refused(Refused { after, .. }) => assert!(!after.is_zero()),
            }
        }
        for () in taken.drain(..) {
            // One in ten is cancelled before it is sent; the others travel for up to a second.
            if random.random_range(0..10) == 0 {
                schedule.give_back(0);
            } else {
                schedule.send(0, now);
                sent.push(now.utc_ms + skew_ms + random.random_range(0..1_000));
                count += 1;
            }
        }
    }
    let mut account = Account::default();
    sent.sort_unstable();
    assert!(sent.iter().all(|at| !account.refuses(*at)), "seed {seed}");
    // It is used as far as it may be: two days of 50, or parts of three.
    assert!(count >= 100, "seed {seed}: {count}");
    assert_eq!(schedule.taken, 0);
}

#[test]
fn no_refusal_is_ever_provoked() {
    for seed in 0..20 {
        let skew_ms = [0, 900, -900][seed as usize % 3];
        simulate(seed, 10_000, skew_ms, FREE);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_refusal_is_ever_provoked_by_any_traffic(seed in any::<u64>(), arrivals in 500_usize..3_000, skew_ms in -900_i64..900) {
        simulate(seed, arrivals, skew_ms, FREE);
    }
}

fn in_turn(now: Moment, user: u64, turn: Turn) -> Ask {
    Ask {
        turn,
        ..ask(Priority::Interactive, user, now.at + 30 * SECOND)
    }
}

#[test]
fn a_conversation_with_tools_has_room_to_its_end() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    // Of 19 requests a minute six conversations of three have room, and one request alone.
    for user in 0..6 {
        start(&mut schedule, in_turn(now, user, Turn::Begins(3)), now);
    }
    assert_eq!(schedule.free().0, Some(1));
    let told = schedule.ask(in_turn(now, 6, Turn::Begins(3)), now);
    assert!(matches!(told, Told::Refused(_)), "{told:?}");
    start(&mut schedule, in_turn(now, 7, Turn::Alone), now);
    assert!(matches!(
        schedule.ask(in_turn(now, 8, Turn::Alone), now),
        Told::Refused(_)
    ));
    for user in 0..6 {
        for _ in 0..2 {
            start(&mut schedule, in_turn(now, user, Turn::GoesOn), now);
        }
    }
    assert_eq!((schedule.free().0, schedule.held), (Some(0), 0));
    let told = schedule.ask(in_turn(now, 0, Turn::GoesOn), now);
    assert!(
        matches!(told, Told::Refused(_)),
        "nothing was kept for a fourth: {told:?}"
    );
}

#[test]
fn room_that_a_conversation_does_not_use_lapses_after_a_minute() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    start(
        &mut schedule,
        in_turn(clock.at(0), 1, Turn::Begins(10)),
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
        start(&mut schedule, in_turn(now, user, Turn::Begins(5)), now);
        assert_eq!(schedule.free().1, Some(0));
        schedule.end(Some(user));
        assert_eq!(schedule.free().1, Some(2 - user as u32));
    }
    start(&mut schedule, in_turn(now, 9, Turn::Alone), now);
    let told = schedule.ask(in_turn(now, 10, Turn::Begins(3)), now);
    let Told::Refused(refused) = told else {
        panic!("{told:?}")
    };
    assert_eq!(refused.reason, Reason::Day);
}

#[test]
fn room_of_the_day_that_is_kept_is_waited_for_and_not_midnight() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    schedule.used_at_least(40, now);
    start(&mut schedule, in_turn(now, 1, Turn::Begins(10)), now);
    assert_eq!(schedule.free().1, Some(0));
    let later = clock.at(10_000);
    let told = schedule.ask(in_turn(later, 2, Turn::Alone), later);
    let (after, reason) = (50 * SECOND, Reason::Day);
    assert_eq!(told, Told::Refused(Refused { after, reason }));
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
        in_turn(clock.at(0), 1, Turn::Begins(10)),
        clock.at(0),
    );
    let now = clock.at(30_000);
    for user in 2..11 {
        start(&mut schedule, in_turn(now, user, Turn::Alone), now);
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
        start(&mut schedule, in_turn(now, user, Turn::Begins(6)), now);
    }
    start(&mut schedule, in_turn(now, 0, Turn::GoesOn), now);
    assert_eq!((schedule.free().0, schedule.held), (Some(7), 9));
    schedule.end(Some(0));
    assert_eq!((schedule.free().0, schedule.held), (Some(11), 5));
    // There is nothing left to free.
    schedule.end(Some(0));
    assert_eq!(schedule.held, 5);
}

fn of_tokens(now: Moment, tokens: u32) -> Ask {
    Ask {
        tokens,
        ..patient(now, Priority::Interactive, 1)
    }
}

#[test]
fn tokens_of_a_minute_are_planned_and_settled() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let limits = Limits {
        tokens: Some(1_000),
        ..Limits::default()
    };
    let mut schedule = Schedule::new(limits, clock.at(0));
    let now = clock.at(0);
    let ask = |schedule: &mut Schedule, tokens, at: Moment| {
        let told = schedule.ask(of_tokens(at, tokens), at);
        (told == Told::Start).then(|| schedule.send(tokens, at))
    };
    // Of 1,000 tokens 950 are used.
    let first = ask(&mut schedule, 500, now).unwrap();
    ask(&mut schedule, 400, now).unwrap();
    assert_eq!(schedule.free_tokens(), Some(50));
    let hurried = Ask {
        deadline: now.at + SECOND,
        ..of_tokens(now, 60)
    };
    let (after, reason) = (MINUTE, Reason::Tokens);
    assert_eq!(
        schedule.ask(hurried, now),
        Told::Refused(Refused { after, reason })
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
    let limits = Limits {
        tokens: Some(1_000),
        ..FREE
    };
    let mut schedule = Schedule::new(limits, clock.at(0));
    let now = clock.at(0);
    for _ in 0..10 {
        assert_eq!(schedule.ask(of_tokens(now, 900), now), Told::Start);
        schedule.give_back(900);
    }
    assert_eq!(schedule.ask(of_tokens(now, 900), now), Told::Start);
    schedule.send(900, now);
    let used = schedule.used(clock.at(1_000));
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
    let mut schedule = Schedule::new(Limits::default(), now);
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
    schedule.rest(clock.at(20_000).at);
    assert_eq!(schedule.share(clock.at(19_999).at), Some(0.0));
    assert_eq!(schedule.share(clock.at(20_000).at), Some(0.5));
}

#[test]
fn tokens_that_a_provider_still_takes_are_shared_by_what_is_under_way() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let now = clock.at(0);
    let mut schedule = Schedule::new(Limits::default(), now);
    for _ in 0..2 {
        assert_eq!(schedule.ask(of_tokens(now, 300), now), Told::Start);
        schedule.send(300, now);
    }
    // One of both is answered: of the 1,000 that are left the other may take 300.
    let left = allowance(1_000, clock.at(10_000)).map(|it| Allowance {
        of: Some(1_000),
        ..it
    });
    schedule.allow(None, left, 300);
    schedule.answered(300);
    assert_eq!(schedule.ask(of_tokens(now, 600), now), Told::Start);
    let hurried = Ask {
        deadline: now.at + SECOND,
        ..of_tokens(now, 200)
    };
    let (after, reason) = (10 * SECOND, Reason::Tokens);
    assert_eq!(
        schedule.ask(hurried, now),
        Told::Refused(Refused { after, reason })
    );
}

#[test]
fn more_than_a_provider_has_at_all_is_not_waited_for() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let now = clock.at(0);
    let mut schedule = Schedule::new(Limits::default(), now);
    schedule.allow(
        allowance(3, clock.at(60_000)),
        allowance(10, clock.at(60_000)),
        0,
    );
    // A conversation of sixteen begins where three are left, and a request for 9,999 tokens where ten are.
    start(&mut schedule, in_turn(now, 1, Turn::Begins(16)), now);
    let mut schedule = Schedule::new(Limits::default(), now);
    schedule.allow(None, allowance(10, clock.at(60_000)), 0);
    assert_eq!(schedule.ask(of_tokens(now, 9_999), now), Told::Start);
}

#[test]
fn a_conversation_that_goes_on_goes_before_others() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = busy(clock);
    let now = clock.at(40_000);
    let alone = wait(&mut schedule, in_turn(now, 30, Turn::Alone), now);
    let going = wait(&mut schedule, in_turn(now, 31, Turn::GoesOn), now);
    assert_eq!(schedule.due(clock.at(62_000))[..2], [going, alone]);
}

#[test]
fn the_last_tenth_is_kept_from_what_is_spare() {
    let clock = Clock::from(MIDNIGHT_MS + 3_600_000);
    let mut schedule = Schedule::new(FREE, clock.at(0));
    let now = clock.at(0);
    let spare = |user| Ask {
        is_spare: true,
        ..patient(now, Priority::Batch, user)
    };
    // Two of a minute's 19.
    (0..17).for_each(|user| start(&mut schedule, spare(user), now));
    let Told::Refused(refused) = schedule.ask(spare(17), now) else {
        panic!()
    };
    assert_eq!((refused.reason, refused.after), (Reason::Minute, MINUTE));
    start(&mut schedule, patient(now, Priority::Interactive, 18), now);
    // Five of a day's 50.
    let later = clock.at(120_000);
    schedule.used_at_least(45, later);
    let Told::Refused(refused) = schedule.ask(spare(19), later) else {
        panic!()
    };
    assert_eq!(refused.reason, Reason::Day);
    start(
        &mut schedule,
        patient(later, Priority::Interactive, 20),
        later,
    );
}

fn allowance(left: u64, until: Moment) -> Option<Allowance> {
    let until = until.at;
    let of = Some(10);
    Some(Allowance { left, of, until })
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
        Told::Refused(Refused {
            after: 10 * SECOND,
            reason: Reason::Minute
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
        matches!(told, Told::Refused(_)),
        "the minute of the account holds all the same: {told:?}"
    );
}
