//! Rules of the wire one by one; what the real superjson says of them is in `tests/integration/superjson.rs`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{path::EscapeRule, *};
use crate::_core::{
    contract_side::ContractSide,
    js::{BigInt, Float, JsMap, UndefinedOr},
};

fn shape<T: JsonSchema>() -> Shape {
    let mut generator = ContractSide::Output.settings().into_generator();
    let root = generator.subschema_for::<T>().to_value();
    Shape::compile(&root, &generator.take_definitions(true))
}

/// The whole envelope as it goes on the wire.
fn envelope<T: Serialize + JsonSchema + Send + Sync>(value: &T) -> Value {
    let encoded = encode(&shape::<T>(), value).unwrap();
    let mut text = br#"{"json":"#.to_vec();
    text.extend(encoded.json);
    encoded.meta.write(&mut text);
    text.push(b'}');
    serde_json::from_slice(&text).unwrap()
}

fn date(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[derive(Serialize, JsonSchema)]
struct Everything {
    at: DateTime<Utc>,
    maybe: Option<DateTime<Utc>>,
    absent: Option<DateTime<Utc>>,
    n: BigInt,
    u: UndefinedOr<String>,
    s: UndefinedOr<String>,
    f: Float,
    finite: Float,
    set: BTreeSet<DateTime<Utc>>,
    plain_set: BTreeSet<u8>,
    map: JsMap<String, DateTime<Utc>>,
    by_name: BTreeMap<String, DateTime<Utc>>,
    pair: (u8, DateTime<Utc>),
    text: String,
}

fn everything() -> Everything {
    let at = date("2026-01-02T03:04:05.678901Z");
    Everything {
        at,
        maybe: Some(date("2026-01-02T03:04:05Z")),
        absent: None,
        n: BigInt(9_007_199_254_740_993),
        u: UndefinedOr(None),
        s: Some("s".to_owned()).into(),
        f: Float(f64::NAN),
        finite: Float(1.5),
        set: [at].into(),
        plain_set: [1, 2].into(),
        map: [("a".to_owned(), at)].into_iter().collect(),
        by_name: [(r"gpt.4\o".to_owned(), at)].into(),
        pair: (1, at),
        text: "2026-01-02T03:04:05.678Z".into(),
    }
}

#[test]
fn every_kind_of_value_is_marked_and_nothing_else() {
    let at = "2026-01-02T03:04:05.678Z";
    assert_eq!(
        envelope(&everything()),
        json!({
            "json": {
                "at": at, "maybe": "2026-01-02T03:04:05.000Z", "absent": null,
                "n": "9007199254740993", "u": null, "s": "s", "f": "NaN", "finite": 1.5,
                "set": [at], "plain_set": [1, 2], "map": [["a", at]],
                "by_name": {r"gpt.4\o": at}, "pair": [1, at], "text": at,
            },
            "meta": {
                "values": {
                    "at": ["Date"], "maybe": ["Date"], "n": ["bigint"], "u": ["undefined"],
                    "f": ["number"], "set": ["set", {"0": ["Date"]}], "plain_set": ["set"],
                    "map": ["map", {"0.1": ["Date"]}], r"by_name.gpt\.4\\o": ["Date"],
                    "pair.1": ["Date"],
                },
                "v": 1,
            },
        })
    );
}

#[test]
fn plain_json_is_what_javascript_would_write() {
    let at = "2026-01-02T03:04:05.678Z";
    let text = shape::<Everything>().plain_json(&everything()).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&text.unwrap()).unwrap(),
        json!({
            "at": at, "maybe": "2026-01-02T03:04:05.000Z", "absent": null,
            "n": "9007199254740993", "s": "s", "f": null, "finite": 1.5,
            "set": [at], "plain_set": [1, 2], "map": [["a", at]],
            "by_name": {r"gpt.4\o": at}, "pair": [1, at], "text": at,
        })
    );
    let nothing = UndefinedOr::<u8>(None);
    let shape = shape::<UndefinedOr<u8>>();
    assert_eq!(shape.plain_json(&nothing).unwrap(), None);
}

