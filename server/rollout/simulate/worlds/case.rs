//! What a world is: who asks, what happens to them, and what is expected of the rollout.

use super::HOUR;

/// A team, and the plan that ships for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Team {
    /// The plan `small`: users at work, from 8 to 18 h on five days, a twentieth as often else.
    Small,
    /// The plan `standard`: users at all hours, in a daily cycle.
    Standard,
}

/// What is odd about a world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Oddity {
    None,
    /// A script that makes half of all requests, evenly, and hardly ever fails.
    Cron {
        is_new: bool,
    },
    /// From 15 to 17 h on working days answers take three times as long: the candidate's where it is worse, else both sides'.
    Peak,
    /// A model that was idle for five minutes needs 15 s more.
    Cold,
    /// One request in a hundred fails whoever is asked, and is asked again at once, up to ten times.
    Poison,
    /// Each day one user in twenty fails in 40 % of the requests.
    BadDays,
    /// One user in ten sends long prompts, on which a worse candidate fails.
    Long,
    /// From 18 h on a worse candidate's provider refuses: its own limit, or our account's.
    Quota {
        is_accounts: bool,
    },
    /// The more requests an arm has the more of them are answered by its provider's cache.
    Cache,
    /// Three fifths of the requests come within 20 minutes of each working day, and take three times as long.
    Wave,
    /// A person moves the share up and down every eight hours.
    ByHand,
    /// Everybody is behind one id.
    OneId,
    /// Five users send fifty requests at once; three such bursts in a hundred fail as a whole.
    Agents,
    /// Streams that two in five leave after the first words, and whoever waited for 8 s.
    Leave,
    /// Each provider by itself is away for 1 to 3 minutes, so many times a day: control's, and the candidate's.
    Storms(f64, f64),
    /// The same for 4 to 8 minutes.
    LongStorms(f64, f64),
    /// The candidate's provider is away for 3 minutes on the fourth day, three times, one so long after the other.
    Thrice {
        every_minutes: f64,
    },
    /// Each provider by itself is away for 1 to 3 minutes, five times between 0 and 6 h of each night.
    NightStorms,
    /// Each provider by itself is away in every other minute of an hour, so many times a day: control's, and the candidate's.
    Turns(u32, u32),
    /// The candidate's is in every other minute, from a worse one's hour on.
    TurnsForGood,
    /// Each provider by itself is away for so many minutes, so many times a day: control's, and the candidate's.
    Minutes(f64, f64, f64),
    /// Each by itself fails in two of three requests for 20 minutes, once a day.
    BrownOut,
    /// Each by itself lets all requests hang for 5 minutes, three times a day.
    Slowly,
    /// The candidate's is away for 5 minutes, from 2 minutes after each stage has begun.
    AtRamp,
    /// Each Monday control's is away from 9:00 to 10:00, the candidate's 5 minutes later.
    Mondays,
    /// Each by itself is away for an hour, once within ten days.
    HourOnce,
    /// A worse candidate fails in half of its requests.
    Half,
    /// Twelve minutes of maintenance a night, at an hour of its own for each, or at the same one.
    Night {
        is_common: bool,
    },
    /// A candidate that refuses more than three requests a minute.
    PerMinute,
    /// The office's clocks go forward on the first Sunday.
    ClockChange,
    /// A person pauses from hour 24 to hour 96.
    Pause,
    /// A tenth of the users had a candidate that failed three times as often in the week of the past.
    Second,
    /// Answers take 4 % longer, and fail 4 % more often, each day.
    Growing,
    /// Half of the users leave for good within eight days; a worse candidate drives away a user by one failure in ten.
    LeaveForGood,
    /// A bot joins at 50 % that makes half of all requests and fails in 6 %.
    Bot,
    /// Both sides are three times as slow on the third day, and fail in 5 % more of the requests.
    SlowDay,
    /// A worse candidate fails in half of its requests for one hour, twice a week.
    Bursts,
    /// Nobody asks from Friday 18 h to Monday 8 h.
    DeadWeekends,
    /// What failed is asked again under a new id.
    AnotherId,
    /// On the third day a fifth of the users become one with others.
    Merged,
    /// Control's errors grow from 2 to 6 % over ten days.
    ControlDecays,
    /// A worse candidate fails a quarter more of control's errors more often each day.
    Drip,
    /// Each night at 3 h a job of one user sends 300 requests in ten minutes; a provider takes 20 a minute, from whomever.
    Job,
    /// A worse candidate is so many times slower for half of the users, and as much faster for the others.
    Regions,
    /// The server's clock goes an hour forward in the second night, and back in the third.
    ClockJumps,
}

/// What was expected before it was run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expected {
    /// Taken back in at most this part of the rollouts.
    AtMost(f64),
    /// In at least this part.
    AtLeast(f64),
    /// In at least this part before this hour; who is taken back later was not found in time.
    AtLeastBy(f64, f64),
    /// Nothing that a figure could miss; the page says what.
    Told,
}

/// One world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub name: &'static str,
    pub oddity: Oddity,
    pub expected: Expected,
    /// It was written down before the tests were changed, and was run once before anything else was.
    pub is_unseen: bool,
    pub team: Team,
    pub users: usize,
    pub per_day: f64,
    /// Control's error rate, 0 to 1.
    pub errors: f64,
    /// The candidate fails so many times as often, or always where that is infinite.
    pub ratio: f64,
    /// Its answers take so many times as long.
    pub slower: f64,
    /// It does from this hour on.
    pub from_hour: f64,
    /// How long it is looked at.
    pub days: f64,
}

/// The plan `small`, as written in docs/statistics.md.
pub(super) const T: Case = Case {
    name: "",
    oddity: Oddity::None,
    expected: Expected::AtMost(0.012),
    is_unseen: false,
    team: Team::Small,
    users: 25,
    per_day: 1_000.0,
    errors: 0.03,
    ratio: 1.0,
    slower: 1.0,
    from_hour: 0.0,
    days: 24.0,
};

/// The plan `standard`.
pub(super) const M: Case = Case {
    team: Team::Standard,
    users: 400,
    per_day: 6_000.0,
    errors: 0.02,
    days: 16.0,
    ..T
};

impl Case {
    /// How far the server's clock is ahead, in milliseconds.
    pub(super) fn clock_ahead_ms(&self, at_ms: f64) -> f64 {
        let is_ahead = (41.0 * HOUR..65.0 * HOUR).contains(&at_ms);
        match self.oddity {
            Oddity::ClockJumps if is_ahead => HOUR,
            _ => 0.0,
        }
    }

    pub(super) const fn plan(&self) -> &'static str {
        match self.team {
            Team::Small => "small",
            Team::Standard => "standard",
        }
    }

    /// Whether something is wrong with the candidate.
    pub(super) fn is_worse(&self) -> bool {
        self.ratio > 1.0 || self.slower > 1.0
    }
}
