//! Checks a value: every fault at once, and nothing allocated where there is none.

use chrono::DateTime;
use serde_json::{Map, Number, Value};

use super::{
    super::blank::is_blank,
    Bound, Length, NumberRule, Shape, ShapeField,
    issue::{InputPath, Issue, MAX_SAFE_INTEGER, is_email},
};

/// Faults of one input that are reported, at most.
pub(super) const MAX_TOLD: usize = 100;
/// Bytes of the faults that are reported; the one that goes beyond is the last.
const MAX_TOLD_BYTES: usize = 64 * 1024;

impl Shape {
    /// The faults of `value`, at most [`MAX_TOLD`]; `None` is JavaScript's `undefined`.
    ///
    /// Where there are more, the last one says how many.
    pub fn check(&self, value: Option<&Value>) -> Vec<Issue> {
        if value.is_none() && self.takes_undefined() {
            return Vec::new();
        }
        self.faults(value, &InputPath::Root)
            .into_issues(&InputPath::Root)
    }

    /// Whether `value` has no fault.
    pub fn accepts(&self, value: &Value) -> bool {
        let mut verdict = Verdict::Fits;
        self.visit(Some(value), &InputPath::Root, &mut verdict);
        matches!(verdict, Verdict::Fits)
    }

    fn faults(&self, value: Option<&Value>, path: &InputPath<'_>) -> Faults {
        let mut faults = Faults::default();
        self.visit(value, path, &mut faults);
        faults
    }

    fn visit<S: Sink>(&self, value: Option<&Value>, path: &InputPath<'_>, sink: &mut S) {
        let wrong = |expected: &'static str| move || Issue::wrong_type(path, expected, value);
        match (self, value) {
            (Self::Any, _)
            | (Self::Null, Some(Value::Null))
            | (Self::Boolean, Some(Value::Bool(_)))
            | (Self::SpecialNumber, Some(Value::Number(_)))
            | (Self::UndefinedOr(_), None | Some(Value::Null)) => {}
            (Self::Never, _) => sink.add(wrong("never")),
            (Self::Null, _) => sink.add(wrong("null")),
            (Self::Boolean, _) => sink.add(wrong("boolean")),
            (Self::Number(rule), Some(Value::Number(number))) => rule.visit(number, path, sink),
            (Self::Number(_), Some(Value::String(text))) if is_special_number(text) => {
                sink.add(|| Issue::not_finite(path, text));
            }
            (Self::SpecialNumber, Some(Value::String(text)))
                if text == "-0" || is_special_number(text) => {}
            (Self::Number(_) | Self::SpecialNumber, _) => sink.add(wrong("number")),
            (Self::Text(rule), Some(Value::String(text))) => {
                let length = || match rule.blank_is_empty && is_blank(text) {
                    true => 0,
                    false => utf16_length(text),
                };
                rule.length.visit("string", length, path, sink);
                if rule.email && !is_email(text) {
                    sink.add(|| Issue::not_email(path));
                }
            }
            (Self::Text(_), _) => sink.add(wrong("string")),
            (Self::Date, Some(Value::String(text))) => {
                if DateTime::parse_from_rfc3339(text).is_err() {
                    sink.add(|| Issue::invalid_date(path));
                }
            }
            (Self::Date, _) => sink.add(wrong("date")),
            (Self::BigInt, Some(Value::String(text))) if text.parse::<i128>().is_ok() => {}
            (Self::BigInt, Some(Value::Number(number))) if !number.is_f64() => {}
            (Self::BigInt, _) => sink.add(wrong("bigint")),
            (Self::Literal(values), value) => {
                if !value.is_some_and(|value| values.iter().any(|known| same(known, value))) {
                    sink.add(|| Issue::not_one_of(path, values));
                }
            }
            (Self::Array { items, length, set }, Some(Value::Array(list))) => {
                for (index, item) in list.iter().enumerate() {
                    items.visit(Some(item), &InputPath::Index(path, index), sink);
                }
                let what = if *set { "set" } else { "array" };
                length.visit(what, || list.len(), path, sink);
            }
            (Self::Array { set: true, .. }, _) => sink.add(wrong("set")),
            (Self::Array { .. }, _) => sink.add(wrong("array")),
            (Self::Tuple(shapes), Some(Value::Array(list))) => {
                visit_tuple(shapes, list, path, sink);
            }
            (Self::Tuple(_), _) => sink.add(wrong("tuple")),
            (
                Self::Object {
                    fields, additional, ..
                },
                Some(Value::Object(object)),
            ) => {
                visit_object(fields, additional.as_deref(), object, path, sink);
            }
            (
                Self::Object {
                    fields, additional, ..
                },
                _,
            ) => {
                let record = fields.is_empty() && additional.is_some();
                sink.add(wrong(if record { "record" } else { "object" }));
            }
            (Self::Map { key, value }, Some(Value::Array(pairs))) => {
                visit_pairs(key, value, pairs, path, sink);
            }
            (Self::Map { .. }, _) => sink.add(wrong("map")),
            (Self::UndefinedOr(shape), value) => shape.visit(value, path, sink),
            (Self::Union(branches), value) => {
                if !value.is_some_and(|value| branches.iter().any(|b| b.accepts(value))) {
                    sink.add_union(branches, value, path);
                }
            }
            (Self::All(shapes), value) => {
                for shape in shapes {
                    shape.visit(value, path, sink);
                }
            }
            (Self::Reference(reference), value) => reference.shape().visit(value, path, sink),
        }
    }

