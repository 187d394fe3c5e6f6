//! `aiMetrics.getSpending`: who used how many tokens, and how much money.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Past;
use crate::{
    _core::{
        caller::{Role, not_permitted},
        context::Context,
        errors::RpcError,
        registry::Registry,
    },
    dashboard::spending::{Spender, Spent},
    procedures,
};

/// Sums that are told, at most.
const MOST: u32 = 200;
/// The longest time that may be asked for.
const LONGEST: TimeDelta = TimeDelta::days(31);

/// Registers it.
pub(super) fn register(registry: &mut Registry, past: Option<Past>) {
    procedures!(registry.outline("aiMetrics", past);
        /// Tokens and money that were used in a time of up to 31 days, by model, variant, task, user or, for
        /// admins, key: the 200 that cost most, the dearest first. Attempts that failed count as well.
        query Viewer getSpending = get_spending;
    );
}

/// Of which time, and by what.
#[derive(Debug, Deserialize, JsonSchema)]
struct WhichSpending {
    /// From this time on.
    from: DateTime<Utc>,
    /// Before this time.
    to: DateTime<Utc>,
    /// What the sums differ in.
    by: Spender,
}

/// The sums.
#[derive(Debug, Serialize, JsonSchema)]
struct Spending {
    /// The dearest first.
    spent: Vec<SpentInfo>,
}

/// What one of them used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SpentInfo {
    /// Its name or number; null where nobody knows who it was.
    name: Option<String>,
    /// Attempts; null of a key.
    attempts: Option<i64>,
    /// Tokens, read and written.
    tokens: i64,
    /// Tokens written, of these; null of a key.
    written_tokens: Option<i64>,
    /// What it cost, in millionths of a US dollar.
    cost_microdollars: i64,
}

impl From<Spent> for SpentInfo {
    fn from(spent: Spent) -> Self {
        Self {
            name: spent.name,
            attempts: spent.attempts,
            tokens: spent.tokens,
            written_tokens: spent.written,
            cost_microdollars: spent.cost,
        }
    }
}

async fn get_spending(
    past: Past,
    context: Context,
    input: WhichSpending,
) -> Result<Spending, RpcError> {
    let WhichSpending { from, to, by } = input;
    // Viewers see no keys.
    if matches!(by, Spender::Key) && context.user()?.role < Role::Admin {
        return Err(not_permitted());
    }
    let length = to - from;
    if length <= TimeDelta::zero() || length > LONGEST {
        return Err(RpcError::bad_request(format!(
            "`to` is {to} and `from` is {from}; expected `to` after `from`, by {} days at most",
            LONGEST.num_days()
        )));
    }
    let (from, to) = (from.timestamp_millis(), to.timestamp_millis());
    let spent = past.store.spending(by, from, to, MOST).await;
    let spent = spent.map_err(RpcError::internal)?;
    Ok(Spending {
        spent: spent.into_iter().map(SpentInfo::from).collect(),
    })
}
