//! What came of placebo rollouts, and what of them a plan may demand before it begins.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span;
use crate::_core::actor::Actor;

/// What came of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceboStage {
    /// Percent of the users.
    pub share: f64,
    /// Hours of it that the traffic was long enough for; 0 where it was not reached.
    pub hours: f64,
    /// Hours that it lasts.
    pub soak_hours: f64,
    /// Rollouts that were held in it.
    pub held: u32,
    /// Rollouts that it took back.
    pub taken_back: u32,
}

/// What came of all rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placebo {
    /// The plan.
    pub plan: String,
    /// How many there were.
    pub rollouts: u32,
    /// Of how many requests each was made.
    pub requests: usize,
    /// Later events that were one too many, and left out.
    pub left_out: u64,
    /// By how many users.
    pub users: usize,
    /// Over how many days.
    pub days: f64,
    /// In the order of the plan.
    pub stages: Vec<PlaceboStage>,
    /// Rollouts that were held at least once, and not taken back.
    pub held: u32,
    /// Rollouts that were taken back.
    pub taken_back: u32,
    /// The part that is taken back is within these limits with a probability of 95 %.
    pub limits: (f64, f64),
    /// What a plan's tests may take back without a cause.
    pub alpha: f64,
    /// How many were taken back by each metric, or by each other test.
    pub by: BTreeMap<String, u32>,
}

impl Placebo {
    /// Whether more are taken back than chance explains.
    pub fn is_too_often(&self) -> bool {
        self.limits.0 > self.alpha
    }
}

impl fmt::Display for Placebo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            rollouts,
            requests,
            users,
            days,
            ..
        } = self;
        writeln!(
            f,
            "{rollouts} placebo rollouts of `{plan}`: {requests} requests that control answered, by {users} users in \
             {days:.1} days, divided anew"
        )?;
        if self.left_out > 0 {
            writeln!(
                f,
                "the first {requests} requests are used; {} later events are left out",
                self.left_out
            )?;
        }
        writeln!(
            f,
            "{:<8}{:>8}{:>18}{:>8}{:>14}",
            "stage", "share", "seen", "held", "taken back"
        )?;
        for (n, stage) in self.stages.iter().enumerate() {
            let seen = match stage.hours {
                0.0 => "not reached".to_owned(),
                hours => format!("{hours:.0} of {:.0} h", stage.soak_hours),
            };
            let share = format!("{} %", stage.share);
            let (held, taken_back) = (stage.held, stage.taken_back);
            writeln!(
                f,
                "{:<8}{share:>8}{seen:>18}{held:>8}{taken_back:>14}",
                n + 1
            )?;
        }
        let percent = |count: u32| 100.0 * f64::from(count) / f64::from((*rollouts).max(1));
        let (low, high) = self.limits;
        write!(
            f,
            "taken back without a cause: {} of {rollouts} ({:.1} %, with a probability of 95 % from {:.1} to {:.1} %; \
             meant are {:.1} %)",
            self.taken_back,
            percent(self.taken_back),
            100.0 * low,
            100.0 * high,
            100.0 * self.alpha
        )?;
        let by = self
            .by
            .iter()
            .map(|(what, count)| format!("{what} {count}"));
        let by: Vec<_> = by.collect();
        if !by.is_empty() {
            write!(f, ", by {}", by.join(", "))?;
        }
        write!(
            f,
            "\nheld, and not taken back: {} of {rollouts} ({:.1} %)",
            self.held,
            percent(self.held)
        )
    }
}

/// Placebo rollouts that were made.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPlacebo {
    /// Its id.
    pub id: String,
    /// When they were made.
    pub at: DateTime<Utc>,
    /// By whom.
    pub actor: Actor,
    /// What came of them.
    pub placebo: Placebo,
}

impl KeptPlacebo {
    /// What came of them, in a sentence or two.
    pub fn in_words(&self) -> String {
        let Placebo {
            plan,
            rollouts,
            taken_back,
            held,
            requests,
            alpha,
            ..
        } = &self.placebo;
        let day = self.at.format("%Y-%m-%d");
        let found = format!(
            "the placebo of `{plan}` of {day}: of {rollouts} rollouts in which nothing was worse, on {requests} requests of \
             this server, {taken_back} were taken back and {held} held"
        );
        if self.placebo.is_too_often() {
            let meant = alpha * 100.0;
            format!(
                "{found}, which is more than the {meant:.1} % that its tests are meant to take back"
            )
        } else {
            found
        }
    }
}

/// The placebo that a plan demands before its rollout begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceboDemand {
    /// How old it may be.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub max_age: Duration,
}

impl PlaceboDemand {
    /// Why a rollout of this plan may not begin; `None` where it may.
    pub fn refusal(
        &self,
        plan: &str,
        newest: Option<&KeptPlacebo>,
        now: DateTime<Utc>,
    ) -> Option<String> {
        let max_age = TimeDelta::from_std(self.max_age).unwrap_or(TimeDelta::MAX);
        let why = match newest {
            None => "none is kept".to_owned(),
            Some(kept) if kept.placebo.is_too_often() => kept.in_words(),
            Some(kept) if now - kept.at > max_age => {
                format!("the newest, of {}, is too old", kept.at.format("%Y-%m-%d"))
            }
            Some(_) => return None,
        };
        let age = humantime::format_duration(self.max_age);
        Some(format!(
            "plan `{plan}` demands placebo rollouts on this server's traffic, not older than {age}, of which no more are \
             taken back than chance explains; {why}. `modelramp rollout placebo --plan {plan} --keep` makes them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(taken_back: u32, low: f64) -> KeptPlacebo {
        let text = format!(
            r#"{{"plan": "p", "rollouts": 200, "requests": 9000, "leftOut": 0, "users": 90, "days": 7.0, "stages": [],
                "held": 1, "takenBack": {taken_back}, "limits": [{low}, 0.2], "alpha": 0.012, "by": {{}}}}"#
        );
        KeptPlacebo {
            id: "1".to_owned(),
            at: DateTime::from_timestamp(1_762_637_425, 0).expect("a time"),
            actor: Actor::Controller,
            placebo: serde_json::from_str(&text).expect("a placebo"),
        }
    }

    #[test]
    fn a_plan_that_demands_one_begins_with_one_that_is_good_and_new_enough() {
        let demand = PlaceboDemand {
            max_age: Duration::from_secs(86_400),
        };
        let good = kept(1, 0.0);
        let at = good.at;
        let refusal = |kept: Option<&KeptPlacebo>, hours| {
            demand.refusal("p", kept, at + TimeDelta::hours(hours))
        };
        assert_eq!(refusal(Some(&good), 24), None);
        for (kept, hours, why) in [
            (None, 0, "none is kept"),
            (Some(&good), 25, "of 2025-11-08, is too old"),
            (Some(&kept(40, 0.15)), 1, "more than the 1.2 %"),
        ] {
            let refused = refusal(kept, hours).expect("a refusal");
            assert!(refused.contains(why), "{refused}");
            assert!(refused.contains("1day"), "{refused}");
        }
    }
}
