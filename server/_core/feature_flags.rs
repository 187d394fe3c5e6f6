//! Every flag of the original, and the per-user decision with its reason.
//!
//! What is configured stays for the life of the process; what changes is one [`LiveShares`] value that is
//! replaced as a whole, so a reader sees a change entirely or not at all and never waits for one. Who
//! replaces it: `live_flags` what people steer, the rollouts' controller its shares.

mod in_force;

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::in_force::{DecidedBy, DecidingRollout, Ended, InForce};
use super::{
    actor::Actor,
    assignment::{self, Algorithm, BUCKETS, Subject, Variant},
    units::Percent,
};

/// The task of rollouts that are rehearsed. No request has it: a catalog cannot name one so, and a rollout that
/// covers all tasks does not cover it.
pub const REHEARSAL: &str = "rehearsal";

/// Flags and the share at start.
#[derive(Clone, Debug)]
pub struct FlagsConfig {
    /// `OPENROUTER_ROLLOUT_PERCENTAGE`.
    pub percentage: Percent,
    /// `FORCE_OPENROUTER`: everybody is in.
    pub force_openrouter: bool,
    /// `FORCE_SERVER_SIDE_CHAT`.
    pub force_server_side_chat: bool,
    /// `FORCE_STREAMING`.
    pub force_streaming: bool,
    /// `FORCE_MODEL_ROUTING`.
    pub force_model_routing: bool,
    /// `FORCE_UTCP`.
    pub force_utcp: bool,
    /// `MODEL_ROUTING`: tasks choose their model.
    pub model_routing: bool,
    /// `ASSIGNMENT_ALGORITHM`.
    pub algorithm: Algorithm,
    /// `ASSIGNMENT_SALT`.
    pub salt: String,
    /// `FORCED_ON_USERS`: comma separated ids.
    pub forced_on: Vec<Subject>,
    /// `FORCED_OFF_USERS`: comma separated ids.
    pub forced_off: Vec<Subject>,
}

/// Why a subject is in its variant; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The kill switch is on: control, whatever else is set.
    KillSwitch,
    /// The subject is on the forced-off list.
    ForcedOff,
    /// The subject is on the forced-on list.
    ForcedOn,
    /// `FORCE_OPENROUTER` puts everybody in.
    ForcedForAll,
    /// No id to hash, and the share is neither 0 nor 100.
    NoSubject,
    /// The subject's bucket was compared with the share in force.
    Share,
}

/// What was decided for one subject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Decision")]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Who answers: control or the candidate.
    pub variant: Variant,
    /// The rule that decided.
    pub reason: Reason,
    /// The subject's bucket; `None` without a subject.
    pub bucket: Option<u32>,
    /// The share in force when this was decided.
    pub share: Percent,
}

/// The original's flags as one caller sees them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flags {
    /// Chat is answered by the server.
    pub use_server_side_chat: bool,
    /// Answers may be streamed.
    pub enable_streaming: bool,
    /// Tasks choose their model.
    pub enable_model_routing: bool,
    /// Always on.
    pub enable_audit_trail: bool,
    /// This caller gets the candidate models.
    pub enable_open_router_models: bool,
    /// The live share, the same for every caller.
    pub open_router_rollout_percentage: Percent,
    /// Read by clients only.
    #[serde(rename = "enableUTCP")]
    pub enable_utcp: bool,
}

impl Flags {
    /// The flag of this name, as on the wire; `false` for an unknown name and for the percentage,
    /// which is not a flag.
    pub fn is_enabled(&self, name: &str) -> bool {
        match name {
            "useServerSideChat" => self.use_server_side_chat,
            "enableStreaming" => self.enable_streaming,
            "enableModelRouting" => self.enable_model_routing,
            "enableAuditTrail" => self.enable_audit_trail,
            "enableOpenRouterModels" => self.enable_open_router_models,
            "enableUTCP" => self.enable_utcp,
            _ => false,
        }
    }
}

/// The models that both arms of a rollout began with, for some tasks; the primary first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Began {
    /// The tasks that have these.
    pub tasks: Vec<String>,
    /// Control's.
    pub control: Vec<String>,
    /// The candidate's.
    pub candidate: Vec<String>,
}

