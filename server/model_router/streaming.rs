//! The beginning of a streamed answer, held until it is one, and its end, recorded.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};

use super::{RouteError, Trail, attempt::Attempt, concurrency_limit::InFlight, trail::AttemptEnd};
use crate::providers::{Delta, fault::Fault, openai_compatible::DeltaStream};

/// Reads up to the first token; what came before it is held back, so that another model could
/// still take over.
pub(super) async fn until_first_token(
    mut deltas: DeltaStream,
) -> Result<(Vec<Delta>, DeltaStream), Fault> {
    let mut held = Vec::new();
    while let Some(delta) = deltas.next().await {
        let delta = delta?;
        let is_token = delta.is_token;
        held.push(delta);
        if is_token {
            break;
        }
    }
    Ok((held, deltas))
}

/// Steps that are held back at most, and their bytes: what a model thinks may be long, and the caller
/// waits for it.
const MAX_HELD: usize = 32;
const MAX_HELD_BYTES: usize = 64 * 1024;

/// Reads on, holding back what the model thinks, until its answer begins or enough is held.
pub(super) async fn until_answer(
    mut held: Vec<Delta>,
    mut deltas: DeltaStream,
) -> Result<(Vec<Delta>, DeltaStream), Fault> {
    let is_enough = |held: &[Delta]| {
        let bytes = held.iter().map(|delta| delta.raw.len());
        held.len() >= MAX_HELD || bytes.sum::<usize>() >= MAX_HELD_BYTES
    };
    while !held.last().is_some_and(|delta| delta.is_answer) && !is_enough(&held) {
        match deltas.next().await {
            Some(delta) => held.push(delta?),
            None => break,
        }
    }
    Ok((held, deltas))
}

/// Passes the steps on and records the attempt when they end; a drop before that records itself.
pub(super) fn recorded(
    mut attempt: Attempt,
    place: InFlight,
    model: Arc<str>,
    trail: Trail,
    mut deltas: DeltaStream,
) -> BoxStream<'static, Result<Delta, RouteError>> {
    stream! {
        let _place = place;
        let mut is_refusal = false;
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(delta) => {
                    if let Some(usage) = &delta.usage {
                        attempt.used(usage);
                    }
                    attempt.brought_step(&delta);
                    is_refusal |= delta.is_refusal;
                    yield Ok(delta);
                }
                Err(fault) => {
                    let kind = fault.kind;
                    trail.add(attempt.model(), AttemptEnd::Failed(fault.clone()), Duration::ZERO);
                    attempt.fail(&fault);
                    yield Err(RouteError::Interrupted { model, kind });
                    return;
                }
            }
        }
        // Of an answer that never began, as the caller's own limit cut what was thought, the end was waited for.
        attempt.first_token();
        attempt.succeed(is_refusal);
    }
    .boxed()
}
