//! Several calls in one request: names joined by commas, inputs in one object, answers in order.

use std::{future::Future, sync::Arc};

use axum::response::Response;
use http::Method;

use super::{
    Trpc, batch_stream,
    envelope::{self, Answer, Failure},
    input::BatchInputs,
    request::Delivery,
    respond,
};
use crate::_core::{
    context::{Context, new_request_id},
    errors::RpcError,
    procedure::{Input, Kind, Procedure},
    registry::Target,
    turns,
};
use crate::transport::headers;

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
    let mut kinds: Vec<Kind> = Vec::new();
    for procedure in procedures {
        if !kinds.contains(&procedure.kind) {
            kinds.push(procedure.kind);
        }
    }
    if kinds.len() <= 1 {
        return Ok(());
    }
    let names: Vec<&str> = kinds.into_iter().map(Kind::name).collect();
    Err(RpcError::bad_request(format!(
        "Cannot mix procedure types in call: {}",
        names.join(", ")
    )))
}

/// The status of a batch: the one that all its calls have, else 207.
pub fn status(mut statuses: impl Iterator<Item = u16>) -> u16 {
    let first = statuses.next().unwrap_or(200);
    if statuses.all(|status| status == first) {
        first
    } else {
        207
    }
}

/// The calls of one request.
pub(super) struct Calls<'a> {
    pub(super) trpc: &'a Arc<Trpc>,
    pub(super) names: &'a [&'a str],
    /// Where each of the names leads.
    pub(super) targets: Vec<Target>,
    pub(super) method: &'a Method,
    pub(super) context: Context,
    /// An error here is every call's error, unless the call has one that comes first.
    pub(super) inputs: Result<BatchInputs, RpcError>,
}

impl Calls<'_> {
    /// Runs all calls at once and sends their answers as the client wants them.
    pub(super) async fn respond(self, delivery: Delivery) -> Response {
        let trpc = self.trpc.clone();
        let cookies = self.context.cookies.clone();
        let first = self.targets.iter().find(|target| target.here().is_some());
        let allowed = first.map_or(&[][..], |target| trpc.allowed(target));
        let count = self.names.len();
        let transformer = trpc.config.transformer;
        match delivery {
            Delivery::Whole => {
                let answers = futures::future::join_all(self.start()).await;
                let mut body = Vec::with_capacity(512 * count);
                for answer in &answers {
                    body.push(if body.is_empty() { b'[' } else { b',' });
                    envelope::write_envelope(answer, transformer, &mut body);
                }
                body.push(b']');
                let status = status(answers.iter().map(envelope::status));
                let mut response = respond::json(status, body, allowed);
                let retry_after = answers
                    .iter()
                    .filter_map(envelope::retry_after_seconds)
                    .max();
                headers::retry_after(&mut response, retry_after);
                respond::set_cookies(&mut response, cookies.take());
                response
            }
            Delivery::Lines | Delivery::Members => {
                let sets_cookies =
                    |target: &Target| target.here().is_some_and(|here| here.sets_cookies);
                let awaited: Vec<bool> = self.targets.iter().map(sets_cookies).collect();
                let mut running = batch_stream::Running::start(&trpc, self.start());
                running.wait_for(&awaited).await;
                let mut response = match delivery {
                    Delivery::Members => batch_stream::members(running, transformer),
                    _ => {
                        batch_stream::lines(running, count, transformer, trpc.config.ping_interval)
                    }
                };
                respond::set_cookies(&mut response, cookies.take());
                response
            }
        }
    }

    /// The calls as futures that stand on their own; dropping one cancels it.
    fn start(self) -> impl Iterator<Item = impl Future<Output = Answer> + Send + use<>> {
        let Self {
            trpc,
            names,
            targets,
            method,
            context,
            mut inputs,
        } = self;
        let transformer = trpc.config.transformer;
        let calls: Vec<_> = names
            .iter()
            .zip(targets)
            .enumerate()
            .map(|(index, (name, target))| {
                let context = Context {
                    request_id: new_request_id(),
                    ..context.clone()
                };
                let admitted = target.here().is_some_and(|here| here.admits(&context));
                let input = match &mut inputs {
                    _ if !admitted => Ok(Input::Absent),
                    Ok(inputs) => inputs.take(index, transformer),
                    Err(error) => Err(error.clone()),
                };
                run(
                    trpc.clone(),
                    target,
                    (*name).to_owned(),
                    method.clone(),
                    context,
                    input,
                )
            })
            .collect();
        calls.into_iter()
    }
}

async fn run(
    trpc: Arc<Trpc>,
    target: Target,
    name: String,
    method: Method,
    context: Context,
    input: Result<Input, RpcError>,
) -> Answer {
    turns::pass().await;
    let request_id = context.request_id.clone();
    let ready = trpc.callable(target, &name, &method).and_then(|procedure| {
        if procedure.kind == Kind::Subscription {
            return Err(RpcError::bad_request("Cannot batch subscription calls"));
        }
        Ok((procedure, input?))
    });
    match ready {
        Ok((procedure, input)) => trpc.call(&procedure, context, input).await,
        Err(error) => Err(Failure::report(error, Some(&name), request_id)),
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

    #[test]
    fn different_statuses_make_207() {
        assert_eq!(status([200, 200].into_iter()), 200);
        assert_eq!(status([404, 404].into_iter()), 404);
        assert_eq!(status([200, 404].into_iter()), 207);
        assert_eq!(status([401, 404, 401].into_iter()), 207);
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
