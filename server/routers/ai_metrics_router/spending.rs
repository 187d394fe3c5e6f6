//! `aiMetrics.getSpending`: who used how many tokens, and how much money.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Past;
use crate::{
    _core::{
        caller::{Role, not_permitted},
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    dashboard::{
        series::SeriesStore,
        spending::{Consumption, Spender},
    },
    procedures,
};

/// Sums in an answer, at most.
const MOST: u32 = 200;
/// Attempts that are summed up for one answer, at most.
const MOST_ATTEMPTS: u32 = 1_000_000;
/// The longest time that may be asked for.
const LONGEST: TimeDelta = TimeDelta::days(31);

/// Registers it.
pub(super) fn register(registry: &mut Registry, past: Option<Past>) {
    procedures!(registry.outline("aiMetrics", past);
        /// Tokens and money that were used in a time of up to 31 days, by model, variant, task, user or, for
        /// admins, key: the 200 that cost most, the dearest first. Attempts that failed count as well. A time with more
        /// than 1,000,000 attempts is refused, but by key.
        query Viewer getSpending = get_spending, errors [
            Declared::new(
                ErrorCode::PayloadTooLarge,
                "More than 1,000,000 attempts would have to be summed up; ask for a shorter time.",
            ),
        ];
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

impl From<Consumption> for SpentInfo {
    fn from(spent: Consumption) -> Self {
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
    // Keys have a sum a day.
    if by != Spender::Key {
        bounded(&*past.store, from, to).await?;
    }
    let spent = past.store.spending(by, from, to, MOST).await;
    let spent = spent.map_err(RpcError::internal)?;
    Ok(Spending {
        spent: spent.into_iter().map(SpentInfo::from).collect(),
    })
}

/// Refuses a time with more attempts than may be summed up for one answer.
async fn bounded(store: &dyn SeriesStore, from_ms: i64, to_ms: i64) -> Result<(), RpcError> {
    let has_more = store.has_more(from_ms, to_ms, MOST_ATTEMPTS).await;
    if !has_more.map_err(RpcError::internal)? {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::PayloadTooLarge,
        format!(
            "more than {MOST_ATTEMPTS} attempts would have to be summed up; ask for a shorter time"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::dashboard::{
        requests::RequestFilter,
        series::{By, Taker},
    };

    /// A store with so many attempts in any time.
    struct Attempts(u32);

    #[async_trait]
    impl SeriesStore for Attempts {
        async fn has_more(&self, _: i64, _: i64, than: u32) -> anyhow::Result<bool> {
            Ok(self.0 > than)
        }

        async fn attempts_of(
            &self,
            _: &RequestFilter,
            _: By,
            _: u32,
            _: Taker<'_>,
        ) -> anyhow::Result<bool> {
            anyhow::bail!("not asked for")
        }

        async fn hours_of(
            &self,
            _: &RequestFilter,
            _: By,
            _: u32,
            _: Taker<'_>,
        ) -> anyhow::Result<bool> {
            anyhow::bail!("not asked for")
        }

        async fn spending(
            &self,
            _: Spender,
            _: i64,
            _: i64,
            _: u32,
        ) -> anyhow::Result<Vec<Consumption>> {
            anyhow::bail!("not asked for")
        }
    }

    #[tokio::test]
    async fn a_time_with_too_many_attempts_is_refused() {
        assert!(bounded(&Attempts(MOST_ATTEMPTS), 0, 1).await.is_ok());
        let refused = bounded(&Attempts(MOST_ATTEMPTS + 1), 0, 1).await;
        let refused = refused.expect_err("too many");
        assert_eq!(refused.code, ErrorCode::PayloadTooLarge);
        assert!(
            refused.message.contains("shorter time"),
            "{}",
            refused.message
        );
    }
}
