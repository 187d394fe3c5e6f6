//! Recorded behaviour of the original, and the rules that say where modelramp differs on purpose.
//!
//! The files lie in `VECTORS_DIR`, by default in the project's own `tests/vectors`. A test loads one
//! file, runs each case, and compares field by field through [`Rules`]: a field that does not match
//! must fall under a rule of docs/compatibility.md whose predicate, stated over the *content* of the
//! case and never over its id, holds for it. Everything else is a failure, all of them reported at
//! once, and the printed summary says how often each rule was needed.
//!
//! ```ignore
//! let Some(cases) = vectors::load("feature_flags.json") else { return };
//! let mut rules = Rules::new("feature_flags.json");
//! for case in &cases {
//!     let ours = run(&case.input);
//!     rules.compare(case, "enabled", &ours, &case.output["enabled"], &[("C3", has_odd_id(case))]);
//! }
//! rules.finish();
//! ```

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    fs,
    path::PathBuf,
};

use serde::Deserialize;
use serde_json::Value;

/// How many failures are printed in full.
const FAILURES_SHOWN: usize = 20;

/// One recorded call.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    /// For messages only; a rule must never look at it.
    pub(crate) id: String,
    /// What was called.
    #[serde(rename = "fn")]
    pub(crate) function: String,
    /// A label, where there is one.
    #[serde(default)]
    pub(crate) name: String,
    /// Environment variables that were set.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// What it was called with.
    #[serde(default)]
    pub(crate) input: Value,
    /// What it returned.
    #[serde(default)]
    pub(crate) output: Value,
    /// Everything else (`log`, `request`, `prior`, …).
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// The cases of a file; `None`, and a line that says so, where the folder does not have it.
///
/// # Panics
///
/// Where the folder holds no vectors at all, or the file cannot be read as vectors.
pub(crate) fn load(file: &str) -> Option<Vec<Case>> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }

    let folder = folder();
    let any = fs::read_dir(&folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.path().extension().is_some_and(|e| e == "json")))
    });
    assert!(any, "no vectors at all in `{}`", folder.display());

    let path = folder.join(file);
    if !path.exists() {
        say(format_args!("skipped: `{}` is absent", path.display()));
        return None;
    }
    let text = fs::read_to_string(&path).unwrap();
    let File { cases } = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("`{}` is not a vector file: {error}", path.display()));
    Some(cases)
}

fn folder() -> PathBuf {
    std::env::var_os("VECTORS_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"),
        PathBuf::from,
    )
}

/// The kind of a special value (`{"$": kind}`): `undefined`, `NaN`, `Infinity`, `Date`, …
pub(crate) fn special(value: &Value) -> Option<&str> {
    value.get("$")?.as_str()
}

/// A number as JavaScript had it, the special ones included.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match special(value) {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some("-0") => Some(-0.0),
        _ => value.as_f64(),
    }
}

/// A value with JSON's own types, for feeding it to serde: dates as text, `undefined` and numbers
/// that JSON cannot say as `null`.
pub(crate) fn plain(value: &Value) -> Value {
    match (special(value), value) {
        (Some("Date"), _) => value["iso"].clone(),
        (Some("-0"), _) => Value::from(0),
        (Some(_), _) => Value::Null,
        (None, Value::Array(items)) => items.iter().map(plain).collect(),
        (None, Value::Object(fields)) => fields
            .iter()
            .filter(|(_, value)| special(value) != Some("undefined"))
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        _ => value.clone(),
    }
}

/// The message of a recorded exception.
pub(crate) fn thrown(output: &Value) -> Option<&str> {
    output
        .get("throws")
        .or_else(|| output.get("$throws"))?
        .as_str()
}

/// The recorded result, taken out of `{"value": …}` where throwing was possible.
pub(crate) fn returned(output: &Value) -> &Value {
    output.get("value").unwrap_or(output)
}

