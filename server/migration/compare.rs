//! Compares what two servers said, by meaning.
//!
//! The same are: 1 and 1.0, two texts of one instant, a member that is `undefined` and one that is not there,
//! sets and maps in another order, objects in any order. A rule names what else may differ, and lists whose
//! order means nothing. Errors are compared by code, status and message.

use std::cmp::Ordering;

use super::{
    meaning::{CallMeaning, Meaning, instant},
    mode::covers,
    shown::{place, shown},
};

/// The most differences of one answer that are listed. The rest adds nothing.
pub const MOST: usize = 20;
/// What stands for any member or any item in a path.
const ANY: &str = "*";

/// A part of the answers of some procedures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedPart {
    /// A procedure, `namespace.*` or `*`.
    pub procedure: String,
    /// Names of members and `*`, from the answer down.
    pub path: Vec<String>,
}

impl ComparedPart {
    /// Reads `chat.getMessages:messages.*.id`.
    pub fn parse(text: &str) -> Option<Self> {
        let (procedure, path) = text.split_once(':')?;
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let is_whole = !procedure.is_empty() && path.iter().all(|it| !it.is_empty());
        is_whole.then(|| Self {
            procedure: procedure.to_owned(),
            path,
        })
    }
}

/// What need not be the same in the answers of one procedure.
#[derive(Clone, Debug, Default)]
pub struct ComparisonRules {
    may_differ: Vec<Vec<String>>,
    unordered: Vec<Vec<String>>,
}

impl ComparisonRules {
    /// The rules of a procedure among all of them.
    pub fn of(procedure: &str, may_differ: &[ComparedPart], unordered: &[ComparedPart]) -> Self {
        let of = |parts: &[ComparedPart]| {
            let parts = parts.iter().filter(|it| covers(&it.procedure, procedure));
            parts.map(|it| it.path.clone()).collect()
        };
        Self {
            may_differ: of(may_differ),
            unordered: of(unordered),
        }
    }
}

fn names(rules: &[Vec<String>], path: &[String]) -> bool {
    let fits = |rule: &Vec<String>| {
        let mut pairs = rule.iter().zip(path);
        rule.len() == path.len() && pairs.all(|(rule, step)| rule == ANY || rule == step)
    };
    rules.iter().any(fits)
}

/// Where two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerDifference {
    /// The place, such as `messages.3.role`, masked; empty for the answer itself.
    pub path: String,
    /// What the old server said there, masked.
    pub theirs: String,
    /// What this one said.
    pub ours: String,
}

/// Where two answers differ; [`MOST`] at most.
pub fn differences(
    theirs: &CallMeaning,
    ours: &CallMeaning,
    rules: &ComparisonRules,
) -> Vec<AnswerDifference> {
    let mut comparer = Comparer {
        rules,
        path: Vec::new(),
        found: Vec::new(),
    };
    match (theirs, ours) {
        (CallMeaning::Data(theirs), CallMeaning::Data(ours)) => comparer.compare(theirs, ours),
        (theirs, ours) => {
            let parts = [parts(theirs), parts(ours)];
            for name in ["code", "status", "message"] {
                let [theirs, ours] = parts.each_ref().map(|it| part(it, name));
                comparer.within("error", |it| it.within(name, |it| it.compare(theirs, ours)));
            }
        }
    }
    comparer.found
}

/// An error as an object; nothing for an answer.
fn parts(said: &CallMeaning) -> Vec<(&'static str, Meaning)> {
    match said {
        CallMeaning::Data(_) => Vec::new(),
        CallMeaning::Error {
            code,
            status,
            message,
        } => vec![
            ("code", Meaning::Text(code.clone())),
            ("status", Meaning::Number(f64::from(*status))),
            ("message", Meaning::Text(message.clone())),
        ],
    }
}

