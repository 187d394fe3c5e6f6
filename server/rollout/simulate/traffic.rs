//! Simulated traffic: what is simulated. docs/statistics.md, "The world", has the scenarios.

mod habits;
mod requests;

pub(super) use self::requests::Traffic;
use crate::_core::units::Percent;

pub(super) const HOUR_MS: f64 = 3_600_000.0;
pub(super) const DAY_MS: f64 = 24.0 * HOUR_MS;
/// Where the simulated clock begins, in milliseconds since 1970.
pub(super) const BEGIN_MS: i64 = 1_700_000_000_000;

/// Who makes the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Population {
    /// A new one for each request: the ground on which formulas are compared.
    Fresh,
    /// So many, alike.
    Even(usize),
    /// So many; their error rates vary as Beta(.2, 9.8) does, their volumes are log-normal, σ = 1.
    Uneven(usize),
}

/// When they make them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// At the same rate all the time.
    Steady,
    /// 60 % more at one time of the day, 60 % less at another.
    Daily,
    /// Steadily, but three to five users at a time, each with so many requests.
    Sessions(u32),
}

/// Outcomes that are not counted as errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NotCounted {
    /// None.
    Never,
    /// On both arms alike. Users differ: their rates vary as Beta(.2, 6.5) does, 3 % on average, each by
    /// one kind; and one user in a hundred is a script that never sends what can be answered.
    Alike,
    /// The same; and of the candidate's other requests this share ends so.
    More(f64),
}

/// How often something is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flaws {
    /// Answers are not looked at.
    Unseen,
    /// As often with each user.
    Even(f64),
    /// So often on average, and with a user as Beta(.2, …) says; one in fifty is a long writer, of whom half of
    /// the answers are cut off.
    Uneven(f64),
}

/// That answers are streamed, and how long they are. What users wait for is what all latencies are without streams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StreamingTraffic {
    /// Each user has a part of the requests streamed, as Beta(.5, .5) says; else all of them are.
    pub some: bool,
    /// How many times as late the candidate's first token comes.
    pub later: f64,
    /// How many times as much it writes.
    pub longer: f64,
    /// How many times as long it takes for each character.
    pub pace: f64,
}

impl StreamingTraffic {
    /// All is streamed, and both arms are alike.
    pub(super) const ALL: Self = Self {
        some: false,
        later: 1.0,
        longer: 1.0,
        pace: 1.0,
    };
}

/// What is known of the week before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WeekBefore {
    /// Users had the habits that they have.
    Fresh,
    /// Half of them had others.
    Stale,
    /// Three in ten were not there.
    NewUsers,
    /// Nothing.
    None,
}

/// Whose requests fail in an outage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Both,
    Candidate,
    Control,
}

/// A time in which this part of the requests fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SimulatedOutage {
    pub of: Side,
    pub rate: f64,
    pub minutes: f64,
    /// Each day, or once within six.
    pub is_daily: bool,
}

/// From which hour on how many percent of the users are in the candidate.
pub(super) const RAMP: &[(f64, f64)] = &[(0.0, 1.0), (24.0, 10.0), (72.0, 50.0), (120.0, 95.0)];

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub users: Population,
    pub arrivals: Arrivals,
    /// Percent of users in the candidate, where there is no ramp.
    pub share: f64,
    pub ramp: Option<&'static [(f64, f64)]>,
    pub requests_per_day: f64,
    /// Control's mean error rate.
    pub baseline: f64,
    /// The standard deviation of the logarithm of the users' median latencies; within a user it is .6.
    pub spread: f64,
    /// There are two tasks, one of which takes four times as long; each user has a mix of them.
    pub two_tasks: bool,
    pub history: WeekBefore,
    /// Requests are given up after 8 s, and often asked again; so are those that failed.
    pub impatient: bool,
    pub outage: Option<SimulatedOutage>,
    /// How many times as often the candidate fails.
    pub ratio: f64,
    /// How many times as long it takes.
    pub slower: f64,
    /// None where answers come as a whole.
    pub streams: Option<StreamingTraffic>,
    /// Outcomes that are no errors.
    pub not_counted: NotCounted,
    /// What is wrong with answers, on both sides.
    pub flaws: Flaws,
    /// Whether answers were looked at in the week before.
    pub knows_flaws: bool,
    /// How many times as often something is wrong with the candidate's.
    pub flaws_ratio: f64,
    /// And of those with which nothing is, with this part.
    pub more_flaws: f64,
    /// From this hour on; before, it is like control.
    pub bad_from_hour: f64,
}

impl Scenario {
    /// 10,000 requests a day by 1,000 users, both arms alike.
    pub(super) const fn new(share: f64, baseline: f64) -> Self {
        Self {
            users: Population::Even(1_000),
            arrivals: Arrivals::Steady,
            share,
            ramp: None,
            requests_per_day: 10_000.0,
            baseline,
            spread: 0.0,
            two_tasks: false,
            history: WeekBefore::Fresh,
            impatient: false,
            outage: None,
            ratio: 1.0,
            slower: 1.0,
            streams: None,
            not_counted: NotCounted::Never,
            flaws: Flaws::Unseen,
            knows_flaws: true,
            flaws_ratio: 1.0,
            more_flaws: 0.0,
            bad_from_hour: 0.0,
        }
    }

    /// How long the plans that ship wait from where an outage is found to where the candidate comes back;
    /// none where its probes fail for two hours.
    pub(super) fn hours_of_an_outage(&self) -> Option<f64> {
        const CALM_MINUTES: f64 = 30.0;
        const MOST_FAILING_MINUTES: f64 = 120.0;
        let minutes = match self.outage {
            Some(outage) if outage.of != Side::Control => outage.minutes,
            _ => 0.0,
        };
        (minutes < MOST_FAILING_MINUTES).then_some((CALM_MINUTES + minutes) / 60.0)
    }

    /// The share that is in force.
    pub(super) fn share_at(&self, hours: f64) -> Percent {
        let of_ramp = self
            .ramp
            .and_then(|ramp| ramp.iter().rev().find(|(from, _)| hours >= *from));
        let share = of_ramp.map_or(self.share, |(_, share)| *share);
        Percent::new(share).unwrap_or_default()
    }
}
