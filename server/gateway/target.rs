//! What a request asks for: `task/NAME` is a task of the catalog, whose route answers, and anything else a
//! model of the catalog, which answers alone. `claude-task-NAME` is `task/NAME` for programs that offer no
//! model without that word.

use super::{caller::GatewayCall, refusal::Refusal};
use crate::{
    model_router::{ModelRouter, Route, RouteError, catalog::TASK_PREFIX},
    providers::{RawObject, fields::text},
};

/// What stands before the name of a task for Anthropic's programs, in the place of [`TASK_PREFIX`].
pub(super) const CLAUDE_TASK: &str = "claude-task-";

/// The route of a request.
pub(super) fn route(
    models: &ModelRouter,
    call: &GatewayCall,
    body: &RawObject,
) -> Result<Route, Refusal> {
    let name = name(models, call, body)?;
    let subject = call.subject(body);
    let route = match name.strip_prefix(TASK_PREFIX) {
        Some(task) => models.select(task, subject.as_ref(), None),
        None => models.select_model(&name, subject.as_ref()),
    };
    route.map_err(|error| refused(&error, &name))
}

/// The model that a request names, or the primary of a task's control route; it alone answers.
pub(super) fn only_model(
    models: &ModelRouter,
    call: &GatewayCall,
    body: &RawObject,
) -> Result<Route, Refusal> {
    let name = name(models, call, body)?;
    let subject = call.subject(body);
    let route = match name.strip_prefix(TASK_PREFIX) {
        Some(task) => models.select_control(task, subject.as_ref()),
        None => models.select_model(&name, subject.as_ref()),
    };
    route.map_err(|error| refused(&error, &name))
}

fn refused(error: &RouteError, name: &str) -> Refusal {
    match error {
        RouteError::Private { .. } => Refusal::bad_request(Some("model"), error.to_string()),
        _ => Refusal::no_model(name),
    }
}

/// The name in a request. What a key may not ask for is not there for it.
fn name(models: &ModelRouter, call: &GatewayCall, body: &RawObject) -> Result<String, Refusal> {
    let name = text(body.get("model")).filter(|name| !name.is_empty());
    let mut name = name.ok_or_else(|| {
        let message = "`model` is missing: expected the name of a model, or `task/NAME`";
        Refusal::bad_request(Some("model"), message)
    })?;
    if let Some(task) = name.strip_prefix(CLAUDE_TASK)
        && models.catalog().model(&name).is_none()
    {
        name = format!("{TASK_PREFIX}{task}");
    }
    if !call.allows(&name) {
        return Err(Refusal::no_model(&name));
    }
    Ok(name)
}
