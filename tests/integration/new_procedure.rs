//! docs/new-procedure.md: its example compiles, does what the guide says, and is in the guide as it is.

mod greetings_router;

use std::sync::Arc;

use chrono::DateTime;
use modelramp::{
    _core::{
        caller::{Caller, Role},
        context::Context,
        errors::{ErrorCode, RpcError},
        procedure::Input,
        registry::Registry,
    },
    schema,
};
use serde_json::{Value, json};

use crate::support::calls;

fn registry() -> Registry {
    let mut registry = Registry::default();
    greetings_router::register(&mut registry, Arc::<greetings_router::Greeted>::default());
    registry
}

async fn call(
    registry: &Registry,
    role: Option<Role>,
    path: &str,
    input: Input,
) -> Result<Value, RpcError> {
    let caller = role.map_or(Caller::Anonymous, |role| calls::user(1, role));
    let context = Context::new(caller, DateTime::UNIX_EPOCH);
    calls::call(registry, context, path, input).await
}

#[tokio::test]
async fn the_example_does_what_the_guide_says() {
    let registry = registry();
    let (nobody, user, admin) = (None, Some(Role::User), Some(Role::Admin));
    let ada = || Input::Json(json!({ "name": "Ada", "times": 2 }));
    let greet = "greetings.greet";
    let code = |result: Result<Value, RpcError>| result.unwrap_err().code;

    let refused = call(&registry, nobody, greet, ada()).await;
    assert_eq!(code(refused), ErrorCode::Unauthorized);
    let said = call(&registry, user, greet, ada()).await.unwrap();
    assert_eq!(said["text"], "Hello, Ada! Hello, Ada!");
    let again = call(&registry, user, greet, ada()).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::Conflict);
    assert_eq!(again.details.unwrap()["since"], "1970-01-01T00:00:00Z");
    let wrong = Input::Json(json!({ "name": "", "times": 9 }));
    let wrong = call(&registry, user, greet, wrong).await;
    assert_eq!(code(wrong), ErrorCode::BadRequest);

    let count = call(&registry, nobody, "greetings.count", Input::Absent).await;
    assert_eq!(count.unwrap(), 1);
    let forget = "greetings.forget";
    let refused = call(&registry, user, forget, Input::Absent).await;
    assert_eq!(code(refused), ErrorCode::Forbidden);
    assert!(call(&registry, admin, forget, Input::Absent).await.is_ok());
}

#[test]
fn the_contract_of_the_example_is_as_the_guide_shows_it() {
    let guide = guide();
    let files = schema::files(&registry());
    let types = &files.iter().find(|(name, _)| *name == "app-router.ts");
    let types = &types.unwrap().1;
    for block in blocks(&guide, "ts") {
        // In the guide it begins at the margin.
        let shown: Vec<&str> = block.lines().map(str::trim).collect();
        let found: Vec<&str> = types.lines().map(str::trim).collect();
        assert!(
            found.windows(shown.len()).any(|lines| lines == shown),
            "{block}"
        );
    }
}

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let guide = guide();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/new_procedure/greetings_router.rs"
    );
    let example = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<_> = blocks(&guide, "rust").collect();
    assert!(blocks.len() >= 4);
    for block in blocks {
        assert!(example.contains(block), "not in the example:\n{block}");
    }
}

fn guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/new-procedure.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let starts: Vec<_> = text
        .match_indices(&fence)
        .map(|(at, _)| at + fence.len())
        .collect();
    starts.into_iter().map(|start| {
        let block = &text[start..];
        &block[..block.find("```").expect("a fence ends")]
    })
}
