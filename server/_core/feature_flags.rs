//! Every flag of the original, and the per-user decision with its reason.
//!
//! What is configured stays for the life of the process; what admins steer is one [`Live`] value that
//! is replaced as a whole, so a reader sees a change entirely or not at all and never waits for one.

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    assignment::{self, BUCKETS, Subject, Variant},
    config::{Algorithm, FlagsConfig},
    units::Percent,
};

/// Why a subject is in its variant; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
    /// Compared with the live share.
    Share,
}

/// What was decided for one subject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The route to take.
    pub variant: Variant,
    /// Why.
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

/// One live rollout, as the data path sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRollout {
    /// Its id.
    pub id: Arc<str>,
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
    /// Models in place of the catalogue's candidate route.
    pub candidate: Option<Vec<String>>,
    /// Models in place of the catalogue's control route.
    pub control: Option<Vec<String>>,
}

impl LiveRollout {
    /// Whether requests for a task are decided by this rollout.
    pub fn covers(&self, task: &str) -> bool {
        self.tasks.is_empty() || self.tasks.iter().any(|covered| covered == task)
    }
}

/// A decision, and the rollout that made it where one covers the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub rollout: Option<Arc<LiveRollout>>,
}

/// What can change while the server runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Users below this share get the candidate.
    pub share: Percent,
    /// Sends everybody to control.
    pub killed: bool,
    /// What the rollouts' controller has published; disjoint in their tasks.
    pub rollouts: Vec<Arc<LiveRollout>>,
    /// Counts the changes since the start.
    pub version: u64,
    /// The last change; `None` where all is as configured.
    pub last_change: Option<Change>,
}

/// Who changed something, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// In the words of whoever did it.
    pub reason: String,
    /// The user's id.
    pub by: i64,
    /// When.
    pub at: DateTime<Utc>,
}

/// The flags in force; reading never waits.
pub struct FeatureFlags {
    config: FlagsConfig,
    forced_on: HashSet<Subject>,
    forced_off: HashSet<Subject>,
    live: ArcSwap<Live>,
}

impl FeatureFlags {
    /// Flags as configured.
    pub fn new(config: FlagsConfig) -> Self {
        let live = Live {
            share: config.percentage,
            killed: false,
            rollouts: Vec::new(),
            version: 0,
            last_change: None,
        };
        Self {
            forced_on: config.forced_on.iter().cloned().collect(),
            forced_off: config.forced_off.iter().cloned().collect(),
            live: ArcSwap::from_pointee(live),
            config,
        }
    }

    /// The state in force now.
    pub fn live(&self) -> Arc<Live> {
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
        let live = self.live.load();
        let rollout = live.rollouts.iter().find(|rollout| rollout.covers(task));
        Assigned {
            decision: self.decide_by(&live, rollout.map(Arc::as_ref), subject),
            rollout: rollout.cloned(),
        }
    }

    /// Which variant a subject gets by the live share alone, and why.
    pub fn decide(&self, subject: Option<&Subject>) -> Decision {
        self.decide_by(&self.live.load(), None, subject)
    }

