//! What the history keeps of a change: what was done, by whom, where the rollout was before and after,
//! and what was known.
//!
//! It is stored as JSON, and read back as these types by whoever explains, reports or replays. A record
//! that cannot be read is said to be damaged; it never passes for a calm one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    evidence::Verdict,
    finding::Finding,
    observation::Step,
    status::{RunState, Status},
};
use crate::_core::units::Percent;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The rollout began.
    Started,
    /// A person stopped its ramp.
    Paused,
    /// Its ramp goes on.
    Resumed,
    /// Its ramp froze for a cause.
    Held,
    /// It came to a gate and asks a person.
    Asked,
    /// A person opened the gate.
    Approved,
    /// A stage began.
    Advanced,
    /// A person moved the share within the stage.
    ShareSet,
    /// The last stage was over.
    Completed,
    /// Everybody went back to control.
    RolledBack,
    /// A person let go of it after its end.
    Released,
    /// What is stored is none of these: it is damaged, or of a later release.
    Unknown,
}

impl Action {
    /// All that are stored.
    const ALL: [Self; 11] = [
        Self::Started,
        Self::Paused,
        Self::Resumed,
        Self::Held,
        Self::Asked,
        Self::Approved,
        Self::Advanced,
        Self::ShareSet,
        Self::Completed,
        Self::RolledBack,
        Self::Released,
    ];

    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Held => "held",
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Advanced => "advanced",
            Self::ShareSet => "share-set",
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
            Self::Released => "released",
            Self::Unknown => "unknown",
        }
    }

    /// The action of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a rollout was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// What it was doing.
    pub state: RunState,
    /// The stage it was in, counted from 0.
    pub stage: usize,
    /// Subjects below this share got the candidate.
    pub share: Percent,
    /// Milliseconds of the stage's soak that had passed.
    #[serde(default)]
    pub soaked_ms: u64,
}

impl Standing {
    /// Where a rollout is.
    pub fn of(status: &Status) -> Self {
        Self {
            state: status.state,
            stage: status.stage,
            share: status.share,
            soaked_ms: status.soaked_ms,
        }
    }
}

/// `running, stage 1, 10 %`.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, stage) = (self.state.name(), self.stage + 1);
        write!(f, "{state}, stage {stage}, {} %", self.share)
    }
}

/// What was known when it was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The number of the last event that was known.
    pub cursor: i64,
    /// The moment of the decision, in milliseconds since 1970.
    pub at_ms: i64,
    /// What the evidence was given of it.
    pub step: Step,
    /// What the plan's judge found; none at a start, which a person decides on nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The evidence in figures; none at a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// At a start: the models of both arms, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<String>,
    /// At a start: whom it moves from which model to which, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<String>,
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is damaged: {0}")]
pub struct Damaged(pub String);

impl Record {
    /// Reads what was stored of an action.
    pub fn read(text: &str, action: Action) -> Result<Self, Damaged> {
        let record: Self =
            serde_json::from_str(text).map_err(|fault| Damaged(fault.to_string()))?;
        let is_judged = record.finding.is_some() && record.verdict.is_some();
        if is_judged || action == Action::Started {
            Ok(record)
        } else {
            Err(Damaged("it lacks what was found".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_as_they_are_written() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.name()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.name());
        }
        for none in ["undone", "unknown", "", "STARTED"] {
            assert_eq!(Action::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_record_without_a_finding_is_damaged_but_at_a_start() {
        let text = r#"{"cursor":7,"atMs":1,"step":{"name":"none"}}"#;
        assert_eq!(Record::read(text, Action::Started).unwrap().cursor, 7);
        for (text, action) in [
            (text, Action::RolledBack),
            ("null", Action::Started),
            ("{}", Action::Started),
            (
                r#"{"cursor":7,"atMs":1,"step":{"name":"jump"}}"#,
                Action::Started,
            ),
            (
                r#"{"cursor":7,"atMs":1,"step":{"name":"none"},"finding":{},"verdict":{}}"#,
                Action::Held,
            ),
            ("", Action::Paused),
        ] {
            assert!(Record::read(text, action).is_err(), "{text}");
        }
    }
}
