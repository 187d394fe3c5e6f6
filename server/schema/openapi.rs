//! The contract as an OpenAPI 3.1 document: what goes over HTTP at `/api/trpc`, envelopes included.
//!
//! Each procedure is a path of its own. The envelope around inputs, outputs and errors depends on
//! `TRPC_TRANSFORMER`, so a server describes itself as it is set; the file in `schema/` is for the
//! default, superjson.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    components::{Components, reference},
    contract::{Contract, ContractEntry, ErrorEntry},
};
use crate::{
    _core::{
        auth::SESSION_COOKIE,
        errors::{ErrorCode, RATE_LIMIT_EXCEEDED},
        procedure::{Accepts, Access, ProcedureKind},
    },
    config::Transformer,
};

/// The version of the specification.
const OPENAPI: &str = "3.1.1";
/// Where the wire lies.
const MOUNT: &str = "/api/trpc";
/// The schema that all errors have in common; no type of a procedure is called so.
const ERROR: &str = "AppErrorShape";

const ABOUT: &str = "\
Each procedure is a path of its own: a query is a GET whose input is JSON in the parameter `input` \
(or a POST with the input as its body, where the server is set so), a mutation a POST, and a subscription a GET that answers with an event \
stream. Several calls can be one request: their paths joined by commas, `?batch=1`, and the inputs \
as an object by position (`{\"0\": …, \"1\": …}`) in `input` or in the body; the answer is a list, \
with the status 207 where the statuses differ. Fields of an error's `data` are the same on every \
wire; its `code` is its identity.";

const ABOUT_SUPERJSON: &str = "\
Values travel as superjson: `{\"json\": …, \"meta\"?: …}`, where `meta` notes which texts are dates \
and the like. A client need not send `meta`, and may ignore it.";

/// Describes the HTTP side of a server with this transformer.
///
/// `method_override` says whether queries may be POSTed as well.
pub fn document(contract: &Contract<'_>, transformer: Transformer, method_override: bool) -> Value {
    let mut printer = Printer {
        components: Components::new(contract, transformer),
        transformer,
        shared: Map::new(),
    };
    let paths: Map<String, Value> = contract
        .procedures
        .iter()
        .map(|entry| {
            let path = format!("{MOUNT}/{}", entry.procedure.path);
            let kind = entry.procedure.kind;
            let mut operations = Map::new();
            if kind != ProcedureKind::Mutation {
                operations.insert("get".into(), printer.operation(entry, VerbName::Get));
            }
            if kind == ProcedureKind::Mutation || (kind == ProcedureKind::Query && method_override)
            {
                operations.insert("post".into(), printer.operation(entry, VerbName::Post));
            }
            (path, operations.into())
        })
        .collect();
    let namespaces: BTreeMap<&str, ()> = contract
        .procedures
        .iter()
        .map(|entry| (entry.namespace(), ()))
        .collect();
    let tags: Vec<Value> = namespaces
        .into_keys()
        .map(|name| json!({ "name": name }))
        .collect();
    let about = match transformer {
        Transformer::Superjson => format!("{ABOUT}\n\n{ABOUT_SUPERJSON}"),
        Transformer::None => ABOUT.to_owned(),
    };
    let error = printer.any_error();
    printer.shared.insert("Error".into(), error);
    let mut schemas = printer.components.schemas();
    schemas.insert(ERROR.into(), error_shape());
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": about,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "The server that this document comes from." }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": printer.shared,
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

#[derive(Clone, Copy, PartialEq)]
enum VerbName {
    Get,
    Post,
}

struct Printer<'a> {
    components: Components<'a>,
    transformer: Transformer,
    /// Answers of errors, most of which many procedures share.
    shared: Map<String, Value>,
}

