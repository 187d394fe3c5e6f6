//! A call on a socket, from where its name leads to its frames.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use http::HeaderMap;

use super::{
    super::{
        Trpc,
        envelope::{CallAnswer, CallFailure, Payload},
        input,
        moving::{Lead, MovingCall},
    },
    frame::{AnswerHead, CallFrame},
};
use crate::_core::{
    context::{Context, Holds},
    errors::RpcError,
    procedure::{Input, Procedure, ProcedureKind, StreamItem},
    registry::Target,
    turns,
};

/// What a subscription has to say; after `ended` its id is free again.
pub(super) struct SubscriptionStep {
    pub(super) id: Arc<str>,
    pub(super) frame: Option<Vec<u8>>,
    pub(super) ended: bool,
}

/// The procedure of a call over a socket, where a wrong kind is as good as no procedure.
fn procedure_of_kind(
    target: Target,
    path: &str,
    kind: ProcedureKind,
) -> Result<Arc<Procedure>, RpcError> {
    match target {
        Target::Here(procedure) if procedure.kind == kind => Ok(procedure),
        Target::Here(_) | Target::Unknown => {
            let kind = kind.name();
            let message = format!("No \"{kind}\"-procedure on path \"{path}\"");
            Err(RpcError::not_found(message))
        }
    }
}

/// Runs a query or a mutation to its frame.
pub(super) async fn answer(
    trpc: Arc<Trpc>,
    headers: Arc<HeaderMap>,
    Lead { target, watched }: Lead,
    request: CallFrame,
    holds: Holds,
) -> (Vec<u8>, CallAnswer) {
    turns::pass().await;
    let transformer = trpc.config.transformer;
    let mut context = trpc.gate.context(&headers).await;
    context.holds = holds;
    let request_id = context.request_id.clone();
    let ready = procedure_of_kind(target, &request.path, request.kind).and_then(|procedure| {
        let input = read_input(&trpc, &procedure, &context, request.input, None)?;
        Ok((procedure, input))
    });
    let answer = match ready {
        Ok((procedure, input)) => {
            let watched = watched.map(MovingCall::run);
            let answer = trpc.call(&procedure, context, input).await;
            if let Some(watched) = watched {
                watched.answered(&answer);
            }
            answer
        }
        Err(error) => Err(CallFailure::report(error, Some(&request.path), request_id)),
    };
    let frame = match &answer {
        Ok(payload) => request.head.data(payload, None, transformer),
        Err(failure) => request.head.error(failure, transformer),
    };
    (frame, answer)
}

/// Runs a subscription. A fault while it is set up is one `error`; later ones come with `stopped`.
pub(super) fn steps(
    trpc: Arc<Trpc>,
    headers: Arc<HeaderMap>,
    target: Target,
    request: CallFrame,
) -> impl Stream<Item = SubscriptionStep> + Send + 'static {
    async_stream::stream! {
        turns::pass().await;
        let CallFrame { head, path, input, last_event_id, .. } = request;
        let transformer = trpc.config.transformer;
        let step = |frame, ended| SubscriptionStep { id: head.id.clone(), frame, ended };
        let context = trpc.gate.context(&headers).await;
        let request_id = context.request_id.clone();
        let session = context.session.clone();
        let failed = |failure: CallFailure| Some(head.error(&failure, transformer));
        let report = |error| CallFailure::report(error, Some(&path), request_id.clone());
        let ready = procedure_of_kind(target, &path, ProcedureKind::Subscription).and_then(|procedure| {
            let input = read_input(&trpc, &procedure, &context, input, last_event_id)?;
            Ok((procedure, input))
        });
        let opened = match ready {
            Ok((procedure, input)) => procedure
                .subscribe(context, input)
                .await
                .map(|events| (procedure, events))
                .map_err(|error| CallFailure::reported(error, &path, request_id.clone())),
            Err(error) => Err(report(error)),
        };
        let (procedure, mut events) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                yield step(failed(failure), true);
                return;
            }
        };
        yield step(Some(head.started()), false);
        while let Some(event) = events.next().await {
            match event.and_then(|event| data(&trpc, &procedure, &head, &event)) {
                Ok(frame) => yield step(Some(frame), false),
                Err(error) => {
                    yield step(failed(report(error)), false);
                    break;
                }
            }
        }
        // What ends by itself has nothing to resume.
        let is_outdated = session.is_some_and(|session| session.is_outdated());
        let is_over = procedure.ends_itself || !(trpc.tasks.is_stopping() || is_outdated);
        // The producer is gone before the client may use the id again.
        drop(events);
        // A client that is told `stopped` does not resume elsewhere.
        let stopped = is_over.then(|| head.stopped());
        yield step(stopped, true);
    }
}

fn data(
    trpc: &Trpc,
    procedure: &Procedure,
    head: &AnswerHead,
    event: &StreamItem,
) -> Result<Vec<u8>, RpcError> {
    let transformer = trpc.config.transformer;
    let id = event.id.as_deref().filter(|id| !id.is_empty());
    let payload = match id {
        Some(id) => Payload::encode_tracked(transformer, &procedure.output, id, event)?,
        None => Payload::encode(transformer, &procedure.output, &*event.data)?,
    };
    Ok(head.data(&payload, id, transformer))
}

fn read_input(
    trpc: &Trpc,
    procedure: &Procedure,
    context: &Context,
    input: Option<serde_json::Value>,
    last_event_id: Option<String>,
) -> Result<Input, RpcError> {
    if !procedure.admits(context) {
        return Ok(Input::Absent);
    }
    let mut input = match input {
        Some(value) => input::decode(trpc.config.transformer, value)?,
        None => Input::Absent,
    };
    if let Some(id) = last_event_id {
        input::add_last_event_id(&mut input, id);
    }
    Ok(input)
}
