//! Several calls in one request: names joined by commas, inputs in one object, answers in order.

use std::{future::Future, sync::Arc, time::Duration};

use axum::response::Response;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    Trpc, batch_stream,
    envelope::CallFailure,
    input::BatchInputs,
    moving::{Lead, MovingCall},
    part::{BatchPart, whole},
    passing::PassedShare,
    request::BatchDelivery,
    respond,
};
use crate::_core::{
    context::{Context, new_request_id},
    errors::RpcError,
    procedure::{Input, Procedure, ProcedureKind},
    registry::Target,
    turns,
};
use crate::legacy::send::AnswerRoom;

/// How long the head of a stream waits for the cookies of the old server.
const HEAD_WAIT: Duration = Duration::from_millis(250);

/// The names of a batch; more than `max` are refused together.
pub fn split(path: &str, max: usize) -> Result<Vec<&str>, RpcError> {
    let names: Vec<&str> = path.split(',').take(max.saturating_add(1)).collect();
    if names.len() > max {
        return Err(RpcError::bad_request("Batch call exceeds maximum size"));
    }
    Ok(names)
}

/// All procedures of a batch must be of one kind, because they share one method.
pub fn check_kinds<'a>(
    procedures: impl Iterator<Item = &'a Arc<Procedure>>,
) -> Result<(), RpcError> {
    let mut kinds: Vec<ProcedureKind> = Vec::new();
    for procedure in procedures {
        if !kinds.contains(&procedure.kind) {
            kinds.push(procedure.kind);
        }
    }
    if kinds.len() <= 1 {
        return Ok(());
    }
    let names: Vec<&str> = kinds.into_iter().map(ProcedureKind::name).collect();
    Err(RpcError::bad_request(format!(
        "Cannot mix procedure types in call: {}",
        names.join(", ")
    )))
}

/// The calls of one request.
pub(super) struct BatchCalls<'a> {
    pub(super) trpc: &'a Arc<Trpc>,
    pub(super) names: &'a [&'a str],
    /// Where each of the names leads.
    pub(super) targets: Vec<Target>,
    /// What is noted of those that run here; nothing of most.
    pub(super) watched: Vec<Option<MovingCall>>,
    pub(super) method: &'a Method,
    pub(super) context: Context,
    /// An error here is every call's error, unless the call has one that comes first.
    pub(super) inputs: Result<BatchInputs, RpcError>,
    /// The old server's share; without one, all run here.
    pub(super) theirs: Option<PassedShare>,
}

