//! Every flag of the original, and the per-user decision with its reason.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    assignment::{Subject, Variant},
    config::FlagsConfig,
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

/// What can change while the server runs.
#[derive(Clone, Debug)]
pub struct Live {
    /// Users below this share get the candidate.
    pub share: Percent,
    /// Sends everybody to control.
    pub killed: bool,
    /// The last change: why, by whom (user id), when.
    pub last_change: Option<(String, i64, DateTime<Utc>)>,
}

/// The flags in force; reading never waits.
pub struct FeatureFlags {
    config: FlagsConfig,
    live: arc_swap::ArcSwap<Live>,
}

impl FeatureFlags {
    /// Flags as configured.
    pub fn new(config: FlagsConfig) -> Self {
        let live = Live {
            share: config.percentage,
            killed: false,
            last_change: None,
        };
        Self {
            config,
            live: arc_swap::ArcSwap::from_pointee(live),
        }
    }

    /// The state in force now.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Whether tasks choose their model (`MODEL_ROUTING` or `FORCE_MODEL_ROUTING`).
    pub fn model_routing(&self) -> bool {
        self.config.model_routing || self.config.force_model_routing
    }

    /// Which variant a subject gets, and why.
    pub fn decide(&self, _subject: Option<&Subject>) -> Decision {
        unimplemented!("the flags' owner writes this")
    }

    /// All flags as a subject sees them.
    pub fn flags(&self, _subject: Option<&Subject>) -> Flags {
        unimplemented!("the flags' owner writes this")
    }
}