fn part<'m>(parts: &'m [(&'static str, Meaning)], name: &str) -> &'m Meaning {
    let found = parts.iter().find(|(it, _)| *it == name);
    found.map_or(&Meaning::Undefined, |(_, value)| value)
}

struct Comparer<'r> {
    rules: &'r ComparisonRules,
    path: Vec<String>,
    found: Vec<AnswerDifference>,
}

impl Comparer<'_> {
    fn within(&mut self, step: &str, work: impl FnOnce(&mut Self)) {
        self.path.push(step.to_owned());
        work(self);
        self.path.pop();
    }

    fn add(&mut self, theirs: &Meaning, ours: &Meaning) {
        if self.found.len() < MOST {
            self.found.push(AnswerDifference {
                path: place(&self.path),
                theirs: shown(&self.path, theirs),
                ours: shown(&self.path, ours),
            });
        }
    }

    fn compare(&mut self, theirs: &Meaning, ours: &Meaning) {
        if self.found.len() >= MOST || names(&self.rules.may_differ, &self.path) {
            return;
        }
        match (theirs, ours) {
            (Meaning::Object(theirs), Meaning::Object(ours)) => {
                let more = ours.keys().filter(|name| !theirs.contains_key(*name));
                for name in theirs.keys().chain(more) {
                    let [theirs, ours] =
                        [theirs, ours].map(|it| it.get(name).unwrap_or(&Meaning::Undefined));
                    self.within(name, |it| it.compare(theirs, ours));
                }
            }
            (Meaning::List(theirs), Meaning::List(ours))
                if names(&self.rules.unordered, &self.path) =>
            {
                self.in_any_order(theirs, ours);
            }
            (Meaning::Set(theirs), Meaning::Set(ours))
            | (Meaning::Map(theirs), Meaning::Map(ours)) => self.in_any_order(theirs, ours),
            (Meaning::List(some), Meaning::List(others)) => {
                if some.len() != others.len() {
                    return self.add(theirs, ours);
                }
                for (place, (theirs, ours)) in some.iter().zip(others).enumerate() {
                    self.within(&place.to_string(), |it| it.compare(theirs, ours));
                }
            }
            (Meaning::Other(kind, some), Meaning::Other(other, others)) if kind == other => {
                self.compare(some, others);
            }
            (Meaning::Text(some), Meaning::Text(others)) if is_same_text(some, others) => {}
            (Meaning::Number(some), Meaning::Number(others)) if is_same_number(*some, *others) => {}
            (theirs, ours) if theirs == ours => {}
            (theirs, ours) => self.add(theirs, ours),
        }
    }

    /// Each item has its like on the other side, wherever that stands.
    fn in_any_order(&mut self, theirs: &[Meaning], ours: &[Meaning]) {
        let [some, others] = [theirs, ours].map(|items| self.sorted(items));
        let (mut some, mut others) = (some.into_iter().peekable(), others.into_iter().peekable());
        loop {
            let order = match (some.peek(), others.peek()) {
                (None, None) => return,
                (Some(one), Some(other)) => one.0.cmp(&other.0),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let one = some.next_if(|_| order != Ordering::Greater);
            let other = others.next_if(|_| order != Ordering::Less);
            if order != Ordering::Equal {
                let one = one.map_or(&Meaning::Undefined, |(_, place)| &theirs[place]);
                let other = other.map_or(&Meaning::Undefined, |(_, place)| &ours[place]);
                self.within(ANY, |it| it.add(one, other));
            }
        }
    }

    /// Items by what they mean, each with its place.
    fn sorted(&self, items: &[Meaning]) -> Vec<(String, usize)> {
        let mut path = self.path.clone();
        path.push(ANY.to_owned());
        let keyed = items.iter().enumerate();
        let keyed = keyed.map(|(place, it)| (key(it, &mut path, self.rules), place));
        let mut keyed: Vec<_> = keyed.collect();
        keyed.sort();
        keyed
    }
}

fn is_same_number(some: f64, others: f64) -> bool {
    some == others || some.is_nan() && others.is_nan()
}

/// Whether two texts are equal, or name one instant.
fn is_same_text(some: &str, others: &str) -> bool {
    some == others || instant(some).is_some_and(|it| instant(others) == Some(it))
}

/// A text that two values have alike if they mean the same by the rules.
fn key(value: &Meaning, path: &mut Vec<String>, rules: &ComparisonRules) -> String {
    if names(&rules.may_differ, path) {
        return "?".to_owned();
    }
    let all = |items: &[Meaning], path: &mut Vec<String>| -> Vec<String> {
        let keys = items.iter().enumerate().map(|(place, it)| {
            path.push(place.to_string());
            let key = key(it, path, rules);
            path.pop();
            key
        });
        keys.collect()
    };
    match value {
        Meaning::Undefined => "u".to_owned(),
        Meaning::Null => "n".to_owned(),
        Meaning::Bool(value) => value.to_string(),
        Meaning::Number(value) => format!("#{}", value + 0.0),
        Meaning::BigInt(digits) => format!("{digits}n"),
        Meaning::Date(ms) => format!("d{ms:?}"),
        Meaning::Text(text) => match instant(text) {
            Some(ms) => format!("\"@{ms}\""),
            None => format!("{text:?}"),
        },
        Meaning::List(items) => {
            let mut keys = all(items, path);
            if names(&rules.unordered, path) {
                keys.sort();
            }
            format!("[{}]", keys.join(","))
        }
        Meaning::Set(items) | Meaning::Map(items) => {
            let mut keys = all(items, path);
            keys.sort();
            format!("<{}>", keys.join(","))
        }
        Meaning::Object(members) => {
            let mut keys = Vec::new();
            for (name, value) in members {
                path.push(name.clone());
                // What may differ may as well not be there.
                if *value != Meaning::Undefined && !names(&rules.may_differ, path) {
                    keys.push(format!("{name:?}:{}", key(value, path, rules)));
                }
                path.pop();
            }
            format!("{{{}}}", keys.join(","))
        }
        Meaning::Other(kind, value) => format!("{kind}({})", key(value, path, rules)),
    }
}

#[cfg(test)]
mod tests;
