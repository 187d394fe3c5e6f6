//! Single types; whole files are in `tests/types/sample`, and `tsc` reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::typescript::Types;

fn shown(schema: &Value) -> String {
    Types::new(&BTreeMap::new(), &BTreeSet::new())
        .got()
        .show(schema, "")
}

fn exported(definitions: Value) -> String {
    let definitions: BTreeMap<String, Value> = serde_json::from_value(definitions).unwrap();
    Types::new(&definitions, &BTreeSet::new()).exports()
}

#[test]
fn each_schema_has_its_type() {
    for (schema, expected) in [
        (json!(true), "unknown"),
        (json!(false), "never"),
        (json!({"type": ["string", "null"]}), "string | null"),
        (json!({"type": "string", "format": "date-time"}), "Date"),
        (json!({"type": "string", "format": "uuid"}), "string"),
        (json!({"type": "integer", "format": "int64"}), "number"),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            "string[]",
        ),
        (
            json!({"type": "array", "items": {"type": ["string", "null"]}}),
            "Array<string | null>",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "Set<string>",
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}]}),
            "[string, null]",
        ),
        (json!({"enum": ["a", 1, null]}), "\"a\" | 1 | null"),
        (json!({"const": "it's \"a\""}), r#""it's \"a\"""#),
        (
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            "Record<string, number>",
        ),
        (
            json!({"type": "object", "additionalProperties": true}),
            "Record<string, unknown>",
        ),
        (
            json!({"type": "object", "patternProperties": {"^\\d+$": {"type": "number"}}, "additionalProperties": false}),
            "Record<string, number>",
        ),
        (json!({"type": "object"}), "Record<string, never>"),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "string"}]}),
            "string | number",
        ),
        (
            json!({"allOf": [{"anyOf": [{"type": "string"}, {"type": "null"}]}, {"x-ts-type": "Brand"}]}),
            "(string | null) & Brand",
        ),
        (
            json!({"x-ts-type": "Blob | Uint8Array", "type": "string"}),
            "Blob | Uint8Array",
        ),
        (
            json!({"type": "array", "items": {"x-ts-type": "A | B"}}),
            "Array<A | B>",
        ),
        (json!({"type": "string", "x-superjson": "bigint"}), "bigint"),
        (
            json!({"x-superjson": "map", "items": {"prefixItems": [{"type": "string"}, {"type": "number"}]}}),
            "Map<string, number>",
        ),
        (
            json!({"x-superjson": "undefined", "anyOf": [{"type": ["string", "null"]}, {"type": "null"}]}),
            "string | null | undefined",
        ),
    ] {
        assert_eq!(shown(&schema), expected, "{schema}");
    }
}

#[test]
fn objects_keep_their_order_and_their_words() {
    let schema = json!({
        "type": "object",
        "properties": {
            "z": {"type": "string", "description": "First.\nEnds */ here."},
            "a-b": {"type": "number", "default": 5},
            "c": {"type": "object", "properties": {"d": {"type": "null"}}, "required": ["d"]},
        },
        "required": ["z"],
        "additionalProperties": true,
    });
    assert_eq!(
        shown(&schema),
        "{
  /**
   * First.
   * Ends *\\/ here.
   */
  z: string;
  /** @default 5 */
  \"a-b\"?: number;
  c?: {
    d: null;
  };
  [key: string]: unknown;
}"
    );
}

#[test]
fn what_may_be_left_out_of_an_input_may_be_undefined() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "object", "properties": {"c": {"enum": ["x", "y"]}}},
        },
        "required": ["a"],
    });
    let (definitions, sent) = (BTreeMap::new(), BTreeSet::new());
    let shown = Types::new(&definitions, &sent).sent().show(&schema, "");
    assert_eq!(
        shown,
        "{
  a: string;
  b?: {
    c?: \"x\" | \"y\" | undefined;
  } | undefined;
}"
    );
}

#[test]
fn flattened_branches_are_joined_to_the_fields() {
    let schema = json!({
        "type": "object",
        "properties": {"id": {"type": "number"}},
        "required": ["id"],
        "oneOf": [{"const": "a"}, {"const": "b"}],
    });
    assert_eq!(shown(&schema), "(\"a\" | \"b\") & {\n  id: number;\n}");
    let bare = json!({"type": "object", "oneOf": [{"x-ts-type": "A"}, {"x-ts-type": "B"}]});
    assert_eq!(shown(&bare), "A | B");
}

#[test]
fn names_that_typescript_has_are_not_taken() {
    let text = exported(json!({
        "Date": {"type": "string"},
        "Page<Item>": {"$ref": "#/$defs/Date"},
        "Page_Item_": {"type": "null"},
        "2nd": {"type": "null"},
    }));
    assert_eq!(
        text,
        "export type _2nd = null;

export type Date_ = string;

export type Page_Item_ = Date_;

export type Page_Item__ = null;

"
    );
}
