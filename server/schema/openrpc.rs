//! The contract as an OpenRPC document, for tools of JSON-RPC.
//!
//! OpenRPC describes parameters one by one, so the properties of an input object become named
//! parameters; any other input is one parameter, `input`, by position.

use serde_json::{Map, Value, json};

use super::{
    components::Components,
    contract::{Contract, ContractEntry, referred},
};
use crate::{
    _core::{
        errors::{ErrorCode, RATE_LIMIT_EXCEEDED},
        procedure::{Accepts, Access, Procedure, ProcedureKind},
    },
    config::Transformer,
};

/// The version of the specification.
const OPENRPC: &str = "1.3.2";

/// What the parts of the document are made of.
struct Document<'a> {
    contract: &'a Contract<'a>,
    components: Components<'a>,
}

/// Describes every procedure that takes JSON, and how to unsubscribe.
pub fn document(contract: &Contract<'_>) -> Value {
    let document = Document {
        contract,
        // JSON-RPC is plain JSON.
        components: Components::new(contract, Transformer::None),
    };
    let methods: Vec<Value> = contract
        .procedures
        .iter()
        // Forms and binary bodies have no place in JSON-RPC.
        .filter(|entry| matches!(entry.procedure.accepts, Accepts::Json | Accepts::Nothing))
        .flat_map(|entry| match entry.procedure.kind {
            ProcedureKind::Subscription => {
                vec![subscribe(entry, &document), unsubscribe(entry)]
            }
            ProcedureKind::Query | ProcedureKind::Mutation => vec![call(entry, &document)],
        })
        .collect();
    json!({
        "openrpc": OPENRPC,
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "methods": methods,
        "components": {
            "schemas": document.components.schemas(),
            "errors": errors(),
        },
    })
}

fn call(entry: &ContractEntry<'_>, document: &Document<'_>) -> Value {
    let result = document.components.place(&entry.output);
    let result = json!({ "name": "result", "schema": result });
    Value::Object(method(entry, document, result))
}

fn subscribe(entry: &ContractEntry<'_>, document: &Document<'_>) -> Value {
    let procedure = entry.procedure;
    let data = document.components.place(&entry.output);
    let event = if procedure.tracked {
        json!({
            "type": "object",
            "properties": { "id": { "type": "string" }, "data": data },
            "required": ["id", "data"],
        })
    } else {
        data
    };
    let mut method = method(entry, document, subscription_id());
    method.insert("x-event".into(), event);
    method.insert("x-unsubscribe".into(), unsubscribe_name(procedure).into());
    Value::Object(method)
}

fn unsubscribe(entry: &ContractEntry<'_>) -> Value {
    let path = entry.procedure.path;
    json!({
        "name": unsubscribe_name(entry.procedure),
        "summary": format!("Ends a subscription to `{path}`."),
        "tags": [{ "name": entry.namespace() }],
        "paramStructure": "by-position",
        "params": [subscription_id()],
        "result": {
            "name": "result",
            "description": "Whether there was such a subscription on this socket.",
            "schema": { "type": "boolean" },
        },
        "x-kind": "unsubscribe",
        "x-access": Access::Public,
    })
}

fn unsubscribe_name(procedure: &Procedure) -> String {
    format!("{}.unsubscribe", procedure.path)
}

fn subscription_id() -> Value {
    json!({ "name": "subscription", "required": true, "schema": { "type": "string" } })
}

fn method(entry: &ContractEntry<'_>, document: &Document<'_>, result: Value) -> Map<String, Value> {
    let procedure = entry.procedure;
    let (structure, params) = params(entry, document);
    let mut method = Map::new();
    method.insert("name".into(), procedure.path.into());
    method.insert("summary".into(), entry.summary().into());
    method.insert("description".into(), procedure.docs.into());
    method.insert("tags".into(), json!([{ "name": entry.namespace() }]));
    method.insert("paramStructure".into(), structure.into());
    method.insert("params".into(), params.into());
    method.insert("result".into(), result);
    let mut codes: Vec<&str> = entry.errors.iter().map(|e| e.error.data_code).collect();
    codes.dedup();
    let errors = codes
        .into_iter()
        .map(|code| json!({ "$ref": format!("#/components/errors/{code}") }));
    method.insert("errors".into(), errors.collect());
    let errors = entry.errors.iter().map(|entry| {
        let mut error = json!({ "code": entry.error.data_code, "when": entry.error.when });
        if let Some(details) = &entry.details {
            error["details"] = document.components.place(details);
        }
        error
    });
    method.insert("x-errors".into(), errors.collect());
    method.insert("x-kind".into(), procedure.kind.name().into());
    method.insert("x-access".into(), json!(procedure.access));
    method
}

/// Every error, by the string that is its identity.
fn errors() -> Map<String, Value> {
    let codes = ErrorCode::ALL.iter().map(|code| (code, code.name()));
    let table = codes.chain([(&ErrorCode::TooManyRequests, RATE_LIMIT_EXCEEDED)]);
    let errors = table.map(|(code, name)| {
        let error = json!({
            "code": code.json_rpc_number(),
            "message": name,
            "data": { "code": name, "httpStatus": code.http_status() },
        });
        (name.to_owned(), error)
    });
    errors.collect()
}

/// The parameters, and how they are passed.
fn params(entry: &ContractEntry<'_>, document: &Document<'_>) -> (&'static str, Vec<Value>) {
    let Some(schema) = &entry.input else {
        return ("either", Vec::new());
    };
    let place = |schema| document.components.place(schema);
    let Some(object) = listable(schema, document.contract) else {
        let input = param("input", !entry.input_optional, place(schema));
        return ("by-position", vec![input]);
    };
    let required = object.get("required").and_then(Value::as_array);
    let properties = object.get("properties").and_then(Value::as_object);
    let params = properties.into_iter().flatten().map(|(name, schema)| {
        let is_required = required.is_some_and(|names| names.iter().any(|n| n == name));
        param(name, is_required, place(schema))
    });
    ("by-name", params.collect())
}

/// The object that an input is, where its properties are all there is to it; also where the
/// input may be `null` instead.
fn listable<'a>(schema: &'a Value, contract: &'a Contract<'_>) -> Option<&'a Map<String, Value>> {
    let object = schema.as_object()?;
    if let Some(name) = object.get("$ref").and_then(referred) {
        return listable(contract.definitions.get(name)?, contract);
    }
    let any_of = object.get("anyOf").and_then(Value::as_array);
    if let Some([inner, null]) = any_of.map(Vec::as_slice)
        && null.get("type").is_some_and(|name| name == "null")
    {
        return listable(inner, contract);
    }
    let is_composed = ["oneOf", "anyOf", "allOf"]
        .iter()
        .any(|key| object.contains_key(*key));
    let is_closed = object
        .get("additionalProperties")
        .is_none_or(|additional| additional == false);
    (object.contains_key("properties") && !is_composed && is_closed).then_some(object)
}

fn param(name: &str, required: bool, schema: Value) -> Value {
    let mut param = Map::new();
    param.insert("name".into(), name.into());
    if let Some(description) = schema.get("description") {
        param.insert("description".into(), description.clone());
    }
    param.insert("required".into(), required.into());
    param.insert("schema".into(), schema);
    param.into()
}