impl Printer<'_> {
    fn operation(&mut self, entry: &ContractEntry<'_>, method: VerbName) -> Value {
        let procedure = entry.procedure;
        let mut operation = Map::new();
        let is_second = procedure.kind == ProcedureKind::Query && method == VerbName::Post;
        let id = match is_second {
            true => format!("{}.post", procedure.path),
            false => procedure.path.to_owned(),
        };
        operation.insert("operationId".into(), id.into());
        operation.insert("tags".into(), json!([entry.namespace()]));
        operation.insert("summary".into(), entry.summary().into());
        operation.insert("description".into(), procedure.docs.into());
        operation.insert("security".into(), security(procedure.access));
        match method {
            VerbName::Get => {
                operation.insert("parameters".into(), self.parameters(entry));
            }
            VerbName::Post => {
                if let Some(body) = self.body(entry) {
                    operation.insert("requestBody".into(), body);
                }
            }
        }
        operation.insert("responses".into(), self.responses(entry));
        operation.insert("x-kind".into(), procedure.kind.name().into());
        operation.insert("x-access".into(), json!(procedure.access));
        operation.into()
    }

    fn parameters(&self, entry: &ContractEntry<'_>) -> Value {
        let mut parameters = Vec::new();
        if let Some(schema) = self.input(entry) {
            parameters.push(json!({
                "name": "input",
                "in": "query",
                "required": !entry.input_optional,
                "description": "The input, as JSON.",
                "content": { "application/json": { "schema": schema } },
            }));
        }
        if entry.procedure.tracked {
            parameters.push(json!({
                "name": "Last-Event-ID",
                "in": "header",
                "description": "The id of the last event that arrived: where to resume.",
                "schema": { "type": "string" },
            }));
        }
        parameters.into()
    }

    fn body(&self, entry: &ContractEntry<'_>) -> Option<Value> {
        let (media, schema) = match entry.procedure.accepts {
            Accepts::Nothing => return None,
            Accepts::Json => ("application/json", self.input(entry)?),
            Accepts::Form => ("multipart/form-data", json!({ "type": "object" })),
            Accepts::Binary => ("application/octet-stream", json!({})),
        };
        Some(json!({
            "required": !entry.input_optional,
            "content": { media: { "schema": schema } },
        }))
    }

    /// The input in its envelope; `None` where there is none.
    fn input(&self, entry: &ContractEntry<'_>) -> Option<Value> {
        let mut schema = self.components.place(entry.input.as_ref()?);
        if entry.input_optional && self.transformer == Transformer::Superjson {
            // `undefined`, which `meta` says.
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        Some(self.wrapped(schema))
    }

    fn wrapped(&self, schema: Value) -> Value {
        match self.transformer {
            Transformer::None => schema,
            Transformer::Superjson => json!({
                "type": "object",
                "properties": { "json": schema, "meta": { "type": "object" } },
                "required": ["json"],
            }),
        }
    }

    fn responses(&mut self, entry: &ContractEntry<'_>) -> Value {
        let output = self.components.place(&entry.output);
        let mut responses = Map::new();
        let content = if entry.procedure.kind == ProcedureKind::Subscription {
            json!({ "text/event-stream": {
                "schema": { "type": "string" },
                // What OpenAPI 3.1 has no word for: the JSON in the data of each event.
                "x-event": self.wrapped(output),
            } })
        } else {
            let undefined = entry
                .output
                .get("x-superjson")
                .is_some_and(|x| x == "undefined");
            let required = match self.transformer {
                Transformer::None if undefined => json!([]),
                _ => json!(["data"]),
            };
            json!({ "application/json": { "schema": {
                "type": "object",
                "properties": { "result": {
                    "type": "object",
                    "properties": { "data": self.wrapped(output) },
                    "required": required,
                } },
                "required": ["result"],
            } } })
        };
        let meaning = match entry.procedure.kind {
            ProcedureKind::Subscription => {
                "Events; those named `connected`, `ping`, `serialized-error` and `return` are the wire's own."
            }
            ProcedureKind::Query | ProcedureKind::Mutation => "What the procedure answers.",
        };
        responses.insert(
            "200".into(),
            json!({ "description": meaning, "content": content }),
        );
        let mut by_status: BTreeMap<u16, Vec<&ErrorEntry<'_>>> = BTreeMap::new();
        for error in &entry.errors {
            let status = error.error.code.http_status();
            by_status.entry(status).or_default().push(error);
        }
        for (status, errors) in by_status {
            let mut codes: Vec<&str> = errors.iter().map(|e| e.error.data_code).collect();
            codes.dedup();
            let answer = self.errors(status, &errors, &codes);
            responses.insert(status.to_string(), self.share(&codes.join("_"), answer));
        }
        responses.insert(
            "default".into(),
            json!({ "$ref": "#/components/responses/Error" }),
        );
        responses.into()
    }

    /// A reference to an answer that is kept once, under its name or the next one that is free.
    fn share(&mut self, name: &str, answer: Value) -> Value {
        let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}_{n}")));
        for name in names {
            if self.shared.get(&name).is_none_or(|kept| *kept == answer) {
                let reference = format!("#/components/responses/{name}");
                self.shared.insert(name, answer);
                return json!({ "$ref": reference });
            }
        }
        answer
    }

    /// The errors of one status.
    fn errors(&self, status: u16, errors: &[&ErrorEntry<'_>], codes: &[&str]) -> Value {
        let description: Vec<String> = errors
            .iter()
            .map(|entry| format!("`{}`: {}", entry.error.data_code, entry.error.when))
            .collect();
        let mut codes = codes.to_vec();
        if status == 400 {
            // Of the wire, before there is a procedure.
            codes.push(ErrorCode::ParseError.name());
        }
        let details: Vec<Value> = errors
            .iter()
            .filter_map(|entry| Some(self.components.place(entry.details.as_ref()?)))
            .collect();
        let mut data = json!({
            "code": { "enum": codes },
            "httpStatus": { "const": status },
        });
        if !details.is_empty() {
            data["details"] = json!({ "anyOf": details });
        }
        let narrowed = json!({
            "allOf": [{ "$ref": reference(ERROR) }],
            "properties": { "data": { "properties": data } },
        });
        json!({
            "description": description.join("\n\n"),
            "content": { "application/json": { "schema": self.error(narrowed) } },
        })
    }

    fn any_error(&self) -> Value {
        let schema = self.error(json!({ "$ref": reference(ERROR) }));
        json!({
            "description": "Any other error, such as 405, 413, 429 or 503 of the wire.",
            "content": { "application/json": { "schema": schema } },
        })
    }

    fn error(&self, shape: Value) -> Value {
        json!({
            "type": "object",
            "properties": { "error": self.wrapped(shape) },
            "required": ["error"],
        })
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::SignedIn | Access::Viewer | Access::Admin => {
            json!([{ "session": [] }, { "bearer": [] }])
        }
    }
}

fn error_shape() -> Value {
    let codes = ErrorCode::ALL.iter().map(|code| code.name());
    let codes: Vec<&str> = codes.chain([RATE_LIMIT_EXCEEDED]).collect();
    json!({
        "type": "object",
        "description": "What went wrong.",
        "properties": {
            "message": { "type": "string", "description": "For people." },
            "code": { "type": "integer", "description": "tRPC's number; shared by several errors." },
            "data": {
                "type": "object",
                "description": "For programs.",
                "properties": {
                    "code": { "enum": codes, "description": "The identity of the error." },
                    "httpStatus": {
                        "type": "integer",
                        "description": "The status of this call, also where a batch's own is 207.",
                    },
                    "path": { "type": "string", "description": "The procedure." },
                    "requestId": {
                        "type": "string",
                        "description": "Finds the call in the server's log.",
                    },
                    "retryAfter": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When to try again.",
                    },
                    "details": { "description": "What to go on with; each procedure says what." },
                },
                "required": ["code", "httpStatus", "requestId"],
            },
        },
        "required": ["message", "code", "data"],
    })
}