/// One live rollout, as the data path sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRollout {
    /// Its id.
    pub id: Arc<str>,
    /// Whether it serves what it says; before, it serves control to all.
    pub is_open: bool,
    /// The tasks it covers; none covers all.
    pub tasks: Vec<String>,
    /// How subjects become buckets; never changes in flight.
    pub algorithm: Algorithm,
    /// Drawn when the rollout began.
    pub salt: String,
    /// Subjects below this share get the candidate.
    pub share: Percent,
    /// Candidate, whatever the share.
    pub forced_on: HashSet<Subject>,
    /// Control, whatever else is set but the kill switch.
    pub forced_off: HashSet<Subject>,
    /// Models in place of the catalog's candidate route.
    pub candidate: Option<Vec<String>>,
    /// Models in place of the catalog's control route.
    pub control: Option<Vec<String>>,
    /// What it began with, and keeps to its end whatever becomes of the catalog; nothing once it has ended.
    pub began: Vec<Began>,
    /// Of which part of the requests that it counts the answers are judged by a model.
    pub judged_share: Percent,
    /// The plan's name.
    pub plan: String,
    /// How it ended; its end decides until a newer rollout covers its tasks, or it is let go.
    pub ended: Option<Ended>,
    /// Whether it was let go: it decides nothing any more, and neither do older ones of its tasks.
    pub is_released: bool,
}

impl LiveRollout {
    /// The id under which a request is judged; none before it is open, as what is served meanwhile is
    /// no part of the comparison.
    pub fn judged_as(&self) -> Option<Arc<str>> {
        self.is_open.then(|| self.id.clone())
    }

    /// The models of an arm for a task, where it has others than the catalog, or has begun with these.
    pub fn models_of(&self, task: &str, variant: Variant) -> Option<&Vec<String>> {
        let has_task = |it: &&Began| it.tasks.iter().any(|name| name == task);
        let began = self.began.iter().find(has_task);
        let (began, named) = match variant {
            Variant::Control => (began.map(|it| &it.control), &self.control),
            Variant::Candidate => (began.map(|it| &it.candidate), &self.candidate),
        };
        let began = began.filter(|models| !models.is_empty());
        began.or(named.as_ref())
    }

    /// Whether requests for a task are decided by this rollout.
    pub fn covers(&self, task: &str) -> bool {
        self.tasks.is_empty() && task != REHEARSAL
            || self.tasks.iter().any(|covered| covered == task)
    }
}

/// A decision, and the rollout that made it where one covers the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// What was decided.
    pub decision: Assignment,
    /// Who decided.
    pub rollout: Option<Arc<LiveRollout>>,
}

/// What can change while the server runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveShares {
    /// What people steer.
    pub steered: Steered,
    /// What the rollouts' controller has published: live ones first, then the newest.
    pub rollouts: Vec<Arc<LiveRollout>>,
}

/// The kill switch and the live share, as they are in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Steered {
    /// Users below this share get the candidate.
    pub share: Percent,
    /// Sends everybody to control.
    pub killed: bool,
    /// Counts the changes; a change may name the version it is based on.
    pub version: i64,
    /// The last change; `None` where all is as first configured.
    pub last_change: Option<ChangeAuthor>,
}

/// Who changed something, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeAuthor {
    /// In the words of whoever did it.
    pub reason: String,
    /// `user:7`, `settings`.
    pub actor: Actor,
    /// When it was changed.
    pub at: DateTime<Utc>,
}

/// The flags in force; reading never waits.
pub struct FeatureFlags {
    config: FlagsConfig,
    forced_on: HashSet<Subject>,
    forced_off: HashSet<Subject>,
    live: ArcSwap<LiveShares>,
}

impl FeatureFlags {
    /// Flags as configured.
    pub fn new(config: FlagsConfig) -> Self {
        let live = LiveShares {
            steered: Steered {
                share: config.percentage,
                killed: false,
                version: 0,
                last_change: None,
            },
            rollouts: Vec::new(),
        };
        Self {
            forced_on: config.forced_on.iter().cloned().collect(),
            forced_off: config.forced_off.iter().cloned().collect(),
            live: ArcSwap::from_pointee(live),
            config,
        }
    }

    /// The state in force now.
    pub fn live(&self) -> Arc<LiveShares> {
        self.live.load_full()
    }

    /// How subjects become buckets; never changes while the server runs.
    pub fn algorithm(&self) -> Algorithm {
        self.config.algorithm
    }

