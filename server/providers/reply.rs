//! Reads what a provider answered; an error can hide in a 200, so nothing is taken on trust.
//!
//! An answer is a text, sound, pictures, the model's own refusal, or a call of a tool that was offered. A reply with
//! none of them says nothing to anybody, whatever its finish reason is, and is a fault of the model.

use serde_json::{Value, json, value::RawValue};

use super::{
    ChatRequest, Completion, Embedded, Media, ReplyPlace, Usage,
    fault::{Cause, Fault, FaultKind},
    fields::{each, fields, first, text},
    finish,
    marks::shows_nothing,
    reasoning,
};
use crate::_core::{blank::is_blank, json_text, units::Microdollars};

/// JSON values in calls of tools; with more of them they are none. Read, each takes far more memory than
/// its text.
const MAX_CALL_VALUES: usize = 20_000;

/// Longer errors inside a success are not looked into, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// No attempt costs more, in US dollars; what says so is no price, and sums stay within their type.
const MAX_COST: f64 = 1e6;

/// The answer in the body of a success.
pub(super) fn completion(body: Vec<u8>, request: &ChatRequest) -> Result<Completion, Fault> {
    let raw = json_text::lenient_owned(body).map_err(|(error, body)| {
        let start = body.get(..MAX_ERROR_BYTES).unwrap_or(&body);
        let start = String::from_utf8_lossy(start);
        Fault::of_words(&Value::from(&*start)).unwrap_or_else(|| {
            let detail = format!("not JSON ({error}): {start}");
            Fault::new(FaultKind::InvalidReply, detail)
        })
    })?;
    let ReadDocument {
        part,
        model,
        usage,
        words,
    } = read(&raw)?;
    let none = || words.unwrap_or_else(|| without_choice("the reply"));
    let mut part = part.ok_or_else(none)?;
    let tag = request.reading.reasoning_tag.as_deref();
    if let Some(tag) = tag {
        let split = reasoning::split(tag, &part.content);
        part.content = split.content;
        part.reasoning += &split.reasoning;
    }
    let (is_refusal, has_media) = (part.refuses(), part.media.is_some());
    let completion = Completion {
        content: if is_refusal && is_blank(&part.content) {
            part.refusal
        } else {
            part.content
        },
        reasoning: part.reasoning,
        is_refusal,
        tool_calls: part.tool_calls,
        media: part.media.unwrap_or_default(),
        model: model.unwrap_or_default(),
        finish_reason: part.finish_reason,
        usage,
        raw: unlisted(raw),
        held: ReplyPlace::default(),
    };
    let has_call = completion.tool_calls.is_some() && request.offers_tools();
    let says_nothing = match tag {
        Some(_) => shows_nothing(&completion.content),
        None => reasoning::is_all_thought(&completion.content),
    };
    let is_cut = completion.finish_reason.as_deref() == Some("length") && request.limits_answer();
    if says_nothing && !has_media && !has_call && !is_cut {
        return Err(nothing(completion.finish_reason.as_deref()));
    }
    Ok(completion)
}

/// The embeddings in the body of a success, of so many inputs where that is known.
pub(super) fn embeddings(
    body: Vec<u8>,
    inputs: Option<usize>,
    held: ReplyPlace,
) -> Result<Embedded, Fault> {
    let broken = |error| Fault::new(FaultKind::InvalidReply, format!("not JSON ({error})"));
    let raw = json_text::lenient_owned(body).map_err(|(error, _)| broken(error))?;
    let json: &RawValue = serde_json::from_str(&raw).map_err(broken)?;
    let [error, data, usage] = fields(json, ["error", "data", "usage"]);
    if let Some(error) = error.and_then(error_in) {
        return Err(Fault::of_error(&error));
    }
    if data.is_none_or(|data| first(data).is_none()) {
        let fault = Fault::new(FaultKind::InvalidReply, "the reply holds no embedding");
        return Err(match data {
            Some(_) => fault.because(Cause::Empty),
            None => fault,
        });
    }
    data.map_or(Ok(()), |data| check_vectors(data, inputs))?;
    let usage = usage.and_then(of_usage);
    Ok(Embedded { raw, usage, held })
}

