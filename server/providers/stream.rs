//! Reads a streamed answer, step by step, and judges it as a whole one is judged.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    ChatRequest, Completion, Delta, Reading, Usage,
    fault::{Cause, Fault, FaultKind},
    fields::{each, fields},
    finish,
    marks::shows_nothing,
    plain::Plain,
    reasoning::Splitter,
    reply::{self, ChoicePart},
    sse::{Item, Reader, TooLong},
};
use crate::_core::{blank::is_blank, json_text};

/// The most answers that one stream may hold.
const MAX_CHOICES: usize = 128;

/// A streamed answer under way; feed it with [`Steps::push`], end it with [`Steps::finish`].
pub(super) struct Steps {
    reader: Option<Reader>,
    splitter: Splitter,
    /// Whether thoughts are taken out of the text. Where they are not, they still count as no answer.
    splits: bool,
    offers_tools: bool,
    /// Whether the steps are passed on as they are, so that none may be left out.
    passes_on: bool,
    /// Whether several answers were asked for.
    has_more_choices: bool,
    /// Of several answers, each that has begun, and whether it has a finish reason.
    choices: Vec<(u64, bool)>,
    /// Whether the caller's own limit may leave no room for an answer.
    limits_answer: bool,
    max_bytes: usize,
    /// Of what was kept so far, as [`Steps::weigh`] counts it.
    bytes: usize,
    has_choice: bool,
    has_answer: bool,
    finish_reason: Option<String>,
    is_done: bool,
    /// Whether no event came, and whether nothing came at all.
    is_empty: bool,
    is_silent: bool,
    /// What an event said that was no step, if it was a fault.
    words: Option<Fault>,
}

impl Steps {
    pub(super) fn new(request: &ChatRequest) -> Self {
        let Reading {
            max_bytes,
            reasoning_tag,
            ..
        } = &request.reading;
        Self {
            reader: Some(Reader::default()),
            splitter: match reasoning_tag {
                Some(tag) => Splitter::new(tag),
                None => Splitter::of_known_tags(),
            },
            splits: reasoning_tag.is_some(),
            offers_tools: request.offers_tools(),
            passes_on: request.given.is_some(),
            has_more_choices: request.wants_more_choices(),
            choices: Vec::new(),
            limits_answer: request.limits_answer(),
            max_bytes: *max_bytes,
            bytes: 0,
            has_choice: false,
            has_answer: false,
            finish_reason: None,
            is_done: false,
            is_empty: true,
            is_silent: true,
            words: None,
        }
    }

    /// Whether `[DONE]` has come.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the model has said that it is done, with each answer that it began, so that what breaks off now
    /// takes nothing away.
    pub(super) fn is_whole(&self) -> bool {
        self.finish_reason.is_some() && self.choices.iter().all(|(_, is_over)| *is_over)
    }

