//! Calls of tools in the chunks of one choice: which fragment belongs to which call.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::{Value, value::RawValue};

use super::with;
use crate::providers::{
    RawObject,
    fields::{each, fields, text},
};

/// The most calls of one choice whose state is kept.
const MAX_CALLS: usize = 1_000;

/// The calls of one choice so far.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

/// A call of a tool, by what its first fragment said; or what a fragment says.
struct Call {
    id: Option<String>,
    index: Option<u64>,
    name: Option<String>,
    /// Its arguments, as far as they have come.
    arguments: String,
    /// Whether they came with later fragments than the first.
    is_in_pieces: bool,
}

impl Call {
    /// Whether it names its tool and has all arguments of it.
    fn is_whole(&self) -> bool {
        self.name.is_some() && are_whole(&self.arguments)
    }

    /// Whether this one says all of the other once more.
    fn repeats(&self, other: &Self) -> bool {
        (&self.arguments, &self.name, &self.id) == (&other.arguments, &other.name, &other.id)
            && self.is_whole()
    }
}

/// A fragment of a call, as it came.
struct Fragment<'a> {
    json: &'a RawValue,
    function: Option<&'a RawValue>,
    /// Its arguments, where they are no text, as they should be, but the JSON itself.
    bare: Option<&'a RawValue>,
    call: Call,
    /// Whether it has arguments alone, and no call begins with these.
    goes_on: bool,
}

impl<'a> Fragment<'a> {
    fn read(json: &'a RawValue) -> Self {
        let [index, id, function] = fields(json, ["index", "id", "function"]);
        let [name, arguments] = function.map_or([None; 2], |it| fields(it, ["name", "arguments"]));
        let id = text(id).filter(|id| !id.is_empty());
        let name = text(name).filter(|name| !name.is_empty());
        let bare = arguments.filter(|it| is_bare(it));
        let arguments = match bare {
            Some(json) => json.get().to_owned(),
            None => text(arguments).unwrap_or_default(),
        };
        let goes_on = id.is_none() && name.is_none() && !arguments.is_empty();
        Self {
            json,
            function,
            bare,
            call: Call {
                id,
                index: index.and_then(|index| index.get().parse().ok()),
                name,
                arguments,
                is_in_pieces: false,
            },
            goes_on,
        }
    }
}

/// Where a fragment belongs, and what has to be other about it.
struct Place {
    index: usize,
    /// Whether the first fragment of the call has come before.
    is_later: bool,
    /// Whether it says all of the call once more.
    is_repetition: bool,
}

impl Calls {
    /// The fragments of calls, where they have to go out as another text.
    pub(super) fn mend(&mut self, calls: &RawValue) -> Option<String> {
        let mut fragments = Vec::new();
        each(calls, |call| fragments.push(Fragment::read(call)));
        let repeat_all = self.are_repeated(&fragments);
        let mut fragments = fragments.into_iter().enumerate();
        mend_each(calls, |_| {
            let (index, fragment) = fragments.next()?;
            self.mend_one(fragment, repeat_all.then_some(index))
        })
    }

    /// Whether these are all calls once more, as some servers tell them at the end: one by one, their ids may not tell
    /// them apart.
    fn are_repeated(&self, fragments: &[Fragment]) -> bool {
        fragments.len() > 1
            && fragments.len() == self.0.len()
            && fragments
                .iter()
                .zip(&self.0)
                .all(|(it, known)| it.call.repeats(known))
    }

    /// The fragment as it goes out; `repeated` is the place of the call that it is known to repeat.
    fn mend_one(&mut self, fragment: Fragment, repeated: Option<usize>) -> Option<String> {
        let Fragment {
            json,
            function,
            bare,
            call,
            goes_on,
        } = fragment;
        let index = call.index;
        let is_repeated = call.id.is_some() || call.name.is_some();
        let place = match repeated {
            Some(index) => Place {
                index,
                is_later: true,
                is_repetition: true,
            },
            None => self.place(call, goes_on)?,
        };
        let is_placed = index == Some(place.index as u64);
        if is_placed && bare.is_none() && !(place.is_later && is_repeated) {
            return None;
        }
        let mut whole = RawObject::parse(json.get().as_bytes()).ok()?;
        whole.set("index", &place.index).ok()?;
        let is_repeated = place.is_later && is_repeated;
        if is_repeated {
            // Clients join what comes for one call, names and ids too.
            whole.remove("id");
        }
        if let Some(function) = function
            && (is_repeated || bare.is_some())
        {
            let mut function = RawObject::parse(function.get().as_bytes()).ok()?;
            if is_repeated {
                function.remove("name");
            }
            if place.is_repetition {
                function.set("arguments", &"").ok()?;
            } else if let Some(json) = bare {
                function.set("arguments", &json.get()).ok()?;
            }
            let function = RawValue::from_string(function.to_json()).ok()?;
            whole.set("function", &function).ok()?;
        }
        Some(whole.to_json())
    }

