//! `featureFlags.*`: the live share and the kill switch, for admins.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        config::Algorithm,
        context::Context,
        errors::RpcError,
        feature_flags::{FeatureFlags, Live},
        registry::Registry,
        units::Percent,
    },
    procedures,
};

/// The longest reason, in UTF-16 code units.
pub(super) const MAX_REASON: u32 = 1000;

/// Registers the namespace.
pub fn register(registry: &mut Registry, flags: Arc<FeatureFlags>) {
    procedures!(registry.router("featureFlags", flags);
        /// The share in force, the kill switch, and who changed them last and why.
        query Admin get = get;
        /// Moves the share of users that get the candidate models. It counts from the next request on.
        mutation Admin setShare = set_share;
        /// Turns the kill switch on or off. While it is on, everybody gets the control models.
        mutation Admin kill = kill;
    );
}

/// What is in force.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FlagsState {
    /// Users below this share get the candidate models.
    share: Percent,
    /// The kill switch: everybody gets the control models, whatever the share.
    killed: bool,
    /// Everybody gets the candidate models, whatever the share (setting `FORCE_OPENROUTER`).
    forced_for_all: bool,
    /// How users become buckets.
    algorithm: Algorithm,
    /// Counts the changes since the server started.
    version: u64,
    /// Why the last change was made; null where all is as configured.
    reason: Option<String>,
    /// The id of the user who made it.
    by: Option<i64>,
    /// When it was made.
    at: Option<DateTime<Utc>>,
}

impl FlagsState {
    fn new(flags: &FeatureFlags, live: &Live) -> Self {
        let change = live.last_change.as_ref();
        Self {
            share: live.share,
            killed: live.killed,
            forced_for_all: flags.forced_for_all(),
            algorithm: flags.algorithm(),
            version: live.version,
            reason: change.map(|change| change.reason.clone()),
            by: change.map(|change| change.by),
            // JavaScript's dates have milliseconds.
            at: change.map(|change| change.at.trunc_subsecs(3)),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SetShare {
    /// 0 to 100; decimals are allowed.
    percent: Percent,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    reason: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Kill {
    /// Whether the switch is on.
    on: bool,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    reason: String,
}

async fn get(flags: Arc<FeatureFlags>, _: Context) -> Result<FlagsState, RpcError> {
    Ok(FlagsState::new(&flags, &flags.live()))
}

async fn set_share(
    flags: Arc<FeatureFlags>,
    context: Context,
    input: SetShare,
) -> Result<FlagsState, RpcError> {
    let reason = checked(&input.reason)?;
    let by = context.user()?.id;
    let live = flags.set_share(input.percent, reason, by, context.received_at);
    tracing::warn!(by, share = %live.share, version = live.version, reason, "live share set");
    Ok(FlagsState::new(&flags, &live))
}

async fn kill(
    flags: Arc<FeatureFlags>,
    context: Context,
    input: Kill,
) -> Result<FlagsState, RpcError> {
    let reason = checked(&input.reason)?;
    let by = context.user()?.id;
    let live = flags.kill(input.on, reason, by, context.received_at);
    tracing::warn!(
        by,
        on = live.killed,
        version = live.version,
        reason,
        "kill switch set"
    );
    Ok(FlagsState::new(&flags, &live))
}

/// The reason without blanks around it; one of blanks only is none.
pub(super) fn checked(reason: &str) -> Result<&str, RpcError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(RpcError::bad_request(format!(
            "`reason` is blank; expected why this is changed, in 1 to {MAX_REASON} characters"
        )));
    }
    Ok(reason)
}