    /// Whether nothing but usage and the sign of the end can follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_whole() && !self.has_more_choices
    }

    /// Takes what was read from the network.
    pub(super) fn push(&mut self, bytes: &Bytes) -> Vec<Result<Delta, Fault>> {
        self.is_silent &= bytes.is_empty();
        match self.reader.as_mut().map(|reader| reader.push(bytes)) {
            Some(Ok(items)) => self.read_all(items),
            Some(Err(error)) => vec![Err(too_long(error))],
            None => Vec::new(),
        }
    }

    /// The stream is over: what was still held comes first, then a fault where there was no answer.
    pub(super) fn finish(mut self) -> Vec<Result<Delta, Fault>> {
        let last = self.reader.take().filter(|_| !self.is_done);
        let mut deltas = match last.map(Reader::finish) {
            Some(Ok(item)) => self.read_all(item.into_iter().collect()),
            Some(Err(error)) => vec![Err(too_long(error))],
            None => Vec::new(),
        };
        if deltas.iter().any(Result::is_err) {
            return deltas;
        }
        let rest = self.splitter.finish();
        self.has_answer |= !shows_nothing(&rest.content);
        if self.splits {
            let delta = Delta {
                is_token: !rest.content.is_empty() || !rest.reasoning.is_empty(),
                is_answer: !shows_nothing(&rest.content),
                content: rest.content,
                reasoning: rest.reasoning,
                ..Delta::default()
            };
            deltas.extend(Some(delta).filter(|delta| delta.is_token).map(Ok));
        }
        let is_broken = !self.is_done && !self.is_whole();
        let is_cut = self.limits_answer && self.finish_reason.as_deref() == Some("length");
        match (self.has_choice, self.has_answer || is_cut) {
            (false, _) => {
                let words = self.words.take();
                let none = || {
                    let fault = reply::without_choice("the stream");
                    if self.is_silent || (self.is_empty && self.is_done) {
                        fault.because(Cause::Empty)
                    } else {
                        fault
                    }
                };
                deltas.push(Err(words.unwrap_or_else(none)));
            }
            (true, _) if is_broken => {
                let detail = "the stream ended before a finish reason";
                let fault = Fault::new(FaultKind::Connection, detail);
                deltas.push(Err(fault.because(Cause::CutStream)));
            }
            (true, false) => deltas.push(Err(reply::nothing(self.finish_reason.as_deref()))),
            (true, true) => {}
        }
        deltas
    }

    fn read_all(&mut self, items: Vec<Item>) -> Vec<Result<Delta, Fault>> {
        let mut deltas = Vec::new();
        for item in items {
            match item {
                // Some servers write it as JSON.
                Item::Data(data) if matches!(data.trim(), "[DONE]" | "\"[DONE]\"") => {
                    self.is_done = true;
                    break;
                }
                // Nothing is said, as in a comment.
                Item::Data(data) if data.trim() == "null" => {}
                Item::Data(data) => deltas.extend(self.read(data).transpose()),
                Item::Error(data) => deltas.push(Err(reply::named_error(&data))),
                Item::Comment => {}
            }
            if deltas.last().is_some_and(Result::is_err) {
                break;
            }
        }
        deltas
    }

    /// One event; `None` where it is no JSON object, which clients of this API have always ignored. A damaged
    /// one within an answer may have held a piece of it, and is a fault.
    fn read(&mut self, data: String) -> Result<Option<Delta>, Fault> {
        self.is_empty = false;
        let is_paired = matches!(
            json_text::pair_surrogates(data.as_bytes()),
            Cow::Borrowed(_)
        );
        if let Some(Plain { content, model }) = Plain::read(&data).filter(|_| is_paired) {
            let part = ChoicePart {
                content: content.into_owned(),
                ..ChoicePart::default()
            };
            let model = model.map(Cow::into_owned);
            let mut delta = self.delta(part, model, None, data);
            delta.is_plain = true;
            return self.take(delta, 0);
        }
        let data = data.as_str();
        let raw = json_text::lenient(data.as_bytes()).ok();
        // An error may be a list of one.
        let Some(raw) = raw.filter(|raw| raw.trim_start().starts_with(['{', '['])) else {
            tracing::debug!(
                length = data.len(),
                "an event of a stream is no JSON object"
            );
            let words = || Fault::of_words(&data.into());
            if self.passes_on || (self.has_choice && data.trim_start().starts_with('{')) {
                let fault = || Fault::new(FaultKind::InvalidReply, "an event is no JSON object");
                return Err(words().unwrap_or_else(fault));
            }
            self.words = self.words.take().or_else(words);
            self.weigh(data.len())?;
            return Ok(None);
        };
        let reply::ReadDocument {
            part,
            model,
            usage,
            words,
        } = reply::read(&raw)?;
        self.words = self.words.take().or(words);
        let raw = reply::unlisted(raw.into_owned());
        let Some(part) = part else {
            let delta = self.delta(ChoicePart::default(), model, usage, raw);
            return self.weighed(delta, 0);
        };
        let details = part.details;
        let delta = self.delta(part, model, usage, raw);
        self.take(delta, details)
    }

    /// A step with a choice, of which so many bytes are details of reasoning.
    fn take(&mut self, delta: Delta, details: usize) -> Result<Option<Delta>, Fault> {
        self.has_choice = true;
        self.has_answer |= delta.is_answer;
        if self.has_more_choices {
            self.note_choices(&delta.raw);
        }
        self.weighed(delta, details)
    }

    /// Which answers a chunk is about, and which of them end.
    fn note_choices(&mut self, chunk: &str) {
        let chunk: Option<&RawValue> = serde_json::from_str(chunk).ok();
        let Some([Some(choices)]) = chunk.map(|chunk| fields(chunk, ["choices"])) else {
            return;
        };
        each(choices, |choice| {
            let [index, reason] = fields(choice, ["index", "finish_reason"]);
            let index = index.and_then(|it| it.get().parse().ok()).unwrap_or(0);
            let is_over = finish::reason(reason).is_some();
            let place = self.choices.iter().position(|(known, _)| *known == index);
            let has_room = self.choices.len() < MAX_CHOICES;
            match place.and_then(|place| self.choices.get_mut(place)) {
                Some((_, was_over)) => *was_over |= is_over,
                None if has_room => self.choices.push((index, is_over)),
                None => {}
            }
        });
    }

    fn weighed(&mut self, delta: Delta, details: usize) -> Result<Option<Delta>, Fault> {
        // What brings nothing is held whole until something comes.
        let weight = delta.content.len() + delta.reasoning.len() + details;
        self.weigh(if delta.is_answer && delta.tool_calls.is_none() {
            weight
        } else {
            delta.raw.len()
        })?;
        Ok(Some(delta))
    }

    fn delta(
        &mut self,
        mut part: ChoicePart,
        model: Option<String>,
        usage: Option<Usage>,
        raw: String,
    ) -> Delta {
        let mut shows = !is_blank(&part.refusal);
        if self.splitter.is_past() {
            shows |= !shows_nothing(&part.content);
        } else {
            let split = self.splitter.push(&part.content);
            shows |= !shows_nothing(&split.content);
            if self.splits {
                part.content = split.content;
                part.reasoning += &split.reasoning;
            }
        }
        let is_refusal = part.refuses();
        part.content += &part.refusal;
        self.finish_reason = part.finish_reason.clone().or(self.finish_reason.take());
        let (has_call, has_media) = (part.tool_calls.is_some(), part.media.is_some());
        let has_text = !part.content.is_empty() || !part.reasoning.is_empty();
        Delta {
            is_token: has_text || has_call || has_media,
            is_answer: shows || has_media || (has_call && self.offers_tools),
            is_refusal,
            content: part.content,
            reasoning: part.reasoning,
            tool_calls: part.tool_calls,
            media: part.media.unwrap_or_default(),
            finish_reason: part.finish_reason,
            usage,
            model,
            is_plain: false,
            raw,
        }
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > self.max_bytes {
            let detail = format!("the answer is longer than {} bytes", self.max_bytes);
            return Err(Fault::new(FaultKind::InvalidReply, detail));
        }
        Ok(())
    }
}

fn too_long(error: TooLong) -> Fault {
    Fault::new(FaultKind::InvalidReply, error.to_string())
}

/// A whole answer as the one step of a stream.
pub(super) fn only_step(answer: Completion) -> Delta {
    Delta {
        is_token: true,
        is_answer: true,
        is_refusal: answer.is_refusal,
        content: answer.content,
        reasoning: answer.reasoning,
        tool_calls: answer.tool_calls,
        media: answer.media,
        finish_reason: answer.finish_reason,
        usage: answer.usage,
        model: Some(answer.model),
        is_plain: false,
        raw: answer.raw,
    }
}

#[cfg(test)]
mod tests;
