//! A provider that keeps its own count never has to refuse.

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

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
fn simulate(seed: u64, arrivals: usize, skew_ms: i64, limits: AccountLimits) {
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
                SlotAnswer::Start => taken.push(()),
                SlotAnswer::Wait(number) => {
                    waiting.insert(number, (priority, deadline));
                }
                SlotAnswer::Refused(SlotRefusal { after, .. }) => assert!(!after.is_zero()),
            }
        }
        for () in taken.drain(..) {
            // One in ten is cancelled before it is sent; the others travel for up to a second.
            if random.random_range(0..10) == 0 {
                schedule.give_back(Claim::of(&patient(now, Priority::Interactive, 1)));
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
