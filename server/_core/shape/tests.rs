//! Texts and order as zod 4 gives them; the expected lists were printed by zod 4.6.7.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Shape;
use crate::_core::{
    contract_side::ContractSide,
    js::{BigInt, Float, JsMap},
    procedure::{Input, ProcedureInput},
};

fn shape<T: JsonSchema>() -> Shape {
    let mut generator = ContractSide::Input.settings().into_generator();
    let root = generator.subschema_for::<T>().to_value();
    Shape::compile(&root, &generator.take_definitions(true))
}

/// As text, because the order of the keys is part of what is promised.
fn issues(shape: &Shape, value: Option<&Value>) -> String {
    serde_json::to_string(&shape.check(value)).unwrap()
}

fn of(schema: &Value, value: &Value) -> String {
    issues(
        &Shape::compile(schema, &serde_json::Map::new()),
        Some(value),
    )
}

fn parse<T: DeserializeOwned + JsonSchema + Send + 'static>(json: Value) -> Result<T, String> {
    <T as ProcedureInput>::parse(Input::Json(json), &shape::<T>()).map_err(|e| e.message.into())
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
struct SendMessage {
    conversation_id: i64,
    #[schemars(length(min = 1, max = 10_000), extend("x-messages" = {
        "tooSmall": "Message cannot be empty",
        "tooBig": "Message too long (max 10,000 characters)",
    }))]
    content: String,
    title: Option<String>,
    #[schemars(range(min = 1, max = 50))]
    limit: Option<f64>,
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    kind: Kind,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Plain,
    Loud,
}

#[test]
fn all_faults_come_at_once_and_in_zods_words() {
    assert_eq!(
        issues(
            &shape::<SendMessage>(),
            Some(&json!({
                "conversationId": "7", "content": "", "title": null, "limit": 51, "since": "x", "kind": "c", "cursor": 1,
            }))
        ),
        concat!(
            r#"[{"expected":"number","code":"invalid_type","path":["conversationId"],"message":"Invalid input: expected number, received string"},"#,
            r#"{"origin":"string","code":"too_small","minimum":1,"inclusive":true,"path":["content"],"message":"Message cannot be empty"},"#,
            r#"{"expected":"string","code":"invalid_type","path":["title"],"message":"Invalid input: expected string, received null"},"#,
            r#"{"origin":"number","code":"too_big","maximum":50,"inclusive":true,"path":["limit"],"message":"Too big: expected number to be <=50"},"#,
            r#"{"expected":"date","code":"invalid_type","received":"Invalid Date","path":["since"],"message":"Invalid input: expected date, received Date"},"#,
            r#"{"code":"invalid_value","values":["plain","loud"],"path":["kind"],"message":"Invalid option: expected one of \"plain\"|\"loud\""}]"#,
        )
    );
}

