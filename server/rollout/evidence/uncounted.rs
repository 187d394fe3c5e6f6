//! What the comparison of errors leaves out, watched so that no candidate hides behind it.
//!
//! A request that is too long, wrong, forbidden or declined in words is nobody's error: users send
//! such requests to both arms. But a candidate that answers *every* request so never gives an error,
//! and one that does so more often than control loses just the requests that it would have failed.
//! So there are two tests, and a watch over our account:
//!
//! - [`Silence`]: the candidate gives no good answer any more, and control does.
//! - [`Differ`]: a kind of outcome meets more of the candidate's users than of control's.
//! - [`AccountEpisode`]: refusals of our account, which blame no arm.
//!
//! docs/statistics.md says why they are valid, and what traffic they were tried on.

mod account;
mod differ;
mod silence;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{account::AccountEpisode, differ::Differ, silence::Silence};
use super::{super::arms::PerArm, Edition, Observation, RequestEnd, Signal, UncountedKind};
use crate::_core::{assignment::Variant, units::Percent};

/// How often one kind came since the share last changed, and what that proves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindEvidence {
    /// The outcome that is not counted.
    pub kind: UncountedKind,
    /// First attempts of control that ended so.
    pub control: u64,
    /// Of the candidate.
    pub candidate: u64,
    /// Users of control who met it today, of those who are watched; and how many are.
    pub control_users: [u32; 2],
    /// Those of the candidate.
    pub candidate_users: [u32; 2],
    /// The evidence that it meets more of the candidate's users, divided by its part of the error
    /// rate: a hold at 100.
    #[serde(deserialize_with = "super::read_finite")]
    pub e: f64,
}

/// What is proven of outcomes that are not counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UncountedEvidence {
    /// First attempts of control since the share last changed, whatever their end.
    pub control_attempts: u64,
    /// Of the candidate.
    pub candidate_attempts: u64,
    /// The candidate's first attempts since its last good answer.
    pub without_answer: u64,
    /// Kinds that came at all.
    pub kinds: Vec<KindEvidence>,
    /// The kind that was found to differ in this stage; it stays until the share changes.
    pub differs: Option<UncountedKind>,
    /// Refusals of our account in the episode under way, control and candidate; none when calm.
    pub account: Option<PerArm<u64>>,
    /// For a day all attempts were the candidate's, and none had a good answer.
    #[serde(skip)]
    pub is_alone: bool,
    /// What of all this has called for a rollback, also where another test did so before.
    #[serde(skip)]
    pub proven: Option<Signal>,
}

/// The state of all of it; bounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Uncounted {
    silence: Silence,
    differ: Differ,
    account: AccountEpisode,
    /// First attempts by arm since the share last changed, but those that our account failed.
    attempts: PerArm<u64>,
    /// Of them by kind.
    counts: [PerArm<u64>; UncountedKind::ALL.len()],
    /// What was found to call for a rollback, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven: Option<Signal>,
}

impl Uncounted {
    pub(super) fn new(edition: Edition, margin: f64) -> Self {
        Self {
            silence: Silence::new(edition),
            differ: Differ::new(margin),
            account: AccountEpisode::default(),
            attempts: PerArm::default(),
            counts: Default::default(),
            proven: None,
        }
    }

    /// Takes note of a first attempt's end; whether that may have proven something.
    pub(super) fn fold(
        &mut self,
        edition: Edition,
        observation: &Observation,
        share: Percent,
        at_ms: i64,
    ) -> bool {
        let arm = observation.variant;
        let kind = match observation.end {
            RequestEnd::Unknown => return false,
            RequestEnd::Uncounted(kind) => Some(kind),
            RequestEnd::Answered
            | RequestEnd::Failed
            | RequestEnd::FailedAlone
            | RequestEnd::TimedOut => None,
        };
        self.attempts[arm] += 1;
        if let Some(kind) = kind {
            self.counts[kind as usize][arm] += 1;
        }
        let is_silent =
            self.silence
                .fold(edition, arm, observation.subject, observation.end, at_ms);
        let differs = self.differ.fold(arm, observation.subject, kind, share);
        let has_moved = is_silent || differs;
        if has_moved && self.proven.is_none() {
            self.proven = self.signal(share);
        }
        has_moved
    }

    /// The provider refused our account.
    pub(super) fn refuse_account(&mut self, arm: Variant, at_ms: i64) {
        self.account.fold(arm, at_ms);
    }

    /// A day is over.
    pub(super) fn begin_day(&mut self) {
        self.differ.begin_window();
    }

    /// The share has changed: users are in other arms.
    pub(super) fn begin_share(&mut self) {
        self.differ.begin_window();
        self.differ.forget();
        self.attempts = PerArm::default();
        self.counts = Default::default();
    }

    /// Nobody gets the candidate any more, for a while.
    pub(super) fn begin_anew(&mut self) {
        self.silence.begin_anew();
        self.proven = None;
    }

    /// What has called for a rollback, if something has.
    pub(super) fn proven(&self) -> Option<Signal> {
        self.proven
    }

    /// Whether for a day all attempts were the candidate's, and none had a good answer.
    pub(super) fn is_alone(&self, edition: Edition, now_ms: i64) -> bool {
        // The eighth edition went on counting after the last attempt, and its records say what it found.
        match edition < Edition::Ninth {
            true => self.silence.is_alone_until(now_ms),
            false => self.silence.is_alone(),
        }
    }

    fn signal(&self, share: Percent) -> Option<Signal> {
        if self.silence.is_proven(share) {
            Some(Signal::NoAnswers)
        } else if self.differ.is_in_candidate_alone() && self.silence.control_answers() {
            Some(Signal::Uncounted)
        } else {
            None
        }
    }

    pub(super) fn evidence(&self, edition: Edition, now_ms: i64) -> UncountedEvidence {
        let kinds = UncountedKind::ALL.into_iter().filter_map(|kind| {
            let PerArm { control, candidate } = self.counts[kind as usize];
            let users = self.differ.users(kind);
            (control + candidate > 0).then(|| KindEvidence {
                kind,
                control,
                candidate,
                control_users: users.control,
                candidate_users: users.candidate,
                e: self.differ.value(kind),
            })
        });
        UncountedEvidence {
            control_attempts: self.attempts.control,
            candidate_attempts: self.attempts.candidate,
            without_answer: self.silence.attempts(),
            is_alone: self.is_alone(edition, now_ms),
            kinds: kinds.collect(),
            differs: self.differ.found(),
            account: self.account.under_way(now_ms),
            proven: self.proven,
        }
    }
}

impl UncountedEvidence {
    /// Which kind comes how often on either side, in words; the one that differs where one does.
    pub fn in_words(&self) -> String {
        let shown = self.kinds.iter().filter(|it| match self.differs {
            Some(kind) => it.kind == kind,
            None => true,
        });
        let words: Vec<_> = shown
            .map(|it| {
                format!(
                    "`{}` ended {} of {} first attempts of the candidate and {} of {} of control",
                    it.kind.name(),
                    it.candidate,
                    self.candidate_attempts,
                    it.control,
                    self.control_attempts
                )
            })
            .collect();
        words.join("; ")
    }
}