#[test]
fn a_root_is_marked_by_a_list() {
    let at = date("1970-01-01T00:00:00Z");
    assert_eq!(
        envelope(&at),
        json!({"json": "1970-01-01T00:00:00.000Z", "meta": {"values": ["Date"], "v": 1}})
    );
    assert_eq!(
        envelope(&UndefinedOr::<u8>(None)),
        json!({"json": null, "meta": {"values": ["undefined"], "v": 1}})
    );
    assert_eq!(
        envelope(&BTreeSet::from([at]))["meta"]["values"],
        json!(["set", {"0": ["Date"]}])
    );
    assert_eq!(envelope(&Some(5)), json!({"json": 5}));
    assert_eq!(
        envelope(&vec![at])["meta"]["values"],
        json!({"0": ["Date"]})
    );
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Tagged {
    At { at: DateTime<Utc> },
    Named { at: String, ratio: f64 },
}

#[derive(Serialize, JsonSchema)]
struct Tree {
    at: DateTime<Utc>,
    children: Vec<Tree>,
}

#[test]
fn a_union_marks_the_branch_it_takes() {
    let text = "2026-01-02T03:04:05.678Z";
    let values = [
        Tagged::At { at: date(text) },
        Tagged::Named {
            at: text.into(),
            ratio: f64::NAN,
        },
    ];
    let envelope = envelope(&values.into_iter().collect::<Vec<_>>());
    assert_eq!(envelope["meta"]["values"], json!({"0.at": ["Date"]}));
}

#[test]
fn a_recursive_type_is_marked_at_every_depth() {
    let at = date("2026-01-02T03:04:05.678Z");
    let leaf = Tree {
        at,
        children: vec![],
    };
    let tree = Tree {
        at,
        children: vec![leaf],
    };
    assert_eq!(
        envelope(&tree)["meta"]["values"],
        json!({"at": ["Date"], "children.0.at": ["Date"]})
    );
}

#[test]
fn a_key_that_the_reader_would_refuse_costs_its_own_mark_only() {
    let at = date("2026-01-02T03:04:05.678Z");
    let map: BTreeMap<&str, DateTime<Utc>> = [("constructor", at), ("", at)].into();
    assert_eq!(envelope(&map)["meta"]["values"], json!({"": ["Date"]}));
}

#[test]
fn years_beyond_9999_are_written_as_javascript_reads_them() {
    let far = date("+12345-01-02T03:04:05.678Z");
    assert_eq!(envelope(&far)["json"], "+012345-01-02T03:04:05.678Z");
}

#[test]
fn notes_move_below_a_place_and_join() {
    let at = date("2026-01-02T03:04:05.678Z");
    let meta = |value: &dyn Output, shape: Shape| encode(&shape, value).unwrap().meta;
    let root = meta(&at, shape::<DateTime<Utc>>()).below("2.0.0.result.data");
    let list = meta(&vec![at], shape::<Vec<DateTime<Utc>>>()).below("1");
    let mut text = Vec::new();
    root.and(list).write(&mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#","meta":{"values":{"2.0.0.result.data":["Date"],"1.0":["Date"]},"v":1}"#
    );
}

#[test]
fn undefined_is_taken_away() {
    let read = |values: Value| {
        decode(json!({"json": {"a": null, "b": [null, {"c": null, "d": 1}]}, "meta": {"values": values, "v": 1}}))
            .unwrap()
    };
    assert_eq!(
        read(json!({"a": ["undefined"], "b.0": ["undefined"], "b.1.c": ["undefined"]})),
        Some(json!({"b": [null, {"d": 1}]}))
    );
    assert_eq!(read(json!(["undefined"])), None);
    assert_eq!(
        read(json!({"x.y.z": ["undefined"], "b.7": ["undefined"]})),
        Some(json!({"a": null, "b": [null, {"c": null, "d": 1}]}))
    );
}

#[test]
fn a_place_may_be_reached_in_several_ways_and_the_others_keep_their_order() {
    let value = json!({"a": {"z": 1, "y": null, "x": {"w": null, "v": 2}, "u": null, "t": 3}});
    let notes = json!({
        "a": ["Error", {"y": ["undefined"], "x.w": ["undefined"], "x": ["Error", {"w": ["undefined"]}]}],
        "a.y": ["undefined"],
        "a.u": ["undefined"],
        "a.u.below": ["undefined"],
    });
    let read = decode(json!({"json": value, "meta": {"values": notes, "v": 1}}));
    let read = read.unwrap().unwrap().to_string();
    assert_eq!(read, r#"{"a":{"z":1,"x":{"v":2},"t":3}}"#);
}

#[test]
fn an_error_repeats_no_more_of_a_path_than_people_read() {
    let path = "a.".repeat(100_000);
    for note in [json!(["Symbol"]), json!(5), json!(["undefined", 5])] {
        let values = json!({ &path: note });
        let error = decode(json!({"json": {}, "meta": {"values": values, "v": 1}})).unwrap_err();
        assert!(error.len() < 400, "{error}");
    }
    for path in [path.clone() + "\\", path + "__proto__"] {
        let values = json!({ path: ["undefined"] });
        let error = decode(json!({"json": {}, "meta": {"values": values, "v": 1}})).unwrap_err();
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn what_is_no_envelope_is_undefined_and_null_is_refused() {
    assert_eq!(decode(json!(5)), Ok(None));
    assert_eq!(decode(json!({"a": 1})), Ok(None));
    assert_eq!(decode(json!({"json": 1, "meta": 5})), Ok(Some(json!(1))));
    assert!(decode(Value::Null).is_err());
}

#[test]
fn what_is_noted_must_look_like_it() {
    let read = |json: Value, note: Value| {
        decode(json!({"json": {"v": json}, "meta": {"values": {"v": note}, "v": 1}}))
            .map(|value| value.map(|mut value| value["v"].take()))
    };
    for (json, note, expected) in [
        (
            json!("2026-01-02T03:04:05Z"),
            json!(["Date"]),
            json!("2026-01-02T03:04:05Z"),
        ),
        (
            json!("2026-01-02"),
            json!(["Date"]),
            json!("2026-01-02T00:00:00.000Z"),
        ),
        (json!(0), json!(["Date"]), json!("1970-01-01T00:00:00.000Z")),
        (json!("nonsense"), json!(["Date"]), json!("nonsense")),
        (json!("-12"), json!(["bigint"]), json!("-12")),
        (json!("NaN"), json!(["number"]), json!("NaN")),
        (json!("-0"), json!(["number"]), json!(-0.0)),
        (json!([1, 2]), json!(["set"]), json!([1, 2])),
        (
            json!([["a", "2026-01-02"]]),
            json!(["map", {"0.1": ["Date"]}]),
            json!([["a", "2026-01-02T00:00:00.000Z"]]),
        ),
        (json!("/a/g"), json!(["regexp"]), json!("/a/g")),
        (json!("http://x/"), json!(["URL"]), json!("http://x/")),
        (
            json!({"name": "E", "message": "m"}),
            json!(["Error"]),
            json!({"name": "E", "message": "m"}),
        ),
        (
            json!([1, 2]),
            json!([["typed-array", "Uint8Array"]]),
            json!([1, 2]),
        ),
    ] {
        assert_eq!(read(json, note), Ok(Some(expected)));
    }
    for (json, note) in [
        (json!("1.5"), json!(["bigint"])),
        (json!(true), json!(["Date"])),
        (json!({}), json!(["map"])),
        (json!([1]), json!(["map"])),
        (json!("a"), json!(["set"])),
        (json!("x"), json!(["number"])),
        (json!(1), json!(["nonsense"])),
        (json!(1), json!([["class", "Foo"]])),
        (json!(1), json!([])),
        (json!(1), json!("Date")),
        (json!(1), json!(["number", 5])),
    ] {
        let error = read(json.clone(), note.clone()).unwrap_err();
        assert!(error.contains("`v`"), "{json} as {note}: {error}");
    }
}

#[test]
fn a_path_out_of_the_value_is_refused() {
    for path in ["__proto__", "a.constructor", "prototype.x"] {
        let envelope = json!({"json": {"a": 1}, "meta": {"values": {path: ["undefined"]}, "v": 1}});
        let error = decode(envelope).unwrap_err();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn without_a_version_only_the_dot_is_escaped() {
    let read = |meta: Value| decode(json!({"json": {"a\\b": null, "a.b": null}, "meta": meta}));
    assert_eq!(
        read(json!({"values": {"a\\b": ["undefined"]}})),
        Ok(Some(json!({"a.b": null})))
    );
    assert_eq!(
        read(json!({"values": {"a\\.b": ["undefined"]}})),
        Ok(Some(json!({"a\\b": null})))
    );
    assert_eq!(
        read(json!({"values": {"a\\\\b": ["undefined"]}, "v": 1})),
        Ok(Some(json!({"a.b": null})))
    );
    let error = read(json!({"values": {"a\\b": ["undefined"]}, "v": 1})).unwrap_err();
    assert!(error.contains("a\\b"), "{error}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z.\\\\_0-9]{0,6}".prop_map(Value::from),
        prop::sample::select(vec![
            "Date",
            "set",
            "map",
            "undefined",
            "bigint",
            "number",
            "__proto__"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-c.\\\\01]{0,3}", inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(json in any_json(), values in any_json(), version in any_json()) {
        let _ = decode(json!({"json": json, "meta": {"values": values, "v": version}}));
        let _ = decode(json!({"json": json, "meta": {"values": values}}));
        let _ = decode(json);
    }

    #[test]
    fn paths_are_read_as_they_were_written(keys in prop::collection::vec(".{0,8}", 1..5)) {
        prop_assume!(!keys.iter().any(|key| path::is_forbidden(key)));
        let mut whole = String::new();
        for (index, key) in keys.iter().enumerate() {
            if index > 0 {
                whole.push('.');
            }
            path::escape_into(key, &mut whole);
        }
        let read = path::split(&whole, EscapeRule::V1).unwrap();
        prop_assert_eq!(read, keys);
    }

    #[test]
    fn what_is_encoded_is_decoded(
        dates in prop::collection::btree_map(".{0,6}", 0_i64..4_000_000_000_000, 0..4),
        number in any::<i128>(),
        text in prop::option::of(".*"),
    ) {
        #[derive(Serialize, JsonSchema)]
        struct Sent {
            dates: BTreeMap<String, DateTime<Utc>>,
            number: BigInt,
            text: UndefinedOr<String>,
        }
        let dates: BTreeMap<_, _> = dates
            .into_iter()
            .filter_map(|(key, ms)| Some((key, DateTime::from_timestamp_millis(ms)?)))
            .collect();
        let mut expected = json!({
            "dates": dates
                .iter()
                .map(|(key, at)| (key.clone(), Value::from(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))))
                .collect::<serde_json::Map<_, _>>(),
            "number": number.to_string(),
        });
        if let Some(text) = &text {
            expected["text"] = text.clone().into();
        }
        let sent = Sent { dates, number: BigInt(number), text: text.into() };
        prop_assert_eq!(decode(envelope(&sent)), Ok(Some(expected)));
    }
}