    fn decide_by(
        &self,
        live: &Live,
        rollout: Option<&LiveRollout>,
        subject: Option<&Subject>,
    ) -> Decision {
        let (share, algorithm, salt) = match rollout {
            Some(rollout) => (rollout.share, rollout.algorithm, &rollout.salt),
            None => (live.share, self.config.algorithm, &self.config.salt),
        };
        let bucket = subject.map(|subject| assignment::bucket(algorithm, salt, subject));
        let is_listed = |list: &HashSet<Subject>| {
            !list.is_empty() && subject.is_some_and(|subject| list.contains(subject))
        };
        let is_on = |list: fn(&LiveRollout) -> &HashSet<Subject>| {
            rollout.is_some_and(|rollout| is_listed(list(rollout)))
        };
        let (is_in, reason) = if live.killed {
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
        Decision {
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

    /// Moves the live share; the next decision goes by it. Answers the new state.
    pub fn set_share(
        &self,
        share: Percent,
        reason: impl Into<String>,
        by: i64,
        at: DateTime<Utc>,
    ) -> Live {
        let change = Change::new(reason, by, at);
        self.change(&change, |live| live.share = share)
    }

    /// Replaces the live rollouts; the next decision goes by them.
    pub fn publish(&self, rollouts: &[Arc<LiveRollout>]) {
        self.live.rcu(|live| Live {
            rollouts: rollouts.to_vec(),
            ..Live::clone(live)
        });
    }

    /// Turns the kill switch on or off; the share stays what it is. Answers the new state.
    pub fn kill(&self, on: bool, reason: impl Into<String>, by: i64, at: DateTime<Utc>) -> Live {
        let change = Change::new(reason, by, at);
        self.change(&change, |live| live.killed = on)
    }

    /// Two changes at once are made one after the other, and neither is lost.
    fn change(&self, change: &Change, edit: impl Fn(&mut Live)) -> Live {
        let after = |before: &Live| {
            let mut live = before.clone();
            edit(&mut live);
            live.version += 1;
            live.last_change = Some(change.clone());
            live
        };
        after(&self.live.rcu(|before| after(before)))
    }
}

impl Change {
    fn new(reason: impl Into<String>, by: i64, at: DateTime<Utc>) -> Self {
        Self {
            reason: reason.into(),
            by,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> FlagsConfig {
        FlagsConfig {
            percentage: Percent::ZERO,
            force_openrouter: false,
            force_server_side_chat: false,
            force_streaming: false,
            force_model_routing: false,
            force_utcp: false,
            model_routing: false,
            algorithm: Algorithm::LegacyModulo,
            salt: "salt".into(),
            forced_on: Vec::new(),
            forced_off: Vec::new(),
        }
    }

    fn percent(value: f64) -> Percent {
        Percent::new(value).expect("a percentage")
    }

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time")
    }

    #[track_caller]
    fn decides(flags: &FeatureFlags, user: Option<i64>, variant: Variant, reason: Reason) {
        let subject = user.and_then(Subject::user);
        let decision = flags.decide(subject.as_ref());
        assert_eq!((decision.variant, decision.reason), (variant, reason));
    }

    #[test]
    fn the_share_decides_by_bucket() {
        let flags = FeatureFlags::new(FlagsConfig {
            percentage: percent(10.0),
            ..config()
        });
        decides(&flags, Some(9), Variant::Candidate, Reason::Share);
        decides(&flags, Some(10), Variant::Control, Reason::Share);
        decides(&flags, None, Variant::Control, Reason::NoSubject);
        assert_eq!(flags.decide(Some(&Subject::User(9))).bucket, Some(9_000));
    }

    #[test]
    fn an_id_is_not_needed_at_0_and_at_100() {
        let flags = FeatureFlags::new(config());
        decides(&flags, None, Variant::Control, Reason::Share);
        flags.set_share(Percent::FULL, "all", 1, at());
        decides(&flags, None, Variant::Candidate, Reason::Share);
    }

    #[test]
    fn the_first_reason_wins_in_its_order() {
        let flags = FeatureFlags::new(FlagsConfig {
            force_openrouter: true,
            forced_on: vec![Subject::User(1), Subject::User(2)],
            forced_off: vec![Subject::User(1)],
            ..config()
        });
        decides(&flags, Some(1), Variant::Control, Reason::ForcedOff);
        decides(&flags, Some(2), Variant::Candidate, Reason::ForcedOn);
        decides(&flags, Some(3), Variant::Candidate, Reason::ForcedForAll);
        decides(&flags, None, Variant::Candidate, Reason::ForcedForAll);
        flags.kill(true, "answers are wrong", 1, at());
        for user in [Some(1), Some(2), Some(3), None] {
            decides(&flags, user, Variant::Control, Reason::KillSwitch);
        }
    }

    #[test]
    fn a_kill_ends_as_it_began_and_keeps_the_share() {
        let flags = FeatureFlags::new(FlagsConfig {
            percentage: Percent::FULL,
            ..config()
        });
        let killed = flags.kill(true, "outage", 7, at());
        assert_eq!(
            (killed.killed, killed.share, killed.version),
            (true, Percent::FULL, 1)
        );
        assert!(!flags.is_enabled("enableOpenRouterModels", Some(&Subject::User(1))));
        let back = flags.kill(false, "over", 7, at());
        assert_eq!(
            (back.killed, back.share, back.version),
            (false, Percent::FULL, 2)
        );
        decides(&flags, Some(1), Variant::Candidate, Reason::Share);
    }

    #[test]
    fn a_change_is_kept_with_its_author() {
        let flags = FeatureFlags::new(config());
        assert_eq!(flags.live().last_change, None);
        let answered = flags.set_share(percent(12.5), "first stage", 7, at());
        assert_eq!(*flags.live(), answered);
        let change = Change::new("first stage", 7, at());
        assert_eq!(answered.last_change, Some(change));
    }

    #[test]
    fn no_change_is_lost_when_many_are_made_at_once() {
        let flags = FeatureFlags::new(config());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let flags = &flags;
                scope.spawn(move || {
                    for n in 0..250 {
                        let live = flags.kill(n % 2 == 0, "test", thread, at());
                        assert_eq!(live.killed, n % 2 == 0);
                    }
                });
            }
        });
        assert_eq!(flags.live().version, 1000);
    }

    #[test]
    fn names_are_those_on_the_wire() {
        let flags = FeatureFlags::new(FlagsConfig {
            percentage: Percent::FULL,
            force_server_side_chat: true,
            force_streaming: true,
            force_model_routing: true,
            force_utcp: true,
            ..config()
        });
        let all = flags.flags(None);
        let wire = serde_json::to_value(all).expect("flags are JSON");
        for (name, value) in wire.as_object().expect("an object") {
            assert_eq!(all.is_enabled(name), value == true, "{name}");
        }
        assert!(!all.is_enabled("nope"));
        assert!(!all.is_enabled("use_server_side_chat"));
    }

    #[test]
    fn model_routing_is_on_by_either_setting() {
        for (model_routing, force_model_routing) in [(true, false), (false, true), (true, true)] {
            let flags = FeatureFlags::new(FlagsConfig {
                model_routing,
                force_model_routing,
                ..config()
            });
            assert!(flags.model_routing());
        }
        assert!(!FeatureFlags::new(config()).model_routing());
    }
}
