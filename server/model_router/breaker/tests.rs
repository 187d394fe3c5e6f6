use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const BACK: Duration = Duration::from_secs(10);

/// A breaker that has just opened, after 20 attempts in 2 s of which half failed.
fn opened(start: Instant) -> (Breaker, Instant) {
    let mut breaker = Breaker::new(Rules::default());
    let mut now = start;
    for n in 0..20 {
        now += 100 * MS;
        let permit = breaker.admit(now).unwrap();
        let verdict = if n % 2 == 0 {
            AttemptClass::Answers
        } else {
            AttemptClass::Fails
        };
        assert_eq!(breaker.settle(permit, verdict, now), n == 19, "{n}");
    }
    (breaker, now)
}

/// Lets probes go until it returns.
fn probed(breaker: &mut Breaker, mut now: Instant) -> Instant {
    for _ in 0..PROBES {
        now += MS;
        let probe = breaker.admit(now).unwrap();
        assert!(
            probe.is_probe() && breaker.admit(now).is_none(),
            "one at a time"
        );
        assert!(!breaker.settle(probe, AttemptClass::Answers, now));
    }
    assert_eq!(breaker.state(now), BreakerState::Returning);
    now
}

#[test]
fn it_opens_rests_probes_and_returns_by_degrees() {
    let (mut breaker, now) = opened(Instant::now());
    assert_eq!(breaker.state(now), BreakerState::Open);
    assert_eq!(breaker.admit(now + 5 * SECOND - MS), None);
    let now = probed(&mut breaker, now + 5 * SECOND);
    let mut admitted = [0; 10];
    for ms in 0..10_000 {
        let at = now + ms * MS;
        if let Some(permit) = breaker.admit(at) {
            admitted[(ms / 1_000) as usize] += 1;
            assert!(!breaker.settle(permit, AttemptClass::Answers, at));
        }
    }
    assert!((140..150).contains(&admitted[0]), "{admitted:?}");
    assert!((950..960).contains(&admitted[9]), "{admitted:?}");
    assert!(admitted.is_sorted(), "{admitted:?}");
    assert_eq!(breaker.state(now + BACK), BreakerState::Closed);
}

#[test]
fn each_probe_that_fails_doubles_the_rest_up_to_a_minute() {
    let (mut breaker, mut now) = opened(Instant::now());
    let mut rests = Vec::new();
    for _ in 0..6 {
        let from = now;
        let probe = loop {
            now += SECOND;
            if let Some(probe) = breaker.admit(now) {
                break probe;
            }
        };
        rests.push((now - from).as_secs());
        assert!(breaker.settle(probe, AttemptClass::Fails, now));
    }
    assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
    now = probed(&mut breaker, now + 60 * SECOND) + BACK;
    assert!(breaker.admit(now).is_some(), "closed again");
    assert_eq!(breaker.rest, Rules::default().rest);
}

#[test]
fn a_probe_that_says_nothing_is_repeated_a_moment_later() {
    let (mut breaker, now) = opened(Instant::now());
    let now = now + 5 * SECOND;
    let probe = breaker.admit(now).unwrap();
    breaker.settle(probe, AttemptClass::Nothing, now);
    assert_eq!(breaker.admit(now + PAUSE - MS), None);
    assert!(breaker.admit(now + PAUSE).is_some());
}

#[test]
fn what_fails_while_it_returns_opens_it_sooner() {
    let (mut breaker, now) = opened(Instant::now());
    let now = probed(&mut breaker, now + 5 * SECOND) + 5 * SECOND;
    let permits: Vec<_> = (0..20).filter_map(|_| breaker.admit(now)).collect();
    let opens = |permit| breaker.settle(permit, AttemptClass::Fails, now);
    let opened: Vec<_> = permits.into_iter().map(opens).collect();
    assert_eq!(opened.iter().position(|opens| *opens), Some(4));
    assert_eq!(opened.iter().filter(|opens| **opens).count(), 1);
}

#[test]
fn what_ends_after_it_opened_changes_nothing() {
    let start = Instant::now();
    let mut breaker = Breaker::new(Rules::default());
    let permits: Vec<_> = (0..60).filter_map(|_| breaker.admit(start)).collect();
    let opens = permits
        .into_iter()
        .filter(|permit| breaker.settle(*permit, AttemptClass::Fails, start));
    assert_eq!(opens.count(), 1);
    assert_eq!(breaker.opened, 1);
}

#[test]
fn being_busy_counts_half() {
    let start = Instant::now();
    let mut breaker = Breaker::new(Rules::default());
    for n in 1..=20 {
        let permit = breaker.admit(start).unwrap();
        assert_eq!(breaker.settle(permit, AttemptClass::IsBusy, start), n == 20);
    }
}