#[test]
fn each_fault_reads_as_in_zod() {
    let string = |rule: Value| {
        let mut schema = json!({"type": "string"});
        schema
            .as_object_mut()
            .unwrap()
            .extend(rule.as_object().unwrap().clone());
        schema
    };
    for (schema, value, expected) in [
        (
            json!({"type": "number"}),
            json!([]),
            r#"[{"expected":"number","code":"invalid_type","path":[],"message":"Invalid input: expected number, received array"}]"#,
        ),
        (
            json!({"type": "number"}),
            json!("NaN"),
            r#"[{"expected":"number","code":"invalid_type","received":"NaN","path":[],"message":"Invalid input: expected number, received NaN"}]"#,
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"[{"expected":"int","format":"safeint","code":"invalid_type","path":[],"message":"Invalid input: expected int, received number"}]"#,
        ),
        (
            json!({"type": "integer", "format": "int64"}),
            json!(1e18),
            r#"[{"code":"too_big","maximum":9007199254740991,"note":"Integers must be within the safe integer range.","origin":"int","inclusive":true,"path":[],"message":"Too big: expected int to be <=9007199254740991"}]"#,
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3e9),
            r#"[{"origin":"number","code":"too_big","maximum":2147483647,"inclusive":true,"path":[],"message":"Too big: expected number to be <=2147483647"}]"#,
        ),
        (
            json!({"type": "number", "exclusiveMinimum": 0}),
            json!(0),
            r#"[{"origin":"number","code":"too_small","minimum":0,"inclusive":false,"path":[],"message":"Too small: expected number to be >0"}]"#,
        ),
        (
            json!({"type": "number", "exclusiveMaximum": 5}),
            json!(5),
            r#"[{"origin":"number","code":"too_big","maximum":5,"inclusive":false,"path":[],"message":"Too big: expected number to be <5"}]"#,
        ),
        (
            json!({"type": "number", "minimum": 1.5}),
            json!(1),
            r#"[{"origin":"number","code":"too_small","minimum":1.5,"inclusive":true,"path":[],"message":"Too small: expected number to be >=1.5"}]"#,
        ),
        (
            string(json!({"minLength": 1})),
            json!(""),
            r#"[{"origin":"string","code":"too_small","minimum":1,"inclusive":true,"path":[],"message":"Too small: expected string to have >=1 characters"}]"#,
        ),
        (
            string(json!({"maxLength": 1})),
            json!("😀"),
            r#"[{"origin":"string","code":"too_big","maximum":1,"inclusive":true,"path":[],"message":"Too big: expected string to have <=1 characters"}]"#,
        ),
        (
            string(json!({"minLength": 5, "format": "email"})),
            json!("x"),
            r#"[{"origin":"string","code":"too_small","minimum":5,"inclusive":true,"path":[],"message":"Too small: expected string to have >=5 characters"},{"origin":"string","code":"invalid_format","format":"email","pattern":"/^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$/","path":[],"message":"Invalid email address"}]"#,
        ),
        (
            json!({"type": "array", "items": true, "minItems": 1}),
            json!([]),
            r#"[{"origin":"array","code":"too_small","minimum":1,"inclusive":true,"path":[],"message":"Too small: expected array to have >=1 items"}]"#,
        ),
        (
            json!({"type": "array", "uniqueItems": true}),
            json!({}),
            r#"[{"expected":"set","code":"invalid_type","path":[],"message":"Invalid input: expected set, received object"}]"#,
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]}),
            json!(["x", 1]),
            r#"[{"expected":"number","code":"invalid_type","path":[0],"message":"Invalid input: expected number, received string"},{"expected":"string","code":"invalid_type","path":[1],"message":"Invalid input: expected string, received number"}]"#,
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            json!(5),
            r#"[{"expected":"record","code":"invalid_type","path":[],"message":"Invalid input: expected record, received number"}]"#,
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            json!({"a": "x"}),
            r#"[{"expected":"number","code":"invalid_type","path":["a"],"message":"Invalid input: expected number, received string"}]"#,
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "number"}}, "additionalProperties": false}),
            json!({"x": 1, "y": 2}),
            r#"[{"code":"unrecognized_keys","keys":["x","y"],"path":[],"message":"Unrecognized keys: \"x\", \"y\""}]"#,
        ),
        (
            json!({"const": "a"}),
            json!("b"),
            r#"[{"code":"invalid_value","values":["a"],"path":[],"message":"Invalid input: expected \"a\""}]"#,
        ),
        (
            json!({"type": "null"}),
            json!(5),
            r#"[{"expected":"null","code":"invalid_type","path":[],"message":"Invalid input: expected null, received number"}]"#,
        ),
        (
            json!(false),
            json!(5),
            r#"[{"expected":"never","code":"invalid_type","path":[],"message":"Invalid input: expected never, received number"}]"#,
        ),
        (
            json!({"type": ["string", "null"]}),
            json!(5),
            r#"[{"expected":"string","code":"invalid_type","path":[],"message":"Invalid input: expected string, received number"}]"#,
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "number"}]}),
            json!(true),
            r#"[{"code":"invalid_union","errors":[[{"expected":"string","code":"invalid_type","path":[],"message":"Invalid input: expected string, received boolean"}],[{"expected":"number","code":"invalid_type","path":[],"message":"Invalid input: expected number, received boolean"}]],"path":[],"message":"Invalid input"}]"#,
        ),
        (
            json!({"anyOf": [{"type": "string", "minLength": 3}, {"type": "number"}]}),
            json!("a"),
            r#"[{"origin":"string","code":"too_small","minimum":3,"inclusive":true,"path":[],"message":"Too small: expected string to have >=3 characters"}]"#,
        ),
        (
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}, {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}]}),
            json!({}),
            r#"[{"expected":"number","code":"invalid_type","path":["a"],"message":"Invalid input: expected number, received undefined"},{"expected":"string","code":"invalid_type","path":["b"],"message":"Invalid input: expected string, received undefined"}]"#,
        ),
    ] {
        assert_eq!(of(&schema, &value), expected, "{schema}");
    }
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
    Image(Image),
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
struct Image {
    url: String,
}

