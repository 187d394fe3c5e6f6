//! The contract as an OpenRPC document, for tools of JSON-RPC.
//!
//! OpenRPC describes parameters one by one, so the properties of an input object become named
//! parameters; any other input is one parameter, `input`, by position. A type may look different to
//! the one who sends it and the one who gets it; where it does, the sent form is called `XInput`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::_core::{
    errors::ErrorCode,
    procedure::{Accepts, Access, Kind, Procedure},
    registry::{Registry, Schemas, Side},
};

/// The version of the specification.
const OPENRPC: &str = "1.3.2";
const DEFINITIONS: &str = "#/$defs/";
const COMPONENTS: &str = "#/components/schemas/";

/// Describes every procedure that takes JSON, and how to unsubscribe.
pub fn document(registry: &Registry) -> Value {
    let types = Types::new(
        registry.schemas(Side::Input),
        registry.schemas(Side::Output),
    );
    let methods: Vec<Value> = registry
        .iter()
        // Forms and binary bodies have no place in JSON-RPC.
        .filter(|procedure| matches!(procedure.accepts, Accepts::Json | Accepts::Nothing))
        .flat_map(|procedure| match procedure.kind {
            Kind::Subscription => {
                vec![subscribe(procedure, &types), unsubscribe(procedure)]
            }
            Kind::Query | Kind::Mutation => vec![call(procedure, &types)],
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
            "schemas": types.components(),
            "errors": errors(),
        },
    })
}

fn call(procedure: &Procedure, types: &Types) -> Value {
    let result = json!({ "name": "result", "schema": types.result(procedure) });
    Value::Object(method(procedure, types, result))
}

fn subscribe(procedure: &Procedure, types: &Types) -> Value {
    let data = types.result(procedure);
    let event = if procedure.tracked {
        json!({
            "type": "object",
            "properties": { "id": { "type": "string" }, "data": data },
            "required": ["id", "data"],
        })
    } else {
        data
    };
    let mut method = method(procedure, types, subscription_id());
    method.insert("x-event".into(), event);
    method.insert("x-unsubscribe".into(), unsubscribe_name(procedure).into());
    Value::Object(method)
}