/// Whether each input has a vector. Whoever pairs them by their order would else keep vectors under texts that they
/// are not of, and nobody would see it.
fn check_vectors(data: &RawValue, inputs: Option<usize>) -> Result<(), Fault> {
    let (mut count, mut are_vectors) = (0_usize, true);
    each(data, |item| {
        count += 1;
        let [vector] = fields(item, ["embedding"]);
        are_vectors &= vector.is_some_and(|vector| is_vector(vector.get()));
    });
    let detail = match inputs {
        _ if !are_vectors => "an embedding is no list of numbers".to_owned(),
        Some(inputs) if inputs != count => {
            format!("the reply holds {count} embeddings of {inputs} inputs")
        }
        _ => return Ok(()),
    };
    Err(Fault::new(FaultKind::InvalidReply, detail))
}

/// Numbers, base64, or several forms of them. Python's `NaN` was read as null.
fn is_vector(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'[') => json.len() > 2 && !json.contains("null"),
        Some(b'"') => json.len() > 2,
        other => other == Some(&b'{'),
    }
}

/// The document alone, where it came as a list of one.
pub(super) fn unlisted(raw: String) -> String {
    if !raw.trim_start().starts_with('[') {
        return raw;
    }
    let json: Option<&RawValue> = serde_json::from_str(&raw).ok();
    let only = json.and_then(first).map(|only| only.get().to_owned());
    only.unwrap_or(raw)
}

/// What one JSON document of a provider holds: a reply, or an event of a stream.
pub(super) struct ReadDocument {
    /// The first choice, where there is one.
    pub(super) part: Option<ChoicePart>,
    /// The model that answers, as the provider names it.
    pub(super) model: Option<String>,
    /// Tokens and cost, where the provider says.
    pub(super) usage: Option<Usage>,
    /// What is said where there is no choice, if it is a fault although it does not call itself one.
    pub(super) words: Option<Fault>,
}

/// What a choice brings.
#[derive(Debug, Default)]
pub(super) struct ChoicePart {
    pub(super) content: String,
    pub(super) reasoning: String,
    pub(super) refusal: String,
    /// Bytes of `reasoning_details`, which are carried to the next turn.
    pub(super) details: usize,
    /// Never an empty list. A call in the words of before there were tools is one of them.
    pub(super) tool_calls: Option<Value>,
    /// Sound and pictures, where it brings any.
    pub(super) media: Option<Media>,
    pub(super) finish_reason: Option<String>,
}

impl ChoicePart {
    /// Whether the model says that it will not answer.
    pub(super) fn refuses(&self) -> bool {
        !is_blank(&self.refusal)
            || (self.finish_reason.as_deref() == Some("refusal") && !is_blank(&self.content))
    }
}

/// Reads a JSON document, unless it is an error or hides one.
pub(super) fn read(json: &str) -> Result<ReadDocument, Fault> {
    let broken = |error| Fault::new(FaultKind::InvalidReply, format!("not JSON ({error})"));
    let raw: &RawValue = serde_json::from_str(json).map_err(broken)?;
    let whole = first(raw).unwrap_or(raw);
    let [error, choices, model, usage] = fields(whole, ["error", "choices", "model", "usage"]);
    if let Some(error) = error.and_then(error_in) {
        return Err(Fault::of_error(&error));
    }
    let Some(choice) = choices.and_then(first) else {
        if calls_itself_an_error(whole, choices.is_none()) {
            return Err(Fault::of_error(&value(whole)));
        }
        let words = match choices {
            None => Fault::of_words(&value(whole)),
            Some(_) => Some(without_choice("the reply").because(Cause::Empty)),
        };
        return Ok(ReadDocument {
            part: None,
            model: text(model),
            usage: usage.and_then(of_usage),
            words,
        });
    };
    let [error, message, delta, reason] =
        fields(choice, ["error", "message", "delta", "finish_reason"]);
    if let Some(error) = error.and_then(error_in) {
        return Err(Fault::of_error(&error));
    }
    let finish_reason = finish::reason(reason);
    if finish_reason.as_deref() == Some("error") {
        let detail = "the finish reason is `error`";
        return Err(Fault::new(FaultKind::Upstream, detail));
    }
    let mut part = message.or(delta).map(part).unwrap_or_default();
    part.finish_reason = finish_reason;
    Ok(ReadDocument {
        part: Some(part),
        model: text(model),
        usage: usage.and_then(of_usage),
        words: None,
    })
}

