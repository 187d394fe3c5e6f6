//! What happened to an attempt at a model, as it is numbered and stored, and what of it deserves a line
//! in the log.
//!
//! An attempt ends once, with a success, a fault, or cancelled; only its end is in the windows and sums.
//! Three more kinds of events go to rollouts alone: that an attempt is still open although it is
//! slow already, what a user thought of an answer, and what a model found that judges answers.

use std::sync::Arc;

use super::{
    first_words::{FIRST_WORDS, first_words_ms},
    outcome::{Judgement, Outcome},
};
use crate::{
    _core::{
        assignment::{Subject, Variant},
        units::Microdollars,
    },
    providers::{fault::Cause, finish::Finish, quality::Quality},
};

/// Attempts slower than this are logged as warnings.
const SLOW_MS: f64 = 5_000.0;

/// What happened to one attempt at one model.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened, in milliseconds since 1970: for an attempt's end, that end.
    pub at_ms: i64,
    /// The call it belongs to.
    pub request_id: Arc<str>,
    /// Whose call, where known.
    pub user_id: Option<i64>,
    /// Its number in the log, given when it is taken up for storing; 0 before.
    pub seq: i64,
    /// [`Subject::key`](crate::_core::assignment::Subject::key) of whom the variant was decided for.
    pub subject: Option<u64>,
    /// The rollout that decided the variant, where one covers the task.
    pub rollout: Option<Arc<str>>,
    /// Whether the attempt is one that evidence counts: the first on the primary model of a route
    /// whose other arm has another primary, for a subject that is on no list and names no model.
    pub counted: bool,
    /// Whether an earlier event already reported the attempt as open and slow.
    pub was_open: bool,
    /// The catalog's name of the model.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The variant it was for.
    pub variant: Variant,
    /// 0 for the primary, then the fallbacks.
    pub position: u8,
    /// From sending to the whole answer, or to now; finite, at least 0.
    pub latency_ms: f64,
    /// To the first token of the answer, where it was streamed. What a model only thinks is none.
    pub first_token_ms: Option<f64>,
    /// To its first 100 characters, where it was streamed and has as many.
    pub words_ms: Option<u32>,
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// What it cost.
    pub cost: Microdollars,
    /// What happened.
    pub outcome: Outcome,
    /// What the answer is, where one came that was looked at.
    pub quality: Option<Quality>,
    /// Characters of the answer's text, where it was looked at; of one whose caller went away, those that came.
    pub answer_chars: Option<u32>,
    /// The HTTP status of a refusal, or the number in an error that came inside a 200.
    pub status: Option<u16>,
    /// What went wrong, finer than the kind of the fault; none where nothing did.
    pub cause: Option<Cause>,
    /// Why the model stopped writing, where it is not that it had said everything.
    pub finish: Option<Finish>,
}

/// An attempt as it begins.
pub struct Attempted<'a> {
    /// The call it belongs to.
    pub request_id: Arc<str>,
    /// For whom the variant was decided.
    pub subject: Option<&'a Subject>,
    /// The rollout that decided the variant, where one covers the task.
    pub rollout: Option<Arc<str>>,
    /// Whether evidence counts it.
    pub counted: bool,
    /// The catalog's name of the model.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The variant it is for.
    pub variant: Variant,
    /// 0 for the primary, then the fallbacks.
    pub position: usize,
}

/// A user's rating of an answer.
pub struct RatedAnswer {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The call that gave the answer.
    pub request_id: Arc<str>,
    /// [`Subject::key`] of whom the variant was decided for.
    pub subject: u64,
    /// The rollout that decided it.
    pub rollout: Arc<str>,
    /// The model that answered.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The variant it was for.
    pub variant: Variant,
    /// It helped.
    pub good: bool,
}

/// What was found of one side's answer to a question that both sides got.
pub struct JudgedAnswer {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The call whose question it was.
    pub request_id: Arc<str>,
    /// The rollout whose models are compared.
    pub rollout: Arc<str>,
    /// The model that answered.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// Its side.
    pub variant: Variant,
    /// What was found.
    pub judgement: Judgement,
    /// What the pair cost, where that is told of this side: both answers and their verdicts.
    pub cost: Microdollars,
}

