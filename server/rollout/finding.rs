//! What the judge of a plan finds, whichever judge that is.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::evidence::{Level, UncountedKind, read_finite};
use crate::_core::units::counted;

/// What the judge found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How alarming it is.
    pub level: Level,
    /// What stands in the way, the gravest first. Each is told by itself, so there may be several.
    pub alarms: Vec<Alarm>,
    /// What is proven for the next stage.
    pub proof: Proof,
    /// The evidence over all metrics that the candidate is worse.
    pub e: f64,
    /// Why, in words.
    pub why: String,
    /// The candidate's users since its stage began.
    pub users: u64,
    /// The candidate since its stage began.
    pub candidate: Arm,
    /// Control since the stage began.
    pub control: Arm,
    /// When the last counted request came.
    pub last_request_at: Option<DateTime<Utc>>,
}

/// What stands in the way of a rollout, beside the level of its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Alarm {
    /// What speaks against the candidate looks like an outage, and not like the final one within the plan's period.
    Outage,
    /// The candidate breaks the absolute limit, and control does not.
    LimitBroken,
    /// The candidate was taken back for outcomes that are not counted as errors.
    NotCounted {
        /// Why, in words.
        why: String,
    },
    /// Both arms break the absolute limit.
    BothSidesFailing,
    /// The arms' users are not in the ratio of the share.
    SampleRatio,
    /// The provider refuses our account, which blames no arm.
    Account,
    /// An outcome that is no error meets more of the candidate's users than of control's.
    ExcludedDiffer {
        /// The outcome.
        kind: UncountedKind,
        /// How often on either side, in words.
        figures: String,
    },
    /// The model that judges answers does not count any more; nothing is held for it.
    JudgeStopped {
        /// Why, in words.
        why: String,
    },
}

/// What evidence says of the next stage.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Nothing that would be enough.
    None,
    /// It recommends it to a person.
    Recommended,
    /// It is strong enough to begin it without a person.
    Proven,
}

/// One arm's counted requests since the stage began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arm {
    /// Counted requests.
    pub requests: u64,
    /// Those that failed by the model's or its provider's fault.
    pub errors: u64,
    /// Mean latency in milliseconds; 0 without requests.
    pub average_ms: f64,
    /// Requests that were slow already when they had not ended; most of them are counted above by now.
    #[serde(default)]
    pub hung: u64,
    /// First attempts that ended in a way that is not counted: too long, refused, our account.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_counted: u64,
    /// Mean cost of a request in microdollars; 0 where nothing is known.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub average_cost: f64,
    /// Mean length of an answer in characters; 0 where none was looked at.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub average_chars: f64,
}

fn is_nothing(number: &f64) -> bool {
    *number == 0.0
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Finding {
    /// Whether this alarm, which has nothing to say but itself, is raised.
    pub fn has(&self, alarm: &Alarm) -> bool {
        self.alarms.contains(alarm)
    }

    /// Why the candidate was taken back for outcomes that are not counted, if it was.
    pub fn not_counted(&self) -> Option<&str> {
        self.alarms.iter().find_map(|alarm| match alarm {
            Alarm::NotCounted { why } => Some(&**why),
            _ => None,
        })
    }

    /// Why the model that judges answers does not count any more, where that is so.
    pub fn judge_stopped(&self) -> Option<&str> {
        self.alarms.iter().find_map(|alarm| match alarm {
            Alarm::JudgeStopped { why } => Some(&**why),
            _ => None,
        })
    }

    /// How often outcomes come that are no errors, where the arms differ in them.
    pub fn excluded_differ(&self) -> Option<&str> {
        self.alarms.iter().find_map(|alarm| match alarm {
            Alarm::ExcludedDiffer { figures, .. } => Some(&**figures),
            _ => None,
        })
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, errors) = (self.requests, self.errors);
        if requests == 0 && self.hung == 0 && self.not_counted == 0 {
            return f.write_str("no requests");
        }
        let (requests, errors) = (counted(requests, "request"), counted(errors, "error"));
        let rate = 100.0 * self.error_rate();
        write!(f, "{requests}, {errors} ({rate:.2} %), ")?;
        if self.hung > 0 {
            write!(f, "{} slow before they ended, ", self.hung)?;
        }
        if self.not_counted > 0 {
            write!(f, "{} more not counted, ", self.not_counted)?;
        }
        write!(f, "{:.0} ms on average", self.average_ms)?;
        if self.average_chars > 0.0 {
            write!(f, ", {:.0} characters", self.average_chars)?;
        }
        if self.average_cost > 0.0 {
            write!(f, ", {:.4} US dollars", self.average_cost / 1e6)?;
        }
        Ok(())
    }
}

