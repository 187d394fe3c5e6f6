//! What one arm has seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::providers::quality::Quality;

/// What one arm has seen since the rollout began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmCounts {
    /// Users, each counted in the arm where it was first seen; a lower bound for many.
    pub users: u64,
    /// Requests.
    pub requests: u64,
    /// Of them failed, timeouts included.
    pub errors: u64,
    /// Of them ended by our own time limit.
    pub timeouts: u64,
    /// Answers rated good.
    // As earlier releases stored it.
    #[serde(alias = "good_ratings")]
    pub good_ratings: u64,
    /// Answers rated bad.
    #[serde(alias = "bad_ratings")]
    pub bad_ratings: u64,
    /// Answers that were looked at, where their quality is judged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answers: u64,
    /// Of them refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Of them cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated: u64,
    /// Of them not of the task's schema.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub schema_invalid: u64,
    /// Of them in another language than the question.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wrong_language: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ArmCounts {
    pub(super) fn add_answer(&mut self, quality: Quality) {
        self.answers += 1;
        match quality {
            Quality::Good => {}
            Quality::Refused => self.refused += 1,
            Quality::Truncated => self.truncated += 1,
            Quality::SchemaInvalid => self.schema_invalid += 1,
            Quality::WrongLanguage => self.wrong_language += 1,
        }
    }

    /// The part of the answers in which something is wrong, 0 to 1; 0 without answers.
    pub fn flawed_rate(&self) -> f64 {
        let flawed = self.refused + self.truncated + self.schema_invalid + self.wrong_language;
        flawed as f64 / self.answers.max(1) as f64
    }

    /// Answers in which something is wrong, in words; empty where no answer was looked at.
    pub fn flaws(&self) -> String {
        let flaws = [
            (self.refused, "refused"),
            (self.truncated, "cut off"),
            (self.schema_invalid, "not of the schema"),
            (self.wrong_language, "in another language"),
        ];
        let flawed: u64 = flaws.iter().map(|(count, _)| count).sum();
        let by_kind: Vec<_> = flaws
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        match (self.answers, &by_kind[..]) {
            (0, _) => String::new(),
            (answers, []) => format!("none of {answers} answers"),
            (answers, kinds) => format!("{flawed} of {answers} answers ({})", kinds.join(", ")),
        }
    }
}