    /// The field of that name, in an object or in what makes one up.
    fn field(&self, name: &str) -> Option<&ShapeField> {
        match self.resolve() {
            Self::Object { fields, .. } => fields.iter().find(|field| field.name == name),
            Self::All(shapes) => shapes.iter().find_map(|shape| shape.field(name)),
            _ => None,
        }
    }

    /// Names of the fields that hold one constant.
    fn tags(&self) -> Vec<&str> {
        match self.resolve() {
            Self::Object { fields, .. } => fields
                .iter()
                .filter(|field| field.constant().is_some())
                .map(|field| field.name.as_str())
                .collect(),
            Self::All(shapes) => shapes.iter().flat_map(Self::tags).collect(),
            _ => Vec::new(),
        }
    }
}

impl ShapeField {
    fn constant(&self) -> Option<&Value> {
        match self.shape.resolve() {
            Shape::Literal(values) if self.required => match values.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Where faults go: into a list, or into a mere yes or no that never builds their texts.
trait Sink {
    fn add(&mut self, issue: impl FnOnce() -> Issue);
    /// Of a value that no branch takes.
    fn add_union(&mut self, branches: &[Shape], value: Option<&Value>, path: &InputPath<'_>);
}

/// The faults that are reported, and how many more there are.
///
/// An input can hold a fault in every second byte, and each is described in a hundred or more. So the
/// list has an end, and what lies behind it is only counted.
#[derive(Default)]
struct Faults {
    issues: Vec<Issue>,
    /// Bytes of the faults that are reported.
    size: usize,
    more: usize,
}

impl Faults {
    fn is_full(&self) -> bool {
        self.issues.len() >= MAX_TOLD || self.size >= MAX_TOLD_BYTES
    }

    fn into_issues(mut self, path: &InputPath<'_>) -> Vec<Issue> {
        if self.more > 0 {
            // Its place is the last one's.
            if self.issues.len() >= MAX_TOLD {
                self.issues.pop();
                self.more += 1;
            }
            self.issues.push(Issue::and_more(path, self.more));
        }
        self.issues
    }
}

impl Sink for Faults {
    fn add(&mut self, issue: impl FnOnce() -> Issue) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let issue = issue();
        // Parts of one whole that agree about a fault report it once.
        if !self.issues.contains(&issue) {
            self.size += issue.size();
            self.issues.push(issue);
        }
    }

    fn add_union(&mut self, branches: &[Shape], value: Option<&Value>, path: &InputPath<'_>) {
        union_faults(branches, value, path, self);
    }
}

enum Verdict {
    Fits,
    Faulty,
}

impl Sink for Verdict {
    fn add(&mut self, _: impl FnOnce() -> Issue) {
        *self = Self::Faulty;
    }

    fn add_union(&mut self, _: &[Shape], _: Option<&Value>, _: &InputPath<'_>) {
        *self = Self::Faulty;
    }
}

fn visit_tuple<S: Sink>(shapes: &[Shape], list: &[Value], path: &InputPath<'_>, sink: &mut S) {
    let count = shapes.len();
    if list.len() < count {
        sink.add(|| Issue::too_small(path, "array", count as f64, true, None));
    } else if list.len() > count {
        sink.add(|| Issue::too_big(path, "array", count as f64, true, None));
    } else {
        for (index, (shape, item)) in shapes.iter().zip(list).enumerate() {
            shape.visit(Some(item), &InputPath::Index(path, index), sink);
        }
    }
}

/// The pairs of a map: its keys and their values.
fn visit_pairs<S: Sink>(
    key: &Shape,
    value: &Shape,
    pairs: &[Value],
    path: &InputPath<'_>,
    sink: &mut S,
) {
    for (index, pair) in pairs.iter().enumerate() {
        match pair.as_array().map(Vec::as_slice) {
            Some([first, second]) => {
                let entry = InputPath::Entry(path, first);
                key.visit(Some(first), &entry, sink);
                value.visit(Some(second), &entry, sink);
            }
            _ => {
                sink.add(|| Issue::wrong_type(&InputPath::Index(path, index), "tuple", Some(pair)))
            }
        }
    }
}

fn visit_object<S: Sink>(
    fields: &[ShapeField],
    additional: Option<&Shape>,
    object: &Map<String, Value>,
    path: &InputPath<'_>,
    sink: &mut S,
) {
    for field in fields {
        match object.get(&field.name) {
            None if !field.required => {}
            value => field
                .shape
                .visit(value, &InputPath::Key(path, &field.name), sink),
        }
    }
    let others = || {
        object
            .iter()
            .filter(|(name, _)| !fields.iter().any(|field| field.name == **name))
    };
    match additional {
        None => {}
        Some(Shape::Never) if others().next().is_none() => {}
        Some(Shape::Never) => sink.add(|| {
            let names: Vec<&str> = others().map(|(name, _)| name.as_str()).collect();
            Issue::unknown_keys(path, &names)
        }),
        Some(shape) => {
            for (name, value) in others() {
                shape.visit(Some(value), &InputPath::Key(path, name), sink);
            }
        }
    }
}

impl NumberRule {
    fn visit<S: Sink>(&self, number: &Number, path: &InputPath<'_>, sink: &mut S) {
        let Some(value) = number.as_f64() else {
            return;
        };
        if self.integer && number.is_f64() && value.fract() != 0.0 {
            return sink.add(|| Issue::not_integer(path));
        }
        let below =
            |bound: &Bound| value < bound.value || (value == bound.value && !bound.inclusive);
        let above =
            |bound: &Bound| value > bound.value || (value == bound.value && !bound.inclusive);
        if let Some(bound) = self.min.filter(below) {
            let message = self.messages.too_small.as_deref();
            sink.add(|| Issue::too_small(path, "number", bound.value, bound.inclusive, message));
        } else if let Some(bound) = self.max.filter(above) {
            let message = self.messages.too_big.as_deref();
            sink.add(|| Issue::too_big(path, "number", bound.value, bound.inclusive, message));
        } else if self.integer && number.is_f64() && value.abs() > MAX_SAFE_INTEGER {
            sink.add(|| Issue::unsafe_integer(path, value > 0.0));
        }
    }
}

impl Length {
    fn visit<S: Sink>(
        &self,
        what: &'static str,
        length: impl FnOnce() -> usize,
        path: &InputPath<'_>,
        sink: &mut S,
    ) {
        if self.min.is_none() && self.max.is_none() {
            return;
        }
        let length = length();
        if let Some(min) = self.min.filter(|min| length < *min) {
            let message = self.messages.too_small.as_deref();
            sink.add(|| Issue::too_small(path, what, min as f64, true, message));
        }
        if let Some(max) = self.max.filter(|max| length > *max) {
            let message = self.messages.too_big.as_deref();
            sink.add(|| Issue::too_big(path, what, max as f64, true, message));
        }
    }
}

/// What no branch would take. As in zod, a branch that is seen to be the one meant speaks for
/// itself: the only one beside `null`, the one with the value's tag, or the only one whose type fits.
fn union_faults(
    branches: &[Shape],
    value: Option<&Value>,
    path: &InputPath<'_>,
    sink: &mut Faults,
) {
    let branches: Vec<&Shape> = branches
        .iter()
        .filter(|branch| !matches!(branch.resolve(), Shape::Null))
        .collect();
    if let [only] = branches.as_slice() {
        return only.visit(value, path, sink);
    }
    if let Some(tag) = common_tag(&branches) {
        let Some(Value::Object(object)) = value else {
            return sink.add(|| Issue::wrong_type(path, "object", value));
        };
        return match with_tag(&branches, tag, object) {
            Some(branch) => branch.visit(value, path, sink),
            None => sink.add(|| {
                let options: Vec<&Value> = branches
                    .iter()
                    .filter_map(|branch| branch.field(tag)?.constant())
                    .collect();
                Issue::unknown_tag(path, tag, &options)
            }),
        };
    }
    if sink.is_full() {
        sink.more += 1;
        return;
    }
    let mut errors: Vec<Faults> = branches
        .iter()
        .map(|branch| branch.faults(value, &InputPath::Root))
        .collect();
    let mut meant = errors
        .iter()
        .enumerate()
        .filter(|(_, faults)| faults.issues.iter().all(Issue::is_about_bounds));
    if let (Some((index, _)), None) = (meant.next(), meant.next()) {
        let meant = errors.swap_remove(index);
        for issue in meant.issues {
            sink.add(|| issue.below(path));
        }
        sink.more += meant.more;
        return;
    }
    sink.add(|| {
        let errors: Vec<Vec<Issue>> = errors
            .into_iter()
            .map(|faults| faults.into_issues(&InputPath::Root))
            .collect();
        Issue::no_branch(path, &errors)
    });
}

/// The branch of a tagged union that has the value's tag, whatever else is in it.
pub(super) fn tagged_branch<'a>(branches: &'a [Shape], value: &Value) -> Option<&'a Shape> {
    let branches: Vec<&Shape> = branches.iter().collect();
    with_tag(&branches, common_tag(&branches)?, value.as_object()?)
}

fn common_tag<'a>(branches: &[&'a Shape]) -> Option<&'a str> {
    let (first, others) = branches.split_first()?;
    first.tags().into_iter().find(|tag| {
        others
            .iter()
            .all(|branch| branch.field(tag).is_some_and(|f| f.constant().is_some()))
    })
}

fn with_tag<'a>(
    branches: &[&'a Shape],
    tag: &str,
    object: &Map<String, Value>,
) -> Option<&'a Shape> {
    let value = object.get(tag)?;
    branches.iter().copied().find(|branch| {
        branch
            .field(tag)
            .and_then(ShapeField::constant)
            .is_some_and(|constant| same(constant, value))
    })
}

/// Equal as JavaScript sees it: 1 and 1.0 are the same number.
fn same(known: &Value, value: &Value) -> bool {
    match (known, value) {
        (Value::Number(known), Value::Number(value)) => known.as_f64() == value.as_f64(),
        _ => known == value,
    }
}

fn is_special_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn utf16_length(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}
