//! Queries write nothing, so whoever compares answers changes nothing: every query there is, by an admin.

use modelramp::_core::{
    caller::Role,
    context::Context,
    procedure::{Input, Procedure, ProcedureKind},
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls,
};

/// A value of this schema, as small as it may be.
fn sample(schema: &Value, definitions: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return sample(&definitions[name], definitions);
    }
    for list in ["enum", "anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[list].get(0) {
            return match list {
                "enum" => first.clone(),
                _ => sample(first, definitions),
            };
        }
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let fields = required.filter_map(Value::as_str).map(|name| {
                let value = sample(&schema["properties"][name], definitions);
                (name.to_owned(), value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Some("array") => json!([sample(&schema["items"], definitions)]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("chat"),
    }
}

fn input(procedure: &Procedure) -> Input {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schema = (procedure.input_schema)(&mut generator).to_value();
    let definitions = Value::Object(generator.take_definitions(true));
    Input::Json(sample(&schema, &definitions))
}

/// The database as it lies there, with what is not yet in the file itself.
fn bytes(setup: &TestAppBuilder) -> Vec<Vec<u8>> {
    let files = ["test.db", "test.db-wal"].map(|name| setup.folder().join(name));
    let read = |path| std::fs::read(path).unwrap_or_default();
    files.map(read).to_vec()
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock"
)]
async fn no_query_writes_anything() {
    let setup = TestApp::builder().with_setting("LEGACY_TRPC_URL", "http://127.0.0.1:9/api/trpc");
    setup.admin().await;
    // Nothing runs beside the queries.
    let app = setup.build().await;
    let context = || {
        let caller = calls::user(1, Role::Admin);
        Context::new(caller, chrono::Utc::now())
    };
    let registry = &app.registry;
    for (path, input) in [
        ("chat.createConversation", json!({"title": "Hej"})),
        (
            "featureFlags.setShare",
            json!({"percent": 5, "reason": "a test"}),
        ),
    ] {
        let made = calls::call(registry, context(), path, Input::Json(input)).await;
        made.unwrap();
    }
    let before = bytes(&setup);
    assert!(before[0].len() + before[1].len() > 50_000);
    let mut answered = 0;
    let queries: Vec<_> = registry
        .iter()
        .filter(|it| it.kind == ProcedureKind::Query)
        .collect();
    for query in &queries {
        let answer = query.rehearse(context(), input(query)).await;
        answered += usize::from(answer.is_ok());
        assert!(
            bytes(&setup) == before,
            "`{}` writes to the database",
            query.path
        );
    }
    // Most of them find what they are asked for: the test is about what they do then.
    assert!(
        answered * 10 >= queries.len() * 6,
        "{answered} of {}",
        queries.len()
    );
    // Nor did any ask a model.
    let asked = calls::call(
        registry,
        context(),
        "aiMetrics.getSummary",
        Input::Json(json!({})),
    );
    assert_eq!(asked.await.unwrap()["totalRequests"], 0);
    // It would have been seen.
    let written = calls::call(
        registry,
        context(),
        "chat.createConversation",
        Input::Json(json!({})),
    );
    written.await.unwrap();
    assert!(bytes(&setup) != before);
}
