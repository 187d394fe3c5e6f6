//! What users are like, and what they did in the week before.

use super::{
    super::{
        super::evidence::{LogLatencies, UncountedKind, UserHistory},
        random::Random,
    },
    Flaws, NotCounted, Population, Scenario, StreamingTraffic, WeekBefore,
};

/// Users who are scripts that never send what can be answered, where there are such outcomes at all.
const SCRIPTS: f64 = 0.01;
/// Users who write at length, and how often their answers are cut off.
const LONG_WRITERS: f64 = 0.02;
const OF_LONG_WRITERS: f64 = 0.5;
/// How much longer the longer one of two tasks takes.
const LONGER: f64 = 4.0;
/// Where answers are streamed: the median of their characters, of which a user's own differs by this σ, and each answer of
/// a user by the same.
const CHARS: f64 = 800.0;
const CHARS_SIGMA: f64 = 0.5;
/// Milliseconds that a character takes, and by which σ that differs between answers.
const CHAR_MS: f64 = 5.0;
const CHAR_SIGMA: f64 = 0.2;
/// Characters that are the first words.
const FIRST_WORDS: f64 = 100.0;

/// What a user does that lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub error_rate: f64,
    /// How many times the usual latency.
    pub slowness: f64,
    /// How much of the longer task, 0 to 1.
    pub longer: f64,
    /// How often what it sends cannot be answered, and how that ends.
    pub not_counted: (f64, UncountedKind),
    /// How often something is wrong with the answers.
    pub flaw_rate: f64,
    /// Where answers are streamed: how many of them, 0 to 1, and how many times as long they are as the usual.
    pub streamed: f64,
    pub chars: f64,
}

/// How long an answer took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    pub whole_ms: f64,
    /// Until its first words were there, where it was streamed.
    pub first_words_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedUser {
    pub subject: u64,
    /// Below the share, 0 to 1, it is in the candidate.
    pub bucket: f64,
    pub habits: Habits,
}

impl SimulatedUser {
    pub(super) fn new(habits: Habits, random: &mut Random) -> Self {
        Self {
            subject: random.next(),
            bucket: random.unit(),
            habits,
        }
    }
}

impl Habits {
    /// What all have where users are alike.
    pub(super) fn common(scenario: &Scenario) -> Self {
        Self {
            error_rate: scenario.baseline,
            slowness: 1.0,
            longer: 0.0,
            not_counted: (0.0, UncountedKind::BadRequest),
            flaw_rate: match scenario.flaws {
                Flaws::Unseen => 0.0,
                Flaws::Even(rate) | Flaws::Uneven(rate) => rate,
            },
            streamed: 1.0,
            chars: 1.0,
        }
    }

    pub(super) fn draw(scenario: &Scenario, random: &mut Random) -> Self {
        let mut habits = Self::common(scenario);
        if matches!(scenario.users, Population::Uneven(_)) {
            habits.error_rate = random.beta(0.2, 9.8) * scenario.baseline / 0.02;
        }
        if scenario.spread > 0.0 {
            habits.slowness = (scenario.spread * random.normal()).exp();
        }
        if scenario.two_tasks {
            habits.longer = random.beta(0.5, 0.5);
        }
        if scenario.not_counted != NotCounted::Never {
            let kind = UncountedKind::ALL[random.below(UncountedKind::ALL.len())];
            let rate = if random.happens(SCRIPTS) {
                1.0
            } else {
                random.beta(0.2, 6.5)
            };
            habits.not_counted = (rate, kind);
        }
        if let Flaws::Uneven(mean) = scenario.flaws {
            habits.flaw_rate = if random.happens(LONG_WRITERS) {
                OF_LONG_WRITERS
            } else {
                random.beta(0.2, 0.2 * (1.0 - mean) / mean)
            };
        }
        if let Some(streams) = scenario.streams {
            habits.chars = (CHARS_SIGMA * random.normal()).exp();
            if streams.some {
                habits.streamed = random.beta(0.5, 0.5);
            }
        }
        habits
    }

