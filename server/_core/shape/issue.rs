//! Faults of an input, worded as zod 4 words them.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

/// JavaScript's greatest safe integer, 2⁵³ − 1.
pub(super) const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
/// As zod had it when the original was written; `is_email` below is the same rule.
const EMAIL_PATTERN: &str = r"/^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$/";

/// One fault of an input, in zod 4's form.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// `invalid_type`, `too_small`, `too_big`, `invalid_value`, `invalid_format`, …
    pub code: &'static str,
    /// Where: field names and list positions.
    pub path: Vec<Value>,
    /// For people: what was expected and what came.
    pub message: String,
    /// All but path and message, in zod's order; `code` is among them.
    pub details: Map<String, Value>,
}

impl Serialize for Issue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.details.len() + 2))?;
        for (key, value) in &self.details {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("path", &self.path)?;
        map.serialize_entry("message", &self.message)?;
        map.end()
    }
}

/// Where in the input, as a chain on the stack, so that going down costs nothing.
#[derive(Clone, Copy)]
pub(super) enum InputPath<'a> {
    Root,
    Key(&'a InputPath<'a>, &'a str),
    Index(&'a InputPath<'a>, usize),
    /// A key of a map, which need not be a text.
    Entry(&'a InputPath<'a>, &'a Value),
}

impl InputPath<'_> {
    fn to_values(self) -> Vec<Value> {
        let (parent, step) = match self {
            Self::Root => return Vec::new(),
            Self::Key(parent, key) => (parent, key.into()),
            Self::Index(parent, index) => (parent, index.into()),
            Self::Entry(parent, key) => (parent, key.clone()),
        };
        let mut path = parent.to_values();
        path.push(step);
        path
    }
}

impl Issue {
    fn new(code: &'static str, path: &InputPath<'_>, message: String, details: Value) -> Self {
        Self {
            code,
            path: path.to_values(),
            message,
            details: match details {
                Value::Object(details) => details,
                _ => Map::new(),
            },
        }
    }

    /// The same fault of a value that lies deeper.
    pub(super) fn below(mut self, path: &InputPath<'_>) -> Self {
        let mut whole = path.to_values();
        whole.append(&mut self.path);
        self.path = whole;
        self
    }

    /// Whether the value was of the right type, so that a union can tell which branch was meant.
    pub(super) fn is_about_bounds(&self) -> bool {
        matches!(self.code, "too_small" | "too_big" | "invalid_format")
            && self.details.contains_key("origin")
            && !self.details.contains_key("note")
    }