    /// The call that a fragment belongs to. A new one has an id that did not come before, or an index, or it calls
    /// another tool; servers that number nothing, or everything with 0, still give each call an id and a name, or, as
    /// Gemini's does, a name and all arguments at once.
    ///
    /// What `goes_on` under a number that nobody knows belongs to the last call.
    fn place(&mut self, call: Call, goes_on: bool) -> Option<Place> {
        let Call {
            id, index, name, ..
        } = &call;
        let is_whole = call.is_whole();
        let is_of_other_tool = |known: &Call| {
            let both = name.as_ref().zip(known.name.as_ref());
            both.is_some_and(|(name, known)| name != known)
        };
        // Some servers give all calls one id, and numbers that tell them apart.
        let is_other =
            |known: &Call| index.is_some() && known.index.is_some() && known.index != *index;
        let same_id = |known: &Call| {
            id.is_some() && known.id == *id && !is_other(known) && !is_of_other_tool(known)
        };
        let same_index =
            |known: &Call| index.is_some() && known.index == *index && !is_of_other_tool(known);
        // Who gives no ids and writes a call in pieces writes none at once but to tell it once more.
        let is_told_again = |known: &Call| {
            let is_same = known.name == *name && known.arguments == call.arguments;
            id.is_none() && is_whole && is_same && known.is_in_pieces && !is_other(known)
        };
        let mut calls = self.0.iter();
        let known = calls.rposition(|known| same_id(known) || is_told_again(known));
        let known = known.or_else(|| {
            let starts = name.is_some() && id.is_some();
            let by_index = self.0.iter().rposition(same_index);
            match by_index {
                _ if starts => None,
                Some(place) if is_whole && id.is_none() && self.is_whole(place) => None,
                Some(place) => Some(place),
                None if goes_on || (index.is_none() && name.is_none()) => {
                    self.0.len().checked_sub(1)
                }
                None => None,
            }
        });
        if let Some((index, before)) = known.and_then(|it| Some((it, self.0.get_mut(it)?))) {
            let is_repetition = is_whole && before.arguments == call.arguments;
            // Others give one id to all calls, each of which comes at once.
            if is_repetition || !is_whole || !before.is_whole() {
                if !is_repetition {
                    before.arguments += &call.arguments;
                    before.is_in_pieces |= !call.arguments.is_empty();
                }
                return Some(Place {
                    index,
                    is_later: true,
                    is_repetition,
                });
            }
        }
        if self.0.len() >= MAX_CALLS {
            return None;
        }
        self.0.push(call);
        Some(Place {
            index: self.0.len() - 1,
            is_later: false,
            is_repetition: false,
        })
    }

    /// Whether a call has all of its arguments.
    fn is_whole(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(Call::is_whole)
    }
}

/// A whole answer whose calls have their arguments as text; `None` where they have.
pub(in crate::gateway) fn with_text_arguments(answer: &str) -> Option<String> {
    let json: &RawValue = serde_json::from_str(answer).ok()?;
    let [choices] = fields(json, ["choices"]);
    let choices = mend_each(choices?, |choice| {
        let [message] = fields(choice, ["message"]);
        let message = message?;
        let [calls] = fields(message, ["tool_calls"]);
        let calls = mend_each(calls?, |call| {
            let [function] = fields(call, ["function"]);
            let function = function?;
            let [arguments] = fields(function, ["arguments"]);
            let arguments = arguments.filter(|it| is_bare(it))?;
            let text = Value::from(arguments.get()).to_string();
            let function = with(function.get(), "arguments", &text)?;
            with(call.get(), "function", &function)
        })?;
        let message = with(message.get(), "tool_calls", &calls)?;
        with(choice.get(), "message", &message)
    })?;
    with(answer, "choices", &choices)
}

/// Whether arguments are JSON where a text of JSON is expected.
fn is_bare(arguments: &RawValue) -> bool {
    arguments.get().starts_with(['{', '['])
}

/// The list with other items in the place of those for which there are some; `None` where there are none.
pub(super) fn mend_each<'a>(
    list: &'a RawValue,
    mut mend: impl FnMut(&'a RawValue) -> Option<String>,
) -> Option<String> {
    let (mut all, mut is_mended) = (Vec::new(), false);
    each(list, |item| {
        let mended = mend(item);
        is_mended |= mended.is_some();
        all.push(mended.map_or(Cow::Borrowed(item.get()), Cow::Owned));
    });
    is_mended.then(|| format!("[{}]", all.join(",")))
}

