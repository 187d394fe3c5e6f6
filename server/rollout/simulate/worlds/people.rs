//! The users of a world, and when they ask.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{
    super::random::Random,
    DAY, HOUR, MINUTE,
    case::{Case, Oddity, Team},
};

/// How often all ask within a stretch of this length is even.
const STRETCH: f64 = 20.0 * MINUTE;
/// A night's job: so many requests, one so long after the other. The rollout begins at 10 h, the job at 3 h.
const JOB: u32 = 300;
const JOB_EVERY: f64 = 2_000.0;
const JOB_BEGINS: f64 = -7.0 * HOUR;

#[derive(Clone, Copy)]
pub(super) struct WorldUser {
    /// As a subject is hashed.
    pub key: u64,
    /// The part of all users whose buckets are below it, 0 to 1.
    pub bucket: f64,
    pub error_rate: f64,
    pub flaw_rate: f64,
    /// In units of the usual latency.
    pub slowness: f64,
    /// How much it has written for it, in units of the usual answer.
    pub length: f64,
    /// How many of its prompts are long.
    pub long: f64,
    pub is_script: bool,
    pub is_agent: bool,
    /// Whether anything is known of its past.
    pub is_known: bool,
    /// It asks until then, in milliseconds since the start.
    pub leaves_ms: f64,
    /// Had a worse candidate in the week before.
    pub was_on_worse: bool,
}

/// A request as it is sent.
#[derive(Clone, Copy)]
pub(super) struct WorldRequest {
    /// In milliseconds since the start.
    pub at_ms: f64,
    pub user: usize,
    /// It was asked so often before.
    pub tries: u32,
    /// It is one of a burst that fails as a whole.
    pub is_doomed: bool,
}

impl PartialEq for WorldRequest {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for WorldRequest {}

impl PartialOrd for WorldRequest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WorldRequest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at_ms.total_cmp(&other.at_ms)
    }
}

/// All of them.
pub(super) struct People {
    case: Case,
    pub all: Vec<WorldUser>,
    /// Volumes, each with those before it.
    volumes: Vec<f64>,
    /// What is sent for sure.
    queue: BinaryHeap<Reverse<WorldRequest>>,
    /// When a script asks next; none where there is none.
    script_ms: Option<f64>,
    now_ms: f64,
}

impl People {
    pub(super) fn draw(case: Case, random: &mut Random) -> Self {
        let mut people = Self {
            case,
            all: Vec::new(),
            volumes: Vec::new(),
            queue: BinaryHeap::new(),
            script_ms: None,
            now_ms: -7.0 * DAY,
        };
        let mut sum = 0.0;
        for number in 0..case.users {
            let user = WorldUser::draw(&case, number, random);
            people.all.push(user);
            sum += random.normal().exp();
            people.volumes.push(sum);
        }
        if let Oddity::Cron { is_new } = case.oddity {
            people.add_script(0.002, !is_new, random);
            people.script_ms = Some(people.now_ms);
        }
        people.add_jobs(-6..1);
        people
    }

    /// Sends the jobs of these nights; all are the first user's.
    fn add_jobs(&mut self, days: std::ops::Range<i32>) {
        if self.case.oddity != Oddity::Job {
            return;
        }
        let request = self.request(0);
        for day in days {
            let from_ms = f64::from(day) * DAY + JOB_BEGINS;
            let each = (0..JOB).map(|number| from_ms + f64::from(number) * JOB_EVERY);
            let requests = each.map(|at_ms| WorldRequest { at_ms, ..request });
            self.queue.extend(requests.map(Reverse));
        }
    }

    fn add_script(&mut self, error_rate: f64, is_known: bool, random: &mut Random) {
        self.all.push(WorldUser {
            error_rate,
            flaw_rate: 0.001,
            slowness: 0.3,
            length: 0.3,
            long: 0.0,
            is_script: true,
            is_agent: false,
            is_known,
            ..WorldUser::draw(&self.case, usize::MAX, random)
        });
    }

    /// A bot begins to ask as often as all the others.
    pub(super) fn join(&mut self, at_ms: f64, random: &mut Random) {
        if self.script_ms.is_none() {
            self.add_script(0.06, false, random);
            self.script_ms = Some(at_ms);
        }
    }

    /// A fifth of the users become one with others.
    pub(super) fn merge(&mut self, random: &mut Random) {
        for number in 0..self.all.len() {
            if random.happens(0.2) {
                let other = self.all[random.below(self.all.len())];
                (self.all[number].key, self.all[number].bucket) = (other.key, other.bucket);
            }
        }
    }

    /// Whether what failed is asked again under another id.
    pub(super) fn is_by_another_id(&self) -> bool {
        self.case.oddity == Oddity::AnotherId
    }

    /// The same person under a new id; its number.
    pub(super) fn again_as_another(&mut self, user: usize, random: &mut Random) -> usize {
        let (key, bucket, is_known) = (random.next(), random.unit(), false);
        self.all.push(WorldUser {
            key,
            bucket,
            is_known,
            ..self.all[user]
        });
        self.all.len() - 1
    }

    pub(super) fn ask_again(&mut self, request: WorldRequest) {
        self.queue.push(Reverse(request));
    }

    /// The rollout begins: nobody waits for anything any more.
    pub(super) fn begin(&mut self) {
        self.queue.clear();
        self.now_ms = 0.0;
        self.script_ms = self.script_ms.map(|_| 0.0);
        self.add_jobs(1..self.case.days.ceil() as i32 + 1);
    }

