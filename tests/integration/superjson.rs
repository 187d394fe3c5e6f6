//! What the server writes is judged by the real superjson, and what that writes is read by the server.
//!
//! Needs `node`; without it these tests say so and pass. The rules one by one are in the unit tests.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use modelramp::transport::trpc::superjson::{decode, encode};
use serde_json::{Value, json};

use crate::{
    contract::{registry, sample_exotic},
    support::packages,
};

/// The script's answer; `None` without node.
fn judge(mode: &str, input: &Value) -> Option<Value> {
    if Command::new("node").arg("--version").output().is_err() {
        skipped();
        return None;
    }
    let mut node = Command::new("node")
        .args(["judge.mjs", mode])
        .current_dir(packages::installed("superjson"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
fn skipped() {
    eprintln!("skipped: `node` is not installed");
}

#[test]
fn superjson_reads_what_the_server_writes_and_writes_the_same() {
    let registry = registry();
    let target = registry.resolve("sample.exotic");
    let shape = target.here().unwrap().output.clone();
    let encoded = encode(&shape, &sample_exotic()).unwrap();
    let mut text = br#"{"json":"#.to_vec();
    text.extend(encoded.json);
    encoded.meta.write(&mut text);
    text.push(b'}');
    let envelope: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(envelope["meta"]["values"].as_object().unwrap().len(), 15);

    let Some(answers) = judge("read", &json!([envelope])) else {
        return;
    };
    assert_eq!(answers, json!([{"again": envelope}]));
}

#[test]
fn the_server_reads_what_superjson_writes() {
    let Some(cases) = judge("write", &Value::Null) else {
        return;
    };
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 19);
    for case in cases {
        let read = decode(case["envelope"].clone());
        let expected = match &case["plain"] {
            absent if absent["absent"] == true => None,
            plain => Some(plain.clone()),
        };
        assert_eq!(read, Ok(expected), "{}", case["name"]);
    }
}

#[test]
fn the_server_refuses_what_superjson_refuses() {
    let noted =
        |values: Value| json!({"json": {"a": 1, "s": "x"}, "meta": {"values": values, "v": 1}});
    let envelopes = json!([
        null,
        noted(json!({"__proto__": ["Date"]})),
        noted(json!({"a.constructor.b": ["undefined"]})),
        noted(json!({"prototype": ["undefined"]})),
        noted(json!({"a": ["nonsense"]})),
        noted(json!({"a": ["map"]})),
        noted(json!({"s": ["bigint"]})),
        noted(json!({"zz": ["bigint"]})),
        noted(json!({"a": [["class", "Unknown"]]})),
        noted(json!({"a\\b": ["undefined"]})),
        // What it takes, the server takes.
        5,
        {"a": 1},
        {"json": 1, "meta": {}},
        {"json": {"a": null}, "meta": {"values": {"a": ["undefined"]}}},
        noted(json!({"x.y": ["undefined"]})),
        noted(json!({"y": ["undefined"]})),
    ]);
    let Some(answers) = judge("read", &envelopes) else {
        return;
    };
    for (envelope, answer) in
        std::iter::zip(envelopes.as_array().unwrap(), answers.as_array().unwrap())
    {
        let read = decode(envelope.clone());
        assert_eq!(
            read.is_err(),
            answer["throws"].is_string(),
            "{envelope}: {read:?}, {answer}"
        );
    }
}
