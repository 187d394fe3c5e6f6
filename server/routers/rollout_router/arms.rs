//! `rollout.arms`: how fast and how dear both arms are in this stage.

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{State, WhichRollout, refusals::refusal};
use crate::{
    _core::{assignment::Variant, context::Context, errors::RpcError},
    dashboard::{
        requests::RequestFilter,
        series::{By, ChartPart, Grid, SeriesCell, quantile},
    },
};

/// Attempts that are read.
const MOST: u32 = 300_000;

/// Both arms since the stage began.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Arms {
    /// When the stage began.
    from: DateTime<Utc>,
    /// Until when it was looked.
    to: DateTime<Utc>,
    /// Whether all counted attempts of the stage are in it, and not 300,000 of them.
    whole: bool,
    /// The models in use.
    control: ArmFigures,
    /// The models that may replace them.
    candidate: ArmFigures,
}

/// The counted attempts of one arm.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ArmFigures {
    /// How many.
    requests: u64,
    /// Of them met a fault.
    failures: u64,
    /// Median latency in milliseconds; null without attempts.
    p50: Option<f64>,
    /// Latency that 95 % do not exceed.
    p95: Option<f64>,
    /// Latency that 99 % do not exceed.
    p99: Option<f64>,
    /// Median time to the first token; null where nothing was streamed.
    first_token_p50: Option<f64>,
    /// Tokens read and written.
    tokens: u64,
    /// What they cost, in millionths of a US dollar.
    cost_microdollars: i64,
}

impl From<&SeriesCell> for ArmFigures {
    fn from(cell: &SeriesCell) -> Self {
        Self {
            requests: cell.requests,
            failures: cell.failures,
            p50: quantile(&cell.latency, 50),
            p95: quantile(&cell.latency, 95),
            p99: quantile(&cell.latency, 99),
            first_token_p50: quantile(&cell.first_token, 50),
            tokens: cell.tokens,
            cost_microdollars: cell.cost,
        }
    }
}

pub(super) async fn arms(
    state: State,
    context: Context,
    input: WhichRollout,
) -> Result<Arms, RpcError> {
    let view = state.controller.get(&input.id).await.map_err(refusal)?;
    let status = &view.status;
    let from = status.stage_began_at;
    let to = status.ended_at.unwrap_or(context.received_at).max(from);
    let (from_ms, to_ms) = (from.timestamp_millis(), to.timestamp_millis() + 1);
    let mut grid = Grid::new(from_ms, to_ms - from_ms, 1);
    let filter = RequestFilter {
        from_ms: Some(from_ms),
        to_ms: Some(to_ms),
        rollout: Some(status.id.clone()),
        counted: Some(true),
        ..RequestFilter::default()
    };
    let mut take = |part| {
        if let ChartPart::Attempt(point) = part {
            grid.add(&point, &point.key);
        }
    };
    let read = state
        .series
        .attempts_of(&filter, By::Variant, MOST, &mut take);
    let whole = read.await.map_err(RpcError::internal)?;
    let none = SeriesCell::default();
    let of = |variant: Variant| {
        let cells = grid.lines.get(variant.name());
        ArmFigures::from(cells.and_then(|it| it.first()).unwrap_or(&none))
    };
    Ok(Arms {
        from: from.trunc_subsecs(3),
        to: to.trunc_subsecs(3),
        whole,
        control: of(Variant::Control),
        candidate: of(Variant::Candidate),
    })
}
