use serde_json::{Value, json};

use super::*;

fn data(value: Value) -> CallMeaning {
    CallMeaning::Data(value.into())
}

fn error(code: &str, status: u16, message: &str) -> CallMeaning {
    CallMeaning::Error {
        code: code.into(),
        status,
        message: message.into(),
    }
}

fn part(text: &str) -> ComparedPart {
    ComparedPart::parse(text).unwrap()
}

fn paths(theirs: &CallMeaning, ours: &CallMeaning, rules: &ComparisonRules) -> Vec<String> {
    let found = differences(theirs, ours, rules).into_iter();
    found.map(|it| it.path).collect()
}

#[test]
fn what_means_the_same_is_the_same() {
    for (theirs, ours) in [
        (json!(1), json!(1.0)),
        (json!({"a": 1, "b": [null]}), json!({"b": [null], "a": 1})),
        (
            json!("2026-01-02T03:04:05Z"),
            json!("2026-01-02T04:04:05.000+01:00"),
        ),
        (json!(-0.0), json!(0)),
    ] {
        let found = paths(&data(theirs), &data(ours), &ComparisonRules::default());
        assert_eq!(found, Vec::<String>::new());
    }
    let missing = data(json!({}));
    let undefined = Meaning::Object([("a".to_owned(), Meaning::Undefined)].into());
    let found = paths(
        &missing,
        &CallMeaning::Data(undefined),
        &ComparisonRules::default(),
    );
    assert!(found.is_empty());
}

#[test]
fn what_means_something_else_is_named_by_its_place() {
    for (theirs, ours, path) in [
        (json!({"a": [1, 2]}), json!({"a": [1, 3]}), "a.1"),
        (json!({"a": null}), json!({}), "a"),
        (json!({"a": "1"}), json!({"a": 1}), "a"),
        (json!([1, 2]), json!([2, 1]), "0"),
        (json!({"a": [1]}), json!({"a": [1, 1]}), "a"),
        (
            json!("2026-01-02T03:04:05Z"),
            json!("2026-01-02T03:04:06Z"),
            "",
        ),
    ] {
        let found = paths(&data(theirs), &data(ours), &ComparisonRules::default());
        assert_eq!(found[0], path);
    }
    let date = CallMeaning::Data(Meaning::Date(Some(0)));
    let text = data(json!("1970-01-01T00:00:00.000Z"));
    assert_eq!(
        paths(&date, &text, &ComparisonRules::default()),
        [""],
        "a client sees another type"
    );
}

#[test]
fn errors_are_compared_by_code_status_and_message() {
    let theirs = error("NOT_FOUND", 404, "no such");
    assert!(paths(&theirs, &theirs, &ComparisonRules::default()).is_empty());
    let ours = error("NOT_FOUND", 404, "gone");
    assert_eq!(
        paths(&theirs, &ours, &ComparisonRules::default()),
        ["error.message"]
    );
    let rules = ComparisonRules::of("a.b", &[part("*:error.message")], &[]);
    assert!(paths(&theirs, &ours, &rules).is_empty());
    let found = paths(&theirs, &data(json!(1)), &rules);
    assert_eq!(found, ["error.code", "error.status"]);
}

#[test]
fn rules_are_of_a_procedure_and_a_place() {
    let theirs = data(json!({"list": [{"id": 1, "at": 5}, {"id": 2, "at": 6}], "n": 1}));
    let ours = data(json!({"list": [{"id": 2, "at": 7}, {"id": 1, "at": 8}], "n": 1}));
    let may_differ = [part("chat.*:list.*.at"), part("x.y:n")];
    let unordered = [part("chat.getAll:list")];
    let rules = ComparisonRules::of("chat.getAll", &may_differ, &unordered);
    assert!(paths(&theirs, &ours, &rules).is_empty());
    let rules = ComparisonRules::of("chat.getOne", &may_differ, &unordered);
    assert_eq!(paths(&theirs, &ours, &rules), ["list.0.id", "list.1.id"]);
    let more = data(json!({"list": [{"id": 2}, {"id": 3}], "n": 1}));
    let rules = ComparisonRules::of("chat.getAll", &may_differ, &unordered);
    assert_eq!(paths(&theirs, &more, &rules), ["list.*", "list.*"]);
}

#[test]
fn differences_of_one_answer_are_bounded() {
    let theirs: Vec<u32> = (0..1000).collect();
    let ours: Vec<u32> = (1..1001).collect();
    let found = paths(
        &data(json!(theirs)),
        &data(json!(ours)),
        &ComparisonRules::default(),
    );
    assert_eq!(found.len(), MOST);
}