impl Arm {
    /// First attempts that ended in a way that is not counted, 0 to 1; 0 without attempts.
    pub fn lost(&self) -> f64 {
        match self.requests + self.not_counted {
            0 => 0.0,
            all => self.not_counted as f64 / all as f64,
        }
    }

    /// Failed requests, 0 to 1; 0 without requests.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.errors as f64 / self.requests as f64
        }
    }
}

/// A finding as it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    level: Level,
    #[serde(flatten)]
    found: Found,
    #[serde(deserialize_with = "read_finite")]
    e: f64,
    why: String,
    users: u64,
    candidate: Arm,
    control: Arm,
    last_request_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Now { alarms: Vec<Alarm>, proof: Proof },
    Flags(Flags),
}

/// What releases wrote that knew no alarms.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flags {
    limit_broken: bool,
    both_failing: bool,
    sample_mismatch: bool,
    recommended: bool,
    proven: bool,
    #[serde(default)]
    not_counted: Option<NotCounted>,
    #[serde(default)]
    account_refused: bool,
}

#[derive(Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
enum NotCounted {
    Differs {
        kind: UncountedKind,
        figures: String,
    },
    TakenBack {
        why: String,
    },
}

impl Flags {
    fn read(self) -> (Vec<Alarm>, Proof) {
        let (taken_back, differ) = match self.not_counted {
            Some(NotCounted::TakenBack { why }) => (Some(Alarm::NotCounted { why }), None),
            Some(NotCounted::Differs { kind, figures }) => {
                (None, Some(Alarm::ExcludedDiffer { kind, figures }))
            }
            None => (None, None),
        };
        let alarms = [
            self.limit_broken.then_some(Alarm::LimitBroken),
            taken_back,
            self.both_failing.then_some(Alarm::BothSidesFailing),
            self.sample_mismatch.then_some(Alarm::SampleRatio),
            self.account_refused.then_some(Alarm::Account),
            differ,
        ];
        let proof = match (self.proven, self.recommended) {
            (true, _) => Proof::Proven,
            (false, true) => Proof::Recommended,
            (false, false) => Proof::None,
        };
        (alarms.into_iter().flatten().collect(), proof)
    }
}

impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let (alarms, proof) = match stored.found {
            Found::Now { alarms, proof } => (alarms, proof),
            Found::Flags(flags) => flags.read(),
        };
        Ok(Self {
            level: stored.level,
            alarms,
            proof,
            e: stored.e,
            why: stored.why,
            users: stored.users,
            candidate: stored.candidate,
            control: stored.control,
            last_request_at: stored.last_request_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn stored(found: Value) -> Value {
        let arm = json!({"requests": 7, "errors": 1, "averageMs": 120.5, "hung": 0});
        let mut finding = json!({
            "level": "hold", "e": 0.1, "why": "so", "users": 3,
            "candidate": arm, "control": arm, "lastRequestAt": null,
        });
        let (Some(all), Value::Object(found)) = (finding.as_object_mut(), found) else {
            unreachable!("both are objects")
        };
        all.extend(found);
        finding
    }

    #[test]
    fn what_earlier_releases_stored_is_read() {
        let flags = json!({
            "limitBroken": false, "bothFailing": true, "sampleMismatch": false,
            "recommended": true, "proven": false, "accountRefused": true,
            "notCounted": {"name": "differs", "kind": "refused", "figures": "f"},
        });
        let now = json!({
            "alarms": [
                {"name": "both-sides-failing"},
                {"name": "account"},
                {"name": "excluded-differ", "kind": "refused", "figures": "f"},
            ],
            "proof": "recommended",
        });
        let read: Finding = from_value(stored(flags)).expect("a finding");
        assert_eq!(to_value(&read).expect("JSON"), stored(now.clone()));
        assert_eq!(from_value::<Finding>(stored(now)).expect("the same"), read);
    }

    #[test]
    fn a_finding_that_lacks_what_was_found_is_none() {
        for found in [
            json!({}),
            json!({"alarms": []}),
            json!({"limitBroken": true}),
        ] {
            from_value::<Finding>(stored(found)).expect_err("not whole");
        }
    }
}