/// Why an event is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidEvent {
    /// `latency_ms` is negative or not finite.
    #[error("`latency_ms` is {0}; expected a finite number, at least 0")]
    Latency(f64),
    /// `first_token_ms` is negative or not finite.
    #[error("`first_token_ms` is {0}; expected a finite number, at least 0")]
    FirstToken(f64),
}

impl Event {
    /// Whether so many characters are the first words of an answer.
    pub const fn are_first_words(chars: u32) -> bool {
        chars >= FIRST_WORDS
    }

    /// An attempt that begins. Until it is known how it ends, its caller has gone away.
    pub fn of_attempt(attempted: Attempted<'_>) -> Self {
        let Attempted {
            request_id,
            subject,
            rollout,
            counted,
            model,
            task,
            variant,
            position,
        } = attempted;
        Self {
            at_ms: 0,
            request_id,
            user_id: match subject {
                Some(Subject::User(id)) => Some(*id),
                _ => None,
            },
            seq: 0,
            subject: subject.map(Subject::key),
            rollout,
            counted,
            was_open: false,
            model,
            task,
            variant,
            // No route is as long as that.
            position: u8::try_from(position).unwrap_or(u8::MAX),
            latency_ms: 0.0,
            first_token_ms: None,
            words_ms: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            cost: Microdollars::default(),
            outcome: Outcome::Cancelled,
            quality: None,
            answer_chars: None,
            status: None,
            cause: None,
            finish: None,
        }
    }