    /// The next request.
    pub(super) fn next(&mut self, random: &mut Random) -> WorldRequest {
        loop {
            let stretch_ms = ((self.now_ms / STRETCH).floor() + 1.0) * STRETCH;
            let rate = self.rate(self.now_ms);
            let drawn_ms = match rate > 0.0 {
                true => self.now_ms + random.exponential() / rate,
                false => f64::INFINITY,
            };
            // Arrivals have no memory, so they can be drawn anew at any moment.
            let until = drawn_ms.min(stretch_ms);
            if let Some(Reverse(request)) = self.queue.peek().copied()
                && request.at_ms <= until
            {
                self.queue.pop();
                self.now_ms = self.now_ms.max(request.at_ms);
                return request;
            }
            if let Some(at_ms) = self.script_ms
                && at_ms <= until
            {
                let per_day = match self.case.oddity {
                    Oddity::Bot => self.case.per_day,
                    _ => self.case.per_day / 2.0,
                };
                self.script_ms = Some(at_ms + DAY / per_day);
                self.now_ms = self.now_ms.max(at_ms);
                let script = self.all.iter().position(|user| user.is_script);
                return self.request(script.unwrap_or_default());
            }
            self.now_ms = until;
            if drawn_ms > stretch_ms {
                continue;
            }
            let whole = self.volumes.last().copied().unwrap_or_default();
            let drawn = whole * random.unit();
            let user = self.volumes.partition_point(|volume| *volume <= drawn);
            if self.all[user].leaves_ms <= self.now_ms {
                continue;
            }
            let mut request = self.request(user);
            if self.all[user].is_agent && random.happens(0.1) {
                request.is_doomed = random.happens(0.03);
                for number in 1..50 {
                    let at_ms = request.at_ms + 20.0 * f64::from(number);
                    self.queue.push(Reverse(WorldRequest { at_ms, ..request }));
                }
            }
            return request;
        }
    }

    fn request(&self, user: usize) -> WorldRequest {
        WorldRequest {
            at_ms: self.now_ms,
            user,
            tries: 0,
            is_doomed: false,
        }
    }

    /// Requests a millisecond.
    fn rate(&self, at_ms: f64) -> f64 {
        let Case {
            oddity, per_day, ..
        } = self.case;
        let base = match oddity {
            Oddity::Cron { .. } => per_day / DAY / 2.0,
            _ => per_day / DAY,
        };
        let moment = LocalMoment::of(&self.case, at_ms);
        if oddity == Oddity::DeadWeekends && moment.is_dead_weekend() {
            return 0.0;
        }
        let habit = match self.case.team {
            Team::Small if moment.is_working() && (8.0..18.0).contains(&moment.hour) => 2.28,
            Team::Small => 0.05,
            Team::Standard => {
                1.0 + 0.7 * ((moment.hour - 9.0) / 24.0 * std::f64::consts::TAU).sin()
            }
        };
        match oddity {
            Oddity::Wave if moment.is_wave() => 0.6 * per_day / STRETCH,
            Oddity::Wave => 0.4 * base * habit,
            _ => base * habit,
        }
    }
}

impl WorldUser {
    fn draw(case: &Case, number: usize, random: &mut Random) -> Self {
        // Where many requests fail they fail for all.
        let error_rate = if case.errors >= 0.08 {
            random.beta(2.0, 2.0 / case.errors - 2.0)
        } else {
            (random.beta(0.2, 9.8) * case.errors / 0.02).min(0.9)
        };
        let leaves_ms = match case.oddity {
            Oddity::LeaveForGood if random.happens(0.5) => 8.0 * DAY * random.unit(),
            _ => f64::INFINITY,
        };
        Self {
            key: random.next(),
            bucket: random.unit(),
            error_rate,
            flaw_rate: random.beta(0.2, 19.8),
            slowness: (0.3 * random.normal()).exp(),
            length: (0.5 * random.normal()).exp(),
            long: if random.happens(0.1) { 0.3 } else { 0.0 },
            is_script: false,
            is_agent: case.oddity == Oddity::Agents && number < 5,
            is_known: true,
            leaves_ms,
            was_on_worse: case.oddity == Oddity::Second && random.happens(0.1),
        }
    }
}

/// A moment by the clock on the wall of the users.
pub(super) struct LocalMoment {
    /// Since the Monday on which the rollout began; negative before.
    day: i64,
    pub hour: f64,
}

impl LocalMoment {
    /// The rollout begins at 10:00.
    pub(super) fn of(case: &Case, at_ms: f64) -> Self {
        let is_summer = case.oddity == Oddity::ClockChange && at_ms >= 6.0 * DAY - 9.0 * HOUR;
        let since_ms = at_ms + (10.0 + f64::from(u8::from(is_summer))) * HOUR;
        Self {
            day: (since_ms / DAY).floor() as i64,
            hour: since_ms.rem_euclid(DAY) / HOUR,
        }
    }

    pub(super) fn day(&self) -> i64 {
        self.day
    }

    pub(super) fn is_working(&self) -> bool {
        self.day.rem_euclid(7) < 5
    }

    pub(super) fn is_wave(&self) -> bool {
        self.is_working() && (9.0..9.0 + STRETCH / HOUR).contains(&self.hour)
    }

    fn is_dead_weekend(&self) -> bool {
        match self.day.rem_euclid(7) {
            0 => self.hour < 8.0,
            4 => self.hour >= 18.0,
            5 | 6 => true,
            _ => false,
        }
    }
}