/// Equality as JavaScript sees it: `1` is `1.0`, NaN is NaN, the order of keys is free.
pub(crate) fn same(ours: &Value, recorded: &Value) -> bool {
    if let (Some(a), Some(b)) = (number(ours), number(recorded)) {
        return a == b || a.is_nan() && b.is_nan();
    }
    match (ours, recorded) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && b.iter()
                    .all(|(name, b)| a.get(name).is_some_and(|a| same(a, b)))
        }
        _ => ours == recorded,
    }
}

/// Compares fields, and keeps the books about what matched, what was excused and what was not.
#[derive(Debug)]
pub(crate) struct Rules {
    file: &'static str,
    matched: usize,
    /// By rule and field.
    excused: BTreeMap<(&'static str, String), usize>,
    failures: Vec<String>,
}

impl Rules {
    /// Empty books for one file.
    pub(crate) fn new(file: &'static str) -> Self {
        Self {
            file,
            matched: 0,
            excused: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Notes that a rule excused a field.
    pub(crate) fn excuse(&mut self, rule: &'static str, field: &str) {
        *self.excused.entry((rule, field.to_owned())).or_default() += 1;
    }

    /// Notes that something neither matched nor fell under a rule.
    pub(crate) fn fail(&mut self, case: &Case, field: &str, why: impl Display) {
        self.failures.push(format!(
            "{} {} `{}` {field}: {why}",
            case.id, case.function, case.name
        ));
    }

    /// Compares one field. `rules` are those that speak of this field, each with whether its
    /// predicate holds for this case; they are asked only where the values differ.
    pub(crate) fn compare(
        &mut self,
        case: &Case,
        field: &str,
        ours: &Value,
        recorded: &Value,
        rules: &[(&'static str, bool)],
    ) {
        if same(ours, recorded) {
            self.matched += 1;
        } else if let Some((rule, _)) = rules.iter().find(|(_, holds)| *holds) {
            self.excuse(rule, field);
        } else {
            self.fail(case, field, format_args!("{ours}, recorded {recorded}"));
        }
    }

    /// Compares every field that the recorded object has (ours may have more), each under the rules
    /// that `rules_of` gives for its name.
    pub(crate) fn compare_fields(
        &mut self,
        case: &Case,
        ours: &Value,
        recorded: &Value,
        rules_of: impl Fn(&str) -> Vec<(&'static str, bool)>,
    ) {
        let Some(fields) = recorded.as_object() else {
            return self.compare(case, "(whole)", ours, recorded, &rules_of("(whole)"));
        };
        for (name, recorded) in fields {
            let ours = ours.get(name).unwrap_or(&Value::Null);
            self.compare(case, name, ours, recorded, &rules_of(name));
        }
    }

    /// Prints the books.
    ///
    /// # Panics
    ///
    /// Where something failed, or nothing was compared at all.
    pub(crate) fn finish(self) {
        let mut text = format!("{}: {} fields match", self.file, self.matched);
        for ((rule, field), count) in &self.excused {
            let _ = write!(text, "\n  {rule} excused `{field}` {count} times");
        }
        say(format_args!("{text}"));
        let failed = self.failures.len();
        let shown = self.failures.into_iter().take(FAILURES_SHOWN);
        let shown = shown.collect::<Vec<_>>().join("\n");
        assert!(failed == 0, "{failed} fields differ:\n{shown}");
        assert!(
            self.matched + self.excused.len() > 0,
            "nothing was compared"
        );
    }
}

#[expect(clippy::print_stdout, reason = "a test reports what it compared")]
fn say(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_that_of_javascript() {
        assert!(same(&json!(1.0), &json!(1)));
        assert!(same(&json!({"$": "NaN"}), &json!({"$": "NaN"})));
        assert!(same(
            &json!({"a": [1], "b": 2}),
            &json!({"b": 2.0, "a": [1.0]})
        ));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!("1"), &json!(1)));
    }

    #[test]
    fn special_values_become_what_json_can_say() {
        let value =
            json!({"a": {"$": "undefined"}, "b": {"$": "NaN"}, "c": {"$": "Date", "iso": "x"}});
        assert_eq!(plain(&value), json!({"b": null, "c": "x"}));
    }
}