fn unsubscribe(procedure: &Procedure) -> Value {
    let path = procedure.path;
    json!({
        "name": unsubscribe_name(procedure),
        "summary": format!("Ends a subscription to `{path}`."),
        "tags": [{ "name": namespace(path) }],
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

fn namespace(path: &str) -> &str {
    path.split_once('.')
        .map_or(path, |(namespace, _)| namespace)
}

fn method(procedure: &Procedure, types: &Types, result: Value) -> Map<String, Value> {
    let (structure, params) = types.params(procedure);
    let mut method = Map::new();
    method.insert("name".into(), procedure.path.into());
    let summary = procedure.docs.lines().next().unwrap_or("").trim();
    method.insert("summary".into(), summary.into());
    method.insert("description".into(), procedure.docs.into());
    method.insert(
        "tags".into(),
        json!([{ "name": namespace(procedure.path) }]),
    );
    method.insert("paramStructure".into(), structure.into());
    method.insert("params".into(), params.into());
    method.insert("result".into(), result);
    let errors: Vec<Value> = errors_of(procedure)
        .map(|code| json!({ "$ref": format!("#/components/errors/{}", code.name()) }))
        .collect();
    method.insert("errors".into(), errors.into());
    method.insert("x-kind".into(), procedure.kind.name().into());
    method.insert("x-access".into(), json!(procedure.access));
    method
}

/// What any procedure of this kind can answer; its docs tell the rest.
fn errors_of(procedure: &Procedure) -> impl Iterator<Item = ErrorCode> {
    let takes_input = procedure.accepts != Accepts::Nothing;
    let (known, admin) = match procedure.access {
        Access::Public => (false, false),
        Access::SignedIn => (true, false),
        Access::Admin => (true, true),
    };
    [
        (ErrorCode::BadRequest, takes_input),
        (ErrorCode::Unauthorized, known),
        (ErrorCode::Forbidden, admin),
        (ErrorCode::InternalServerError, true),
    ]
    .into_iter()
    .filter_map(|(code, can_happen)| can_happen.then_some(code))
}

/// Every error, by the string that is its identity.
fn errors() -> Map<String, Value> {
    let table = ErrorCode::ALL.iter().map(|code| {
        let error = json!({
            "code": code.json_rpc_number(),
            "message": code.name(),
            "data": { "code": code.name(), "httpStatus": code.http_status() },
        });
        (code.name().to_owned(), error)
    });
    table.collect()
}

/// The schemas of both sides, with one set of names.
struct Types {
    input: Schemas,
    output: Schemas,
    /// The sent forms that need a name of their own.
    renamed: BTreeMap<String, String>,
}

impl Types {
    fn new(mut input: Schemas, mut output: Schemas) -> Self {
        for schemas in [&mut input, &mut output] {
            schemas.procedures.values_mut().for_each(drop_undefined);
            schemas.definitions.values_mut().for_each(drop_undefined);
        }
        let differing = differing(&input.definitions, &output.definitions);
        let mut taken: BTreeSet<String> = input
            .definitions
            .keys()
            .chain(output.definitions.keys())
            .cloned()
            .collect();
        let renamed = differing
            .into_iter()
            .map(|name| {
                let mut sent = format!("{name}Input");
                while !taken.insert(sent.clone()) {
                    sent.push('_');
                }
                (name, sent)
            })
            .collect();
        Self {
            input,
            output,
            renamed,
        }
    }

    fn components(&self) -> Map<String, Value> {
        let mut components = BTreeMap::new();
        for (name, schema) in &self.output.definitions {
            components.insert(name.clone(), self.placed(schema, Side::Output));
        }
        for (name, schema) in &self.input.definitions {
            let name = self.renamed.get(name).unwrap_or(name);
            components.insert(name.clone(), self.placed(schema, Side::Input));
        }
        components.into_iter().collect()
    }

    fn result(&self, procedure: &Procedure) -> Value {
        match self.output.procedures.get(procedure.path) {
            Some(schema) => self.placed(schema, Side::Output),
            None => Value::Bool(true),
        }
    }

    /// The parameters, and how they are passed.
    fn params(&self, procedure: &Procedure) -> (&'static str, Vec<Value>) {
        if procedure.accepts == Accepts::Nothing {
            return ("either", Vec::new());
        }
        let Some(schema) = self.input.procedures.get(procedure.path) else {
            return ("either", Vec::new());
        };
        let Some(object) = self.listable(schema) else {
            let schema = self.placed(schema, Side::Input);
            let input = param("input", !is_optional(&schema), schema);
            return ("by-position", vec![input]);
        };
        let required = object.get("required").and_then(Value::as_array);
        let properties = object.get("properties").and_then(Value::as_object);
        let params = properties.into_iter().flatten().map(|(name, schema)| {
            let is_required = required.is_some_and(|names| names.iter().any(|n| n == name));
            param(name, is_required, self.placed(schema, Side::Input))
        });
        ("by-name", params.collect())
    }

    /// The object that an input is, where its properties are all there is to it; also where the
    /// input may be `null` instead.
    fn listable<'a>(&'a self, schema: &'a Value) -> Option<&'a Map<String, Value>> {
        let object = schema.as_object()?;
        if let Some(Value::String(target)) = object.get("$ref") {
            let name = target.strip_prefix(DEFINITIONS)?;
            return self.listable(self.input.definitions.get(name)?);
        }
        let any_of = object.get("anyOf").and_then(Value::as_array);
        if let Some([inner, null]) = any_of.map(Vec::as_slice)
            && is_null(null)
        {
            return self.listable(inner);
        }
        let is_composed = ["oneOf", "anyOf", "allOf"]
            .iter()
            .any(|key| object.contains_key(*key));
        let is_closed = object
            .get("additionalProperties")
            .is_none_or(|additional| additional == false);
        (object.contains_key("properties") && !is_composed && is_closed).then_some(object)
    }

    /// A schema with its references turned to where the document keeps them.
    fn placed(&self, schema: &Value, side: Side) -> Value {
        match schema {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| {
                    let value = match value {
                        Value::String(target) if key == "$ref" => self.target(target, side).into(),
                        value => self.placed(value, side),
                    };
                    (key.clone(), value)
                })
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(list) => list.iter().map(|value| self.placed(value, side)).collect(),
            value => value.clone(),
        }
    }

    fn target(&self, target: &str, side: Side) -> String {
        match target.strip_prefix(DEFINITIONS) {
            Some(name) => {
                let renamed = match side {
                    Side::Input => self.renamed.get(name).map(String::as_str),
                    Side::Output => None,
                };
                format!("{COMPONENTS}{}", renamed.unwrap_or(name))
            }
            None => target.to_owned(),
        }
    }
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

/// Whether a lone input may be left out, as far as its schema tells.
fn is_optional(schema: &Value) -> bool {
    let any_of = schema.get("anyOf").and_then(Value::as_array);
    let types = schema.get("type").and_then(Value::as_array);
    any_of.is_some_and(|schemas| schemas.iter().any(is_null))
        || types.is_some_and(|types| types.iter().any(|t| t == "null"))
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|t| t == "null")
}

/// Names that both sides know with a different meaning, be it by what they refer to.
fn differing(input: &Map<String, Value>, output: &Map<String, Value>) -> BTreeSet<String> {
    let shared = || input.iter().filter(|(name, _)| output.contains_key(*name));
    let mut differing: BTreeSet<String> = shared()
        .filter(|(name, schema)| output.get(*name) != Some(*schema))
        .map(|(name, _)| name.clone())
        .collect();
    loop {
        let reaching: Vec<String> = shared()
            .filter(|(name, schema)| !differing.contains(*name) && refers_to(schema, &differing))
            .map(|(name, _)| name.clone())
            .collect();
        if reaching.is_empty() {
            return differing;
        }
        differing.extend(reaching);
    }
}

fn refers_to(schema: &Value, names: &BTreeSet<String>) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| match value {
            Value::String(target) if key == "$ref" => target
                .strip_prefix(DEFINITIONS)
                .is_some_and(|name| names.contains(name)),
            value => refers_to(value, names),
        }),
        Value::Array(list) => list.iter().any(|value| refers_to(value, names)),
        _ => false,
    }
}

/// Fields that are `undefined` in JavaScript are absent in plain JSON, so they are not required.
fn drop_undefined(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let undefined: Vec<String> = object
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter(|(_, schema)| schema.get("x-superjson").is_some_and(|x| x == "undefined"))
                .map(|(name, _)| name.clone())
                .collect();
            if let Some(Value::Array(required)) = object.get_mut("required") {
                required.retain(|name| undefined.iter().all(|undefined| name != undefined));
            }
            object.values_mut().for_each(drop_undefined);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_undefined),
        _ => {}
    }
}