    /// Milliseconds until the first words of a streamed answer were there ([`first_words_ms`]); none where it is not known
    /// that they were.
    pub fn first_words_ms(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Success | Outcome::Refused => {}
            Outcome::Cancelled if self.answer_chars >= Some(FIRST_WORDS) => {}
            _ => return None,
        }
        first_words_ms(
            self.latency_ms,
            self.first_token_ms,
            self.words_ms,
            self.answer_chars,
        )
    }

    /// This attempt, while it is still open.
    pub fn late(&self, at_ms: i64, latency_ms: f64) -> Self {
        Self {
            at_ms,
            latency_ms,
            outcome: Outcome::Open,
            ..self.clone()
        }
    }

    /// A rating, for the rollout that gave the answer.
    pub fn rated(rated: RatedAnswer) -> Self {
        let attempt = Self::of_attempt(Attempted {
            request_id: rated.request_id,
            subject: None,
            rollout: Some(rated.rollout),
            counted: true,
            model: rated.model,
            task: rated.task,
            variant: rated.variant,
            position: 0,
        });
        Self {
            at_ms: rated.at_ms,
            subject: Some(rated.subject),
            outcome: Outcome::Rated { good: rated.good },
            ..attempt
        }
    }

    /// What was found of an answer, for the rollout whose models are compared.
    pub fn judged(judged: JudgedAnswer) -> Self {
        let attempt = Self::of_attempt(Attempted {
            request_id: judged.request_id,
            subject: None,
            rollout: Some(judged.rollout),
            counted: false,
            model: judged.model,
            task: judged.task,
            variant: judged.variant,
            position: 0,
        });
        Self {
            at_ms: judged.at_ms,
            cost: judged.cost,
            outcome: Outcome::Judged(judged.judgement),
            ..attempt
        }
    }

    /// Whether the durations can be counted.
    pub fn validate(&self) -> Result<(), InvalidEvent> {
        let is_duration = |ms: f64| ms.is_finite() && ms >= 0.0;
        if !is_duration(self.latency_ms) {
            return Err(InvalidEvent::Latency(self.latency_ms));
        }
        match self.first_token_ms {
            Some(ms) if !is_duration(ms) => Err(InvalidEvent::FirstToken(ms)),
            _ => Ok(()),
        }
    }

    /// The original's line for a failed attempt; the error is its kind, never the upstream's text.
    pub fn failure_line(&self) -> Option<String> {
        matches!(self.outcome, Outcome::Fault(_)).then(|| {
            format!(
                "[AI Metrics] Error: Model={}, Task={}, Error={}",
                self.model,
                self.task,
                self.outcome.name()
            )
        })
    }

    /// The original's line for an attempt of more than five seconds.
    pub fn slow_line(&self) -> Option<String> {
        (self.latency_ms > SLOW_MS).then(|| {
            format!(
                "[AI Metrics] Slow response: {}ms, Model={}, Task={}",
                self.latency_ms, self.model, self.task
            )
        })
    }

    /// Writes what deserves a line to the server's log.
    pub fn log(&self) {
        if let Some(line) = self.failure_line() {
            tracing::error!(target: "ai_metrics", request_id = &*self.request_id, "{line}");
        }
        if let Some(line) = self.slow_line() {
            tracing::warn!(target: "ai_metrics", request_id = &*self.request_id, "{line}");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::providers::fault::FaultKind;

    /// A successful attempt at `model` on the control route.
    pub(crate) fn event(at_ms: i64, model: &str, latency_ms: f64) -> Event {
        Event {
            at_ms,
            request_id: "r".into(),
            user_id: Some(7),
            seq: 0,
            subject: None,
            rollout: None,
            counted: false,
            was_open: false,
            model: model.into(),
            task: "chat".into(),
            variant: Variant::Control,
            position: 0,
            latency_ms,
            first_token_ms: None,
            words_ms: None,
            prompt_tokens: 10,
            completion_tokens: 20,
            cost: Microdollars(30),
            outcome: Outcome::Success,
            quality: None,
            answer_chars: None,
            status: None,
            cause: None,
            finish: None,
        }
    }

    #[test]
    fn the_first_words_are_a_line_at_the_pace_of_the_answer() {
        let streamed = |outcome, chars| {
            let event = Event {
                first_token_ms: Some(400.0),
                answer_chars: chars,
                outcome,
                ..event(0, "m", 4_400.0)
            };
            event.first_words_ms()
        };
        let said = |chars| streamed(Outcome::Success, chars);
        assert_eq!(said(Some(1_000)), Some(800.0), "a tenth of the rest");
        assert_eq!(said(Some(100)), Some(4_400.0));
        assert_eq!(said(Some(7)), Some(4_400.0), "all of a short one");
        assert_eq!(said(Some(0)), Some(4_400.0), "it calls a tool");
        assert_eq!(said(None), Some(400.0), "its pace is not known");
        assert_eq!(streamed(Outcome::Refused, Some(1_000)), Some(800.0));
        assert_eq!(streamed(Outcome::Cancelled, Some(1_000)), Some(800.0));
        for chars in [None, Some(99)] {
            assert_eq!(streamed(Outcome::Cancelled, chars), None, "{chars:?}");
        }
        let timeout = Outcome::Fault(FaultKind::Timeout);
        for outcome in [timeout, Outcome::Open] {
            assert_eq!(streamed(outcome, Some(1_000)), None, "{outcome:?}");
        }
        assert_eq!(event(0, "m", 4_400.0).first_words_ms(), None);
        // No clock goes back, but a stored event may say anything.
        assert_eq!(
            first_words_ms(100.0, Some(400.0), None, Some(500)),
            Some(400.0)
        );
        // A word at once, 20 s of silence, and then a lot.
        let known = |words_ms| first_words_ms(25_000.0, Some(200.0), words_ms, Some(5_000));
        assert_eq!(known(Some(20_300)), Some(20_300.0));
        assert_eq!(known(None), Some(696.0), "as if evenly");
    }

    #[test]
    fn durations_are_finite_and_not_negative() {
        assert_eq!(event(0, "m", 0.0).validate(), Ok(()));
        for ms in [-1.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(event(0, "m", ms).validate(), Err(InvalidEvent::Latency(ms)));
        }
        assert!(event(0, "m", f64::NAN).validate().is_err());
        let mut streamed = event(0, "m", 1.0);
        streamed.first_token_ms = Some(-0.5);
        assert_eq!(streamed.validate(), Err(InvalidEvent::FirstToken(-0.5)));
    }

    #[test]
    fn a_slow_failure_deserves_two_lines() {
        let mut slow = event(0, "glm", 5_000.0);
        assert_eq!(slow.slow_line(), None);
        slow.latency_ms = 5_000.5;
        slow.outcome = Outcome::Fault(FaultKind::Timeout);
        assert_eq!(
            slow.failure_line().as_deref(),
            Some("[AI Metrics] Error: Model=glm, Task=chat, Error=timeout")
        );
        assert_eq!(
            slow.slow_line().as_deref(),
            Some("[AI Metrics] Slow response: 5000.5ms, Model=glm, Task=chat")
        );
    }

    #[test]
    fn names_of_faults_are_those_of_their_json() {
        for kind in FaultKind::ALL {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, Outcome::Fault(kind).name());
        }
    }
}