#[test]
fn a_tagged_union_is_judged_by_its_tag() {
    let shape = shape::<Vec<Part>>();
    let parts = json!([{"type": "text", "text": "a"}, {"type": "image", "url": "u"}]);
    assert_eq!(issues(&shape, Some(&parts)), "[]");
    assert_eq!(
        issues(
            &shape,
            Some(&json!([{"type": "image"}, {"type": "sound"}, 5]))
        ),
        concat!(
            r#"[{"expected":"string","code":"invalid_type","path":[0,"url"],"message":"Invalid input: expected string, received undefined"},"#,
            r#"{"code":"invalid_union","errors":[],"note":"No matching discriminator","discriminator":"type","options":["text","image"],"path":[1,"type"],"message":"Invalid discriminator value. Expected 'text' | 'image'"},"#,
            r#"{"expected":"object","code":"invalid_type","path":[2],"message":"Invalid input: expected object, received number"}]"#,
        )
    );
}

#[test]
fn an_absent_input_will_do_where_every_field_is_optional() {
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Optional {
        last_minutes: Option<f64>,
    }
    let parsed = |input| <Optional as ProcedureInput>::parse(input, &shape::<Optional>());
    assert_eq!(
        parsed(Input::Absent).unwrap(),
        Optional { last_minutes: None }
    );
    assert_eq!(
        issues(&shape::<SendMessage>(), None),
        r#"[{"expected":"object","code":"invalid_type","path":[],"message":"Invalid input: expected object, received undefined"}]"#
    );
    let maybe = <Option<Image> as ProcedureInput>::parse(Input::Absent, &shape::<Option<Image>>());
    assert_eq!(maybe.unwrap(), None);
}

#[test]
fn an_integral_double_is_an_integer() {
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Numbers {
        signed: i64,
        small: u32,
        list: Vec<Option<i8>>,
        float: f64,
        special: Float,
        by_id: BTreeMap<u32, i64>,
    }
    let parsed: Numbers = parse(json!({
        "signed": -1.0, "small": 1e3, "list": [2.0, null], "float": 3.0, "special": -0.0, "by_id": {"7": 1.0},
    }))
    .unwrap();
    assert_eq!(
        parsed,
        Numbers {
            signed: -1,
            small: 1000,
            list: vec![Some(2), None],
            float: 3.0,
            special: Float(-0.0),
            by_id: [(7, 1)].into(),
        }
    );
    assert!(parsed.special.0.is_sign_negative());
    let error = parse::<Vec<u32>>(json!([1, -1.0, 5e9])).unwrap_err();
    assert!(
        error.contains(">=0") && error.contains("<=4294967295"),
        "{error}"
    );
}

#[test]
fn javascripts_own_types_are_read() {
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Exotic {
        big: BigInt,
        numbers: Vec<Float>,
        map: JsMap<DateTime<Utc>, BigInt>,
        set: BTreeSet<String>,
    }
    let exotic: Exotic = parse(json!({
        "big": "-170141183460469231731687303715884105728",
        "numbers": [1, -0.0, "Infinity", "-Infinity"],
        "map": [["2026-01-02T03:04:05.678Z", 5]],
        "set": ["a", "a"],
    }))
    .unwrap();
    assert_eq!(exotic.big, BigInt(i128::MIN));
    assert_eq!(exotic.map.0[0].1, BigInt(5));
    assert_eq!(exotic.set.len(), 1);
    let error = parse::<Exotic>(json!({
        "big": 1.5, "numbers": ["x"], "map": [["y", 1], [1]], "set": {},
    }))
    .unwrap_err();
    let issues: Vec<Value> = serde_json::from_str(&error).unwrap();
    let paths: Vec<&Value> = issues.iter().map(|issue| &issue["path"]).collect();
    assert_eq!(
        paths,
        [
            &json!(["big"]),
            &json!(["numbers", 0]),
            &json!(["map", "y"]),
            &json!(["map", 1]),
            &json!(["set"])
        ]
    );
}

#[test]
fn recursive_types_compile_and_are_read_to_the_end() {
    #[derive(Debug, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Tree {
        name: String,
        children: Vec<Tree>,
        parent: Option<Box<Tree>>,
    }
    let shape = shape::<Tree>();
    let leaf = json!({"name": "l", "children": []});
    let tree = json!({"name": "t", "children": [leaf], "parent": {"name": 5, "children": []}});
    assert_eq!(
        issues(&shape, Some(&tree)),
        r#"[{"expected":"string","code":"invalid_type","path":["parent","name"],"message":"Invalid input: expected string, received number"}]"#
    );
    assert!(format!("{shape:?}").contains("Tree"));
}