    /// How long an answer takes whose first token is there after so long.
    pub(super) fn answer(
        &self,
        first_ms: f64,
        streams: Option<StreamingTraffic>,
        random: &mut Random,
    ) -> Took {
        let Some(StreamingTraffic {
            later,
            longer,
            pace,
            ..
        }) = streams
        else {
            return Took {
                whole_ms: first_ms,
                first_words_ms: None,
            };
        };
        let first_ms = later * first_ms;
        let chars = longer * self.chars * CHARS * (CHARS_SIGMA * random.normal()).exp();
        let char_ms = pace * CHAR_MS * (CHAR_SIGMA * random.normal()).exp();
        let until = |chars: f64| first_ms + chars * char_ms;
        Took {
            whole_ms: until(chars),
            first_words_ms: random
                .happens(self.streamed)
                .then(|| until(chars.min(FIRST_WORDS))),
        }
    }

    /// How long one request takes, in units of the usual latency.
    pub(super) fn length(&self, random: &mut Random) -> f64 {
        if self.longer > 0.0 && random.happens(self.longer) {
            self.slowness * LONGER
        } else {
            self.slowness
        }
    }
}

/// Users, what is known of the week before, and each user's index as often as its volume asks.
pub(super) fn draw(
    scenario: &Scenario,
    usual: &[f64],
    random: &mut Random,
) -> (Vec<SimulatedUser>, Vec<UserHistory>, Vec<u32>) {
    let (count, is_uneven) = match scenario.users {
        Population::Fresh => (0, false),
        Population::Even(count) => (count, false),
        Population::Uneven(count) => (count, true),
    };
    let volumes: Vec<f64> = (0..count)
        .map(|_| {
            if is_uneven {
                random.normal().exp()
            } else {
                1.0
            }
        })
        .collect();
    let whole: f64 = volumes.iter().sum();
    let (mut users, mut history, mut by_volume) = (Vec::new(), Vec::new(), Vec::new());
    for (index, volume) in (0_u32..).zip(&volumes) {
        let user = SimulatedUser::new(Habits::draw(scenario, random), random);
        let slots = (volume / whole * 65_536.0).round().max(1.0) as usize;
        by_volume.extend(std::iter::repeat_n(index, slots));
        users.push(user);
        let past = match scenario.history {
            WeekBefore::None => continue,
            WeekBefore::NewUsers if random.happens(0.3) => continue,
            WeekBefore::Stale if random.happens(0.5) => Habits::draw(scenario, random),
            _ => user.habits,
        };
        let requests = 7.0 * scenario.requests_per_day * volume / whole;
        let usual_streams = scenario.streams.map(|_| StreamingTraffic::ALL);
        let mut week = week(user.subject, past, requests, usual_streams, usual, random);
        if scenario.flaws != Flaws::Unseen && scenario.knows_flaws {
            week.answers = week.requests - week.errors;
            let flawed = f64::from(week.answers) * past.flaw_rate;
            week.flawed = random.poisson(flawed).min(week.answers);
        }
        history.push(week);
    }
    (users, history, by_volume)
}

/// A week of a user with these habits, who makes so many requests on average.
fn week(
    subject: u64,
    habits: Habits,
    requests: f64,
    streams: Option<StreamingTraffic>,
    usual: &[f64],
    random: &mut Random,
) -> UserHistory {
    let [answered, errors] =
        [1.0 - habits.error_rate, habits.error_rate].map(|part| random.poisson(requests * part));
    let [mut latencies, mut first_words] = [LogLatencies::default(); 2];
    for _ in 0..answered {
        let usual = usual[random.below(usual.len())];
        let took = habits.answer(usual * habits.length(random), streams, random);
        match took.first_words_ms {
            Some(ms) => first_words.add(ms),
            None => latencies.add(took.whole_ms),
        }
    }
    UserHistory {
        subject,
        requests: answered + errors,
        errors,
        latencies,
        first_words,
        ..UserHistory::default()
    }
}