    pub(super) fn wrong_type(path: &InputPath<'_>, expected: &str, value: Option<&Value>) -> Self {
        let received = match value {
            None => "undefined",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        Self::new(
            "invalid_type",
            path,
            format!("Invalid input: expected {expected}, received {received}"),
            json!({"expected": expected, "code": "invalid_type"}),
        )
    }

    /// NaN and the infinities, which superjson carries as text.
    pub(super) fn not_finite(path: &InputPath<'_>, received: &str) -> Self {
        Self::new(
            "invalid_type",
            path,
            format!("Invalid input: expected number, received {received}"),
            json!({"expected": "number", "code": "invalid_type", "received": received}),
        )
    }

    pub(super) fn invalid_date(path: &InputPath<'_>) -> Self {
        Self::new(
            "invalid_type",
            path,
            "Invalid input: expected date, received Date".into(),
            json!({"expected": "date", "code": "invalid_type", "received": "Invalid Date"}),
        )
    }

    pub(super) fn not_integer(path: &InputPath<'_>) -> Self {
        Self::new(
            "invalid_type",
            path,
            "Invalid input: expected int, received number".into(),
            json!({"expected": "int", "format": "safeint", "code": "invalid_type"}),
        )
    }

    pub(super) fn unsafe_integer(path: &InputPath<'_>, positive: bool) -> Self {
        let note = "Integers must be within the safe integer range.";
        let limit = number(if positive {
            MAX_SAFE_INTEGER
        } else {
            -MAX_SAFE_INTEGER
        });
        if positive {
            Self::new(
                "too_big",
                path,
                format!("Too big: expected int to be <={limit}"),
                json!({"code": "too_big", "maximum": limit, "note": note, "origin": "int", "inclusive": true}),
            )
        } else {
            Self::new(
                "too_small",
                path,
                format!("Too small: expected int to be >={limit}"),
                json!({"code": "too_small", "minimum": limit, "note": note, "origin": "int", "inclusive": true}),
            )
        }
    }

    /// `what` is `number`, `string`, `array` or `set`.
    pub(super) fn too_small(
        path: &InputPath<'_>,
        what: &str,
        minimum: f64,
        inclusive: bool,
        message: Option<&str>,
    ) -> Self {
        let minimum = number(minimum);
        let sign = if inclusive { ">=" } else { ">" };
        Self::new(
            "too_small",
            path,
            message.map_or_else(
                || {
                    format!(
                        "Too small: expected {what} to {}",
                        bound(what, sign, &minimum)
                    )
                },
                str::to_owned,
            ),
            json!({"origin": what, "code": "too_small", "minimum": minimum, "inclusive": inclusive}),
        )
    }

    /// `what` is `number`, `string`, `array` or `set`.
    pub(super) fn too_big(
        path: &InputPath<'_>,
        what: &str,
        maximum: f64,
        inclusive: bool,
        message: Option<&str>,
    ) -> Self {
        let maximum = number(maximum);
        let sign = if inclusive { "<=" } else { "<" };
        Self::new(
            "too_big",
            path,
            message.map_or_else(
                || {
                    format!(
                        "Too big: expected {what} to {}",
                        bound(what, sign, &maximum)
                    )
                },
                str::to_owned,
            ),
            json!({"origin": what, "code": "too_big", "maximum": maximum, "inclusive": inclusive}),
        )
    }

    pub(super) fn not_email(path: &InputPath<'_>) -> Self {
        Self::new(
            "invalid_format",
            path,
            "Invalid email address".into(),
            json!({"origin": "string", "code": "invalid_format", "format": "email", "pattern": EMAIL_PATTERN}),
        )
    }

    pub(super) fn not_one_of(path: &InputPath<'_>, values: &[Value]) -> Self {
        let names: Vec<String> = values.iter().map(Value::to_string).collect();
        let message = match names.as_slice() {
            [only] => format!("Invalid input: expected {only}"),
            _ => format!("Invalid option: expected one of {}", names.join("|")),
        };
        Self::new(
            "invalid_value",
            path,
            message,
            json!({"code": "invalid_value", "values": values}),
        )
    }

    pub(super) fn unknown_keys(path: &InputPath<'_>, keys: &[&str]) -> Self {
        let names: Vec<String> = keys.iter().map(|key| json!(key).to_string()).collect();
        let s = if keys.len() == 1 { "" } else { "s" };
        Self::new(
            "unrecognized_keys",
            path,
            format!("Unrecognized key{s}: {}", names.join(", ")),
            json!({"code": "unrecognized_keys", "keys": keys}),
        )
    }

    /// Stands for the faults that are left out.
    pub(super) fn and_more(path: &InputPath<'_>, count: usize) -> Self {
        let s = if count == 1 { "" } else { "s" };
        Self::new(
            "custom",
            path,
            format!("and {count} more fault{s}"),
            json!({"code": "custom"}),
        )
    }

    /// About how many bytes its text takes.
    pub(super) fn size(&self) -> usize {
        let steps = self.path.iter().map(|step| match step {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => step.to_string().len(),
            _ => 8,
        });
        let nested = self
            .details
            .get("errors")
            .map_or(0, |errors| errors.to_string().len());
        steps.sum::<usize>() + nested + self.message.len() + 64
    }

    pub(super) fn no_branch(path: &InputPath<'_>, errors: &[Vec<Self>]) -> Self {
        Self::new(
            "invalid_union",
            path,
            "Invalid input".into(),
            json!({"code": "invalid_union", "errors": errors}),
        )
    }

    pub(super) fn unknown_tag(path: &InputPath<'_>, tag: &str, options: &[&Value]) -> Self {
        let names: Vec<String> = options
            .iter()
            .map(|option| match option {
                Value::String(text) => format!("'{text}'"),
                other => other.to_string(),
            })
            .collect();
        Self::new(
            "invalid_union",
            &InputPath::Key(path, tag),
            format!(
                "Invalid discriminator value. Expected {}",
                names.join(" | ")
            ),
            json!({"code": "invalid_union", "errors": [], "note": "No matching discriminator", "discriminator": tag, "options": options}),
        )
    }
}

fn bound(what: &str, sign: &str, limit: &Value) -> String {
    match what {
        "string" => format!("have {sign}{limit} characters"),
        "array" | "set" => format!("have {sign}{limit} items"),
        _ => format!("be {sign}{limit}"),
    }
}

/// `5`, not `5.0`, as JavaScript prints it.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER {
        (value as i64).into()
    } else {
        value.into()
    }
}

/// [`EMAIL_PATTERN`], by hand: no dot at the start, before the `@`, or beside another; a host of
/// labels that begin with a letter or digit, and at least two letters at the end.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    let local_ok = !local.starts_with('.')
        && !text.contains("..")
        && local
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_'+-.".contains(&b))
        && local
            .bytes()
            .last()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    let Some((labels, top)) = host.rsplit_once('.') else {
        return false;
    };
    let label_ok = |label: &str| {
        label
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    local_ok
        && labels.split('.').all(label_ok)
        && top.len() >= 2
        && top.bytes().all(|b| b.is_ascii_alphabetic())
}