/// Ten calls a second for an hour; how many were let through while the model failed, and while it answered.
fn an_hour(fails: impl Fn(u64) -> bool) -> ([u64; 2], Breaker) {
    let mut breaker = Breaker::new(Rules::default());
    let mut admitted = [0, 0];
    for call in 0..36_000 {
        let now = *START + call * 100 * MS;
        if let Some(permit) = breaker.admit(now) {
            let is_down = fails(u64::from(call));
            admitted[usize::from(!is_down)] += 1;
            let verdict = if is_down {
                AttemptClass::Fails
            } else {
                AttemptClass::Answers
            };
            breaker.settle(permit, verdict, now);
        }
    }
    (admitted, breaker)
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

#[test]
fn a_model_that_fails_every_second_minute_is_asked_mostly_while_it_answers() {
    let ([down, up], _) = an_hour(|call| call / 600 % 2 == 1);
    assert!(down < 3_000, "{down} of 18,000");
    assert!(up > 9_000, "{up} of 18,000");
}

#[test]
fn two_failures_in_five_open_nothing() {
    let ([down, up], breaker) = an_hour(|call| call % 5 < 2);
    assert_eq!((down + up, breaker.opened), (36_000, 0));
}

#[test]
fn while_a_probe_hangs_nothing_else_goes_out() {
    let (mut breaker, now) = opened(*START);
    let probe = breaker.admit(now + 5 * SECOND);
    assert!(probe.is_some_and(Permit::is_probe));
    for seconds in 6..10_000 {
        assert_eq!(breaker.admit(now + seconds * SECOND), None);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Begin,
    End(usize, AttemptClass),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        2 => Just(AttemptClass::Answers),
        5 => Just(AttemptClass::Fails),
        1 => Just(AttemptClass::IsBusy),
        1 => Just(AttemptClass::Nothing),
    ];
    prop_oneof![
        2 => (0_u64..3_000).prop_map(Step::Wait),
        1 => (0_u64..70_000).prop_map(Step::Wait),
        9 => Just(Step::Begin),
        9 => (any::<prop::sample::Index>(), verdict).prop_map(|(n, verdict)| Step::End(n.index(64), verdict)),
    ]
}

proptest! {
    /// Whatever happens: it opens from closed only after enough failures within the window, at most one
    /// probe is under way, nothing goes out in a rest, and a model that answers from now on gets all of its
    /// calls within bounded time.
    #[test]
    fn it_keeps_its_rules_and_always_returns(steps in prop::collection::vec(step(), 0..400)) {
        let start = Instant::now();
        let rules = Rules::default();
        let mut breaker = Breaker::new(rules);
        let mut now = start;
        let mut under_way: Vec<Permit> = Vec::new();
        let mut ended: Vec<(Instant, u64)> = Vec::new();
        let mut rests_until = start;
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Begin => if let Some(permit) = breaker.admit(now) {
                    prop_assert!(now >= rests_until);
                    under_way.push(permit);
                    let probes = under_way.iter().filter(|it| it.is_probe && it.opened == breaker.opened);
                    prop_assert!(!permit.is_probe || probes.count() == 1);
                }
                Step::End(n, verdict) => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let permit = under_way.swap_remove(n % under_way.len());
                    let was_closed = breaker.state(now) == BreakerState::Closed;
                    let halves = match verdict {
                        AttemptClass::Answers => Some(0),
                        AttemptClass::IsBusy => Some(1),
                        AttemptClass::Fails => Some(2),
                        AttemptClass::Nothing => None,
                    };
                    if let (Some(halves), true) = (halves, permit.opened == breaker.opened) {
                        ended.push((now, halves));
                    }
                    if breaker.settle(permit, verdict, now) {
                        if was_closed {
                            let recent = ended.iter().filter(|(at, _)| now - *at <= rules.window);
                            let (attempts, failed) = recent.fold((0, 0), |(n, sum), (_, halves)| (n + 1, sum + halves));
                            prop_assert!(attempts >= 20, "{attempts}");
                            prop_assert!(failed > 0);
                        }
                        prop_assert_eq!(breaker.state(now), BreakerState::Open);
                        rests_until = now + rules.rest;
                        ended.clear();
                    }
                }
            }
        }
        // From now on it answers; what was under way is cancelled.
        for permit in under_way {
            breaker.settle(permit, AttemptClass::Nothing, now);
        }
        let healthy_from = now;
        while breaker.state(now) != BreakerState::Closed {
            now += 100 * MS;
            if let Some(permit) = breaker.admit(now) {
                prop_assert!(!breaker.settle(permit, AttemptClass::Answers, now));
            }
            prop_assert!(now - healthy_from <= rules.rest * MAX_REST + PAUSE + BACK + SECOND);
        }
    }
}