#[test]
fn a_definition_that_leads_only_to_itself_holds_nothing() {
    let definitions = json!({
        "A": {"$ref": "#/$defs/B"},
        "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
    });
    let shape = Shape::compile(
        &json!({"$ref": "#/$defs/A"}),
        definitions.as_object().unwrap(),
    );
    assert!(shape.accepts(&Value::Null));
    assert!(!shape.accepts(&json!(5)));
}

#[test]
fn emails_are_judged_as_zod_judges_them() {
    let email = Shape::compile(
        &json!({"type": "string", "format": "email"}),
        &serde_json::Map::new(),
    );
    for good in ["a@b.co", "a.b+c'd@x-y.example.com", "_@1.io"] {
        assert!(email.accepts(&json!(good)), "{good}");
    }
    for bad in [
        "",
        "x",
        "@b.co",
        ".a@b.co",
        "a.@b.co",
        "a..b@c.co",
        "a'@b.co",
        "a@b",
        "a@.co",
        "a@b.c",
        "a@-b.co",
        "a@b.c1",
        "a b@c.co",
        "a@b@c.co",
        "å@b.co",
        "a@b..co",
    ] {
        assert!(!email.accepts(&json!(bad)), "{bad}");
    }
}

/// What serde is given after the check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it only has to be read")]
struct Anything {
    signed: i64,
    unsigned: Option<u64>,
    small: Option<u8>,
    middle: Option<i32>,
    float: Option<f64>,
    special: Option<Float>,
    big: Option<BigInt>,
    at: Option<DateTime<Utc>>,
    text: Option<String>,
    letter: Option<char>,
    kind: Option<Kind>,
    part: Option<Part>,
    pair: Option<(i8, Option<String>)>,
    set: Option<BTreeSet<u16>>,
    map: Option<JsMap<String, i64>>,
    by_name: Option<BTreeMap<String, i64>>,
    rest: Option<Value>,
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n))),
        Just(json!(-0.0)),
        prop::sample::select(vec![
            "NaN",
            "-0",
            "Infinity",
            "a",
            "",
            "plain",
            "17",
            "2026-01-02T03:04:05Z",
            "2026-06-30T23:59:60.5+02:00",
            "2026-01-02",
        ])
        .prop_map(Value::from),
        Just(json!({"type": "text", "text": "a"})),
        Just(json!([1.0, null])),
        Just(json!([["a", 1], ["b", 2.0]])),
    ];
    leaf.prop_recursive(2, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-c]", inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

const FIELDS: &[&str] = &[
    "unsigned", "small", "middle", "float", "special", "big", "at", "text", "letter", "kind",
    "part", "pair", "set", "map", "byName", "rest",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_passes_the_check_is_read_by_serde(
        signed in any_value(),
        field in prop::sample::select(FIELDS),
        value in any_value(),
    ) {
        let input = json!({"signed": signed, field: value});
        if let Err(message) = parse::<Anything>(input.clone()) {
            // The check speaks in lists; anything else is serde, refusing what the check let through.
            prop_assert!(message.starts_with('['), "{input}: {message}");
        }
    }
}

#[test]
fn of_many_faults_a_hundred_are_told_and_the_last_says_how_many_more() {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let optional = json!({"anyOf": [list, {"type": "null"}]});
    let object = json!({
        "type": "object",
        "properties": {"a": list, "b": optional},
        "required": ["a", "b"],
    });
    let shape = Shape::compile(&object, &serde_json::Map::new());
    let faults = |a: usize, b: usize| {
        let value = json!({"a": vec![0; a], "b": vec![0; b]});
        shape.check(Some(&value))
    };
    assert_eq!(faults(60, 40).len(), 100);
    assert!(
        faults(60, 40)
            .iter()
            .all(|issue| issue.code == "invalid_type")
    );
    for (a, b) in [(60, 41), (20_000, 7), (3, 20_000)] {
        let told = faults(a, b);
        assert_eq!(told.len(), 100);
        let last = serde_json::to_value(&told[99]).unwrap();
        let more = a + b - 99;
        let message = format!("and {more} more faults");
        assert_eq!(
            last,
            json!({"code": "custom", "path": [], "message": message})
        );
    }
}

#[test]
fn long_paths_are_told_only_until_they_are_long_enough() {
    let schema = json!({
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    });
    let shape = Shape::compile(&schema, &serde_json::Map::new());
    let value = json!({"k".repeat(50_000): vec![0; 1000]});
    let told = shape.check(Some(&value));
    assert_eq!(told.len(), 3);
    assert_eq!(told[2].message, "and 998 more faults");
}