/// Whether a document without a choice is marked as an error in one of the ways that have no `error`
/// around what they say.
fn calls_itself_an_error(json: &RawValue, is_without_choices: bool) -> bool {
    let is_error = |value: Option<&RawValue>| {
        text(value).is_some_and(|text| text.eq_ignore_ascii_case("error"))
    };
    let [object, kind, status, success] = fields(json, ["object", "type", "status", "success"]);
    let told = fields(
        json,
        [
            "detail",
            "errors",
            "error_message",
            "errorMessage",
            "error_msg",
            "errorMsg",
            "error_code",
            "errorCode",
        ],
    );
    is_error(object)
        || is_error(kind)
        || is_error(status)
        || text(status).as_deref() == Some("failed")
        || success.is_some_and(|success| success.get() == "false")
        || (is_without_choices
            && told
                .into_iter()
                .flatten()
                .any(|told| error_in(told).is_some()))
}

/// What an event of a stream says whose name is `error`.
pub(super) fn named_error(data: &str) -> Fault {
    let short = Some(data).filter(|data| data.len() <= MAX_ERROR_BYTES);
    let json = short.and_then(|data| json_text::lenient(data.as_bytes()).ok());
    let value = json.and_then(|json| serde_json::from_str(&json).ok());
    Fault::of_error(&value.unwrap_or_else(|| short.unwrap_or_default().into()))
}

/// A reply or a stream in which no choice was made.
pub(super) fn without_choice(what: &str) -> Fault {
    Fault::new(FaultKind::InvalidReply, format!("{what} holds no choice"))
}

/// An answer that says nothing.
pub(super) fn nothing(finish_reason: Option<&str>) -> Fault {
    let reason = finish_reason.unwrap_or("none");
    let detail = format!(
        "an answer without text, refusal or call of an offered tool; its finish reason is {reason}"
    );
    // Anthropic's models stop so, and gateways pass it on: what was asked left no room for an answer.
    let kind = match finish_reason {
        Some(reason) if reason.contains("context") => FaultKind::ContextLength,
        _ => FaultKind::EmptyReply,
    };
    Fault::new(kind, detail)
}

/// An error, unless it is one of the ways to say that there is none.
fn error_in(json: &RawValue) -> Option<Value> {
    (!matches!(json.get(), "false" | "\"\"" | "{}" | "[]")).then(|| value(json))
}