    /// Whether `FORCE_OPENROUTER` puts everybody in, whatever the share.
    pub fn forced_for_all(&self) -> bool {
        self.config.force_openrouter
    }

    /// Whether tasks choose their model (`MODEL_ROUTING` or `FORCE_MODEL_ROUTING`).
    pub fn model_routing(&self) -> bool {
        self.config.model_routing || self.config.force_model_routing
    }

    /// Which variant a subject gets for a task, and why: by the rollout that covers the task, else
    /// by the live share.
    pub fn assign(&self, task: &str, subject: Option<&Subject>) -> Assigned {
        self.assign_by(&self.live.load(), task, subject)
    }

    fn assign_by(&self, live: &LiveShares, task: &str, subject: Option<&Subject>) -> Assigned {
        let rollout = live.rollouts.iter().find(|rollout| rollout.covers(task));
        let rollout = rollout.filter(|rollout| !rollout.is_released);
        Assigned {
            decision: self.decide_by(live, rollout.map(Arc::as_ref), subject),
            rollout: rollout.cloned(),
        }
    }

    /// Which variant a subject gets by the live share alone, and why.
    pub fn decide(&self, subject: Option<&Subject>) -> Assignment {
        self.decide_by(&self.live.load(), None, subject)
    }

    fn decide_by(
        &self,
        live: &LiveShares,
        rollout: Option<&LiveRollout>,
        subject: Option<&Subject>,
    ) -> Assignment {
        let (share, algorithm, salt) = match rollout {
            Some(rollout) => (rollout.share, rollout.algorithm, &rollout.salt),
            None => (live.steered.share, self.config.algorithm, &self.config.salt),
        };
        let bucket = subject.map(|subject| assignment::bucket(algorithm, salt, subject));
        let is_listed = |list: &HashSet<Subject>| {
            !list.is_empty() && subject.is_some_and(|subject| list.contains(subject))
        };
        let is_on = |list: fn(&LiveRollout) -> &HashSet<Subject>| {
            rollout.is_some_and(|rollout| is_listed(list(rollout)))
        };
        let (is_in, reason) = if live.steered.killed {
            (false, Reason::KillSwitch)
        } else if is_listed(&self.forced_off) || is_on(|rollout| &rollout.forced_off) {
            (false, Reason::ForcedOff)
        } else if is_listed(&self.forced_on) || is_on(|rollout| &rollout.forced_on) {
            (true, Reason::ForcedOn)
        } else if self.config.force_openrouter {
            (true, Reason::ForcedForAll)
        } else {
            match (bucket, assignment::threshold(share)) {
                (Some(bucket), limit) => (bucket < limit, Reason::Share),
                (None, 0) => (false, Reason::Share),
                (None, BUCKETS) => (true, Reason::Share),
                (None, _) => (false, Reason::NoSubject),
            }
        };
        Assignment {
            variant: if is_in {
                Variant::Candidate
            } else {
                Variant::Control
            },
            reason,
            bucket,
            share,
        }
    }

    /// All flags as a subject sees them.
    pub fn flags(&self, subject: Option<&Subject>) -> Flags {
        let decision = self.decide(subject);
        Flags {
            use_server_side_chat: self.config.force_server_side_chat,
            enable_streaming: self.config.force_streaming,
            enable_model_routing: self.model_routing(),
            enable_audit_trail: true,
            enable_open_router_models: decision.variant == Variant::Candidate,
            open_router_rollout_percentage: decision.share,
            enable_utcp: self.config.force_utcp,
        }
    }

    /// Whether a flag, by its name on the wire, is on for a subject.
    pub fn is_enabled(&self, name: &str, subject: Option<&Subject>) -> bool {
        self.flags(subject).is_enabled(name)
    }

    /// Replaces what people steer; the next decision goes by it.
    pub fn steer(&self, steered: &Steered) {
        self.live.rcu(|live| LiveShares {
            steered: steered.clone(),
            ..LiveShares::clone(live)
        });
    }

    /// Replaces the live rollouts; the next decision goes by them.
    pub fn publish(&self, rollouts: &[Arc<LiveRollout>]) {
        self.live.rcu(|live| LiveShares {
            rollouts: rollouts.to_vec(),
            ..LiveShares::clone(live)
        });
    }
}

#[cfg(test)]
mod tests;
