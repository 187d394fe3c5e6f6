//! Placebo rollouts that are kept, and what of them a plan may demand before it begins.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    plan::span,
    simulate::placebo::{ControlLog, Placebo},
};
use crate::_core::actor::Actor;

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

/// Where they are kept, and what they are made of.
#[async_trait]
pub trait PlaceboStore: Send + Sync {
    /// Keeps one.
    async fn add_placebo(&self, placebo: &KeptPlacebo) -> anyhow::Result<()>;

    /// The newest ones, the newest first, at most `limit`.
    async fn placebos(&self, limit: u32) -> anyhow::Result<Vec<KeptPlacebo>>;

    /// What control answered of these tasks, or of all where there are none, from a time on; the first requests, at most
    /// `most`.
    async fn control_traffic(
        &self,
        tasks: &[String],
        span: (DateTime<Utc>, DateTime<Utc>),
        most: usize,
    ) -> anyhow::Result<ControlLog>;
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