fn value(json: &RawValue) -> Value {
    let short = Some(json.get()).filter(|json| json.len() <= MAX_ERROR_BYTES);
    short
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

fn part(message: &RawValue) -> ChoicePart {
    let [
        content,
        reasoning,
        reasoning_content,
        details,
        refusal,
        tool_calls,
        function_call,
        audio,
        images,
    ] = fields(
        message,
        [
            "content",
            "reasoning",
            "reasoning_content",
            "reasoning_details",
            "refusal",
            "tool_calls",
            "function_call",
            "audio",
            "images",
        ],
    );
    let is_object = |json: &&RawValue| json.get().starts_with('{') && json.get() != "{}";
    let is_readable =
        |json: &&RawValue| json_text::values(json.get().as_bytes()) <= MAX_CALL_VALUES;
    let function_call = || {
        let call = function_call.filter(is_object).filter(is_readable)?;
        let call: Value = serde_json::from_str(call.get()).ok()?;
        Some(json!([{"type": "function", "function": call}]))
    };
    let mut part = ChoicePart {
        reasoning: text(reasoning)
            .filter(|text| !text.is_empty())
            .or_else(|| text(reasoning_content))
            .unwrap_or_default(),
        refusal: text(refusal).unwrap_or_default(),
        details: details.map_or(0, |details| details.get().len()),
        tool_calls: tool_calls
            .filter(|calls| first(calls).is_some())
            .filter(is_readable)
            .and_then(|calls| serde_json::from_str(calls.get()).ok())
            .or_else(function_call),
        media: media(audio.filter(is_object), images),
        ..ChoicePart::default()
    };
    match content.map(RawValue::get) {
        Some(json) if json.starts_with('[') => {
            each_part(content, |piece| add(piece, &mut part));
        }
        Some(json) if json.starts_with('{') => {
            content.into_iter().for_each(|piece| add(piece, &mut part));
        }
        _ => part.content = text(content).unwrap_or_default(),
    }
    part
}

fn media(audio: Option<&RawValue>, images: Option<&RawValue>) -> Option<Media> {
    let mut pictures = 0;
    each_part(images, |_| pictures += 1);
    let sound = audio.map(|audio| {
        let [data] = fields(audio, ["data"]);
        data.map_or(0, |data| data.get().len())
    });
    (sound.is_some() || pictures > 0).then(|| Media {
        pictures,
        sound: sound.unwrap_or(0),
    })
}

fn each_part<'a>(list: Option<&'a RawValue>, take: impl FnMut(&'a RawValue)) {
    if let Some(list) = list {
        each(list, take);
    }
}

/// Adds a part of a content that is a list.
fn add(piece: &RawValue, to: &mut ChoicePart) {
    let [kind, words, refusal, thinking] = fields(piece, ["type", "text", "refusal", "thinking"]);
    let words = text(words).unwrap_or_default();
    match text(kind).as_deref() {
        Some("thinking" | "reasoning" | "redacted_thinking") => {
            to.reasoning += &words;
            // Mistral's has parts of its own.
            to.reasoning += &text(thinking).unwrap_or_default();
            each_part(thinking, |part| {
                let [words] = fields(part, ["text"]);
                to.reasoning += &text(words).unwrap_or_default();
            });
        }
        _ => to.content += &words,
    }
    to.refusal += &text(refusal).unwrap_or_default();
}

fn of_usage(usage: &RawValue) -> Option<Usage> {
    let [
        prompt,
        completion,
        total,
        cost,
        with_own_key,
        cost_parts,
        read,
        written,
        hit,
        cached,
    ] = fields(
        usage,
        [
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "cost",
            // OpenRouter's: with a key of ours at the host that it hands the request to.
            "is_byok",
            "cost_details",
            "prompt_tokens_details",
            "completion_tokens_details",
            // DeepSeek's.
            "prompt_cache_hit_tokens",
            // Moonshot's.
            "cached_tokens",
        ],
    );
    // What says nothing is no word that nothing was used.
    let mut told = [prompt, completion, cost].into_iter().flatten();
    let says_something = told.any(|it| it.get() != "null");
    if !usage.get().starts_with('{') || !says_something {
        return None;
    }
    let number = |json: Option<&RawValue>| -> Option<f64> {
        let json = json?.get();
        json.trim_matches('"').parse().ok()
    };
    // Some servers write whole numbers with a point.
    let tokens = |json: Option<&RawValue>| {
        let count = number(json).filter(|count| count.is_finite() && *count >= 0.0);
        count.map_or(0, |count| count as u32)
    };
    let part = |of: Option<&RawValue>, name| {
        let of = of.filter(|it| it.get().starts_with('{'))?;
        let [part] = fields(of, [name]);
        part.map(|part| tokens(Some(part)))
    };
    let cached = part(read, "cached_tokens").unwrap_or_else(|| tokens(hit.or(cached)));
    let kept = part(read, "cache_write_tokens").unwrap_or_default();
    let [is_read_told, is_written_told] =
        [prompt, completion].map(|it| it.is_some_and(|it| it.get() != "null"));
    let (prompt, completion) = (tokens(prompt), tokens(completion));
    // What is left of the whole was written, where what was read is told.
    let rest = match is_read_told {
        true => tokens(total).saturating_sub(prompt.saturating_add(completion)),
        false => 0,
    };
    // Google's counts what was thought in the whole alone, and takes for it as for what was written.
    let thought = if is_written_told { rest } else { 0 };
    let reasoning = part(written, "reasoning_tokens").unwrap_or_default();
    let of_host = || {
        let parts = cost_parts.filter(|it| it.get().starts_with('{'))?;
        let [of_host] = fields(parts, ["upstream_inference_cost"]);
        number(of_host).filter(|cost| *cost >= 0.0)
    };
    let cost = match with_own_key.is_some_and(|it| it.get() == "true") {
        // Then `cost` is its fee alone. Where the host's price is missing, the catalog's counts.
        true => of_host().map(|of_host| number(cost).unwrap_or(0.0) + of_host),
        false => number(cost),
    };
    let cost = cost.filter(|cost| (0.0..=MAX_COST).contains(cost));
    Some(Usage {
        prompt_tokens: prompt,
        completion_tokens: completion.saturating_add(rest),
        cached_tokens: cached,
        cache_write_tokens: kept,
        reasoning_tokens: reasoning.max(thought),
        cost: cost.map(Microdollars::from_dollars),
    })
}

#[cfg(test)]
mod tests;
