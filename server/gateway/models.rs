//! `GET /v1/models` and `GET /v1/models/NAME`: the tasks and models that can be asked for.

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    Admitted, Gateway, Shared, answer,
    caller::GatewayCall,
    endpoint::Endpoint,
    refusal::{Dialect, Refusal},
    target::CLAUDE_TASK,
};
use crate::model_router::catalog::{Catalog, Model, TASK_PREFIX};

static ENDPOINT: Endpoint = Endpoint::new("/v1/models");
/// When a model was made is not known; clients want a number.
const CREATED: u32 = 0;
const CREATED_TEXT: &str = "1970-01-01T00:00:00Z";

/// One that can be asked for.
struct Entry<'a> {
    id: String,
    owner: &'a str,
    kind: &'static str,
    context: u32,
}

impl<'a> Entry<'a> {
    fn of_model(model: &'a Model) -> Self {
        Self {
            // The name that stays when its prompt changes.
            id: model.called().to_owned(),
            owner: &model.provider,
            kind: "model",
            context: model.context,
        }
    }

    fn to_json(&self, dialect: Dialect) -> Value {
        let Self {
            id,
            owner,
            kind,
            context,
        } = self;
        match dialect {
            Dialect::Messages => {
                let task = id.strip_prefix(TASK_PREFIX);
                let listed = task.map_or_else(|| id.clone(), |task| format!("{CLAUDE_TASK}{task}"));
                json!({
                    "type": "model", "id": listed, "display_name": id, "created_at": CREATED_TEXT,
                })
            }
            _ => json!({
                "id": id, "object": "model", "created": CREATED, "owned_by": owner,
                "context_length": context, "modelramp": {"kind": kind},
            }),
        }
    }
}

fn entries(catalog: &Catalog) -> impl Iterator<Item = Entry<'_>> {
    let tasks = catalog.tasks.iter().map(|task| {
        let models = task.control.iter().chain(&task.candidate);
        Entry {
            id: format!("{TASK_PREFIX}{}", task.name),
            owner: "modelramp",
            kind: "task",
            context: models.map(|model| model.context).min().unwrap_or(0),
        }
    });
    tasks.chain(catalog.models.iter().map(|model| Entry::of_model(model)))
}

pub(super) async fn list(State(gateway): Shared, request: Request) -> Response {
    answer(&gateway, request, |call, catalog, dialect| {
        let data: Vec<Value> = entries(catalog)
            .filter(|entry| call.allows(&entry.id))
            .map(|entry| entry.to_json(dialect))
            .collect();
        Ok(match dialect {
            Dialect::Messages => {
                let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
                let (first, last) = (id(data.first()), id(data.last()));
                json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
            }
            _ => json!({"object": "list", "data": data}),
        })
    })
    .await
}

pub(super) async fn retrieve(
    State(gateway): Shared,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // What is no text is the name of nothing, and is told so to whoever may call.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    answer(&gateway, request, |call, catalog, dialect| {
        let mut entries = entries(catalog).filter(|entry| call.allows(&entry.id));
        let task = name
            .strip_prefix(CLAUDE_TASK)
            .map(|task| format!("{TASK_PREFIX}{task}"));
        let entry = entries.find(|entry| entry.id == name || task.as_ref() == Some(&entry.id));
        let entry = entry.ok_or_else(|| Refusal::no_model(&name))?;
        Ok(entry.to_json(dialect))
    })
    .await
}

/// Anthropic's clients name their version; the path is the same.
async fn answer(
    gateway: &Gateway,
    request: Request,
    of: impl FnOnce(&GatewayCall, &Catalog, Dialect) -> Result<Value, Refusal>,
) -> Response {
    let dialect = if request.headers().contains_key("anthropic-version") {
        Dialect::Messages
    } else {
        Dialect::Chat
    };
    let run = async |gateway: &Gateway, admitted: &mut Admitted, body: Body| {
        gateway.bounds.discard(body).await;
        let json = of(&admitted.call, &gateway.models.catalog(), dialect)?;
        Ok(answer::json(json.to_string()))
    };
    gateway.serve(&ENDPOINT, dialect, request, run).await
}