/// Whether arguments are the whole of an object.
fn are_whole(arguments: &str) -> bool {
    arguments.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fragments as they go out; a list comes in one chunk.
    fn calls(fragments: &[Value]) -> Vec<Value> {
        let mut calls = Calls::default();
        let chunk = |fragment: &Value| {
            let list = match fragment {
                Value::Array(list) => list.clone(),
                one => vec![one.clone()],
            };
            let raw = serde_json::value::to_raw_value(&list).unwrap();
            let mended = calls.mend(&raw);
            mended.map_or(list, |it| serde_json::from_str(&it).unwrap())
        };
        fragments.iter().flat_map(chunk).collect()
    }

    #[test]
    fn every_fragment_of_a_call_says_which_call_it_is() {
        let start = |index: Option<u8>, id: &str| {
            let mut call = json!({"id": id, "function": {"name": "f", "arguments": ""}});
            index
                .into_iter()
                .for_each(|index| call["index"] = index.into());
            call
        };
        let part = |index: Option<u8>| {
            let mut call = json!({"function": {"arguments": "{}"}});
            index
                .into_iter()
                .for_each(|index| call["index"] = index.into());
            call
        };
        let indexes = |fragments: &[Value]| -> Vec<u64> {
            calls(fragments)
                .iter()
                .map(|call| call["index"].as_u64().unwrap())
                .collect()
        };
        // As it should be.
        let right = [
            start(Some(0), "a"),
            part(Some(0)),
            start(Some(1), "b"),
            part(Some(0)),
            part(Some(1)),
        ];
        assert_eq!(calls(&right), right);
        // Without numbers, and with 0 for all.
        for index in [None, Some(0)] {
            let wrong = [
                start(index, "a"),
                part(index),
                start(index, "b"),
                part(index),
            ];
            assert_eq!(indexes(&wrong), [0, 0, 1, 1], "{index:?}");
        }
        assert_eq!(
            indexes(&[json!([start(None, "a"), start(None, "b")])]),
            [0, 1]
        );
        // One id for all, and right numbers.
        let one_id = [start(Some(0), "0"), start(Some(1), "0"), part(Some(1))];
        assert_eq!(indexes(&one_id), [0, 1, 1]);
        // No ids, and 0 for all that come at once.
        let at_once = |name: &str, arguments: &str| json!({"index": 0, "id": "", "function": {"name": name, "arguments": arguments}});
        let each = [at_once("f", "{\"x\":1}"), at_once("f", "{\"x\":2}")];
        assert_eq!(indexes(&each), [0, 1]);
        let in_pieces = [
            at_once("f", ""),
            at_once("f", "{\"x\":"),
            at_once("f", "1}"),
        ];
        assert_eq!(indexes(&in_pieces), [0, 0, 0]);
        // Another number with each fragment.
        let counted = [
            start(Some(0), "a"),
            part(Some(1)),
            part(Some(2)),
            start(Some(3), "b"),
            part(Some(4)),
        ];
        assert_eq!(indexes(&counted), [0, 0, 0, 1, 1]);
        // One id for all, each at once, without numbers; and one that is said once more as a whole.
        let same = |x: u8| json!({"id": "f", "function": {"name": "f", "arguments": format!("{{\"x\":{x}}}")}});
        let all = calls(&[same(1), same(2), same(2)]);
        let told = all
            .iter()
            .map(|it| (&it["index"], &it["function"]["arguments"]));
        let told: Vec<_> = told.collect();
        let wanted = json!([[0, "{\"x\":1}"], [1, "{\"x\":2}"], [1, ""]]);
        assert_eq!(json!(told), wanted);
        // The id and the name again.
        let again = calls(&[start(Some(0), "a"), start(Some(0), "a")]);
        assert_eq!(again[1], json!({"index": 0, "function": {"arguments": ""}}));
    }

    #[test]
    fn a_call_of_another_tool_repeats_no_other() {
        let of = |name: &str, id: Option<&str>, index: Option<u8>| {
            let mut call = json!({"function": {"name": name, "arguments": "{}"}});
            id.into_iter().for_each(|id| call["id"] = id.into());
            index.into_iter().for_each(|it| call["index"] = it.into());
            call
        };
        for (id, index) in [(Some("0"), None), (Some("0"), Some(0)), (None, Some(0))] {
            let [f, g] = ["f", "g"].map(|name| of(name, id, index));
            let out = calls(&[f, g]);
            let told = out.iter().map(|it| (&it["index"], &it["function"]["name"]));
            let wanted = json!([[0, "f"], [1, "g"]]);
            assert_eq!(json!(told.collect::<Vec<_>>()), wanted, "{id:?} {index:?}");
        }
    }

    #[test]
    fn calls_that_are_all_told_once_more_at_the_end_come_once() {
        let call = |id: Option<&str>, x: u8| {
            let arguments = format!("{{\"x\":{x}}}");
            let mut call = json!({"function": {"name": "f", "arguments": arguments}});
            id.into_iter().for_each(|id| call["id"] = id.into());
            call
        };
        for ids in [[Some("0"), Some("0")], [None, None], [Some("a"), Some("b")]] {
            let [one, two] = [call(ids[0], 1), call(ids[1], 2)];
            let out = calls(&[one.clone(), two.clone(), json!([one, two])]);
            let told = out
                .iter()
                .map(|it| (&it["index"], &it["function"]["arguments"]));
            let wanted = json!([[0, "{\"x\":1}"], [1, "{\"x\":2}"], [0, ""], [1, ""]]);
            assert_eq!(json!(told.collect::<Vec<_>>()), wanted, "{ids:?}");
            assert!(
                out[2..]
                    .iter()
                    .all(|it| it["function"].get("name").is_none())
            );
        }
    }

    #[test]
    fn calls_that_came_in_pieces_and_are_told_once_more_at_the_end_come_once() {
        let start = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": ""}});
        let part = |text: &str| json!({"function": {"arguments": text}});
        let whole = |id: &str, x: u8| {
            let arguments = format!("{{\"x\":{x}}}");
            json!({"id": id, "function": {"name": "f", "arguments": arguments}})
        };
        for (last, ids) in [
            (vec![whole("a", 1), whole("b", 2)], ["a", "b"]),
            (vec![json!([whole("a", 1), whole("b", 2)])], ["a", "b"]),
            (vec![json!([whole("0", 1), whole("0", 2)])], ["0", "0"]),
        ] {
            let mut fragments = vec![start(ids[0]), part("{\"x\":"), part("1}")];
            match ids[0] == ids[1] {
                // One id for all: the second comes at once.
                true => fragments.push(whole(ids[1], 2)),
                false => fragments.extend([start(ids[1]), part("{\"x\":"), part("2}")]),
            }
            fragments.extend(last.clone());
            let mut told = [String::new(), String::new()];
            for call in calls(&fragments) {
                let index = call["index"].as_u64().unwrap() as usize;
                told[index] += call["function"]["arguments"].as_str().unwrap();
            }
            assert_eq!(told, ["{\"x\":1}", "{\"x\":2}"], "{last:?}");
        }
        // One that has no id.
        for index in [None, Some(0)] {
            let call = |name: Option<&str>, arguments: &str| {
                let mut call = json!({"function": {"arguments": arguments}});
                name.into_iter()
                    .for_each(|name| call["function"]["name"] = name.into());
                index
                    .into_iter()
                    .for_each(|it: u8| call["index"] = it.into());
                call
            };
            let [first, second] = [call(Some("f"), ""), call(None, "{\"x\":")];
            let [third, again] = [call(None, "1}"), call(Some("f"), "{\"x\":1}")];
            let out = calls(&[first, second, third, again]);
            let told = out.iter().map(|it| &it["function"]["arguments"]);
            let wanted = json!(["", "{\"x\":", "1}", ""]);
            assert_eq!(json!(told.collect::<Vec<_>>()), wanted, "{index:?}");
            assert!(out.iter().all(|it| it["index"] == 0), "{out:?}");
        }
        // A piece that is an object by itself, as it seems, repeats nothing.
        let nested = [whole("a", 1)["function"]["arguments"].clone(), json!("}")];
        let mut fragments = vec![start("a"), part("{\"y\":")];
        fragments.extend(
            nested.map(|it| json!({"id": "a", "function": {"name": "f", "arguments": it}})),
        );
        let out = calls(&fragments);
        assert!(out.iter().all(|it| it["index"] == 0), "{out:?}");
        assert_eq!(out[2]["function"]["arguments"], "{\"x\":1}");
    }

    #[test]
    fn arguments_that_are_no_text_become_one() {
        let call = |arguments: Value| json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}});
        let (bare, text) = (call(json!({"x": 1})), call(json!("{\"x\":1}")));
        assert_eq!(
            calls(std::slice::from_ref(&bare)),
            std::slice::from_ref(&text)
        );
        // Once more, as a text.
        let again = calls(&[bare.clone(), text.clone()]);
        assert_eq!(again[1]["function"], json!({"arguments": ""}));
        let answer = |call: &Value| {
            let message = json!({"role": "assistant", "tool_calls": [call], "x": 1.0});
            json!({"id": "a", "choices": [{"message": message}], "y": 1.0}).to_string()
        };
        let mended = with_text_arguments(&answer(&bare));
        assert_eq!(mended.as_deref(), Some(&*answer(&text)));
        assert_eq!(with_text_arguments(&answer(&text)), None);
    }
}
