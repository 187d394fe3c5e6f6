//! What `rpc.discover` says about the procedures.

use serde_json::{Value, json};

use super::support::{TestServer, node};

#[tokio::test]
async fn the_ecosystems_own_validator_accepts_the_document() {
    let server = TestServer::start().await;
    let output = node("openrpc", "validate.mjs", &[&server.url("/rpc")]).await;
    assert!(output.starts_with("valid"), "{output}");
}

async fn document() -> Value {
    let server = TestServer::start().await;
    server.call("rpc.discover", json!([])).await["result"].clone()
}

fn method<'a>(document: &'a Value, name: &str) -> &'a Value {
    let methods = document["methods"].as_array().unwrap();
    let method = methods.iter().find(|method| method["name"] == name);
    method.expect("the method is described")
}

#[tokio::test]
async fn the_properties_of_an_input_are_its_parameters() {
    let document = document().await;
    let echo = method(&document, "stub.echo");
    assert_eq!(echo["summary"], "Says what it was told.");
    assert_eq!(echo["x-kind"], "query");
    assert_eq!(echo["x-access"], "public");
    assert_eq!(echo["paramStructure"], "by-name");
    let params = echo["params"].as_array().unwrap();
    let names: Vec<_> = params
        .iter()
        .map(|p| (&p["name"], &p["required"]))
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(
        names,
        [
            (&json!("text"), &yes),
            (&json!("times"), &no),
            (&json!("part"), &no)
        ]
    );
    assert_eq!(params[0]["description"], "The text.");

    let sum = method(&document, "stub.sum");
    assert_eq!(sum["paramStructure"], "by-position");
    assert_eq!(sum["params"][0]["name"], "input");
    assert_eq!(method(&document, "stub.nothing")["params"], json!([]));
    let secret = method(&document, "stub.secret");
    assert_eq!(secret["x-access"], "admin");
    let forbidden = json!({ "$ref": "#/components/errors/FORBIDDEN" });
    assert!(secret["errors"].as_array().unwrap().contains(&forbidden));
}

#[tokio::test]
async fn what_is_sent_and_what_is_got_are_kept_apart() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Part"]["required"], json!(["size"]));
    assert_eq!(schemas["PartInput"].get("required"), None);
    let echo = method(&document, "stub.echo");
    assert!(
        echo["params"][2]
            .to_string()
            .contains("schemas/PartInput\"")
    );
    let got = schemas["Echo"].to_string();
    assert!(got.contains("#/components/schemas/Part\""), "{got}");
    assert!(!document.to_string().contains("#/$defs/"));
}

#[tokio::test]
async fn subscriptions_are_described_with_their_events_and_their_end() {
    let document = document().await;
    let tracked = method(&document, "stub.onTracked");
    assert_eq!(tracked["x-kind"], "subscription");
    assert_eq!(tracked["x-event"]["required"], json!(["id", "data"]));
    let unsubscribe = tracked["x-unsubscribe"].as_str().unwrap();
    assert_eq!(unsubscribe, "stub.onTracked.unsubscribe");
    let unsubscribe = method(&document, unsubscribe);
    assert_eq!(unsubscribe["result"]["schema"]["type"], "boolean");
}