impl BatchCalls<'_> {
    /// Runs all calls at once and sends their answers as the client wants them.
    pub(super) async fn respond(mut self, delivery: BatchDelivery) -> Response {
        let trpc = self.trpc.clone();
        let cookies = self.context.cookies.clone();
        let first = self.targets.iter().find(|target| target.here().is_some());
        let allowed = first.map_or(&[][..], |target| trpc.allowed(target));
        let count = self.names.len();
        let transformer = trpc.config.transformer;
        let theirs = self.theirs.take();
        let (mut response, said) = if delivery == BatchDelivery::Whole {
            let ours = self.start(theirs.as_ref());
            let ours = ours.map(|(place, call)| async move { (place, call.await) });
            let ours = futures::future::join_all(ours);
            let (mut parts, headers, _held) = match theirs {
                Some(theirs) => {
                    let (mut ours, said) = tokio::join!(ours, theirs.ask());
                    ours.extend(said.parts);
                    (ours, said.headers, said.held)
                }
                None => (ours.await, HeaderMap::new(), AnswerRoom::default()),
            };
            parts.sort_unstable_by_key(|(place, _)| *place);
            let parts: Vec<BatchPart> = parts.into_iter().map(|(_, part)| part).collect();
            (whole(&parts, transformer, allowed), headers)
        } else {
            let sets_cookies =
                |target: &Target| target.here().is_some_and(|here| here.sets_cookies);
            let awaited: Vec<bool> = self.targets.iter().map(sets_cookies).collect();
            let mut running = batch_stream::RunningBatch::start(&trpc, self.start(theirs.as_ref()));
            let mut headers = HeaderMap::new();
            let theirs = match theirs {
                Some(theirs) => {
                    let mut opening = Box::pin(theirs.open());
                    let opened = tokio::time::timeout(HEAD_WAIT, &mut opening).await;
                    Some(match opened {
                        Ok((said, pieces)) => {
                            headers = said;
                            pieces
                        }
                        Err(_) => futures::stream::once(opening)
                            .flat_map(|(_, pieces)| pieces)
                            .boxed(),
                    })
                }
                None => None,
            };
            running.wait_for(&awaited).await;
            let response = batch_stream::respond(running, theirs, count, &trpc, delivery);
            (response, headers)
        };
        add_said(&mut response, &said);
        respond::set_cookies(&mut response, cookies.take());
        response
    }

    /// The calls that run here, as futures that stand on their own; dropping one cancels it.
    fn start(
        self,
        theirs: Option<&PassedShare>,
    ) -> impl Iterator<Item = (usize, impl Future<Output = BatchPart> + Send + use<>)> {
        let Self {
            trpc,
            names,
            targets,
            watched,
            method,
            context,
            mut inputs,
            theirs: _,
        } = self;
        let transformer = trpc.config.transformer;
        let calls: Vec<_> = names
            .iter()
            .zip(targets.into_iter().zip(watched))
            .enumerate()
            .filter(|(index, _)| theirs.is_none_or(|theirs| !theirs.has(*index)))
            .map(|(index, (name, (target, watched)))| {
                let context = Context {
                    request_id: new_request_id(),
                    ..context.clone()
                };
                let admitted = target.here().is_some_and(|here| here.admits(&context));
                let input = match &mut inputs {
                    // Nobody was asked, as the inputs cannot be read.
                    Err(error) if target.here().is_none() && trpc.old.is_some() => {
                        Err(error.clone())
                    }
                    _ if !admitted => Ok(Input::Absent),
                    Ok(inputs) => inputs.take(index, transformer),
                    Err(error) => Err(error.clone()),
                };
                let call = run(
                    trpc.clone(),
                    Lead { target, watched },
                    (*name).to_owned(),
                    method.clone(),
                    context,
                    input,
                );
                (index, call)
            })
            .collect();
        calls.into_iter()
    }
}

async fn run(
    trpc: Arc<Trpc>,
    Lead { target, watched }: Lead,
    name: String,
    method: Method,
    context: Context,
    input: Result<Input, RpcError>,
) -> BatchPart {
    turns::pass().await;
    let request_id = context.request_id.clone();
    let unreadable = (target.here().is_none() && trpc.old.is_some())
        .then(|| input.as_ref().err().cloned())
        .flatten();
    let callable = match unreadable {
        Some(error) => Err(error),
        None => trpc.callable(target, &name, &method),
    };
    let ready = callable.and_then(|procedure| {
        if procedure.kind == ProcedureKind::Subscription {
            return Err(RpcError::bad_request("Cannot batch subscription calls"));
        }
        Ok((procedure, input?))
    });
    BatchPart::Ours(match ready {
        Ok((procedure, input)) => {
            let watched = watched.map(MovingCall::run);
            let answer = trpc.call(&procedure, context, input).await;
            if let Some(watched) = watched {
                watched.answered(&answer);
            }
            answer
        }
        Err(error) => Err(CallFailure::report(error, Some(&name), request_id)),
    })
}

/// Adds what the old server's headers say to every client: its cookies, and when to come again.
fn add_said(response: &mut Response, said: &HeaderMap) {
    for cookie in said.get_all(header::SET_COOKIE) {
        let headers = response.headers_mut();
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    let ours = response.headers().get(header::RETRY_AFTER);
    if let (None, Some(theirs)) = (ours, said.get(header::RETRY_AFTER)) {
        let theirs: HeaderValue = theirs.clone();
        response.headers_mut().insert(header::RETRY_AFTER, theirs);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_split_at_commas_and_counted() {
        assert_eq!(split("a.b,c.d", 2).unwrap(), ["a.b", "c.d"]);
        assert_eq!(split("a", 1).unwrap(), ["a"]);
        assert_eq!(split(",a,", 3).unwrap(), ["", "a", ""]);
        let error = split("a,b,c", 2).unwrap_err();
        assert_eq!(error.message, "Batch call exceeds maximum size");
    }

    proptest! {
        #[test]
        fn joined_names_are_what_was_split(path in ".*", max in 0_usize..20) {
            match split(&path, max) {
                Ok(names) => {
                    prop_assert!(names.len() <= max);
                    prop_assert_eq!(names.join(","), path);
                }
                Err(_) => prop_assert!(path.matches(',').count() >= max),
            }
        }
    }
}
